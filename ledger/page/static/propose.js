// The form that proposes a correction: its kind, its arguments, the reason. What it would change is worked out by the server
// and shown before and after; nothing is applied here.
//
//   proposeForm({server, login, one, onDone, onClose})   the form; one: the break that it is about, which fills it in
//   proposalPanel({proposals, route, rule, context, onDone})   what waits for a second person, with the decisions
//   effectTable(effect)                                  what a correction would change, a row a figure

import { account, post } from "./api.js";
import { announce, badge, broker, field, h, update } from "./dom.js";
import * as time from "./time.js";

const POSITION = { name: "position_id", label: "position id", kind: "whole", required: true };
const SIDE = { name: "side", label: "side", choices: ["buy", "sell"] };
const VOLUME = { name: "volume", label: "volume (lots)", kind: "number" };
const PRICE = { name: "price_open", label: "open price", kind: "number" };
const MAGIC = { name: "magic", label: "magic number", kind: "whole" };
const need = (field) => ({ ...field, required: true });

/** What can be corrected, with the arguments of each as `ledger correct` has them. */
export const CORRECTIONS = {
  close: { label: "close a position that is gone", fields: [POSITION] },
  add: { label: "add a position that the broker has", fields: [POSITION, need({ name: "symbol", label: "symbol" }), need(SIDE), need(VOLUME), need(PRICE), MAGIC] },
  update: { label: "change an open position", fields: [POSITION, SIDE, VOLUME, PRICE, MAGIC] },
  balance: { label: "set balance or credit", fields: [{ name: "balance", label: "balance", kind: "number" }, { name: "credit", label: "credit", kind: "number" }] },
  withdrawal: { label: "a deal that the broker withdrew", fields: [{ name: "deal", label: "deal", kind: "whole", required: true }] },
  acceptance: { label: "accept what no deal explains", fields: [{ ...POSITION, required: false }, { name: "symbol", label: "symbol" }] },
};

/** A break's likely correction, to begin with. */
export function suggested(one) {
  if (!one) return { what: "close" };
  const about = one.position_id ? { position_id: one.position_id } : {};
  if (one.kind === "ghost") return { what: "close", ...about };
  if (one.kind === "zombie") return { what: "add", ...about, symbol: one.symbol };
  if (one.kind === "drift") return { what: "update", ...about, ...(one.field && one.theirs ? { [one.field]: one.theirs } : {}) };
  if (one.kind === "balance") return { what: "balance", balance: one.theirs };
  return { what: "acceptance", ...about, symbol: one.symbol };
}

function input(field, value) {
  if (field.choices) {
    return h("select", { name: field.name, required: field.required, value: value ?? "" }, ["", ...field.choices].map((choice) => h("option", { value: choice }, choice || "-")));
  }
  const form = { whole: ["numeric", "[0-9]+"], number: ["decimal", "-?[0-9]+([.][0-9]+)?"] }[field.kind] ?? ["text", undefined];
  return h("input", { name: field.name, required: field.required, value: value ?? "", inputmode: form[0], pattern: form[1], autocomplete: "off" });
}

/** The recipe of what is in the form: identifiers are whole numbers, prices and volumes exact text; what is empty is left out. */
export function recipe(what, values) {
  const given = CORRECTIONS[what].fields.filter((field) => (values[field.name] ?? "") !== "");
  // An identifier above 2^53 is no exact number in JavaScript: it goes as text, which the server reads too.
  const value = (field) => (field.kind === "whole" && Number.isSafeInteger(Number(values[field.name])) ? Number(values[field.name]) : values[field.name]);
  return { what, ...Object.fromEntries(given.map((field) => [field.name, value(field)])) };
}

const shown = (value) => value == null ? "-" : broker(typeof value === "object" ? Object.values(value).filter((one) => one != null).join(" ") : value);

