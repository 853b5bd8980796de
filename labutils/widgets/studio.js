/* PoseStudio in the browser (studio.py tells what it shows; page.py what a module must keep to).

   1 Figure   2 Core   3 View   4 Keys   5 Start

   The figure lives here and follows the hand at once.  Python is asked for one prediction at a time, always for the
   latest pose.  The traits hear of a pose ten times a second, and always of the last one. */

// ── 1 Figure ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── 2 Core ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const SETTLE = 3; // steps that the model takes on when the hand rests: old limbs fade from the previous frame
const SHOWN = ["joints", "hidden", "feed", "latent"]; // what the picture depends on
const DANCED = ["keyframes", "between", "source", "feed", "latent"]; // and the dance

/** What all views of one studio share: the figure, the dance, the picture. */
class Core {
  constructor(model) {
    const about = model.get("_about");
    Object.assign(this, { model, about, skeleton: new Skeleton(about.limbs), views: new Set(), settled: 0 });
    this.recording = null; // poses so far, Float32Array(36) each
    this.dance = null; // {frames: Uint8Array, poses: Float32Array, count}
    this.place = null; // frame of the dance that is shown; null: the figure
    this.message = null; // {text, gif}
    this.player = new Clock(() => this.at.fps, (steps) => {
      this.place = (this.place + steps) % this.dance.count;
      this.refresh();
    });
    this.traits = new Traits(model, [...new Set([...SHOWN, ...DANCED, "keep_lengths", "fps"])], (name) => this.changed([name]));
    this.line = new Line(model, about.patience, (...answer) => this.receive(...answer), (question) => {
      if (question.what !== "step") this.say("Python does not answer; the figure moves, but nobody paints it.");
      this.refresh();
    });
    model.on("change:_take", () => { if (!this.sent) this.fetch(); });
    const { prediction, label, frames, poses } = model.get("_shown");
    this.picture = { prediction: bytesOf(prediction), label: bytesOf(label) };
    if (frames) inflate(frames).then((unpacked) => this.load(unpacked, floatsOf(poses))).catch((error) => this.say(error.message));
  }

  get at() { return this.traits.values; }

  say(text, gif = null) {
    this.message = { text, gif };
    this.refresh();
  }

  refresh() { for (const view of this.views) view.show(); }

  /** New values of traits. */
  set(values) {
    this.traits.take(values);
    this.changed(Object.keys(values));
  }

  /** What follows from new values, wherever they come from. */
  changed(names) {
    const among = (list) => names.some((name) => list.includes(name));
    if (among(["joints", "hidden", "keyframes"])) this.stop();
    if (among(DANCED)) this.stale = true; // what was painted is another dance by now
    if (among(SHOWN)) {
      this.settled = 0;
      this.ask();
    }
    this.refresh();
  }

  // -- the figure

  /** Where the joints are seen: null where one is hidden or out of the picture. */
  seen(joints, hidden) {
    const { width, height } = this.about;
    return joints.map(([x, y], j) => (hidden.includes(j) || x < 0 || x >= width || y < 0 || y >= height ? null : [x, y]));
  }

  change(joints, hidden = this.at.hidden) {
    const { width, height, outside } = this.about;
    this.set({ hidden, joints: joints.map(([x, y]) => [clip(x, -outside * width, (1 + outside) * width), clip(y, -outside * height, (1 + outside) * height)]) });
  }

  drag(joint, target, places = this.at.joints) {
    this.change(this.skeleton.drag(places, joint, target, this.at.keep_lengths));
  }

  move([dx, dy], places = this.at.joints) {
    const { width, height } = this.about;
    const [x, y] = places[NECK]; // stays in the picture
    const by = [clip(dx, -x, width - x), clip(dy, -y, height - y)];
    this.change(places.map((p) => plus(p, by)));
  }

  /** The middle of the figure and its height. */
  centre() {
    const [[left, right], [top, bottom]] = [0, 1].map((i) => range(this.at.joints.map((p) => p[i])));
    return [(left + right) / 2, (top + bottom) / 2, bottom - top];
  }

