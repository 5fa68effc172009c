// Where the page is: all state of a view is in its URL, so that a link reproduces it.
//
//   route()                      {view, key, server, login, version, params (URLSearchParams), hash}; view is one of overview,
//                                account,
//                                breaks, log, health, none. Two routes with the same key are of the same mounted view
//   path(view, {server, login, version}, params)   a URL; the clock setting goes along
//   go(url, {replace})           goes there; setParams({name: value or null}, {replace, quiet}) changes parameters of the
//                                present view; quiet: without calling anybody, for what is drawn already (a slider)
//   onRoute(f)                   calls f(route, {isBack}) after every change
// Links of the same origin (except /api and downloads) are followed without loading the page.

import { query } from "./api.js";

const STICKY = ["clock"];
const SHAPES = [
  [/^\/(?:sign-in)?$/, "overview"],
  [/^\/breaks\/?$/, "breaks"],
  [/^\/health\/?$/, "health"],
  [/^\/log\/?$/, "log"], // of the account that was looked at last
  [/^\/a\/([^/]+)\/([^/]+)\/?$/, "account"],
  [/^\/a\/([^/]+)\/([^/]+)\/log\/?$/, "log"],
  [/^\/a\/([^/]+)\/([^/]+)\/breaks\/(\d+)\/?$/, "breaks"],
];
const listeners = [];

export function route(url = new URL(location)) {
  const params = new URLSearchParams(url.search);
  for (const [shape, view] of SHAPES) {
    const found = shape.exec(url.pathname);
    if (!found) continue;
    let names;
    try { names = found.slice(1).map(decodeURIComponent); } catch { break; }
    const [server = null, login = null, version = null] = names;
    return { view, key: view === "breaks" ? view : [view, server, login].join(" "), server, login,
      version: version && Number(version), params, hash: url.hash };
  }
  return { view: "none", key: "none", server: null, login: null, version: null, params, hash: url.hash };
}

export function path(view, { server, login, version } = {}, params = {}) {
  const base = server == null ? "" : `/a/${encodeURIComponent(server)}/${encodeURIComponent(login)}`;
  const here = new URLSearchParams(location.search);
  const all = { ...Object.fromEntries(STICKY.map((name) => [name, here.get(name)])),
    ...(params instanceof URLSearchParams ? Object.fromEntries(params) : params) };
  const paths = { overview: "/", health: "/health", account: base, log: `${base}/log`,
    breaks: version ? `${base}/breaks/${version}` : "/breaks" };
  return paths[view] + query(all);
}

function changed(isBack = false) { const now = route(); for (const run of listeners) run(now, { isBack }); }

export function go(url, { replace = false } = {}) {
  const to = new URL(url, location.href);
  for (const name of STICKY) {
    const value = new URLSearchParams(location.search).get(name);
    if (value && !to.searchParams.has(name)) to.searchParams.set(name, value);
  }
  history[replace || to.href === location.href ? "replaceState" : "pushState"](null, "", to);
  changed();
}

export function setParams(patch, { replace = true, quiet = false } = {}) {
  const url = new URL(location);
  for (const [name, value] of Object.entries(patch)) {
    if (value == null || value === "" || value === false) url.searchParams.delete(name);
    else url.searchParams.set(name, value === true ? "1" : value);
  }
  if (url.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  if (!quiet) changed();
}

export function onRoute(run) { listeners.push(run); }

export function start() {
  addEventListener("popstate", () => changed(true));
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey
      || event.altKey) return;
    const to = new URL(link.href);
    if (to.origin !== location.origin || link.target || link.hasAttribute("download")
      || /^\/(api|static)\//.test(to.pathname)) return;
    if (to.pathname === location.pathname && to.search === location.search && to.hash) return; // within the view
    event.preventDefault();
    go(to);
  });
}
