/* FrameScrubber in the browser (scrubber.py tells what it shows; page.py what a module must keep to).

   1 Settings   2 Frames   3 Core   4 Plot   5 View   6 Keys   7 Start

   State lives in the model's traits: every control sets a trait, every trait's change redraws what depends on it.  So
   several views of one widget agree, Python and other widgets can take part, and nothing here asks whether a kernel is
   there.  One value runs ahead of its trait, the frame: the views follow it at once, the trait ten times a second. */

// ── 1 Settings ───────────────────────────────────────────────────────────────────────────────────────────────────────

const CAP = 99.9; // dB; from here on two frames are identical and the curve leaves the plot
const SCALES = [1, 2, 4, 8, 16];
const SPEEDS = [[0.25, "¼×"], [0.5, "½×"], [1, "1×"], [2, "2×"], [4, "4×"]];
const ICONS = { // paths in a 16 x 16 box
  play: "M4 2v12l10-6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  back: "M11 2v12L3 8z",
  on: "M5 2v12l8-6z",
  first: "M13 2v12L6 8zM3 2h2v12H3z",
  last: "M3 2v12l7-6zM11 2h2v12h-2z",
  loop: "M8 1.5l3.5 2.75L8 7V5a3.5 3.5 0 1 0 3.5 3.5h1.75A5.25 5.25 0 1 1 8 3.25z",
};

// ── 2 Frames ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Unpacks frames when they are first wanted and keeps them, the latest used ones up to `room` bytes, but `least` in any case. */
class Frames {
  constructor(clips, room = 256e6) {
    Object.assign(this, { clips, room, least: 4, kept: new Map(), pending: new Map() });
  }

  /** The frames as Uint8Array (T, H, W, 3), or undefined while they are still packed. */
  peek(sequence, part) { return this.kept.get(`${sequence} ${part}`); }

  /** A promise of the frames; `part` is "pose", "truth" or the index of a run. */
  load(sequence, part) {
    const key = `${sequence} ${part}`;
    if (this.kept.has(key)) {
      this.keep(key, this.kept.get(key));
      return Promise.resolve();
    }
    if (!this.pending.has(key)) {
      const { frames, height, width, [part]: other } = this.clips[sequence];
      const packed = typeof part === "number" ? frames[part] : other;
      this.pending.set(key, unpack(packed, height * width * 3).then((all) => this.keep(key, all)).finally(() => this.pending.delete(key)));
    }
    return this.pending.get(key);
  }

  /** Keep frames as the latest used, and drop the earliest where they take too much room. */
  keep(key, frames) {
    this.kept.delete(key);
    this.kept.set(key, frames);
    let size = [...this.kept.values()].reduce((sum, kept) => sum + kept.length, 0);
    for (const [old, kept] of this.kept) {
      if (size <= this.room || this.kept.size <= this.least) break;
      this.kept.delete(old);
      size -= kept.length;
    }
  }
}

/** The inverse of `encode` in scrubber.py: zlib, then add up the differences between frames, modulo 256. */
async function unpack(packed, frameSize) {
  const frames = await inflate(packed);
  for (let i = frameSize; i < frames.length; i++) frames[i] += frames[i - frameSize];
  return frames;
}

/** Draw the error of frame `index` in colours, as `error_frames` of labutils.show. */
function copyError(prediction, truth, index, scale, signed, colours, rgba) {
  for (let i = (index * rgba.length * 3) / 4, o = 0; o < rgba.length; i += 3, o += 4) {
    const r = (prediction[i] - truth[i]) / 255;
    const g = (prediction[i + 1] - truth[i + 1]) / 255;
    const b = (prediction[i + 2] - truth[i + 2]) / 255;
    const c = signed
      ? Math.floor(255 * clip((scale * (r + g + b)) / 3, -1, 1) + 0.5) + 255
      : Math.floor(255 * Math.min(scale * Math.sqrt((r * r + g * g + b * b) / 3), 1) + 0.5);
    rgba[o] = colours[3 * c];
    rgba[o + 1] = colours[3 * c + 1];
    rgba[o + 2] = colours[3 * c + 2];
    rgba[o + 3] = 255;
  }
}

