// What the Account view lists: positions, breaks, orders at the moment, and the sections that are read when they are opened.
//
//   positionsTable(rows, place) and so on     tables of the moment; place: {server, login, rule, at, currency}
//   isLate(event), isImported(event)          of rows of log --json
//   SECTIONS   {name (its endpoint), title, params(at), choices {name: [value ...]}, draw(answer, place, {before, go(before)})}
//   comparedInWords(answer), comparisonPanel(answer, {server, login, onClose})   how broker and journal differ: compare-now
//   changesPanel(comparison, rule, {title, names, onClose})   what differs between two moments, and which events did it

import { badge, broker, duration, figure, h } from "./dom.js";
import { limitsPanel, reportPanel } from "./report.js";
import { path } from "./router.js";
import { older, rowLink, table } from "./table.js";
import * as time from "./time.js";

/** All of an import was recorded long after it happened: that means nothing. */
export const isImported = (row) => row.data?.origin === "import" || (row.correlation ?? "").startsWith("import:");
export const isLate = (row) => row.lag_sec > 60 && !isImported(row);
export const rowsOf = (answer) => Array.isArray(answer) ? answer : answer?.rows ?? [];
const right = (key, label, cell) => ({ key, label, align: "right", cell });
const left = (key, label, cell) => ({ key, label, cell });
const words = (key, label = key) => left(key, label, (row) => broker(row[key]));
const amount = (key, label = key) => right(key, label, (row) => row[key] == null ? "-" : figure(row[key]));
const when = (key, label, { rule }) => left(key, label, (row) => row[key] == null ? "-" : time.time(row[key], rule, { short: true }));
const signed = (key, label = key) => right(key, label, (row) => row[key] == null ? "-" : h("span", { class: row[key].startsWith("-") ? "loss" : null }, figure(row[key])));

/** Every event of a position, as it was known at the moment that is shown. */
const ofPosition = (place) => left("position_id", "position", (row) => row.position_id == null ? "-"
  : rowLink(`position-${row.position_id}`, path("log", place, { position: row.position_id, recorded_to: place.at.known_at }), String(row.position_id)));

export function positionsTable(rows, place) {
  return table({
    caption: "Positions", rows, rowKey: (row) => row.position_id, empty: "no open position",
    columns: [ofPosition(place), words("symbol"), left("side", "side", (row) => row.side), amount("volume"), amount("price_open", "open price"), when("opened_at", "opened", place),
      words("basis"), right("magic", "magic", (row) => row.magic ?? "-")],
  });
}

const sides = (place) => [words("kind"), ofPosition(place), words("symbol"), words("field"), left("ours", "ours", (row) => broker(row.ours) ?? "none"), left("theirs", "broker", (row) => broker(row.theirs) ?? "none")];

/** The severity and the text of what a comparison with the broker found; without a usable snapshot nothing is known. */
export function comparedInWords({ agrees, breaks, error }) {
  if (agrees === null) return ["bad", h("span", null, "There is no usable snapshot, so whether broker and journal agree is not known: ", broker(error.text))];
  if (agrees) return ["info", "The broker and the journal agree."];
  return ["warn", `The broker and the journal differ in ${breaks.length} ${breaks.length === 1 ? "figure" : "figures"}. Nothing was recorded: the next sync decides what becomes of it.`];
}

export function comparisonPanel({ breaks }, place) {
  if (!breaks.length) return null;
  return h("section", { class: "panel", "aria-label": "Compared with the broker" }, h("h2", null, "Compared with the broker"),
    table({ caption: "Differences", rows: breaks, rowClass: () => "unsafe", columns: sides({ ...place, at: {} }) }),
    h("p", null, h("button", { type: "button", on: { click: place.onClose } }, "Close")));
}

export function breaksTable(rows, place) {
  return table({
    caption: "Open breaks", rows, rowClass: () => "unsafe",
    columns: [...sides(place),
      when("opened_at", "since", place), { key: "why", label: "why", kind: "wide", cell: (row) => broker(row.why) }],
  });
}

