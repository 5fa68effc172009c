// The Account view: one account at a moment of both clocks, its curve, what happened, and what it had and ordered.
//
// Everything that depends on the moment comes in one answer, so that a step of the sliders is one request. The curve and the
// notable events depend on the window; sections (trades, report and so on) are read when they are opened.

import { account as accountPath, get as fetchJson } from "./api.js";
import { CurveChart } from "./charts.js";
import { announce, badge, broker, figure, h, unknown, update, visible } from "./dom.js";
import { proposalPanel, proposeForm } from "./decisions.js";
import { policyForm, policyLine } from "./policy.js";
import { path, route as present } from "./router.js";
import { SECTIONS, breaksTable, changesPanel, comparedInWords, comparisonPanel, isImported, isLate, ordersTable, positionsTable, rowsOf, unexplainedTable } from "./sections.js";
import * as time from "./time.js";
import { Latest, Travel, instant } from "./travel.js";

const COLUMNS = 900;
const STEPS_MAX = 1000; // the server returns so many at most: quantiles, where there are more events
const WINDOW_AFTER_MS = 1500; // a busy account changes its curve many times a second
const REST = 5; // what it costs to read the window is at most a sixth of the time
const KNOWN_CURVE_MAX = 20_000; // the curve as it was known is folded anew: of a longer history only where somebody asks for it
const SETTLED_AFTER_MS = 250; // browsers refuse a page that changes its URL with every step of a drag
const MINUTES_MAX_MS = 14 * 86_400_000; // a longer window shows the samples by day
const BEGIN = "1971-01-01T00:00:00Z";
const CORRECTIONS = new Set(["PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed", "Adjusted", "BalanceAsserted", "CorrectionDecided"]);

/** The sign that an event has on the curve. */
export function signOf(row) {
  if (row.kind === "BreakOpened" || row.kind === "BreakClosed") return "break";
  if (CORRECTIONS.has(row.kind)) return "correction";
  return isLate(row) ? "late" : null;
}

export function mount(context) {
  return new AccountView(context);
}

class AccountView {
  minGapSec = 0.1;

  constructor(context) {
    this.context = context;
    this.route = present();
    const { server, login } = this.route;
    this.name = `${server}/${login}`;
    this.path = (...rest) => accountPath(server, login, ...rest);
    const part = (name) => h("div", { class: `part ${name}`, data: { part: name } });
    this.parts = Object.fromEntries(["head", "form", "figures", "notable", "state", "diff"].map((name) => [name, part(name)]));
    this.life = new AbortController();
    this.get = (path, params, more) => fetchJson(path, params, { signal: this.life.signal, onAway: context.watch.onAway, onBack: context.watch.onBack, ...more });
    this.latest = new Latest(({ at, get }) => get(this.path(), at), (answer, { at }) => this.show(answer, at));
    this.keys = {
      "[": ["The event before", () => this.travel.step(-1)], "]": ["The event after", () => this.travel.step(1)],
      "{": ["The notable event before", () => this.toNotable(-1)], "}": ["The notable event after", () => this.toNotable(1)],
      n: ["Now", () => this.travel.now()], l: ["Lock or unlock the two times", () => this.travel.toggleLock()],
      d: ["What differs from now", () => this.diff()], r: ["Compare with the broker now", () => this.compareNow()],
    };
    context.title(this.name);
  }

  concerns({ server, login }) {
    return server === this.route.server && String(login) === this.route.login;
  }

  async load(route, { why, get }) {
    const before = this.route.params;
    this.route = route;
    const { params } = route;
    if (why === "open") await this.build(get);
    else {
      if (before.get("clock") !== params.get("clock")) for (const one of this.sections) one.changed();
      if (why === "route") this.travel.set(momentOf(params));
      await this.latest.ask({ at: this.travel.at, get });
    }
    const isOtherWindow = ["from", "to", "clock"].some((name) => before.get(name) !== params.get(name));
    if (why === "refresh") this.soon();
    else if (why === "open" || isOtherWindow) await this.readWindow(get);
    return this.travel.isPast ? "past" : "ready";
  }

