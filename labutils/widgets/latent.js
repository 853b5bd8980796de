/* LatentExplorer in the browser (latent.py tells what it shows; page.py what a module must keep to).

   1 Core   2 Plots   3 View   4 Start

   State lives in the model's traits.  The views follow a hand at once; the traits, and so Python, ten times a second and
   always to the last value. */

// ── 1 Core ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const shortsOf = (view) => new Int16Array(bytesOf(view).slice().buffer);

/** What all views of one model share: where z is, and the frames that belong there. */
class Core {
  constructor(model) {
    Object.assign(this, { model, about: model.get("_about"), views: new Set(), grids: new Map(), error: null });
    this.picture = null; // {index, exact, prediction, zero: Int16Array, given: {pose, last, truth: Uint8Array, posterior}}
    this.traits = new Traits(model, ["index", "values", "draw"], () => this.request());
    this.line = new Line(model, this.about.patience, (...answer) => this.receive(...answer), () => this.approximate());
    this.ready = this.unpack();
    model.on("change:_grids", () => this.unpack());
    model.on("change:gain change:direction", () => this.refresh());
  }

  get here() { return this.traits.values; }

  refresh() { for (const view of this.views) view.show(); }

  async unpack() {
    const { height, width } = this.about;
    const image = height * width * 3;
    for (const { index, frames, context, draws, posterior } of this.model.get("_grids")) {
      if (this.grids.has(index)) continue;
      try {
        const [packed, three] = await Promise.all([inflate(frames), inflate(context)]);
        const [pose, last, truth] = [0, 1, 2].map((i) => three.subarray(i * image, (i + 1) * image));
        this.grids.set(index, { frames: new Int16Array(packed.buffer), draws, given: { pose, last, truth, posterior } });
      } catch (error) {
        this.error = `The frames cannot be unpacked in this browser: ${error.message}`;
      }
    }
    if (!this.picture) this.approximate();
  }

  /** Go somewhere: any of index, values, draw. */
  go(where) {
    if (where.index !== undefined) where.index = clip(Math.round(where.index), 1, this.about.count - 1);
    const moved = where.values?.findIndex((v, k) => v !== this.here.values[k]) ?? -1;
    if (moved >= 0) this.moved = moved;
    this.traits.take(where);
    this.request();
  }

  request(more = {}) {
    clearTimeout(this.idle);
    if (this.line.alive !== true) this.approximate(); // at once; an answer would replace it
    else for (const view of this.views) view.controls();
    this.line.ask({ ...this.here, have: this.picture?.index ?? null, ...more });
  }

  receive(answer, buffers) {
    this.error = answer.error ?? null;
    if (this.error || !buffers?.length) { // a grid has come as a trait
      this.refresh();
      return;
    }
    const [prediction, zero] = buffers.slice(0, 2).map(shortsOf);
    const [pose, last, truth] = buffers.slice(2).map(bytesOf);
    const known = this.picture?.index === answer.index ? this.picture.given : null;
    const given = pose ? { pose, last, truth, posterior: answer.posterior } : known;
    if (!given) { // asked for before another frame came
      this.request({ have: null });
      return;
    }
    this.picture = { index: answer.index, exact: true, prediction, zero, given };
    this.ms = answer.ms;
    if (this.fresh === answer.draw) { // a draw from the prior: the sliders follow
      this.fresh = null;
      this.traits.take({ values: answer.values, draw: answer.draw });
    }
    this.refresh();
    if (this.about.autogrid && !this.grids.has(answer.index)) {
      clearTimeout(this.idle);
      this.idle = setTimeout(() => {
        if (!this.line.flying) this.line.command({ grid: true, index: this.here.index }, undefined, this.about.patience);
      }, 1200);
    }
  }

