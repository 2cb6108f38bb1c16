// The board in a real browser, over runs that train meanwhile: curves grow without a reload, a killed run shows as stopped,
// and the page is looked at at three widths, in light and dark, with mouse and keyboard.
//
//   node board.mjs [--kiln ../../target/debug/kiln] [--screenshot board.png]
//
// With --screenshot, nothing is tested: a few short runs on MNIST are trained, and a picture is taken of the board over them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { contrasts, tooWide } from "./look.mjs";

const { values: given } = parseArgs({
  options: {
    kiln: { type: "string", default: "../../target/debug/kiln" },
    browser: { type: "string", default: "/usr/bin/chromium" },
    screenshot: { type: "string" },
  },
});
const kiln = resolve(given.kiln);
const folder = mkdtempSync(join(tmpdir(), "kiln-board-"));
const runs = join(folder, "runs");
const started = [];

function start(args, stdout = "ignore", stderr = "inherit") {
  const child = spawn(kiln, args, { cwd: folder, stdio: ["ignore", stdout, stderr], env: { ...process.env, RAYON_NUM_THREADS: "1" } });
  started.push(child);
  return child;
}

/** Trains on made-up images, for as long as it takes to be looked at. */
function train(name, sets = []) {
  const base = ["train.epochs=400", "data.train=4000", "data.test=100", "data.validation=200", "train.batch_size=25", "checkpoint.keep_last=1"];
  const key = (set) => set.split("=")[0];
  const others = base.filter((one) => !sets.some((set) => key(set) === key(one)));
  const args = ["train", "smoke", "--quiet", "--device", "flex", ...[`name=${name}`, ...others, ...sets].flatMap((set) => ["--set", set])];
  return start(args);
}

async function serve(args) {
  const child = start(args, "pipe", "ignore");
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([once(lines, "line"), once(child, "exit").then(() => ["{}"])]);
  const { url } = JSON.parse(line);
  assert(url, "the board did not start");
  return { child, url };
}

/** Waits until `look` gives something. */
async function until(what, look, seconds = 40) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(100)) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`waited ${seconds} s for ${what}`);
}

/** Runs in the page: how many points each curve of a chart has, by the name of its run. */
function pointsOf(chart) {
  const found = {};
  for (const path of document.querySelectorAll(`#${chart} path.curve`)) found[path.dataset.name] = (found[path.dataset.name] ?? 0) + Number(path.dataset.points);
  return found;
}

const statusOf = (page, name) => page.evaluate((name) => [...document.querySelectorAll("#body tr")].find((row) => row.querySelector(".name").textContent === name)?.querySelector(".status").textContent, name);
const HOSTILE = "<img src=x onerror=document.title=1>";

