/* PoseStudio in the browser (studio.py tells what it shows; page.py what a module must keep to).

   1 Elements and numbers   2 Line to Python   3 Figure   4 Core   5 View   6 Keys   7 Start

   The figure lives here and follows the hand at once.  Python is asked for one prediction at a time, always for the
   latest pose.  The traits hear of a pose ten times a second, and always of the last one. */

// ── 1 Elements and numbers ───────────────────────────────────────────────────────────────────────────────────────────

// ── 2 Line to Python ─────────────────────────────────────────────────────────────────────────────────────────────────

// ── 3 Figure ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const NECK = 1;
const FACE = new Set([0, 14, 15, 16, 17]);
const REACHING = new Set([4, 7, 10, 13]); // wrists and ankles: ends of two bones
const MIRROR = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16];

const minus = ([a, b], [c, d]) => [a - c, b - d];
const plus = ([a, b], [c, d]) => [a + c, b + d];
const length = ([a, b]) => Math.hypot(a, b);

/** The tree of joints: parents and descendants, from the list of limbs (parent, child). */
class Skeleton {
  constructor(limbs) {
    this.limbs = limbs;
    this.parent = new Map(limbs.map(([p, c]) => [c, p]));
  }

  /** `joint` and all that hangs on it. */
  below(joint) {
    const out = [joint];
    for (const j of out) out.push(...this.limbs.filter(([p]) => p === j).map(([, c]) => c));
    return out;
  }

  /** Drag `joint` of `places` (18 pairs) to `target`.  Free: it alone moves.  With lengths kept: the neck takes all
   *  along, wrists and ankles bend elbow and knee, any other joint turns about its parent with all that hangs on it. */
  drag(places, joint, target, keep) {
    const out = places.map((p) => [...p]);
    if (!keep) {
      out[joint] = [...target];
      return out;
    }
    if (joint === NECK) return places.map((p) => plus(p, minus(target, places[NECK])));
    const middle = this.parent.get(joint);
    const root = this.parent.get(middle);
    if (REACHING.has(joint)) {
      const upper = length(minus(places[middle], places[root]));
      const lower = length(minus(places[joint], places[middle]));
      const wish = minus(target, places[root]);
      const far = clip(length(wish), Math.abs(upper - lower), upper + lower) || 1e-6;
      const heading = length(wish) > 1e-9 ? Math.atan2(wish[1], wish[0]) : 0;
      // The law of cosines; the elbow stays on the side where it is.
      const [a, b] = [minus(places[middle], places[root]), minus(places[joint], places[root])];
      const side = a[0] * b[1] - a[1] * b[0] > 0 ? -1 : 1;
      const bend = upper ? Math.acos(clip((upper * upper + far * far - lower * lower) / (2 * upper * far), -1, 1)) : 0;
      out[middle] = plus(places[root], [upper * Math.cos(heading + side * bend), upper * Math.sin(heading + side * bend)]);
      out[joint] = plus(places[root], [far * Math.cos(heading), far * Math.sin(heading)]);
      return out;
    }
    const [before, wish] = [minus(places[joint], places[middle]), minus(target, places[middle])];
    const turn = Math.atan2(wish[1], wish[0]) - Math.atan2(before[1], before[0]);
    const [c, s] = [Math.cos(turn), Math.sin(turn)];
    for (const j of this.below(joint)) {
      const [x, y] = minus(places[j], places[middle]);
      out[j] = plus(places[middle], [c * x - s * y, s * x + c * y]);
    }
    return out;
  }
}

// ── 4 Core ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const SETTLE = 3; // steps that the model takes on when the hand rests: old limbs fade from the last frame

