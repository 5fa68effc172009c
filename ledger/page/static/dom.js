// The elements of the page, made of values: no text is ever read as markup.
//
//   h(tag, props, ...children)   an element. props: class, data {name: value}, on {click: f}, value and checked (as
//                                properties),
//                                any attribute (false and null leave it out, true is an empty one). Children: nodes, text,
//                                lists of them
//   broker(text)                 text from outside (symbol, comment, server, operator, error): isolated, its hidden characters
//                                visible
//   visible(text)                the same as plain text, for attributes and titles
//   unknown(reason, last)        "?" with its reason; last: the last known figure with its time, as text
//   figure(value, unit, reason)  a figure as exact text with thousands separated, or unknown
//   age(seconds)                 an age that goes on by itself, "in 5 min" for what is to come; duration(seconds) is its text
//   badge(word, kind)            a status by sign, word and colour; kind: ok, warn, bad, idle
//   field(label, control)        a control with its label
//   update(node, ...children)    replaces what is in a node; focus, drafts and open details with a data-key stay
//   announce(text)               a polite message for screen readers
//   color(name)                  a colour of the present scheme, resolved: color("--ok")

const HIDDEN = new RegExp( // the same characters as in ledger/text.py
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e" +
  "\\u2060-\\u206f\\u3164\\ud800-\\udfff\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\ufffe\\uffff" +
  "\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]", "gu");

const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

export const visible = (text) => String(text).replace(HIDDEN, (letter) => {
  const code = letter.codePointAt(0), hex = (digits) => code.toString(16).padStart(digits, "0");
  return code > 0xffff ? `\\U${hex(8)}` : code > 0xff ? `\\u${hex(4)}` : SHORT[letter] ?? `\\x${hex(2)}`;
});

export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") for (const [key, one] of Object.entries(value)) { if (one != null) element.dataset[key] = one; }
    else if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  if (tag === "select" && props?.value != null) element.value = props.value; // its options are there only now
  return element;
}

const nodes = (children) => children.flat(Infinity).filter((one) => one != null && one !== false && one !== "");

export const broker = (text) => text == null ? null : h("bdi", null, visible(text));

export const unknown = (reason, last) =>
  h("span", { class: "unknown", title: visible(reason ?? "not known") }, "?",
    h("span", { class: "sr" }, ` (${visible(reason ?? "not known")})`),
    last && h("span", { class: "last" }, ` (${visible(last)})`));

export function figure(value, unit, reason) {
  if (value == null) return unknown(reason);
  const [whole, ...rest] = String(value).split(".");
  return h("span", { class: "figure" }, [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join("."),
    unit && h("span", { class: "unit" }, ` ${visible(unit)}`));
}

export function duration(seconds) {
  if (seconds == null) return "?";
  const sign = seconds <= -1 ? "in " : "", all = Math.abs(seconds);
  if (all < 60) return `${sign}${Math.floor(all)} s`;
  if (all < 3600) return `${sign}${Math.floor(all / 60)} min`;
  if (all < 86400) return `${sign}${Math.floor(all / 3600)} h ${Math.floor(all / 60) % 60} min`;
  return `${sign}${Math.floor(all / 86400)} d ${Math.floor(all / 3600) % 24} h`;
}

export function age(seconds) {
  if (seconds == null) return unknown("no time is known");
  return h("span", { class: "age", data: { since: performance.now() - seconds * 1000 } }, duration(seconds));
}
setInterval(() => {
  if (document.hidden) return;
  for (const one of document.querySelectorAll("[data-since]")) {
    const text = duration((performance.now() - one.dataset.since) / 1000);
    if (one.textContent !== text) one.textContent = text;
  }
}, 1000);

const SIGNS = { ok: "✓", warn: "!", bad: "✕", idle: "–" };
export const badge = (word, kind, title) =>
  h("span", { class: `badge ${kind}`, title }, h("span", { "aria-hidden": "true" }, `${SIGNS[kind]} `), word);

export function field(label, control, hint) {
  control.id ||= `f-${control.name || visible(label).replace(/\W+/g, "-")}`;
  const about = hint && h("small", { id: `${control.id}-hint` }, hint);
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, about);
}

document.addEventListener("input", ({ target }) => { // what the URL has is no draft
  if (target.dataset.key && !target.matches(".filters select")) target.dataset.draft = "";
});

export function update(node, ...children) {
  const active = node.contains(document.activeElement) && node !== document.activeElement ? document.activeElement : null;
  const drafts = [...node.querySelectorAll("[data-draft]")];
  const opened = [...node.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
  const scrolled = [...node.querySelectorAll(".scroll[data-key]")].map((one) =>
    [one.dataset.key, one.scrollLeft, one.scrollTop]);
  node.replaceChildren(...nodes(children));
  const named = (key) => node.querySelector(`[data-key="${CSS.escape(key)}"]`);
  for (const key of opened) named(key)?.setAttribute("open", "");
  for (const [key, left, top] of scrolled) named(key)?.scrollTo(left, top);
  for (const old of drafts) {
    const now = named(old.dataset.key);
    if (now) { now.value = old.value; now.checked = old.checked; now.dataset.draft = ""; }
  }
  if (!active) return node;
  const now = active.dataset.key && named(active.dataset.key);
  if (now) {
    now.focus({ preventScroll: true });
    if (active.selectionStart != null && now.setSelectionRange) now.setSelectionRange(active.selectionStart,
      active.selectionEnd);
  } else if (!node.contains(document.activeElement)) {
    node.tabIndex = -1; // what had the focus is gone: it goes on from here, not from the top of the page
    node.focus({ preventScroll: true });
  }
  return node;
}

export function announce(text) {
  const region = document.getElementById("announcer");
  region.textContent = ""; // the same text once more is a change too
  setTimeout(() => { region.textContent = visible(text); }, 50);
}

export function color(name) {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