  scale(factor) {
    const [cx, cy, size] = this.centre();
    if (size * factor < 4 || size * factor > 2 * this.about.height) return;
    this.change(this.at.joints.map(([x, y]) => [cx + factor * (x - cx), cy + factor * (y - cy)]));
  }

  /** Mirrored, left and right exchanged: who faced the camera still does. */
  flip() {
    const { joints, hidden } = this.at;
    const [cx] = this.centre();
    this.change(MIRROR.map((j) => [2 * cx - joints[j][0], joints[j][1]]), hidden.map((j) => MIRROR[j]).sort((a, b) => a - b));
  }

  preset(index) { this.change(this.about.presets[index].joints, []); }

  toggle(joint) {
    const { joints, hidden } = this.at;
    this.change(joints, hidden.includes(joint) ? hidden.filter((j) => j !== joint) : [...hidden, joint].sort((a, b) => a - b));
  }

  reset() {
    this.restart = true;
    this.preset(0);
  }

  // -- the model

  ask() {
    clearTimeout(this.resting);
    const { joints, hidden, feed, latent } = this.at;
    this.line.ask({ what: "step", joints, hidden, feed, latent, restart: Boolean(this.restart) });
  }

  receive(answer, buffers) {
    if (answer.what !== "step") this.sent = false;
    if (answer.error) {
      this.say(answer.error);
      return;
    }
    const [first, second] = buffers.map((buffer) => bytesOf(buffer).slice());
    if (answer.what === "step") {
      this.restart = this.line.wanted?.restart ?? false;
      this.picture = { prediction: first, label: second };
      this.ms = answer.ms;
      if (!this.line.wanted && !this.recording && this.settled < SETTLE && this.at.feed === "previous") {
        this.resting = setTimeout(() => {
          this.settled++;
          if (!this.line.flying) this.ask();
        }, 60);
      }
    } else if (answer.what === "dance") {
      this.load(first, floatsOf(second));
      if (this.playNext) this.play(true);
    } else this.say(`${answer.frames} frames, ${Math.round(first.length / 1000)} kB, written to ${answer.path}`, { data: first, name: answer.name });
    this.refresh();
  }

  // -- the dance

  record() {
    this.stop();
    this.message = null;
    this.recording = [];
    this.set({ source: "recording" });
    const shoot = () => {
      const { joints, hidden, fps } = this.at;
      this.recording.push(Float32Array.from(this.seen(joints, hidden).flatMap((p) => p ?? [NaN, NaN])));
      if (this.recording.length < this.about.longest) this.changed(["joints"]); // time passes for the model too
      else this.endRecording();
    };
    shoot();
    this.shooting = setInterval(shoot, 1000 / this.at.fps);
  }

  endRecording() {
    clearInterval(this.shooting);
    const take = new Float32Array(this.recording.length * 36);
    this.recording.forEach((pose, i) => take.set(pose, 36 * i));
    this.recording = null;
    this.playNext = false;
    this.set({ source: "recording" });
    this.fetch(take);
  }

  command(what, take) {
    const { feed, latent, source, fps, between, keyframes } = this.at;
    this.line.command({ what, feed, latent, source, fps, between, keyframes }, take && [take.buffer]);
  }

  /** Have the model paint the dance; `take` is a new recording. */
  fetch(take) {
    this.sent = Boolean(take); // its trait comes back with what was sent
    this.stale = false;
    this.command("dance", take);
  }

  load(frames, poses) {
    this.dance = { frames, poses, count: poses.length / 36 };
    this.stale = false;
    this.refresh();
  }

  /** The joints in frame `place` of the dance, null where one is missing. */
  danced(place) {
    const pose = this.dance.poses.subarray(36 * place, 36 * place + 36);
    return this.at.joints.map((_, j) => (Number.isNaN(pose[2 * j]) ? null : [pose[2 * j], pose[2 * j + 1]]));
  }