/** What all views of one studio share: the figure, the dance, the picture. */
class Core {
  constructor(model) {
    this.model = model;
    this.about = model.get("_about");
    this.skeleton = new Skeleton(this.about.limbs);
    this.views = new Set();
    this.past = [];
    this.steps = 0;
    this.settled = 0;
    this.recording = null; // poses so far, Float32Array(36) each
    this.dance = null; // {frames: Uint8Array, poses: Float32Array, count}
    this.playing = false;
    this.place = null; // frame of the dance that is shown; null: the figure
    const names = ["joints", "hidden", "feed", "latent", "keep_lengths", "keyframes", "between", "source", "fps"];
    this.traits = new Traits(model, names, (name) => {
      if (["joints", "hidden"].includes(name)) this.stop();
      if (["joints", "hidden", "feed", "latent"].includes(name)) this.request();
      if (["keyframes", "between", "source"].includes(name)) this.stale = true;
      this.refresh();
    });
    this.line = new Line(model, this.about.patience ?? 1000, (...answer) => this.receive(...answer), (question) => {
      if (question.what !== "step") this.say("Python does not answer; the figure moves, but nobody paints it.");
      this.refresh();
    });
    model.on("change:_take", () => { if (!this.takes) this.fetch(); });
    const shown = model.get("_shown");
    this.picture = { prediction: bytesOf(shown.prediction), label: bytesOf(shown.label) };
    if (shown.frames) {
      inflate(shown.frames).then((frames) => this.load(frames, floatsOf(shown.poses))).catch((error) => this.say(error.message));
    }
    this.tick = this.tick.bind(this);
  }

  get at() { return this.traits.values; }

  say(text, gif = null) {
    this.message = text;
    this.gif = gif;
    this.refresh();
  }

  refresh() { for (const view of this.views) view.show(); }

  // -- the figure

  bounded(places) {
    const { width, height, outside } = this.about;
    return places.map(([x, y]) => [clip(x, -outside * width, (1 + outside) * width), clip(y, -outside * height, (1 + outside) * height)]);
  }

  /** Remember the figure as it is, for undo. */
  mark() {
    const state = JSON.stringify([this.at.joints, this.at.hidden]);
    if (this.past.at(-1) !== state) this.past.push(state);
    if (this.past.length > 200) this.past.shift();
  }

  undo() {
    const now = JSON.stringify([this.at.joints, this.at.hidden]);
    let state = this.past.pop();
    if (state === now) state = this.past.pop();
    if (!state) return;
    const [joints, hidden] = JSON.parse(state);
    this.change({ joints, hidden });
  }

  /** New places or hidden joints; the model is asked for a picture of them. */
  change(values) {
    if (values.joints) values.joints = this.bounded(values.joints);
    this.stop();
    this.traits.take(values);
    this.request();
    this.refresh();
  }

  drag(joint, target, places = this.at.joints) {
    this.change({ joints: this.skeleton.drag(places, joint, target, this.at.keep_lengths) });
  }

  move(dx, dy, places = this.at.joints) {
    const { width, height } = this.about;
    const [x, y] = places[NECK]; // stays in the picture
    dx = clip(dx, -x, width - x);
    dy = clip(dy, -y, height - y);
    this.change({ joints: places.map((p) => plus(p, [dx, dy])) });
  }

  centre(places) {
    const [xs, ys] = [places.map((p) => p[0]), places.map((p) => p[1])];
    return [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2, Math.max(...ys) - Math.min(...ys)];
  }

  scale(factor) {
    const places = this.at.joints;
    const [cx, cy, size] = this.centre(places);
    if (size * factor < 4 || size * factor > 2 * this.about.height) return;
    this.mark();
    this.change({ joints: places.map(([x, y]) => [cx + factor * (x - cx), cy + factor * (y - cy)]) });
  }

  /** Mirrored, left and right exchanged: who faced the camera still does. */
  flip() {
    const places = this.at.joints;
    const [cx] = this.centre(places);
    this.mark();
    this.change({ joints: MIRROR.map((j) => [2 * cx - places[j][0], places[j][1]]), hidden: this.at.hidden.map((j) => MIRROR[j]).sort((a, b) => a - b) });
  }

  /** A pose of the dance, standing where the figure stands. */
  preset(index) {
    this.mark();
    this.change({ joints: this.about.presets[index].joints, hidden: [] });
  }

