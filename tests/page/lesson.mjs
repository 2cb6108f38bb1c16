// The lesson in a real browser, opened from disk: at three widths, in light and dark, on paper, with mouse, keyboard and
// without its script.
//
//   node lesson.mjs --lesson ../../explain.html [--screenshot lesson.png]
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { contrasts, reachAll, runAll, tooWide } from "./look.mjs";

const { values: given } = parseArgs({
  options: {
    lesson: { type: "string", default: "explain.html" },
    browser: { type: "string", default: "/usr/bin/chromium" },
    screenshot: { type: "string" },
  },
});
const address = pathToFileURL(resolve(given.lesson)).href;
const WIDTHS = [390, 1024, 1920];

/** Runs in the page: what the slider's moment shows. */
function shown() {
  const reel = document.querySelector("#reel");
  return {
    value: Number(document.querySelector("#slider").value),
    spoken: document.querySelector("#slider").getAttribute("aria-valuetext"),
    moment: document.querySelector("#moment").textContent,
    told: document.querySelector("#told").textContent,
    answers: [...document.querySelectorAll(".watched .said")].map((one) => one.textContent).join("|"),
    shares: [...document.querySelectorAll(".watched .value")].map((one) => one.textContent).join("|"),
    widths: [...document.querySelectorAll(".watched .full")].map((one) => one.style.width).join("|"),
    filters: reel && getComputedStyle(reel.querySelector(".p")).backgroundPositionY,
    marker: document.querySelector("line.marker").getAttribute("x1"),
  };
}

const tests = {
  async "it loads from disk without a complaint and asks nobody for anything"({ page, complaints, requests }) {
    await page.waitForLoadState("load");
    assert(await page.locator("h1").isVisible());
    assert.deepEqual(complaints, []);
    assert.deepEqual(requests.filter((url) => !url.startsWith("file:") && !url.startsWith("data:")), []);
  },

  async "no other script runs than its own"({ page, complaints }) {
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.foreign = true";
      document.body.append(script);
    });
    assert.equal(await page.evaluate(() => window.foreign), undefined);
    assert.match(complaints.join(), /Content Security Policy/);
  },

  async "nothing is wider than the window at 390, 1024 and 1920 pixels, in light and dark, and text is readable"({ page }) {
    const grounds = new Set();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        assert.equal(await page.evaluate(tooWide), "", `at ${width} in ${colorScheme}`);
      }
      grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      for (const end of ["Home", "End"]) {
        await page.locator("#slider").press(end);
        const worst = await page.evaluate(contrasts);
        assert(worst.ratio >= 4.5, `${colorScheme}: ${worst.ratio.toFixed(2)} for ${worst.text}`);
      }
    }
    assert.equal(grounds.size, 2, "dark looks like light");
  },

  async "the arrow keys move the run from moment to moment, and every part of it follows"({ page }) {
    const slider = page.locator("#slider");
    await slider.focus();
    const last = Number(await slider.getAttribute("max"));
    assert(last >= 10, `${last} moments`);
    const frames = [await page.evaluate(shown)];
    assert.match(frames[0].moment, /before the first iteration/);
    for (let i = 1; i <= last; i++) {
      await page.keyboard.press("ArrowRight");
      frames.push(await page.evaluate(shown));
      assert.equal(frames[i].value, i);
      assert.equal(frames[i].spoken, `${frames[i].moment}: ${frames[i].told}`);
      assert.notEqual(frames[i].moment, frames[i - 1].moment);
    }
    for (const part of ["told", "answers", "shares", "widths", "marker", ...(frames[0].filters ? ["filters"] : [])]) {
      assert(new Set(frames.map((frame) => frame[part])).size > 1, `${part} stays the same`);
    }
    await page.keyboard.press("ArrowLeft");
    assert.deepEqual(await page.evaluate(shown), frames[last - 1]);
    await page.keyboard.press("Home");
    assert.deepEqual(await page.evaluate(shown), frames[0]);
    return [`${last + 1} moments`];
  },

  async "the button plays the run and holds it, and starts anew at the end"({ page }) {
    const play = page.locator("#play");
    await play.focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => Number(document.querySelector("#slider").value) >= 2);
    assert.equal(await play.textContent(), "Pause");
    await page.keyboard.press("Enter");
    const held = (await page.evaluate(shown)).value;
    await page.waitForTimeout(500);
    assert.equal((await page.evaluate(shown)).value, held);
    await page.locator("#slider").press("End");
    await play.click();
    assert((await page.evaluate(shown)).value < Number(await page.locator("#slider").getAttribute("max")));
  },

  async "the keyboard reaches every control, and every link leads somewhere"({ page }) {
    const all = await reachAll(page);
    const lost = await page.evaluate(() =>
      [...document.querySelectorAll("a[href]")].filter((a) => !document.querySelector(a.getAttribute("href"))).length,
    );
    assert.equal(lost, 0);
    return [`${all} controls`];
  },

  async "a curve tells its values under the pointer and under the keyboard's focus"({ page }) {
    const hit = page.locator("#rates .hit").first();
    const tip = hit.locator(".tip");
    assert(!(await tip.isVisible()));
    await hit.hover();
    assert(await tip.isVisible());
    assert.match(await tip.textContent(), /^iteration 1: /);
    await page.mouse.move(0, 0);
    await hit.focus();
    assert(await tip.isVisible());
  },

  async "without its script the run is told by its last moment and a table, and there is no dead control"({ browser }) {
    const page = await browser.newPage({ javaScriptEnabled: false, viewport: { width: 390, height: 900 } });
    await page.goto(address);
    assert(!(await page.locator("#slider").isVisible()) && !(await page.locator("#play").isVisible()));
    assert.match(await page.locator("#moment").textContent(), /^after \d+ iterations$/);
    assert((await page.locator("#film table tbody tr").count()) >= 5);
    await page.close();
  },

  async "on paper it is light and nothing is cut off"({ page }) {
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
    assert(!(await page.locator("#slider").isVisible()));
    const pdf = await page.pdf({ format: "A4" });
    assert(pdf.length > 10_000);
  },
};

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
const failed = await runAll(browser, address, tests);
if (given.screenshot) {
  const page = await browser.newPage({ viewport: { width: 1024, height: 900 } });
  await page.goto(address);
  // A quarter of the way some answers are right, which shows the most.
  await page.locator("#slider").evaluate((slider) => {
    slider.value = Math.round(slider.max / 4);
    slider.dispatchEvent(new Event("input"));
  });
  await page.locator("#film").screenshot({ path: given.screenshot });
}
await browser.close();
process.exit(failed ? 1 : 0);
