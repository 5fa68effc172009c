// The shell: who is signed in, where the page is, and the view that shows it.
//
// A view is a module that exports mount(context) -> {
//     load(route, {why, get})   reads and draws; why: "open", "route" (the URL changed, same view), "refresh" (a change).
//                               `get` ends with the load. Returns a word for data-state, "ready" without; may throw
//     concerns(change)          whether a change {server, login, version} on the stream is about it (without: every one is)
//     pollSec, minGapSec        reads again at this interval; at most so often because of changes (0.2)
//     keys                      {key: [about, run]}; copyUrl() is what "copy link" copies, if it is not the URL as it is
//     unmount() }
// context: root (the element to draw in), session, get(path, params) and post(path, body) for as long as the view is shown,
//     may(role) (has the role, and the page allows writes), whyNot(role) (in words), title(text),
//     banner(key, kind, ...children), keep(key, make) (the same element over all refreshes, until drop(key)), copyLink(),
//     reload(), ApiError, watch (what a get of the view's own passes on, so that waiting shows).
// <main> has data-view, data-state (loading, cold, ready, away, corrupt, forbidden, not-found, error, signed-out, or the view's
// word), data-ready ("true" once the figures of the URL are drawn); <html> has data-stream (connecting, connected, lost).

import { ApiError, get, pause, post, query, setCsrf } from "./api.js";
import { announce, badge, broker, field, h, update, visible } from "./dom.js";
import * as keys from "./keys.js";
import * as router from "./router.js";
import * as stream from "./stream.js";
import * as time from "./time.js";

const VIEWS = {
  overview: "./overview.js", account: "./account.js", breaks: "./breaks.js", log: "./log.js", health: "./health.js",
};
const ROLES = ["viewer", "operator", "approver", "admin"];
const main = document.getElementById("main");
const root = document.documentElement;
let session = null, shown = null, breaks = null, changes = null;

// ------------------------------------------------------------------------------------------------------ settings, banners

const scheme = () => localStorage.getItem("ledger-scheme") ?? "auto";
function setScheme(name) {
  localStorage.setItem("ledger-scheme", name);
  if (name === "auto") delete root.dataset.scheme;
  else root.dataset.scheme = name;
  dispatchEvent(new Event("ledger-scheme")); // charts are drawn with resolved colours
}
setScheme(scheme());
root.dataset.stream = "connecting";

export function banner(key, kind, ...children) {
  const all = document.getElementById("banners"), old = all.querySelector(`[data-banner="${key}"]`);
  if (!kind) return old?.remove();
  const made = h("div", { class: `banner ${kind}`, data: { banner: key } }, children);
  if (old) old.replaceWith(made);
  else { all.append(made); announce(made.textContent); }
  return made;
}

function setState(state) { main.dataset.state = state; }

// ------------------------------------------------------------------------------------------------------------- header

const link = (view, text, ...more) => h("a", { href: view, ...(more[0] ?? {}) }, text);

function account() { // the one that is shown, or was last
  const { server, login } = router.route();
  return server == null ? JSON.parse(sessionStorage.getItem("ledger-account") ?? "null") : { server, login };
}

function drawHeader() {
  const { view } = router.route(), last = account();
  const item = (name, text, href) =>
    link(href, text, { "aria-current": view === name ? "page" : null, data: { key: `nav-${name}` } });
  const select = h("select",
    { name: "scheme", "aria-label": "Colours", value: scheme(), on: { change: ({ target }) => setScheme(target.value) } },
    ["auto", "light", "dark"].map((one) => h("option", { value: one }, one)));
  update(document.getElementById("header"),
    h("nav", { "aria-label": "Views" }, h("b", { class: "brand" }, "ledger"),
      session && [item("overview", "Overview", router.path("overview")),
        last && item("account", broker(`${last.server}/${last.login}`), router.path("account", last)),
        item("breaks", ["Breaks", breaks > 0 && h("span", { class: "count" }, String(breaks))], router.path("breaks")),
        item("log", "Log", router.path("log", last ?? {})), item("health", "Health", router.path("health"))]),
    session && h("div", { class: "who" },
      h("span", null, "journal ", broker(session.journal.name), ` (${session.journal.dialect})`),
      !session.allow_writes && badge("read-only", "idle", session.read_only_reason),
      h("span", { class: "stream" }),
      h("button", { type: "button", class: "plain", id: "clock", title: "UTC or the trade server's clock (key u)",
        on: { click: time.toggle }, data: { key: "clock" } }),
      h("span", null, broker(session.name), ` (${session.role})`),
      select,
      h("button", { type: "button", class: "plain", data: { key: "help" }, on: { click: keys.help } }, "Help"),
      h("button", { type: "button", class: "plain", data: { key: "sign-out" }, on: { click: signOut } }, "Sign out")));
  drawStream();
  tick();
}

