/* FrameScrubber in the browser (scrubber.py tells what it shows; page.py what a module must keep to).

   1 Elements and numbers   2 Frames   3 Player   4 Plot   5 View   6 Keys   7 Start

   State lives in the model's traits: every control sets a trait, every trait's change redraws what depends on it.  So
   several views of one widget agree, Python and other widgets can take part, and nothing here asks whether a kernel is
   there.  One value runs ahead of its trait, the frame: the views follow it at once, the trait ten times a second. */

// ── 1 Elements and numbers ───────────────────────────────────────────────────────────────────────────────────────────

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

/** Unpacks frames when they are first wanted and keeps them, the latest used ones up to `room` bytes. */
class Frames {
  constructor(clips, room = 256e6) {
    this.clips = clips;
    this.room = room;
    this.kept = new Map();
    this.pending = new Map();
  }

  /** The frames as Uint8Array (T, H, W, 3), or undefined while they are still packed. */
  peek(sequence, part) { return this.kept.get(`${sequence} ${part}`); }

  /** A promise of the frames; `part` is "pose", "truth" or the index of a run. */
  load(sequence, part) {
    const key = `${sequence} ${part}`;
    if (this.kept.has(key)) {
      const frames = this.kept.get(key);
      this.kept.delete(key);
      this.kept.set(key, frames); // now the latest used
      return Promise.resolve(frames);
    }
    if (!this.pending.has(key)) {
      const data = this.clips[sequence];
      const packed = typeof part === "number" ? data.frames[part] : data[part];
      this.pending.set(key, unpack(packed, data.height * data.width * 3).then((frames) => {
        this.kept.set(key, frames);
        let size = 0;
        for (const kept of this.kept.values()) size += kept.length;
        for (const [old, kept] of this.kept) {
          if (size <= this.room || this.kept.size <= 4) break;
          this.kept.delete(old);
          size -= kept.length;
        }
        return frames;
      }).finally(() => this.pending.delete(key)));
    }
    return this.pending.get(key);
  }
}

/** The inverse of `encode` in scrubber.py: zlib, then add up the differences between frames, modulo 256. */
async function unpack(packed, frameSize) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const frames = new Uint8Array(await new Response(stream).arrayBuffer());
  for (let i = frameSize; i < frames.length; i++) frames[i] += frames[i - frameSize];
  return frames;
}

/** Draw the error of frame `index` in colours, as `error_image` in scrubber.py. */
function copyError(prediction, truth, index, scale, signed, colours, rgba) {
  const map = bytesOf(colours[signed ? 1 : 0]);
  for (let i = (index * rgba.length * 3) / 4, o = 0; o < rgba.length; i += 3, o += 4) {
    const r = (prediction[i] - truth[i]) / 255;
    const g = (prediction[i + 1] - truth[i + 1]) / 255;
    const b = (prediction[i + 2] - truth[i + 2]) / 255;
    const c = signed
      ? Math.floor(255 * clip((scale * (r + g + b)) / 3, -1, 1) + 0.5) + 255
      : Math.floor(255 * Math.min(scale * Math.sqrt((r * r + g * g + b * b) / 3), 1) + 0.5);
    rgba[o] = map[3 * c];
    rgba[o + 1] = map[3 * c + 1];
    rgba[o + 2] = map[3 * c + 2];
    rgba[o + 3] = 255;
  }
}

