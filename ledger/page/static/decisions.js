// What people decide: notes about breaks, corrections that they propose, and the approval by a second person.
//
//   proposeForm({context, server, login, one, onDone, onClose})   one: the break that it answers (as breaks --json), which fills it in.
//                                                 Its effect is shown first; what is proposed is bound to it
//   proposalPanel({proposals, context, route, rule, policy, onDone})   proposals with their effects and the decisions that this
//                                                 person may make; route: {server, login}, rule: the account's clock
//   noteForm({context, server, login, version, onDone})   a note about a break, and taking it over
//   effectTable(effect), changedTable(changed), correctionText(correction), policyText(policy)
// Every form states why it is off, where it is. Deciding sends the digest of the effect that was shown. Nothing here has a key.

import { account as accountPath } from "./api.js";
import { age, badge, broker, field, h, update, visible } from "./dom.js";
import { now, time } from "./time.js";

const RECIPES = { // the arguments of `ledger correct`; "?": may be left out
  close: ["close a position that is gone", "position_id"],
  add: ["add a position that only the broker has", "position_id", "symbol", "side", "volume", "price_open", "magic?"],
  update: ["change an open position", "position_id", "side?", "volume?", "price_open?", "magic?"],
  balance: ["set balance or credit to what the broker states", "balance?", "credit?"],
  withdrawal: ["a deal that the broker withdrew", "deal"],
  acceptance: ["accept what no deal explains", "position_id?", "symbol?"],
};
const WHOLE = ["position_id", "deal", "magic"];
const NEVER_DELETED = "It becomes part of the journal: text can never be deleted. No names of clients, no secrets.";
const words = (name) => visible(name).replaceAll("_", " ");

export const correctionText = ({ what, ...given }) => [what, ...Object.entries(given).filter(([, value]) => value != null)
  .map(([name, value]) => (name === "position_id" || name === "deal" ? "" : `${words(name)} `) + visible(typeof value === "object" ? JSON.stringify(value) : value))].join(" ");

// What a break most likely needs, with what the broker showed.
function suggested({ kind, field: name, theirs, position_id, symbol, deal } = {}) {
  if (kind === "zombie") {
    const seen = /^(buy|sell) (\S+) (.+) @ ([^@]+)$/s.exec(theirs ?? "");
    return { what: "add", position_id, symbol, ...(seen && { side: seen[1], volume: seen[2], symbol: seen[3], price_open: seen[4] }) };
  }
  if (kind === "drift") return { what: "update", position_id, ...(name && theirs && { [name]: theirs }) };
  if (kind === "balance") return { what: "balance", [name === "credit" ? "credit" : "balance"]: theirs };
  if (kind === "withdrawn") return { what: "withdrawal", deal };
  return { what: "close", position_id };
}

// -------------------------------------------------------------------------------------------------------------- effects

const shown = (value) => value == null ? "none" : broker(Array.isArray(value) ? value.join(", ") : typeof value === "object"
  ? ["side", "volume", "symbol"].every((name) => name in value) ? `${value.side} ${value.volume} ${value.symbol} @ ${value.price_open}${value.magic == null ? "" : `, magic ${value.magic}`}`
    : Object.entries(value).map(([name, each]) => `${words(name)} ${typeof each === "object" ? JSON.stringify(each) : each}`).join(", ") : value);

export const policyText = ({ approvals, corrections, signed }) =>
  approvals === 1 ? "one person is enough" : `a second person for ${corrections.join(", ")}${signed ? ", who signs" : ""}`;

function rowsTable(caption, rows) {
  return h("table", { class: "effect" }, h("caption", { class: "sr" }, caption),
    h("thead", null, h("tr", null, ["what", "before", "after"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, rows.map(([what, before, after]) => h("tr", null, h("th", { scope: "row" }, broker(what)), h("td", null, before), h("td", null, after)))));
}

export function effectTable({ positions = {}, unexplained = {}, money = {}, breaks = [], adjusted = [], policy } = {}) {
  const pairs = (from, name) => Object.entries(from).map(([key, [before, after]]) => [`${name} ${key}`, shown(before), shown(after)]);
  const rows = [...pairs(positions, "position"), ...pairs(unexplained, "unexplained")];
  for (const one of adjusted) {
    for (const name of ["balance", "credit", "clock", "order"]) {
      if (one[`${name}_after`] != null) rows.push([name, shown(one[`${name}_before`]), shown(one[`${name}_after`])]);
    }
    for (const name of ["deal", "accepted"]) if (one[name] != null) rows.push([name === "deal" ? "deal withdrawn" : name, "", shown(one[name])]);
  }
  const isSet = (name) => rows.some(([what]) => what === name);
  for (const [name, by] of Object.entries(money)) if (!isSet(name)) rows.push([name, "", `${String(by).startsWith("-") ? "" : "+"}${by}`]);
  if (policy) rows.push(["policy", ...policy.map(policyText)]);
  for (const { kind, ...about } of breaks) rows.push([`break ${kind} ${Object.values(about).join(" ")}`, "open", "closed"]);
  return rows.length ? rowsTable("What it changes", rows) : h("p", null, "It changes no position and no money.");
}

export const changedTable = (changed) => rowsTable("What changed since", Object.entries(changed).map(([path, [then, by]]) => [words(path.replaceAll(".", " ")), shown(then), shown(by)]));

// -------------------------------------------------------------------------------------------------------------- sending

// A form that sends once: its buttons are off meanwhile, what went wrong is stated in it, and what was typed stays.
function sender(form, send) {
  const problem = h("p", { class: "problem", role: "alert" });
  form.append(problem);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...form.querySelectorAll("button:enabled")];
    problem.textContent = "";
    for (const one of buttons) one.disabled = true;
    try {
      await send(Object.fromEntries(new FormData(form)), event.submitter);
    } catch (error) {
      problem.textContent = visible(error.text ?? error.message);
    }
    for (const one of buttons) one.disabled = false;
  });
  return form;
}

