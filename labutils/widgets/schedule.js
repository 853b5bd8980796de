/* ScheduleExplorer in the browser (schedule.py tells what it shows; page.py what a module must keep to).

   1 Schedules   2 Elements   3 Plot   4 Controls   5 View   6 Start

   State lives in the model's traits, which are the settings themselves: a control sets a trait, a trait's change draws
   the curves and writes the lines below them anew.  Nothing here asks whether a kernel is there. */

// ── 1 Schedules, as in labutils/schedules.py ─────────────────────────────────────────────────────────────────────────

const logistic = (x) => 1 / (1 + Math.exp(-x));
const RAMPS = {
  linear: (r) => r,
  cosine: (r) => (1 - Math.cos(Math.PI * r)) / 2,
  sigmoid: (r) => (logistic(12 * r - 6) - logistic(-6)) / (logistic(6) - logistic(-6)),
};

/** beta at the place tau, 0 .. 1, of a cycle. */
function ramp(s, tau) {
  const rise = RAMPS[s.kl_anneal_shape](Math.min(tau / s.kl_anneal_ratio, 1));
  return s.kl_anneal_start + (s.kl_anneal_stop - s.kl_anneal_start) * rise;
}

const cyclesOf = (s) => (s.kl_anneal_type === "Cyclical" ? s.kl_anneal_cycle : 1);

/** beta at step `position` of `length` steps. */
function betaAt(s, position, length) {
  if (s.kl_anneal_type === "None") return s.kl_anneal_stop;
  return ramp(s, position < length ? ((position * cyclesOf(s)) % length) / length : 1);
}

/** The teacher-forcing ratio in `epoch`, counted from 0; rounded to 10 digits, or 0.1 * 3 would leave dust. */
function tfrAt(s, epoch) {
  const decayed = Number((s.tfr - s.tfr_d_step * Math.max(0, epoch - s.tfr_sde + 1)).toFixed(10));
  return Math.min(s.tfr, Math.max(s.tfr_floor, decayed));
}

// ── 2 Elements ───────────────────────────────────────────────────────────────────────────────────────────────────────

const tidy = (value) => String(Number(value.toFixed(4)));

// ── 3 Plot ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const LEFT = 44;
const RIGHT = 14;
const PANELS = { beta: { top: 56, bottom: 196 }, tfr: { top: 236, bottom: 316 } };
const HEIGHT = 342;

/** beta over tfr on one axis of epochs, steps on top; an SVG, so that colours follow the theme by themselves. */
class SchedulePlot {
  constructor() {
    this.grid = draw("g", { class: "le-grid" });
    this.curves = draw("g");
    this.line = draw("line", { class: "le-cursor", y1: PANELS.beta.top - 6, y2: PANELS.tfr.bottom });
    this.dots = { beta: draw("circle", { class: "le-dot le-beta", r: 4.5 }), tfr: draw("circle", { class: "le-dot le-tfr", r: 4.5 }) };
    this.svg = draw("svg", { height: HEIGHT, "aria-hidden": "true" }, this.grid, this.curves, this.line, this.dots.beta, this.dots.tfr);
    this.root = make("div", { class: "le-plot", tabindex: 0, role: "slider", "aria-label": "epoch to read", "aria-valuemin": 0 }, this.svg);
  }

  x(epoch) { return LEFT + (epoch / this.s.num_epoch) * (this.width - LEFT - RIGHT); }

  y(name, value) {
    const { top, bottom } = PANELS[name];
    const [low, high] = name === "beta" ? this.range : [0, 1];
    return bottom - ((value - low) / (high - low)) * (bottom - top);
  }

  /** The step under a pointer. */
  stepAt(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const step = Math.floor(((x - LEFT) / (this.width - LEFT - RIGHT)) * this.s.num_epoch * this.s.steps_per_epoch);
    return clip(step, 0, this.s.num_epoch * this.s.steps_per_epoch - 1);
  }

