/* What the widgets' modules share; page.module puts it before the module's own text.

   1 Elements   2 Controls   3 Numbers   4 Bytes and pictures   5 Plot   6 Pointer, keys, time   7 Python   8 Views

   Names here are taken: a module that declares one of them again does not start. */

// ── 1 Elements ───────────────────────────────────────────────────────────────────────────────────────────────────────

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `text` is set as text, `style` property by property, everything else as an attribute (true: without
 *  value; null: left out). */
function make(tag, attributes = {}, ...children) {
  return put(document.createElement(tag), attributes, children);
}

/** An SVG element, likewise. */
function draw(tag, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, tag), attributes, children);
}

/** Set attributes of an element and append children. */
function put(element, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.replaceChildren(...typeset(value, element.namespaceURI));
    else if (name === "style") for (const [property, v] of Object.entries(value)) element.style.setProperty(property, v);
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.map((child) => {
    const parts = typeof child === "string" ? typeset(child) : [child];
    return parts.length > 1 ? make("span", {}, ...parts.map((part) => (part.nodeType ? part : document.createTextNode(part)))) : parts[0] ?? "";
  }));
  return element;
}

const SYMBOLS = /(?<![\p{L}\p{N}_])([zμσεqp](?![\p{L}\p{Nd}_'’])|N(?=\((?:0|μ), )|I(?=\)))/u;

/** A text in parts, with the symbols of formulas in italics, as figures and notebooks have them: z, μ, N(0, I). */
function typeset(text, space = null) {
  const math = (symbol) => (space === SVG ? draw("tspan", { class: "lab-math" }, document.createTextNode(symbol))
    : make("em", { class: "lab-math" }, document.createTextNode(symbol)));
  return String(text).split(SYMBOLS).map((part, i) => (i % 2 ? math(part) : part)).filter((part) => part !== "");
}

/** A picture of 16 x 16 for a button, from the data of its path. */
const icon = (d) => draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, draw("path", { d }));

/** What keys do, in a row: keyHints([["←", "→"], "frame", ...]). */
function keyHints(entries) {
  return make("div", { class: "lab-hint" }, ...entries.map((entry) => (
    Array.isArray(entry) ? make("span", {}, ...entry.map((text) => make("kbd", { text }))) : make("span", { text: entry }))));
}

// ── 2 Controls ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** A button; `content` is its text or an element. */
function button(kind, title, content, action, attributes = {}) {
  const element = make("button", { type: "button", class: kind, title, ...attributes }, content);
  element.addEventListener("click", action);
  return element;
}

/** A select; `options` are pairs (value, text), `onChoice` hears the value as a string. */
function select(attributes, options, onChoice) {
  const element = make("select", attributes, ...options.map(([value, text]) => make("option", { value, text })));
  element.addEventListener("change", () => onChoice(element.value));
  return element;
}

/** Choose a value of a select; one that it lacks is added to it. */
function setSelect(element, value, text) {
  if (![...element.options].some((option) => option.value === String(value))) element.append(make("option", { value, text }));
  element.value = value;
}

/** A slider; `onInput` hears numbers. */
function slider(attributes, onInput) {
  const element = make("input", { type: "range", ...attributes });
  element.addEventListener("input", () => onInput(Number(element.value)));
  return element;
}

/** Move a slider and the filled part of its track (--lab-done); `words` is what a screen reader says. */
function setSlider(element, value, words = null) {
  element.value = value;
  const [low, high] = [Number(element.min), Number(element.max)];
  element.style.setProperty("--lab-done", `${(100 * (clip(value, low, high) - low)) / (high - low || 1)}%`);
  put(element, { "aria-valuetext": words });
}

// ── 3 Numbers ────────────────────────────────────────────────────────────────────────────────────────────────────────

const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** A number in words: with a true minus sign; with a plus sign too; a PSNR that may be missing. */
const numeral = (value) => String(value).replace("-", "−");
const fixed = (value, digits = 2) => numeral(value.toFixed(digits));
const signed = (value, digits = 2) => (Math.abs(value) < 0.5 * 10 ** -digits ? "0" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`);
const decibel = (value) => (Number.isFinite(value) ? value.toFixed(2) : "–");

/** The smallest and the largest of all finite values; [0, 1] where there are none. */
function range(...series) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of series) {
    for (const v of values) if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
  }
  return low > high ? [0, 1] : [low, high];
}

/** Round ticks in [low, high], about `count` of them, no closer than `least`. */
function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / count, least) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

// ── 4 Bytes and pictures ─────────────────────────────────────────────────────────────────────────────────────────────

/** A trait's bytes (a DataView), and float32 numbers in them; nothing gives nothing. */
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floatsOf = (view) => view && new Float32Array(bytesOf(view).slice().buffer);

/** A promise of the bytes that zlib packed, as Uint8Array. */
async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Copy frame `index` of uint8 RGB frames into RGBA pixels. */
function copyFrame(frames, index, rgba) {
  for (let i = (index * rgba.length * 3) / 4, o = 0; o < rgba.length; o += 4) {
    rgba[o] = frames[i++];
    rgba[o + 1] = frames[i++];
    rgba[o + 2] = frames[i++];
    rgba[o + 3] = 255;
  }
}

/** How many device pixels a pixel of a frame gets where there is room for `room` CSS pixels: a whole number. */
const wholeZoom = (room) => Math.max(1, Math.floor(room * (devicePixelRatio || 1) + 1e-6));

/** A canvas that shows frames, `zoom` x `zoom` device pixels for each pixel. */
class Screen {
  constructor(label) {
    this.canvas = make("canvas", { role: "img", "aria-label": label });
    this.small = document.createElement("canvas");
  }

  /** @param wide width in CSS pixels, where it is not that of the zoom */
  size(width, height, zoom, wide = (zoom * width) / (devicePixelRatio || 1)) {
    this.pixels = new ImageData(width, height);
    Object.assign(this.small, { width, height });
    const [w, h] = [zoom * width, zoom * height];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    this.canvas.style.width = `${wide}px`;
    this.canvas.style.height = `${(wide * height) / width}px`;
  }

  /** Pixels to write to before `show`. */
  get rgba() { return this.pixels.data; }

  /** Show frame `index` of `frames`; without frames, what has been written to `rgba`. */
  show(frames = null, index = 0) {
    if (frames) copyFrame(frames, index, this.rgba);
    this.small.getContext("2d").putImageData(this.pixels, 0, 0);
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
  }
}

// ── 5 Plot ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Axes and layers to draw in (grid, curves, marks), in an SVG of its own or as one of several in `svg`.
 *  `box`: height of the SVG; left and right, margins; top and floor, where the plot begins and ends; in CSS pixels. */
class Plot {
  constructor(box, attributes = {}, svg = draw("svg", { class: "lab-plot", height: box.height, ...attributes })) {
    Object.assign(this, { box, svg, width: 0, xs: [0, 1], ys: [0, 1] });
    for (const name of ["grid", "curves", "marks"]) {
      this[name] = draw("g", { class: `lab-${name}` });
      svg.append(this[name]);
    }
  }

  /** What the axes cover, and the width in CSS pixels; `log`: of y, the logarithm. */
  scale(width, xs, ys, log = false) {
    Object.assign(this, { width, xs, ys, log });
    put(this.svg, { width, viewBox: `0 0 ${width} ${this.box.height}` });
  }

  x(value) { return this.box.left + ((value - this.xs[0]) / (this.xs[1] - this.xs[0] || 1)) * (this.width - this.box.left - this.box.right); }

  y(value) {
    const [v, low, high] = [value, ...this.ys].map((n) => (this.log ? Math.log(n) : n));
    return this.box.floor - ((v - low) / (high - low || 1)) * (this.box.floor - this.box.top);
  }

  /** The inverse: what x and y are under a pointer, inside the plot or not. */
  at(event) {
    const { left, right, top, floor } = this.box;
    const place = this.svg.getBoundingClientRect();
    const [across, up] = [(event.clientX - place.left - left) / (this.width - left - right), (floor - event.clientY + place.top) / (floor - top)];
    return { x: this.xs[0] + across * (this.xs[1] - this.xs[0]), y: this.ys[0] + up * (this.ys[1] - this.ys[0]) };
  }

  /** A number or a word in the plot. */
  text(x, y, text, anchor = "middle", attributes = {}) {
    return draw("text", { x: x.toFixed(1), y: y.toFixed(1), dy: "0.35em", "text-anchor": anchor, text, ...attributes });
  }

  /** Lines at the ticks `ys` and numbers at all; `gap` and `drop`: from the axes to the numbers' ends and feet; `mark`: length of a mark
   *  at `xs`; `say`: a number in words;  @returns the elements, which stand in `grid` */
  axes(xs, ys, { gap = 8, drop = 14, mark = 0, say = numeral } = {}) {
    const { left, right, floor } = this.box;
    const parts = [];
    for (const t of ys) {
      const y = this.y(t);
      parts.push(draw("line", { x1: left, x2: this.width - right, y1: y.toFixed(1), y2: y.toFixed(1) }), this.text(left - gap, y, say(t), "end"));
    }
    for (const t of xs) {
      const x = this.x(t);
      if (mark) parts.push(draw("line", { x1: x.toFixed(1), x2: x.toFixed(1), y1: floor, y2: floor + mark }));
      parts.push(this.text(x, floor + drop, numeral(t), "middle", { dy: null }));
    }
    this.grid.replaceChildren(...parts);
  }

  /** The path of a curve; where a value is not finite there is none.  `at`: the x of value i */
  path(values, at = (i) => i) {
    let [d, pen] = ["", "M"];
    values.forEach((v, i) => {
      if (Number.isFinite(v)) d += `${pen}${this.x(at(i)).toFixed(2)} ${this.y(v).toFixed(2)}`;
      pen = Number.isFinite(v) ? "L" : "M";
    });
    return d;
  }

  /** A line over the whole height, to be moved by `moveTo`. */
  cursor(kind, attributes = {}) {
    return draw("line", { class: kind, y1: this.box.top, y2: this.box.floor, ...attributes });
  }

  /** Move a cursor to x, and give it back; null hides it. */
  moveTo(cursor, value) {
    return put(cursor, value === null ? { visibility: "hidden" } : { visibility: "visible", transform: `translate(${this.x(value).toFixed(1)} 0)` });
  }
}

// ── 6 Pointer, keys, time ────────────────────────────────────────────────────────────────────────────────────────────

/** Call `move` with the events of a pointer that is pressed on an element and moved, `start` before and `end` after. */
function onDrag(element, move, start = move, end = () => {}) {
  let held = false;
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    element.setPointerCapture(event.pointerId);
    held = true;
    start(event);
  });
  element.addEventListener("pointermove", (event) => { if (held) move(event); });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, () => {
      held = false;
      end();
    });
  }
}

/** Whether a key comes with Ctrl, Cmd, Alt or (unless allowed) Shift: then it is the notebook's: save, run ... */
const foreignKey = (event, shift = false) => event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && !shift);

/** Keep JupyterLab's commands (from 4.1 on) away from keys that a control of the widget uses: arrows, Space, letters. */
function guardKeys(root) {
  root.addEventListener("keydown", (event) => { if (!foreignKey(event)) event.stopPropagation(); });
}

/** Calls `step` with the number of frames that have passed, as the screen is drawn; `rate()` is in frames a second. */
class Clock {
  constructor(rate, step) {
    Object.assign(this, { rate, step, running: null });
    this.tick = this.tick.bind(this);
  }

  run(on) {
    if (on === (this.running !== null)) return;
    Object.assign(this, { before: null, due: 0 });
    if (!on) cancelAnimationFrame(this.running);
    this.running = on ? requestAnimationFrame(this.tick) : null;
  }

  tick(now) {
    this.running = requestAnimationFrame(this.tick);
    this.due += this.before === null ? 0 : (Math.min(now - this.before, 250) / 1000) * this.rate();
    this.before = now;
    const steps = Math.floor(this.due);
    this.due -= steps;
    if (steps) this.step(steps);
  }
}

// ── 7 Python ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Say something to a kernel that may be gone: the traits in the browser are then all that is left, and all that is needed. */
function dare(say) {
  try {
    Promise.resolve(say()).catch(() => {});
  } catch {
    // Nobody hears it.
  }
}

/** Set traits, and tell Python. */
function save(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  dare(() => model.save_changes());
}

/** Send Python a message. */
function send(model, content, buffers) { dare(() => model.send(content, undefined, buffers)); }

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

const COMMAND = 60_000; // ms that the answer to a command may take, unless it says otherwise

/** Asks Python one question at a time: commands in their order, and of other questions only the latest. */
class Line {
  /** @param patience ms without an answer after which Python counts as gone
   *  @param onAnswer called with (answer, buffers);  @param onSilence when no answer comes, with the question */
  constructor(model, patience, onAnswer, onSilence) {
    Object.assign(this, { model, patience, onAnswer, onSilence, wanted: null, flying: null, serial: 0, alive: null });
    this.commands = [];
    this.name = Math.random().toString(36).slice(2, 10); // other browsers may look at the same model
    this.times = [];
    model.on("msg:custom", (content, buffers) => {
      if (!this.flying || content?.answer !== this.flying.ask) return;
      clearTimeout(this.timer);
      if (!this.flying.command) this.times = [...this.times.slice(-19), performance.now() - this.flying.start];
      this.flying = null;
      this.alive = true;
      this.onAnswer(content, buffers);
      this.fly();
    });
  }

  /** Median of the latest round trips in ms. */
  get latency() { return [...this.times].sort((a, b) => a - b)[this.times.length >> 1]; }

  ask(question) {
    this.wanted = question;
    this.fly();
  }

  command(question, buffers, patience = COMMAND) {
    this.commands.push([question, buffers, patience]);
    this.fly();
  }

  fly() {
    if (this.flying && this.alive === false && performance.now() - this.flying.start > 10_000) this.flying = null; // lost
    if (this.flying || !(this.commands.length || this.wanted)) return;
    const command = this.commands.length > 0;
    const [question, buffers, patience] = command ? this.commands.shift() : [this.wanted, undefined, this.patience];
    if (!command) this.wanted = null;
    this.flying = { ask: `${this.name} ${++this.serial}`, command, start: performance.now() };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.alive = false;
      this.onSilence(question);
    }, this.alive === false ? this.patience : patience);
    send(this.model, { ...question, ask: this.flying.ask }, buffers);
  }
}

// ── 8 Views ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One view of a model.  `build` makes `root`, from what Object.assign puts here first; `layout` fits it to `width`, now
 *  and whenever the width changes. */
class LabView {
  constructor(model, el, core = null) {
    Object.assign(this, { model, core, offs: [] });
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.root);
    core?.views.add(this);
  }

  /** Lay out if the width is another one; without one, the view is not on the page yet and the observer calls again. */
  fit() {
    const width = this.root.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.layout();
  }

  /** Follow traits (names with spaces between) for as long as the view is there. */
  on(names, handler) {
    const events = names.split(" ").map((name) => `change:${name}`).join(" ");
    this.model.on(events, handler);
    this.offs.push(() => this.model.off(events, handler));
  }

  remove() {
    this.sizes.disconnect();
    for (const off of this.offs) off();
    this.core?.views.delete(this);
  }
}

/** What anywidget asks a module for.  `makeView(model, el, core)`; `makeCore(model)`: what all views of a model share,
 *  found again by trait `key`, which must never change, as each call may get another face of one and the same model. */
function widgetOf(makeView, makeCore = null, key = null) {
  const cores = new WeakMap();
  return {
    initialize({ model }) { if (makeCore) cores.set(model.get(key), makeCore(model)); },
    render({ model, el }) {
      const view = makeView(model, el, makeCore ? cores.get(model.get(key)) : null);
      view.fit();
      return () => view.remove();
    },
  };
}