// ── 3 Core ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What all views of one widget share: the frames, the frame number, the clock, and the way back to Python. */
class Core {
  constructor(model) {
    this.model = model;
    this.clips = model.get("_clips");
    this.frames = new Frames(this.clips);
    this.views = new Set();
    this.here = model.get("index");
    this.traits = new Traits(model, ["index"], () => this.show(model.get("index")));
    this.clock = new Clock(() => model.get("fps") * model.get("speed"), (steps) => this.advance(steps));
    model.on("change:playing", () => this.run());
  }

  get clip() { return this.clips[this.model.get("sequence")]; }
  get index() { return clip(this.here, 0, this.clip.count - 1); }

  set(name, value) { save(this.model, { [name]: value }); }

  /** Go to a frame.  Views follow at once, Python soon. */
  go(index) {
    this.show(clip(Math.round(index), 0, this.clip.count - 1));
    this.traits.take({ index: this.here });
  }

  show(index) {
    this.here = index;
    for (const view of this.views) view.step();
  }

  play(on) {
    if (on && !this.model.get("loop") && this.index === this.clip.count - 1) this.go(0);
    this.set("playing", on);
  }

  /** The clock goes while there is somebody to see it. */
  run() { this.clock.run(this.model.get("playing") && this.views.size > 0); }

  advance(steps) {
    const next = this.index + steps;
    const loop = this.model.get("loop");
    this.go(loop ? next % this.clip.count : next);
    if (!loop && next >= this.clip.count) this.set("playing", false);
  }
}

// ── 4 Plot ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const BOX = { height: 156, left: 44, right: 10, top: 10, floor: 134 };

/** The PSNR curves.  An SVG, so that colours follow the theme by themselves; a step moves two elements only. */
class PsnrPlot extends Plot {
  /** @param jump called with the index (from 0) of the frame that is clicked or dragged to */
  constructor(jump) {
    super(BOX, { role: "img" });
    this.pointed = this.cursor("ls-hover", { visibility: "hidden" });
    this.here = this.cursor("ls-cursor");
    this.dot = draw("circle", { class: "ls-dot", r: 4 });
    this.marks.append(this.pointed, this.here, this.dot);
    this.tip = make("div", { class: "ls-tip", hidden: true, "aria-hidden": "true" });
    this.root = make("div", { class: "ls-plot" }, this.svg, this.tip);
    this.series = [];
    const frameAt = (event) => clip(Math.round(this.at(event).x), ...this.xs) - 1;
    onDrag(this.svg, (event) => jump(frameAt(event)));
    this.svg.addEventListener("pointermove", (event) => this.read(frameAt(event)));
    this.svg.addEventListener("pointerleave", () => this.read(null));
  }

  /** Draw all of it.
   * @param series list of {label, values (T-1,) of frames 2..T, colour, dash, faint, main, flat}; the main one last
   * @param count frames T;  @param width in CSS pixels */
  show(series, count, width) {
    this.series = series;
    const inside = series.map(({ values }) => values.filter((v) => Math.abs(v) < CAP));
    const [low, high] = inside.some((values) => values.length) ? range(...inside) : [0, 100];
    const pad = Math.max(0.06 * (high - low), 0.5);
    this.scale(width, [1, count], [low - pad, high + pad]);
    const marks = ticks(1, count, clip(width / 90, 2, 10)).filter((t) => Number.isInteger(t) && t > 1);
    this.axes([1, ...marks], ticks(...this.ys, 5.5), { drop: 16, mark: 4, say: (t) => String(Math.round(10 * t) / 10) });
    this.grid.append(this.text(0, BOX.top + 1, "dB", null));
    this.curves.replaceChildren(...series.map(({ values, colour, dash, faint, main }) => draw("path", {
      d: this.path(values.map((v) => Math.min(v, this.ys[1])), (i) => i + 2),
      class: main ? "ls-main" : faint ? "ls-faint" : null, "stroke-dasharray": dash ?? null, style: { stroke: colour } })));
  }

  /** Move the cursor to frame `index`. */
  step(index) {
    this.moveTo(this.here, index + 1);
    const main = this.series.find((s) => s.main);
    const value = main?.values[index - 1];
    const seen = Number.isFinite(value);
    put(this.dot, { visibility: seen ? "visible" : "hidden" });
    if (seen) put(this.dot, { cx: this.x(index + 1).toFixed(1), cy: this.y(Math.min(value, this.ys[1])).toFixed(1), style: { fill: main.colour } });
  }

