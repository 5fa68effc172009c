// The Log view: the events of one account, newest first, page by page; a plot that shows what was late; one event in full.
//
// Every filter is in the URL, the event that is open is its #v1402.

import { account as accountPath } from "./api.js";
import { LagPlot } from "./charts.js";
import { announce, broker, duration, field, h, update, visible } from "./dom.js";
import { go, path, route as present, setParams } from "./router.js";
import { changesPanel, isLate } from "./sections.js";
import { older, rowLink, table } from "./table.js";
import * as time from "./time.js";

const PAGE = 200;
const EXPORT_MAX = 20_000;
const GROUPS = ["deals", "breaks", "corrections", "orders", "approvals", "notable"];
const KINDS = ["FillRecorded", "CashMoved", "DealCompleted", "DealRevised", "DealConflict", "BreakOpened", "BreakClosed", "GhostClosed", "PositionRecovered", "DriftCorrected", "PositionReticketed", "BalanceAsserted",
  "Adjusted", "SyncDegraded", "SyncRestored", "OrderIntended", "OrderAnswered", "OrderDenied", "CorrectionProposed", "CorrectionDecided", "PolicySet", "BreakNoted"];
const BOX = ["from", "to", "recorded_from", "recorded_to"];
const BOX_NAMES = { from: "happened from", to: "to", recorded_from: "recorded from", recorded_to: "to" };
const FILTERS = ["kind", "position", "deal", "correlation", "late", ...BOX];

const lagText = (sec) => sec < 10 ? `${Math.max(0, Math.round(sec * 10) / 10)} s` : duration(sec);

export function mount(context) {
  return new LogView(context);
}

class LogView {
  minGapSec = 0.5;

  constructor(context) {
    this.context = context;
    this.route = present();
    const { server, login } = this.route;
    this.name = `${server}/${login}`;
    this.path = (...rest) => accountPath(server, login, ...rest);
    context.title(`${this.name} log`);
    this.plot = new LagPlot({ onBox: (box) => this.filter(Object.fromEntries(Object.entries(box).map(([name, ms]) => [name, new Date(ms).toISOString()]))), onOpen: (version) => this.open(version) });
    this.form = this.filters();
    this.box = h("p", { class: "row middle" });
    this.list = h("div", { class: "events" });
    this.detail = h("div", { class: "detail" });
    this.onHash = () => { this.route = present(); this.showDetail().catch((error) => update(this.detail, h("p", { class: "problem" }, broker(error.message)))); };
    addEventListener("hashchange", this.onHash);
    update(context.root, h("div", { class: "row middle" }, h("h1", null, broker(this.name), " log"), h("a", { class: "push", href: path("account", this.route) }, "Account"),
      h("button", { type: "button", on: { click: () => this.export() } }, "Export this list")), this.form, this.plot.root, this.box, this.detail, this.list);
  }

  concerns({ server, login }) {
    return server === this.route.server && String(login) === this.route.login && !this.route.params.has("before");
  }

  query(params = this.route.params) {
    return Object.fromEntries(FILTERS.map((name) => [name, params.get(name)]));
  }

  filter(patch) {
    setParams({ ...patch, before: null }, { replace: false });
  }

  filters() {
    const text = (name, label) => field(label, h("input", { name, inputmode: name === "correlation" ? "text" : "numeric", autocomplete: "off", size: 12, "data-find": name === "position" }));
    const choice = (values, label) => h("optgroup", { label }, values.map((one) => h("option", { value: one }, one)));
    const late = h("input", { type: "checkbox", name: "late", id: "f-late" });
    const form = h("form", { class: "filters", role: "search", "aria-label": "Events", on: {
      submit: (event) => { event.preventDefault(); apply(); }, change: () => apply(),
    } }, h("div", { class: "row" }, field("kind", h("select", { name: "kind" }, h("option", { value: "" }, "all"), choice(GROUPS, "groups"), choice(KINDS, "kinds"))),
      text("position", "position"), text("deal", "deal"), text("correlation", "sync"), h("span", null, late, " ", h("label", { for: "f-late" }, "late only")), h("button", null, "Show")));
    const apply = () => this.filter({ ...Object.fromEntries(["kind", "position", "deal", "correlation"].map((name) => [name, form.elements[name].value.trim()])), late: late.checked });
    return form;
  }

