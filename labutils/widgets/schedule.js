/* ScheduleExplorer in the browser (schedule.py tells what it shows; page.py what a module must keep to).

   1 Schedules   2 Plot   3 Controls   4 View   5 Start

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

// ── 2 Plot ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const BOX = { height: 342, left: 44, right: 14 };
const DROP = 18; // from the lower axis to the feet of the epochs

/** beta over tfr on one axis of epochs, steps on top; an SVG, so that colours follow the theme by themselves. */
class SchedulePlot {
  constructor() {
    this.beta = new Plot({ ...BOX, top: 56, floor: 196 }, { "aria-hidden": "true" });
    const { svg } = this.beta;
    this.tfr = new Plot({ ...BOX, top: 236, floor: 316 }, {}, svg);
    this.line = draw("line", { class: "le-cursor", y1: this.beta.box.top - 6, y2: this.tfr.box.floor });
    this.dots = { beta: draw("circle", { class: "le-dot le-beta", r: 4.5 }), tfr: draw("circle", { class: "le-dot le-tfr", r: 4.5 }) };
    svg.append(this.line, this.dots.beta, this.dots.tfr);
    this.root = make("div", { class: "le-plot", tabindex: 0, role: "slider", "aria-label": "epoch to read", "aria-valuemin": 0 }, svg);
  }

  /** The step under a pointer. */
  stepAt(event) {
    const { num_epoch, steps_per_epoch } = this.s;
    return clip(Math.floor(this.beta.at(event).x * steps_per_epoch), 0, num_epoch * steps_per_epoch - 1);
  }

  show(s, width) {
    this.s = s;
    const { beta, tfr } = this;
    const [right, steps] = [width - BOX.right, beta.box.top - 6];
    const ends = s.kl_anneal_type === "None" ? [s.kl_anneal_stop] : [s.kl_anneal_start, s.kl_anneal_stop];
    beta.scale(width, [0, s.num_epoch], [Math.min(0, ...ends), Math.max(1, ...ends)]);
    tfr.scale(width, [0, s.num_epoch], [0, 1]);
    const epochs = ticks(0, s.num_epoch, clip(width / 80, 2, 10), 1);
    beta.axes([], ticks(...beta.ys, 4));
    tfr.axes(epochs, [0, 0.5, 1], { drop: DROP });
    for (const plot of [beta, tfr]) {
      for (const epoch of epochs) plot.grid.append(plot.moveTo(plot.cursor("le-faint"), epoch));
    }
    for (const step of ticks(0, s.num_epoch * s.steps_per_epoch, clip(width / 130, 2, 6), 1)) {
      const x = beta.x(step / s.steps_per_epoch);
      beta.grid.append(draw("line", { x1: x.toFixed(1), x2: x.toFixed(1), y1: steps, y2: steps + 6 }), beta.text(x, steps - 9, String(step)));
    }
    beta.grid.append(
      beta.text(BOX.left - 12, steps - 9, "step", "end"),
      beta.text(BOX.left, beta.box.top - 40, "KL weight β", "start", { class: "le-title le-beta" }));
    tfr.grid.append(
      tfr.text(BOX.left - 12, tfr.box.floor + DROP, "epoch", "end", { dy: null }),
      tfr.text(BOX.left, tfr.box.top - 16, "teacher-forcing ratio", "start", { class: "le-title le-tfr" }));

    // beta: each cycle's rise, then what it holds; a jump down where the next one starts
    const points = [];
    const cycles = s.kl_anneal_type === "None" ? 0 : cyclesOf(s);
    const pieces = s.kl_anneal_shape === "linear" ? 1 : 24;
    for (let m = 0; m < cycles; m++) {
      const add = (tau) => points.push([((m + tau) / cycles) * s.num_epoch, ramp(s, tau)]);
      for (let j = 0; j <= pieces; j++) add((j / pieces) * s.kl_anneal_ratio);
      if (s.kl_anneal_ratio < 1) add(1);
    }
    if (!cycles) points.push([0, s.kl_anneal_stop], [s.num_epoch, s.kl_anneal_stop]);
    const stairs = [];
    for (let epoch = 0; epoch < s.num_epoch; epoch++) stairs.push([epoch, tfrAt(s, epoch)], [epoch + 1, tfrAt(s, epoch)]);
    for (const [name, list] of [["beta", points], ["tfr", stairs]]) {
      const plot = this[name];
      const d = plot.path(list.map(([, v]) => v), (i) => list[i][0]);
      const floor = plot.y(0).toFixed(2);
      plot.curves.replaceChildren(draw("path", { d: `${d}L${right.toFixed(2)} ${floor}L${BOX.left} ${floor}Z`, class: `le-area le-${name}` }),
        draw("path", { d, class: `le-curve le-${name}` }));
    }

    if (s.tfr_sde > 0 && s.tfr_sde < s.num_epoch && tfrAt(s, s.num_epoch - 1) < s.tfr) {
      tfr.curves.append(tfr.moveTo(tfr.cursor("le-mark"), s.tfr_sde));
      tfr.grid.append(tfr.text(right, tfr.box.top - 16, `first decay in epoch ${s.tfr_sde}`, "end"));
    }
    put(this.root, { "aria-valuemax": s.num_epoch - 1 });
  }