  /** Show the values at frame `index` beside the pointer; null hides them. */
  read(index) {
    this.tip.hidden = index === null;
    this.moveTo(this.pointed, index === null ? null : index + 1);
    if (index === null) return;
    const rows = this.series.filter((s) => !s.faint).reverse().map(({ label, values, colour }) => (
      make("div", {}, make("i", { style: { background: colour } }), make("span", { text: label }), make("b", { text: decibel(values[index - 1]) }))));
    this.tip.replaceChildren(make("div", { class: "ls-tip-head", text: `frame ${index + 1}${index ? "" : ", given"}` }), ...rows);
    const x = this.x(index + 1);
    const left = x > this.width / 2 ? x - this.tip.offsetWidth - 12 : x + 12;
    this.tip.style.transform = `translate(${Math.round(Math.max(left, 0))}px, 6px)`;
  }
}

// ── 5 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const GAP = 12;
const PADDING = 4; // around all of it, as in scrubber.css
const PANEL = { row: 192, pair: 320, most: 384, high: 220 }; // widths of a panel in CSS pixels, and its largest height

class View extends LabView {
  constructor(model, el, core) {
    super(model, el, core);
    this.on("sequence run", () => this.reload());
    this.on("together", () => { this.arrange(); this.reload(); });
    this.on("scale signed", () => { this.settings(); this.step(); });
    this.on("playing loop speed", () => this.settings());
    this.on("hidden", () => this.layout());
    this.watchPixels();
    core.run();
    this.reload();
  }

  // -- elements

  build() {
    const { model, core } = this;
    const control = (name, title, action, content) => button(`ls-${name}`, title, content, action, { "aria-label": title });
    const chooser = (label, options, trait, read = Number) => (
      select({ "aria-label": label, title: label }, options, (value) => core.set(trait, read(value))));
    const numbered = (names) => names.map((name, i) => [i, name]);
    const runs = model.get("runs");
    const sequences = model.get("sequences");
    const axis = model.get("_axis");

    // head: which sequence, which run, where we are
    this.sequence = chooser("sequence", numbered(sequences), "sequence");
    this.head = make("div", { class: "ls-head" });
    if (sequences.length > 1) this.head.append(make("label", { class: "ls-field" }, "sequence ", this.sequence));
    else this.head.append(make("span", { class: "ls-name", text: sequences[0] }));
    if (axis) {
      this.run = slider({ min: 0, max: runs.length - 1, step: 1, "aria-label": axis, class: "ls-run" }, (run) => core.set("run", run));
      this.spark = new Plot({ height: 22, left: 7, right: 7, top: 4, floor: 18 }, { class: "ls-spark", "aria-hidden": "true" });
      this.runName = make("span", { class: "ls-run-name", style: { "min-width": `${Math.max(...runs.map((r) => r.length))}ch` } });
      this.head.append(make("div", { class: "ls-field" }, this.runName, make("div", { class: "ls-axis" }, this.spark.svg, this.run)));
    } else if (runs.length > 1) {
      this.run = chooser("prediction", numbered(runs), "run");
      this.head.append(make("label", { class: "ls-field" }, "prediction ", this.run));
    }
    this.now = make("span", { class: "ls-now" });
    this.nowValue = make("span", { class: "ls-now-value" });
    this.head.append(make("span", { class: "ls-readout" }, this.now, this.nowValue));

    // panels
    this.stage = make("div", { class: "ls-panels" });
    this.arrange();
    this.message = make("div", { class: "ls-message", role: "alert", hidden: true });

    // curves
    this.legend = make("div", { class: "ls-legend", role: "group", "aria-label": "curves" });
    this.best = control("best", "Go to the best frame (B)", () => this.extreme(1), "best");
    this.worst = control("worst", "Go to the worst frame (W)", () => this.extreme(-1), "worst");
    this.bar = make("div", { class: "ls-bar" }, this.legend, make("div", { class: "ls-jumps" }, this.best, this.worst));
    this.plot = new PsnrPlot((index) => core.go(index));
    this.time = slider({ min: 0, step: 1, "aria-label": "frame", class: "ls-time",
      "aria-keyshortcuts": "ArrowLeft ArrowRight PageDown PageUp Home End Space" }, (index) => core.go(index));

    // controls
    this.playButton = control("play", "Play (space)", () => core.play(!model.get("playing")), icon(ICONS.play));
    this.loop = control("loop", "Loop (L)", () => core.set("loop", !model.get("loop")), icon(ICONS.loop));
    this.speed = chooser("speed", SPEEDS, "speed");
    this.scale = chooser("factor on the error", SCALES.map((s) => [s, `×${s}`]), "scale");
    this.signed = chooser("kind of error", [["0", "absolute"], ["1", "signed"]], "signed", (v) => v === "1");
    this.colours = make("canvas", { class: "ls-colours", height: 1, "aria-hidden": "true" });
    this.coloursLow = make("span");
    this.coloursHigh = make("span");
    this.error = make("div", { class: "ls-field ls-error" }, make("span", { class: "ls-label", text: "error" }),
      this.signed, this.scale, make("span", { class: "ls-ramp" }, this.coloursLow, this.colours, this.coloursHigh));
    this.side = button("ls-side", "Show all predictions side by side", "side by side", () => core.set("together", !model.get("together")));
    this.side.hidden = Boolean(axis) || runs.length < 2 || runs.length > 8;
    this.controls = make("div", { class: "ls-controls" },
      make("div", { class: "ls-field" },
        control("first", "First frame (Home)", () => core.go(0), icon(ICONS.first)),
        control("back", "One frame back (←)", () => core.go(core.index - 1), icon(ICONS.back)),
        this.playButton,
        control("on", "One frame on (→)", () => core.go(core.index + 1), icon(ICONS.on)),
        control("last", "Last frame (End)", () => core.go(core.clip.count - 1), icon(ICONS.last)),
        this.loop,
        this.speed),
      this.side, this.error);
    const hints = keyHints([["←", "→"], "frame back, on", ["PgDn", "PgUp"], "10 frames back, on", ["Home", "End"], "first, last", ["Space"], "play", ["B"], "best", ["W"], "worst",
      ...(runs.length > 1 ? [["↑", "↓"], axis || "prediction"] : [])]);

    this.body = make("div", { class: "ls-body" }, this.head, this.stage, this.message, this.bar, this.plot.root, this.time,
      this.controls, hints);
    this.root = make("div", { class: "lab-widget lab-scrubber", role: "group", "aria-label": "frame scrubber" }, this.body);

    this.root.addEventListener("keydown", (event) => onKey(event, this));
    this.root.addEventListener("pointerdown", (event) => {
      // Keys go to the frame slider once anything without a focus of its own has been pressed.
      if (!event.target.closest("button, select, input, label")) {
        event.preventDefault();
        this.time.focus({ preventScroll: true });
      }
    });
  }