  toggle(joint) {
    const { hidden } = this.at;
    this.mark();
    this.change({ hidden: hidden.includes(joint) ? hidden.filter((j) => j !== joint) : [...hidden, joint].sort((a, b) => a - b) });
  }

  reset() {
    this.mark();
    this.restart = true;
    this.change({ joints: this.about.presets[0].joints, hidden: [] });
  }

  // -- the model

  request() {
    this.settled = 0;
    this.ask();
  }

  ask() {
    clearTimeout(this.resting);
    const { joints, hidden, feed, latent } = this.at;
    this.line.ask({ what: "step", joints, hidden, feed, latent, restart: Boolean(this.restart) });
  }

  receive(answer, buffers) {
    if (answer.error) {
      this.say(answer.error);
      return;
    }
    if (answer.what === "step") {
      this.restart = this.line.wanted?.restart ?? false;
      this.picture = { prediction: bytesOf(buffers[0]).slice(), label: bytesOf(buffers[1]).slice() };
      this.ms = answer.ms;
      this.steps++;
      if (!this.line.wanted && !this.recording && this.settled < SETTLE && this.at.feed === "previous") {
        this.resting = setTimeout(() => {
          this.settled++;
          if (!this.line.flying) this.ask();
        }, 60);
      }
    } else if (answer.what === "dance") {
      this.load(bytesOf(buffers[0]).slice(), floatsOf(buffers[1]));
      if (this.playNext) this.play(true);
    } else if (answer.what === "gif") {
      const data = bytesOf(buffers[0]).slice();
      this.say(`${answer.frames} frames, ${Math.round(data.length / 1000)} kB, written to ${answer.path}`, { data, name: answer.name });
    }
    this.refresh();
  }

  // -- the dance

  toggleRecording() {
    if (this.recording) {
      clearInterval(this.clock);
      const take = new Float32Array(this.recording.length * 36);
      this.recording.forEach((pose, i) => take.set(pose, 36 * i));
      this.recording = null;
      this.traits.take({ source: "recording" });
      this.playNext = false;
      this.fetch(take);
    } else {
      this.stop();
      this.message = "";
      this.recording = [];
      this.traits.take({ source: "recording" });
      const shoot = () => {
        this.recording.push(Float32Array.from(this.at.joints.flatMap((p, j) => (this.at.hidden.includes(j) ? [NaN, NaN] : p))));
        if (this.recording.length >= this.about.longest) return this.toggleRecording();
        this.request(); // time passes for the model too
        this.refresh();
      };
      shoot();
      this.clock = setInterval(shoot, 1000 / this.at.fps);
    }
    this.refresh();
  }

  command(what, take) {
    const { feed, latent, source, fps, between, keyframes } = this.at;
    this.line.command({ what, feed, latent, source, fps, between, keyframes }, take ? [take.buffer] : undefined);
  }

  /** Have the model paint the dance; `take` is a new recording. */
  fetch(take) {
    this.takes = Boolean(take); // the trait comes back with what was sent
    this.stale = false;
    this.command("dance", take);
    setTimeout(() => { this.takes = false; }, 2000);
  }

  load(frames, poses) {
    this.dance = { frames, poses, count: poses.length / 36 };
    this.stale = false;
    this.takes = false;
    this.refresh();
  }

  export() {
    this.say("painting …");
    this.command("gif");
  }

  addKey() {
    const key = { joints: this.at.joints.map((p) => [...p]), hidden: [...this.at.hidden] };
    this.setKeys([...this.at.keyframes, key]);
  }

  setKeys(keyframes) {
    this.traits.take({ keyframes, source: "keyframes" });
    this.stale = true;
    this.stop();
    this.refresh();
  }

  play(on) {
    if (on && (this.stale || !this.dance) && this.line.alive !== false) {
      this.playNext = true;
      this.fetch();
      return;
    }
    this.playNext = false;
    this.playing = on && Boolean(this.dance);
    if (this.playing) {
      if (this.place === null || this.place >= this.dance.count - 1) this.place = 0;
      this.before = null;
      this.due = 0;
      requestAnimationFrame(this.tick);
    }
    this.refresh();
  }

