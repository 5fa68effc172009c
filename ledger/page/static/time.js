// Times as people read them: UTC, or the clock of the trade server (?clock=server in the URL).
//
//   isServer()                 whether the server's clock is shown; toggle() changes it
//   text(iso, rule, {precise, short})   "2026-06-15 13:20:01"; precise: with milliseconds, short: without today's date.
//                              rule: the account's clock ("ny-close", "+03:00", "Europe/Athens"); without one it stays UTC
//   time(iso, rule, options)   the same as a <time> element, "?" where there is none
//   zone(rule)                 "UTC", or what the server's clock is called
//   offset(ms, rule)           how far the shown clock is ahead of UTC at a moment (ms since 1970), in ms; for charts: uPlot's
//                              tzDate
//   parse(text)                ms since 1970 of a time as the ledger writes and reads it: without a zone it is UTC
//   now()                      the server machine's time in ms, as far as its answers state it

import { ahead } from "./api.js";
import { h, unknown } from "./dom.js";
import { setParams } from "./router.js";

export const isServer = () => new URLSearchParams(location.search).get("clock") === "server";
export const toggle = () => setParams({ clock: isServer() ? null : "server" });

const formats = new Map();
function zoneOffset(zone, ms) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat("en-US",
      { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric",
        minute: "numeric", second: "numeric" }));
  }
  const part = Object.fromEntries(formats.get(zone).formatToParts(ms).map((one) => [one.type, Number(one.value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - Math.floor(ms / 1000) * 1000;
}

export function offset(ms, rule) {
  if (!isServer() || !rule || rule === "UTC") return 0;
  const fixed = /^([+-])(\d\d):(\d\d)$/.exec(rule);
  if (fixed) return (fixed[1] === "-" ? -1 : 1) * (fixed[2] * 60 + Number(fixed[3])) * 60_000;
  try {
    return rule === "ny-close" ? zoneOffset("America/New_York", ms) + 7 * 3_600_000 : zoneOffset(rule, ms);
  } catch { return 0; } // a zone that this browser does not have: zone() states UTC then
}

export function zone(rule) {
  if (!isServer() || !rule || rule === "UTC") return "UTC";
  try { if (/^[A-Z]/.test(rule)) zoneOffset(rule, 0); } catch { return "UTC"; }
  return `server, ${rule}`;
}

export const parse = (text) =>
  Date.parse(/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text) ? `${text.replace(" ", "T")}Z` : text);

export function text(iso, rule, { precise = false, short = false } = {}) {
  const ms = typeof iso === "number" ? iso : parse(iso);
  if (Number.isNaN(ms)) return String(iso); // "24h", of a URL that somebody wrote
  const shown = new Date(ms + offset(ms, rule)).toISOString().replace("T", " ").replace("Z", "");
  const today = new Date(now() + offset(now(), rule)).toISOString().slice(0, 10);
  return (short && shown.startsWith(today) ? shown.slice(11) : shown).slice(0, precise ? undefined : -4);
}

export function time(iso, rule, options) {
  if (iso == null) return unknown("no time is known");
  const utc = typeof iso === "number" ? new Date(iso).toISOString() : iso;
  return h("time", { datetime: utc, title: `${utc}${zone(rule) === "UTC" ? "" : ` (shown: ${zone(rule)})`}` },
    text(iso, rule, options));
}

export const now = () => Date.now() + ahead();