  export() {
    this.say("painting …");
    this.command("gif");
  }

  addKey() {
    const { joints, hidden, keyframes } = this.at;
    this.setKeys([...keyframes, { joints, hidden }]);
  }

  setKeys(keyframes) { this.set({ keyframes, source: "keyframes" }); }

  play(on) {
    this.playNext = on && (this.stale || !this.dance) && this.line.alive !== false;
    if (this.playNext) this.fetch();
    if (this.playNext || !this.dance) return;
    if (on && (this.place === null || this.place >= this.dance.count - 1)) this.place = 0;
    this.player.run(on);
    this.refresh();
  }

  seek(place) {
    this.player.run(false);
    this.place = clip(place, 0, this.dance.count - 1);
    this.refresh();
  }

  /** Back from the dance to the figure. */
  stop() {
    this.player.run(false);
    this.playNext = false;
    this.place = null;
  }
}

// ── 3 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

class View extends LabView {
  build() {
    const { core } = this;
    const about = (this.about = core.about);
    const { width: W, height: H } = about;

    // the stage: paper or the prediction below, the figure above
    this.limbs = about.colors.map((stroke) => draw("line", { stroke }));
    this.dots = draw("g", { class: "lp-joints" });
    this.joints = about.names.map((_, j) => {
      const limb = about.limbs.findIndex(([, child]) => child === j);
      const joint = draw("g", { class: `lp-joint${FACE.has(j) ? " lp-face" : ""}`, tabindex: 0, role: "button", "aria-roledescription": "joint", "data-joint": j },
        draw("circle", { class: "lp-ring", r: 1.15 }), draw("circle", { class: "lp-dot", r: FACE.has(j) ? 0.26 : 0.52, fill: about.colors[limb] ?? "#444444" }));
      joint.addEventListener("focus", () => { this.chosen = j; this.say(); });
      joint.addEventListener("blur", () => { this.chosen = null; this.say(); });
      return joint;
    });
    this.chosen = null;
    const order = [...this.joints.keys()].sort((a, b) => FACE.has(b) - FACE.has(a)); // the small ones of the face below
    this.dots.append(...order.map((j) => this.joints[j]));
    this.svg = draw("svg", { class: "lp-figure", viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: "group", "aria-label": "the whole figure; arrows move it, plus and minus scale it, Tab goes to its joints" },
      draw("g", { class: "lp-limbs" }, ...this.limbs), this.dots);
    onDrag(this.svg, (event) => this.pull(event), (event) => this.grab(event), () => this.svg.classList.remove("lp-held"));
    this.under = new Screen("the same under the figure");
    this.prediction = new Screen("prediction");
    this.label = new Screen("label as the model sees it");
    this.paper = make("div", { class: "lp-paper" }, this.under.canvas, this.svg);
    this.note = make("span", { class: "lp-note" });
    const panel = (name, content, ...caption) => make("figure", { class: `lp-panel lp-panel-${name}` }, make("figcaption", {}, ...caption.map((c) => make("span", {}, c))), content);
    this.painted = panel("prediction", this.prediction.canvas, "prediction", this.note);
    this.small = panel("label", this.label.canvas, "label");
    this.panels = make("div", { class: "lp-panels" }, panel("stage", this.paper, "pose: drag a joint, or the figure"), this.painted);

    const group = (name, ...content) => make("div", { class: "lp-group", role: "group", "aria-label": name }, make("span", { class: "lp-word", text: name }), ...content);
    const check = (text, title, action) => {
      const input = make("input", { type: "checkbox" });
      input.addEventListener("change", () => action(input.checked));
      return [input, make("label", { class: "lp-check", title }, input, make("span", { text }))];
    };
    const choice = (name, options, trait, read = String) => select({ "aria-label": name, title: name }, options, (value) => core.set({ [trait]: read(value) }));
    const labelled = (name, element) => make("label", { class: "lp-check" }, make("span", { text: name }), element);

    const presets = select({ "aria-label": "pose of the dance" }, [["", "pose …"], ...about.presets.map((p, i) => [i, p.name])], (i) => {
      core.preset(Number(i));
      presets.value = "";
    });
    const [keep, keepLabel] = check("keep limb lengths", "Dragging turns limbs and bends elbows and knees, instead of stretching them", (on) => core.set({ keep_lengths: on }));
    const [overlay, overlayLabel] = check("prediction below", "Show the prediction below the figure", () => this.show());
    Object.assign(this, { keep, overlay });
    const figure = group("figure", presets,
      button("lp-smaller", "Smaller (−)", "−", () => core.scale(1 / 1.1)), button("lp-bigger", "Bigger (+)", "+", () => core.scale(1.1)),
      button("lp-flip", "Mirror the figure", "flip", () => core.flip()),
      button("lp-reset", "The figure at rest, and the given first frame as the last one", "reset", () => core.reset()), keepLabel, overlayLabel);
    this.feed = choice("previous frame", [["previous", "its own prediction"], ["first", "the given first frame"]], "feed");
    this.latent = choice("z", [["zero", "0"], ["prior", "from the prior"]], "latent");

    this.recordText = make("span");
    this.record = button("lp-record", "", make("i", { "aria-hidden": "true" }), () => (core.recording ? core.endRecording() : core.record()));
    this.record.append(this.recordText);
    this.playButton = button("lp-play", "Play the dance", "play", () => core.play(core.player.running === null));
    this.time = slider({ min: 0, step: 1, "aria-label": "frame of the dance", class: "lp-time" }, (place) => core.seek(place));
    this.count = make("span", { class: "lp-count" });
    this.gifButton = button("lp-gif", "Write the dance as a GIF, prediction beside pose", "export GIF", () => core.export());
    this.between = choice("frames between key poses", [6, 12, 18, 24].map((n) => [n, `${n} frames apart`]), "between", Number);
    this.keys = make("div", { class: "lp-keys" });
    const groups = make("div", { class: "lp-groups" }, figure,
      group("model", labelled("previous frame", this.feed), labelled("z", this.latent)),
      group("dance", this.record, this.playButton, make("span", { class: "lp-timebox" }, this.time), this.count, this.gifButton),
      group("key poses", button("lp-add", "Add the figure as a key pose (K)", "add key pose", () => core.addKey()), this.between, this.keys));

    this.message = make("div", { class: "lp-message", role: "status", hidden: true });
    this.readout = make("span", { class: "lp-readout", role: "status" });
    this.state = make("span", { class: "lp-state" });
    this.body = make("div", { class: "lp-body" }, make("div", { class: "lp-head" }, this.readout, this.state), this.panels,
      make("div", { class: "lp-tools" }, groups, this.small), this.message,
      keyHints([["Tab"], "next joint", ["←", "→", "↑", "↓"], "move", ["Shift"], "further", ["H"], "hide joint", ["K"], "key pose"]));
    this.root = make("div", { class: "lab-widget lab-studio", role: "group", "aria-label": "pose studio" }, this.body);
    this.root.addEventListener("keydown", (event) => onKey(event, this));
    if (core.line.alive === null) core.ask();
  }

