
"use strict";
/* A chart of any number of lines, as SVG. It knows nothing of runs: a line has a name, a class, points [x, y] in order, and is
   thin or not. Text goes in as text, never as markup. */

/** The most runs whose values are told at once. */
const MOST_TOLD = 12;
const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes, text) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (text !== undefined) one.textContent = text;
  return one;
}

function element(name, attributes = {}, ...inside) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...inside);
  return one;
}

/** The sign of a line where there is no chart. */
function swatch(look) {
  const one = shape("svg", { class: `swatch ${look}`, viewBox: "0 0 24 12", "aria-hidden": "true" });
  one.append(shape("line", { x1: 0, x2: 24, y1: 6, y2: 6, class: look }));
  return one;
}

/** Places for about `count` lines from `low` to `high`, at round numbers. */
function roundTicks(low, high, count, least = 0) {
  const raw = Math.max((high - low) / count, least, 1e-12);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999));
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) ticks.push(Number((tick * step).toPrecision(12)));
  return ticks;
}

/** Places on a logarithmic scale: powers of ten, with 2 and 5 between them where there is room. */
function powerTicks(low, high) {
  const within = (factors) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power++)
      for (const factor of factors) {
        const tick = Number((factor * 10 ** power).toPrecision(6));
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    return ticks;
  };
  const decades = within([1]);
  if (decades.length >= 4) return decades;
  const more = within([1, 2, 5]);
  return more.length >= 2 ? more : roundTicks(low, high, 4);
}

/** The point of a line that is nearest to x. */
function nearest(points, x) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle; else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
}

/** Whether a line has something to say at x: between its ends, or no further off than its points are from each other. */
function reaches(points, x) {
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const step = points.length > 1 ? (last - first) / (points.length - 1) : 0;
  return x >= first - step - 1e-9 && x <= last + step + 1e-9;
}

/** How values stand on an axis: linear, logarithmic, or an accuracy by the logarithm of what it lacks to 1. */
const SCALES = {
  linear: { place: (v) => v, range: (low, high) => pad(low, high), ticks: (low, high) => roundTicks(low, high, 5) },
  log: {
    place: (v) => Math.log10(v), usable: (v) => v > 0,
    range: (low, high) => (low === high ? [low / 1.5, high * 1.5] : [low, high]), ticks: powerTicks,
  },
  lacking: {
    // An accuracy of 1 has no place on it; it stands at the edge.
    place: (v) => -Math.log10(Math.max(1 - v, 1e-4)),
    range: (low, high) => {
      const [worst, best] = [1 - low, Math.max(1 - high, 1e-4)];
      return worst / best < 1.5 ? [1 - Math.min(1, worst * 1.3), 1 - best / 1.3] : [low, 1 - best];
    },
    ticks: (low, high) => powerTicks(Math.max(1 - high, 1e-4), 1 - low).map((lack) => Number((1 - lack).toPrecision(8))),
  },
};

function pad(low, high) {
  const by = high > low ? (high - low) * 0.04 : Math.abs(high) * 0.1 || 0.1;
  return [low >= 0 ? Math.max(0, low - by) : low - by, high + by];
}

class Chart {
  /** `said` writes a value, `moved` is told where the cursor is. */
  constructor(host, title, said, moved) {
    Object.assign(this, { host, title, said, moved, lines: [], cursor: null, pointed: false });
    this.tip = element("div", { class: "tip", hidden: "" });
    host.tabIndex = 0;
    host.setAttribute("role", "group");
    host.setAttribute("aria-roledescription", "chart");
    host.addEventListener("pointermove", (event) => this.point(event));
    host.addEventListener("pointerdown", (event) => this.point(event));
    host.addEventListener("pointerleave", () => this.moved(this, null));
    host.addEventListener("focus", () => host.matches(":focus-visible") && this.step(0));
    host.addEventListener("blur", () => this.moved(this, null));
    host.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(host);
  }