  /** Make the panels: pose and truth, then the chosen run and its error or, side by side, every run. */
  arrange() {
    const together = this.model.get("together");
    const runs = together ? this.model.get("runs").map((_, run) => ["prediction", run]) : [["prediction"], ["error"]];
    this.panels = [["pose"], ["truth"], ...runs].map(([name, run]) => {
      const screen = new Screen(name);
      const note = make("span", { class: "ls-note" });
      const root = make("figure", { class: `ls-panel ls-panel-${name}` }, make("figcaption", {}, make("span", { text: name === "truth" ? "ground truth" : name }), note), screen.canvas);
      return { name, run, root, screen, note }; // without a run of its own: that of the chosen one
    });
    this.stage.classList.toggle("ls-together", Boolean(together));
    this.stage.replaceChildren(...this.panels.map((p) => p.root));
  }

  /** Lay out again when the number of device pixels in a CSS pixel changes (zoom, another screen). */
  watchPixels() {
    this.density = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    this.onDensity = () => { this.layout(); this.watchPixels(); };
    this.density.addEventListener("change", this.onDensity, { once: true });
  }

  remove() {
    this.gone = true;
    this.density.removeEventListener("change", this.onDensity);
    super.remove();
    this.core.run();
  }

  // -- what is shown

  /** Another sequence or run: fetch its frames; the old picture stays until they are there. */
  async reload() {
    const { model, core } = this;
    const wanted = () => ["sequence", "run", "together"].map((name) => model.get(name));
    const [sequence, run, together] = wanted();
    const left = () => this.gone || String(wanted()) !== String([sequence, run, together]);
    if (core.index !== core.here) core.go(core.index); // a shorter sequence
    this.settings();
    this.layout();
    const parts = ["pose", ...(core.clip.truth ? ["truth"] : []), ...(together ? model.get("runs").keys() : [run])];
    core.frames.least = Math.max(core.frames.least, parts.length);
    try {
      await Promise.all(parts.map((part) => core.frames.load(sequence, part)));
      if (left()) return;
      this.message.hidden = true;
      this.step();
      // The neighbours on the run axis next, so that moving along it does not wait.
      const far = (other) => Math.abs(other - run);
      const neighbours = [...model.get("runs").keys()].filter((other) => far(other) > 0 && far(other) <= 8);
      for (const other of neighbours.sort((a, b) => far(a) - far(b))) {
        if (left()) return;
        await core.frames.load(sequence, other);
      }
    } catch (error) {
      put(this.message, { text: `The frames cannot be unpacked in this browser: ${error.message}`, hidden: false });
    }
  }