const tests = {
  async "an empty folder says so, and a run that begins appears by itself"({ page }) {
    await until("the words", () => page.locator("#empty").isVisible());
    assert.match(await page.locator("#empty").textContent(), /no runs here yet/);
    train("one");
    await until("the run", async () => (await statusOf(page, "one-0001")) === "running");
    assert.match(await page.locator("#about").textContent(), /1 running/);
    assert.deepEqual(await page.locator("#legend li .clip").allTextContents(), ["one-0001"]);
  },

  async "four runs in training are overlaid, and all curves move without a reload"({ page }) {
    for (const name of ["two", "three", "four"]) train(name, [`optimizer.learning_rate=${{ two: 0.001, three: 0.0003, four: 0.003 }[name]}`]);
    const names = ["one-0001", "two-0001", "three-0001", "four-0001"];
    await page.evaluate(() => (window.unreloaded = true));
    const first = await until("four curves", async () => {
      const points = await page.evaluate(pointsOf, "loss");
      return names.every((name) => points[name] > 2) && points;
    });
    const later = await until("all four to grow", async () => {
      const points = await page.evaluate(pointsOf, "loss");
      return names.every((name) => points[name] > first[name] + 2) && points;
    });
    assert(await page.evaluate(() => window.unreloaded), "the page was loaded again");
    const looks = await page.evaluate(() => [...document.querySelectorAll("#loss path.curve")].map((one) => getComputedStyle(one).stroke));
    assert.equal(new Set(looks).size, 4, "colours repeat");
    const points = (all) => Object.values(all).reduce((a, b) => a + b);
    return [`${points(first)} points, then ${points(later)}`];
  },

  async "a run that is killed shows as stopped, and the others go on"({ page, pids }) {
    process.kill(started.find((child) => child.spawnargs.includes("name=two")).pid, "SIGKILL");
    await until("the word", async () => (await statusOf(page, "two-0001")) === "stopped");
    assert.equal(await statusOf(page, "one-0001"), "running");
    await page.getByRole("button", { name: "two-0001", exact: true }).click();
    await until("its details", async () => /was killed; go on with it: kiln resume/.test(await page.locator("#details-body").textContent()));
    assert.match(await page.locator("#details-body pre").textContent(), /name = "two"/);
    await page.keyboard.press("Escape");
    assert(!(await page.locator("#details").isVisible()));
  },

  async "values are told under the pointer and to the keyboard"({ page }) {
    const box = await page.locator("#loss").boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
    await until("the values", () => page.locator("#loss .tip").isVisible());
    assert.match(await page.locator("#loss .tip").textContent(), /^epoch [\d.]+trainingvalidation.*-0001[\d–]/);
    await page.mouse.move(0, 0);
    assert(!(await page.locator("#loss .tip").isVisible()));
    await page.locator("#accuracy").focus();
    for (const key of ["End", "ArrowLeft", "ArrowLeft"]) await page.keyboard.press(key);
    const read = await page.locator("#readout").textContent();
    assert.match(read, /^epoch [\d.]+: \w+-0001 training [\d.]+ %/);
    await page.keyboard.press("Home");
    assert.notEqual(await page.locator("#readout").textContent(), read);
    await page.keyboard.press("Escape");
    assert(!(await page.locator("#accuracy .tip").isVisible()));
  },

  async "axes, scales and kinds of curves change what is drawn"({ page }) {
    const drawn = () => page.locator("#loss").evaluate((one) => one.querySelector("svg").innerHTML.replace(/data-points="\d+"/g, ""));
    const labels = () => page.locator("#loss text").allTextContents();
    for (const axis of ["iterations", "time", "epochs"]) {
      const before = await labels();
      await page.locator(`[name=axis][value=${axis}]`).check();
      await until(axis, async () => String(await labels()) !== String(before));
    }
    const before = await drawn();
    await page.locator("#log").uncheck();
    await until("another scale", async () => (await drawn()) !== before);
    await page.locator("#log").check();
    await page.locator("#show-training").uncheck();
    await until("validation alone", async () => (await page.locator("#loss path.thin").count()) === 0);
    await page.locator("#show-training").check();
  },

  async "names are text, whatever they are"({ page }) {
    const titles = new Set([await page.title()]);
    await until("the name", () => statusOf(page, HOSTILE));
    await page.getByRole("checkbox", { name: `${HOSTILE} in the charts` }).check();
    await page.getByRole("button", { name: HOSTILE, exact: true }).click();
    await until("its details", async () => /run\.json/.test(await page.locator("#details-body").textContent()));
    await page.locator("#close").click();
    titles.add(await page.title());
    assert.equal(titles.size, 1);
    assert.equal(await page.locator("img").count(), 0);
    await page.getByRole("button", { name: `Take ${HOSTILE} out of the charts` }).click();
  },

  async "a column sorts, a word filters, and the address keeps what was chosen"({ page }) {
    const names = () => page.locator("#body .name").allTextContents();
    const title = page.getByRole("columnheader", { name: "run", exact: true }).getByRole("button");
    await title.click();
    const up = await names();
    assert.deepEqual(up, [...up].sort((a, b) => a.localeCompare(b, "en", { numeric: true })));
    await title.click();
    assert.deepEqual(await names(), [...up].reverse());
    await page.locator("#filter").fill("stopped");
    await until("one row", async () => String(await names()) === "two-0001");
    await page.locator("#filter").fill("");
    await page.getByRole("button", { name: "Clear the charts" }).click();
    await page.getByRole("checkbox", { name: "four-0001 in the charts" }).check();
    assert.equal(new URL(page.url()).hash, "#four-0001");
    await page.reload();
    await until("the same choice", async () => String(await page.locator("#legend li .clip").allTextContents()) === "four-0001");
    await until("its curve", async () => (await page.evaluate(pointsOf, "loss"))["four-0001"] > 2);
  },

  async "nothing is wider than the window at 390, 1024 and 1920 pixels, in light and dark, and text is readable"({ page }) {
    const grounds = new Set();
    const looks = async (where) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        for (const width of [390, 1024, 1920]) {
          await page.setViewportSize({ width, height: 900 });
          assert.equal(await page.evaluate(tooWide), "", `${where} at ${width} in ${colorScheme}`);
        }
        grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        const worst = await page.evaluate(contrasts);
        assert(worst.ratio >= 4.5, `${where}, ${colorScheme}: ${worst.ratio.toFixed(2)} for ${worst.text}`);
      }
    };
    await page.locator("#loss").focus();
    await page.keyboard.press("End");
    await looks("the list");
    await page.getByRole("button", { name: "four-0001", exact: true }).click();
    await until("the details", async () => (await page.locator("#details-body dt").count()) > 3);
    await looks("the details");
    await page.locator("#close").click();
    assert.equal(grounds.size, 2, "dark looks like light");
  },

  async "the keyboard alone reaches every control"({ page }) {
    const all = await page.evaluate(() => {
      // Of a group of radio buttons, Tab reaches the one that is chosen; the arrow keys reach the others.
      const one = "a[href], button, input:not([type=radio]), input[type=radio]:checked, [tabindex='0']";
      const found = [...document.querySelectorAll(one)].filter((each) => each.checkVisibility());
      found.forEach((each, place) => (each.dataset.place = place));
      return found.length;
    });
    const reached = new Set();
    for (let i = 0; i < all + 10; i++) {
      await page.keyboard.press("Tab");
      const place = await page.evaluate(() => document.activeElement.dataset.place);
      if (place !== undefined) reached.add(place);
    }
    assert.equal(reached.size, all, "some controls are not reached");
    return [`${all} controls`];
  },

  async "a run that is deleted goes, and the report of one that is finished opens"({ page, context }) {
    rmSync(join(runs, "two-0001"), { recursive: true });
    await until("it to go", async () => (await statusOf(page, "two-0001")) === undefined);
    train("short", ["train.epochs=1", "data.train=1000"]);
    await until("the end", async () => (await statusOf(page, "short-0001")) === "done");
    await page.getByRole("button", { name: "short-0001", exact: true }).click();
    const link = page.getByRole("link", { name: "open its report" });
    await link.waitFor();
    const reply = await context.request.get(new URL(await link.getAttribute("href"), page.url()).href);
    assert.equal(reply.status(), 200);
    assert.match(reply.headers()["content-security-policy"], /^default-src 'none'.*sandbox$/);
    assert.match(await reply.text(), /<h1>short-0001<\/h1>/);
    await page.keyboard.press("Escape");
  },
};

