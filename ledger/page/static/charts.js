// Charts: the curve of balance and equity, and the plot of event time against recorded time.
//
// uPlot draws; what it lacks for a keyboard and a screen reader (a summary, a cursor that is read out, a table) is added here.
import { color, h, update, visible } from "./dom.js";
import * as time from "./time.js";

const TABLE_ROWS = 100;
const PALETTE = {
  muted: "--quiet", line: "--line", balance: "--chart-1", equity: "--chart-2", degraded: "--bad-bg", late: "--warn", break: "--bad", correction: "--chart-3",
};
let loading = null;

/** Load uPlot once; it is a classic script that leaves `window.uPlot`. */
export function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: "/static/uplot/uPlot.iife.min.js" });
    script.addEventListener("load", () => resolve(window.uPlot));
    script.addEventListener("error", () => { loading = null; reject(new Error("uPlot did not load")); });
    document.head.append(script);
  });
  return loading;
}

const colours = () => Object.fromEntries(Object.entries(PALETTE).map(([name, variable]) => [name, color(variable)]));

/** Points of a curve that steps from column to column: each has its low, its high and its close at one x, so that what is
 *  drawn has the extremes of every column. A column without a close is a gap. The last balance is that until `end`. */
export function stepPoints(columns, end) {
  const points = [];
  let before = null;
  for (const [at, low, high, close] of columns) {
    if (close === null) {
      points.push([at, null]);
      before = null;
      continue;
    }
    if (before !== null) points.push([at, before]);
    const values = [Number(low), Number(high), Number(close)];
    points.push(...values.map((value) => [at, value]));
    before = values[2];
  }
  if (before !== null && end > columns.at(-1)[0]) points.push([end, before]);
  return points;
}

/** Points of a sampled curve, of columns with their end: nothing is known between samples further apart than `apart` milliseconds. */
export function samplePoints(columns, apart) {
  const points = [];
  let last = null;
  for (const [at, low, high, close, end = at] of columns) {
    if (last !== null && at - last > apart) points.push([last + 1, null]);
    for (const value of [low, high, close]) points.push([at, Number(value)]);
    last = end;
  }
  return points;
}

/** Lay several lists of points over one x axis: null is a gap, undefined that another list has a point there. */
export function overlay(lists) {
  const all = lists.flatMap((points, series) => points.map(([at, value], order) => [at, series, value, order]));
  all.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[3] - b[3]);
  const data = [all.map((one) => one[0] / 1000), ...lists.map(() => [])];
  for (const [, series, value] of all) {
    for (let i = 0; i < lists.length; i++) data[i + 1].push(i === series ? value : undefined);
  }
  return data;
}

/** What the y axis spans: all extremes, but for the rise from nothing where an account begins, which would flatten the rest. */
export function spanOf(balance, equity, opening) {
  const rows = [...balance, ...equity].filter((column) => column[3] !== null);
  const first = balance.find((column) => column[3] !== null);
  const lows = rows.map((row) => Number(row === first && rows.length > 1 && Number(opening) === 0 ? row[3] : row[1]));
  const highs = rows.map((row) => Number(row[2]));
  const [low, high] = [lows.reduce((a, b) => Math.min(a, b), Infinity), highs.reduce((a, b) => Math.max(a, b), -Infinity)];
  if (!rows.length) return [0, 1];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
  return [low - room, high + room];
}

/** Merge columns into at most `rows` of them, with the lowest low, the highest high and the last close, texts as they are. */
export function merged(columns, rows = TABLE_ROWS) {
  const size = Math.ceil(columns.length / rows) || 1;
  const result = [];
  for (let i = 0; i < columns.length; i += size) {
    const group = columns.slice(i, i + size);
    const known = group.filter((column) => column[3] !== null);
    const pick = (at, better) => known.reduce((best, one) => (best === null || better(Number(one[at]), Number(best)) ? one[at] : best), null);
    result.push([group[0][0], pick(1, (a, b) => a < b), pick(2, (a, b) => a > b), known.at(-1)?.[3] ?? null]);
  }
  return result;
}