  /** Bring the controls in line with the traits. */
  settings() {
    const { model, core } = this;
    const playing = model.get("playing");
    const runs = model.get("runs");
    const name = runs[model.get("run")];
    this.sequence.value = model.get("sequence");
    if (this.run && !this.spark) this.run.value = model.get("run");
    if (this.spark) {
      setSlider(this.run, model.get("run"), name);
      this.runName.textContent = name;
    }
    this.time.max = core.clip.count - 1;
    const title = playing ? "Pause (space)" : "Play (space)";
    put(this.playButton, { title, "aria-label": title });
    this.playButton.replaceChildren(icon(playing ? ICONS.pause : ICONS.play));
    put(this.loop, { "aria-pressed": String(model.get("loop")) });
    this.speed.value = model.get("speed");
    this.scale.value = model.get("scale");
    this.signed.value = model.get("signed") ? "1" : "0";

    this.map = bytesOf(model.get("_colours")[model.get("signed") ? 1 : 0]);
    const strip = new ImageData(this.map.length / 3, 1);
    this.colours.width = strip.width;
    copyFrame(this.map, 0, strip.data);
    this.colours.getContext("2d").putImageData(strip, 0, 0);
    const most = String(Number((1 / model.get("scale")).toPrecision(2)));
    this.coloursLow.textContent = model.get("signed") ? `−${most}` : "0";
    this.coloursHigh.textContent = most;
    put(this.side, { "aria-pressed": String(Boolean(model.get("together"))) });
    for (const p of this.panels) {
      if (p.name === "error") p.note.textContent = `×${model.get("scale")}`;
      if (p.name !== "prediction" || runs.length < 2) continue;
      const own = p.run ?? model.get("run");
      put(p.note, { text: runs[own], title: runs[own], style: { "--ls-own": this.colour(own) } });
      p.note.classList.toggle("ls-own", Boolean(core.clip.psnr[own])); // side by side: the key to its curve
      p.note.classList.toggle("ls-chosen", own === model.get("run"));
    }
  }

  /** The colour of a run's curve; checkpoints share one. */
  colour(run) { return `var(--lab-series-${this.model.get("_axis") ? 1 : (run % 6) + 1})`; }

  /** The curves of the sequence: {key, label, values, colour, ...}; keys are the names in the trait `hidden`. */
  series() {
    const { model, core } = this;
    const { psnr, baselines } = core.clip;
    const run = model.get("run");
    const runs = model.get("runs");
    const axis = model.get("_axis");
    const out = [];
    const greys = ["5 4", "1.5 3", "9 3 2 3"];
    baselines.forEach((b, i) => out.push({ key: b.name, label: b.label, values: floatsOf(b.psnr), colour: "var(--lab-quiet)",
      dash: greys[i % greys.length] }));
    psnr.forEach((values, i) => {
      if (i === run || !values) return;
      out.push({ key: axis ? "others" : runs[i], label: runs[i], values: floatsOf(values), colour: this.colour(i), faint: Boolean(axis) });
    });
    if (psnr[run]) {
      const values = floatsOf(psnr[run]);
      out.push({ key: "mean", label: "mean", values: values.map(() => mean(values)), colour: this.colour(run), dash: "2 3", flat: true });
      out.push({ key: runs[run], label: runs[run], values, colour: this.colour(run), main: true });
    }
    return out;
  }