export function unexplainedTable(rows, place) {
  return table({ caption: "Unexplained", rows, columns: [ofPosition(place), words("symbol"), words("kind"), amount("volume"), when("since", "since", place)] });
}

export function ordersTable(rows, place) {
  return table({
    caption: "Orders", rows, empty: "no order by this moment",
    columns: [words("client_id", "client id"), words("symbol"), words("side"), words("kind"), amount("volume"), amount("filled"),
      left("state", "state", (row) => row.state === "UNKNOWN" ? badge("UNKNOWN", "bad") : row.state), when("since", "since", place), left("ticket", "ticket", (row) => String(row.ticket ?? "-")),
      { key: "why", label: "why", kind: "wide", cell: (row) => broker(row.why) }],
  });
}

function tradesTable(answer, place, { before, go }) {
  const rows = rowsOf(answer);
  const total = table({
    caption: "Trades", rows, rowKey: (row) => row.position_id, empty: "no closed trade by this moment",
    columns: [ofPosition(place), words("symbol"), left("side", "side", (row) => row.side), amount("volume"), when("opened_at", "opened", place), amount("price_open", "open price"),
      when("closed_at", "closed", place), amount("price_close", "close price"), signed("commission"), signed("swap"), signed("profit"),
      left("complete", "", (row) => row.complete ? "" : badge("incomplete", "warn"))],
  });
  const newest = before != null && h("button", { type: "button", data: { key: "newest" }, on: { click: () => go() } }, "newest");
  return [total, (newest || answer.next != null) && h("p", { class: "row middle" },
    h("span", { class: "dim" }, `${rows.length} of ${answer.found}`), older(answer.next != null && (() => go(answer.next))), newest)];
}

function monitorsTable(answer, place) {
  const kinds = { ok: "ok", near: "warn", breached: "bad", unknown: "idle" };
  return table({
    caption: "Monitors", rows: rowsOf(answer), empty: "no monitor is set for this account in ledger.toml",
    columns: [left("limit", "limit", (row) => `${row.limit.replaceAll("_", " ")} ${row.rule}`), left("state", "state", (row) => badge(row.state, kinds[row.state] ?? "idle")), amount("allowed"), amount("used"),
      amount("left"), amount("level", "breach level"), when("as_of", "as of", place), { key: "reason", label: "", kind: "wide", cell: (row) => broker(row.reason) }],
  });
}

function haltsTable(answer, place) {
  return table({
    caption: "Halts", rows: rowsOf(answer), empty: "no halt is in force",
    columns: [left("scope", "what", (row) => [row.scope, " ", broker(row.name)]), words("mode"), when("since", "since", place), left("operator", "by", (row) => broker(row.operator ?? `rule ${row.rule}`)),
      { key: "reason", label: "reason", kind: "wide", cell: (row) => broker(row.reason) }],
  });
}

function incidentsTable(answer, place) {
  return table({
    caption: "Incidents", rows: rowsOf(answer), empty: "nothing went wrong",
    columns: [when("started_at", "started", place), right("lasted", "lasted", (row) => row.ended_at === null && row.duration_sec !== null ? ["open ", duration(row.duration_sec)] : row.duration_sec === null ? "-" : duration(row.duration_sec)),
      words("kind"), ofPosition(place), words("symbol"), { key: "outcome", label: "outcome", kind: "wide", cell: (row) => broker([row.outcome, row.operator && `by ${row.operator}`, row.reason].filter(Boolean).join("; ")) },
      left("cause", "likely cause", (row) => broker(row.cause && `${row.cause} (${row.certainty})`))],
  });
}

function equityTable(answer, place) {
  const rows = rowsOf(answer).toReversed();
  return table({
    caption: "Equity", rows: rows.slice(0, 100), empty: "no sample is stored",
    columns: [left("begin", "begin", (row) => row.day ?? time.time(row.begin ?? row.time, place.rule)), amount("open"), amount("high"), amount("low"), amount("close"), right("samples", "samples", (row) => String(row.samples ?? 1))],
  });
}

