// Breaks: the open disagreements of all accounts, those left to people first; beside them the life of the selected one.

import { account as accountPath } from "./api.js";
import { age, badge, broker, h, update } from "./dom.js";
import { noteForm, policyText, proposalPanel, proposeForm } from "./decisions.js";
import { path, setParams } from "./router.js";
import { rowLink, table } from "./table.js";
import { time } from "./time.js";

const KINDS = ["ghost", "zombie", "drift", "balance", "clock", "withdrawn", "order", "stops", "approval"];
const AGES = { "": "any", "15min": "15 min", "1h": "1 h", "4h": "4 h", "1d": "1 day" };
const about = (one) => one.position_id ?? one.deal ?? one.order ?? one.client_id ?? one.field ?? "–";

export function mount(context) {
  const { root } = context;
  const filters = h("form", { class: "filters row", on: { submit: (event) => event.preventDefault() } });
  const list = h("div"), detail = h("section", { class: "panel", "aria-label": "The selected break" });
  let drawn = null, chosen = null; // the filters as they are drawn; the break beside the list
  const split = h("div", { class: "split" }, list, detail);
  root.replaceChildren(h("h1", { class: "sr" }, "Breaks"), filters, split);

  function drawFilters(params) {
    if (String(params) === drawn) return; // a list that is open stays open
    drawn = String(params);
    const select = (name, label, options) =>
      h("label", null, `${label} `,
        h("select", { name, value: params.get(name) ?? "", data: { key: name },
          on: { change: ({ target }) => setParams({ [name]: target.value }, { replace: false }) } },
      Object.entries(options).map(([value, text]) => h("option", { value }, text))));
    update(filters, select("kind", "kind", { "": "all", ...Object.fromEntries(KINDS.map((one) => [one, one])) }),
      select("state", "state", { "": "open", escalated: "left to people" }), select("age", "older than", AGES),
      h("button", { type: "button", class: "push", on: { click: context.copyLink }, data: { key: "copy" } }, "Copy link"));
  }

  const columns = (params, isBeside) => [
    { key: "kind", label: "kind", cell: (row) => rowLink(`${row.name}-${row.version}`,
      row.version ? path("breaks", { ...row.account, version: row.version }, params) : path("account", row.account),
        row.kind) },
    { key: "state", label: "state", cell: (row) => [badge(row.state, row.state === "escalated" ? "bad" : "warn"), " ",
      row.proposals > 0 && badge("proposed", "warn")] },
    { key: "account", label: "account", kind: "name", cell: (row) => broker(row.name) },
    { key: "about", label: "about", cell: (row) => [broker(about(row)), row.symbol && [" ", broker(row.symbol)]] },
    { key: "ours", label: "ours", kind: "wide", cell: (row) => broker(row.ours ?? "none") },
    { key: "broker", label: "broker", kind: "wide", cell: (row) => broker(row.theirs ?? "none") },
    { key: "age", label: "age", align: "right", cell: (row) => age(row.age_sec) },
    { key: "seen", label: "seen", align: "right", cell: (row) => String(row.confirmations) },
    { key: "tried", label: "tried", align: "right", cell: (row) => String(row.attempts) },
    { key: "owner", label: "owner", cell: (row) => broker(row.owner) ?? h("span", { class: "quiet" }, "–") },
  ].filter((one) => !isBeside || !["seen", "tried", "owner"].includes(one.key)); // the one beside it has them

  return {
    pollSec: 15,
    async load({ server, login, version, params }, { get, why }) {
      drawFilters(params);
      context.title(version ? `Break v${version} of ${server}/${login}` : "Breaks");
      const [found, one] = await Promise.all([
        get("/breaks", Object.fromEntries(["kind", "state", "age"].map((name) => [name, params.get(name)]))),
        version && get(accountPath(server, login, "breaks", version)),
      ]);
      const isSelected = (row) => row.version === version && row.name === `${server}/${login}`;
      update(list, table({ caption: "Open breaks", columns: columns(params, version), rows: found.rows,
        rowKey: (row) => `${row.name}-${row.version}`,
        rowClass: (row) => [row.state === "escalated" && "unsafe", isSelected(row) && "chosen"].filter(Boolean).join(" "),
        empty: params.size ? "no break is like this: change the filter" : "No break is open." }),
      found.found > found.rows.length
        && h("p", null, `${found.rows.length} of ${found.found} are shown: filter by kind or age.`),
      found.unread?.map((each) => h("p", { class: "problem" }, broker(each.account), ": ", broker(each.error.text))),
      !version && found.proposals.map((each) => withoutBreak(context, each)));
      split.classList.toggle("open", Boolean(version));
      detail.hidden = !version;
      if (version) update(detail, life(context, { server, login }, one));
      const isNew = version && why === "route" && chosen !== `${server}/${login} ${version}`;
      chosen = `${server}/${login} ${version}`;
      if (isNew) { // where it was chosen in a list, the reader goes on with it
        const heading = detail.querySelector("h2");
        heading.tabIndex = -1;
        heading.focus({ preventScroll: true });
        heading.scrollIntoView({ block: "nearest" });
      }
      return found.rows.length || found.proposals.length || version ? "ready" : "empty";
    },
  };
}