  /** Move the cursor to a step. */
  read(step, values) {
    const x = this.beta.x((step + 0.5) / this.s.steps_per_epoch).toFixed(1);
    put(this.line, { x1: x, x2: x });
    for (const name of ["beta", "tfr"]) put(this.dots[name], { cx: x, cy: this[name].y(values[name]).toFixed(1) });
  }
}

// ── 3 Controls ───────────────────────────────────────────────────────────────────────────────────────────────────────

/* Numbers: what a slider covers, and what may be typed ([least, most]; LabConfig allows no more). */
const NUMBERS = {
  num_epoch: { label: "epochs", covers: null, allowed: [1, 5000], step: 1 },
  steps_per_epoch: { label: "steps in an epoch", covers: null, allowed: [1, 1e6], step: 1 },
  kl_anneal_cycle: { label: "cycles", covers: [1, 20], allowed: [1, 1000], step: 1 },
  kl_anneal_ratio: { label: "rising part of a cycle", covers: [0.05, 1], allowed: [0.001, 1], step: 0.05 },
  kl_anneal_start: { label: "β at the start", covers: [0, 1], allowed: [0, 100], step: 0.05 },
  kl_anneal_stop: { label: "β at the stop", covers: [0, 2], allowed: [0, 100], step: 0.05 },
  tfr: { label: "ratio at the start", covers: [0, 1], allowed: [0, 1], step: 0.05 },
  tfr_sde: { label: "epoch of first decay", covers: [0, null], allowed: [0, 5000], step: 1 },
  tfr_d_step: { label: "decay in an epoch", covers: [0, 0.5], allowed: [0, 1], step: 0.01 },
  tfr_floor: { label: "floor", covers: [0, 1], allowed: [0, 1], step: 0.05 },
};
const CHOICES = {
  kl_anneal_type: { label: "type", values: ["Cyclical", "Monotonic", "None"] },
  kl_anneal_shape: { label: "shape of the rise", values: ["linear", "cosine", "sigmoid"] },
};
const SETTINGS = [...Object.keys(CHOICES), ...Object.keys(NUMBERS)];
let count = 0; // ids of radio groups and labels

