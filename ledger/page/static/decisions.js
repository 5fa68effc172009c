// What people decide: notes about a break, proposals of corrections, and their approval by a second person.
//
//   proposal(context, account, one, {policy, onDone})   a pending or decided proposal with its effect, and the forms that decide it
//   propose(context, account, {about, onDone})          the form of a new one; about: the break that it answers, as breaks --json
//   note(context, account, version, onDone)             the form of a note about a break, and of taking it over
//   correctionText(correction)                          "close 123456"
// account: {server, login}; context: that of the view. Every form states why it is off, where it is. Nothing here has a key.

import { account as accountPath } from "./api.js";
import { age, announce, badge, broker, field, h, visible } from "./dom.js";
import { now, time } from "./time.js";

const FIELDS = { // the arguments of ledger.adjustments, by what is corrected
  close: ["position_id"],
  add: ["position_id", "symbol", "side", "volume", "price_open", "magic?"],
  update: ["position_id", "side?", "volume?", "price_open?", "magic?"],
  balance: ["balance?", "credit?"],
  withdrawal: ["deal"],
  acceptance: ["position_id?", "symbol?"],
};
const ABOUT = {
  close: "close: the position is gone", add: "add: a position that only the broker has", update: "update: the broker has other values",
  balance: "balance: set balance or credit to what the broker states", withdrawal: "withdrawal: the broker deleted a deal",
  acceptance: "acceptance: a result that nobody can explain",
};
const WHOLE = ["position_id", "deal", "magic"];
const NEVER_DELETED = "What is recorded here can never be deleted or changed.";

export const correctionText = ({ what, ...rest }) => visible([what, ...Object.entries(rest).filter(([, value]) => value != null)
  .map(([name, value]) => name === "position_id" || name === "deal" ? value : `${name.replace("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`)].join(" "));

// ------------------------------------------------------------------------------------------------------------ sending

// A form that sends once: its buttons are off meanwhile, what went wrong is in it, and what was typed stays.
function sender(context, form, send, onDone) {
  const problem = h("p", { class: "problem", role: "alert" });
  form.append(problem);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...form.querySelectorAll("button")];
    problem.textContent = "";
    for (const one of buttons) one.disabled = true;
    try {
      const text = await send(new FormData(form, event.submitter));
      form.reset();
      for (const one of form.querySelectorAll("[data-draft]")) delete one.dataset.draft;
      context.banner("done", "info", broker(text));
      setTimeout(() => context.banner("done"), 8000);
      await onDone?.();
    } catch (error) {
      problem.textContent = visible(error.text ?? error.message);
      announce(problem.textContent);
    }
    for (const one of buttons) one.disabled = false;
  });
  return form;
}

const off = (context, role) => !context.may(role) && h("p", { class: "quiet" }, context.whyNot(role), ".");

// ------------------------------------------------------------------------------------------------------------ proposals

export function proposal(context, account, one, { policy, onDone } = {}) {
  const isMine = one.operator === context.session.name, key = `proposal-${one.version}`;
  const state = one.state ?? "pending", isPending = state === "pending";
  return h("article", { class: "panel proposal", data: { proposal: one.version, state } },
    h("h3", null, `v${one.version} `, badge(one.urgent ? `urgent, ${state}` : state, { pending: "warn", approved: "ok" }[state] ?? "idle"), " ", h("b", null, correctionText(one.correction))),
    h("p", null, "by ", broker(one.operator), " ", time(one.proposed_at, null, { short: true }), ": ", broker(one.reason),
      isPending && one.lapses_at && [h("br"), "lapses ", time(one.lapses_at, null, { short: true }), " (in ", age((now() - Date.parse(one.lapses_at)) / 1000), ")"]),
    effect(one.effect),
    one.changed && h("div", null, h("p", null, "It lapsed, because this changed since:"), effect(one.changed)),
    isPending && h("div", null, decide(context, account, one, { isMine, policy, key, onDone })));
}

function decide(context, account, one, { isMine, policy, key, onDone }) {
  const url = accountPath(account.server, account.login, "proposals", one.version, "decision");
  const form = (name, label, { hint, button, outcome, isRequired }) => h("details", { data: { key: `${key}-${name}` } }, h("summary", null, label),
    sender(context, h("form", null,
      field("reason", h("input", { name: "reason", required: isRequired, autocomplete: "off", id: `${key}-${name}-reason`, data: { key: `${key}-${name}-reason` } }), hint),
      h("div", null, h("button", { class: outcome === "approved" ? "primary" : "" }, button))),
    async (given) => outcomeText(await context.post(url, { outcome, effect_digest: one.effect_digest, reason: given.get("reason") || null })), onDone));
  if (isMine) {
    if (!context.may("operator")) return off(context, "operator");
    return [h("p", { class: "quiet" }, "Another person has to approve what you proposed."),
      form("withdraw", "Withdraw …", { button: "Withdraw", outcome: "withdrawn", hint: NEVER_DELETED })];
  }
  if (!context.may("approver")) return off(context, "approver");
  const isSigned = policy?.signed;
  return [
    isSigned ? h("p", null, "The policy of this account asks for a signature, which this page cannot make: ", h("code", null, `ledger approve ${one.version}`))
      : form("approve", "Approve …", { button: `Approve: ${correctionText(one.correction)}`, outcome: "approved",
        hint: "It is applied only if its effect is still the one above. Names here are a process, not a proof: whoever may write to the journal can write any name." }),
    form("reject", "Reject …", { button: "Reject", outcome: "rejected", isRequired: true, hint: NEVER_DELETED })];
}

const outcomeText = (answer) => {
  const outcome = answer?.outcome ?? answer?.decision?.outcome ?? "recorded";
  return outcome === "lapsed" ? "Not applied: its effect would be another one by now. It lapsed; what changed is shown with it." : `The proposal was ${outcome}${answer?.version ? `, v${answer.version}` : ""}.`;
};

