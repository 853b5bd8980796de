/* TrainingMonitor in the browser (monitor.py tells what it shows; page.py what a module must keep to).

   1 Numbers   2 Panels   3 Strip   4 View   5 Start

   Everything shown comes from traits that Python sets a few times a second; between two messages only the clock runs.
   The one thing that goes back is the message "stop". */

// ── 1 Numbers ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Seconds as 0:07, 12:30 or 1:02:30. */
function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Three digits that count. */
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 9.995e-4 || size >= 1e6) return value.toExponential(1).replace(".0e", "e");
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** Ticks of a logarithmic axis: powers of ten, and 2 and 5 times them where there are few. */
function logTicks(low, high) {
  const all = (factors) => {
    const out = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) out.push(...factors.map((f) => Number(`${f}e${p}`)));
    return out.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  };
  const powers = all([1]);
  if (powers.length >= 3) return powers.filter((_, i) => i % Math.ceil(powers.length / 4) === 0);
  return [[1], [1, 3], [1, 2, 5]].map(all).find((list) => list.length >= 3) ?? all([1, 2, 3, 5, 7]);
}

// ── 2 Panels ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const PANELS = [ // what they show: the history's columns and their colours; how their axes begin
  { name: "\u00a0", series: { loss: 1, mse: 2 }, log: true },
  { name: "KL, nats per frame", series: { kl: 3 }, log: true },
  { name: "validation PSNR, dB", series: { val_psnr: 5 }, dots: true },
  { name: "KL weight β", series: { beta: 4 }, unit: true },
  { name: "teacher-forcing ratio", series: { tfr: 3 }, unit: true },
  { name: "learning rate", series: { lr: 0 }, zero: true },
];
const LABELS = { loss: "loss ", mse: "MSE " };
const DIGITS = { val_psnr: 2, beta: 2, tfr: 2 };
const colour = (k) => (k ? `var(--lab-series-${k})` : "var(--lab-quiet)");

class Panel extends Plot {
  constructor(spec) {
    super({ height: 132, left: 46, right: 8, top: 8, floor: 112 }, { role: "img", "aria-label": spec.name.trim() || "loss and MSE" });
    Object.assign(this, { spec, data: {} });
    this.values = Object.fromEntries(Object.keys(spec.series).map((key) => [key, make("b")]));
    const captions = Object.entries(spec.series).map(([key, k]) => (
      make("span", { class: "lm-value" }, make("i", { style: { background: colour(k) } }), LABELS[key] ?? "", this.values[key])));
    this.here = this.cursor("lm-cursor", { visibility: "hidden" });
    this.marks.append(this.here);
    this.root = make("figure", { class: `lm-panel lm-panel-${Object.keys(spec.series)[0]}` },
      make("figcaption", {}, make("span", { text: spec.name }), ...captions), this.svg);
  }

  /** @param data name -> [x, y] or [x, y, x of means, means];  @param span first and last step;  @param width in CSS px */
  show(data, [first, last], width) {
    const { series, log, unit, zero, dots } = this.spec;
    this.data = Object.fromEntries(Object.keys(series).filter((key) => data[key]).map((key) => [key, data[key]]));
    let [low, high] = range(...Object.values(this.data).map(([, y]) => y));
    const logarithmic = Boolean(log) && low > 0 && high / low > 4;
    if (logarithmic) [low, high] = [low / 1.15, high * 1.15];
    else {
      if (unit || zero) low = Math.min(0, low);
      if (unit) high = Math.max(1, high);
      const room = Math.max((high - low) * (unit || zero ? 0.04 : 0.08), Math.abs(high) * 1e-3, 1e-9);
      [low, high] = [low - room, high + room];
    }
    this.scale(width, [first, Math.max(last, first + 1)], [low, high], logarithmic);
    this.axes(ticks(...this.xs, clip(width / 90, 2, 6)).filter(Number.isInteger),
      logarithmic ? logTicks(low, high) : ticks(low, high, 4.5),
      { gap: 6, mark: 4, say: (t) => (logarithmic || (t !== 0 && Math.abs(t) < 1e-3) ? short(t) : String(t)) });

    this.curves.replaceChildren();
    for (const [key, [x, y, meanX, meanY]] of Object.entries(this.data)) {
      const stroke = colour(series[key]);
      const line = (xs, ys, kind = null) => this.curves.append(draw("path", { d: this.path(ys, (i) => xs[i]), class: kind, style: { stroke } }));
      line(x, y, meanX && "lm-faint");
      if (meanX) line(meanX, meanY);
      if (dots && y.length <= 60) {
        y.forEach((v, i) => this.curves.append(draw("circle", { cx: this.x(x[i]).toFixed(1), cy: this.y(v).toFixed(1), r: 3, style: { fill: stroke } })));
      }
    }
    this.read(null);
  }