  /** Without Python: one of the predictions that came beforehand.  None of them moves along two directions at once, so
   *  the slider that was moved last counts, and the others go to 0. */
  approximate() {
    if (!this.grids.size) return;
    const near = [...this.grids.keys()].reduce((a, b) => (Math.abs(b - this.here.index) < Math.abs(a - this.here.index) ? b : a));
    const { limit, grid: points, height, width, std } = this.about;
    const { frames, draws, given } = this.grids.get(near);
    const size = height * width * 3;
    const part = (i) => frames.subarray(i * size, (i + 1) * size);
    let { draw, values } = this.here;
    if (draw > draws.length) draw = ((draw - 1) % draws.length) + 1;
    if (draw && this.fresh) values = draws[draw - 1];
    const at = (place) => place.every((v, k) => v === values[k]);
    let which = std.length * points + draw; // the draw
    if (!draw || !at(draws[draw - 1])) {
      draw = 0;
      which = std.length * points + draws.length + 1; // the posterior's mean
      if (!at(given.posterior)) {
        const k = this.moved ?? values.reduce((most, v, i) => (Math.abs(v) > Math.abs(values[most]) ? i : most), 0);
        const place = Math.round(((clip(values[k], -limit, limit) + limit) / (2 * limit)) * (points - 1));
        values = values.map((_, i) => (i === k ? (place / (points - 1)) * 2 * limit - limit : 0));
        which = 1 + k * points + place;
      }
    }
    if (this.line.alive === false) { // what is shown is all there is: the sliders snap to it
      this.fresh = null;
      this.traits.take({ index: near, values, draw });
    }
    this.picture = { index: near, exact: false, prediction: part(which), zero: part(0), given };
    this.refresh();
  }

  prior() {
    this.fresh = this.here.draw + 1;
    if (this.line.alive === false) {
      this.traits.take({ draw: this.fresh });
      this.approximate();
    } else {
      this.here.draw = this.fresh; // Python hears of it with the values that belong to it
      this.request({ fresh: true });
    }
  }
}

// ── 2 Plots ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const PLOT = { height: 176, left: 58, right: 10, top: 12, floor: 146 };

/** Named axes, a legend, one cloud or some lines, and a mark at the current frame. */
class Chart extends Plot {
  constructor(name) {
    super(PLOT, { role: "img" });
    this.legend = make("div", { class: "ll-legend" });
    this.root = make("div", { class: `ll-chart ll-${name}` }, this.legend, this.svg);
  }

  frame(width, xs, ys, xName, yName) {
    const { height, left, right, top, floor } = PLOT;
    const middle = (top + floor) / 2;
    this.scale(width, xs, ys);
    const across = ticks(...xs, clip(width / 90, 3, 8));
    this.axes(xName === "frame" ? across.filter(Number.isInteger) : across, ticks(...ys, 4), { gap: 6, drop: 10 });
    this.grid.append(this.text((left + width - right) / 2, height - 6, xName),
      this.text(9, middle, yName, "middle", { transform: `rotate(-90 9 ${middle})` }));
  }
}

function padded(...series) {
  const [low, high] = range(...series);
  const pad = 0.05 * (high - low) || 1;
  return [low - pad, high + pad];
}

/** `x` brought to the units of `y` by least squares. */
function fitted(x, y) {
  const [mx, my] = [mean(x), mean(y)];
  const [xy, xx] = [mean(x.map((v, i) => (v - mx) * (y[i] - my))), mean(x.map((v) => (v - mx) ** 2))];
  return x.map((v) => my + (xx ? (xy / xx) * (v - mx) : 0));
}

// ── 3 View ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const PANELS = { prediction: "prediction", zero: "prediction at z = 0", difference: "difference", pose: "pose", last: "previous frame", truth: "true frame" };