  show(s, width) {
    Object.assign(this, { s, width });
    const ends = s.kl_anneal_type === "None" ? [s.kl_anneal_stop] : [s.kl_anneal_start, s.kl_anneal_stop];
    this.range = [Math.min(0, ...ends), Math.max(1, ...ends)];
    const [left, right] = [LEFT, width - RIGHT];
    const label = (x, y, text, anchor, kind = null) => draw("text", { x: x.toFixed(1), y: y.toFixed(1), dy: "0.35em", "text-anchor": anchor, class: kind, text });
    const marks = [];
    for (const [name, values] of [["beta", ticks(...this.range, 4)], ["tfr", [0, 0.5, 1]]]) {
      for (const value of values) {
        const y = this.y(name, value).toFixed(1);
        marks.push(draw("line", { x1: left, x2: right, y1: y, y2: y }), label(left - 8, Number(y), tidy(value), "end"));
      }
    }
    for (const epoch of ticks(0, s.num_epoch, clip(width / 80, 2, 10), 1)) {
      const x = this.x(epoch).toFixed(1);
      for (const { top, bottom } of Object.values(PANELS)) marks.push(draw("line", { x1: x, x2: x, y1: top, y2: bottom, class: "le-faint" }));
      marks.push(label(Number(x), PANELS.tfr.bottom + 14, String(epoch), "middle"));
    }
    const total = s.num_epoch * s.steps_per_epoch;
    for (const step of ticks(0, total, clip(width / 130, 2, 6), 1)) {
      const x = (LEFT + (step / total) * (right - left)).toFixed(1);
      marks.push(draw("line", { x1: x, x2: x, y1: PANELS.beta.top - 6, y2: PANELS.beta.top }), label(Number(x), PANELS.beta.top - 15, String(step), "middle"));
    }
    marks.push(
      label(left - 12, PANELS.tfr.bottom + 14, "epoch", "end"),
      label(left - 12, PANELS.beta.top - 15, "step", "end"),
      label(left, PANELS.beta.top - 40, "KL weight β", "start", "le-title le-beta"),
      label(left, PANELS.tfr.top - 16, "teacher-forcing ratio", "start", "le-title le-tfr"),
    );
    this.grid.replaceChildren(...marks);

    // beta: each cycle's rise, then what it holds; a jump down where the next one starts
    const points = [];
    const cycles = s.kl_anneal_type === "None" ? 0 : cyclesOf(s);
    const pieces = s.kl_anneal_shape === "linear" ? 1 : 24;
    for (let m = 0; m < cycles; m++) {
      const place = (tau) => ((m + tau) / cycles) * s.num_epoch;
      for (let j = 0; j <= pieces; j++) points.push([place((j / pieces) * s.kl_anneal_ratio), ramp(s, (j / pieces) * s.kl_anneal_ratio)]);
      if (s.kl_anneal_ratio < 1) points.push([place(1), ramp(s, 1)]);
    }
    if (!cycles) points.push([0, s.kl_anneal_stop], [s.num_epoch, s.kl_anneal_stop]);
    const stairs = [];
    for (let epoch = 0; epoch < s.num_epoch; epoch++) stairs.push([epoch, tfrAt(s, epoch)], [epoch + 1, tfrAt(s, epoch)]);
    const path = (name, list) => list.map(([e, v], i) => `${i ? "L" : "M"}${this.x(e).toFixed(2)} ${this.y(name, v).toFixed(2)}`).join("");
    const area = (name, d) => `${d}L${this.x(s.num_epoch).toFixed(2)} ${this.y(name, 0).toFixed(2)}L${LEFT} ${this.y(name, 0).toFixed(2)}Z`;
    this.curves.replaceChildren();
    for (const [name, list] of [["beta", points], ["tfr", stairs]]) {
      const d = path(name, list);
      this.curves.append(draw("path", { d: area(name, d), class: `le-area le-${name}` }), draw("path", { d, class: `le-curve le-${name}` }));
    }

    // where teacher forcing starts to decay
    if (s.tfr_sde > 0 && s.tfr_sde < s.num_epoch && tfrAt(s, s.num_epoch - 1) < s.tfr) {
      const x = this.x(s.tfr_sde).toFixed(1);
      this.curves.append(
        draw("line", { x1: x, x2: x, y1: PANELS.tfr.top, y2: PANELS.tfr.bottom, class: "le-mark" }),
        label(right, PANELS.tfr.top - 16, `first decay in epoch ${s.tfr_sde}`, "end"),
      );
    }
    put(this.svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    put(this.root, { "aria-valuemax": s.num_epoch - 1 });
  }

  /** Move the cursor to a step. */
  read(step, beta, tfr) {
    const x = this.x((step + 0.5) / this.s.steps_per_epoch).toFixed(1);
    put(this.line, { x1: x, x2: x });
    put(this.dots.beta, { cx: x, cy: this.y("beta", beta).toFixed(1) });
    put(this.dots.tfr, { cx: x, cy: this.y("tfr", tfr).toFixed(1) });
  }
}

// ── 4 Controls ───────────────────────────────────────────────────────────────────────────────────────────────────────

/* Numbers: what a slider covers, and what may be typed ([least, most]; LabConfig allows no more). */
const NUMBERS = {
  num_epoch: { label: "epochs", slider: null, allowed: [1, 5000], step: 1 },
  steps_per_epoch: { label: "steps in an epoch", slider: null, allowed: [1, 1e6], step: 1 },
  kl_anneal_cycle: { label: "cycles", slider: [1, 20], allowed: [1, 1000], step: 1 },
  kl_anneal_ratio: { label: "rising part of a cycle", slider: [0.05, 1], allowed: [0.001, 1], step: 0.05 },
  kl_anneal_start: { label: "β at the start", slider: [0, 1], allowed: [0, 100], step: 0.05 },
  kl_anneal_stop: { label: "β at the stop", slider: [0, 2], allowed: [0, 100], step: 0.05 },
  tfr: { label: "ratio at the start", slider: [0, 1], allowed: [0, 1], step: 0.05 },
  tfr_sde: { label: "epoch of first decay", slider: [0, null], allowed: [0, 5000], step: 1 },
  tfr_d_step: { label: "decay in an epoch", slider: [0, 0.5], allowed: [0, 1], step: 0.01 },
  tfr_floor: { label: "floor", slider: [0, 1], allowed: [0, 1], step: 0.05 },
};
const CHOICES = {
  kl_anneal_type: { label: "type", values: ["Cyclical", "Monotonic", "None"] },
  kl_anneal_shape: { label: "shape of the rise", values: ["linear", "cosine", "sigmoid"] },
};
const SETTINGS = [...Object.keys(CHOICES), ...Object.keys(NUMBERS)];
let count = 0; // ids of radio groups and labels

/** A labelled number: a slider, unless it has none, and a field; `set` is called with (name, value). */
function number(name, set) {
  const { label, slider, allowed, step } = NUMBERS[name];
  const id = `le-${count++}`;
  const field = make("input", { type: "number", id, min: allowed[0], max: allowed[1], step, class: "le-number" });
  const range = slider && make("input", { type: "range", step, "aria-label": label });
  const whole = step === 1;
  const take = (text) => {
    const value = Number(text);
    if (text === "" || !Number.isFinite(value)) return;
    set(name, clip(whole ? Math.round(value) : Number(value.toFixed(10)), ...allowed));
  };
  field.addEventListener("input", () => take(field.value));
  field.addEventListener("change", () => root.update?.());
  range?.addEventListener("input", () => take(range.value));
  const root = make("div", { class: `le-row le-row-${name}` }, make("label", { for: id, text: label }), ...(range ? [range] : []), field);
  return {
    root,
    show(value, s, off) {
      root.update = () => { field.value = value; };
      if (document.activeElement !== field || Number(field.value) !== value) field.value = value;
      for (const part of [field, range]) if (part) part.disabled = off;
      root.classList.toggle("le-off", off);
      if (!range) return;
      const least = Math.min(slider[0], value);
      const most = Math.max(slider[1] ?? s.num_epoch, value);
      put(range, { min: least, max: most });
      range.value = value;
      range.style.setProperty("--lab-done", `${(100 * (value - least)) / (most - least || 1)}%`);
    },
  };
}

/** A labelled choice: radio buttons that look like one segmented button. */
function choice(name, set) {
  const { label, values } = CHOICES[name];
  const group = `le-${count++}`;
  const inputs = values.map((value) => make("input", { type: "radio", name: group, value }));
  inputs.forEach((input) => input.addEventListener("change", () => set(name, input.value)));
  const parts = inputs.map((input) => make("label", {}, input, make("span", { text: input.value })));
  const root = make("div", { class: `le-row le-row-${name}`, role: "radiogroup", "aria-label": label },
    make("span", { text: label, "aria-hidden": "true" }), make("div", { class: "le-choice" }, ...parts));
  return {
    root,
    show(value, s, off) {
      root.classList.toggle("le-off", off);
      for (const input of inputs) Object.assign(input, { checked: input.value === value, disabled: off });
    },
  };
}

// ── 5 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

class View {
  constructor(model, el) {
    this.model = model;
    this.step = null; // where the cursor stands; null: near the middle of the training
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    this.handler = () => this.show();
    this.events = [...SETTINGS].map((name) => `change:${name}`).join(" ");
    model.on(this.events, this.handler);
    this.sizes = new ResizeObserver(() => { if (this.plot.root.clientWidth !== this.plot.width) this.show(); });
    this.sizes.observe(this.plot.root);
    this.show();
  }