  tick(now) {
    if (!this.playing) return;
    this.due += this.before === null ? 0 : (Math.min(now - this.before, 250) / 1000) * this.at.fps;
    this.before = now;
    const steps = Math.floor(this.due);
    if (steps) {
      this.due -= steps;
      this.place = (this.place + steps) % this.dance.count;
      this.refresh();
    }
    requestAnimationFrame(this.tick);
  }

  seek(place) {
    this.playing = false;
    this.place = clip(place, 0, this.dance.count - 1);
    this.refresh();
  }

  /** Back from the dance to the figure. */
  stop() {
    this.playing = false;
    this.playNext = false;
    this.place = null;
  }
}

// ── 5 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

class View {
  constructor(model, el, core) {
    Object.assign(this, { model, core, about: core.about });
    this.id = `lp-${Math.random().toString(36).slice(2, 8)}`;
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    core.views.add(this);
    this.root.addEventListener("keydown", (event) => onKey(event, this));
    this.sizes = new ResizeObserver(() => { if (this.root.clientWidth !== this.seen) this.layout(); });
    this.sizes.observe(this.root);
    this.layout();
    if (core.line.alive === null) core.request();
  }

  remove() {
    this.sizes.disconnect();
    this.core.views.delete(this);
    if (!this.core.views.size) {
      this.core.stop();
      if (this.core.recording) this.core.toggleRecording();
    }
    if (this.url) URL.revokeObjectURL(this.url);
  }

  build() {
    const { about, core } = this;
    const { width: W, height: H } = about;

    // the stage: paper or the prediction below, the figure above
    this.limbs = about.limbs.map((_, i) => draw("line", { stroke: about.colors[i] }));
    const order = [...about.names.keys()].sort((a, b) => (FACE.has(a) ? 0 : 1) - (FACE.has(b) ? 0 : 1));
    this.joints = [];
    this.tree = draw("g", { class: "lp-limbs" }, ...this.limbs);
    this.dots = draw("g", { class: "lp-joints" });
    for (const j of order) {
      const limb = about.limbs.findIndex(([, c]) => c === j);
      const joint = draw("g", { class: `lp-joint${FACE.has(j) ? " lp-face" : ""}`, tabindex: 0, role: "button", "aria-roledescription": "joint", "data-joint": j },
        draw("circle", { class: "lp-ring", r: 1.15 }), draw("circle", { class: "lp-dot", r: FACE.has(j) ? 0.26 : 0.52, fill: limb < 0 ? "#444444" : about.colors[limb] }));
      joint.addEventListener("focus", () => { this.chosen = j; this.say(); });
      joint.addEventListener("blur", () => { this.chosen = null; this.say(); });
      this.joints[j] = joint;
      this.dots.append(joint);
    }
    this.svg = draw("svg", { class: "lp-figure", viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: "group", "aria-label": "the whole figure; arrows move it, plus and minus scale it, Tab goes to its joints" }, this.tree, this.dots);
    this.svg.addEventListener("pointerdown", (event) => this.grab(event));
    this.svg.addEventListener("pointermove", (event) => this.pull(event));
    for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => { this.held = null; this.svg.classList.remove("lp-held"); });
    const panel = (name, text, ...content) => {
      const note = make("span", { class: "lp-note" });
      return { note, root: make("figure", { class: `lp-panel lp-panel-${name}` }, make("figcaption", {}, make("span", { text }), note), ...content) };
    };
    const screen = (label) => {
      const canvas = make("canvas", { role: "img", "aria-label": label });
      return canvas;
    };
    this.under = make("canvas", { "aria-hidden": "true" });
    this.paper = make("div", { class: "lp-paper" }, this.under, this.svg);
    this.prediction = screen("prediction");
    this.label = screen("label as the model sees it");
    this.stage = panel("stage", "pose: drag a joint, or the figure", this.paper);
    this.painted = panel("prediction", "prediction", this.prediction);
    this.small = panel("label", "label", this.label);
    this.panels = make("div", { class: "lp-panels" }, this.stage.root, this.painted.root);

