// The page that `kiln export --format html` makes, opened from the disk in a real browser with the network off: the golden
// samples, drawings and pictures are answered as kiln answers them.
//
//   node offline.mjs [--kiln ../../target/debug/kiln] --model model.bpk ... [--digits 50] [--screenshot page.png]
//
// With --digits, so many are drawn on the pages whose models look for ink.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { DIGITS, answer, draw, varied } from "./digits.mjs";

const { values: given } = parseArgs({
  options: {
    kiln: { type: "string", default: "../../target/debug/kiln" },
    model: { type: "string", multiple: true },
    browser: { type: "string", default: "/usr/bin/chromium" },
    digits: { type: "string", default: "0" },
    screenshot: { type: "string" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "kiln-page-"));
/** How far a probability may be from kiln's: the order of sums differs, in 32 bits. */
const CLOSE = 1e-4;

/** Runs in the page: pictures that are no drawings. The same every time. */
function pictures() {
  let state = 7;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  const kinds = [
    { width: 300, height: 400, paper: ["#fffdf0", "#b0a890"], ink: "#1a2a80", pen: 9, noise: 6 },
    { width: 1100, height: 800, paper: ["#f4f4f4", "#9a9a9a"], ink: "#222222", pen: 30, noise: 14 },
    { width: 900, height: 640, paper: ["#101018", "#302030"], ink: "#ffe060", pen: 4, noise: 3 },
    { width: 120, height: 90, paper: ["#ffffff", "#ffffff"], ink: "#c02020", pen: 16, noise: 0 },
    { width: 40, height: 24, paper: ["#ddeeff", "#88aacc"], ink: "#000000", pen: 2, noise: 4 },
    { width: 13, height: 12, paper: ["#000000", "#000000"], ink: "#ffffff", pen: 2, noise: 0 },
    { width: 640, height: 480, paper: null, ink: "#204020", pen: 24, noise: 0 },
  ];
  const found = [];
  for (const { width, height, paper, ink, pen, noise } of kinds) {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    [canvas.width, canvas.height] = [width, height];
    if (paper) {
      const light = context.createLinearGradient(0, 0, width, height);
      paper.forEach((colour, i) => light.addColorStop(i, colour));
      context.fillStyle = light;
      context.fillRect(0, 0, width, height);
    }
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = pen;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(width * 0.35, height * 0.25);
    context.lineTo(width * 0.62, height * 0.22);
    context.lineTo(width * 0.45, height * 0.75);
    context.stroke();
    context.fillRect(width * 0.9, height * 0.88, 2, 1);
    const image = context.getImageData(0, 0, width, height);
    for (let i = 0; i < image.data.length; i++) if (i % 4 < 3) image.data[i] += (random() - 0.5) * 2 * noise;
    context.putImageData(image, 0, 0);
    found.push(canvas.toDataURL("image/png").split(",")[1]);
  }
  return found;
}

/** Runs in the page: the answer to what is on its board, with all that it saw. */
async function whole() {
  const { prediction, error } = await answer();
  if (error) return { error: error.message };
  return { label: prediction.label, probabilities: Object.fromEntries(prediction.top.map((line) => [line.label, line.probability])), input: Array.from(prediction.input) };
}

/** Runs in the page: a drawing, as if its last stroke had just been ended. */
function put(strokes) {
  clear();
  board.strokes = strokes.map((points) => points.map(([x, y]) => ({ x: x * board.width, y: y * board.height })));
  show();
  return ask(true);
}

/** kiln's own answers, over HTTP since that tells what the network saw. */
async function startServer(model) {
  const server = spawn(given.kiln, ["serve", model, "--addr", "127.0.0.1:0", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface({ input: server.stdout }), "line");
  const { origin } = new URL(JSON.parse(line).url), { classes } = await (await fetch(`${origin}/v1/model`)).json();
  const ask = async (picture) => {
    const reply = await fetch(`${origin}/v1/predict?input=true&top=${classes.length}`, { method: "POST", body: picture });
    const body = await reply.json();
    return reply.ok ? body.predictions[0] : { error: body.error.message };
  };
  return { server, ask };
}

function compare(found, expected, what) {
  if (expected.error) return assert(found.error, `${what}: kiln says ${expected.error}`);
  assert(!found.error, `${what}: ${found.error}`);
  const different = found.input.filter((pixel, i) => pixel !== expected.input[i]).length;
  assert.equal(different, 0, `${what}: ${different} of ${found.input.length} pixels that the network saw differ`);
  assert.equal(found.label, expected.label, what);
  for (const { label, probability } of expected.top) {
    const difference = Math.abs(probability - found.probabilities[label]);
    assert(difference <= CLOSE, `${what}: ${label} has ${found.probabilities[label]}, not ${probability}`);
  }
}

/** What `kiln predict` says of the pictures of a folder, by their names. */
function predict(model, pictures) {
  const ran = spawnSync(given.kiln, ["predict", model, pictures, "--json"], { encoding: "utf8", maxBuffer: 1 << 26 });
  return new Map(ran.stdout.trim().split("\n").map((line) => JSON.parse(line)).map((line) => [line.picture.split("/").pop(), line]));
}

async function test(context, model, index) {
  const file = join(folder, `${index}.html`);
  execFileSync(given.kiln, ["export", model, "--format", "html", "--out", file, "--quiet"]);
  execFileSync(given.kiln, ["verify", file, "--quiet"]);
  const page = await context.newPage(), complaints = [], requests = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => /^(file|data|blob):/.test(request.url()) || requests.push(request.url()));
  await page.goto(pathToFileURL(file).href);
  await page.waitForFunction(() => document.querySelector("#about").textContent.includes("classes") || document.querySelector("#trouble").textContent);
  assert.equal(await page.locator("#trouble").textContent(), "");
  const replay = await page.locator("#replay").textContent();
  assert.match(replay, /: (\d+) of \1 golden samples/);
  assert.match(await page.evaluate(() => fetch("http://127.0.0.1:9/").then(String, String)), /TypeError/);
  complaints.length = 0; // that of the request, which the policy refuses

  const { server, ask } = await startServer(model);
  const kind = await page.evaluate(() => model.preprocess.fit.kind);
  let count = 0;
  for (const [number, base64] of (await page.evaluate(pictures)).entries()) {
    const buffer = Buffer.from(base64, "base64");
    await page.evaluate(() => (document.getElementById("spoken").textContent = ""));
    await page.locator("#file").setInputFiles({ name: "picture.png", mimeType: "image/png", buffer });
    await page.waitForFunction(() => board.picture && !asking && /./.test($("spoken").textContent + $("trouble").textContent));
    compare(await page.evaluate(whole), await ask(buffer), `picture ${number}`);
    await page.evaluate(() => clear());
    count += 1;
  }
  const digits = kind === "digit" ? +given.digits : 2, drawings = join(folder, `drawn-${index}`), shown = new Map();
  execFileSync("mkdir", [drawings]);
  // Networks that were not trained on drawings are led with a place for pictures.
  const instead = page.locator("#draw:visible");
  if (digits > 0 && (await instead.count()) > 0) await instead.click();
  for (let i = 0; i < digits; i++) {
    const turn = Math.floor(i / 10), how = [[0, 1, 0, 0], [12, 0.8, 0.1, -0.05], [-10, 1.15, 0, 0.03], [5, 0.5, -0.15, 0.2], [-18, 0.65, 0.2, 0.1]][turn % 5];
    const strokes = varied(DIGITS[i % 10], { degrees: how[0], scale: how[1], right: how[2], down: how[3] });
    // The first by mouse; the others are put on the board at once, which is so much faster.
    if (i < 3) await draw(page, strokes, 1); else await page.evaluate(put, strokes);
    const label = await answer(page);
    const url = await page.evaluate(() => drawing().toDataURL("image/png"));
    const buffer = Buffer.from(url.split(",")[1], "base64"), name = `${String(i).padStart(3, "0")}.png`;
    writeFileSync(join(drawings, name), buffer);
    compare(await page.evaluate(whole), await ask(buffer), `drawing ${i}`);
    shown.set(name, label);
    await page.getByRole("button", { name: "Clear" }).click();
  }
  if (digits > 0) {
    const said = predict(model, drawings);
    for (const [name, label] of shown) assert.equal(label, said.get(name).label, `${name}: not as \`kiln predict\` says`);
  }
  if (given.screenshot) {
    await page.setViewportSize({ width: 1000, height: 700 });
    await draw(page, DIGITS[3]);
    await answer(page);
    await page.screenshot({ path: given.screenshot });
  }
  assert.deepEqual(complaints, []);
  assert.deepEqual(requests, []);
  server.kill("SIGTERM");
  await page.close();
  return `${count} pictures and ${digits} drawings, the network's input the same to the last bit; ${replay.match(/: (\d+ of \d+)/)[1]} golden samples`;
}

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, offline: true });
let failed = 0;
for (const [index, model] of (given.model ?? ["model.bpk"]).entries()) {
  try {
    console.log(`ok      ${model}: ${await test(context, model, index)}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${model}\n${error.stack}`);
  }
}
await browser.close();
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
