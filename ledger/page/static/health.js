// Health: what `ledger doctor` checks, continuously: what is wrong first, then journal, syncing, gateways and alerts.

import { badge, broker, h, update, visible } from "./dom.js";
import { path } from "./router.js";
import { table } from "./table.js";
import { time } from "./time.js";

const KINDS = { ok: "ok", warning: "warn", failed: "bad", unavailable: "bad" };
const GROUPS = [ // the first one that a check fits
  ["Alerts", (one) => one.check.startsWith("alerts") || one.check.startsWith("dead-man")],
  ["Gateways", (one) => one.gateway || /^(gateway|key folder|clock skew)/.test(one.check)],
  ["Accounts and syncing", (one) => one.account],
  ["Derived tables", (one) => /derived|checkpoint|follower/.test(one.check)],
  ["Program and machine", (one) => /^(versions|keys library|settings|disk|file system|host clock|encoding)/.test(one.check)],
  ["Journal", () => true],
];
const ORDER = ["Journal", "Derived tables", "Accounts and syncing", "Gateways", "Alerts", "Program and machine"];

export function mount(context) {
  context.title("Health");
  const body = h("div");
  context.root.replaceChildren(h("h1", { class: "sr" }, "Health"), body);

  async function test(event) {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      const { channels } = await context.post("/alerts/test");
      context.banner("done", "info", "Test notices: ", channels.map((one) => [broker(one.channel), " ",
        badge(one.delivered ? "delivered" : "failed", one.delivered ? "ok" : "bad"), " ", broker(one.error), " "]));
    } catch (error) {
      context.banner("done", "bad", broker(error.text ?? error.message));
    }
    button.disabled = false;
  }

  return {
    pollSec: 10,
    minGapSec: 5,
    async load(_, { get }) {
      const found = await get("/health"), { checks } = found;
      const counts = Object.keys(KINDS).map((state) =>
        [state, checks.filter((one) => one.state === state).length]).filter(([, count]) => count);
      const wrong = checks.filter((one) => one.state !== "ok");
      const groups = Map.groupBy(checks, (one) => GROUPS.find(([, fits]) => fits(one))[0]);
      update(body,
        h("div", { class: "stats" },
          counts.map(([state, count]) =>
            h("span", { class: `stat ${KINDS[state]}` }, h("b", null, String(count)), h("span", null, state))),
          h("span", { class: "stat" }, h("span", null, "as of ", time(found.as_of, null, { short: true }))),
          h("button", { type: "button", class: "push", disabled: !context.may("operator"), title: context.whyNot("operator"),
            on: { click: test }, data: { key: "test" } }, "Send a test notice")),
        wrong.length > 0 && h("section", { "aria-labelledby": "wrong" }, h("h2", { id: "wrong" }, "Needs attention"),
          table({ caption: "What needs attention", rows: wrong, columns: COLUMNS,
            rowKey: (one) => `${one.check} ${one.account}`,
          rowClass: (one) => KINDS[one.state] === "bad" ? "unsafe" : null })),
        h("div", { class: "checks" }, ORDER.filter((name) => groups.has(name)).map((name) => group(name, groups.get(name)))));
      return wrong.some((one) => KINDS[one.state] === "bad") ? "failing" : "ready";
    },
  };
}

const COLUMNS = [
  { key: "state", label: "state", cell: (one) => badge(one.state, KINDS[one.state] ?? "idle") },
  { key: "check", label: "check", 
    cell: (one) => [one.account !== one.check && [broker(one.check), " "], one.account && accountLink(one.account),
      one.gateway && [" ", broker(one.gateway)]] },
  { key: "seen", label: "found", kind: "wide", cell: (one) => broker(one.seen) },
  { key: "advice", label: "what to do", kind: "wide",
    cell: (one) => /^ledger /.test(one.advice) ? h("code", null, visible(one.advice)) : broker(one.advice) },
];

function accountLink(name) {
  const at = name.lastIndexOf("/");
  return h("a", { href: path("account", { server: name.slice(0, at), login: name.slice(at + 1) }) }, broker(name));
}

function group(name, checks) {
  const good = checks.filter((one) => one.state === "ok"), wrong = checks.length - good.length;
  const rows = name === "Accounts and syncing" ? byAccount(good) : good.map((one) => [one.check, one.seen]);
  return h("section", { class: "panel", "aria-label": name }, h("h2", null, name),
    rows.length > 30 ? h("p", null, `${good.length} checks are ok.`) : h("dl", null, rows.map(([what, seen]) => [
      h("dt", null, h("span", { class: "ok", "aria-hidden": "true" }, "✓ "), broker(what)), h("dd", null, broker(seen))])),
    wrong > 0 && h("p", { class: "quiet" }, `${wrong} of ${checks.length} need attention: above.`));
}

const byAccount = (checks) => [...Map.groupBy(checks, (one) => one.account)].map(([account, all]) =>
  [account, all.map((one) => one.check === account ? one.seen : `${one.check}: ${one.seen}`).join("; ")]);
