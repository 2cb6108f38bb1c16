// The page of a sweep, and that of a range test, in a real browser, opened from disk: at three widths, in light and dark, on
// paper, with mouse and keyboard.
//
//   node sweep.mjs --sweep ../../runs/mnist-fast-sweep-0001/report.html [--screenshot sweep.png]
//   node sweep.mjs --range rates.html
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { contrasts, reachAll, runAll, tooWide } from "./look.mjs";

const { values: given } = parseArgs({
  options: {
    sweep: { type: "string", default: "report.html" },
    range: { type: "string" },
    browser: { type: "string", default: "/usr/bin/chromium" },
    screenshot: { type: "string" },
  },
});

const ofBoth = {
  async "it loads from disk without a complaint, a script or a question to anybody"({ page, complaints, requests }) {
    await page.waitForLoadState("load");
    assert(await page.locator("h1").isVisible());
    assert.equal(await page.locator("script").count(), 0);
    assert.deepEqual(complaints, []);
    assert.deepEqual(requests.filter((url) => !url.startsWith("file:") && !url.startsWith("data:")), []);
  },

  async "nothing is wider than the window at 390, 1024 and 1920 pixels, in light and dark, and text is readable"({ page }) {
    await page.locator("details").evaluateAll((all) => all.forEach((one) => (one.open = true)));
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of [390, 1024, 1920]) {
        await page.setViewportSize({ width, height: 900 });
        assert.equal(await page.evaluate(tooWide), "", `at ${width} in ${colorScheme}`);
      }
      const worst = await page.evaluate(contrasts);
      assert(worst.ratio >= 4.5, `${colorScheme}: ${worst.ratio.toFixed(2)} for ${worst.text}`);
    }
  },

  async "the keyboard alone reaches every control"({ page }) {
    return [`${await reachAll(page)} controls`];
  },

  async "on paper it is light and nothing is cut off"({ page }) {
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
    const pdf = await page.pdf({ format: "A4" });
    assert(pdf.length > 10_000);
  },
};

const ofSweeps = {
  async "the table has a row for each trial, one of them the best"({ page }) {
    const rows = await page.locator("#trials tbody tr").count();
    assert(rows > 1);
    assert.equal(await page.locator("#trials .tag").count(), 1);
    assert(await page.locator("#trials tbody tr").first().locator(".tag").isVisible(), "the best is not the first");
    return [`${rows} trials`];
  },

  async "every trial that did not fail is a line through all axes, and says its values"({ page }) {
    const failed = await page.locator("#trials td", { hasText: /^failed: / }).count();
    const rows = await page.locator("#trials tbody tr").count();
    const lines = page.locator("#values .trial");
    assert.equal(await lines.count(), rows - failed);
    const axes = await page.locator("#values line.axis").count();
    const corners = await lines.evaluateAll((all) => all.map((one) => one.querySelector(".line").getAttribute("points").split(" ").length));
    assert(corners.every((count) => count === axes), `${corners} for ${axes} axes`);
    assert.equal(await page.locator("#values .winner").count(), 1);
    const tip = page.locator("#values .winner .tip");
    assert(!(await tip.isVisible()));
    await page.locator("#values .winner").focus();
    assert(await tip.isVisible());
    assert.match(await tip.textContent(), /^trial \d+: \d+\.\d\d %, \d+ epochs?; /);
    const box = await tip.locator("text").evaluate((text) => text.getBBox().width <= text.ownerSVGElement.viewBox.baseVal.width);
    assert(box, "what it says does not fit");
  },

  async "what the keys explain is a share from 0 to 1, or why there is none"({ page }) {
    const bars = page.locator("#importance .bar > b");
    for (const width of await bars.evaluateAll((all) => all.map((one) => parseFloat(one.style.width)))) {
      assert(width >= 0 && width <= 100, `${width}`);
    }
    assert((await bars.count()) > 0 || /Too few trials/.test(await page.locator("#importance").textContent()));
  },
};

const ofRanges = {
  async "the curve tells its values under the keyboard's focus, and the suggestion is marked"({ page }) {
    const hits = page.locator("#curve .hit");
    assert((await hits.count()) > 10);
    await hits.nth(3).focus();
    assert.match(await hits.nth(3).locator(".tip").textContent(), /^rate \d\.\de-?\d+: each batch \d/);
    assert.equal(await page.locator("#curve line.best").count(), 1);
  },
};

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
const file = pathToFileURL(resolve(given.range ?? given.sweep)).href;
const failed = await runAll(browser, file, { ...ofBoth, ...(given.range ? ofRanges : ofSweeps) });
if (given.screenshot) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 1500 } });
  await page.goto(file);
  await page.screenshot({ path: given.screenshot, fullPage: true });
}
await browser.close();
process.exit(failed ? 1 : 0);