  remove() {
    super.remove();
    if (!this.core.views.size) {
      if (this.core.recording) this.core.endRecording();
      this.core.stop();
    }
    if (this.url) URL.revokeObjectURL(this.url);
  }

  layout() {
    const { width: W, height: H } = this.about;
    const room = this.width - 8;
    const density = devicePixelRatio || 1;
    const columns = room >= 600 ? 2 : 1;
    const zoom = wholeZoom(Math.min((room - 12 * (columns - 1)) / columns, 560) / W);
    for (const screen of [this.under, this.prediction]) screen.size(W, H, zoom);
    this.label.size(W, H, Math.round(2 * density));
    const { width, height } = this.prediction.canvas.style;
    for (const element of [this.paper, this.svg]) Object.assign(element.style, { width, height });
    this.zoom = zoom / density; // CSS pixels in a pixel of the label
    this.panels.style.gridTemplateColumns = `repeat(${columns}, ${width})`;
    this.body.style.width = `${Math.min(room, Math.max(columns * this.zoom * W + 12 * (columns - 1), 320))}px`;
    this.root.classList.toggle("lp-narrow", columns === 1);
    this.show();
  }

  // -- the hand

  point(event) {
    const box = this.svg.getBoundingClientRect();
    return [(event.clientX - box.left) / this.zoom, (event.clientY - box.top) / this.zoom];
  }

