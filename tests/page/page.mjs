// The drawing page in a real browser: strokes are drawn with the mouse, a finger and the keyboard, and the answers read.
//
//   node page.mjs [--kiln ../../target/debug/kiln] [--model model.bpk] [--digits] [--screenshot page.png]
//
// With --digits the model is one of MNIST and must recognise what is drawn; without, any model with 28 x 28 pixels does.
// With --photos it is one that was not trained on drawings, of any size.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { DIGITS, answer, draw } from "./digits.mjs";

const { values: given } = parseArgs({
  options: {
    kiln: { type: "string", default: "../../target/debug/kiln" },
    model: { type: "string", default: "model.bpk" },
    browser: { type: "string", default: "/usr/bin/chromium" },
    digits: { type: "boolean", default: false },
    photos: { type: "boolean", default: false },
    screenshot: { type: "string" },
  },
});

async function startServer() {
  const server = spawn(given.kiln, ["serve", given.model, "--addr", "127.0.0.1:0", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: server.stdout });
  const [line] = await Promise.race([once(lines, "line"), once(server, "exit").then(() => ["{}"])]);
  const { url } = JSON.parse(line);
  assert(url, "the server did not start");
  return { server, url };
}

const tests = {
  async "the page loads without a complaint and names the model"({ page, complaints }) {
    await page.waitForFunction(() => /classes/.test(document.getElementById("about").textContent));
    assert.equal(await page.locator("#bars li").count(), 10);
    assert.deepEqual(complaints, []);
  },

  async "a drawing is answered, with bars that add up and what the network saw"({ page }) {
    await draw(page, DIGITS[3]);
    await answer(page);
    const values = await page.locator("#bars [role=meter]").evaluateAll((all) => all.map((one) => +one.ariaValueNow));
    const sum = values.reduce((a, b) => a + b);
    assert(Math.abs(sum - 100) < 1, `the bars add up to ${sum}`);
    const lit = await page.locator("#seen").evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return [canvas.width, canvas.height, data.filter((value, i) => i % 4 === 0 && value > 128).length];
    });
    assert.deepEqual(lit.slice(0, 2), [28, 28]);
    assert(lit[2] > 20, `${lit[2]} pixels are lit`);
  },

  async "undo and clear go back to nothing"({ page }) {
    await draw(page, DIGITS[4]);
    await answer(page);
    assert(await page.locator("#hint").isHidden());
    await page.getByRole("button", { name: "Undo" }).click();
    await answer(page);
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await page.locator("#label").textContent(), "–");
    assert(await page.locator("#hint").isVisible());
    await draw(page, DIGITS[1]);
    await answer(page);
    await page.getByRole("button", { name: "Clear" }).click();
    assert.equal(await page.locator("#label").textContent(), "–");
    assert(await page.getByRole("button", { name: "Clear" }).isDisabled());
  },

  async "a first dot is no error"({ page }) {
    const box = await page.locator("#pad").boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await page.waitForFunction(() => document.getElementById("sure").textContent !== "");
    assert.equal(await page.locator("#trouble").textContent(), "");
  },

  async "the keyboard alone can draw"({ page }) {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "pad");
    for (let i = 0; i < 3; i++) await page.keyboard.press("Shift+ArrowUp");
    await page.keyboard.press("Space");
    for (let i = 0; i < 7; i++) await page.keyboard.press("Shift+ArrowDown");
    await page.keyboard.press("Space");
    const label = await answer(page);
    if (given.digits) assert.equal(label, "1");
    await page.keyboard.press("z");
    assert.equal(await page.locator("#label").textContent(), "–");
  },

  async "a server that is gone is reported, and the page goes on when it is back"({ page }) {
    await page.route("**/v1/predict*", (route) => route.abort());
    await draw(page, DIGITS[7]);
    await page.waitForFunction(() => /does not answer/.test(document.getElementById("trouble").textContent));
    await page.unroute("**/v1/predict*");
    await draw(page, [[[0.5, 0.4], [0.51, 0.4]]]);
    await answer(page);
    assert.equal(await page.locator("#trouble").textContent(), "");
  },

  async "nothing is wider than a small telephone, in light and dark, and text is readable"({ page }) {
    await draw(page, DIGITS[2]);
    await answer(page);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      for (const width of [360, 768, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert(overflow <= 0, `${overflow} px too wide at ${width}`);
      }
      const worst = await page.evaluate(contrasts);
      assert(worst.ratio >= 4.5, `${colorScheme}: ${worst.ratio.toFixed(2)} for ${worst.text}`);
    }
  },
};

const photoTests = {
  async "a model of photographs leads with an area for pictures, and can be drawn on when asked"({ page, complaints }) {
    assert(await page.locator("#hint").isVisible());
    assert.match(await page.locator("#hint").textContent(), /Drop, paste or choose/);
    const chosen = page.waitForEvent("filechooser");
    await page.locator("#pad").click();
    const bytes = await page.screenshot({ clip: { x: 0, y: 0, width: 64, height: 64 } });
    await (await chosen).setFiles({ name: "photo.png", mimeType: "image/png", buffer: bytes });
    await answer(page);
    await page.getByRole("button", { name: "Clear" }).click();
    await page.keyboard.press("Shift+Tab");
    const byKey = page.waitForEvent("filechooser");
    await page.locator("#pad").focus();
    await page.keyboard.press("Enter");
    await byKey;
    await page.getByRole("button", { name: "Draw instead" }).click();
    await draw(page, DIGITS[3]);
    await answer(page);
    assert.deepEqual(complaints, []);
  },
};

