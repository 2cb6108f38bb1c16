
/* The page: which runs there are and which are chosen, the connection over which they change, and what is shown of them. */

const $ = (id) => document.getElementById(id);
const COLOURS = 8, DASHES = 4, AUTOMATIC = 8, MOST_POINTS = 4000;

const runs = new Map();
/** Of the runs in the charts, and of those that were: their points. */
const curves = new Map();
/** The runs in the charts, with the number of each one's colour. */
const selected = new Map();
/** Until somebody chooses, whatever trains is shown. */
let automatic = true;
let source = null, folder = "", listDue = false, chartsDue = false;

const look = (number) => `c${number % COLOURS} d${Math.floor(number / COLOURS) % DASHES}`;
const address = (name) => `/api/runs/${encodeURIComponent(name)}`;

/* Choosing */

function select(name) {
  if (selected.has(name)) return;
  const taken = new Set(selected.values());
  let number = 0;
  while (taken.has(number)) number++;
  selected.set(name, number);
  if (!curves.has(name)) load(name);
}

function choose(name, isChosen) {
  automatic = false;
  if (isChosen) select(name); else selected.delete(name);
  const names = [...selected.keys()].map(encodeURIComponent).join(",");
  history.replaceState(null, "", names ? `#${names}` : location.pathname);
  due();
}

function chooseByAddress() {
  const names = location.hash.slice(1).split(",").filter(Boolean).map((name) => { try { return decodeURIComponent(name); } catch { return name; } });
  if (!names.length) return;
  automatic = false;
  selected.clear();
  for (const name of names) select(name);
  due();
}

function chooseAutomatically() {
  if (!automatic) return;
  const newest = [...runs.values()].sort((a, b) => (b.started ?? "").localeCompare(a.started ?? ""));
  for (const run of newest) if (run.status === "running" && selected.size < AUTOMATIC) select(run.name);
  if (!selected.size && newest.length) select((newest.find((run) => run.epochs_done > 0) ?? newest[0]).name);
}

/* The points of curves */

async function load(name) {
  const curve = curves.get(name) ?? { epochs: [], progress: [] };
  const waiting = (curve.waiting = []);
  curves.set(name, curve);
  try {
    const reply = await fetch(address(name));
    if (!reply.ok) throw new Error(reply.status);
    const { epochs, progress } = await reply.json();
    // Asked again meanwhile: the later answer knows more.
    if (curve.waiting !== waiting) return;
    Object.assign(curve, { epochs: [], progress: [], waiting: null });
    for (const points of [{ epochs, progress }, ...waiting]) add(curve, points);
  } catch {
    // Gone, or the board is: what is known stays, and comes again with the next connection.
    if (curve.waiting === waiting) curve.waiting = null;
  }
  due();
}

/** Adds what is newer than what is there: points may come twice, from the file and as an event. */
function add(curve, { epochs, progress }) {
  let last = curve.epochs.at(-1)?.epoch ?? 0;
  for (const point of epochs) if (point.epoch > last) { curve.epochs.push(point); last = point.epoch; }
  let newest = curve.progress.at(-1)?.iteration ?? 0;
  for (const point of progress) if (point.iteration > newest) { curve.progress.push(point); newest = point.iteration; }
  while (curve.progress.length > MOST_POINTS) curve.progress = curve.progress.filter((_, place) => place % 2);
}

/** Both kinds of points of a run as lines of `what`, loss or accuracy, over the chosen axis. */
function lines(name, number, what, axis, show) {
  const { epochs, progress } = curves.get(name) ?? { epochs: [], progress: [] };
  const perEpoch = progress.length ? progress[0].iterations / progress[0].epochs : epochs.length ? epochs[0].iteration / epochs[0].epoch : 1;
  let seconds = 0;
  const ends = epochs.map((point) => ({ ...point, x: { epochs: point.epoch, iterations: point.iteration ?? point.epoch * perEpoch, time: (seconds += point.seconds ?? 0) }[axis] }));
  const inside = progress.map((point) => ({ ...point, x: { epochs: point.iteration / perEpoch, iterations: point.iteration, time: point.seconds }[axis] }));
  const value = (v) => v ?? NaN;
  const validation = ends.map((point) => [point.x, value(point[`validation_${what}`])]).filter(([, y]) => Number.isFinite(y));
  // Whichever is finer: what was written inside epochs, or their ends.
  const training = inside.length > ends.length ? inside.map((point) => [point.x, value(point[what])]) : ends.map((point) => [point.x, value(point[`train_${what}`])]);
  const base = { name, look: look(number) };
  const found = [];
  const hasBoth = show.validation && validation.length > 0;
  if (show.training) found.push({ ...base, points: training, thin: hasBoth, kind: "training" });
  if (hasBoth) found.push({ ...base, points: validation, dots: true, kind: "validation" });
  return found;
}