// ── 3 Player ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What all views of one widget share: the frames, the frame number, the clock, and the way back to Python. */
class Core {
  constructor(model) {
    this.model = model;
    this.clips = model.get("_clips");
    this.frames = new Frames(this.clips);
    this.views = new Set();
    this.here = model.get("index");
    this.traits = new Traits(model, ["index"], () => this.show(model.get("index")));
    this.tick = this.tick.bind(this);
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

  attach(view) {
    this.views.add(view);
    this.run();
  }

  detach(view) { this.views.delete(view); }

  run() {
    if (this.ticking || !this.model.get("playing") || !this.views.size) return;
    this.ticking = true;
    this.before = null;
    this.due = 0;
    requestAnimationFrame(this.tick);
  }

  tick(now) {
    if (!this.model.get("playing") || !this.views.size) {
      this.ticking = false;
      return;
    }
    const elapsed = this.before === null ? 0 : Math.min(now - this.before, 250);
    this.before = now;
    this.due += (elapsed / 1000) * this.model.get("fps") * this.model.get("speed");
    const steps = Math.floor(this.due);
    if (steps) {
      this.due -= steps;
      const next = this.index + steps;
      if (next < this.clip.count) this.go(next);
      else if (this.model.get("loop")) this.go(next % this.clip.count);
      else {
        this.go(this.clip.count - 1);
        this.set("playing", false);
      }
    }
    requestAnimationFrame(this.tick);
  }
}

// ── 4 Plot ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const MARGIN = { left: 44, right: 10, top: 10, bottom: 22 };
const PLOT_HEIGHT = 156;

/** The PSNR curves.  An SVG, so that colours follow the theme by themselves; a step moves two elements only. */
class PsnrPlot {
  /** @param jump called with the index (from 0) of the frame that is clicked or dragged to */
  constructor(jump) {
    this.grid = draw("g", { class: "ls-grid" });
    this.curves = draw("g", { class: "ls-curves" });
    this.hover = draw("line", { class: "ls-hover", y1: MARGIN.top, y2: PLOT_HEIGHT - MARGIN.bottom, visibility: "hidden" });
    this.cursor = draw("line", { class: "ls-cursor", y1: MARGIN.top, y2: PLOT_HEIGHT - MARGIN.bottom });
    this.dot = draw("circle", { class: "ls-dot", r: 4 });
    this.svg = draw("svg", { role: "img", height: PLOT_HEIGHT }, this.grid, this.curves, this.hover, this.cursor, this.dot);
    this.tip = make("div", { class: "ls-tip", hidden: true, "aria-hidden": "true" });
    this.root = make("div", { class: "ls-plot" }, this.svg, this.tip);
    this.series = [];
    this.count = 2;
    this.width = 0;

    const frameAt = (event) => {
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      const span = this.width - MARGIN.left - MARGIN.right;
      return clip(Math.round(((x - MARGIN.left) / span) * (this.count - 1)), 0, this.count - 1);
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.svg.setPointerCapture(event.pointerId);
      this.dragging = true;
      jump(frameAt(event));
    });
    this.svg.addEventListener("pointermove", (event) => {
      const index = frameAt(event);
      if (this.dragging) jump(index);
      this.read(index);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.svg.addEventListener(end, () => { this.dragging = false; });
    }
    this.svg.addEventListener("pointerleave", () => this.read(null));
  }

  x(index) { return MARGIN.left + (index / (this.count - 1)) * (this.width - MARGIN.left - MARGIN.right); }

