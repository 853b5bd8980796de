/* TrainingMonitor in the browser (monitor.py tells what it shows; page.py what a module must keep to).

   1 Elements and numbers   2 Panels   3 Strip   4 View   5 Start

   Everything shown comes from traits that Python sets a few times a second; between two messages only the clock runs.
   The one thing that goes back is the message "stop". */

// ── 1 Elements and numbers ───────────────────────────────────────────────────────────────────────────────────────────

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
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
      for (const f of factors) {
        const t = Number(`${f}e${p}`);
        if (t >= low * 0.999 && t <= high * 1.001) out.push(t);
      }
    }
    return out;
  };
  const powers = all([1]);
  if (powers.length >= 3) return powers.filter((_, i) => i % Math.ceil(powers.length / 4) === 0);
  return [[1], [1, 3], [1, 2, 5]].map(all).find((list) => list.length >= 3) ?? all([1, 2, 3, 5, 7]);
}

// ── 2 Panels ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const PANELS = [
  { name: "\u00a0", series: { loss: 1, mse: 2 }, log: true },
  { name: "KL, nats per frame", series: { kl: 3 }, log: true },
  { name: "validation PSNR, dB", series: { val_psnr: 5 }, dots: true },
  { name: "KL weight β", series: { beta: 4 }, unit: true },
  { name: "teacher-forcing ratio", series: { tfr: 3 }, unit: true },
  { name: "learning rate", series: { lr: 0 }, zero: true },
];
const LABELS = { loss: "loss", mse: "MSE" };
const HEIGHT = 132;
const EDGE = { left: 46, right: 8, top: 8, bottom: 20 };
const colour = (k) => (k ? `var(--lab-series-${k})` : "var(--lab-quiet)");