/** A labelled number: a slider, unless it has none, and a field; `set` is called with (name, value). */
function number(name, set) {
  const { label, covers, allowed, step } = NUMBERS[name];
  const id = `le-${count++}`;
  const take = (value) => set(name, clip(step === 1 ? Math.round(value) : Number(value.toFixed(10)), ...allowed));
  const field = make("input", { type: "number", id, min: allowed[0], max: allowed[1], step, class: "le-number" });
  const bar = covers && slider({ step, "aria-label": label }, take);
  let shown;
  field.addEventListener("input", () => { if (field.value !== "" && Number.isFinite(Number(field.value))) take(Number(field.value)); });
  field.addEventListener("change", () => { field.value = shown; });
  const root = make("div", { class: `le-row le-row-${name}` }, make("label", { for: id, text: label }), ...(bar ? [bar] : []), field);
  return {
    root,
    show(value, s, off) {
      shown = value;
      if (document.activeElement !== field || Number(field.value) !== value) field.value = value;
      field.disabled = off;
      root.classList.toggle("le-off", off);
      if (!bar) return;
      put(bar, { min: Math.min(covers[0], value), max: Math.max(covers[1] ?? s.num_epoch, value), disabled: off });
      setSlider(bar, value);
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

// ── 4 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

class View extends LabView {
  constructor(model, el) {
    super(model, el);
    this.step = null; // where the cursor stands; null: near the middle of the training
    this.on(SETTINGS.join(" "), () => this.show());
    this.show();
  }

  layout() { this.show(); }

  build() {
    const set = (changes) => save(this.model, changes);
    this.controls = Object.fromEntries(SETTINGS.map((name) => [
      name, (CHOICES[name] ? choice : number)(name, (trait, value) => set({ [trait]: value }))]));
    const rows = (names) => names.map((name) => this.controls[name].root);

    const presets = this.model.get("_presets");
    this.preset = select({ "aria-label": "preset", class: "le-preset" }, presets.map(({ name }, i) => [i, name]), (i) => set(presets[i].settings));
    this.preset.append(make("option", { value: -1, text: "own settings", disabled: true }));
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
      if (to === undefined || foreignKey(event)) return;
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
      const copier = button(null, null, "copy", () => copy(code, copier), { "aria-label": `copy: ${title}` });
      return { code, copier, root: make("div", { class: "le-line" }, make("span", { text: title }), code, copier) };
    };
    this.line = line("python", "Python");
    this.flags = line("flags", "command line");
    this.root = make("div", { class: "lab-widget lab-schedule", role: "group", "aria-label": "schedule explorer" },
      head, plot, boxes, make("div", { class: "le-lines" }, this.line.root, this.flags.root));
    guardKeys(this.root);
  }

  settings() { return Object.fromEntries(SETTINGS.map((name) => [name, this.model.get(name)])); }

  here(s) {
    const total = s.num_epoch * s.steps_per_epoch;
    return Math.min(this.step ?? Math.floor(0.46 * s.num_epoch) * s.steps_per_epoch, total - 1);
  }

  /** Bring everything in line with the traits. */
  show() {
    const s = this.settings();
    const constant = s.kl_anneal_type === "None";
    const off = { kl_anneal_cycle: s.kl_anneal_type !== "Cyclical", kl_anneal_ratio: constant, kl_anneal_shape: constant, kl_anneal_start: constant };
    for (const name of SETTINGS) this.controls[name].show(s[name], s, Boolean(off[name]));
    const same = ({ settings }) => Object.entries(settings).every(([name, value]) => s[name] === value);
    this.preset.value = this.model.get("_presets").findIndex(same);

    const defaults = this.model.get("_defaults");
    const floats = this.model.get("_floats");
    const changed = Object.keys(defaults).filter((name) => s[name] !== defaults[name]);
    const plain = (name) => (floats.includes(name) && Number.isInteger(s[name]) ? s[name].toFixed(1) : String(s[name]));
    const quoted = (name) => (typeof s[name] === "string" ? `"${s[name]}"` : plain(name));
    this.line.code.textContent = `LabConfig(${changed.map((name) => `${name}=${quoted(name)}`).join(", ")})`;
    this.flags.code.textContent = changed.map((name) => `--${name} ${plain(name)}`).join(" ");
    this.flags.copier.disabled = !changed.length;

    if (!this.width) return;
    this.plot.show(s, this.plot.root.clientWidth);
    this.read();
  }

  /** Say what both schedules are at a step; default: where the cursor stands. */
  read(step) {
    const s = this.settings();
    step ??= this.here(s);
    const epoch = Math.floor(step / s.steps_per_epoch);
    const values = { beta: betaAt(s, step, s.num_epoch * s.steps_per_epoch), tfr: tfrAt(s, epoch) };
    const [beta, tfr] = [values.beta.toFixed(3), values.tfr.toFixed(2)];
    this.where.textContent = `epoch ${epoch}, step ${step}`;
    this.values.beta.textContent = beta;
    this.values.tfr.textContent = tfr;
    put(this.plot.root, { "aria-valuenow": epoch, "aria-valuetext": `epoch ${epoch}, step ${step}: beta ${beta}, teacher-forcing ratio ${tfr}` });
    this.plot.read(step, values);
  }
}

/** Copy an element's text; where the browser does not let a page write to the clipboard, it is selected at least. */
async function copy(element, copier) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    copier.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(element);
    copier.textContent = document.execCommand("copy") ? "copied" : "selected";
  }
  setTimeout(() => { copier.textContent = "copy"; }, 1500);
}

// ── 5 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el) => new View(model, el));
export default widget;