  /** Show the values at a step; null: the latest ones, means where there are some. */
  read(step) {
    this.moveTo(this.here, step);
    for (const [key, element] of Object.entries(this.values)) {
      let text = "–";
      if (this.data[key]) {
        const [x, y] = this.data[key].slice(-2);
        let at = y.length - 1;
        if (step !== null) x.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(x[at] - step)) at = i; });
        text = key in DIGITS ? y[at].toFixed(DIGITS[key]) : short(y[at]);
      }
      element.textContent = text;
    }
  }
}

// ── 3 Strip ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const GAP = 2; // pixels of a frame

/** A few frames of the validation video: pose, truth, prediction. */
class Strip {
  constructor() {
    this.caption = make("span", { class: "lm-caption" });
    this.rows = ["pose", "truth", "prediction"].map((name) => ({ name, canvas: make("canvas", { role: "img" }) }));
    this.heads = make("div", { class: "lm-heads" });
    this.feet = make("div", { class: "lm-heads lm-feet" });
    const label = (text, kind = "lm-row") => make("span", { class: kind, text });
    this.root = make("div", { class: "lm-strip", hidden: true },
      make("div", { class: "lm-title" }, make("span", { text: "validation video" }), this.caption),
      make("div", { class: "lm-table" }, make("span"), this.heads, ...this.rows.flatMap((r) => [label(r.name === "truth" ? "ground truth" : r.name), r.canvas]),
        label("PSNR", "lm-row lm-quiet"), this.feet));
  }

  show(given, predicted, room) {
    this.root.hidden = !predicted.pixels || !given.pose;
    if (this.root.hidden) return;
    const { width: W, height: H, frames } = given;
    const labels = 74;
    let n = frames.length; // fewer columns where there is no room for all of them at twice their size
    const wide = (columns) => columns * (W + GAP) - GAP;
    while (n > 2 && 2 * wide(n) > room - labels) n--;
    const shown = Array.from({ length: n }, (_, i) => Math.round((i * (frames.length - 1)) / (n - 1 || 1)));
    const zoom = wholeZoom(Math.min((room - labels) / wide(n), 128 / H)) / (devicePixelRatio || 1);
    const each = predicted.each.map((v, i) => (i === 0 || v === null ? "given" : v.toFixed(1)));
    for (const { name, canvas } of this.rows) {
      const pixels = bytesOf({ ...given, prediction: predicted.pixels }[name]);
      Object.assign(canvas, { width: wide(n), height: H });
      put(canvas, { style: { width: `${wide(n) * zoom}px`, height: `${H * zoom}px` },
        "aria-label": `${name}, frames ${shown.map((k) => frames[k]).join(", ")}` });
      const image = new ImageData(W, H);
      shown.forEach((k, column) => {
        copyFrame(pixels, k, image.data);
        canvas.getContext("2d").putImageData(image, column * (W + GAP), 0);
      });
    }
    const columns = { "grid-template-columns": `repeat(${n}, ${W * zoom}px)`, "column-gap": `${GAP * zoom}px` };
    for (const line of [this.heads, this.feet]) put(line, { style: columns });
    this.heads.replaceChildren(...shown.map((k, i) => make("span", { text: i ? String(frames[k]) : `frame ${frames[k]}` })));
    this.feet.replaceChildren(...shown.map((k) => make("span", { text: each[k] })));
    this.caption.textContent = `predicted after epoch ${predicted.epoch}, step ${predicted.step}: ${predicted.psnr.toFixed(2)} dB`;
  }
}

// ── 4 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const QUIET = 60; // seconds without a message after which the clock stops as well
const ANSWER = 6; // seconds in which the kernel should have heard "stop"
const UNHEARD = "The kernel has not heard it yet. The notebook's interrupt button (■) ends the training in the same way.";

class View extends LabView {
  constructor(model, el) {
    super(model, el);
    this.on("state message", () => this.status());
    this.on("_now", () => { this.heard = performance.now(); this.status(); });
    this.on("_curves", () => this.plot());
    this.on("_given _predicted", () => this.picture());
    this.heard = performance.now();
    this.timer = setInterval(() => this.status(), 500);
    this.status();
  }

  remove() {
    clearInterval(this.timer);
    super.remove();
  }

