// What the tests of all pages share: how a page looks, asked inside it by `page.evaluate`; what the keyboard reaches; and
// the run of tests over a page that is opened anew for each.
import assert from "node:assert/strict";

/** Runs in the page: what is wider than the window and not inside something that scrolls. */
export function tooWide() {
  const excess = document.documentElement.scrollWidth - innerWidth;
  if (excess <= 0) return "";
  const wide = [...document.querySelectorAll("body *")].filter(
    (one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, pre, [popover]"),
  );
  return `${excess} px: ${wide.slice(0, 3).map((one) => `${one.tagName}.${one.className}`).join(", ")}`;
}

/** Runs in the page: the text with the least contrast to what is behind it, as WCAG 2 computes it. */
export function contrasts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let worst = { ratio: 21, text: "" };
  for (const element of document.querySelectorAll("p, h1, h2, span, th, td, button, summary, label, a, figcaption, dt, dd, li, text, b, i, code, pre")) {
    if (!element.checkVisibility() || !element.textContent.trim()) continue;
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const style = getComputedStyle(element);
    const a = light(parse(element.tagName === "text" ? style.fill : style.color));
    const b = light(parse(getComputedStyle(behind ?? document.body).backgroundColor));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: `${element.tagName} ${element.textContent.slice(0, 40)}` };
  }
  return worst;
}

/** Goes through the page by Tab; how many controls it has, all of which must be reached. */
export async function reachAll(page) {
  const all = await page.evaluate(() => {
    const one = "a[href], button, input, summary, [tabindex='0']";
    const found = [...document.querySelectorAll(one)].filter((each) => !each.closest("[popover]") && each.checkVisibility());
    found.forEach((each, place) => (each.dataset.place = place));
    return found.length;
  });
  const reached = new Set();
  for (let i = 0; i < all + 5; i++) {
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => document.activeElement.dataset.place);
    if (place !== undefined) reached.add(place);
  }
  assert.equal(reached.size, all, "some controls are not reached");
  return all;
}

/** Runs `tests`, each over the page at `address` in a window of its own; how many failed. */
export async function runAll(browser, address, tests) {
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    const page = await browser.newPage({ viewport: { width: 1024, height: 900 } });
    const [complaints, requests] = [[], []];
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => requests.push(request.url()));
    try {
      await page.goto(address);
      const note = await test({ browser, page, complaints, requests });
      console.log(`ok      ${name}${note ? ` (${note.join(", ")})` : ""}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
    await page.close();
  }
  return failed;
}