function summary(name, columns, { currency, rule }, opening = null) {
  const [all] = merged(columns, 1);
  if (!all || all[3] === null) return `${name}: nothing is known in this window.`;
  const [first, ...others] = columns.filter((column) => column[3] !== null);
  const isOnlyBefore = opening !== null && Number(opening) === 0 && Number(all[1]) === 0 && others.every((column) => Number(column[1]) > 0) && Number(first[3]) > 0;
  return `${name} from ${time.text(first[0], rule)} to ${time.text(columns.at(-1)[0], rule)}: lowest ${all[1]}${isOnlyBefore ? " (before the first deal of this window)" : ""}, highest ${all[2]}, last ${all[3]} ${visible(currency)}.`;
}

const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** A figure with a summary, a plot that the arrow keys move through, and a table that is made when it is opened. */
function figure({ name, title, count, read, head, rows, onEnter }) {
  const caption = h("figcaption", { id: `${name}-summary` });
  const spoken = h("p", { class: "chart-readout", role: "status", "aria-live": "polite" });
  const plot = h("div", {
    class: "chart-plot", tabindex: "0", role: "application", "aria-roledescription": "chart", "aria-describedby": `${name}-summary`,
    "aria-label": `${title}: the arrow keys move from point to point, Home and End to the ends`,
  });
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title} as a table` });
  const details = h("details", { class: "chart-table" }, h("summary", {}, "table"), table);
  const foot = h("div", { class: "chart-foot" }, spoken);
  const root = h("figure", { class: "chart", role: "figure", "aria-labelledby": `${name}-summary`, data: { chart: name } }, caption, plot, foot, details);
  const fill = () => {
    if (!details.open) return;
    update(table, h("table", {}, h("caption", { class: "sr" }, title),
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...rows().slice(0, TABLE_ROWS).map((row) => h("tr", {}, ...row.map((text) => h("td", {}, text)))))));
  };
  details.addEventListener("toggle", fill);
  let at = null;
  const move = (to) => {
    if (!count()) return;
    at = Math.max(0, Math.min(count() - 1, to));
    spoken.textContent = read(at);
  };
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const from = at ?? count();
    const page = Math.max(1, Math.round(count() / 10));
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - page, PageDown: from + page, Home: 0, End: count() - 1 }[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter" && at !== null) onEnter?.(at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { root, plot, foot, spoken, summarise(text) { caption.textContent = text; at = at === null || !count() ? null : Math.min(at, count() - 1); fill(); }, move };
}

/** Draw anew when the width, the colour scheme or the clock changes. */
function keepDrawn(plot, draw) {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = plot.clientWidth;
    if (now !== width) { width = now; draw(); }
  });
  observer.observe(plot);
  scheme.addEventListener("change", draw);
  addEventListener("ledger-scheme", draw);
  return () => { observer.disconnect(); scheme.removeEventListener("change", draw); removeEventListener("ledger-scheme", draw); };
}

const WHOLE_SEC = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000];
const pad = (number) => String(number).padStart(2, "0");
const clockLabels = (date) => (u, splits, axis, space, step) => {
  let day = "";
  return splits.map((seconds) => {
    const at = date(seconds);
    const today = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
    if (step >= 86400) return today;
    const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}${step < 60 ? `:${pad(at.getSeconds())}` : ""}`;
    const isNew = today !== day;
    day = today;
    return isNew ? `${clock}\n${today}` : clock;
  });
};

const tzDate = (uPlot, rule) => (seconds) => uPlot.tzDate(new Date(seconds * 1000 + time.offset(seconds * 1000, rule)), "Etc/UTC");
function axes(colour, date, extra = {}) {
  const shared = { stroke: colour.muted, grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line, width: 1 }, font: "12px system-ui, sans-serif" };
  return [{ ...shared, space: 84, values: clockLabels(date) }, { ...shared, size: 72, ...extra }];
}

/** Axes show UTC or the server's clock: the shown wall time is given to uPlot as if it were UTC. */
const money = (uPlot, values) => values.map((value) => (value === null ? "" : value.toLocaleString("en-US", { maximumFractionDigits: 8 })));