class Panel {
  constructor(spec) {
    this.spec = spec;
    this.values = Object.fromEntries(Object.entries(spec.series).map(([key, k]) => {
      const value = make("b");
      const mark = make("i");
      mark.style.background = colour(k);
      return [key, { value, root: make("span", { class: "lm-value" }, mark, ...(LABELS[key] ? [`${LABELS[key]} `] : []), value) }];
    }));
    this.grid = draw("g", { class: "lm-grid" });
    this.curves = draw("g", { class: "lm-curves" });
    this.cursor = draw("line", { class: "lm-cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    this.svg = draw("svg", { height: HEIGHT, role: "img", "aria-label": spec.name.trim() || "loss and MSE" }, this.grid, this.curves, this.cursor);
    this.root = make("figure", { class: `lm-panel lm-panel-${Object.keys(spec.series)[0]}` },
      make("figcaption", {}, make("span", { text: spec.name }), ...Object.values(this.values).map((v) => v.root)), this.svg);
    this.data = {};
  }

  x(step) { return EDGE.left + ((step - this.first) / (this.last - this.first)) * (this.width - EDGE.left - EDGE.right); }

  y(value) {
    const scale = this.log ? Math.log : (v) => v;
    const t = (scale(value) - scale(this.low)) / (scale(this.high) - scale(this.low));
    return HEIGHT - EDGE.bottom - t * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  /** @param data name -> [x, y] or [x, y, x of means, means];  @param span first and last step;  @param width in CSS px */
  show(data, [first, last], width) {
    Object.assign(this, { first, last: Math.max(last, first + 1), width, data: {} });
    for (const key of Object.keys(this.spec.series)) if (data[key]) this.data[key] = data[key];
    let [low, high] = [Infinity, -Infinity];
    for (const [, y] of Object.values(this.data)) for (const v of y) [low, high] = [Math.min(low, v), Math.max(high, v)];
    if (low > high) [low, high] = [0, 1];
    this.log = Boolean(this.spec.log) && low > 0 && high / low > 4;
    if (this.log) [this.low, this.high] = [low / 1.15, high * 1.15];
    else {
      if (this.spec.unit) [low, high] = [Math.min(0, low), Math.max(1, high)];
      if (this.spec.zero) low = Math.min(0, low);
      const pad = this.spec.unit || this.spec.zero ? 0.04 : 0.08;
      const room = Math.max((high - low) * pad, Math.abs(high) * 1e-3, 1e-9);
      [this.low, this.high] = [low - room, high + room];
    }

    const [right, floor] = [width - EDGE.right, HEIGHT - EDGE.bottom];
    const marks = [];
    const say = (t) => (this.log || (t !== 0 && Math.abs(t) < 1e-3) ? short(t) : String(t));
    for (const t of this.log ? logTicks(this.low, this.high) : ticks(this.low, this.high, 4.5)) {
      const y = this.y(t).toFixed(1);
      marks.push(draw("line", { x1: EDGE.left, x2: right, y1: y, y2: y }),
        draw("text", { x: EDGE.left - 6, y, dy: "0.35em", "text-anchor": "end", text: say(t) }));
    }
    for (const step of ticks(this.first, this.last, clip(width / 90, 2, 6)).filter(Number.isInteger)) {
      const x = this.x(step).toFixed(1);
      marks.push(draw("line", { x1: x, x2: x, y1: floor, y2: floor + 4 }),
        draw("text", { x, y: floor + 14, "text-anchor": "middle", text: String(step) }));
    }
    this.grid.replaceChildren(...marks);

    this.curves.replaceChildren();
    for (const [key, k] of Object.entries(this.spec.series)) {
      if (!this.data[key]) continue;
      const [x, y, meanX, meanY] = this.data[key];
      const line = (xs, ys, kind) => {
        let d = "";
        ys.forEach((v, i) => { d += `${i ? "L" : "M"}${this.x(xs[i]).toFixed(1)} ${this.y(v).toFixed(1)}`; });
        const path = draw("path", { d, class: kind });
        path.style.stroke = colour(k);
        this.curves.append(path);
      };
      line(x, y, meanX ? "lm-faint" : null);
      if (meanX) line(meanX, meanY);
      if (this.spec.dots && y.length <= 60) {
        y.forEach((v, i) => {
          const dot = draw("circle", { cx: this.x(x[i]).toFixed(1), cy: this.y(v).toFixed(1), r: 3 });
          dot.style.fill = colour(k);
          this.curves.append(dot);
        });
      }
    }
    put(this.svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    this.read(null);
  }

  /** Show the values at a step; null: the latest ones. */
  read(step) {
    this.cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
    if (step !== null) this.cursor.setAttribute("transform", `translate(${this.x(step).toFixed(1)} 0)`);
    for (const [key, { value }] of Object.entries(this.values)) {
      const data = this.data[key];
      let text = "–";
      if (data) {
        const [x, y] = step !== null && data[2] ? data.slice(2) : data;
        let at = y.length - 1;
        if (step !== null) x.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(x[at] - step)) at = i; });
        const now = step === null && data[3] ? data[3][data[3].length - 1] : y[at];
        text = key === "val_psnr" ? now.toFixed(2) : key === "beta" || key === "tfr" ? now.toFixed(2) : short(now);
      }
      value.textContent = text;
    }
  }
}

// ── 3 Strip ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const GAP = 2; // pixels of a frame

/** A few frames of the validation video: pose, truth, prediction. */
class Strip {
  constructor() {
    this.caption = make("span", { class: "lm-caption" });
    this.rows = ["pose", "truth", "prediction"].map((name) => ({
      name, label: make("span", { class: "lm-row", text: name }), canvas: make("canvas", { role: "img" }),
    }));
    this.heads = make("div", { class: "lm-heads" });
    this.feet = make("div", { class: "lm-heads lm-feet" });
    this.table = make("div", { class: "lm-table" }, make("span"), this.heads, ...this.rows.flatMap((r) => [r.label, r.canvas]),
      make("span", { class: "lm-row lm-quiet", text: "PSNR" }), this.feet);
    this.root = make("div", { class: "lm-strip", hidden: true },
      make("div", { class: "lm-title" }, make("span", { text: "validation video" }), this.caption), this.table);
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
    const density = devicePixelRatio || 1;
    const zoom = Math.max(1, Math.floor(Math.min((room - labels) / wide(n), 128 / H) * density)) / density;
    const each = predicted.each.map((v, i) => (i === 0 || v === null ? "given" : v.toFixed(1)));
    for (const row of this.rows) {
      const pixels = bytesOf({ pose: given.pose, truth: given.truth, prediction: predicted.pixels }[row.name]);
      Object.assign(row.canvas, { width: wide(n), height: H });
      row.canvas.style.width = `${wide(n) * zoom}px`;
      row.canvas.style.height = `${H * zoom}px`;
      const pen = row.canvas.getContext("2d");
      shown.forEach((k, c) => {
        const image = new ImageData(W, H);
        for (let i = k * W * H * 3, o = 0; o < image.data.length; o += 4) {
          image.data[o] = pixels[i++];
          image.data[o + 1] = pixels[i++];
          image.data[o + 2] = pixels[i++];
          image.data[o + 3] = 255;
        }
        pen.putImageData(image, c * (W + GAP), 0);
      });
      put(row.canvas, { "aria-label": `${row.name}, frames ${shown.map((k) => frames[k]).join(", ")}` });
    }
    for (const line of [this.heads, this.feet]) {
      line.style.gridTemplateColumns = `repeat(${n}, ${W * zoom}px)`;
      line.style.columnGap = `${GAP * zoom}px`;
    }
    this.heads.replaceChildren(...shown.map((k, i) => make("span", { text: i ? String(frames[k]) : `frame ${frames[k]}` })));
    this.feet.replaceChildren(...shown.map((k) => make("span", { text: each[k] })));
    this.caption.textContent = `predicted after epoch ${predicted.epoch}, step ${predicted.step}: ${predicted.psnr.toFixed(2)} dB`;
  }
}

// ── 4 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const WORDS = { waiting: "waiting for fit", running: "training", stopping: "stopping", finished: "finished",
  stopped: "stopped", interrupted: "interrupted", failed: "failed" };