function drawStream() {
  const words = { connecting: ["idle", "connecting"], connected: ["ok", "connected"],
    lost: ["bad", "reconnecting"] }[root.dataset.stream];
  const place = document.querySelector(".stream");
  if (place) update(place, badge(words[1], words[0]));
}

function tick() {
  const clock = document.getElementById("clock");
  const text = `${time.isServer() ? "server clock, now UTC" : "UTC"} ${new Date(time.now()).toISOString().slice(11, 19)}`;
  if (clock && clock.textContent !== text) clock.textContent = text;
}
setInterval(tick, 500);

async function signOut() {
  changes?.signOut(); // the other tabs first: the server ends the stream that they share
  changes?.stop();
  const problem = await post("/sign-out").then(() => null, (error) => error.text);
  showSignIn(problem ? `You may still be signed in: ${problem}` : "You are signed out.");
}

async function countBreaks() {
  const found = await get("/breaks").catch(() => null);
  if (found && found.found !== breaks) { breaks = found.found; drawHeader(); }
}

// ---------------------------------------------------------------------------------------------- the view that is shown

class Shown {
  constructor(route) {
    this.route = route;
    this.life = new AbortController();
    this.place = h("div", { class: `view ${route.view}` });
    this.at = null; // when its figures were read
    this.isRunning = this.isDue = this.isBroken = false;
    this.watch = {
      onWait: (done, of) => this.wait(done, of),
      onAway: (error, seconds) => this.away(error, seconds),
      onBack: () => { banner("away"); this.place.classList.remove("old"); setState(this.at ? this.state : "loading"); },
    };
  }

  context() {
    const may = (role) => session.allow_writes && ROLES.indexOf(session.role) >= ROLES.indexOf(role);
    const kept = new Map();
    return {
      root: this.place, session, may, banner, ApiError, post, watch: this.watch,
      keep: (key, make) => kept.get(key) ?? kept.set(key, make()).get(key),
      drop: (key) => kept.delete(key),
      whyNot: (role) => !session.allow_writes ? session.read_only_reason ?? "this page is read-only"
        : may(role) ? null : `this needs the role ${role}; you are ${session.role}`,
      get: (path, params) => get(path, params, { signal: this.life.signal, ...this.watch }),
      title: (text) => { document.title = `${visible(text)} – ledger`; },
      copyLink: () => copyLink(this.view),
      reload: () => this.refresh(),
    };
  }

  async open(isFirst) {
    const { view } = this.route;
    Object.assign(main.dataset, { view, ready: "false", state: "loading" });
    main.replaceChildren(this.place);
    update(this.place, h("p", { class: "quiet" }, "Reading …"));
    try {
      if (!VIEWS[view]) throw new ApiError(404, { text: `this page has no view at ${location.pathname}` });
      const module = await import(VIEWS[view]);
      if (this.life.signal.aborted) return;
      this.view = await module.mount(this.context());
    } catch (error) {
      return this.failed(error);
    }
    keys.bind("view", this.view.keys);
    await this.load("open");
    if (this.life.signal.aborted || isFirst) return;
    const heading = main.querySelector("h1");
    if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
    scrollTo(0, 0);
  }

  async load(why, options) {
    this.loading?.abort();
    const mine = this.loading = new AbortController();
    const signal = AbortSignal.any([this.life.signal, mine.signal]);
    if (why !== "refresh") main.dataset.ready = "false";
    this.isRunning = true;
    try {
      const state = await this.view.load(this.route,
        { ...options, why, get: (path, params) => get(path, params, { signal, ...this.watch }) });
      if (signal.aborted) return;
      this.at = time.now();
      this.place.classList.remove("old");
      banner("cold");
      banner("error");
      setState(this.state = state ?? "ready");
      main.dataset.ready = "true";
    } catch (error) {
      if (!signal.aborted) this.failed(error);
    } finally {
      if (this.loading === mine) this.isRunning = false;
    }
    if (this.isDue && !signal.aborted) { this.isDue = false; this.refresh(); }
  }

