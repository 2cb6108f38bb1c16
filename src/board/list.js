
/* How numbers are written, and the list of runs: one row each, changed in place, so that focus and selection stay. */

const percent = (share, digits = 2) => `${(share * 100).toFixed(digits)} %`;
const known = (value, write) => (value === null || value === undefined ? "–" : write(value));
const round = (value) => (value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential() : String(Number(value.toPrecision(6))));
const lossText = (loss) => (loss >= 10 ? loss.toFixed(1) : loss >= 0.1 ? loss.toFixed(3) : loss >= 0.001 ? loss.toFixed(4) : loss === 0 ? "0" : loss.toExponential(1));

function duration(seconds) {
  if (seconds < 99.5) return seconds < 9.95 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")}`;
}

function moment(text) {
  const time = new Date(text ?? "");
  if (Number.isNaN(time.getTime())) return "–";
  const clock = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return time.toDateString() === new Date().toDateString() ? clock : `${time.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${clock}`;
}

function bytes(count) {
  return count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

const STANDINGS = ["running", "stopped", "failed", "unreadable", "done"];
const kinds = (run) => [run.data, run.model, run.optimizer].filter(Boolean).join(" · ");

/** The columns: a title, what a row is sorted by, what it says, and its classes. */
const COLUMNS = [
  { title: "run", by: (run) => run.name },
  { title: "status", by: (run) => STANDINGS.indexOf(run.status) },
  { title: "config", by: kinds, text: (run) => kinds(run) || "–", look: "middle" },
  { title: "seed", by: (run) => run.seed, text: (run) => known(run.seed, String), look: "number wide" },
  { title: "epochs", by: (run) => run.epochs_done, look: "number" },
  { title: "loss", by: (run) => run.train_loss, text: (run) => known(run.train_loss, lossText), look: "number narrow" },
  { title: "valid. acc.", by: (run) => run.validation_accuracy, text: (run) => known(run.validation_accuracy, percent), look: "number" },
  { title: "test acc.", by: (run) => run.test_accuracy, text: (run) => known(run.test_accuracy, percent), look: "number narrow" },
  { title: "images/s", by: (run) => run.images_per_second, text: (run) => known(run.images_per_second, (rate) => Math.round(rate).toLocaleString("en")), look: "number wide" },
  { title: "time", by: (run) => run.seconds, text: (run) => duration(run.seconds), look: "number narrow" },
  { title: "began", by: (run) => run.started, text: (run) => moment(run.started), look: "number narrow" },
];

class List {
  /** `chosen` is told of a tick, `opened` of a name. */
  constructor(head, body, chosen, opened) {
    Object.assign(this, { head, body, chosen, opened, rows: new Map(), order: [] });
    this.sort = { column: COLUMNS.length - 1, direction: -1 };
    head.append(element("th", { scope: "col" }, element("span", { class: "unseen" }, "in the charts")));
    COLUMNS.forEach(({ title, look }, column) => {
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => this.sortBy(column));
      head.append(element("th", { scope: "col", class: look ?? "" }, button));
    });
    this.showSort();
  }

  sortBy(column) {
    const again = this.sort.column === column;
    // Names from A, numbers and times from the largest.
    this.sort = { column, direction: again ? -this.sort.direction : column < 3 ? 1 : -1 };
    this.showSort();
    this.arrange();
  }

  showSort() {
    [...this.head.children].slice(1).forEach((cell, column) => {
      if (column === this.sort.column) cell.setAttribute("aria-sort", this.sort.direction > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
  }

  /** Shows these runs; those in `selected` (name to look) are ticked. */
  show(runs, selected, filter) {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [name, row] of this.rows) if (!runs.has(name)) { row.element.remove(); this.rows.delete(name); }
    for (const run of runs.values()) {
      const row = this.rows.get(run.name) ?? this.add(run.name);
      if (row.run !== run) this.fill(row, run);
      const look = selected.get(run.name);
      if (row.look !== look) this.tick(row, look);
      row.shown = words.every((word) => row.words.includes(word));
    }
    this.arrange();
    return [...this.rows.values()].filter((row) => row.shown).length;
  }

  add(name) {
    const box = element("input", { type: "checkbox", "aria-label": `${name} in the charts` });
    box.addEventListener("change", () => this.chosen(name, box.checked));
    const title = element("button", { type: "button", class: "clip", title: name }, name);
    title.addEventListener("click", () => this.opened(name));
    const bar = element("progress", { max: 1, "aria-hidden": "true" });
    const epochs = element("span");
    const status = element("span");
    const cells = COLUMNS.map(({ look }, column) => element("td", { class: [look ?? "", column === 0 ? "name" : ""].join(" ") }));
    cells[0].append(title);
    cells[1].append(status);
    cells[4].append(bar, epochs);
    const row = { element: element("tr", {}, element("td", {}, element("label", {}, box)), ...cells), box, title, bar, epochs, status, cells };
    this.rows.set(name, row);
    return row;
  }

  fill(row, run) {
    row.run = run;
    row.element.className = run.status;
    row.status.className = `status ${run.status}`;
    row.status.textContent = run.status;
    row.status.title = run.message ?? "";
    row.bar.hidden = run.progress === null || run.status === "done";
    row.bar.value = run.progress ?? 0;
    row.epochs.textContent = `${run.epochs_done}/${known(run.epochs, String)}`;
    COLUMNS.forEach(({ text }, column) => {
      if (text && row.cells[column].textContent !== text(run)) row.cells[column].textContent = text(run);
    });
    row.words = [run.name, run.status, run.experiment, kinds(run), run.device, run.message, `seed ${run.seed}`].join(" ").toLowerCase();
  }

  tick(row, look) {
    row.look = look;
    row.box.checked = look !== undefined;
    row.cells[0].querySelector(".swatch")?.remove();
    if (look !== undefined) row.title.before(swatch(look));
  }

  arrange() {
    const { by } = COLUMNS[this.sort.column];
    const key = (row) => by(row.run) ?? null;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      // What has no value comes last, whichever way the others go.
      if (x === null || y === null) return (x === null) - (y === null);
      const way = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return way * this.sort.direction || a.run.name.localeCompare(b.run.name, "en", { numeric: true }) * this.sort.direction;
    };
    const order = [...this.rows.values()].filter((row) => row.shown).sort(compare);
    if (order.length === this.order.length && order.every((row, place) => row === this.order[place])) return;
    this.order = order;
    const focused = document.activeElement;
    this.body.replaceChildren(...order.map((row) => row.element));
    if (focused && focused !== document.activeElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
  }
}