function done(context, form, text, onDone, answer) {
  for (const one of form.querySelectorAll("[data-draft]")) delete one.dataset.draft;
  form.reset();
  form.closest("details")?.removeAttribute("open");
  context.banner("done", "info", broker(text));
  setTimeout(() => context.banner("done"), 10_000);
  onDone?.(answer);
}

const off = (context, role) => context.whyNot(role) && h("p", { class: "quiet" }, context.whyNot(role), ".");
const input = (key, name, props) => h(props.type === "area" ? "textarea" : "input", { id: `${key}-${name}`, name, autocomplete: "off", maxlength: 500, ...props, data: { key: `${key}-${name}` } });
const check = (key, name, text) => h("p", null, input(key, name, { type: "checkbox" }), " ", h("label", { for: `${key}-${name}` }, text));

// ------------------------------------------------------------------------------------------------------------ proposals

export function proposeForm({ context, server, login, one = null, onDone, onClose }) {
  if (!context.may("operator")) return off(context, "operator");
  const key = `propose-${one?.version ?? "new"}`, start = suggested(one ?? {});
  const fields = h("div", { class: "row" }), effect = h("div", { role: "status" });
  const what = h("select", { name: "what", value: start.what, data: { key: `${key}-what` }, on: { change: draw } }, Object.entries(RECIPES).map(([name, [text]]) => h("option", { value: name }, text)));
  const propose = h("button", { class: "primary", disabled: true, value: "propose" }, "Propose it");
  let digest = null; // of the effect that is shown

  function stale() {
    digest = null;
    propose.disabled = true;
    update(effect);
  }
  function draw() {
    stale();
    update(fields, RECIPES[what.value].slice(1).map((each) => {
      const name = each.replace("?", ""), required = each === name, value = visible((what.value === start.what ? start : one ?? {})[name] ?? "");
      return field(words(name) + (required ? "" : " (optional)"), name === "side"
        ? h("select", { id: `${key}-side`, name, required, value, data: { key: `${key}-side` } }, ["", "buy", "sell"].map((side) => h("option", { value: side }, side || "–")))
        : input(key, name, { required, value, inputmode: WHOLE.includes(name) ? "numeric" : null, pattern: WHOLE.includes(name) ? "-?[0-9]+" : null }));
    }));
  }
  const form = h("form", { class: onClose ? "propose panel" : "propose", "aria-label": "Propose a correction", on: { input: ({ target }) => { if (target === what || fields.contains(target)) stale(); } } },
    field("what to correct", what), fields,
    field("reason", input(key, "reason", { required: true }), NEVER_DELETED),
    field("lapses after minutes", input(key, "lapses_min", { type: "number", min: 1, max: 10080, value: 60 })),
    check(key, "urgent", "urgent: it is applied at once and everybody is alerted; a second person confirms it afterwards"),
    effect, h("div", { class: "row" }, h("button", { value: "preview" }, "Show what it changes"), propose, onClose && h("button", { type: "button", on: { click: onClose } }, "Close")));
  draw();
  return sender(form, async (given, button) => {
    const correction = { what: what.value };
    for (const each of RECIPES[what.value].slice(1)) {
      const name = each.replace("?", ""), value = given[name]?.trim();
      // an identifier above 2^53 is no exact number here: it goes as text, which the server reads as well
      if (value) correction[name] = WHOLE.includes(name) && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    const body = { correction, reason: given.reason, urgent: "urgent" in given, lapses_min: Number(given.lapses_min), break: one?.version ?? null };
    const url = accountPath(server, login, "proposals");
    if (button !== propose) {
      const answer = await context.post(`${url}/preview`, { correction, reason: given.reason });
      digest = answer.effect_digest;
      update(effect, h("h3", null, "It would change"), effectTable(answer.effect));
      propose.disabled = false;
      return;
    }
    const answer = await context.post(url, { ...body, effect_digest: digest });
    stale();
    done(context, form, `${correctionText(correction)}: ${answer.outcome}.${answer.advice ? ` ${answer.advice}` : ""}`, onDone, answer);
  });
}

const STATES = { pending: "warn", unconfirmed: "bad", approved: "ok" };

export const proposalPanel = ({ proposals, ...rest }) => h("section", { class: "proposals", "aria-label": "Proposals" }, h("h3", null, `Proposals (${proposals.length})`),
  proposals.map((one) => proposal(one, rest)));

function proposal(one, { context, route, rule, policy, onDone }) {
  const isWaiting = one.waits ?? ["pending", "unconfirmed"].includes(one.state);
  const last = one.decisions?.at(-1);
  return h("article", { class: "proposal", data: { proposal: one.version, state: one.state } },
    h("p", null, badge(one.urgent ? `${one.state}, urgent` : one.state, STATES[one.state] ?? "idle"), " ", h("b", null, correctionText(one.correction)), ` v${one.version}`),
    h("p", null, "proposed by ", broker(one.operator), " ", time(one.proposed_at, rule, { short: true }), ": ", broker(`“${one.reason}”`),
      one.state === "pending" && one.lapses_at && [", lapses ", time(one.lapses_at, rule, { short: true }), " (in ", age((now() - Date.parse(one.lapses_at)) / 1000), ")"]),
    effectTable(one.effect),
    last && h("p", null, `${last.outcome} by `, broker(last.operator), " ", time(last.time, rule, { short: true }), last.reason && [": ", broker(`“${last.reason}”`)]),
    one.why && h("p", null, broker(one.why)),
    last?.changed && changedTable(last.changed),
    isWaiting && decisions(one, { context, route, policy, onDone }));
}

function decisions(one, { context, route, policy, onDone }) {
  const url = accountPath(route.server, route.login, "proposals", one.version, "decision"), key = `decide-${one.version}`;
  const form = (outcome, title, button, hint, required = false) => h("details", { class: "no-print", data: { key: `${key}-${outcome}` } }, h("summary", null, title),
    sender(h("form", { data: { outcome } }, field(required ? "reason" : "reason (optional)", input(`${key}-${outcome}`, "reason", { required }), hint),
      h("div", null, h("button", { class: outcome === "approved" ? "primary" : null }, button))), async (given) => {
      const answer = await context.post(url, { outcome, effect_digest: one.effect_digest, reason: given.reason || null });
      done(context, document.querySelector(`[data-key="${key}-${outcome}"] form`) ?? h("form"), answer.outcome === "lapsed"
        ? "Not applied: by now it would change something else than what you saw. The proposal lapsed, and what changed is shown with it."
        : `${correctionText(one.correction)}: ${answer.outcome}.`, onDone, answer);
    }));
  const word = one.state === "pending" ? "Approve" : "Confirm";
  if (one.operator === context.session.name) {
    return [h("p", { class: "quiet" }, `Another person has to ${word.toLowerCase()} what you proposed.`),
      one.state === "pending" && (off(context, "operator") || form("withdrawn", "Withdraw …", "Withdraw it", NEVER_DELETED))];
  }
  return off(context, "approver") || [
    policy?.signed ? h("p", null, "The policy asks for a signature, which a page cannot make: ", h("code", null, `ledger approve ${one.version} --account ${visible(`${route.server}/${route.login}`)}`))
      : form("approved", `${word} …`, `${word}: ${correctionText(one.correction)}`, "It counts only if the effect is still the one above. Names are a process, not a proof: whoever may write to the journal can write any name."),
    form("rejected", "Reject …", "Reject it", NEVER_DELETED, true)];
}

// ---------------------------------------------------------------------------------------------------------------- notes

export function noteForm({ context, server, login, version, onDone }) {
  if (!context.may("operator")) return off(context, "operator");
  const key = `note-${version}`;
  const form = h("form", { "aria-label": "Note" }, field("note", input(key, "text", { type: "area", required: true, maxlength: 2000 }), NEVER_DELETED),
    check(key, "owner", ["I take it over: ", broker(context.session.name), " is its owner, and reminders pause"]), h("div", null, h("button", null, "Record the note")));
  return sender(form, async (given) => {
    const answer = await context.post(accountPath(server, login, "breaks", version, "notes"), { text: given.text, owner: "owner" in given ? context.session.name : null });
    done(context, form, "The note is recorded.", onDone, answer);
  });
}