/* The connection */

function connect() {
  if (source || document.hidden) return;
  source = new EventSource("/api/events");
  const on = (kind, handle) => source.addEventListener(kind, (event) => { handle(JSON.parse(event.data)); due(); });
  on("all", (all) => {
    told("live", "live");
    folder = all.folder;
    runs.clear();
    for (const run of all.runs) runs.set(run.name, run);
    // What happened since the last connection is unknown.
    for (const name of [...curves.keys()]) if (selected.has(name)) load(name); else curves.delete(name);
    chooseAutomatically();
  });
  on("runs", ({ changed, gone }) => {
    for (const run of changed) runs.set(run.name, run);
    for (const name of gone) { runs.delete(name); curves.delete(name); selected.delete(name); }
    chooseAutomatically();
  });
  on("points", ({ run, reset, epochs, progress }) => {
    const curve = curves.get(run);
    if (!curve) return;
    if (reset) { if (selected.has(run)) load(run); else curves.delete(run); return; }
    if (curve.waiting) curve.waiting.push({ epochs, progress }); else add(curve, { epochs, progress });
  });
  source.addEventListener("error", () => told("lost", "the board does not answer: this is what it last said"));
}

function told(look, text) {
  $("link").className = `soft ${look}`;
  $("link").textContent = text;
}

document.addEventListener("visibilitychange", () => {
  // Nobody looks: the board need not either.
  if (document.hidden) { source?.close(); source = null; } else connect();
});

/* What is shown */

function due() {
  if (!listDue) requestAnimationFrame(paint);
  listDue = chartsDue = true;
}

function paint() {
  listDue = false;
  paintList();
  if (chartsDue) { chartsDue = false; paintCharts(); }
}

function paintList() {
  const shown = list.show(runs, new Map([...selected].map(([name, number]) => [name, look(number)])), $("filter").value);
  const counts = STANDINGS.map((status) => [status, [...runs.values()].filter((run) => run.status === status).length]).filter(([, count]) => count);
  $("about").textContent = [folder, ...counts.map(([status, count]) => `${count} ${status}`)].filter(Boolean).join(" · ");
  $("counted").textContent = shown === runs.size ? "" : `${shown} of ${runs.size}`;
  $("clear").hidden = !selected.size;
  $("empty").hidden = shown > 0;
  $("empty").textContent = runs.size ? "No run fits the filter." : "There are no runs here yet. `kiln train` begins one, and it appears.";
}

const AXES = {
  epochs: { least: 1, tick: String, said: (x) => `epoch ${Number.isInteger(x) ? x : x.toFixed(2)}` },
  iterations: { least: 1, tick: (x) => x.toLocaleString("en"), said: (x) => `iteration ${Math.round(x).toLocaleString("en")}` },
  time: { least: 0, tick: (x) => (x === 0 ? "0" : duration(x)), said: duration },
};

function paintCharts() {
  const axis = document.querySelector("[name=axis]:checked").value;
  const show = { training: $("show-training").checked, validation: $("show-validation").checked };
  const isLog = $("log").checked;
  const of = (what) => [...selected].flatMap(([name, number]) => lines(name, number, what, axis, show));
  charts.loss.show(of("loss"), isLog ? "log" : "linear", AXES[axis]);
  charts.accuracy.show(of("accuracy"), isLog ? "lacking" : "linear", AXES[axis]);
  paintLegend();
}