// What waits for a second person and is the answer to no break.
function withoutBreak(context, { name, account, clock: rule, policy, proposals }) {
  return h("section", { class: "panel", "aria-label": `Proposals of ${name}` },
    h("h2", null, "Without a break: ", h("a", { href: path("account", account) }, broker(name))),
    proposalPanel({ proposals, context, route: account, rule, policy, onDone: context.reload }));
}

function life(context, account, found) {
  const { version, events, policy, proposals, clock, closed, break: one } = found, [opened] = events, onDone = context.reload;
  const url = (...rest) => `/api${accountPath(account.server, account.login, ...rest)}`;
  return [
    h("h2", null, `${one.kind.toUpperCase()} `, broker(about(one)), " ",
      one.symbol && about(one) !== one.symbol && broker(one.symbol), " ",
      closed ? badge(`closed: ${closed.end}`, "ok") : badge(one.state, one.state === "escalated" ? "bad" : "warn")),
    h("p", null, h("a", { href: path("account", account) }, broker(`${account.server}/${account.login}`)),
      ` v${version}, opened `, time(found.opened_at, clock, { short: true }),
      closed ? [", closed ", time(closed.at, clock, { short: true })]
        : [", open for ", age(one.age_sec), `, seen ${one.confirmations}, tried ${one.attempts}`],
      ", ", found.owner ? ["owner ", h("b", null, broker(found.owner))] : "nobody took it over"),
    one.kind !== "approval" && h("div", { class: "sides" },
      h("div", null, h("h3", null, one.field ? `our ${one.field}` : "ours"), broker(one.ours ?? "none")),
      h("div", null, h("h3", null, one.field ? `the broker's ${one.field}` : "broker"), broker(one.theirs ?? "none"))),
    one.why && h("p", null, broker(one.why)),
    one.cause && one.certainty !== "unknown" && h("p", null, "Cause: ", h("b", null, broker(one.cause)), ` (${one.certainty})`),
    h("p", { class: "row middle no-print" },
      h("a", { href: path("account", account, { known_at: opened.recorded_at }) }, "That moment"),
      opened.evidence && h("a", { href: url("events", opened.version, "evidence"), download: true }, "Raw answer"),
      h("a", { href: path("log", account, { position: one.position_id }) }, one.position_id ? "Events of the position" : "Log"),
      h("a", { href: url("breaks", version, "case.zip"), download: true }, "Export case")),
    h("h3", null, "Life"),
    h("ol", { class: "life" }, events.map((each) => moment(account, each, clock))),
    proposals.length > 0 && proposalPanel({ proposals, context, route: account, rule: clock, policy, onDone }),
    !closed && one.kind !== "approval" && h("div", { class: "no-print" },
      h("details", { data: { key: `note-of-${version}` } }, h("summary", null, "Note, or take it over …"),
        noteForm({ context, ...account, version, onDone })),
      h("details", { data: { key: `propose-of-${version}` } }, h("summary", null, "Propose a correction …"),
        policy && h("p", { class: "quiet" }, policy.approvals === 2 ? `Policy: ${policyText(policy)}.`
          : "By the policy of this account one person is enough: an approver applies it at once, or proposes it to another."),
        proposeForm({ context, ...account, one, onDone }))),
  ];
}

const ROLES = { opened: "opened", seen: "seen again", noted: "noted", proposed: "proposed", decided: "decided",
  corrected: "corrected", closed: "closed" };

const moment = (account, event, clock) => h("li", { class: ["opened", "closed"].includes(event.role) ? "strong" : null },
  time(event.event_time, clock, { short: true }), " ",
    h("a", { href: `${path("log", account)}#v${event.version}` }, `v${event.version}`), " ",
      h("b", null, ROLES[event.role] ?? event.role), " ",
  broker(event.line), event.evidence && event.role !== "opened"
    && [" ", h("a", { href: `/api${accountPath(account.server, account.login, "events", event.version, "evidence")}`,
      download: true }, "raw answer")]);