/**
 * The curve of balance and equity.
 * `onMoment(ms)` is called for a click, `onWindow(from, to)` for a dragged stretch, `onWindow()` for a double click,
 * `onZoom(factor)` by buttons.
 */
export class CurveChart {
  constructor({ onMoment, onWindow, onZoom }) {
    this.on = { onMoment, onWindow };
    this.data = { balance: [], equity: [], apart: 0, marks: [], degraded: [], isDegradedKnown: true, currency: "", rule: null, opening: null, known: Infinity, from: 0, to: 0 };
    this.figure = figure({
      name: "curve", title: "Balance and equity", count: () => this.data.balance.length, head: ["from", "lowest balance", "highest", "last", "lowest equity", "highest", "last"],
      read: (i) => this.read(i), rows: () => this.rows(), onEnter: (i) => onMoment(this.data.balance[i][0]),
    });
    this.root = this.figure.root;
    const button = (text, title, run) => h("button", { type: "button", title, "aria-label": title, on: { click: run } }, text);
    this.figure.foot.prepend(legend(), h("span", { class: "chart-zoom" }, button("+", "Zoom in", () => onZoom(0.4)), " ", button("−", "Zoom out", () => onZoom(2.5)), " ", button("all", "The whole history", () => onWindow())));
    this.remark = h("p", { class: "dim" });
    this.root.append(this.remark);
    this.line = h("div", { class: "chart-moment", "aria-hidden": "true" });
    this.stop = keepDrawn(this.figure.plot, () => this.draw());
  }

  read(i) {
    const [at, low, high, close] = this.data.balance[i];
    const equity = this.data.equity.findLast((one) => one[0] <= at);
    const near = equity && at - equity[4] <= this.data.apart ? `; equity ${equity[3]} at ${time.text(equity[0], this.data.rule)}` : "";
    const until = this.data.balance[i + 1]?.[0] ?? Infinity;
    const marks = this.data.marks.filter((mark) => mark.at >= at && mark.at < until).map((mark) => mark.text);
    const span = low === high ? close : `${low} to ${high}, last ${close}`;
    this.uplot?.setCursor({ left: this.uplot.valToPos(at / 1000, "x"), top: 0 });
    return `${time.text(at, this.data.rule)}: balance ${close === null ? "?" : span}${near}${marks.length ? `; ${marks.slice(0, 3).join("; ")}` : ""}`;
  }

  rows() {
    const rows = merged(this.data.balance);
    return rows.map((row, i) => {
      const until = rows[i + 1]?.[0] ?? Infinity;
      const [equity] = merged(this.data.equity.filter((one) => one[0] >= row[0] && one[0] < until), 1);
      return [time.text(row[0], this.data.rule), ...row.slice(1), ...(equity ?? [0, null, null, null]).slice(1)].map((text) => text ?? "?");
    });
  }

  set(data) {
    Object.assign(this.data, data);
    const { balance, equity } = this.data;
    const text = summary("Balance", balance, this.data, this.data.opening) + (equity.length ? ` ${summary("Equity", equity, this.data)}` : " Equity: no sample in this window.");
    const marked = (kind) => this.data.marks.filter((mark) => mark.kind === kind).length;
    this.figure.summarise(`${text} Marked: ${counted(marked("break"), "break")}, ${counted(marked("correction"), "correction")}, ${marked("late")} late; degraded ${this.data.isDegradedKnown ? counted(this.data.degraded.length, "time") : "? times"}.`);
    return this.draw();
  }

  /** What has to be known about the curve beside what it shows. */
  note(...children) {
    update(this.remark, children);
  }

  /** Why a part of the figures is missing; null for nothing. */
  problem(text) {
    if (text !== null) this.figure.spoken.textContent = visible(text);
  }