  grab(event) {
    const { core } = this;
    const { joints } = core.at;
    const from = this.point(event);
    const gaps = joints.map((p, j) => {
      const gap = length(minus(p, from)) * this.zoom;
      return gap < (FACE.has(j) ? 7 : 14) ? gap : Infinity;
    });
    const least = Math.min(...gaps);
    const joint = least < Infinity ? gaps.indexOf(least) : null;
    this.svg.classList.add("lp-held");
    core.stop();
    this.held = { joint, from, places: joints };
    (joint === null ? this.svg : this.joints[joint]).focus({ preventScroll: true });
    core.refresh();
  }

  pull(event) {
    const { joint, from, places } = this.held;
    const by = minus(this.point(event), from);
    if (joint === null) this.core.move(by, places);
    else this.core.drag(joint, plus(places[joint], by), places);
  }

  // -- what is shown

  /** A joint in words. */
  words(j) {
    const { joints, hidden } = this.core.at;
    const [x, y] = joints[j];
    return `x ${x.toFixed(1)}, y ${y.toFixed(1)}${hidden.includes(j) ? ", hidden" : ""}`;
  }

  say() {
    const { core, chosen } = this;
    if (core.place !== null) this.readout.textContent = `frame ${core.place + 1} of the dance`;
    else this.readout.textContent = chosen === null ? "whole figure" : `${this.about.names[chosen]}: ${this.words(chosen)}`;
  }

  /** Lines of a figure; where a joint is null there is none. */
  figure(lines, places) {
    this.about.limbs.forEach(([p, c], i) => {
      const missing = !places[p] || !places[c];
      lines[i].style.display = missing ? "none" : "";
      if (!missing) put(lines[i], { x1: places[p][0], y1: places[p][1], x2: places[c][0], y2: places[c][1] });
    });
  }

  show() {
    if (!this.width) return;
    const { core, about } = this;
    const { joints, hidden } = core.at;
    const dancing = core.place !== null;
    const gone = core.line.alive === false;
    this.figure(this.limbs, dancing ? core.danced(core.place) : core.seen(joints, hidden));
    this.dots.style.display = dancing ? "none" : "";
    joints.forEach(([x, y], j) => {
      put(this.joints[j], { transform: `translate(${x} ${y})`, "aria-label": `${about.names[j]}, ${this.words(j)}` });
      this.joints[j].classList.toggle("lp-lost", hidden.includes(j));
    });
    this.say();
    const frames = dancing ? core.dance.frames : core.picture.prediction;
    for (const screen of [this.prediction, this.under]) screen.show(frames, core.place ?? 0);
    this.under.canvas.hidden = !this.overlay.checked;
    this.label.show(core.picture.label);
    this.small.classList.toggle("lp-stale", dancing);
    this.painted.classList.toggle("lp-stale", gone && !dancing);
    this.note.textContent = gone && !dancing ? "needs a kernel" : "";
    const { latency } = core.line;
    this.state.textContent = gone ? "no kernel" : latency === undefined ? "" : `${latency.toFixed(0)} ms a step, model ${core.ms.toFixed(0)} ms`;
    this.showControls(gone);
    this.showKeys();
    this.showMessage();
  }