  remove() {
    this.sizes.disconnect();
    this.model.off(this.events, this.handler);
  }

  set(changes) { save(this.model, changes); }

  build() {
    const set = (name, value) => this.set({ [name]: value });
    this.controls = Object.fromEntries(SETTINGS.map((name) => [name, (CHOICES[name] ? choice : number)(name, set)]));
    const rows = (names) => names.map((name) => this.controls[name].root);

    const presets = this.model.get("_presets");
    this.preset = make("select", { "aria-label": "preset", class: "le-preset" },
      ...presets.map(({ name }, i) => make("option", { value: i, text: name })), make("option", { value: -1, text: "own settings", disabled: true }));
    this.preset.addEventListener("change", () => this.set(presets[Number(this.preset.value)].settings));
    this.where = make("span", { class: "le-where" });
    this.values = { beta: make("b", { class: "le-beta" }), tfr: make("b", { class: "le-tfr" }) };
    const head = make("div", { class: "le-head" },
      make("label", { class: "le-field" }, "preset ", this.preset), ...rows(["num_epoch", "steps_per_epoch"]),
      make("span", { class: "le-readout" }, this.where, make("span", {}, "β ", this.values.beta), make("span", {}, "tfr ", this.values.tfr)));

    this.plot = new SchedulePlot();
    const plot = this.plot.root;
    plot.addEventListener("pointermove", (event) => this.read(this.plot.stepAt(event)));
    plot.addEventListener("pointerleave", () => this.read());
    plot.addEventListener("click", (event) => {
      this.step = this.plot.stepAt(event);
      this.read();
    });
    plot.addEventListener("keydown", (event) => {
      const s = this.settings();
      const epoch = Math.floor(this.here(s) / s.steps_per_epoch);
      const to = { ArrowRight: epoch + 1, ArrowUp: epoch + 1, ArrowLeft: epoch - 1, ArrowDown: epoch - 1,
        PageUp: epoch + 10, PageDown: epoch - 10, Home: 0, End: s.num_epoch - 1 }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      event.preventDefault();
      this.step = clip(to, 0, s.num_epoch - 1) * s.steps_per_epoch;
      this.read();
    });

    const box = (title, names) => make("fieldset", { class: "le-box" }, make("legend", { text: title }), ...rows(names));
    const boxes = make("div", { class: "le-boxes" },
      box("KL annealing", ["kl_anneal_type", "kl_anneal_shape", "kl_anneal_cycle", "kl_anneal_ratio", "kl_anneal_start", "kl_anneal_stop"]),
      box("Teacher forcing", ["tfr", "tfr_sde", "tfr_d_step", "tfr_floor"]));

    const line = (kind, title) => {
      const code = make("code", { class: `le-${kind}`, tabindex: 0, role: "textbox", "aria-readonly": "true", "aria-label": title });
      const button = make("button", { type: "button", text: "copy", "aria-label": `copy: ${title}` });
      button.addEventListener("click", () => copy(code.textContent, code, button));
      return { code, button, root: make("div", { class: "le-line" }, make("span", { text: title }), code, button) };
    };
    this.line = line("python", "Python");
    this.flags = line("flags", "command line");
    this.root = make("div", { class: "lab-widget lab-schedule", role: "group", "aria-label": "schedule explorer" },
      head, plot, boxes, make("div", { class: "le-lines" }, this.line.root, this.flags.root));
    this.root.addEventListener("keydown", (event) => {
      // From JupyterLab 4.1 on, this keeps its commands on arrows and letters away; save, run ... stay the notebook's.
      if (!(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey)) event.stopPropagation();
    });
  }