  async refresh() { // coalesced: what changes while figures are read is read once afterwards
    if (this.isRunning || this.isWaiting || document.hidden) { this.isDue = true; return; }
    if (this.isBroken) return go(this.route, { isFirst: true });
    const gap = (this.view?.minGapSec ?? 0.2) - (performance.now() - (this.began ?? -1e9)) / 1000;
    if (gap > 0) {
      this.isWaiting = true;
      await pause(gap);
      this.isWaiting = this.isDue = false;
      if (this.isRunning) { this.isDue = true; return; } // the URL changed meanwhile
    }
    if (this.life.signal.aborted || !this.view) return;
    this.began = performance.now();
    await this.load("refresh");
  }

  wait(done, of) {
    setState("cold");
    const share = of ? `${done.toLocaleString("en")} of ${of.toLocaleString("en")} events` : "";
    banner("cold", "info", "Folding the history once, then it is quick: ",
      h("progress", { max: of || 1, value: of ? String(done) : null, "aria-label": "events folded" }), ` ${share}`);
  }

  away(error, seconds) {
    setState("away");
    this.place.classList.add("old");
    const as = this.at ? ["figures as of ", h("b", null, time.text(this.at, null, { short: true })), " UTC"]
      : "no figures were read yet";
    const what = { 429: "Too much was asked at once", 0: "The page's server cannot be reached" }[error.status]
      ?? "The journal is busy or away";
    banner("away", "bad", `${what}: `, as,
      `; trying again in ${Math.ceil(seconds)} s. `, h("small", null, broker(error.text)));
  }

  failed(error) {
    banner("cold");
    if (error.status === 401) return showSignIn(this.at || session ? "Your session has ended." : null);
    if (!(error instanceof ApiError)) console.error(error);
    if (this.at && error.status !== 404) { // the figures stay, marked as old
      this.place.classList.add("old");
      banner("error", "bad", broker(error.text ?? error.message), " The figures are as of ",
        time.text(this.at, null, { short: true }), " UTC.");
      return setState("error");
    }
    this.isBroken = true; // what the view had drawn is gone: it begins anew
    const state = { 403: "forbidden", 404: "not-found", 422: "corrupt" }[error.status] ?? "error";
    const about = { forbidden: "You may not see this", "not-found": "Not found", corrupt: "This account cannot be read",
      error: "This cannot be shown" }[state];
    const { account, version } = error.more ?? {};
    update(this.place, h("section", { class: "panel bad", "aria-labelledby": "failed" }, h("h1", { id: "failed" }, about),
      h("p", null, broker(error.text ?? error.message)),
      state === "corrupt" && h("p", null, "Account ", broker(account ?? `${this.route.server}/${this.route.login}`),
        version != null && ` at version ${version}`,
        ". Find out more: ", h("code", null, error.more.command ?? "ledger verify"), ". Other accounts are not affected."),
      h("p", null, link(router.path("overview"), "Overview"), " · ",
        h("button", { type: "button", on: { click: () => go(this.route) } }, "Try again"))));
    Object.assign(main.dataset, { state, ready: "true" });
  }

  stop() {
    this.life.abort();
    for (const key of ["away", "cold", "error", "view"]) banner(key);
    this.view?.unmount?.();
  }
}

function go(route, { isFirst = false } = {}) {
  if (!session) return null;
  if (route.view === "log" && route.server == null) {
    const last = account();
    if (!last) banner("view", "info", "A log is of one account: open an account first.");
    return router.go(router.path(last ? "log" : "overview", last ?? {}), { replace: true });
  }
  const { server, login } = route;
  if (server != null) sessionStorage.setItem("ledger-account", JSON.stringify({ server, login }));
  drawHeader();
  if (shown?.view && shown.route.key === route.key && shown.at && !shown.isBroken) {
    shown.route = route;
    return shown.load("route");
  }
  shown?.stop();
  keys.bind("view", {});
  shown = new Shown(route);
  return shown.open(isFirst);
}

async function copyLink(view = shown?.view) {
  const url = String(await view?.copyUrl?.() ?? location.href);
  try {
    await navigator.clipboard.writeText(url);
    announce("link copied");
    banner("copied", "info", "Link copied. ", h("small", null, visible(url)));
  } catch {
    banner("copied", "info", field("Copy this link", h("input", { readonly: true, value: url, name: "link" })));
    document.querySelector("[name=link]").select();
  }
  setTimeout(() => banner("copied"), 6000);
}

// ------------------------------------------------------------------------------------------------------------ signing in

function forget() { // who was signed in, and all that was shown to them
  shown?.stop();
  changes?.stop();
  shown = session = changes = null;
  root.dataset.stream = "connecting";
  banner("stream");
  banner("sign-in");
  setCsrf(null);
}