  /** Shows other lines; `axis` has a `said` for places and whether they are whole numbers. */
  show(lines, scale, axis) {
    const usable = SCALES[scale].usable ?? (() => true);
    this.lines = lines
      .map((line) => ({ ...line, points: line.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && usable(y)) }))
      .filter((line) => line.points.length > 0);
    Object.assign(this, { scale: SCALES[scale], axis });
    this.host.setAttribute("aria-label", `${this.title}: ${this.lines.length} curves. The arrow keys read values.`);
    this.paint();
  }

  measure() {
    const [width, height] = [this.host.clientWidth, this.host.clientHeight];
    const all = (place) => this.lines.flatMap((line) => line.points.map((point) => point[place]));
    const span = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [first, last] = span(all(0));
    const xs = [Math.min(0, first), last > Math.min(0, first) ? last : first + 1];
    const ys = this.scale.range(...span(all(1)));
    const ticks = this.scale.ticks(...ys);
    const left = Math.max(...ticks.map((tick) => this.said(tick, true).length)) * 6.6 + 10;
    const [right, top, bottom] = [8, 8, 24];
    const [low, high] = ys.map(this.scale.place);
    const x = (v) => left + (width - left - right) * (v - xs[0]) / (xs[1] - xs[0]);
    const y = (v) => top + (height - top - bottom) * (1 - (this.scale.place(v) - low) / (high - low || 1));
    const value = (px) => xs[0] + (xs[1] - xs[0]) * (px - left) / (width - left - right);
    return { width, height, left, right, top, bottom, xs, ticks, x, y, value };
  }

  paint() {
    const { host } = this;
    if (!this.lines.length || !host.clientWidth) {
      this.at = null;
      host.replaceChildren(this.tip);
      this.tip.hidden = true;
      return;
    }
    const at = (this.at = this.measure());
    const svg = shape("svg", { width: at.width, height: at.height, "aria-hidden": "true" });
    for (const tick of at.ticks) {
      const y = at.y(tick).toFixed(1);
      svg.append(shape("line", { class: "grid", x1: at.left, x2: at.width - at.right, y1: y, y2: y }));
      svg.append(shape("text", { x: at.left - 6, y: Number(y) + 4, "text-anchor": "end" }, this.said(tick, true)));
    }
    const base = at.height - at.bottom;
    svg.append(shape("line", { class: "axis", x1: at.left, x2: at.width - at.right, y1: base, y2: base }));
    const places = roundTicks(...at.xs, Math.max(2, Math.floor(at.width / 90)), this.axis.least);
    for (const tick of places) {
      const x = at.x(tick);
      const anchor = x > at.width - 24 ? "end" : "middle";
      svg.append(shape("text", { x: x.toFixed(1), y: at.height - 6, "text-anchor": anchor }, this.axis.tick(tick)));
    }
    for (const line of this.lines) this.draw(svg, at, line);
    this.marks = shape("g", {});
    svg.append(this.marks);
    host.replaceChildren(svg, this.tip);
    this.mark(this.cursor, this.pointed);
  }

  draw(svg, at, line) {
    const place = ([x, y]) => `${at.x(x).toFixed(1)} ${at.y(y).toFixed(1)}`;
    const path = line.points.map(place).join("L");
    const look = `${line.look} ${line.thin ? "thin" : ""}`;
    svg.append(shape("path", { class: `curve ${look}`, d: `M${path}`, "data-name": line.name, "data-points": line.points.length }));
    if (line.points.length === 1 || (line.dots && line.points.length <= 40))
      for (const [x, y] of line.points) svg.append(shape("circle", { class: `dot ${line.look}`, cx: at.x(x).toFixed(1), cy: at.y(y).toFixed(1), r: 2.5 }));
  }

  point(event) {
    if (!this.at) return;
    const x = this.at.value(event.clientX - this.host.getBoundingClientRect().left);
    this.moved(this, this.lines.map((line) => nearest(line.points, x)[0]).reduce((a, b) => (Math.abs(a - x) <= Math.abs(b - x) ? a : b)));
  }

  /** The keyboard's way along the curves. */
  key(event) {
    const ways = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") return this.moved(this, null);
    if (!(event.key in ways) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.step(ways[event.key] * (event.shiftKey ? 10 : 1));
  }

  step(by) {
    if (!this.at) return;
    const places = [...new Set(this.lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    // A long curve is walked along in a hundred steps.
    const stride = Math.max(1, Math.round(places.length / 100));
    const now = this.cursor === null ? places.length - 1 : places.findIndex((place) => place >= this.cursor);
    const next = Math.min(places.length - 1, Math.max(0, (now < 0 ? places.length - 1 : now) + by * stride));
    this.moved(this, places[next]);
  }

  /** Marks the place x; the values stand beside it in the chart that is `pointed` at. Returns them as text. */
  mark(x, pointed) {
    Object.assign(this, { cursor: x, pointed });
    if (!this.at) return "";
    const { at } = this;
    this.marks.replaceChildren();
    this.tip.hidden = true;
    if (x === null || x < at.xs[0] || x > at.xs[1]) return "";
    const px = at.x(x);
    this.marks.append(shape("line", { class: "cursor", x1: px, x2: px, y1: at.top, y2: at.height - at.bottom }));
    const values = this.lines.filter((line) => reaches(line.points, x)).map((line) => [line, nearest(line.points, x)]);
    for (const [line, [vx, vy]] of values) this.marks.append(shape("circle", { class: `dot ${line.look}`, cx: at.x(vx), cy: at.y(vy), r: 3.5 }));
    if (!pointed) return "";
    this.say(x, values);
    // Beside the cursor where there is room, and inside the chart in any case.
    const width = this.tip.offsetWidth;
    const left = px + 12 + width <= at.width ? px + 12 : px - 12 - width;
    this.tip.style.left = `${Math.max(0, Math.min(left, at.width - width))}px`;
    return `${this.axis.said(x)}: ${values.slice(0, MOST_TOLD).map(([line, [, y]]) => `${line.name} ${line.kind} ${this.said(y)}`).join(", ")}`;
  }

  /** The values at x, a row for each name and a column for each kind of line. */
  say(x, values) {
    const kinds = [...new Set(values.map(([line]) => line.kind))];
    const names = [...new Set(values.map(([line]) => line.name))];
    const head = element("tr", {}, element("th", { scope: "col" }, this.axis.said(x)), ...kinds.map((kind) => element("th", { scope: "col" }, kind)));
    const rows = names.slice(0, MOST_TOLD).map((name) => {
      const mine = values.filter(([line]) => line.name === name);
      const cells = kinds.map((kind) => mine.find(([line]) => line.kind === kind)).map((found) => element("td", {}, found ? this.said(found[1][1]) : "–"));
      return element("tr", {}, element("th", { scope: "row" }, swatch(mine[0][0].look), element("span", {}, name)), ...cells);
    });
    if (names.length > rows.length) rows.push(element("tr", {}, element("th", { scope: "row" }, `and ${names.length - rows.length} more`)));
    this.tip.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
    this.tip.hidden = false;
  }
}
