// Time travel: two range inputs, "true at" (what had happened) and "known at" (what was known).
//
// Their steps are events, or quantiles of them, not pixels; the last step is now.
import { h } from "./dom.js";
import * as time from "./time.js";

/**
 * Runs one request at a time and, after it, only the newest of those that came meanwhile: an older answer can never be shown
 * over a newer one, and a drag does not queue a request for every step. `ask` resolves once this question, or a newer one, is
 * shown; it rejects only if none came after it.
 */
export class Latest {
  constructor(run, show) {
    Object.assign(this, { run, show, next: null, work: null });
  }

  ask(question) {
    this.next = { question };
    this.work ??= this.drain().finally(() => { this.work = null; });
    return this.work;
  }

  async drain() {
    let failure = null;
    while (this.next) {
      const { question } = this.next;
      this.next = failure = null;
      try {
        this.show(await this.run(question), question);
      } catch (error) {
        failure = error;
      }
    }
    if (failure) throw failure;
  }
}

/** A moment in milliseconds with its microseconds, which Date drops. */
export const instant = (text) => Date.parse(text) + Number(/\.\d{3}(\d{1,3})/.exec(text)?.[1].padEnd(3, "0") ?? 0) / 1000;

/** The last step at or before a moment; 0 if all are later. */
export function stepAt(steps, ms) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle].ms <= ms) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** Where the other slider goes when both are locked: they stay as many steps apart as they were, within their ends. */
export function follow(to, moved, other, length) {
  return to >= length - 1 && other >= moved ? length - 1 : Math.max(0, Math.min(length - 1, other + (to - moved)));
}

const AXES = ["until", "known_at"];
const NAMES = { until: "true at", known_at: "known at" };

/**
 * The bar. `onMove({until, known_at})` is called with times as the server wrote them, null for now.
 * `fine(from, to)` resolves to the steps of a shorter window, for single events where steps are quantiles.
 */
export class Travel {
  constructor({ onMove, onCopy, onDiff, fine, rule, isLocked = true, onLock }) {
    Object.assign(this, { onMove, fine, rule, onLock, isLocked, steps: { until: [], known_at: [] }, at: { until: null, known_at: null }, places: { until: 0, known_at: 0 } });
    this.inputs = Object.fromEntries(AXES.map((axis) => [axis, this.slider(axis)]));
    this.texts = Object.fromEntries(AXES.map((axis) => [axis, h("output", { class: "travel-time", "data-axis": axis })]));
    this.word = h("strong", { class: "travel-word" });
    const button = (text, title, action, keys) => {
      const one = h("button", { type: "button", title, "aria-label": title, "aria-keyshortcuts": keys }, text);
      one.addEventListener("click", action);
      return one;
    };
    this.lock = button("locked", "Move both together (l)", () => this.toggleLock(), "l");
    this.nowButton = button("now", "Now (n)", () => this.now(), "n");
    this.copyButton = button("copy link", "Copy a link to this moment (c)", onCopy, "c");
    this.diffButton = button("diff now", "What differs from now (d)", onDiff, "d");
    const row = (axis) => h("label", { class: "travel-axis" }, h("span", {}, NAMES[axis]), this.inputs[axis], this.texts[axis]);
    this.root = h("section", { class: "travel", "aria-label": "Time travel" }, this.word, h("div", { class: "travel-axes" }, ...AXES.map(row)),
      h("div", { class: "travel-buttons" }, this.lock, button("<", "The event before ([)", () => this.step(-1), "["),
        button(">", "The event after (])", () => this.step(1), "]"), this.nowButton, this.copyButton, this.diffButton));
    this.show();
  }

  slider(axis) {
    const input = h("input", { type: "range", min: "0", max: "0", value: "0", step: "1", "data-axis": axis });
    input.addEventListener("input", () => this.slide(axis, Number(input.value)));
    return input;
  }

  get isPast() {
    return this.at.until !== null || this.at.known_at !== null;
  }

  /** Set the steps of the window, each `{ms, text, version}` in the order of time; where it is stays. */
  setSteps(steps, isWindowOpen = true) {
    this.steps = steps;
    this.isWindowOpen = isWindowOpen; // the window reaches to now, so that its last step is now
    for (const axis of AXES) {
      this.inputs[axis].max = String(this.last(axis));
      this.inputs[axis].disabled = this.last(axis) < 1;
    }
    this.set(this.at);
  }