  /** The first answer has the terms that everything else is drawn with. */
  async build(get) {
    const { params } = this.route;
    const at = momentOf(params);
    const link = Object.fromEntries(["v", "h", "f"].map((name) => [name, params.get(name)]));
    if (link.v && !at.until && !at.known_at) at.known_at = (await get(this.path("events", link.v))).recorded_at;
    const first = await get(this.path(), { ...at, ...link });
    if (["until", "known_at"].some((name) => at[name] !== first.at[name])) this.writeExactly(Object.assign(at, first.at)); // a day, "24h"
    this.rule = first.clock;
    this.currency = first.replay.account.currency;
    this.showLink(first.link, link);
    this.travel = new Travel({
      rule: this.rule, isLocked: params.has("lock") ? params.get("lock") !== "0" : areTogether(at), onMove: (to) => this.move(to), onLock: () => this.writeUrl(), onCopy: () => this.context.copyLink(), onDiff: () => this.diff(),
      fine: async (from, to) => stepsOf(await this.get(this.path("steps"), { from, to })),
    });
    this.travel.set(at);
    this.chart = new CurveChart({ onMoment: (ms) => this.travel.toTime(ms), onWindow: (from, to) => this.zoom(from, to), onZoom: (factor) => this.zoomBy(factor) });
    this.sections = SECTIONS.map((one) => this.section(one));
    const { head, form, figures, notable, state, diff } = this.parts;
    update(this.context.root, head, form, this.travel.root, figures, this.chart.root, notable, diff, state, this.sections.map((one) => one.root));
    this.show(first, at);
  }

  move(at) {
    clearTimeout(this.urlTimer);
    this.urlTimer = setTimeout(() => this.settle(), SETTLED_AFTER_MS);
    update(this.parts.diff);
    const get = (path, params) => this.get(path, params, { onWait: (done, of) => this.travel.wait(done, of) });
    this.latest.ask({ at, get }).catch((error) => this.problem(error));
  }

  problem(error) {
    if (error.name !== "AbortError") this.context.banner("error", "bad", broker(error.message));
  }

  /** What need not follow every step of a drag. */
  settle() {
    this.writeUrl();
    for (const one of this.sections) one.moved();
    if (this.curveMoment() !== this.curveAt) this.readCurve(this.get).catch((error) => this.problem(error));
    else this.noteCurve();
  }

  /** What the curve shows: what was known then, or of a long history what is known now. */
  curveMoment() {
    const { known_at: known } = this.travel.at;
    return this.answer.now_version <= KNOWN_CURVE_MAX || known === this.askedFor ? known : null;
  }

  noteCurve() {
    const { known_at: known } = this.travel.at;
    const ask = () => {
      this.askedFor = known;
      this.readCurve(this.get).catch((error) => this.problem(error));
    };
    const { behind } = this.chart.data; // of the tables that it was read from, where these are kept
    this.chart.note(behind > 0 && badge(`the curve is ${behind} ${behind === 1 ? "event" : "events"} behind`, "warn", "ledger derive brings its tables up to date"), known !== this.curveAt && ["The curve shows what is known now. ", h("button", { type: "button", on: { click: ask } }, "Show it as it was known then")]);
  }

  /** A link's own v, h and f end with the first move: they are about the moment that was sent. */
  writeUrl() {
    const url = new URL(location);
    for (const name of ["v", "h", "f"]) url.searchParams.delete(name);
    const { at, isLocked } = this.travel;
    const state = { ...at, lock: isLocked === areTogether(at) ? null : String(Number(isLocked)) };
    for (const [name, value] of Object.entries(state)) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", url);
    this.context.banner("view");
    this.route = present();
  }

  /** A moment that somebody wrote as a day, without a zone, or as "24h" becomes the one that is shown. */
  writeExactly(at) {
    const url = new URL(location);
    for (const [name, value] of Object.entries(at)) if (value !== null) url.searchParams.set(name, value);
    history.replaceState(history.state, "", url);
    this.route = present();
  }