/** `kiln train --board`: its own board follows it to its end. */
async function follows(browser) {
  const child = start(["train", "smoke", "--board", "--runs", "own", "--set", "train.epochs=20", "--set", "data.train=4000", "--set", "train.batch_size=10"], "pipe");
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  const url = await until("the address", () => /board +(http:\S+#smoke-0001)/.exec(said)?.[1]);
  const page = await browser.newPage();
  await page.goto(url);
  await until("the run", async () => (await statusOf(page, "smoke-0001")) === "running");
  assert.deepEqual(await page.locator("#legend li .clip").allTextContents(), ["smoke-0001"]);
  await once(child, "exit");
  assert.equal(child.exitCode, 0);
  assert.match(said, /board +ended with the training; look again: kiln board own/);
  await until("the end", async () => (await statusOf(page, "smoke-0001")) === "done");
  await until("the loss of the board", () => page.locator("#link.lost").isVisible());
  await page.close();
}

async function test(browser) {
  const { child, url } = await serve(["board", "--addr", "127.0.0.1:0", "--json"]);
  const context = await browser.newContext({ viewport: { width: 1024, height: 900 } });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(url);
  let failed = 0;
  const all = { ...tests, "train --board shows the run until it is over": () => follows(browser) };
  for (const [name, one] of Object.entries(all)) {
    try {
      if (name.startsWith("names")) {
        mkdirSync(join(runs, HOSTILE));
        writeFileSync(join(runs, HOSTILE, "run.json"), "{");
      }
      const note = await one({ page, context });
      assert.deepEqual(complaints, []);
      console.log(`ok      ${name}${note ? ` (${note.join(", ")})` : ""}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
  }
  // A page that is open does not hold the board up.
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
  return failed;
}

/** A few runs of a few networks, the last of them still in training. */
async function picture(browser) {
  const short = (name, config, sets) => {
    const args = ["train", config, "--quiet", ...["data.validation=5000", `name=${name}`, ...sets].flatMap((set) => ["--set", set])];
    return spawn(kiln, args, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  };
  const epochs = "train.epochs=5";
  for (const [name, config, sets] of [
    ["mlp", "mnist-mlp", [epochs]],
    ["linear", "mnist", ["model.kind=linear", epochs]],
    ["lenet-sgd", "batch-iteration-epoch", [epochs]],
    ["convnet", "mnist", [epochs]],
  ]) {
    const child = short(name, config, sets);
    started.push(child);
    await once(child, "exit");
  }
  const killed = short("lenet-lr-0.1", "batch-iteration-epoch", [epochs, "optimizer.learning_rate=0.1"]);
  await sleep(6000);
  killed.kill("SIGINT");
  await once(killed, "exit");
  const { child, url } = await serve(["board", "--addr", "127.0.0.1:0", "--json"]);
  const last = short("convnet-dropout", "mnist", [epochs, "model.dropout=0.3"]);
  started.push(last);
  const page = await browser.newPage({ viewport: { width: 1200, height: 860 }, deviceScaleFactor: 2 });
  await page.goto(url);
  for (const name of ["convnet-0001", "mlp-0001", "lenet-sgd-0001", "linear-0001"]) await page.getByRole("checkbox", { name: `${name} in the charts` }).check();
  await page.getByRole("checkbox", { name: "convnet-dropout-0001 in the charts" }).check();
  await until("two epochs", async () => /[2-4]\/5/.test(await page.locator("#body tr.running").textContent()), 120);
  const box = await page.locator("#accuracy").boundingBox();
  await page.mouse.move(box.x + box.width * 0.62, box.y + box.height / 2);
  await sleep(300);
  await page.screenshot({ path: given.screenshot });
  child.kill("SIGTERM");
  return 0;
}

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
let failed = 1;
try {
  failed = await (given.screenshot ? picture(browser) : test(browser));
} finally {
  for (const child of started) child.kill("SIGKILL");
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