  /** Show the selected moment; null is now. One after all that happened is at the end, unless it is the window that ends before. */
  moment(ms, isOpen = this.isOpen) {
    Object.assign(this, { at: ms, isOpen });
    if (!this.uplot) return;
    const { width } = this.uplot.over.getBoundingClientRect();
    const place = ms === null ? -1 : this.uplot.valToPos(ms / 1000, "x");
    const left = isOpen ? Math.min(place, width - 2) : place;
    this.line.hidden = ms === null || left < 0 || left > width;
    this.line.style.transform = `translateX(${Math.round(left)}px)`;
  }

  async draw() {
    const uPlot = await library();
    const { plot } = this.figure;
    const width = plot.clientWidth;
    if (!width) return;
    this.uplot?.destroy();
    const colour = colours();
    const { balance, equity, apart, opening, known, from, to } = this.data;
    const date = tzDate(uPlot, this.data.rule);
    const data = overlay([stepPoints(balance, Math.min(to, known)), samplePoints(equity, apart)]);
    this.uplot = new uPlot({
      width, height: width < 500 ? 180 : 260, tzDate: date, legend: { show: false }, axes: axes(colour, date, { values: money }),
      scales: { x: { time: true, range: (u, low, high) => (to > from ? [from / 1000, to / 1000] : [low - 1, high + 1]) }, y: { range: () => spanOf(balance, equity, opening) } },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false, dist: 5 } },
      series: [{}, { stroke: colour.balance, width: 1.5, points: { show: false } }, { stroke: colour.equity, width: 1, points: { show: false } }],
      hooks: { drawClear: [(u) => this.shade(u, colour)], draw: [(u) => { this.mark(u, colour); this.moment(this.at ?? null); }], setSelect: [(u) => this.select(u)] },
    }, data, plot);
    const over = this.uplot.over;
    over.append(this.line);
    over.addEventListener("click", (event) => this.on.onMoment(this.uplot.posToVal(event.offsetX, "x") * 1000)); // none after a drag
    over.addEventListener("dblclick", () => this.on.onWindow());
    this.root.dataset.drawn = String(data[0].length);
  }

  select(u) {
    if (u.select.width < 5) return;
    this.on.onWindow(u.posToVal(u.select.left, "x") * 1000, u.posToVal(u.select.left + u.select.width, "x") * 1000);
  }

  shade(u, colour) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.fillStyle = colour.degraded;
    for (const [from, to] of this.data.degraded) {
      const left = Math.max(bbox.left, u.valToPos(from / 1000, "x", true));
      const right = Math.min(bbox.left + bbox.width, u.valToPos(to / 1000, "x", true));
      if (right >= bbox.left && left <= bbox.left + bbox.width) ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    }
    ctx.restore();
  }

  /** Signs along the lower edge, one of a kind for every few pixels; their kinds have rows of their own. */
  mark(u, colour) {
    const { ctx, bbox } = u;
    const unit = window.devicePixelRatio || 1;
    const taken = new Set();
    ctx.save();
    ctx.font = `bold ${13 * unit}px ui-monospace, monospace`;
    ctx.textAlign = "center";
    for (const { kind, at } of this.data.marks) {
      const x = u.valToPos(at / 1000, "x", true);
      const row = Object.keys(SIGNS).indexOf(kind);
      const place = `${kind} ${Math.round(x / (7 * unit))}`;
      if (x < bbox.left || x > bbox.left + bbox.width || row < 0 || taken.has(place)) continue;
      taken.add(place);
      ctx.fillStyle = colour[kind];
      ctx.fillText(SIGNS[kind], x, bbox.top + bbox.height - (4 + row * 13) * unit);
    }
    ctx.restore();
  }

  close() {
    this.stop();
    this.uplot?.destroy();
  }
}

const SIGNS = { late: "^", break: "x", correction: "c" };

function legend() {
  const entry = (kind, sign, text) => h("li", {}, h("span", { class: `sign ${kind}`, "aria-hidden": "true" }, sign), text);
  return h("ul", { class: "chart-legend" }, entry("balance", "—", "balance"), entry("equity", "—", "equity"), entry("late", "^", "late"), entry("break", "x", "break"),
    entry("correction", "c", "correction"), entry("degraded", "", "degraded"));
}