// An effect as rows: what, before, after. Members are shown as they are: their names are those of the JSON output.
export function effect(value) {
  const rows = [];
  const shown = (one) => one == null ? "none" : typeof one === "object" ? Object.entries(one).map(([name, each]) => `${name} ${shown(each)}`).join(", ") : String(one);
  (function walk(one, name) {
    if (one == null || typeof one !== "object") rows.push([name, null, shown(one)]);
    else if ("before" in one && "after" in one) rows.push([name, shown(one.before), shown(one.after)]);
    else for (const [key, each] of Object.entries(one)) walk(each, Array.isArray(one) ? name : [name, key].filter(Boolean).join(" "));
  })(value, "");
  return h("dl", { class: "effect" }, rows.map(([name, before, after]) => [h("dt", null, broker(name.replaceAll("_", " "))),
    h("dd", null, before != null && [h("del", null, broker(before)), " → "], h("b", null, broker(after)))]));
}

export function propose(context, account, { about = null, onDone } = {}) {
  if (!context.may("operator")) return off(context, "operator");
  const key = `propose-${about?.version ?? "new"}`, start = suggested(about);
  const fields = h("div", { class: "row" });
  const what = h("select", { name: "what", value: start.what, data: { key: `${key}-what` }, on: { change: () => draw(what.value, {}) } }, Object.keys(FIELDS).map((one) => h("option", { value: one }, ABOUT[one])));
  function draw(chosen, values) {
    fields.replaceChildren(...FIELDS[chosen].map((one) => {
      const name = one.replace("?", ""), props = { name, required: !one.endsWith("?"), id: `${key}-${name}`, autocomplete: "off", data: { key: `${key}-${name}` } };
      const value = values[name] ?? (name === "position_id" ? about?.position_id : name === "symbol" ? about?.symbol : null) ?? "";
      return field(name.replace("_", " ") + (one.endsWith("?") ? " (optional)" : ""), name === "side"
        ? h("select", { ...props, value }, ["", "buy", "sell"].map((each) => h("option", { value: each }, each || "as it is")))
        : h("input", { ...props, value: visible(value), inputmode: WHOLE.includes(name) ? "numeric" : null }));
    }));
  }
  draw(start.what, start);
  const minutes = h("input", { name: "lapses_min", type: "number", min: 1, max: 10080, value: 60, data: { key: `${key}-lapses` } });
  const urgent = h("input", { name: "urgent", type: "checkbox", id: `${key}-urgent`, data: { key: `${key}-urgent` } });
  return sender(context, h("form", { "aria-label": "Propose a correction" }, field("what to correct", what), fields,
    field("reason", h("input", { name: "reason", required: true, autocomplete: "off", id: `${key}-reason`, data: { key: `${key}-reason` } }), NEVER_DELETED),
    field("lapses after minutes", minutes),
    h("p", null, urgent, " ", h("label", { for: urgent.id }, "urgent: apply it now, alert everybody, and have a second person confirm it afterwards")),
    h("div", null, h("button", { class: "primary" }, "Propose"))), async (given) => {
    const correction = { what: given.get("what") };
    for (const one of FIELDS[correction.what]) {
      const name = one.replace("?", ""), value = given.get(name)?.trim();
      if (value) correction[name] = WHOLE.includes(name) ? whole(name, value) : value;
    }
    const answer = await context.post(accountPath(account.server, account.login, "proposals"), {
      correction, reason: given.get("reason"), urgent: given.get("urgent") != null, lapses_min: Number(given.get("lapses_min")), break: about?.version ?? null });
    return `Recorded${answer?.version ? ` as v${answer.version}` : ""}: ${correctionText(correction)}.`;
  }, onDone);
}

function whole(name, text) {
  if (!/^-?\d+$/.test(text)) throw new Error(`expected a whole number as ${name.replace("_", " ")}, found ${text}`);
  return Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

// What a break most likely needs, with what the broker showed.
function suggested(about) {
  const { kind, field: name, theirs, position_id, symbol, deal } = about ?? {};
  if (kind === "zombie") {
    const seen = /^(buy|sell) (\S+) (.+) @ ([^@]+)$/.exec(theirs ?? "");
    return { what: "add", position_id, ...(seen ? { side: seen[1], volume: seen[2], symbol: seen[3], price_open: seen[4] } : { symbol }) };
  }
  if (kind === "drift") return { what: "update", position_id, ...(name && theirs ? { [name]: theirs } : {}) };
  if (kind === "balance") return { what: "balance", [name === "credit" ? "credit" : "balance"]: theirs };
  if (kind === "withdrawn") return { what: "withdrawal", deal };
  return { what: "close", position_id };
}

// ---------------------------------------------------------------------------------------------------------------- notes

export function note(context, account, version, onDone) {
  if (!context.may("operator")) return off(context, "operator");
  const key = `note-${version}`, me = context.session.name;
  const owner = h("input", { name: "owner", type: "checkbox", id: `${key}-owner`, data: { key: `${key}-owner` } });
  return sender(context, h("form", { "aria-label": "Note" },
    field("note", h("textarea", { name: "text", required: true, maxlength: 2000, id: `${key}-text`, data: { key: `${key}-text` } }), NEVER_DELETED),
    h("p", null, owner, " ", h("label", { for: owner.id }, "I take it over: ", broker(me), " is its owner, and reminders pause")),
    h("div", null, h("button", null, "Record the note"))), async (given) => {
    await context.post(accountPath(account.server, account.login, "breaks", version, "notes"), { text: given.get("text"), owner: given.get("owner") != null ? me : null });
    return "The note is recorded.";
  }, onDone);
}