/** On a telephone, upright and on its side: board, buttons and answer are seen without scrolling. */
async function telephone(browser, url) {
  for (const [width, height] of [[360, 640], [390, 844], [320, 568], [640, 360], [844, 390], [568, 320]]) {
    const context = await browser.newContext({ hasTouch: true, isMobile: true, viewport: { width, height } });
    const page = await context.newPage();
    await page.goto(url);
    await page.waitForFunction(() => /classes/.test(document.getElementById("about").textContent));
    if (!given.photos) {
      await draw(page, DIGITS[3]);
      await answer(page);
    }
    for (const id of ["#pad", "#clear", "#open", "#label", "#sure", "#seen"]) {
      const box = await page.locator(id).boundingBox();
      const right = box.x + box.width, bottom = box.y + box.height;
      assert(box.x >= 0 && box.y >= 0 && right <= width && bottom <= height, `${width}x${height}: ${id} ends at ${right}, ${bottom}`);
    }
    const board = await page.locator("#pad").boundingBox();
    assert(Math.min(board.width, board.height) >= 150, `${width}x${height}: the board is ${board.width} wide`);
    if (width > height && !given.photos) {
      const last = await page.locator("#bars li").last().boundingBox();
      assert(last.y + last.height <= height, `${width}x${height}: the bars end at ${last.y + last.height}`);
    }
    assert((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${width}x${height}: too wide`);
    await context.close();
  }
}

/** Runs in the page: the text with the least contrast to what is behind it, as WCAG 2 computes it. */
function contrasts() {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let worst = { ratio: 21, text: "" };
  for (const element of document.querySelectorAll("p, h1, h2, span, button:enabled, summary, code, a, figcaption")) {
    if (!element.checkVisibility() || !element.textContent.trim()) continue;
    let behind = element;
    while (behind && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
    const a = light(parse(getComputedStyle(element).color));
    const b = light(parse(getComputedStyle(behind ?? document.body).backgroundColor));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: element.textContent.slice(0, 40) };
  }
  return worst;
}

async function touch(browser, url) {
  const context = await browser.newContext({ hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } });
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction(() => /classes/.test(document.getElementById("about").textContent));
  const box = await page.locator("#pad").boundingBox();
  const session = await context.newCDPSession(page);
  const finger = (type, point) =>
    session.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: point ? [{ x: box.x + point[0] * box.width, y: box.y + point[1] * box.height }] : [],
    });
  await finger("touchStart", [0.5, 0.2]);
  for (let i = 1; i <= 12; i++) await finger("touchMove", [0.5, 0.2 + i * 0.05]);
  await finger("touchEnd");
  const label = await answer(page);
  assert.equal(await page.evaluate(() => scrollY), 0, "drawing scrolled the page");
  if (given.digits) assert.equal(label, "1");
  await context.close();
}

async function recognises(page) {
  const wrong = [];
  for (const [digit, strokes] of Object.entries(DIGITS)) {
    await draw(page, strokes);
    const label = await answer(page);
    if (label !== digit) wrong.push(`${digit} as ${label}`);
    await page.getByRole("button", { name: "Clear" }).click();
  }
  assert(wrong.length <= 1, `taken: ${wrong.join(", ")}`);
  return wrong;
}

async function screenshot(page) {
  await page.setViewportSize({ width: 1000, height: 660 });
  await page.emulateMedia({ colorScheme: "light" });
  await draw(page, DIGITS[3]);
  await answer(page);
  await page.waitForTimeout(400);
  await page.screenshot({ path: given.screenshot });
}

const { server, url } = await startServer();
const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
let failed = 0;
const attempt = async (name, test) => {
  try {
    const note = await test();
    console.log(`ok      ${name}${note?.length ? ` (${note.join(", ")})` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
};
const fresh = async (test) => {
  const page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(url);
  await page.waitForFunction(() => /classes/.test(document.getElementById("about").textContent));
  const note = await test({ page, complaints });
  await page.close();
  return note;
};
for (const [name, test] of Object.entries(given.photos ? photoTests : tests)) await attempt(name, () => fresh(test));
if (!given.photos) await attempt("a finger can draw", () => touch(browser, url));
await attempt("everything is seen at once on a telephone", () => telephone(browser, url));
if (given.digits) await attempt("digits drawn with the mouse are recognised", () => fresh(({ page }) => recognises(page)));
if (given.screenshot) await attempt("screenshot", () => fresh(({ page }) => screenshot(page)));
await browser.close();
server.kill("SIGTERM");
const [code] = await once(server, "exit");
await attempt("the server ends in order", () => assert.equal(code, 0));
process.exit(failed ? 1 : 0);