/** Event time (x) against recorded time (y): what is late lies above the diagonal. A drawn box filters both. */
export class LagPlot {
  constructor({ onBox, onOpen }) {
    this.onBox = onBox;
    this.points = [];
    this.figure = figure({
      name: "lag", title: "Event time against recorded time", count: () => this.points.length, head: ["version", "happened", "recorded", "kind"],
      read: (i) => this.read(i), rows: () => this.points.map((one) => [`v${one.version}`, time.text(one.happened, this.rule), time.text(one.recorded, this.rule), one.kind]),
      onEnter: (i) => onOpen(this.points[i].version),
    });
    this.root = this.figure.root;
    this.stop = keepDrawn(this.figure.plot, () => this.draw());
  }

  read(i) {
    const one = this.points[i];
    this.uplot?.setCursor({ left: this.uplot.valToPos(one.happened / 1000, "x"), top: this.uplot.valToPos(one.recorded / 1000, "y") });
    return `v${one.version} ${one.kind}: happened ${time.text(one.happened, this.rule)}, recorded ${time.text(one.recorded, this.rule)}${one.late ? ", late" : ""}`;
  }

  set(points, rule) {
    this.rule = rule;
    this.points = points.toSorted((a, b) => a.happened - b.happened);
    const late = points.filter((one) => one.late).length;
    this.figure.summarise(points.length ? `${points.length} events on this page, ${late} of them recorded more than a minute after they happened. Draw a box to see only what is in it.` : "No events to draw.");
    return this.draw();
  }

  async draw() {
    const uPlot = await library();
    const { plot } = this.figure;
    const width = plot.clientWidth;
    this.uplot?.destroy();
    this.uplot = null;
    if (!width || !this.points.length) return;
    const colour = colours();
    const stamp = (u, values) => values.map((value) => time.text(value * 1000, this.rule, { short: true }).replace(/^\d{4}-/, "").replace(/ (\d\d:\d\d):\d\d$/, " $1"));
    const date = tzDate(uPlot, this.rule);
    const [x, y] = axes(colour, date, { values: stamp, size: 96, incrs: WHOLE_SEC });
    this.uplot = new uPlot({
      width, height: 220, tzDate: date, legend: { show: false }, axes: [x, y], scales: { x: { time: true }, y: { time: false, range: (u, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) } },
      cursor: { points: { show: false }, drag: { x: true, y: true, uni: 5, setScale: false, dist: 5 } },
      series: [{}, { stroke: colour.balance, paths: () => null, points: { show: false } }],
      hooks: { draw: [(u) => this.dots(u, colour)], setSelect: [(u) => this.select(u)] },
    }, [this.points.map((one) => one.happened / 1000), this.points.map((one) => one.recorded / 1000)], plot);
    this.root.dataset.drawn = String(this.points.length);
  }

  dots(u, colour) {
    const { ctx, bbox } = u;
    const unit = window.devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.strokeStyle = colour.muted;
    ctx.setLineDash([4 * unit, 4 * unit]);
    ctx.beginPath();
    for (const at of [u.scales.x.min, u.scales.x.max]) ctx.lineTo(u.valToPos(at, "x", true), u.valToPos(at, "y", true));
    ctx.stroke();
    for (const one of this.points) {
      ctx.fillStyle = one.late ? colour.late : colour.balance;
      ctx.fillRect(u.valToPos(one.happened / 1000, "x", true) - 2 * unit, u.valToPos(one.recorded / 1000, "y", true) - 2 * unit, 4 * unit, 4 * unit);
    }
    ctx.restore();
  }

  select(u) {
    const { left, top, width, height } = u.select;
    if (width < 5 && height < 5) return;
    const at = (pixels, scale) => u.posToVal(pixels, scale) * 1000;
    this.onBox({ from: at(left, "x"), to: at(left + width, "x"), recorded_from: at(top + height, "y"), recorded_to: at(top, "y") });
  }

  close() {
    this.stop();
    this.uplot?.destroy();
  }
}
