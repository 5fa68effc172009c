// What people decide: notes about breaks, corrections that they propose, and the approval by a second person.
//
//   proposeForm({context, server, login, one, onDone, onClose})   one: the break that it answers (as breaks --json), which
//                                                 fills it in. Its effect is shown first, and what is recorded is bound to it:
//                                                 applied where one person is enough, else proposed
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
  clock: ["change the clock of the broker's server", "clock"],
  order: ["change what orders the deals", "order"],
};
const CHOICES = { side: ["buy", "sell"], order: ["ticket", "time"] };
const WHOLE = ["position_id", "deal", "magic"];
const NEVER_DELETED = "It becomes part of the journal: text can never be deleted. No names of clients, no secrets.";
const words = (name) => visible(name).replaceAll("_", " ");

const plain = (value) =>
  visible(Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : value);

export const correctionText = ({ what, ...given }) => [what, ...Object.entries(given).filter(([, value]) => value != null)
  .map(([name, value]) => (["position_id", "deal", what].includes(name) ? "" : `${words(name)} `) + plain(value))].join(" ");

// What a break most likely needs, with what the broker showed.
function suggested({ kind, field: name, theirs, position_id, symbol, deal } = {}) {
  if (kind === "zombie") {
    const seen = /^(buy|sell) (\S+) (.+) @ ([^@]+)$/s.exec(theirs ?? "");
    return { what: "add", position_id, symbol,
      ...(seen && { side: seen[1], volume: seen[2], symbol: seen[3], price_open: seen[4] }) };
  }
  if (kind === "drift") return { what: "update", position_id, ...(name && theirs && { [name]: theirs }) };
  if (kind === "balance") return { what: "balance", [name === "credit" ? "credit" : "balance"]: theirs };
  if (kind === "withdrawn") return { what: "withdrawal", deal };
  if (kind === "clock") return { what: "clock" };
  return { what: "close", position_id };
}

// -------------------------------------------------------------------------------------------------------------- effects

const positionText = ({ side, volume, symbol, price_open, magic }) =>
  `${side} ${volume} ${symbol} @ ${price_open}${magic == null ? "" : `, magic ${magic}`}`;

function shown(value) {
  if (value == null) return "none";
  if (typeof value !== "object" || Array.isArray(value)) return broker(plain(value));
  if (value.side && value.volume && value.symbol) return broker(positionText(value));
  return broker(Object.entries(value).map(([name, each]) => `${words(name)} ${plain(each)}`).join(", "));
}

export const policyText = ({ approvals, corrections, signed }) =>
  approvals === 1 ? "one person is enough" : `a second person for ${corrections.join(", ")}${signed ? ", who signs" : ""}`;

function rowsTable(caption, rows, columns = ["what", "before", "after"]) {
  return h("table", { class: "effect" }, h("caption", { class: "sr" }, caption),
    h("thead", null, h("tr", null, columns.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, rows.map(([what, before, after]) =>
      h("tr", null, h("th", { scope: "row" }, broker(what)), h("td", null, before), h("td", null, after)))));
}

export function effectTable({ positions = {}, unexplained = {}, money = {}, breaks = [], adjusted = [], policy } = {}) {
  const pairs = (from, name) =>
    Object.entries(from).map(([key, [before, after]]) => [`${name} ${key}`, shown(before), shown(after)]);
  const rows = [...pairs(positions, "position"), ...pairs(unexplained, "unexplained")];
  for (const one of adjusted) {
    for (const name of ["balance", "credit", "clock", "order"]) {
      if (one[`${name}_after`] != null) rows.push([name, shown(one[`${name}_before`]), shown(one[`${name}_after`])]);
    }
    if (one.deal != null) rows.push([`deal ${one.deal}`, "counts", "withdrawn"]);
    if (one.accepted != null) rows.push(["accepted", "", shown(one.accepted)]);
  }
  const isSet = (name) => rows.some(([what]) => what === name);
  for (const [name, by] of Object.entries(money)) if (!isSet(name)) rows.push([name, "", `moves by ${by}`]);
  if (policy) rows.push(["policy", ...policy.map(policyText)]);
  for (const { kind, ...about } of breaks) rows.push([`break ${kind} ${Object.values(about).join(" ")}`, "open", "closed"]);
  return rows.length ? rowsTable("What it changes", rows) : h("p", null, "It changes no position and no money.");
}

// What is different from what was proposed: {path in the effect: [then, now]}.
export function changedTable(changed) {
  const rows = Object.entries(changed).filter(([path]) => !/^adjusted\.\d+\.(before|after)\./.test(path)) // positions have it
    .map(([path, [then, by]]) => [words(path.replace(/^(positions|unexplained)\.(.*?)\.([01])\b/, (_, what, about, side) =>
      `${what.replace(/s$/, "")} ${about} ${side === "0" ? "before:" : "after:"}`).replaceAll(".", " ")), shown(then),
        shown(by)]);
  return rowsTable("What changed since", rows, ["what", "as proposed", "by now"]);
}

// -------------------------------------------------------------------------------------------------------------- sending

// A form that sends once: its buttons are off meanwhile, what went wrong is stated in it, and what was typed stays then. Where
// send returns true, it goes on with the same form.
function sender(form, send, settle) {
  const problem = h("p", { class: "problem", role: "alert" });
  form.append(problem);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...form.querySelectorAll("button:enabled")];
    problem.textContent = "";
    for (const one of buttons) one.disabled = true;
    try {
      if (!await send(Object.fromEntries(new FormData(form)), event.submitter)) {
        for (const one of form.querySelectorAll("[data-draft]")) delete one.dataset.draft;
        form.closest("details")?.removeAttribute("open");
      }
    } catch (error) {
      problem.textContent = visible(error.text ?? error.message);
    }
    for (const one of buttons) one.disabled = false;
    settle?.();
  });
  return form;
}