class View extends LabView {
  build() {
    const { model, core } = this;
    const about = (this.about = core.about);
    const [scores, light, combination] = [about.scores, about.light, about.combination].map((view) => view && [...floatsOf(view)]);
    this.light = light;
    this.series = [...about.std.map((_, k) => scores.slice(k * about.count, (k + 1) * about.count)), combination]; // by `direction`

    this.frame = slider({ min: 1, max: about.count - 1, step: 1, "aria-label": "frame", class: "ll-frame" }, (index) => core.go({ index }));
    this.frameValue = make("output", { class: "ll-frame-value" });
    this.state = make("span", { class: "ll-state", role: "status" });
    const head = make("div", { class: "ll-head" }, make("span", { class: "ll-name", text: about.name }),
      make("label", { class: "ll-time" }, make("span", { text: "frame" }), this.frame, this.frameValue), this.state);

    this.gain = select({ "aria-label": "factor on the difference", class: "ll-gain" }, about.gains.map((g) => [g, `×${g}`]),
      (gain) => save(model, { gain: Number(gain) }));
    this.screens = {};
    const panels = Object.entries(PANELS).map(([name, text]) => {
      const screen = (this.screens[name] = new Screen(text));
      screen.root = make("figure", { class: `ll-panel ll-panel-${name}` },
        make("figcaption", {}, make("span", { text }), ...(name === "difference" ? [this.gain] : [])), screen.canvas);
      return screen.root;
    });
    this.effect = make("div", { class: "ll-effect", role: "status" });

    const choose = (k, text, title) => button("ll-choose", title, text, () => save(model, { direction: k }));
    const facts = (text, kind = "") => make("span", { class: `ll-facts ${kind}`, text });
    this.sliders = about.std.map((_, k) => slider({ min: -about.limit, max: about.limit, step: about.limit / 80, "aria-label": `direction ${k + 1}` },
      (v) => core.go({ values: core.here.values.with(k, v) })));
    this.outputs = about.std.map(() => make("output"));
    this.choices = about.std.map((_, k) => choose(k, `direction ${k + 1}`, `Show direction ${k + 1} in the plots`));
    const rows = this.sliders.map((input, k) => make("div", { class: "ll-slider" }, this.choices[k], input, this.outputs[k],
      facts(`${Math.round(100 * about.explained[k])} % of variance`), facts(light ? `r = ${fixed(about.correlation[k])}` : "", "ll-r")));
    if (light) {
      this.choices.push(choose(about.std.length, "best combination", "Show the best linear combination of μ in the plots"));
      rows.push(make("div", { class: "ll-slider ll-combined" }, this.choices.at(-1),
        facts(`of μ, on held-out frames: r = ${fixed(about.best)}, R² = ${fixed(about.r2)} (an untrained model: R² = ${fixed(about.untrained)})`)));
    }
    const actions = make("div", { class: "ll-actions" },
      button("ll-reset", "All sliders to 0", "z = 0", () => core.go({ values: about.std.map(() => 0), draw: 0 })),
      button("ll-posterior", "Set the sliders to the posterior mean of this frame", "μ of this frame", () => {
        if (core.picture) core.go({ values: [...core.picture.given.posterior], draw: 0 });
      }),
      button("ll-prior", "Draw z from N(0, I)", "draw from the prior", () => core.prior()));
    this.message = make("div", { class: "ll-message", role: "alert", hidden: true });
    const sliders = make("div", { class: "ll-sliders" },
      make("div", { class: "ll-caption", text: `z along the main directions of μ (the prior N(0, I) has standard deviation 1); KL ${fixed(about.kl)} nats per frame` }),
      ...rows, actions, this.effect, this.message);

    this.time = new Chart("series");
    onDrag(this.time.svg, (event) => core.go({ index: this.time.at(event).x - 1 }));
    this.cloud = light && new Chart("scatter");
    this.parts = [head, make("div", { class: "ll-big" }, ...panels.slice(0, 3)),
      make("div", { class: "ll-middle" }, sliders, make("div", { class: "ll-given" }, ...panels.slice(3))),
      make("div", { class: "ll-plots" }, ...(light ? [this.cloud.root] : []), this.time.root)];
    this.root = make("div", { class: "lab-widget lab-latent", role: "group", "aria-label": "latent explorer" }, ...this.parts);
    guardKeys(this.root);
    core.ready.then(() => core.request());
  }

  layout() {
    const { height, width } = this.about;
    const room = this.width - 8;
    const density = devicePixelRatio || 1;
    const narrow = room < 560;
    this.root.classList.toggle("ll-narrow", narrow);
    const columns = narrow ? 1 : 3;
    const big = wholeZoom(Math.min((room - 12 * (columns - 1)) / columns, 420) / width);
    const small = Math.min(Math.round(2 * density), wholeZoom((room - 24) / 3 / width));
    Object.values(this.screens).forEach((screen, i) => {
      screen.size(width, height, i < 3 ? big : small);
      screen.root.style.width = screen.canvas.style.width;
    });
    this.body = narrow ? room : Math.min(room, Math.max((3 * big * width) / density + 24, 560));
    for (const part of this.parts) part.style.width = `${this.body}px`;
    this.drawn = null;
    this.show();
  }

  controls() {
    const { index, values } = this.core.here;
    setSlider(this.frame, index, `frame ${index + 1} of ${this.about.count}`);
    this.frameValue.textContent = `${index + 1} / ${this.about.count}`;
    values.forEach((v, k) => {
      setSlider(this.sliders[k], v, `z = ${signed(v)}`);
      this.outputs[k].textContent = signed(v);
    });
  }