  y(value) {
    const t = (value - this.low) / (this.high - this.low);
    return PLOT_HEIGHT - MARGIN.bottom - t * (PLOT_HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  /** Draw all of it.
   * @param series list of {label, values (T-1,) of frames 2..T, colour, dash, faint, main, flat}; the main one last
   * @param count frames T;  @param width in CSS pixels */
  show(series, count, width) {
    Object.assign(this, { series, count, width });
    let [low, high] = [Infinity, -Infinity];
    for (const { values } of series) {
      for (const v of values) {
        if (v < CAP && v > -CAP) [low, high] = [Math.min(low, v), Math.max(high, v)];
      }
    }
    if (low > high) [low, high] = [0, 100];
    const pad = Math.max(0.06 * (high - low), 0.5);
    [this.low, this.high] = [low - pad, high + pad];

    const right = width - MARGIN.right;
    const floor = PLOT_HEIGHT - MARGIN.bottom;
    this.grid.replaceChildren();
    for (const t of ticks(this.low, this.high, 5.5)) {
      const y = this.y(t).toFixed(1);
      this.grid.append(
        draw("line", { x1: MARGIN.left, x2: right, y1: y, y2: y }),
        draw("text", { x: MARGIN.left - 8, y, dy: "0.35em", "text-anchor": "end", text: String(Math.round(10 * t) / 10) }),
      );
    }
    this.grid.append(draw("text", { x: 0, y: MARGIN.top + 1, dy: "0.35em", text: "dB" }));
    const marks = ticks(1, count, clip(width / 90, 2, 10)).filter((t) => Number.isInteger(t) && t > 1);
    for (const frame of [1, ...marks]) {
      const x = this.x(frame - 1).toFixed(1);
      this.grid.append(
        draw("line", { x1: x, x2: x, y1: floor, y2: floor + 4 }),
        draw("text", { x, y: floor + 16, "text-anchor": "middle", text: String(frame) }),
      );
    }

    this.curves.replaceChildren(...series.map(({ values, colour, dash, faint, main }) => {
      let d = "";
      let up = true; // pen
      values.forEach((v, i) => {
        if (Number.isFinite(v)) d += `${up ? "M" : "L"}${this.x(i + 1).toFixed(1)} ${this.y(Math.min(v, this.high)).toFixed(1)}`;
        up = !Number.isFinite(v);
      });
      const path = draw("path", { d, class: main ? "ls-main" : faint ? "ls-faint" : null, "stroke-dasharray": dash ?? null });
      path.style.stroke = colour;
      return path;
    }));
    put(this.svg, { width, viewBox: `0 0 ${width} ${PLOT_HEIGHT}` });
  }

  /** Move the cursor to frame `index`. */
  step(index) {
    const x = this.x(index);
    this.cursor.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    const main = this.series.find((s) => s.main);
    const value = main?.values[index - 1];
    const seen = Number.isFinite(value);
    this.dot.setAttribute("visibility", seen ? "visible" : "hidden");
    if (seen) {
      put(this.dot, { cx: x.toFixed(1), cy: this.y(Math.min(value, this.high)).toFixed(1) });
      this.dot.style.fill = main.colour;
    }
  }

  /** Show the values at frame `index` beside the pointer; null hides them. */
  read(index) {
    this.tip.hidden = index === null;
    this.hover.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index === null) return;
    const x = this.x(index);
    this.hover.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    const rows = this.series.filter((s) => !s.faint).reverse().map(({ label, values, colour }) => {
      const key = make("i");
      key.style.background = colour;
      return make("div", {}, key, make("span", { text: label }), make("b", { text: decibel(values[index - 1]) }));
    });
    this.tip.replaceChildren(make("div", { class: "ls-tip-head", text: `frame ${index + 1}${index ? "" : ", given"}` }), ...rows);
    const left = x > this.width / 2 ? x - this.tip.offsetWidth - 12 : x + 12;
    this.tip.style.transform = `translate(${Math.round(Math.max(left, 0))}px, 6px)`;
  }
}

// ── 5 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const GAP = 12;
const PADDING = 4; // around all of it, as in scrubber.css
const PANEL = { row: 192, pair: 320, most: 384, high: 220 }; // widths of a panel in CSS pixels, and its largest height

class View {
  constructor(model, el, core) {
    Object.assign(this, { model, core });
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    this.listen();
    core.attach(this);
    this.reload();
  }

  // -- elements