function showSignIn(reason) {
  forget();
  drawHeader();
  const input = h("input", { name: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const problem = h("p", { class: "problem", role: "alert" });
  const form = h("form", { on: { submit: async (event) => {
    event.preventDefault();
    problem.textContent = "";
    try { await signIn(input.value.trim()); await begin(); } catch (error) { problem.textContent = visible(error.text ?? error.message); }
  } } }, field("One-time token", input, "What follows token= in the link"),
  h("button", { class: "primary" }, "Sign in"), problem);
  main.replaceChildren(h("div", { class: "view sign-in" }, h("section", { class: "panel" }, h("h1", null, "Sign in"),
    reason && h("p", null, broker(reason)),
    h("p", null, "Open the link that ", h("code", null, "ledger page"), " printed: it signs you in once. ",
      h("code", null, "ledger page link"), " makes another one."), form)));
  Object.assign(main.dataset, { view: "sign-in", state: "signed-out", ready: "true" });
  document.title = "Sign in – ledger";
  input.focus();
}

async function signIn(token) {
  const { warning } = await post("/sign-in", { token });
  if (warning) banner("sign-in", "warn", visible(warning), " ", h("button", { type: "button", on: { click: () => banner("sign-in") } }, "Close"));
}

const TOKEN = /^#(?:sign-in|token)=(.+)$/;
async function begin() {
  const token = TOKEN.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", location.pathname + location.search); // a token stays in no history
    forget();
    try { await signIn(decodeURIComponent(token)); } catch (error) { return showSignIn(error.text ?? error.message); }
  }
  import(VIEWS[router.route().view] ?? VIEWS.overview).catch(() => null); // meanwhile; whoever opens the view finds out what is wrong
  try {
    session = await get("/session", null, {
      onAway: (error, seconds) => {
        setState("away");
        banner("away", "bad", broker(error.text), `; trying again in ${Math.ceil(seconds)} s`);
      },
      onBack: () => banner("away"),
    });
  } catch (error) {
    if (error.status === 401) return showSignIn(token ? "The link was used before, or is too old." : null);
    main.replaceChildren(h("section", { class: "panel bad" }, h("h1", null, "No access"), h("p", null, broker(error.text))));
    return Object.assign(main.dataset, { state: error.status === 403 ? "forbidden" : "error", ready: "true" });
  }
  setCsrf(session.csrf);
  startStream();
  await go(router.route(), { isFirst: true });
  return countBreaks();
}

function startStream() {
  let isCounting = false;
  changes = stream.start({
    onSignedOut: () => showSignIn("You are signed out."),
    onChange: (change) => {
      if (shown?.view && (!change || (shown.view.concerns?.(change) ?? true))) shown.refresh();
      if (isCounting || document.hidden) return;
      isCounting = true;
      setTimeout(() => { isCounting = false; if (session) countBreaks(); }, 5000);
    },
    onState: (state) => {
      root.dataset.stream = state;
      drawStream();
      if (state !== "lost" || !session) return banner("stream");
      banner("stream", "warn", "Reconnecting: figures may be old.");
      shown?.refresh(); // it finds out why: the server is away, or the session ended
    },
  });
}

setInterval(() => {
  const every = shown?.view?.pollSec;
  if (every && !document.hidden && performance.now() - (shown.began ?? 0) > every * 1000) shown.refresh();
}, 1000);

addEventListener("visibilitychange", () => { // a tab that nobody sees reads nothing
  if (document.hidden || !shown) return;
  if (shown.isDue) { shown.isDue = false; shown.refresh(); }
  countBreaks();
});

keys.bind("page", {
  "g o": ["Overview", () => router.go(router.path("overview"))],
  "g b": ["Breaks", () => router.go(router.path("breaks"))],
  "g l": ["Log of the account", () => router.go(router.path("log", account() ?? {}))],
  "g h": ["Health", () => router.go(router.path("health"))],
  "/": ["Find", () => document.querySelector("[data-find]")?.focus()],
  j: ["Next row", () => keys.rows(1)],
  k: ["Previous row", () => keys.rows(-1)],
  Enter: ["Open the row", null],
  c: ["Copy link", () => copyLink()],
  u: ["UTC or the server's clock", time.toggle],
});
addEventListener("hashchange", () => { if (TOKEN.test(location.hash)) begin(); }); // a link that is opened where the page is
drawHeader();
keys.start();
router.onRoute((route) => go(route));
router.start();
begin();