export function effectTable(effect) {
  const pairs = Object.entries(effect ?? {}).flatMap(([what, value]) => Array.isArray(value) ? value.map((one) => [one.what ?? what, one]) : [[what, value]]);
  const rows = pairs.filter(([, value]) => value && typeof value === "object");
  if (!rows.length) return h("p", null, "It would change nothing.");
  return h("div", { class: "scroll" }, h("table", { class: "effect" }, h("caption", { class: "sr" }, "What it would change"),
    h("thead", null, h("tr", null, ["what", "before", "after"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, rows.map(([what, { before, after }]) => h("tr", null, h("th", { scope: "row" }, broker(what)), h("td", null, shown(before)), h("td", null, shown(after)))))));
}

export function proposeForm({ server, login, one = null, onDone, onClose }) {
  const start = suggested(one);
  const what = h("select", { name: "what", value: start.what }, Object.entries(CORRECTIONS).map(([name, { label }]) => h("option", { value: name }, label)));
  const fields = h("div", { class: "fields" });
  const reason = h("textarea", { name: "reason", required: true, rows: 2, maxlength: 500 });
  const urgent = h("input", { type: "checkbox", name: "urgent", id: "f-urgent" });
  const lapses = h("input", { name: "lapses_min", type: "number", min: 1, max: 10080, value: 60, required: true });
  const effect = h("div", { class: "effect-box", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const show = h("button", { type: "submit", value: "preview" }, "Show what it would change");
  const propose = h("button", { type: "submit", value: "propose", disabled: true }, "Propose");
  const fill = () => update(fields, CORRECTIONS[what.value].fields.map((one) => field(one.label, input(one, what.value === start.what ? start[one.name] : ""))));
  const form = h("form", { class: "propose panel", "aria-label": "Propose a correction" },
    h("h2", null, "Propose a correction", one && [" for ", one.kind, " ", broker(one.position_id ?? one.symbol ?? "")]),
    field("what", what), fields,
    field("reason", reason, "It becomes part of the journal. Text can never be deleted: write no names of clients and no secrets."),
    field("lapses after (minutes)", lapses),
    h("p", null, urgent, " ", h("label", { for: "f-urgent" }, "urgent: applied at once by one person and reported; a second person has to confirm it afterwards")),
    effect, problem,
    h("p", { class: "buttons" }, show, propose, h("button", { type: "button", on: { click: () => onClose?.() } }, "Close")));
  const stale = () => { propose.disabled = true; update(effect); };
  what.addEventListener("change", fill);
  form.addEventListener("input", ({ target }) => { if (target !== reason && target !== lapses) stale(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const isPreview = event.submitter !== propose;
    const values = Object.fromEntries(new FormData(form));
    const body = { correction: recipe(what.value, values), reason: reason.value, urgent: urgent.checked, lapses_min: Number(lapses.value), ...(one?.version && { break: one.version }) };
    problem.textContent = "";
    show.disabled = propose.disabled = true;
    try {
      const answer = await post(account(server, login, "proposals"), isPreview ? { ...body, preview: true } : body);
      update(effect, h("h3", null, isPreview ? "It would change" : "Proposed"), effectTable(answer.effect));
      propose.disabled = !isPreview;
      if (isPreview) return;
      announce("proposed");
      onDone?.(answer);
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      show.disabled = false;
    }
  });
  fill();
  return form;
}

/** A correction in a few words. */
export const correctionText = ({ what, ...given }) => [CORRECTIONS[what]?.label ?? what, ...Object.entries(given).filter(([, value]) => value != null).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`)].join(", ");

/**
 * What waits for a second person: each with what it would change, and the decisions that this person may make. Deciding sends
 * the digest of the effect that was shown, so that nobody approves something else than what they saw.
 */
export function proposalPanel({ proposals, route, rule, context, onDone }) {
  return h("section", { class: "panel proposals", "aria-label": "Proposals" }, h("h2", null, `Waiting for a second person (${proposals.length})`), proposals.map((one) => proposal(one, { route, rule, context, onDone })));
}

function proposal(one, { route, rule, context, onDone }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const reason = h("input", { name: `reason-${one.version}`, maxlength: 500, autocomplete: "off", data: { key: `reason-${one.version}` } });
  const isOwn = one.operator === context.session.name;
  const decide = (outcome, text, role, why) => {
    const refused = why ?? context.whyNot(role);
    const run = async () => {
      if (outcome === "rejected" && !reason.value.trim()) { problem.textContent = "a rejection needs a reason: write it, then reject"; return reason.focus(); }
      try {
        const answer = await context.post(account(route.server, route.login, "proposals", String(one.version), "decision"), { outcome, effect_digest: one.effect_digest, reason: reason.value.trim() || null });
        announce(`${text}: ${answer.outcome ?? "done"}`);
        onDone?.(answer);
      } catch (error) {
        problem.textContent = error.message;
      }
      return null;
    };
    return h("button", { type: "button", disabled: refused != null, title: refused, data: { decision: outcome }, on: { click: run } }, text);
  };
  return h("article", { data: { proposal: one.version } },
    h("p", null, h("b", null, broker(correctionText(one.correction))), ` v${one.version} proposed by `, broker(one.operator), " ", time.time(one.proposed_at, rule), ": ", broker(one.reason), one.urgent && [" ", badge("urgent", "warn")]),
    effectTable(one.effect), h("p", { class: "dim" }, "lapses ", time.time(one.lapses_at, rule)),
    h("div", { class: "row" }, field("reason", reason),
      decide("approved", "approve", "approver", isOwn ? "another person has to approve: this proposal is yours" : null), decide("rejected", "reject", "approver", isOwn ? "withdraw it: this proposal is yours" : null),
      isOwn && decide("withdrawn", "withdraw", "operator")), problem);
}