function paintLegend() {
  const names = [...selected.keys()].join("\n");
  $("none-shown").hidden = selected.size > 0;
  if ($("legend").dataset.names === names) return;
  $("legend").dataset.names = names;
  const items = [...selected].map(([name, number]) => {
    const button = element("button", { type: "button", "aria-label": `Take ${name} out of the charts`, title: "Take out" }, "×");
    button.addEventListener("click", () => { choose(name, false); $("runs").focus({ preventScroll: true }); });
    return element("li", {}, swatch(look(number)), element("span", { class: "clip", title: name }, name), button);
  });
  $("legend").replaceChildren(...items);
}

/** Both charts mark the same place; the one that is looked at says what is there. */
function moved(chart, x) {
  for (const one of Object.values(charts)) {
    const text = one.mark(x, one === chart);
    if (one === chart) $("readout").textContent = text;
  }
}

/* One run */

async function open(name) {
  const run = runs.get(name);
  if (!run) return;
  $("details-title").textContent = name;
  $("details-body").replaceChildren(element("p", { class: "soft" }, "Reading…"));
  if (!$("details").open) $("details").showModal();
  try {
    const reply = await fetch(address(name));
    const answer = await reply.json();
    if (!reply.ok) throw new Error(answer.error.message);
    describe(answer);
  } catch (error) {
    $("details-body").replaceChildren(element("p", {}, `This run cannot be read: ${error.message}`));
  }
}

function describe({ run, path, record, config }) {
  const list = element("dl");
  const line = (title, ...inside) => inside[0] && list.append(element("dt", {}, title), element("dd", {}, ...inside));
  const status = element("span", { class: `status ${run.status}` }, run.status);
  line("status", status, run.message ? `: ${run.message}` : "");
  if (run.has_report) line("report", element("a", { href: `/reports/${encodeURIComponent(run.name)}`, target: "_blank", rel: "noopener" }, "open its report"));
  else line("report", "not yet; make one: ", element("code", {}, `kiln report ${path}`));
  line("folder", element("code", {}, path));
  line("began", run.started && `${moment(run.started)}${run.ended ? `, ended ${moment(run.ended)}` : ""}`);
  line("epochs", `${run.epochs_done} of ${known(run.epochs, String)}${run.best_epoch ? `, the best is ${run.best_epoch}` : ""}`);
  line("validation", run.validation_accuracy !== null && percent(run.validation_accuracy));
  line("test", run.test_accuracy !== null && percent(run.test_accuracy));
  line("time", duration(run.seconds), run.images_per_second ? `, ${Math.round(run.images_per_second).toLocaleString("en")} images/s` : "");
  line("model", run.model_bytes !== null && `model.bpk, ${bytes(run.model_bytes)}`);
  line("seed", known(run.seed, String));
  if (record) {
    line("computed", `${record.device}, ${record.threads} threads, kiln ${record.kiln_version}${record.git_commit ? `, commit ${record.git_commit.slice(0, 10)}` : ""}`);
    line("parent", record.parent);
    for (const entry of record.history ?? []) line("history", entry);
    for (const warning of record.warnings ?? []) line("warning", warning);
  }
  const text = element("pre", { tabindex: "0", "aria-label": "config.toml" }, config || "There is no config.toml.");
  $("details-body").replaceChildren(list, text);
}

/* Beginning */

const charts = {
  loss: new Chart($("loss"), "Loss", (loss, isTick) => (isTick ? round(loss) : lossText(loss)), moved),
  accuracy: new Chart($("accuracy"), "Accuracy", (share, isTick) => (isTick ? `${Number((share * 100).toFixed(3))} %` : percent(share)), moved),
};
const list = new List($("head"), $("body"), choose, open);
for (const control of document.querySelectorAll("[name=axis], .tick input")) control.addEventListener("change", due);
$("filter").addEventListener("input", due);
$("clear").addEventListener("click", () => { for (const name of [...selected.keys()]) choose(name, false); });
$("close").addEventListener("click", () => $("details").close());
addEventListener("hashchange", chooseByAddress);
chooseByAddress();
connect();
