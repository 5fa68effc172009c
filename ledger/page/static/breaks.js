// Breaks: the open disagreements of all accounts, those left to people first; beside them the life of the selected one.

import { account as accountPath } from "./api.js";
import { age, badge, broker, duration, h, unknown, update, visible } from "./dom.js";
import { note, proposal, propose } from "./decisions.js";
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
  const split = h("div", { class: "split" }, list, detail);
  root.replaceChildren(h("h1", { class: "sr" }, "Breaks"), filters, split);

  function drawFilters(params) {
    const select = (name, label, options) => h("label", null, `${label} `, h("select", { name, value: params.get(name) ?? "", data: { key: name }, on: { change: ({ target }) => setParams({ [name]: target.value }, { replace: false }) } },
      Object.entries(options).map(([value, text]) => h("option", { value }, text))));
    update(filters, select("kind", "kind", { "": "all", ...Object.fromEntries(KINDS.map((one) => [one, one])) }),
      select("state", "state", { "": "open", escalated: "left to people" }), select("age", "older than", AGES),
      h("button", { type: "button", class: "push", on: { click: context.copyLink }, data: { key: "copy" } }, "Copy link"));
  }

  const columns = (params) => [
    { key: "kind", label: "kind", cell: (row) => rowLink(`${row.name}-${row.version}`, row.version ? path("breaks", { ...row.account, version: row.version }, params) : path("account", row.account), row.kind) },
    { key: "account", label: "account", kind: "name", cell: (row) => broker(row.name) },
    { key: "about", label: "about", align: "right", cell: (row) => [broker(about(row)), row.symbol && about(row) !== row.symbol && [" ", broker(row.symbol)]] },
    { key: "ours", label: "ours", cell: (row) => broker(row.ours ?? "none") },
    { key: "broker", label: "broker", cell: (row) => broker(row.theirs ?? "none") },
    { key: "age", label: "age", align: "right", cell: (row) => age(row.age_sec) },
    { key: "seen", label: "seen", align: "right", cell: (row) => String(row.confirmations) },
    { key: "tried", label: "tried", align: "right", cell: (row) => String(row.attempts) },
    { key: "owner", label: "owner", cell: (row) => broker(row.owner) ?? h("span", { class: "quiet" }, "–") },
    { key: "state", label: "state", cell: (row) => [badge(row.state, row.state === "escalated" ? "bad" : "warn"), row.proposals > 0 && badge("proposed", "warn")] },
  ];

  return {
    pollSec: 15,
    async load({ server, login, version, params }, { get }) {
      drawFilters(params);
      context.title(version ? `Break v${version} of ${server}/${login}` : "Breaks");
      const [found, one, account] = await Promise.all([
        get("/breaks", Object.fromEntries(["kind", "state", "age"].map((name) => [name, params.get(name)]))),
        version && get(accountPath(server, login, "breaks", version)),
        version && get(accountPath(server, login)),
      ]);
      const isSelected = (row) => row.version === version && row.name === `${server}/${login}`;
      update(list, table({ caption: "Open breaks", columns: columns(params), rows: found.rows, rowKey: (row) => `${row.name}-${row.version}`,
        rowClass: (row) => [row.state === "escalated" && "unsafe", isSelected(row) && "chosen"].filter(Boolean).join(" "),
        empty: params.size ? "no break is like this: change the filter" : "No break is open." }),
      found.found > found.rows.length && h("p", null, `${found.rows.length} of ${found.found} are shown: filter by kind or age.`),
      found.unread?.map((each) => h("p", { class: "problem" }, broker(each.account), ": ", broker(each.error.text))));
      split.classList.toggle("open", Boolean(version));
      detail.hidden = !version;
      if (version) update(detail, life(context, { server, login }, version, one, account));
      return found.rows.length || version ? "ready" : "empty";
    },
  };
}

function life(context, account, version, found, now) {
  const one = found.break ?? {}, closed = found.closed ?? null, events = found.events ?? [];
  const clock = found.clock, opened = events.find((each) => each.version === version);
  const url = (...rest) => `/api${accountPath(account.server, account.login, ...rest)}`;
  const proposals = found.proposals ?? [];
  const policy = now?.policy;
  return [
    h("h2", null, visible(one.kind ?? "break").toUpperCase(), " ", broker(about(one)), " ", one.symbol && broker(one.symbol), " ",
      closed ? badge(`closed: ${closed.end ?? closed.outcome ?? ""}`, "ok") : badge(one.state ?? "open", one.state === "escalated" ? "bad" : "warn")),
    h("p", null, h("a", { href: path("account", account) }, broker(`${account.server}/${account.login}`)), ` · v${version} · opened `, time(one.opened_at, clock),
      !closed && one.age_sec != null && [" · ", age(one.age_sec)], one.confirmations != null && ` · seen ${one.confirmations}, tried ${one.attempts}`,
      found.owner && [" · owner ", broker(found.owner)]),
    h("div", { class: "sides" }, h("div", null, h("h3", null, "ours"), broker(one.ours ?? "none")), h("div", null, h("h3", null, "broker"), broker(one.theirs ?? "none"))),
    one.why && h("p", null, broker(one.why)),
    one.cause && one.certainty !== "unknown" && h("p", null, "Cause: ", h("b", null, broker(one.cause)), ` (${one.certainty})`),
    h("p", { class: "row middle no-print" },
      opened && h("a", { href: path("account", account, { known_at: opened.recorded_at }) }, "That moment"),
      opened?.evidence && h("a", { href: url("events", version, "evidence"), download: true }, "Raw answer"),
      h("a", { href: path("log", account, one.position_id ? { position: one.position_id } : {}) }, one.position_id ? "Its events" : "Log"),
      h("a", { href: url("breaks", version, "case.zip"), download: true }, "Export case")),
    h("h3", null, "Life"),
    h("ol", { class: "life" }, events.length ? events.map((each) => moment(account, each, clock)) : h("li", null, unknown("its events are not known"))),
    proposals.length > 0 && [h("h3", null, "Proposals"), proposals.map((each) => proposal(context, account, each, { policy, onDone: context.reload }))],
    !closed && h("div", { class: "no-print" },
      h("details", { data: { key: `d-note-${version}` } }, h("summary", null, "Note, or take it over …"), note(context, account, version, context.reload)),
      h("details", { data: { key: `d-propose-${version}` } }, h("summary", null, "Propose a correction …"),
        policy && h("p", { class: "quiet" }, policy.approvals === 2 ? "The policy of this account asks for a second person." : "The policy of this account asks for one person."),
        propose(context, account, { about: { ...one, version }, onDone: context.reload }))),
  ];
}

function moment(account, event, clock) {
  const { data } = event;
  const words = { BreakOpened: event.caused_by ? "seen again" : "opened", BreakClosed: `closed: ${data.end ?? ""}`, BreakNoted: data.owner ? "taken over" : "noted",
    CorrectionProposed: "proposed", CorrectionDecided: data.outcome, Adjusted: "adjusted" };
  const text = data.text ?? data.reason ?? data.why;
  return h("li", { class: event.caused_by ? null : "strong" }, time(event.event_time, clock, { short: true }), " ",
    h("a", { href: `${path("log", account)}#v${event.version}` }, `v${event.version}`), " ", h("b", null, words[event.kind] ?? event.kind),
    data.operator && [" by ", broker(data.owner ?? data.operator)], data.confirmations > 1 && ` (${data.confirmations} times, tried ${data.attempts})`,
    text && [": ", broker(`“${text}”`)], event.line && [" ", broker(event.line)]);
}