  show() {
    if (!this.width) return;
    const { core } = this;
    const { picture, line, error } = core;
    this.controls();
    this.message.hidden = !error;
    this.message.textContent = error ?? "";
    const live = Boolean(line.alive && picture?.exact);
    this.state.textContent = !live ? `no kernel: predictions made beforehand, one direction at a time${core.grids.size > 1 ? `, ${core.grids.size} frames` : ""}`
      : `live: ${line.latency.toFixed(0)} ms a step, model ${core.ms.toFixed(0)} ms`;
    this.state.hidden = !live && line.alive !== false;
    this.gain.value = this.model.get("gain");
    if (picture) this.paint(picture);
    this.drawPlots();
    Object.assign(this.root.dataset, { index: core.here.index, live, ready: Boolean(picture) }); // for tests
  }

  paint({ prediction, zero, given }) {
    const unit = this.about.steps;
    const gain = this.model.get("gain");
    const changes = Array.from(prediction, (v, i) => (v - zero[i]) / unit);
    this.effect.replaceChildren("difference to z = 0: mean ", make("b", { text: signed(mean(changes)) }), ", root mean square ",
      make("b", { text: fixed(Math.sqrt(mean(changes.map((d) => d * d)))) }), " of 255 grey levels");
    const rounded = (frame) => Uint8Array.from(frame, (v) => Math.round(v / unit));
    const frames = { ...given, prediction: rounded(prediction), zero: rounded(zero),
      difference: Uint8ClampedArray.from(changes, (d) => Math.floor(128 + gain * d + 0.5)) };
    for (const [name, screen] of Object.entries(this.screens)) screen.show(frames[name]);
  }

  drawPlots() {
    const { light, time, cloud, core, model } = this;
    const k = clip(model.get("direction"), 0, this.choices.length - 1);
    if (this.drawn !== k) {
      this.drawn = k;
      this.choices.forEach((choice, i) => put(choice, { "aria-pressed": String(i === k) }));
      this.drawDirection(k);
    }
    const i = core.here.index;
    const dot = (plot, x, y) => draw("circle", { cx: plot.x(x), cy: plot.y(y), r: 4.5 });
    cloud?.marks.replaceChildren(dot(cloud, this.series[k][i], light[i]));
    const at = time.x(i + 1);
    time.marks.replaceChildren(draw("line", { x1: at, x2: at, y1: PLOT.top, y2: PLOT.floor }), dot(time, i + 1, this.curve[i]));
  }

  /** The plots of a direction, or of the best combination, without the mark at the current frame. */
  drawDirection(k) {
    const { about, light, time, cloud, body } = this;
    const T = about.count;
    const best = k === about.std.length;
    const name = best ? "best combination" : `direction ${k + 1}`;
    const x = this.series[k];
    const narrow = body < 560;
    const curve = (values, kind) => draw("path", { class: kind, d: time.path(values, (i) => i + 1) });
    const entry = (kind, text) => [make("i", { class: kind }), make("span", { text })];
    put(time.svg, { "aria-label": `${name} over the ${T} frames; click to go to a frame` });
    if (!light) {
      this.curve = x;
      time.frame(body, [1, T], padded(x), "frame", `μ, ${name}`);
      time.curves.replaceChildren(curve(x, "ll-fit"));
      time.legend.replaceChildren(...entry("ll-key-fit", `${name} of μ over the video`));
      return;
    }
    const left = narrow ? body : 250;
    const r = fixed(best ? about.best : about.correlation[k]);
    cloud.frame(left, padded(x), padded(light), best ? "held-out prediction" : `μ, ${name}`, "hidden factor");
    const d = x.map((v, i) => `M${cloud.x(v).toFixed(1)} ${cloud.y(light[i]).toFixed(1)}h0`).join("");
    cloud.curves.replaceChildren(draw("path", { class: "ll-cloud", d }));
    cloud.legend.replaceChildren(make("span", { text: `${name}, r = ${r}` }));
    put(cloud.svg, { "aria-label": `${name} and the hidden factor over ${T} frames, correlation ${r}` });
    this.curve = best ? x : fitted(x, light);
    time.frame(narrow ? body : body - left - 16, [1, T], padded(light, this.curve), "frame", "hidden factor");
    time.curves.replaceChildren(curve(light, "ll-light"), curve(this.curve, "ll-fit"));
    time.legend.replaceChildren(...entry("ll-key-light", "hidden factor"), ...entry("ll-key-fit", best ? "read from μ by the best combination, held out" : `read from ${name} of μ`));
  }
}

// ── 4 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el, core) => new View(model, el, core), (model) => new Core(model), "_about");
export default widget;