    const group = (name, ...content) => make("div", { class: "lp-group", role: "group", "aria-label": name }, make("span", { class: "lp-word", text: name }), ...content);
    const check = (text, title, action) => {
      const input = make("input", { type: "checkbox" });
      input.addEventListener("change", () => action(input.checked));
      return [input, make("label", { class: "lp-check", title }, input, make("span", { text }))];
    };
    const choice = (name, options, trait, read = String) => {
      const element = make("select", { "aria-label": name, title: name }, ...options.map(([value, text]) => make("option", { value, text })));
      element.addEventListener("change", () => {
        core.traits.take({ [trait]: read(element.value) });
        if (["feed", "latent"].includes(trait)) core.request();
        if (["between", "feed", "latent"].includes(trait)) core.stale = true;
        core.refresh();
      });
      return element;
    };

    this.presets = make("select", { "aria-label": "pose of the dance" }, make("option", { value: "", text: "pose …" }), ...about.presets.map((p, i) => make("option", { value: i, text: p.name })));
    this.presets.addEventListener("change", () => {
      if (this.presets.value !== "") core.preset(Number(this.presets.value));
      this.presets.value = "";
    });
    const [keep, keepLabel] = check("keep limb lengths", "Dragging turns limbs and bends elbows and knees, instead of stretching them", (on) => {
      core.traits.take({ keep_lengths: on });
      core.refresh();
    });
    const [overlay, overlayLabel] = check("prediction below", "Show the prediction below the figure", () => core.refresh());
    Object.assign(this, { keep, overlay });
    this.undo = button("lp-undo", "Undo (Ctrl+Z)", "undo", () => core.undo());
    const figure = group("figure", this.presets,
      button("lp-smaller", "Smaller (−)", "−", () => core.scale(1 / 1.1)), button("lp-bigger", "Bigger (+)", "+", () => core.scale(1.1)),
      button("lp-flip", "Mirror the figure", "flip", () => core.flip()), this.undo,
      button("lp-reset", "The figure at rest, and the given first frame as the last one", "reset", () => core.reset()), keepLabel, overlayLabel);

    this.feed = choice("last frame", [["previous", "its own prediction"], ["first", "the given first frame"]], "feed");
    this.latent = choice("z", [["zero", "0"], ["prior", "from the prior"]], "latent");
    const settings = group("model", make("label", { class: "lp-check" }, make("span", { text: "last frame" }), this.feed), make("label", { class: "lp-check" }, make("span", { text: "z" }), this.latent));

    this.record = button("lp-record", "Record what you do", "", () => core.toggleRecording());
    this.record.append(make("i", { "aria-hidden": "true" }), this.recordText = make("span"));
    this.playButton = button("lp-play", "Play the dance", "play", () => core.play(!core.playing));
    this.time = make("input", { type: "range", min: 0, step: 1, "aria-label": "frame of the dance", class: "lp-time" });
    this.time.addEventListener("input", () => core.seek(Number(this.time.value)));
    this.count = make("span", { class: "lp-count" });
    this.gifButton = button("lp-gif", "Write the dance as a GIF, prediction beside pose", "export GIF", () => core.export());
    const dance = group("dance", this.record, this.playButton, make("span", { class: "lp-timebox" }, this.time), this.count, this.gifButton);

    this.add = button("lp-add", "Add the figure as a key pose (K)", "add key pose", () => core.addKey());
    this.between = choice("frames between key poses", [6, 12, 18, 24].map((n) => [n, `${n} frames apart`]), "between", Number);
    this.keys = make("div", { class: "lp-keys" });
    const keys = group("key poses", this.add, this.between, this.keys);

