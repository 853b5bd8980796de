/* What the widgets' modules share; page.module puts it before the module's own text.

   Elements, numbers, and the traits on their way to Python. */

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `text` is set as text, everything else as an attribute (true: without value; null: left out). */
function make(tag, attributes = {}, ...children) {
  return put(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, tag), attributes, children);
}

function put(element, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Round ticks in [low, high], about `count` of them, no closer than `least`. */
function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / count, least) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

/** Set traits, and tell Python. */
function save(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  try {
    model.save_changes();
  } catch {
    // No kernel any more: the traits in the browser are all that is left, and all that is needed.
  }
}

/** Traits that a hand moves faster than Python should hear of: sent at most ten times a second, and always the last value.
 *  Trait and message change together: Python's answer to an older message would undo a change not yet sent. */
class Traits {
  /** @param onChange called with the name of a trait that somebody else has changed */
  constructor(model, names, onChange) {
    Object.assign(this, { model, lastSent: -Infinity, sending: false, waiting: new Set() });
    this.values = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    for (const name of names) {
      model.on(`change:${name}`, () => {
        if (this.sending) return;
        this.values[name] = model.get(name);
        this.waiting.delete(name); // what Python says is newer than what waits here
        onChange(name);
      });
    }
  }

  /** Take new values; Python hears of them soon. */
  take(values) {
    Object.assign(this.values, values);
    for (const name of Object.keys(values)) this.waiting.add(name);
    if (this.timer) return;
    const wait = this.lastSent + 100 - performance.now();
    if (wait <= 0) this.send();
    else this.timer = setTimeout(() => this.send(), wait);
  }

  send() {
    this.timer = null;
    this.lastSent = performance.now();
    this.sending = true;
    save(this.model, Object.fromEntries([...this.waiting].map((name) => [name, this.values[name]])));
    this.waiting.clear();
    this.sending = false;
  }
}