const QUIET = 60; // seconds without a message after which the clock stops as well
const ANSWER = 6; // seconds in which the kernel should have heard "stop"

class View {
  constructor(model, el) {
    this.model = model;
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    const on = (names, handler) => {
      const events = names.split(" ").map((name) => `change:${name}`).join(" ");
      model.on(events, handler);
      return () => model.off(events, handler);
    };
    this.off = [
      on("state message", () => this.status()),
      on("_now", () => { this.heard = performance.now(); this.status(); }),
      on("_curves", () => this.plot()),
      on("_given _predicted", () => this.picture()),
    ];
    this.heard = performance.now();
    this.timer = setInterval(() => this.status(), 500);
    this.sizes = new ResizeObserver(() => { if (this.root.clientWidth !== this.width) this.layout(); });
    this.sizes.observe(this.root);
    this.status();
    this.layout();
  }

  remove() {
    clearInterval(this.timer);
    this.sizes.disconnect();
    for (const off of this.off) off();
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
    this.stop = make("button", { type: "button", class: "lm-stop", title: "End after this step, with a validation and a checkpoint" },
      draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, draw("path", { d: "M3 3h10v10H3z" })), make("span", { text: "Stop" }));
    this.stop.addEventListener("click", () => this.askStop());
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
      if (!panel || !this.data.loss) return this.read(null);
      const x = event.clientX - panel.svg.getBoundingClientRect().left;
      const t = (x - EDGE.left) / (panel.width - EDGE.left - EDGE.right);
      this.read(t < 0 || t > 1 ? null : Math.round(panel.first + t * (panel.last - panel.first)));
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
      try {
        this.model.send("stop");
      } catch {
        // No kernel any more; then there is no training either.
      }
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
    this.word.textContent = running && asked ? WORDS.stopping : WORDS[state];
    this.root.dataset.state = state; // for style sheets and tests
    this.stop.hidden = !running;
    this.stop.disabled = asked;
    this.facts.hidden = now.step === undefined;
    let message = model.get("message");
    if (running && this.asked && performance.now() - this.asked > 1000 * ANSWER && state === "running") {
      message = "The kernel has not heard it yet. The notebook's interrupt button (■) ends the training in the same way.";
    }
    this.message.textContent = message;
    this.message.hidden = !message;
    put(this.message, { role: state === "failed" ? "alert" : null });
    if (now.step === undefined) return;

    const since = running ? Math.min((performance.now() - this.heard) / 1000, QUIET) : 0;
    const say = (name, text) => {
      this.fact[name].root.hidden = text === null;
      this.fact[name].value.textContent = text ?? "";
    };
    say("epoch", `${now.epoch + 1} / ${now.epochs}`);
    say("step", String(now.step));
    say("frames/s", now.rate === null ? "–" : short(now.rate));
    say("elapsed", clock(now.seconds + since));
    say("left", running && !asked ? (now.left === null ? "–" : clock(now.left - since)) : null);
    say("best", now.best ? `${now.best.psnr.toFixed(2)} dB` : null);
    const percent = 100 * clip(now.position, 0, 1);
    this.done.style.width = `${percent.toFixed(2)}%`;
    put(this.bar, { "aria-valuenow": Math.round(percent) });
    this.panels.find((p) => p.spec.dots).root.hidden = !now.validates;
  }

  layout() {
    this.width = this.root.clientWidth;
    if (!this.width) return; // not on the page yet; the ResizeObserver calls again
    this.plot();
    this.picture();
  }

  plot() {
    const curves = this.model.get("_curves");
    this.data = Object.fromEntries(Object.entries(curves).map(([key, parts]) => [key, parts.map(floatsOf)]));
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

function initialize() {}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.remove();
}

const widget = { initialize, render };
export default widget;