  /** Fit panels and plot to the width, and draw what does not depend on the frame. */
  layout() {
    const { model, core } = this;
    if (!this.width) return;
    const width = this.width - 2 * PADDING;
    const { height: H, width: W, truth, count } = core.clip;

    // panels: as many in a row as are wide enough, each a whole number of device pixels for a pixel of the frame
    const shown = this.panels.filter((p) => truth || !["truth", "error"].includes(p.name));
    for (const p of this.panels) p.root.hidden = !shown.includes(p);
    const room = (columns) => Math.floor((width - GAP * (columns - 1)) / columns);
    const most = Math.max(Math.floor((width + GAP) / (PANEL.row + GAP)), room(2) >= 130 ? 2 : 1);
    const columns = Math.ceil(shown.length / Math.ceil(shown.length / most)); // rows of about the same length
    const widest = Math.min(room(columns), columns === shown.length ? PANEL.most : PANEL.pair);
    const zoom = wholeZoom(Math.min(widest / W, PANEL.high / H));
    const panelWidth = Math.min((zoom * W) / (devicePixelRatio || 1), widest);
    for (const p of shown) {
      p.screen.size(W, H, zoom, panelWidth);
      p.root.style.width = `${panelWidth}px`;
    }
    this.stage.style.gridTemplateColumns = `repeat(${columns}, ${panelWidth}px)`;
    const used = columns * panelWidth + GAP * (columns - 1);
    const bodyWidth = Math.floor(Math.min(width, Math.max(used, 560)));
    this.body.style.width = `${bodyWidth}px`;
    this.root.classList.toggle("ls-narrow", bodyWidth < 560);

    // curves
    const all = this.series();
    const hidden = new Set(model.get("hidden"));
    const has = all.length > 0;
    this.bar.hidden = !has;
    this.plot.root.hidden = !has;
    this.error.hidden = !truth || Boolean(model.get("together"));
    this.nowValue.hidden = !has;
    if (has) this.plot.show(all.filter((s) => !hidden.has(s.key)), count, bodyWidth);
    const inset = has ? BOX.left - 7 : 0; // the thumb's centre stands under the cursor
    this.time.style.marginLeft = `${inset}px`;
    this.time.style.width = `${bodyWidth - inset - (has ? BOX.right - 7 : 0)}px`;
    this.drawLegend(all, hidden);
    this.drawSpark();
    this.main = all.find((s) => s.main);
    this.best.disabled = this.worst.disabled = !this.main;
    if (this.main) {
      const { values, label } = this.main;
      const { best, worst } = extremes(values);
      const [top, bottom] = [`best ${decibel(values[best])}`, `worst ${decibel(values[worst])}`];
      this.best.textContent = top;
      this.worst.textContent = bottom;
      put(this.plot.svg, { "aria-label": `PSNR per frame of ${label}: mean ${decibel(mean(values))} dB, `
        + `${top} at frame ${best + 2}, ${bottom} at frame ${worst + 2}` });
    }
    this.step();
  }

  /** One button for each curve (one for all other checkpoints), with its value at this frame. */
  drawLegend(all, hidden) {
    const { model, core } = this;
    const entries = [...new Map(all.map((s) => [s.key, s])).values()];
    const rank = (s) => (s.main ? 0 : s.flat ? 1 : s.colour === "var(--lab-quiet)" ? 3 : 2);
    entries.sort((a, b) => rank(a) - rank(b));
    const keys = entries.map((e) => `${e.key}/${e.main}/${e.colour}`).join("|");
    if (keys !== this.legendKeys) {
      const focus = [...this.legend.children].findIndex((c) => c === document.activeElement);
      this.legendKeys = keys;
      this.legend.replaceChildren(...entries.map((s) => {
        const line = draw("line", { x1: 0, x2: 20, y1: 5, y2: 5, "stroke-dasharray": s.dash ?? null,
          "stroke-width": s.main ? 2.5 : 1.75, opacity: s.faint ? 0.45 : 1, style: { stroke: s.colour } });
        const label = s.faint ? `other ${model.get("_axis")}s` : s.label;
        const item = button(null, `Show or hide the curve: ${label}`,
          draw("svg", { class: "ls-key", viewBox: "0 0 20 10", "aria-hidden": "true" }, line), () => {
            const now = model.get("hidden");
            core.set("hidden", now.includes(s.key) ? now.filter((k) => k !== s.key) : [...now, s.key]);
          });
        item.append(make("span", { text: label }), make("span", { class: "ls-value", hidden: s.faint || null }));
        return item;
      }));
      this.legend.children[focus]?.focus();
    }
    this.entries = entries;
    entries.forEach((s, i) => put(this.legend.children[i], { "aria-pressed": String(!hidden.has(s.key)) }));
  }

