// Overview: all accounts, unsafe ones first, a hundred a page, sorted and paged by the server.

import { age, badge, broker, figure, h, unknown, update, visible } from "./dom.js";
import { pages, rowLink, table } from "./table.js";
import { path, setParams } from "./router.js";
import { now, text, time } from "./time.js";

const STATES = ["all", "unsafe", "broken", "degraded", "stale", "never", "safe"];
export const KINDS = { SUCCESS: "ok", PARTIAL: "warn", DEGRADED: "bad", FAILED: "bad", STALE: "bad" };
export const status = (row) => badge(row.state ?? "NEVER", KINDS[row.state] ?? "idle", visible(row.why ?? ""));

export function mount({ root, title, copyLink }) {
  title("Overview");
  const filters = h("form",
    { class: "filters row", role: "search", on: { submit: (event) => { event.preventDefault(); apply(); } } });
  const body = h("div");
  root.replaceChildren(h("h1", { class: "sr" }, "Overview"), filters, body);
  let typed = 0, drawn = null;

  const value = (name) => filters.elements[name]?.value;
  function apply() {
    delete filters.elements.q.dataset.draft;
    const state = value("state") === "all" ? null : value("state");
    setParams({ state, server: value("server"), q: value("q"), page: null }, { replace: false });
  }

  function drawFilters(params, servers) {
    const asked = JSON.stringify([[...params], servers]);
    if (asked === drawn) return; // a list that is open stays open
    drawn = asked;
    const select = (name, options, chosen, all) =>
      h("select", { name, value: chosen, data: { key: name }, on: { change: apply } },
      options.map((one) => h("option", { value: one }, one === "" ? all : visible(one))));
    update(filters,
      h("label", null, "state ", select("state", STATES, params.get("state") ?? "all")),
      h("label", null, "server ", select("server", ["", ...servers], params.get("server") ?? "", "all")),
      h("label", null, "find ",
        h("input", { name: "q", type: "search", value: params.get("q") ?? "", placeholder: "account",
          data: { find: "", key: "q" }, on: {
        input: () => { clearTimeout(typed); typed = setTimeout(apply, 300); } } })),
      h("button", { type: "button", class: "push", on: { click: copyLink }, data: { key: "copy" } }, "Copy link"));
  }

  const columns = [
    { key: "account", label: "account", sort: "account", kind: "name", 
      cell: (row) => [h("span", { class: "sign", title: "not safe to trade" }, row.safe_to_trade ? "" : "! "),
        rowLink(row.name, path("account", row.account), broker(row.name))] },
    { key: "status", label: "status", sort: "safety", cell: status },
    { key: "verified", label: "verified", align: "right", sort: "age",
      cell: (row) => row.last_verified ? age((now() - Date.parse(row.last_verified)) / 1000)
        : h("span", { class: "quiet" }, "never") },
    { key: "breaks", label: "breaks",
      cell: ({ summary }) => !summary ? unknown("its figures are not known") : Object.keys(summary.breaks).length
      ? [Object.entries(summary.breaks).map(([kind, count]) => `${count} ${kind}`).join(", "), " ",
        age(summary.oldest_break_age_sec)] : h("span", { class: "quiet" }, "–") },
    { key: "positions", label: "positions", align: "right", sort: "positions", order: "descending",
      cell: (row) => old(row, (summary) => String(summary.positions)) },
    { key: "balance", label: "balance", align: "right",
      cell: (row) => old(row, (summary) => figure(summary.balance, summary.currency)) },
    { key: "event", label: "last event", align: "right", sort: "event", order: "descending",
      cell: ({ summary }) => !summary ? unknown("its figures are not known")
        : summary.last_event_at ? time(summary.last_event_at, summary.clock, { short: true })
          : h("span", { class: "quiet" }, "–") },
    { key: "why", label: "why not safe", kind: "wide", cell: (row) => broker(row.why_not_safe) },
  ];

  return {
    pollSec: 10, // a sync that finds nothing new is no event
    minGapSec: 1,
    async load({ params }, { get }) {
      const found = await get("/overview",
        Object.fromEntries(["server", "state", "sort", "q", "page"].map((one) => [one, params.get(one)])));
      const { totals, rows, servers } = found;
      drawFilters(params, servers);
      if (!totals.accounts) {
        update(body, empty());
        return "empty";
      }
      const href = (page) => path("overview", {}, { ...Object.fromEntries(params), page: page > 1 ? page : null });
      update(body, stats(totals),
        table({ caption: "Accounts", columns, rows, sort: params.get("sort") ?? "safety",
          onSort: (sort) => setParams({ sort: sort === "safety" ? null : sort, page: null }),
          rowKey: (row) => row.name, rowClass: (row) => row.safe_to_trade ? null : "unsafe",
            empty: "no account is like this: change the filter" }),
        pages({ page: found.page, pages: found.pages, href }));
    },
  };
}

// A figure that nothing confirms now is no figure of now: "?" with the last known one and its time.
function old(row, show) {
  const { summary } = row;
  if (!summary) return unknown(row.summary_reason);
  const shown = show(summary), plain = shown.textContent ?? shown;
  if (row.behind) return unknown(`${row.behind} events behind`, `${plain} at version ${summary.version}`);
  const isOld = ["DEGRADED", "FAILED", "STALE"].includes(row.state);
  return isOld ? unknown(row.why ?? row.why_not_safe,
    `${plain} at ${text(row.last_verified ?? summary.last_event_at, null, { short: true })}`) : shown;
}

function stats(totals) {
  const one = (count, text, kind) =>
    h("span", { class: `stat ${count ? kind ?? "" : ""}` }, h("b", null, count.toLocaleString("en")), h("span", null, text));
  return h("div", { class: "stats" }, one(totals.accounts, "accounts"), one(totals.safe, "safe"),
    one(totals.unsafe, "unsafe", "bad"), one(totals.degraded, "degraded", "bad"),
    one(totals.stale, "stale", "bad"), one(totals.never, "never synced", "warn"),
    totals.oldest_break_at
      && h("span", { class: "stat bad" }, h("span", null, "oldest break"),
        h("b", null, age((now() - Date.parse(totals.oldest_break_at)) / 1000))),
    totals.proposals != null
      && one(totals.proposals, totals.proposals === 1 ? "proposal pending" : "proposals pending", "warn"));
}

const empty = () => h("section", { class: "panel" }, h("h2", null, "This journal is empty"),
  h("p", null, "Three commands fill it:"),
  h("pre", null, ["ledger account open SERVER/LOGIN --currency USD --mode hedging --server-tz ny-close",
    "ledger import history.html",
    "ledger sync --startup --gateway tcp://HOST:5555"].join("\n")),
  h("p", null, "This page shows the first account as soon as it is there."));
