// Keys of the page. Off while typing; nothing that writes has one.
//
//   bind(scope, {key: [about, run]})   scope "page" or "view"; replaces what was bound in that scope. Two keys: "g o".
//                                      run null: the browser does it already, it is only listed
//   start()                            listens; `?` lists what is bound, and switches the keys off and on
//   rows(step)                         j and k: the focus moves between the elements with data-row

import { announce, h } from "./dom.js";

const bound = { page: {}, view: {} };
const SETTING = "ledger-keys";
const isOn = () => localStorage.getItem(SETTING) !== "off";
let first = "", timer = 0;

export function bind(scope, keys) { bound[scope] = keys ?? {}; }

const isTyping = (target) => target.closest("textarea, select, [contenteditable]") ||
  (target.matches("input") && !["range", "checkbox", "radio", "button", "submit"].includes(target.type));

export function rows(step) {
  const all = [...document.querySelectorAll("main [data-row]")].filter((one) => one.offsetParent);
  const active = document.activeElement.closest?.("[data-row]") ?? document.querySelector("main .chosen [data-row]");
  const at = all.indexOf(active);
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function help() {
  const list = (scope) => Object.entries(bound[scope]).map(([key, [about]]) =>
    h("div", null, h("dt", null, key.split(" ").map((one) => [h("kbd", null, one), " "])), h("dd", null, about)));
  const box = h("input", { type: "checkbox", id: "keys-on", checked: isOn(), on: { change: () => {
    localStorage.setItem(SETTING, box.checked ? "on" : "off");
    announce(box.checked ? "keys are on" : "keys are off; Help in the header opens this again");
  } } });
  const dialog = h("dialog", { "aria-labelledby": "keys-title", class: "keys" },
    h("h2", { id: "keys-title" }, "Keys"), h("dl", null, list("page"), list("view")),
    h("p", null, box, " ", h("label", { for: "keys-on" }, "Single keys are on")),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
export { help };

export function start() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || !isOn()
      || document.querySelector("dialog[open]")) return;
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    const all = { "?": ["", help], ...bound.page, ...bound.view };
    const pressed = first ? `${first} ${event.key}` : event.key;
    clearTimeout(timer);
    first = "";
    if (all[pressed]?.[1]) {
      event.preventDefault();
      all[pressed][1](event);
    } else if (Object.keys(all).some((one) => one.startsWith(`${pressed} `))) {
      first = pressed;
      timer = setTimeout(() => { first = ""; }, 1500);
    }
  });
}