function explained(answer, place) {
  const { lines } = answer.explanations[0];
  return table({
    caption: "What makes the balance", rows: lines, empty: "no event moved the balance",
    columns: [left("kind", "kind", (row) => row.kind), { key: "what", label: "what", kind: "wide", cell: (row) => broker(row.what) }, right("count", "events", (row) => String(row.count)),
      left("versions", "versions", (row) => row.first_version === row.last_version ? `v${row.first_version}` : `v${row.first_version} to v${row.last_version}`), when("last_time", "last", place),
      right("balance", "balance", (row) => row.amounts.balance == null ? "-" : figure(row.amounts.balance)), left("reason", "", (row) => broker(row.reason))],
  });
}

const moment = ({ until, known_at }) => ({ until, known_at });
const now = () => ({});

export const SECTIONS = [
  { name: "trades", title: "Trades", params: (at) => ({ ...moment(at), limit: 500 }), draw: tradesTable },
  { name: "orders", title: "Orders", params: moment, draw: (answer, place) => ordersTable(rowsOf(answer), place) },
  { name: "explain", title: "What makes the balance", params: (at) => ({ what: "balance", ...moment(at) }), draw: explained },
  { name: "report", title: "Report", params: moment, choices: { by: ["month", "week", "day", "weekday", "symbol", "magic", "side"], day: ["server", "utc"] }, draw: reportPanel },
  { name: "equity", title: "Equity", isNow: true, params: now, choices: { by: ["day", "minute"] }, draw: equityTable },
  { name: "monitors", title: "Monitors", isNow: true, params: now, draw: monitorsTable },
  { name: "limits", title: "Risk limits", isNow: true, params: now, draw: limitsPanel },
  { name: "halts", title: "Halts", isNow: true, params: now, draw: haltsTable },
  { name: "incidents", title: "Incidents", isNow: true, params: now, draw: incidentsTable },
];

const sideText = (value) => {
  if (value == null) return "-";
  if (typeof value !== "object") return broker(value);
  return broker([value.symbol, value.side, value.volume, value.price_open && `@ ${value.price_open}`, value.kind, value.why].filter(Boolean).join(" "));
};

export function changesPanel({ equal, differences, events }, rule, { title, names: [then, now], onClose }) {
  const change = (event) => h("li", null, event.in === "a" ? `only ${then}: ` : event.in === "b" ? `only ${now}: ` : "", `v${event.version} `, time.time(event.event_time, rule), " ", broker(event.what),
    Object.entries(event.changes).map(([name, by]) => h("span", { class: "dim" }, " ", broker(name), " ", by.startsWith("-") ? by : `+${by}`)));
  const sign = ({ a, b }) => a == null ? "+" : b == null ? "−" : "±";
  const shown = (differences.length ? events : []).slice(0, 100);
  return h("section", { class: "panel", "aria-label": title, data: { diff: equal ? "equal" : "differs" } },
    h("div", { class: "row middle" }, h("h2", null, title), h("button", { type: "button", class: "push", on: { click: onClose } }, "Close")),
    equal ? h("p", null, "Nothing differs.") : h("div", { class: "scroll" }, h("table", null, h("caption", { class: "sr" }, "What differs"),
      h("thead", null, h("tr", null, ["", "what", then, now, "events"].map((text) => h("th", { scope: "col" }, text || h("span", { class: "sr" }, "sign"))))),
      h("tbody", null, differences.map((one) => h("tr", null, h("td", { data: { label: "" } }, sign(one)), h("th", { scope: "row" }, broker(one.what)), h("td", { data: { label: then } }, sideText(one.a)),
        h("td", { data: { label: now } }, sideText(one.b)), h("td", { data: { label: "events" } }, String(one.events.length))))))),
    shown.length > 0 && h("details", { open: shown.length <= 12 }, h("summary", null, `${events.length} events did it`), h("ol", { class: "life" }, shown.map(change)),
      events.length > shown.length && h("p", { class: "dim" }, `and ${events.length - shown.length} more: ledger compare lists them`)));
}