  build() {
    const { model, core } = this;
    const button = (name, title, action, ...content) => {
      const element = make("button", { type: "button", title, "aria-label": title, class: `ls-${name}` }, ...content);
      element.addEventListener("click", action);
      return element;
    };
    const select = (label, options, trait, read = Number) => {
      const element = make("select", { "aria-label": label, title: label },
        ...options.map(([value, text]) => make("option", { value, text })));
      element.addEventListener("change", () => core.set(trait, read(element.value)));
      return element;
    };
    const numbered = (names) => names.map((name, i) => [i, name]);
    const runs = model.get("runs");
    const sequences = model.get("sequences");
    const axis = model.get("_axis");

    // head: which sequence, which run, where we are
    this.sequence = select("sequence", numbered(sequences), "sequence");
    this.head = make("div", { class: "ls-head" });
    if (sequences.length > 1) this.head.append(make("label", { class: "ls-field" }, "sequence ", this.sequence));
    else this.head.append(make("span", { class: "ls-name", text: sequences[0] }));
    if (axis) {
      this.run = make("input", { type: "range", min: 0, max: runs.length - 1, step: 1, "aria-label": axis, class: "ls-run" });
      this.run.addEventListener("input", () => core.set("run", Number(this.run.value)));
      this.spark = draw("svg", { class: "ls-spark", "aria-hidden": "true", viewBox: "0 0 180 22" });
      this.runName = make("span", { class: "ls-run-name" });
      this.runName.style.minWidth = `${Math.max(...runs.map((r) => r.length))}ch`;
      this.head.append(make("div", { class: "ls-field" }, this.runName, make("div", { class: "ls-axis" }, this.spark, this.run)));
    } else if (runs.length > 1) {
      this.run = select("prediction", numbered(runs), "run");
      this.head.append(make("label", { class: "ls-field" }, "prediction ", this.run));
    }
    this.now = make("span", { class: "ls-now" });
    this.nowValue = make("span", { class: "ls-now-value" });
    this.head.append(make("span", { class: "ls-readout" }, this.now, this.nowValue));

    // panels
    this.panels = ["pose", "truth", "prediction", "error"].map((name) => {
      const canvas = make("canvas", { role: "img" });
      const note = make("span", { class: "ls-note" });
      const root = make("figure", { class: `ls-panel ls-panel-${name}` },
        make("figcaption", {}, make("span", { text: name }), note), canvas);
      return { name, root, canvas, note, pen: canvas.getContext("2d"), small: document.createElement("canvas") };
    });
    this.stage = make("div", { class: "ls-panels" }, ...this.panels.map((p) => p.root));
    this.message = make("div", { class: "ls-message", role: "alert", hidden: true });

    // curves
    this.legend = make("div", { class: "ls-legend", role: "group", "aria-label": "curves" });
    this.best = button("best", "Go to the best frame (B)", () => this.extreme(1), "best");
    this.worst = button("worst", "Go to the worst frame (W)", () => this.extreme(-1), "worst");
    this.bar = make("div", { class: "ls-bar" }, this.legend, make("div", { class: "ls-jumps" }, this.best, this.worst));
    this.plot = new PsnrPlot((index) => core.go(index));
    this.time = make("input", { type: "range", min: 0, step: 1, "aria-label": "frame", class: "ls-time",
      "aria-keyshortcuts": "ArrowLeft ArrowRight PageUp PageDown Home End Space" });
    this.time.addEventListener("input", () => core.go(Number(this.time.value)));

    // controls
    this.playButton = button("play", "Play (space)", () => core.play(!model.get("playing")), icon(ICONS.play));
    this.loop = button("loop", "Loop (L)", () => core.set("loop", !model.get("loop")), icon(ICONS.loop));
    this.speed = select("speed", SPEEDS, "speed");
    this.scale = select("factor on the error", SCALES.map((s) => [s, `×${s}`]), "scale");
    this.signed = select("kind of error", [["0", "absolute"], ["1", "signed"]], "signed", (v) => v === "1");
    this.colours = make("canvas", { class: "ls-colours", height: 1, "aria-hidden": "true" });
    this.coloursLow = make("span");
    this.coloursHigh = make("span");
    this.error = make("div", { class: "ls-field ls-error" }, make("span", { class: "ls-label", text: "error" }),
      this.signed, this.scale, make("span", { class: "ls-ramp" }, this.coloursLow, this.colours, this.coloursHigh));
    this.controls = make("div", { class: "ls-controls" },
      make("div", { class: "ls-field" },
        button("first", "First frame (Home)", () => core.go(0), icon(ICONS.first)),
        button("back", "One frame back (←)", () => core.go(core.index - 1), icon(ICONS.back)),
        this.playButton,
        button("on", "One frame on (→)", () => core.go(core.index + 1), icon(ICONS.on)),
        button("last", "Last frame (End)", () => core.go(core.clip.count - 1), icon(ICONS.last)),
        this.loop,
        this.speed),
      this.error);
    const keys = [["←", "→"], "frame", ["PgUp", "PgDn"], "10 frames", ["Space"], "play", ["B"], "best", ["W"], "worst",
      ...(runs.length > 1 ? [["↑", "↓"], axis || "prediction"] : [])];
    this.hint = make("div", { class: "ls-hint" },
      ...keys.map((k) => (Array.isArray(k) ? make("span", {}, ...k.map((text) => make("kbd", { text }))) : make("span", { text: k }))));

    this.body = make("div", { class: "ls-body" }, this.head, this.stage, this.message, this.bar, this.plot.root, this.time,
      this.controls, this.hint);
    this.root = make("div", { class: "lab-widget lab-scrubber", role: "group", "aria-label": "frame scrubber" }, this.body);
  }