  showControls(gone) {
    const { core } = this;
    const { between, keyframes, source, fps } = core.at;
    this.keep.checked = core.at.keep_lengths;
    this.feed.value = core.at.feed;
    this.latent.value = core.at.latent;
    setSelect(this.between, between, `${between} frames apart`);
    const recording = core.recording !== null;
    this.recordText.textContent = recording ? `stop (${(core.recording.length / fps).toFixed(1)} s)` : "record";
    put(this.record, { "aria-pressed": String(recording), title: recording ? "End the recording" : `Record what you do, ${fps} poses a second` });
    this.record.disabled = gone && !recording;
    const painted = core.stale && !gone ? 0 : core.dance?.count ?? 0;
    const possible = painted || (source === "recording" ? core.dance : keyframes.length > 1);
    this.playButton.disabled = recording || !possible;
    this.playButton.textContent = core.player.running === null ? "play" : "pause";
    this.gifButton.disabled = recording || !possible || gone;
    this.time.disabled = !painted;
    this.time.max = Math.max(painted - 1, 1);
    setSlider(this.time, core.place ?? 0, painted ? `frame ${(core.place ?? 0) + 1} of ${painted}` : "no dance yet");
    this.count.textContent = painted ? `${painted} frames` : possible ? "not painted yet" : "no dance yet";
    Object.assign(this.root.dataset, { alive: core.line.alive, frames: painted, place: core.place ?? "" }); // for tests
  }

  showKeys() {
    const { about, core } = this;
    const { keyframes } = core.at;
    if (keyframes === this.keysShown) return;
    this.keysShown = keyframes;
    this.keys.replaceChildren(...keyframes.map(({ joints, hidden }, i) => {
      const lines = about.colors.map((stroke) => draw("line", { stroke }));
      this.figure(lines, core.seen(joints, hidden));
      const picture = draw("svg", { viewBox: `0 0 ${about.width} ${about.height}`, "aria-hidden": "true" }, draw("g", { class: "lp-limbs" }, ...lines));
      return make("span", { class: "lp-keybox" },
        button("lp-key", `Take key pose ${i + 1}`, picture, () => core.change(joints, hidden), { "aria-label": `take key pose ${i + 1}` }),
        button("lp-remove", `Remove key pose ${i + 1}`, "×", () => core.setKeys(core.at.keyframes.toSpliced(i, 1)), { "aria-label": `remove key pose ${i + 1}` }));
    }));
  }

  showMessage() {
    const { message } = this.core;
    if (message === this.messageShown) return;
    this.messageShown = message;
    this.message.hidden = !message;
    this.message.replaceChildren(make("span", { text: message?.text ?? "" }));
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    if (!message?.gif) return;
    this.url = URL.createObjectURL(new Blob([message.gif.data], { type: "image/gif" }));
    this.message.append(make("a", { href: this.url, download: message.gif.name, text: "save a copy" }), make("img", { src: this.url, alt: "the dance: prediction beside pose" }));
  }
}

// ── 4 Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event, { core, svg }) {
  if (foreignKey(event, true)) return;
  if (event.key === "Tab" || event.key === "Escape" || (event.shiftKey && event.key === "Enter")) return;
  event.stopPropagation(); // keeps JupyterLab's commands on arrows and letters away
  const joint = event.target.closest?.(".lp-joint");
  if (!joint && event.target !== svg) return;
  const j = joint && Number(joint.dataset.joint);
  const by = ARROWS[event.key]?.map((step) => step * (event.shiftKey ? 2 : 0.5)); // pixels of the label
  const key = event.key.toLowerCase();
  if (by && joint) core.drag(j, plus(core.at.joints[j], by));
  else if (by) core.move(by);
  else if (key === "+" || key === "=") core.scale(1.1);
  else if (key === "-") core.scale(1 / 1.1);
  else if ((key === "delete" || key === "h") && joint) core.toggle(j);
  else if (key === "k") core.addKey();
  else return;
  event.preventDefault();
}

// ── 5 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el, core) => new View(model, el, core), (model) => new Core(model), "_about");
export default widget;
