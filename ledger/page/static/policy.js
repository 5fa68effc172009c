// The policy of an account: how many persons a correction needs, and the form in which an admin sets it.
//
//   policyLine({policy, context, onSet})           the rule in words, with a button for who may set it
//   policyForm({policy, context, path, onDone, onClose})   path: where it is sent

import { policyText } from "./decisions.js";
import { broker, field, h } from "./dom.js";

const SUBJECTS = ["position", "balance", "credit", "withdrawal", "acceptance", "clock", "order"]; // as in `ledger policy`

export function policyLine({ policy, context, isPast, onSet }) {
  const refused = isPast ? "in the past nothing can be done: go back to now" : context.whyNot("admin");
  return h("p", { class: "dim", data: { policy: policy.approvals } }, "Corrections: ", broker(policyText(policy)), " ",
    h("button", { type: "button", class: "plain", disabled: refused !== null, title: refused, data: { key: "set-policy" }, on: { click: onSet } }, "Set policy"));
}

const check = (name, text, checked) => h("span", null, h("input", { type: "checkbox", id: `policy-${name}`, name, checked, data: { key: `policy-${name}` } }), " ", h("label", { for: `policy-${name}` }, text), " ");

export function policyForm({ policy, context, path, onDone, onClose }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const approvals = h("select", { name: "approvals", value: String(policy.approvals) }, h("option", { value: "1" }, "one person is enough"), h("option", { value: "2" }, "a second person has to approve"));
  const reason = h("input", { name: "reason", required: true, maxlength: 500, autocomplete: "off" });
  const form = h("form", { class: "panel", "aria-label": "Set policy" }, h("h2", null, "Set policy"), field("corrections", approvals),
    h("fieldset", null, h("legend", null, "for corrections of"), SUBJECTS.map((one) => check(one, one, policy.approvals === 1 || policy.corrections.includes(one)))),
    check("signed", "who approves signs with a key of their own (ledger approve --key)", policy.signed),
    field("reason", reason, "It becomes part of the journal: text can never be deleted. Lowering a policy needs a second person, too: it becomes a proposal."),
    h("div", { class: "row" }, h("button", { class: "primary" }, "Set it"), h("button", { type: "button", on: { click: onClose } }, "Close")), problem);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const isOn = (name) => form.elements[name].checked;
    problem.textContent = "";
    try {
      const answer = await context.post(path, { approvals: Number(approvals.value), corrections: approvals.value === "1" ? null : SUBJECTS.filter(isOn), signed: approvals.value === "2" && isOn("signed"), reason: reason.value });
      onDone(answer);
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  return form;
}