  last(axis) {
    return Math.max(0, this.steps[axis].length - (this.isWindowOpen ? 0 : 1));
  }

  /** Several events may have the same moment: a place that has it stays. */
  placeOf(axis) {
    const at = this.at[axis];
    if (at === null) return this.last(axis);
    return this.textAt(axis, this.places[axis]) === at ? this.places[axis] : Math.min(this.last(axis), stepAt(this.steps[axis], instant(at)));
  }

  textAt(axis, place) {
    return this.steps[axis][place]?.text ?? null;
  }

  slide(axis, to) {
    const other = AXES.find((one) => one !== axis);
    const next = { ...this.at, [axis]: this.textAt(axis, to) };
    const places = { ...this.places, [axis]: to };
    if (this.isLocked) {
      const [last, far] = [this.last(axis), this.last(other)];
      places[other] = last === far ? follow(to, this.places[axis], this.places[other], far + 1) : Math.round((to / Math.max(1, last)) * far);
      next[other] = this.textAt(other, places[other]);
    }
    this.places = places;
    this.move(next);
  }

  /** Go to a moment of true time, as a click on the chart does. */
  toTime(ms) {
    const steps = this.steps.until;
    if (steps.length) this.slide("until", ms >= steps.at(-1).ms && this.isWindowOpen ? this.last("until") : stepAt(steps, ms));
  }

  /** Go to the moment of one event: what had happened then, as it was known when the event was recorded. */
  toEvent({ event_time: until, recorded_at: known }) {
    this.move({ until, known_at: known });
  }

  now() {
    this.move({ until: null, known_at: null });
  }

  toggleLock() {
    this.isLocked = !this.isLocked;
    this.onLock?.(this.isLocked);
    this.show();
  }

  /** One moment back or forth; where steps are quantiles, the events between two of them are asked for. */
  async step(by) {
    const axis = this.isLocked || this.at.known_at === null || this.at.until !== null ? "until" : "known_at";
    const other = AXES.find((one) => one !== axis);
    const steps = this.steps[axis];
    let to = this.places[axis] + by;
    while (steps[to] && steps[to].text === this.at[axis]) to += by;
    if (to < 0 || to > this.last(axis)) return;
    if (!this.steps.isQuantile) return this.slide(axis, to);
    const here = Math.min(this.places[axis], to);
    const found = await this.fine(steps[Math.max(0, here - 1)].text, steps[Math.min(steps.length - 1, Math.max(this.places[axis], to) + 1)].text);
    const now = this.at[axis] === null ? Infinity : instant(this.at[axis]);
    const next = by < 0 ? found[axis].findLast((one) => one.ms < now) : found[axis].find((one) => one.ms > now);
    if (!next) return this.slide(axis, to);
    const known = this.steps[other].find((one) => one.version >= next.version)?.text ?? null;
    this.move({ ...this.at, [axis]: next.text, ...(this.isLocked ? { [other]: known } : {}) });
  }

  move(at) {
    this.set(at);
    this.onMove(at);
  }

  /** Show where it is, without asking for anything. */
  set(at) {
    this.at = at;
    this.places = Object.fromEntries(AXES.map((axis) => [axis, this.placeOf(axis)]));
    this.show();
  }

  /** A moment that nobody looked at for long is folded first. */
  wait(done, of) {
    this.word.textContent = of ? `${Math.floor((100 * done) / of)} %` : "…";
  }

  show() {
    const past = this.isPast;
    this.root.classList.toggle("past", past);
    this.root.dataset.moment = past ? "past" : "now";
    this.word.textContent = past ? "PAST" : "NOW";
    this.lock.textContent = this.isLocked ? "locked" : "not locked";
    this.lock.setAttribute("aria-pressed", String(this.isLocked));
    this.nowButton.disabled = !past;
    this.diffButton.disabled = !past;
    for (const axis of AXES) {
      const text = this.at[axis] === null ? "now" : time.text(this.at[axis], this.rule, { precise: true });
      this.inputs[axis].value = String(this.places[axis]);
      this.inputs[axis].setAttribute("aria-valuetext", text);
      this.texts[axis].textContent = text;
    }
  }
}