    this.message = make("div", { class: "lp-message", role: "status", hidden: true });
    this.readout = make("span", { class: "lp-readout", role: "status" });
    this.state = make("span", { class: "lp-state" });
    this.hint = make("div", { class: "lp-hint" }, ...[["Tab"], "next joint", ["←", "→", "↑", "↓"], "move", ["Shift"], "further", ["H"], "hide joint", ["K"], "key pose", ["Ctrl+Z"], "undo"]
      .map((k) => (Array.isArray(k) ? make("span", {}, ...k.map((text) => make("kbd", { text }))) : make("span", { text: k }))));
    this.body = make("div", { class: "lp-body" },
      make("div", { class: "lp-head" }, this.readout, this.state), this.panels,
      make("div", { class: "lp-tools" }, make("div", { class: "lp-groups" }, figure, settings, dance, keys), this.small.root), this.message, this.hint);
    this.root = make("div", { class: "lab-widget lab-studio", role: "group", "aria-label": "pose studio" }, this.body);
  }

  layout() {
    this.seen = this.root.clientWidth;
    const width = this.seen - 8;
    if (width <= 0) return;
    const { width: W, height: H } = this.about;
    const density = devicePixelRatio || 1;
    const columns = width >= 600 ? 2 : 1;
    const zoom = Math.max(1, Math.floor((Math.min((width - 12 * (columns - 1)) / columns, 560) / W) * density + 1e-6));
    const size = (element, z) => {
      if (element.tagName === "CANVAS") Object.assign(element, { width: z * W, height: z * H });
      element.style.width = `${(z * W) / density}px`;
      element.style.height = `${(z * H) / density}px`;
    };
    for (const element of [this.under, this.prediction, this.paper]) size(element, zoom);
    this.svg.style.width = this.paper.style.width;
    this.svg.style.height = this.paper.style.height;
    this.zoom = zoom / density; // CSS pixels in a pixel of the label
    size(this.label, Math.max(1, Math.round(2 * density)));
    this.pixels = new ImageData(W, H);
    this.scratch = Object.assign(document.createElement("canvas"), { width: W, height: H });
    this.panels.style.gridTemplateColumns = `repeat(${columns}, ${(zoom * W) / density}px)`;
    this.body.style.width = `${Math.min(width, Math.max((columns * zoom * W) / density + 12 * (columns - 1), 320))}px`;
    this.root.classList.toggle("lp-narrow", columns === 1);
    this.show();
  }

  paint(canvas, frames, index = 0) {
    const rgba = this.pixels.data;
    for (let i = (index * rgba.length * 3) / 4, o = 0; o < rgba.length; o += 4) {
      rgba[o] = frames[i++];
      rgba[o + 1] = frames[i++];
      rgba[o + 2] = frames[i++];
      rgba[o + 3] = 255;
    }
    this.scratch.getContext("2d").putImageData(this.pixels, 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.scratch, 0, 0, canvas.width, canvas.height);
  }

  // -- the hand

  point(event) {
    const box = this.svg.getBoundingClientRect();
    return [(event.clientX - box.left) / this.zoom, (event.clientY - box.top) / this.zoom];
  }

  grab(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const { core } = this;
    const at = this.point(event);
    let [best, gap] = [null, Infinity];
    core.at.joints.forEach((p, j) => {
      const d = length(minus(p, at)) * this.zoom;
      if (d < (FACE.has(j) ? 7 : 14) && d < gap) [best, gap] = [j, d];
    });
    this.svg.setPointerCapture(event.pointerId);
    this.svg.classList.add("lp-held");
    core.stop();
    core.mark();
    this.held = { joint: best, from: at, places: core.at.joints };
    (best === null ? this.svg : this.joints[best]).focus({ preventScroll: true });
  }

  pull(event) {
    if (!this.held) return;
    const { joint, from, places } = this.held;
    const by = minus(this.point(event), from);
    if (joint === null) this.core.move(...by, places);
    else this.core.drag(joint, plus(places[joint], by), places);
  }

  // -- what is shown

  say() {
    const { core, about } = this;
    const { joints, hidden } = core.at;
    if (core.place !== null) this.readout.textContent = `frame ${core.place + 1} of the dance`;
    else if (this.chosen === null || this.chosen === undefined) this.readout.textContent = "whole figure";
    else {
      const [x, y] = joints[this.chosen];
      this.readout.textContent = `${about.names[this.chosen]}: x ${x.toFixed(1)}, y ${y.toFixed(1)}${hidden.includes(this.chosen) ? ", hidden" : ""}`;
    }
  }

  /** Lines of a figure; joints that are NaN or hidden have none. */
  figure(lines, places, lost) {
    this.about.limbs.forEach(([p, c], i) => {
      const missing = lost(p) || lost(c);
      lines[i].style.display = missing ? "none" : "";
      if (!missing) put(lines[i], { x1: places[p][0], y1: places[p][1], x2: places[c][0], y2: places[c][1] });
    });
  }

  show() {
    const { core, about } = this;
    if (!this.pixels) return;
    const { joints, hidden, keyframes } = core.at;
    const dancing = core.place !== null && core.dance;
    const { width: W, height: H } = about;
    if (dancing) {
      const pose = core.dance.poses.subarray(36 * core.place, 36 * core.place + 36);
      this.figure(this.limbs, joints.map((_, j) => [pose[2 * j], pose[2 * j + 1]]), (j) => Number.isNaN(pose[2 * j]));
    } else {
      const out = (j) => joints[j][0] < 0 || joints[j][0] >= W || joints[j][1] < 0 || joints[j][1] >= H;
      this.figure(this.limbs, joints, (j) => hidden.includes(j) || out(j));
      joints.forEach(([x, y], j) => {
        put(this.joints[j], { transform: `translate(${x} ${y})`, "aria-label": `${about.names[j]}, x ${x.toFixed(1)}, y ${y.toFixed(1)}${hidden.includes(j) ? ", hidden" : ""}` });
        this.joints[j].classList.toggle("lp-lost", hidden.includes(j));
      });
    }
    this.dots.style.display = dancing ? "none" : "";
    this.say();

    if (dancing) this.paint(this.prediction, core.dance.frames, core.place);
    else this.paint(this.prediction, core.picture.prediction);
    this.under.hidden = !this.overlay.checked;
    if (this.overlay.checked) this.under.getContext("2d").drawImage(this.prediction, 0, 0);
    this.paint(this.label, core.picture.label);
    this.small.root.classList.toggle("lp-stale", Boolean(dancing));
    const gone = core.line.alive === false;
    this.painted.root.classList.toggle("lp-stale", gone && !dancing);
    this.painted.note.textContent = gone && !dancing ? "needs a kernel" : "";

    const latency = core.line.latency;
    this.state.textContent = gone ? "no kernel" : latency === undefined ? "" : `${latency.toFixed(0)} ms a step, model ${core.ms.toFixed(0)} ms`;
    this.keep.checked = core.at.keep_lengths;
    this.feed.value = core.at.feed;
    this.latent.value = core.at.latent;
    if (![...this.between.options].some((o) => Number(o.value) === core.at.between)) {
      this.between.append(make("option", { value: core.at.between, text: `${core.at.between} frames apart` }));
    }
    this.between.value = core.at.between;
    this.undo.disabled = !core.past.length;

    const recording = core.recording;
    this.recordText.textContent = recording ? `stop (${(recording.length / core.at.fps).toFixed(1)} s)` : "record";
    put(this.record, { "aria-pressed": String(Boolean(recording)), title: recording ? "End the recording" : `Record what you do, ${core.at.fps} poses a second` });
    const some = core.stale && !gone ? 0 : core.dance?.count ?? 0; // what was painted is another dance by now
    const possible = some || (core.at.source === "recording" && core.dance) || (core.at.source === "keyframes" && keyframes.length > 1);
    this.playButton.disabled = Boolean(recording) || !possible;
    this.playButton.textContent = core.playing ? "pause" : "play";
    this.gifButton.disabled = Boolean(recording) || !possible || gone;
    this.record.disabled = gone && !recording;
    this.time.disabled = !some;
    this.time.max = Math.max(some - 1, 1);
    this.time.value = core.place ?? 0;
    this.time.style.setProperty("--lab-done", `${some > 1 ? (100 * (core.place ?? 0)) / (some - 1) : 0}%`);
    put(this.time, { "aria-valuetext": some ? `frame ${(core.place ?? 0) + 1} of ${some}` : "no dance yet" });
    this.count.textContent = some ? `${some} frames` : possible ? "not painted yet" : "no dance yet";
    this.showKeys(keyframes);
    this.showMessage();
    Object.assign(this.root.dataset, { steps: core.steps, alive: String(core.line.alive), frames: some, place: core.place ?? "", recording: recording ? recording.length : "", latency: latency ?? "", ms: core.ms ?? "" });
  }

  showKeys(keyframes) {
    const now = JSON.stringify(keyframes);
    if (now === this.keysShown) return;
    this.keysShown = now;
    const { about, core } = this;
    this.keys.replaceChildren(...keyframes.map((key, i) => {
      const lines = about.colors.map((stroke) => draw("line", { stroke }));
      this.figure(lines, key.joints, (j) => (key.hidden ?? []).includes(j));
      const load = make("button", { type: "button", class: "lp-key", title: `Take key pose ${i + 1}`, "aria-label": `take key pose ${i + 1}` },
        draw("svg", { viewBox: `0 0 ${about.width} ${about.height}`, "aria-hidden": "true" }, draw("g", { class: "lp-limbs" }, ...lines)));
      load.addEventListener("click", () => {
        core.mark();
        core.change({ joints: key.joints, hidden: key.hidden ?? [] });
      });
      const remove = button("lp-remove", `Remove key pose ${i + 1}`, "×", () => core.setKeys(core.at.keyframes.filter((_, k) => k !== i)));
      put(remove, { "aria-label": `remove key pose ${i + 1}` });
      return make("span", { class: "lp-keybox" }, load, remove);
    }));
  }

  showMessage() {
    const { core } = this;
    const key = core.gif ?? core.message;
    if (key === this.messageShown) return;
    this.messageShown = key;
    this.message.hidden = !core.message;
    this.message.replaceChildren(make("span", { text: core.message ?? "" }));
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    if (core.gif) {
      this.url = URL.createObjectURL(new Blob([core.gif.data], { type: "image/gif" }));
      this.message.append(make("a", { href: this.url, download: core.gif.name, text: "save a copy" }), make("img", { src: this.url, alt: "the dance: prediction beside pose" }));
    }
  }
}