  fillFilters() {
    const { params } = this.route;
    const { kind } = this.form.elements;
    const asked = params.get("kind") ?? "";
    if (![...kind.options].some((one) => one.value === asked)) kind.append(h("option", { value: asked }, visible(asked))); // of a link
    for (const name of ["kind", "position", "deal", "correlation"]) this.form.elements[name].value = params.get(name) ?? "";
    this.form.elements.late.checked = params.get("late") === "1";
    const chosen = BOX.filter((name) => params.has(name));
    update(this.box, chosen.length > 0 && [chosen.map((name) => [h("span", { class: "dim" }, BOX_NAMES[name]), time.time(params.get(name), this.rule, { precise: true })]),
      h("button", { type: "button", on: { click: () => this.filter(Object.fromEntries(chosen.map((name) => [name, null]))) } }, "Show all times")]);
  }

  async load(route, { why, get }) {
    this.route = route;
    const answer = await get(this.path("log"), { ...this.query(), before: route.params.get("before"), limit: PAGE });
    const { rows } = answer;
    this.rule = answer.clock;
    if (why !== "refresh") this.fillFilters(); // what somebody types stays
    update(this.list, this.table(rows), older(answer.next != null && path("log", route, { ...this.query(), before: answer.next })),
      route.params.has("before") && h("p", null, h("a", { href: path("log", route, this.query()) }, "newest")));
    await this.plot.set(rows.map((row) => ({ version: row.version, kind: row.kind, happened: Date.parse(row.event_time), recorded: Date.parse(row.recorded_at), late: isLate(row) })), this.rule);
    if (why !== "refresh") await this.showDetail();
    return "ready";
  }

  table(rows) {
    const { rule } = this;
    const to = (params) => path("log", this.route, params);
    const cell = (key, label, show, more) => ({ key, label, cell: show, ...more });
    return table({
      caption: "Events", rows, rowKey: (row) => row.version, rowClass: (row) => [isLate(row) && "late", `#v${row.version}` === location.hash && "chosen"].filter(Boolean).join(" ") || null, empty: "no event is like that",
      columns: [
        cell("version", "version", (row) => rowLink(`v${row.version}`, `#v${row.version}`, `v${row.version}`)), cell("kind", "kind", (row) => row.kind),
        cell("what", "what", (row) => broker(row.words), { kind: "wide" }),
        cell("happened", "happened", (row) => [time.time(row.event_time, rule, { precise: true, short: true }), row.event_time_ambiguous && h("span", { title: "the clock showed this time twice" }, " ?")]),
        cell("recorded", "recorded", (row) => time.time(row.recorded_at, rule, { precise: true, short: true })),
        cell("lag", "lag", (row) => h("span", { class: isLate(row) ? "loss" : null }, lagText(row.lag_sec), isLate(row) && h("span", { class: "sr" }, " late")), { align: "right" }),
        cell("position", "position", (row) => row.position_id != null && h("a", { href: to({ position: row.position_id }) }, String(row.position_id))),
        cell("deal", "deal", (row) => row.deal != null && h("a", { href: to({ deal: row.deal }) }, String(row.deal))),
        cell("caused_by", "caused by", (row) => row.caused_by != null && h("a", { href: `#v${row.caused_by}` }, `v${row.caused_by}`)),
        cell("sync", "sync", (row) => row.correlation && h("a", { href: to({ correlation: row.correlation }), title: row.correlation }, row.correlation.replace(/^[a-z]+-(?=.)/, "").slice(0, 6))),
        cell("evidence", "evidence", (row) => row.evidence && this.evidence(row.version)),
      ],
    });
  }