function done({ context, key, text, onDone, answer }) {
  context.drop(key); // the next one begins empty
  context.banner("done", "info", broker(text));
  setTimeout(() => context.banner("done"), 10_000);
  onDone?.(answer);
}

const off = (context, role) => context.whyNot(role) && h("p", { class: "quiet" }, context.whyNot(role), ".");
const input = (key, name, props) => h(props.type === "area" ? "textarea" : "input",
  { id: `${key}-${name}`, name, autocomplete: "off", maxlength: 500, ...props, data: { key: `${key}-${name}` } });
const check = (key, name, text) =>
  h("p", null, input(key, name, { type: "checkbox" }), " ", h("label", { for: `${key}-${name}` }, text));

// ------------------------------------------------------------------------------------------------------------ proposals

export function proposeForm({ context, server, login, one = null, onDone, onClose }) {
  const key = `propose-${server}/${login}-${one?.version ?? "new"}`;
  return off(context, "operator")
    || context.keep(key, () => newProposal({ context, key, server, login, one, onDone, onClose }));
}

function newProposal({ context, key, server, login, one, onDone, onClose }) {
  const start = suggested(one ?? {});
  const fields = h("div", { class: "row" }), effect = h("div", { role: "status" });
  const what = h("select", { name: "what", value: start.what, data: { key: `${key}-what` }, on: { change: draw } },
    Object.entries(RECIPES).map(([name, [text]]) => h("option", { value: name }, text)));
  const propose = h("button", { disabled: true }, "Propose it");
  const apply = h("button", { class: "primary", hidden: true }, "Apply it"); // where the policy asks for one person
  let digest = null; // of the effect that is shown: only what was shown can be proposed

  function show(found) {
    digest = found?.effect_digest ?? null;
    propose.disabled = digest === null;
    apply.hidden = found?.waits ?? true;
    propose.className = apply.hidden ? "primary" : "";
    update(effect, found && [h("h3", null, "It would change"), effectTable(found.effect)]);
  }

  function argument(each) {
    const name = each.replace("?", ""), required = each === name, isWhole = WHOLE.includes(name);
    const value = visible((what.value === start.what ? start : one ?? {})[name] ?? "");
    const props = { id: `${key}-${name}`, name, required, value, data: { key: `${key}-${name}` } };
    return field(words(name) + (required ? "" : " (optional)"), CHOICES[name]
      ? h("select", props, ["", ...CHOICES[name]].map((one) => h("option", { value: one }, one || "–")))
      : input(key, name, { ...props, inputmode: isWhole ? "numeric" : null, pattern: isWhole ? "-?[0-9]+" : null }));
  }

  function draw() {
    show(null);
    update(fields, RECIPES[what.value].slice(1).map(argument));
  }

  const form = h("form", { class: onClose ? "propose panel" : "propose", "aria-label": "Propose a correction",
    on: { input: ({ target }) => { if (fields.contains(target)) show(null); } } },
  field("what to correct", what), fields,
  field("reason", input(key, "reason", { required: true }), NEVER_DELETED),
  field("lapses after minutes", input(key, "lapses_min", { type: "number", min: 1, max: 10080, value: 60 })),
  check(key, "urgent", "urgent: it is applied at once and everybody is alerted; a second person confirms it afterwards"),
    effect,
  h("div", { class: "row" }, h("button", null, "Show what it changes"), apply, propose,
    onClose && h("button", { type: "button", on: { click: onClose } }, "Close")));
  draw();

  return sender(form, async (given, button) => {
    const correction = { what: what.value };
    for (const each of RECIPES[what.value].slice(1)) {
      const name = each.replace("?", ""), value = given[name]?.trim();
      // an identifier above 2^53 is no exact number here: it goes as text, which the server reads as well
      if (value) correction[name] = WHOLE.includes(name) && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    if (![apply, propose].includes(button)) {
      show(await context.post(accountPath(server, login, "preview"), { correction, reason: given.reason }));
      return true;
    }
    const answer = button === apply
      ? await context.post(accountPath(server, login, "corrections"), { correction, reason: given.reason, effect_digest: digest })
      : await context.post(accountPath(server, login, "proposals"), { correction, reason: given.reason, urgent: "urgent" in given,
        lapses_min: Number(given.lapses_min), break: one?.version ?? null, effect_digest: digest });
    show(null);
    const text = `${correctionText(correction)}: ${answer.became}.${answer.advice ? ` ${answer.advice}` : ""}`;
    onClose?.();
    return done({ context, key, text, onDone, answer });
  }, () => { propose.disabled = digest === null; });
}

const STATES = { pending: "warn", unconfirmed: "bad", approved: "ok" };

export const proposalPanel = ({ proposals, ...rest }) => h("section", { class: "proposals", "aria-label": "Proposals" },
  h("h3", null, `Proposals (${proposals.length})`), proposals.map((one) => proposal(one, rest)));

function proposal(one, { context, route, rule, policy, onDone }) {
  const isWaiting = one.waits ?? ["pending", "unconfirmed"].includes(one.state);
  const last = one.decisions?.at(-1), at = (iso) => time(iso, rule, { short: true });
  return h("article", { class: "proposal", data: { proposal: one.version, state: one.state } },
    h("p", null, badge(one.urgent ? `${one.state}, urgent` : one.state, STATES[one.state] ?? "idle"), " ",
      h("b", null, correctionText(one.correction)), ` v${one.version}`),
    h("p", null, "proposed by ", broker(one.operator), " ", at(one.proposed_at), ": ", broker(`“${one.reason}”`),
      one.state === "pending"
        && [", lapses ", at(one.lapses_at), " (", age((now() - Date.parse(one.lapses_at)) / 1000), ")"]),
    effectTable(one.effect),
    last && h("p", null, `${last.outcome} by `, broker(last.operator), " ", at(last.decided_at),
      last.reason && [": ", broker(`“${last.reason}”`)]),
    !last && one.why && h("p", null, broker(one.why)),
    last?.changed && changedTable(last.changed),
    isWaiting && decisions(one, { context, route, policy, onDone }));
}

function decisions(one, { context, route, policy, onDone }) {
  const url = accountPath(route.server, route.login, "proposals", one.version, "decision");
  const word = one.state === "pending" ? "Approve" : "Confirm", text = correctionText(one.correction);

  function form(outcome, title, button, hint, required = false) {
    const key = `${outcome}-${route.server}/${route.login}-${one.version}`;
    return context.keep(key, () => h("details", { class: "no-print", data: { key, outcome } }, h("summary", null, title),
      sender(h("form", null, field(required ? "reason" : "reason (optional)", input(key, "reason", { required }), hint),
        h("div", null, h("button", { class: outcome === "approved" ? "primary" : null }, button))), async ({ reason }) => {
        const answer = await context.post(url, { outcome, effect_digest: one.effect_digest, reason: reason || null });
        done({ context, key, onDone, answer, text: answer.became === "lapsed"
          ? "Not applied: by now it would change something else than what you saw. It lapsed; what changed is shown with it."
          : `${text}: ${answer.became}.` });
      })));
  }

  if (one.operator === context.session.name) {
    return [h("p", { class: "quiet" }, `Another person has to ${word.toLowerCase()} what you proposed.`),
      one.state === "pending" && (off(context, "operator") || form("withdrawn", "Withdraw …", "Withdraw it", NEVER_DELETED))];
  }
  return off(context, "approver") || [
    policy?.signed
      ? h("p", null, "The policy asks for a signature, which a page cannot make: ",
        h("code", null, `ledger approve ${one.version}`))
      : form("approved", `${word} …`, `${word}: ${text}`, "It counts only if the effect is still the one above. "
        + "Names are a process, not a proof: whoever may write to the journal can write any name."),
    form("rejected", "Reject …", "Reject it", NEVER_DELETED, true)];
}

// ---------------------------------------------------------------------------------------------------------------- notes

export function noteForm({ context, server, login, version, onDone }) {
  const key = `note-${server}/${login}-${version}`, { name } = context.session;
  const url = accountPath(server, login, "breaks", version, "notes");
  return off(context, "operator") || context.keep(key, () => sender(h("form", { "aria-label": "Note" },
    field("note", input(key, "text", { type: "area", required: true, maxlength: 2000 }), NEVER_DELETED),
    check(key, "owner", ["I take it over: ", broker(name), " is its owner, and reminders pause"]),
    h("div", null, h("button", null, "Record the note"))), async (given) => {
    const answer = await context.post(url, { text: given.text, owner: "owner" in given ? name : null });
    done({ context, key, text: "The note is recorded.", onDone, answer });
  }));
}