  copyUrl() {
    const { version, head, fold, as_of: asOf } = this.answer;
    const { until, known_at: known } = this.travel.at;
    const url = new URL(location);
    for (const [name, value] of Object.entries({ until, known_at: known ?? asOf, v: version, h: head.slice(0, 16), f: fold })) {
      if (value != null) url.searchParams.set(name, value);
    }
    return url;
  }

  showLink(link, sent) {
    if (sent.h === null && sent.f === null) return;
    if (link.h === "differs") this.context.banner("view", "bad", "This journal has another history than the link: v", sent.v, " has another hash here. Do not rely on it being the moment that was sent.");
    else if (link.f === "differs") this.context.banner("view", "warn", "The history is the same, but the fold rules have changed since the link was made: figures may differ.");
    else this.context.banner("view", "info", "This is the moment that was sent.");
    this.context.root.dataset.link = link.h === "differs" ? "history" : link.f === "differs" ? "fold" : "same";
  }

  // ------------------------------------------------------------------------------------------------ what a step shows

  show(answer, at) {
    this.answer = answer;
    this.context.banner("error");
    this.minGapSec = this.travel.isPast ? 2 : 0.1; // what was appended changes nothing in the past
    const { replay } = answer;
    const place = this.place(at);
    this.context.root.dataset.version = answer.version;
    update(this.parts.head, this.heading(answer));
    update(this.parts.figures, this.figures(answer));
    const isOld = ["DEGRADED", "FAILED"].includes(answer.status.state) && at.until === null && at.known_at === null;
    for (const one of [this.parts.figures, this.parts.state]) one.classList.toggle("old", isOld);
    const some = (title, rows, draw) => rows.length > 0 && [h("h2", null, `${title} (${rows.length})`), draw(rows, place)];
    update(this.parts.state, h("h2", null, `Positions (${replay.positions.length})`), positionsTable(replay.positions, place),
      some("Open breaks", replay.breaks, breaksTable), some("Unexplained", replay.unexplained, unexplainedTable), some("Orders", replay.orders, ordersTable));
    const moment = at.until ?? at.known_at;
    this.chart.moment(moment === null ? null : Date.parse(moment), at.until === null || !this.route.params.get("to"));
    this.parts.figures.dataset.at = `${at.until ?? "now"}, ${at.known_at ?? "now"}`; // what is shown, for whoever waits for it
    this.travel.show(); // what was waited for is there
  }

  heading({ replay, status, version, head, now_version: now, proposals, policy }) {
    const { account } = replay;
    const isPast = this.travel.isPast;
    const why = status.why_not_safe;
    const act = (text, role, run) => {
      const reason = isPast ? "in the past nothing can be done: go back to now" : this.context.whyNot(role);
      return h("button", { type: "button", disabled: reason !== null, title: reason, data: { key: text }, on: { click: run } }, text);
    };
    return [
      h("div", { class: "row middle" }, h("h1", null, broker(this.name)), h("span", null, broker(account.currency), ` ${account.mode} `, broker(this.rule)),
        h("span", { class: "dim" }, `v${version}${version === now ? "" : ` of ${now}`} head `, h("code", { title: head }, `${head.slice(0, 8)}…`)),
        h("span", { data: { safe: String(status.safe_to_trade) } }, "safe to trade ", badge(status.safe_to_trade ? "yes" : "no", status.safe_to_trade ? "ok" : "bad")),
        h("span", { class: "push" }, act("Propose correction", "operator", () => this.propose()), " ", act("Compare now", "operator", () => this.compareNow()), " ",
          h("a", { href: path("log", this.route) }, "Log"))),
      why && h("p", { class: "why" }, isPast && "now: ", broker(why)),
      (status.state === "DEGRADED" || status.state === "FAILED") && h("div", { class: "banner bad" }, `${status.state} since `, time.time(status.since, this.rule), ": ", broker(status.why), ". The figures are the last good ones, verified at ", time.time(status.last_verified, this.rule), "."),
      status.last_verified === null && h("p", { class: "dim" }, "Never compared with a broker."),
      policyLine({ policy, context: this.context, isPast, onSet: () => this.setPolicy() }),
      proposals.length > 0 && !isPast && proposalPanel({ proposals, policy, route: this.route, rule: this.rule, context: this.context, onDone: () => this.context.reload() }),
    ];
  }