  evidence(version) {
    return h("a", { href: `/api${this.path("events", String(version), "evidence")}`, download: true }, "raw");
  }

  open(version) {
    location.hash = `v${version}`;
  }

  // ------------------------------------------------------------------------------------------------ one event in full

  async showDetail() {
    const version = Number(/^#v(\d+)$/.exec(location.hash)?.[1]);
    for (const row of this.list.querySelectorAll("tr[data-id]")) row.classList.toggle("chosen", row.dataset.id === String(version));
    if (!version) return update(this.detail);
    const found = await this.context.get(this.path("events", String(version)));
    if (location.hash !== `#v${version}`) return null;
    const event = found;
    const { data, row, words, hash, prev_hash: previous, before, after, ...common } = found;
    const pair = ([name, value]) => value != null && typeof value !== "object" && [h("dt", null, name.replaceAll("_", " ")), h("dd", null, this.value(name, value))];
    const changes = h("div", null);
    const close = () => { history.pushState(null, "", location.pathname + location.search); this.onHash(); };
    update(this.detail, h("section", { class: "panel", "aria-label": `Event v${version}`, data: { event: version } },
      h("div", { class: "row middle" }, h("h2", { tabindex: "-1" }, `v${version} ${event.kind}`), broker(words),
        h("span", { class: "push" }, h("button", { type: "button", on: { click: () => this.compare(before, after, changes) } }, "Portfolio before | after"), " ",
          h("a", { href: path("account", this.route, { until: event.event_time, known_at: event.recorded_at }) }, "that moment"), " ", event.evidence && this.evidence(version), " ",
          h("button", { type: "button", on: { click: () => this.context.copyLink() } }, `Link to v${version}`), " ", h("button", { type: "button", on: { click: close } }, "Close"))),
      changes, h("div", { class: "columns" }, h("dl", null, Object.entries(common).map(pair)), h("dl", null, Object.entries(data).map(pair))),
      h("dl", null, [["chain hash", hash], ["predecessor", previous]].map(([name, value]) => [h("dt", null, name), h("dd", null, h("code", null, value))])),
      h("details", null, h("summary", null, "raw row"), h("pre", { tabindex: "0", "aria-label": "raw row" }, broker(JSON.stringify(row, null, 1))))));
    if (document.activeElement === document.body || this.list.contains(document.activeElement)) this.detail.querySelector("h2").focus();
    return null;
  }

  value(name, value) {
    if (name === "event_time" || name === "recorded_at") return time.time(value, this.rule, { precise: true });
    if (name === "caused_by") return h("a", { href: `#v${value}` }, `v${value}`);
    return broker(value);
  }

  async compare(before, after, place) {
    update(place, h("p", { class: "quiet" }, "Comparing …"));
    try {
      const found = await this.context.get(this.path("compare"), { a: `v${before}`, b: `v${after}` });
      update(place, changesPanel(found, this.rule, { title: `Portfolio before and after v${after}`, names: ["before", "after"], onClose: () => update(place) }));
    } catch (error) {
      update(place, h("p", { class: "problem" }, broker(error.message)));
    }
  }

  /** Everything that the filters select, as JSON lines: the rows of `ledger log --json`. */
  async export() {
    const lines = [];
    let before = null;
    try {
      do {
        const answer = await this.context.get(this.path("log"), { ...this.query(), before, limit: 500 });
        lines.push(...answer.rows.map((row) => `${JSON.stringify(row)}\n`));
        before = answer.next ?? null;
      } while (before !== null && lines.length < EXPORT_MAX);
    } catch (error) {
      return announce(error.message);
    }
    const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    h("a", { href: url, download: `${this.name.replaceAll("/", "-")}-events.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    return announce(`${lines.length} events exported${before === null ? "" : "; there are more: narrow the filters, or use ledger log --json"}`);
  }

  unmount() {
    removeEventListener("hashchange", this.onHash);
    this.plot.close();
  }
}