  settings() { return Object.fromEntries(SETTINGS.map((name) => [name, this.model.get(name)])); }

  here(s) {
    const total = s.num_epoch * s.steps_per_epoch;
    return Math.min(this.step ?? Math.floor(0.46 * s.num_epoch) * s.steps_per_epoch, total - 1);
  }

  /** Bring everything in line with the traits. */
  show() {
    const s = this.settings();
    const kind = s.kl_anneal_type;
    const off = { kl_anneal_cycle: kind !== "Cyclical", kl_anneal_ratio: kind === "None", kl_anneal_shape: kind === "None", kl_anneal_start: kind === "None" };
    for (const name of SETTINGS) this.controls[name].show(s[name], s, Boolean(off[name]));
    const same = ({ settings }) => Object.entries(settings).every(([name, value]) => s[name] === value);
    this.preset.value = this.model.get("_presets").findIndex(same);

    const defaults = this.model.get("_defaults");
    const floats = new Set(this.model.get("_floats"));
    const changed = Object.keys(defaults).filter((name) => s[name] !== defaults[name]);
    const plain = (name) => (floats.has(name) && Number.isInteger(s[name]) ? s[name].toFixed(1) : String(s[name]));
    const quoted = (name) => (typeof s[name] === "string" ? `"${s[name]}"` : plain(name));
    this.line.code.textContent = `LabConfig(${changed.map((name) => `${name}=${quoted(name)}`).join(", ")})`;
    this.flags.code.textContent = changed.map((name) => `--${name} ${plain(name)}`).join(" ");
    this.flags.button.disabled = !changed.length;

    const width = this.plot.root.clientWidth;
    if (!width) return; // not on the page yet; the ResizeObserver calls again
    this.plot.show(s, width);
    this.read();
  }

  /** Say what both schedules are at a step; default: where the cursor stands. */
  read(step) {
    const s = this.settings();
    step ??= this.here(s);
    const epoch = Math.floor(step / s.steps_per_epoch);
    const beta = betaAt(s, step, s.num_epoch * s.steps_per_epoch);
    const tfr = tfrAt(s, epoch);
    this.where.textContent = `epoch ${epoch}, step ${step}`;
    this.values.beta.textContent = beta.toFixed(3);
    this.values.tfr.textContent = tfr.toFixed(2);
    put(this.plot.root, { "aria-valuenow": epoch, "aria-valuetext": `epoch ${epoch}, step ${step}: beta ${beta.toFixed(3)}, teacher-forcing ratio ${tfr.toFixed(2)}` });
    this.plot.read(step, beta, tfr);
  }
}

/** Copy text; where the browser does not let a page write to the clipboard, the text is selected at least. */
async function copy(text, element, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(element);
    button.textContent = document.execCommand("copy") ? "copied" : "selected";
  }
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

// ── 6 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function initialize() {}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.remove();
}

const widget = { initialize, render };
export default widget;