  /** The mean PSNR of each checkpoint over its slider. */
  drawSpark() {
    if (!this.spark) return;
    const { spark } = this;
    const means = this.core.clip.psnr.map((values) => (values ? mean(floatsOf(values)) : NaN));
    spark.scale(180, [0, means.length - 1], range(means));
    spark.curves.replaceChildren(draw("path", { d: spark.path(means) }));
    spark.marks.replaceChildren();
    means.forEach((v, i) => {
      if (!Number.isFinite(v)) return; // a sequence without ground truth has no mean
      const here = i === this.model.get("run");
      spark.marks.append(draw("circle", { cx: spark.x(i), cy: spark.y(v), r: here ? 3.5 : 1.75, class: here && "ls-here" }));
    });
  }

  /** Show the frame where the core is.  All of it takes about a millisecond. */
  step() {
    const { model, core } = this;
    const sequence = model.get("sequence");
    const { count } = core.clip;
    const index = core.index;
    const truth = core.frames.peek(sequence, "truth");
    let ready = this.width > 0; // all that is to be seen is there
    for (const p of this.panels) {
      if (p.root.hidden || !p.screen.pixels) continue;
      const own = ["pose", "truth"].includes(p.name) ? p.name : p.run ?? model.get("run");
      const frames = core.frames.peek(sequence, own);
      if (!frames || (p.name === "error" && !truth)) {
        ready = false;
        continue;
      }
      if (p.name === "error") {
        copyError(frames, truth, index, model.get("scale"), model.get("signed"), this.map, p.screen.rgba);
        p.screen.show();
      } else p.screen.show(frames, index);
      const name = p.run === undefined ? p.name : `${p.name} ${model.get("runs")[p.run]}`;
      put(p.screen.canvas, { "aria-label": `${name}, frame ${index + 1}` });
    }

    const value = this.main?.values[index - 1];
    const words = index === 0 ? "given" : this.main ? `${decibel(value)} dB` : "";
    setSlider(this.time, index, `frame ${index + 1} of ${count}${words && `, ${words}`}`);
    this.now.textContent = `frame ${String(index + 1).padStart(String(count).length, "\u2007")} / ${count}`;
    this.nowValue.textContent = words;
    if (!this.plot.root.hidden && this.width) this.plot.step(index);
    this.entries?.forEach((s, i) => {
      this.legend.children[i].querySelector(".ls-value").textContent = decibel(s.values[s.flat ? 0 : index - 1]);
    });
    this.root.dataset.index = index; // for style sheets and tests
    this.root.dataset.ready = ready;
  }

  /** Go to the frame of largest (sign 1) or smallest PSNR. */
  extreme(sign) {
    if (!this.main) return;
    const { best, worst } = extremes(this.main.values);
    this.core.go((sign > 0 ? best : worst) + 1);
  }

  stepRun(by) {
    this.core.set("run", clip(this.model.get("run") + by, 0, this.model.get("runs").length - 1));
  }
}

/** Positions of the largest and the smallest of `values`. */
const extremes = (values) => ({
  best: values.reduce((at, v, i) => (v > values[at] ? i : at), 0),
  worst: values.reduce((at, v, i) => (v < values[at] ? i : at), 0),
});

// ── 6 Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function onKey(event, view) {
  const { core, model } = view;
  const target = event.target;
  if (foreignKey(event)) return;
  event.stopPropagation(); // from JupyterLab 4.1 on, this keeps its commands on arrows, Space and letters away
  if (target.tagName === "SELECT") return;
  const several = model.get("runs").length > 1;
  const actions = { // as the ARIA Authoring Practices have it for sliders: PageUp increases
    ArrowLeft: () => core.go(core.index - 1),
    ArrowRight: () => core.go(core.index + 1),
    PageUp: () => core.go(core.index + 10),
    PageDown: () => core.go(core.index - 10),
    Home: () => core.go(0),
    End: () => core.go(core.clip.count - 1),
    ArrowUp: several && (() => view.stepRun(1)),
    ArrowDown: several && (() => view.stepRun(-1)),
    " ": target.tagName !== "BUTTON" && (() => core.play(!model.get("playing"))),
    b: () => view.extreme(1),
    w: () => view.extreme(-1),
    l: () => core.set("loop", !model.get("loop")),
  };
  if (target === view.run && event.key !== " ") return; // the run slider keeps the browser's keys
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// ── 7 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el, core) => new View(model, el, core), (model) => {
  // A page or a notebook that opens must not start moving where people asked for less motion.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) model.set("playing", false);
  return new Core(model);
}, "_clips");
export default widget;