  build() {
    this.word = make("span", { class: "lm-state", role: "status" });
    this.facts = make("div", { class: "lm-facts" });
    this.fact = Object.fromEntries(["epoch", "step", "frames/s", "elapsed", "left", "best"].map((name) => {
      const value = make("b");
      const root = make("span", { class: `lm-fact-${name.split("/")[0]}` }, make("span", { text: name }), value);
      this.facts.append(root);
      return [name, { root, value }];
    }));
    this.stop = button("lm-stop", "End after this step, with a validation and a checkpoint", icon("M3 3h10v10H3z"), () => this.askStop());
    this.stop.append(make("span", { text: "Stop" }));
    this.done = make("i");
    this.bar = make("div", { class: "lm-bar", role: "progressbar", "aria-label": "training", "aria-valuemin": 0, "aria-valuemax": 100 }, this.done);
    this.message = make("div", { class: "lm-message", hidden: true });
    this.panels = PANELS.map((spec) => new Panel(spec));
    this.grid = make("div", { class: "lm-panels" }, ...this.panels.map((p) => p.root));
    this.strip = new Strip();
    this.root = make("div", { class: "lab-widget lab-monitor", role: "group", "aria-label": "training monitor" },
      make("div", { class: "lm-head" }, this.word, this.facts, this.stop), this.bar, this.message, this.grid, this.strip.root);

    this.grid.addEventListener("pointermove", (event) => {
      const panel = this.panels.find((p) => p.svg.contains(event.target));
      const step = panel && this.data.loss ? panel.at(event).x : null;
      this.read(step !== null && step >= panel.xs[0] && step <= panel.xs[1] ? Math.round(step) : null);
    });
    this.grid.addEventListener("pointerleave", () => this.read(null));
  }

  read(step) {
    this.step = step;
    for (const panel of this.panels) panel.read(step);
  }

  /** Tell the kernel, again and again until it answers: a message can go to a shell that is busy. */
  askStop() {
    this.asked = performance.now();
    const ask = () => {
      if (this.model.get("state") !== "running") return;
      send(this.model, "stop");
      this.again = setTimeout(ask, 1000);
    };
    clearTimeout(this.again);
    ask();
    this.status();
  }

  status() {
    const { model } = this;
    const state = model.get("state");
    const now = model.get("_now");
    const running = state === "running" || state === "stopping";
    if (!running) this.asked = null;
    const asked = state === "stopping" || this.asked != null;
    this.word.textContent = running && asked ? "stopping" : state === "running" ? "training" : state === "waiting" ? "waiting for fit" : state;
    this.root.dataset.state = state; // for style sheets and tests
    this.stop.hidden = !running;
    this.stop.disabled = asked;
    this.facts.hidden = now.step === undefined;
    const unheard = state === "running" && this.asked && performance.now() - this.asked > 1000 * ANSWER;
    const message = unheard ? UNHEARD : model.get("message");
    put(this.message, { text: message, hidden: !message, role: state === "failed" ? "alert" : null });
    if (now.step === undefined) return;

    const since = running ? Math.min((performance.now() - this.heard) / 1000, QUIET) : 0;
    const facts = {
      epoch: `${now.epoch + 1} / ${now.epochs}`,
      step: String(now.step),
      "frames/s": now.rate === null ? "–" : short(now.rate),
      elapsed: clock(now.seconds + since),
      left: running && !asked ? (now.left === null ? "–" : clock(now.left - since)) : null,
      best: now.best ? `${now.best.psnr.toFixed(2)} dB` : null,
    };
    for (const [name, text] of Object.entries(facts)) {
      this.fact[name].root.hidden = text === null;
      this.fact[name].value.textContent = text ?? "";
    }
    const percent = 100 * clip(now.position, 0, 1);
    this.done.style.width = `${percent.toFixed(2)}%`;
    put(this.bar, { "aria-valuenow": Math.round(percent) });
    this.panels.find((p) => p.spec.dots).root.hidden = !now.validates;
  }

  layout() {
    this.plot();
    this.picture();
  }

  plot() {
    this.data = Object.fromEntries(Object.entries(this.model.get("_curves")).map(([key, parts]) => [key, parts.map(floatsOf)]));
    this.grid.hidden = !this.data.loss;
    if (this.grid.hidden || !this.width) return;
    const steps = this.data.loss[0];
    const span = [steps[0], steps[steps.length - 1]];
    const width = Math.floor(this.panels[0].root.clientWidth);
    for (const panel of this.panels) panel.show(this.data, span, width);
    if (this.step != null) this.read(Math.min(this.step, span[1]));
  }

  picture() {
    if (this.width) this.strip.show(this.model.get("_given"), this.model.get("_predicted"), this.width - 8);
  }
}

// ── 5 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el) => new View(model, el));
export default widget;