  figures({ replay, mark, now_version: now }) {
    const stat = (name, ...value) => h("span", { class: "stat", data: { figure: name } }, h("span", null, name), h("b", null, value));
    const { unexplained, deals_incomplete: incomplete } = replay;
    const near = mark && h("small", null, " at ", time.time(mark.time, this.rule, { short: true }), !mark.equity_reported && " (computed)");
    return h("div", { class: "stats", "aria-live": "off" }, stat("balance", figure(replay.balance, this.currency)), stat("credit", figure(replay.credit)),
      stat("equity", mark ? figure(mark.equity, null, "the gateway reported none") : unknown("no sample by this moment"), near),
      stat("unexplained", figure(String(unexplained.length))), stat("events", figure(String(replay.selected)), h("small", null, ` of ${now.toLocaleString("en")}`)),
      incomplete > 0 && h("span", { class: "stat warn" }, badge(`${incomplete} deals have incomplete money; the balance excludes it`, "warn")));
  }

  // --------------------------------------------------------------------------------------------- the window: curve, steps

  /** What does not have to follow an append at once. */
  soon() {
    this.windowTimer ??= setTimeout(() => {
      this.windowTimer = null;
      for (const one of this.sections) one.changed();
      this.readWindow(this.get).catch(() => null); // the next change tries again
    }, Math.max(WINDOW_AFTER_MS, REST * (this.cost ?? 0)));
  }

  async readWindow(get) {
    const { params } = this.route;
    const span = { from: params.get("from") || null, to: params.get("to") || null };
    const began = performance.now();
    const curve = this.askCurve(get); // all are asked at once
    const degraded = optional(get(this.path("incidents"), { since: span.from ?? BEGIN, until: span.to, kind: "degraded" }));
    const notable = optional(get(this.path("notable"), { ...span, limit: 500 }));
    this.travel.setSteps(stepsOf(await get(this.path("steps"), span)), span.to === null);
    const events = await notable;
    this.notable = found(events).filter((row) => !isImported(row));
    this.showNotable(events.next != null, events instanceof Error ? events : null);
    await this.readCurve(get, curve);
    degraded.then((answer) => this.showDegraded(answer instanceof Error ? null : rowsOf(answer)), () => null); // of a long history it takes longer
    this.cost = performance.now() - began;
  }

  /** When the broker's answers could not be used; null where that cannot be read. */
  showDegraded(rows) {
    this.isDegradedKnown = rows !== null;
    this.degraded = (rows ?? []).map((one) => [Date.parse(one.started_at), one.ended_at === null ? time.now() : Date.parse(one.ended_at)]);
    return this.chart.set({ degraded: this.degradedBy(this.curveAt), isDegradedKnown: this.isDegradedKnown });
  }

  degradedBy(known) {
    return (this.degraded ?? []).filter(([from]) => known === null || from <= Date.parse(known));
  }

  askCurve(get) {
    const { params } = this.route;
    this.curveAt = this.curveMoment();
    return optional(get(this.path("curve"), { from: params.get("from"), to: params.get("to"), columns: COLUMNS, known_at: this.curveAt }));
  }

  /** The curve as it was known at the moment; what was worth how much was sampled, and is as it is. */
  async readCurve(get, asked = this.askCurve(get)) {
    const { params } = this.route;
    const curve = await asked;
    const shown = curveOf(curve);
    this.span = [shown.from, shown.to];
    const by = shown.to - shown.from > MINUTES_MAX_MS ? "day" : "minute";
    const until = this.curveAt === null ? Infinity : Date.parse(this.curveAt);
    const span = { from: params.get("from"), to: params.get("to"), known_at: this.curveAt }; // what it was worth later was not known then
    const equity = until < shown.from ? { rows: [] } : await optional(get(this.path("equity"), { ...span, columns: COLUMNS, by }));
    const marks = this.notable.filter((row) => Date.parse(row.recorded_at) <= until).map((row) => ({ kind: signOf(row), at: Date.parse(row.event_time), text: visible(row.words) })).filter((one) => one.kind);
    await this.chart.set({ rule: this.rule, currency: this.currency, known: until, ...shown, ...equityOf(equity), marks, degraded: this.degradedBy(this.curveAt) });
    this.noteCurve();
    this.chart.problem([curve, equity].find((one) => one instanceof Error)?.message ?? null);
  }