  listen() {
    const { model } = this;
    const on = (traits, handler) => model.on(traits.split(" ").map((t) => `change:${t}`).join(" "), handler);
    on("sequence run", () => this.reload());
    on("scale signed", () => { this.settings(); this.step(); });
    on("playing loop speed", () => this.settings());
    on("hidden", () => this.layout());
    this.root.addEventListener("keydown", (event) => onKey(event, this));
    this.root.addEventListener("pointerdown", (event) => {
      // Keys go to the frame slider once anything without a focus of its own has been pressed.
      if (!event.target.closest("button, select, input, label")) {
        event.preventDefault();
        this.time.focus({ preventScroll: true });
      }
    });
    this.sizes = new ResizeObserver(() => { if (this.root.clientWidth !== this.width) this.layout(); });
    this.sizes.observe(this.root);
    this.watchPixels();
  }

  /** Lay out again when the number of device pixels in a CSS pixel changes (zoom, another screen). */
  watchPixels() {
    this.density = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    this.onDensity = () => { this.layout(); this.watchPixels(); };
    this.density.addEventListener("change", this.onDensity, { once: true });
  }

  remove() {
    this.gone = true;
    this.sizes.disconnect();
    this.density.removeEventListener("change", this.onDensity);
    this.core.detach(this);
  }

  // -- what is shown

  /** Another sequence or run: fetch its frames; the old picture stays until they are there. */
  async reload() {
    const { model, core } = this;
    const sequence = model.get("sequence");
    const run = model.get("run");
    if (core.index !== core.here) core.go(core.index); // a shorter sequence
    this.settings();
    this.layout();
    const parts = ["pose", run, ...(core.clip.truth ? ["truth"] : [])];
    try {
      await Promise.all(parts.map((part) => core.frames.load(sequence, part)));
      if (this.gone || sequence !== model.get("sequence") || run !== model.get("run")) return;
      this.message.hidden = true;
      this.step();
      // The neighbours on the run axis next, so that moving along it does not wait.
      for (let d = 1; d < model.get("runs").length; d++) {
        for (const other of [run + d, run - d]) {
          if (this.gone || sequence !== model.get("sequence") || run !== model.get("run")) return;
          if (core.clip.frames[other] && d <= 8) await core.frames.load(sequence, other);
        }
      }
    } catch (error) {
      this.message.textContent = `The frames cannot be unpacked in this browser: ${error.message}`;
      this.message.hidden = false;
    }
  }

  /** Bring the controls in line with the traits. */
  settings() {
    const { model, core } = this;
    const playing = model.get("playing");
    const clipNow = core.clip;
    this.sequence.value = model.get("sequence");
    if (this.run) {
      this.run.value = model.get("run");
      this.run.style.setProperty("--lab-done", `${(100 * model.get("run")) / (model.get("runs").length - 1)}%`);
      put(this.run, { "aria-valuetext": model.get("runs")[model.get("run")] });
    }
    if (this.runName) this.runName.textContent = model.get("runs")[model.get("run")];
    this.time.max = clipNow.count - 1;
    const title = playing ? "Pause (space)" : "Play (space)";
    put(this.playButton, { title, "aria-label": title });
    this.playButton.replaceChildren(icon(playing ? ICONS.pause : ICONS.play));
    put(this.loop, { "aria-pressed": String(model.get("loop")) });
    this.speed.value = model.get("speed");
    this.scale.value = model.get("scale");
    this.signed.value = model.get("signed") ? "1" : "0";

    const map = bytesOf(model.get("_colours")[model.get("signed") ? 1 : 0]);
    const size = map.length / 3;
    if (this.colours.width !== size) this.colours.width = size;
    const strip = new ImageData(size, 1);
    copyFrame(map, 0, strip.data);
    this.colours.getContext("2d").putImageData(strip, 0, 0);
    const most = String(Number((1 / model.get("scale")).toPrecision(2)));
    this.coloursLow.textContent = model.get("signed") ? `−${most}` : "0";
    this.coloursHigh.textContent = most;
    this.panels[3].note.textContent = `×${model.get("scale")}`;
    this.panels[2].note.textContent = model.get("runs").length > 1 ? model.get("runs")[model.get("run")] : "";
  }

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
    const colour = (i) => `var(--lab-series-${axis ? 1 : (i % 6) + 1})`;
    psnr.forEach((values, i) => {
      if (i === run || !values) return;
      out.push({ key: axis ? "others" : runs[i], label: runs[i], values: floatsOf(values), colour: colour(i), faint: Boolean(axis) });
    });
    if (psnr[run]) {
      const values = floatsOf(psnr[run]);
      out.push({ key: "mean", label: "mean", values: values.map(() => mean(values)), colour: colour(run), dash: "2 3", flat: true });
      out.push({ key: runs[run], label: runs[run], values, colour: colour(run), main: true });
    }
    return out;
  }

