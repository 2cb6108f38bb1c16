// A run's report, or the page of a data set, in a real browser, opened from disk: at three widths, in light and dark, on
// paper, with mouse and keyboard.
//
//   node report.mjs --report ../../runs/mnist-0001/report.html [--screenshot report.png]
//   node report.mjs --data data.html
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { contrasts, reachAll, runAll, tooWide } from "./look.mjs";

const { values: given } = parseArgs({
  options: {
    report: { type: "string", default: "report.html" },
    data: { type: "string" },
    browser: { type: "string", default: "/usr/bin/chromium" },
    screenshot: { type: "string" },
  },
});

const ofEveryPage = {
  async "it loads from disk without a complaint and asks nobody for anything"({ page, complaints, requests }) {
    await page.waitForLoadState("load");
    assert(await page.locator("h1").isVisible());
    assert.deepEqual(complaints, []);
    assert.deepEqual(requests.filter((url) => !url.startsWith("file:") && !url.startsWith("data:")), []);
  },

  async "nothing is wider than the window at 390, 1024 and 1920 pixels, in light and dark, and text is readable"({ page }) {
    await page.locator("details").evaluateAll((all) => all.forEach((one) => (one.open = true)));
    const grounds = new Set();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of [390, 1024, 1920]) {
        await page.setViewportSize({ width, height: 900 });
        const wide = await page.evaluate(tooWide);
        assert.equal(wide, "", `at ${width} in ${colorScheme}`);
      }
      grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      const worst = await page.evaluate(contrasts);
      assert(worst.ratio >= 4.5, `${colorScheme}: ${worst.ratio.toFixed(2)} for ${worst.text}`);
    }
    assert.equal(grounds.size, 2, "dark looks like light");
  },

  async "the keyboard alone reaches every control"({ page }) {
    const all = await reachAll(page);
    return [`${all} controls`];
  },

  async "on paper it is light and nothing is cut off"({ page }) {
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
    const pdf = await page.pdf({ format: "A4" });
    assert(pdf.length > 10_000);
  },
};

const ofReports = {
  async "every cell of the confusion matrix opens as many pictures as it counts, or says how many it leaves out"({ page }) {
    const buttons = page.locator(".matrix button");
    const count = await buttons.count();
    assert(count > 0, "there is no cell");
    for (const width of [390, 1024, 1920]) {
      await page.setViewportSize({ width, height: 900 });
      for (let i = 0; i < count; i++) {
        const button = buttons.nth(i);
        await button.click();
        const open = page.locator("[popover]:popover-open");
        assert.equal(await open.count(), 1, `cell ${i} at ${width}`);
        const found = await open.evaluate((one) => ({
          pictures: one.querySelectorAll(".p").length,
          painted: [...one.querySelectorAll(".p")].every((p) => getComputedStyle(p).backgroundImage.startsWith("url(\"data:")),
          left: Number(/([\d,]+) left out/.exec(one.textContent)?.[1].replaceAll(",", "") ?? 0),
          inside: one.getBoundingClientRect().right <= innerWidth && one.getBoundingClientRect().left >= 0,
          sideways: one.scrollWidth > one.clientWidth,
        }));
        assert.equal(found.pictures + found.left, Number(await button.textContent()), `cell ${i}`);
        assert(found.pictures > 0 && found.painted && found.inside && !found.sideways, `cell ${i} at ${width}`);
        await page.keyboard.press("Escape");
        assert.equal(await page.locator("[popover]:popover-open").count(), 0);
      }
    }
    return [`${count} cells`];
  },

  async "the keyboard opens a cell and closes it"({ page }) {
    await page.locator(".matrix button").first().focus();
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("[popover]:popover-open").count(), 1);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Close");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("[popover]:popover-open").count(), 0);
  },

  async "a curve tells its values under the pointer and under the keyboard's focus"({ page }) {
    const hits = page.locator("#curves .hit");
    assert((await hits.count()) > 0);
    const tip = hits.first().locator(".tip");
    assert(!(await tip.isVisible()));
    await hits.first().hover();
    assert(await tip.isVisible());
    assert.match(await tip.textContent(), /^epoch 1: training \d/);
    await page.mouse.move(0, 0);
    await hits.first().focus();
    assert(await tip.isVisible());
  },
};

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
const file = pathToFileURL(resolve(given.data ?? given.report)).href;
const failed = await runAll(browser, file, given.data ? ofEveryPage : { ...ofEveryPage, ...ofReports });
if (given.screenshot) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 1500 } });
  await page.goto(file);
  await page.screenshot({ path: given.screenshot });
}
await browser.close();
process.exit(failed ? 1 : 0);