// ── 6 Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event, view) {
  const { core } = view;
  const joint = event.target.closest?.(".lp-joint");
  const onStage = joint || event.target === view.svg;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    event.stopPropagation();
    core.undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the notebook's: save, run ...
  if (event.key === "Tab" || event.key === "Escape" || (event.shiftKey && event.key === "Enter")) return;
  event.stopPropagation(); // keeps JupyterLab's commands on arrows and letters away
  if (!onStage) return;
  const chosen = joint ? Number(joint.dataset.joint) : null;
  const arrow = ARROWS[event.key];
  if (arrow) {
    const size = event.shiftKey ? 2 : 0.5; // pixels of the label
    const by = [arrow[0] * size, arrow[1] * size];
    if (!event.repeat) core.mark();
    if (chosen === null) core.move(...by);
    else core.drag(chosen, plus(core.at.joints[chosen], by));
  } else if (event.key === "+" || event.key === "=") core.scale(1.1);
  else if (event.key === "-") core.scale(1 / 1.1);
  else if ((event.key === "Delete" || event.key.toLowerCase() === "h") && chosen !== null) core.toggle(chosen);
  else if (event.key.toLowerCase() === "k") core.addKey();
  else return;
  event.preventDefault();
}

// ── 7 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const cores = new WeakMap(); // by a trait that never changes: each call may get another face of one and the same model

function initialize({ model }) {
  cores.set(model.get("_about"), new Core(model));
}

function render({ model, el }) {
  const view = new View(model, el, cores.get(model.get("_about")));
  return () => view.remove();
}

const widget = { initialize, render };
export default widget;