  /** Zoom in or out by a factor around the moment that is shown, or the middle. */
  zoomBy(factor) {
    const [from, to] = this.span;
    const moment = Date.parse(this.travel.at.until ?? this.travel.at.known_at);
    const middle = moment >= from && moment <= to ? moment : (from + to) / 2;
    const half = Math.max(500, ((to - from) * factor) / 2);
    this.zoom(middle - half, middle + half);
  }

  zoom(from, to) {
    const url = new URL(location);
    for (const [name, value] of Object.entries({ from, to })) {
      if (value === undefined) url.searchParams.delete(name);
      else url.searchParams.set(name, new Date(value).toISOString());
    }
    history.pushState(null, "", url);
    dispatchEvent(new PopStateEvent("popstate"));
  }

  showNotable(areMore, error) {
    const item = (row) => h("li", { class: signOf(row) }, h("button", { type: "button", class: "plain", title: `go to v${row.version}`, data: { key: `n${row.version}` }, on: { click: () => this.travel.toEvent(row) } },
      time.time(row.event_time, this.rule, { short: true }), " ", broker(row.words)));
    const shown = this.notable.slice(0, 60);
    update(this.parts.notable, h("h2", { class: "sr" }, "Notable events"), shown.length > 0 && h("ol", { class: "notables", tabindex: "0", "aria-label": "Notable events" }, shown.map(item)),
      (areMore || shown.length < this.notable.length) ? h("p", null, h("a", { href: path("log", this.route, { kind: "notable", from: this.route.params.get("from"), to: this.route.params.get("to") }) }, "earlier notable events"))
        : error ? h("p", { class: "problem" }, "What was notable cannot be read: ", broker(error.message)) : !shown.length && h("p", { class: "dim" }, "nothing notable in this window"));
  }

  toNotable(by) {
    const now = this.travel.at.until === null ? Infinity : Date.parse(this.travel.at.until);
    const rows = this.notable.toSorted((a, b) => Date.parse(a.event_time) - Date.parse(b.event_time));
    const next = by < 0 ? rows.findLast((row) => Date.parse(row.event_time) < now) : rows.find((row) => Date.parse(row.event_time) > now);
    if (next) this.travel.toEvent(next);
    else announce("no further notable event in this window");
  }

  // ------------------------------------------------------------------------------------------------------ what people do

  async diff() {
    if (!this.travel.isPast) return announce("this is now");
    const { until, known_at: known } = this.travel.at;
    const moment = [until, known && `known:${known}`].filter(Boolean).join(",");
    update(this.parts.diff, h("p", { class: "quiet" }, "Comparing …"));
    try {
      const found = await this.get(this.path("compare"), { a: moment });
      update(this.parts.diff, changesPanel(found, this.rule, { title: "What differs from now", names: ["then", "now"], onClose: () => update(this.parts.diff) }));
    } catch (error) {
      update(this.parts.diff, h("p", { class: "problem" }, broker(error.message)));
    }
    return null;
  }

  async compareNow() {
    const why = this.travel.isPast ? "in the past nothing can be done: press n for now" : this.context.whyNot("operator");
    if (why) return announce(why);
    try {
      const found = await this.context.post(this.path("compare-now"));
      const onClose = () => update(this.parts.form);
      update(this.parts.form, found.agrees ? null : comparisonPanel(found, { ...this.route, onClose }));
      this.context.banner("view", ...comparedInWords(found));
    } catch (error) {
      this.context.banner("view", "bad", broker(error.message));
    }
    return null;
  }

  propose() {
    const close = () => update(this.parts.form);
    update(this.parts.form, proposeForm({ context: this.context, server: this.route.server, login: this.route.login, onDone: () => this.context.reload(), onClose: close }));
    this.parts.form.querySelector("select")?.focus();
  }