  /** Fit panels and plot to the width, and draw what does not depend on the frame. */
  layout() {
    const { model, core } = this;
    this.width = this.root.clientWidth;
    const width = this.width - 2 * PADDING;
    if (width <= 0) return; // not on the page yet; the ResizeObserver calls again
    const { height: H, width: W, truth, count } = core.clip;

    // panels: as many in a row as are wide enough, each a whole number of device pixels for a pixel of the frame
    const shown = this.panels.filter((p) => truth || !["truth", "error"].includes(p.name));
    for (const p of this.panels) p.root.hidden = !shown.includes(p);
    const room = (columns) => Math.floor((width - GAP * (columns - 1)) / columns);
    let columns = shown.length;
    if (room(columns) < PANEL.row) columns = room(2) >= 130 ? 2 : 1;
    const widest = Math.min(room(columns), columns === shown.length ? PANEL.most : PANEL.pair);
    const density = devicePixelRatio || 1;
    const zoom = Math.max(1, Math.floor(Math.min(widest / W, PANEL.high / H) * density + 1e-6));
    const panelWidth = Math.min((zoom * W) / density, widest);
    for (const p of shown) {
      Object.assign(p.small, { width: W, height: H });
      p.pixels = new ImageData(W, H);
      if (p.canvas.width !== zoom * W || p.canvas.height !== zoom * H) {
        Object.assign(p.canvas, { width: zoom * W, height: zoom * H });
      }
      p.canvas.style.width = `${panelWidth}px`;
      p.canvas.style.height = `${(panelWidth * H) / W}px`;
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
    this.error.hidden = !truth;
    this.nowValue.hidden = !has;
    if (has) this.plot.show(all.filter((s) => !hidden.has(s.key)), count, bodyWidth);
    const inset = has ? MARGIN.left - 7 : 0; // the thumb's centre stands under the cursor
    this.time.style.marginLeft = `${inset}px`;
    this.time.style.width = `${bodyWidth - inset - (has ? MARGIN.right - 7 : 0)}px`;
    this.drawLegend(all, hidden);
    this.drawSpark();
    this.main = all.find((s) => s.main);
    this.best.disabled = this.worst.disabled = !this.main;
    if (this.main) {
      const { best, worst } = extremes(this.main.values);
      this.best.textContent = `best ${decibel(this.main.values[best])}`;
      this.worst.textContent = `worst ${decibel(this.main.values[worst])}`;
      const words = `PSNR per frame of ${this.main.label}: mean ${decibel(mean(this.main.values))} dB, best `
        + `${decibel(this.main.values[best])} at frame ${best + 2}, worst ${decibel(this.main.values[worst])} at frame ${worst + 2}`;
      put(this.plot.svg, { "aria-label": words });
    }
    this.step();
  }

  /** One button for each curve (one for all other checkpoints), with its value at this frame. */
  drawLegend(all, hidden) {
    const { model, core } = this;
    const entries = [];
    for (const s of [...all].reverse()) {
      if (!entries.some((e) => e.key === s.key)) entries.push(s);
    }
    const rank = (s) => (s.main ? 0 : s.flat ? 1 : s.colour === "var(--lab-quiet)" ? 3 : 2);
    entries.sort((a, b) => rank(a) - rank(b));
    const keys = entries.map((e) => `${e.key}/${e.main}/${e.colour}`).join("|");
    if (keys !== this.legendKeys) {
      const focus = [...this.legend.children].findIndex((c) => c === document.activeElement);
      this.legendKeys = keys;
      this.legend.replaceChildren(...entries.map((s) => {
        const line = draw("line", { x1: 0, x2: 20, y1: 5, y2: 5, "stroke-dasharray": s.dash ?? null,
          "stroke-width": s.main ? 2.5 : 1.75, opacity: s.faint ? 0.45 : 1 });
        line.style.stroke = s.colour;
        const label = s.faint ? `other ${model.get("_axis")}s` : s.label;
        const item = make("button", { type: "button", title: `Show or hide the curve: ${label}` },
          draw("svg", { class: "ls-key", viewBox: "0 0 20 10", "aria-hidden": "true" }, line),
          make("span", { text: label }), make("span", { class: "ls-value", hidden: s.faint || null }));
        item.addEventListener("click", () => {
          const now = model.get("hidden");
          core.set("hidden", now.includes(s.key) ? now.filter((k) => k !== s.key) : [...now, s.key]);
        });
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
    const means = this.core.clip.psnr.map((values) => (values ? mean(floatsOf(values)) : NaN));
    const seen = means.filter(Number.isFinite);
    this.spark.replaceChildren();
    if (!seen.length) return;
    const [low, high] = [Math.min(...seen), Math.max(...seen)];
    const place = (v, i) => [7 + (i / (means.length - 1)) * 166, 18 - ((v - low) / (high - low || 1)) * 14];
    const points = means.map(place).filter(([, y]) => Number.isFinite(y));
    this.spark.append(draw("polyline", { points: points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ") }));
    means.forEach((v, i) => {
      if (!Number.isFinite(v)) return;
      const [cx, cy] = place(v, i);
      const current = i === this.model.get("run");
      this.spark.append(draw("circle", { cx, cy, r: current ? 3.5 : 1.75, class: current ? "ls-here" : null }));
    });
  }

  /** Show the frame where the core is.  All of it takes about a millisecond. */
  step() {
    const { model, core } = this;
    const sequence = model.get("sequence");
    const { count, truth } = core.clip;
    const index = core.index;
    const frames = { pose: core.frames.peek(sequence, "pose"), truth: core.frames.peek(sequence, "truth"),
      prediction: core.frames.peek(sequence, model.get("run")) };
    for (const p of this.panels) {
      if (p.root.hidden || !p.pixels) continue;
      if (p.name === "error") {
        if (!frames.prediction || !frames.truth) continue;
        copyError(frames.prediction, frames.truth, index, model.get("scale"), model.get("signed"), model.get("_colours"), p.pixels.data);
      } else {
        if (!frames[p.name]) continue;
        copyFrame(frames[p.name], index, p.pixels.data);
      }
      p.small.getContext("2d").putImageData(p.pixels, 0, 0);
      p.pen.imageSmoothingEnabled = false;
      p.pen.drawImage(p.small, 0, 0, p.canvas.width, p.canvas.height);
      put(p.canvas, { "aria-label": `${p.name}, frame ${index + 1}` });
    }

    const value = this.main?.values[index - 1];
    const words = index === 0 ? "given" : this.main ? `${decibel(value)} dB` : "";
    this.time.value = index;
    this.time.style.setProperty("--lab-done", `${(100 * index) / (count - 1)}%`);
    put(this.time, { "aria-valuetext": `frame ${index + 1} of ${count}${words && `, ${words}`}` });
    this.now.textContent = `frame ${String(index + 1).padStart(String(count).length, "\u2007")} / ${count}`;
    this.nowValue.textContent = words;
    if (!this.plot.root.hidden && this.width) this.plot.step(index);
    this.entries?.forEach((s, i) => {
      this.legend.children[i].querySelector(".ls-value").textContent = decibel(s.values[s.flat ? 0 : index - 1]);
    });
    this.root.dataset.index = index; // for style sheets and tests
    this.root.dataset.ready = Boolean(frames.prediction && frames.pose && (frames.truth || !truth));
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
function extremes(values) {
  let [best, worst] = [0, 0];
  values.forEach((v, i) => {
    if (v > values[best]) best = i;
    if (v < values[worst]) worst = i;
  });
  return { best, worst };
}

// ── 6 Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function onKey(event, view) {
  const { core, model } = view;
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return; // the notebook's: save, run ...
  event.stopPropagation(); // from JupyterLab 4.1 on, this keeps its commands on arrows, Space and letters away
  if (target.tagName === "SELECT") return;
  const several = model.get("runs").length > 1;
  const actions = {
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

const cores = new WeakMap(); // by the model's clips: each call may get another face of one and the same model

function initialize({ model }) {
  cores.set(model.get("_clips"), new Core(model));
  // A page or a notebook that opens must not start moving where people asked for less motion.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) model.set("playing", false);
}

function render({ model, el }) {
  const view = new View(model, el, cores.get(model.get("_clips")));
  return () => view.remove();
}

const widget = { initialize, render };
export default widget;