  setPolicy() {
    const close = () => update(this.parts.form);
    const onDone = (answer) => {
      close();
      this.context.banner("view", "info", broker(`Policy: ${answer.became}.${answer.advice ? ` ${answer.advice}` : ""}`));
      this.context.reload();
    };
    update(this.parts.form, policyForm({ policy: this.answer.policy, context: this.context, path: this.path("policy"), onDone, onClose: close }));
    this.parts.form.querySelector("select").focus();
  }

  section({ name, title, params, choices = {}, isNow = false, draw }) {
    const body = h("div", null);
    const selects = Object.entries(choices).map(([one, values]) => h("select", { name: one, "aria-label": `${title} ${one}`, on: { change: () => read() } }, values.map((value) => h("option", { value }, value))));
    const asked = () => ({ ...params(this.travel.at), ...Object.fromEntries(selects.map((one) => [one.name, one.value])) });
    let shown = null, before = null, reading = 0;
    const read = async (from = null) => { // the newest rows, or those before one of a keyset
      const mine = ++reading, question = asked();
      shown = JSON.stringify(question);
      before = from;
      try {
        const found = await this.get(this.path(name), { ...question, before });
        if (mine === reading) update(body, draw(found, this.place(), { before, go: read }));
      } catch (error) {
        if (error.name !== "AbortError") update(body, h("p", { class: "problem" }, broker(error.message)));
      }
    };
    const root = h("details", { class: "section", data: { section: name }, on: { toggle: () => { if (root.open && shown === null) { update(body, h("p", { class: "quiet" }, "Reading …")); read(); } } } },
      h("summary", null, h("h2", null, title), isNow && h("small", null, " now")), selects.length > 0 && h("p", { class: "row middle" }, selects.map((one) => [h("span", { class: "dim" }, one.name), one])), body);
    return { root, moved: () => { if (root.open && JSON.stringify(asked()) !== shown) read(); else if (!root.open) shown = null; }, changed: () => { if (root.open) read(before); else shown = null; } };
  }

  place(at = this.travel.at) {
    return { server: this.route.server, login: this.route.login, rule: this.rule, at, currency: this.currency };
  }

  unmount() {
    this.life.abort();
    clearTimeout(this.urlTimer);
    clearTimeout(this.windowTimer);
    this.chart?.close();
  }
}

// ------------------------------------------------------------------------------------------- answers of the server

/** An answer that a view can do without: what was thrown instead of it, except that nobody waits for it any more. */
function optional(asked) {
  const answer = asked.catch((error) => { if (error.name === "AbortError") throw error; return error; });
  answer.catch(() => null); // where something else failed first, nobody awaits it
  return answer;
}

const momentOf = (params) => ({ until: params.get("until") || null, known_at: params.get("known_at") || null });

/** Both sliders are in the past, or both at now: where a link has one of the two alone, the other is meant to stay at now. */
const areTogether = ({ until, known_at: known }) => (until === null) === (known === null);

const found = (answer) => answer instanceof Error ? [] : rowsOf(answer);

function stepsOf(answer) {
  const read = (list) => list.map(({ at, version }) => ({ ms: instant(at), text: at, version }));
  return { until: read(answer.until), known_at: read(answer.known_at), isQuantile: Math.max(answer.until.length, answer.known_at.length) >= STEPS_MAX };
}

function curveOf(answer) {
  if (answer instanceof Error) return { balance: [], opening: null, behind: 0, from: 0, to: 0 };
  const [from, to] = [Date.parse(answer.from), Date.parse(answer.to)];
  const before = Number(answer.opening) === 0 ? [] : [[from, answer.opening, answer.opening, answer.opening]]; // what it was when the window begins
  return { balance: [...before, ...answer.columns], opening: answer.opening, behind: answer.behind, from, to };
}

function equityOf(answer) {
  if (answer instanceof Error) return { equity: [], apart: 0 };
  const columns = answer.rows.map((row) => [Date.parse(row.begin), row.low, row.high, row.close, Date.parse(row.end)]);
  return { equity: columns, apart: Math.max(1000, 2000 * (answer.interval_sec ?? 0)) };
}
