/* ReparameterizationExplorer in the browser (reparameterization.py tells what it shows; page.py what a module must keep
   to).

   1 Numbers   2 View: controls   3 View: eps to z   4 View: KL over the plane   5 Start

   State lives in the model's traits.  The view follows a hand at once; the traits, and so Python, ten times a second and
   always to the last value. */

// ── 1 Numbers ────────────────────────────────────────────────────────────────────────────────────────────────────────

const gauss = (x, mu = 0, sigma = 1) => Math.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** All numbers that the widget shows; reparameterize and kl_divergence of labutils.modules give the same. */
function numbers({ mu, logvar, eps, chosen }) {
  const sigma = Math.exp(0.5 * logvar);
  const z = eps.map((e) => mu + sigma * e);
  const ratios = z.map((v, i) => 0.5 * (v * v - eps[i] * eps[i] - logvar)); // log q(z) - log p(z)
  const estimate = mean(ratios);
  const variance = ratios.reduce((sum, r) => sum + (r - estimate) ** 2, 0) / (ratios.length - 1);
  const e = eps[chosen];
  return {
    sigma, z, estimate, error: Math.sqrt(variance / ratios.length),
    kl: -0.5 * (1 + logvar - mu * mu - Math.exp(logvar)),
    zMu: 1, zLogvar: 0.5 * sigma * e, zSigma: e,
    klMu: mu, klLogvar: 0.5 * (Math.exp(logvar) - 1), klSigma: sigma - 1 / sigma,
  };
}

/* What the network may give: its value at a log variance and back, where q is as wide as p, the names of its gradients
   in `numbers` and their formulas, the step of its slider, and where its axis in the plane begins. */
const SPREADS = {
  logvar: {
    name: "log σ²", of: (logvar) => logvar, logvar: (value) => value, one: 0, step: 0.01, low: null,
    z: "zLogvar", kl: "klLogvar", zFormula: "½ σ ε", klFormula: "½ (σ² − 1)",
    other: (n) => `σ = ${fixed(n.sigma)}`,
    reason: "Every real number is a log variance, σ = exp(½ log σ²) is always positive, and ∂KL/∂log σ² never falls below −½, however narrow q becomes.",
  },
  sigma: {
    name: "σ", of: (logvar) => Math.exp(logvar / 2), logvar: (value) => 2 * Math.log(value), one: 1, step: 0.005, low: -0.6,
    z: "zSigma", kl: "klSigma", zFormula: "ε", klFormula: "σ − 1/σ",
    other: (n) => `log σ² = ${fixed(2 * Math.log(n.sigma))}`,
    reason: "σ must stay positive, but nothing in a network's output makes it so, and ∂KL/∂σ falls without bound as σ → 0: one step can overshoot, or cross 0.",
  },
};

// ── 2 View: controls ─────────────────────────────────────────────────────────────────────────────────────────────────

const REACH = 6; // the axes of eps and z go from -REACH to REACH
const MAP = { height: 364, left: 14, right: 14, top: 112, floor: 244 }; // eps lies at the top, z on the floor
const PLANE = { height: 232, left: 34, right: 8, top: 8, floor: 202 };
const PLANE_WIDTH = 300;
const DENSE = 40; // draws from which on only the chosen one has an arrow
const LEVELS = [0.1, 0.5, 1, 2, 3, 4];

const line = (x1, y1, x2, y2, attributes = {}) => draw("line", { x1, y1, x2, y2, ...attributes });
const byValue = (values) => [...new Set(values)].sort((a, b) => a - b);

class View extends LabView {
  build() {
    const { model } = this;
    const about = (this.about = model.get("_about"));
    this.traits = new Traits(model, ["mu", "logvar", "eps", "chosen", "parameter", "rate"], () => this.show());
    this.id = `lr-${Math.random().toString(36).slice(2, 8)}`;
    this.mu = slider({ min: -about.mu, max: about.mu, step: 0.01, "aria-label": "μ" }, (mu) => this.take({ mu }));
    this.spreadSlider = slider({}, (value) => this.take({ logvar: this.spread.logvar(value) }));
    this.muValue = make("output");
    this.spreadName = make("span");
    this.spreadValue = make("output");
    this.spreadNote = make("span", { class: "lr-note" });
    this.choices = Object.fromEntries(Object.entries(SPREADS).map(([parameter, { name }]) => (
      [parameter, button("lr-choice", `Let the network give ${name}`, name, () => this.take({ parameter }))])));
    this.count = select({ "aria-label": "number of draws" },
      byValue([...about.draws, this.now.eps.length]).map((n) => [n, `${n} draws`]), (n) => this.redraw(Number(n)));
    const controls = make("div", { class: "lr-controls" },
      make("label", { class: "lr-slider" }, make("span", { text: "μ" }), this.mu, this.muValue),
      make("label", { class: "lr-slider" }, this.spreadName, this.spreadSlider, this.spreadValue, this.spreadNote),
      make("div", { class: "lr-row" },
        make("span", { class: "lr-quiet", text: "the network gives" }),
        make("span", { class: "lr-choices", role: "group", "aria-label": "parameter" }, ...Object.values(this.choices)),
        make("span", { class: "lr-gap" }), this.count,
        button("lr-new", "Draw new ε from N(0, 1)", "draw new ε", () => this.redraw(this.now.eps.length))));

    const arrows = (...names) => draw("defs", {}, ...names.map((name) => draw("marker", { id: `${this.id}-${name}`,
      class: `lr-head-${name}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto",
      markerUnits: "userSpaceOnUse" }, draw("path", { d: "M0 0.5L8 4L0 7.5z" }))));
    this.map = new Plot(MAP, { role: "img" });
    this.layers = Object.fromEntries(["densities", "axes", "lines", "dots", "gradients", "words"].map((name) => [name, draw("g", { class: `lr-${name}` })]));
    this.map.svg.append(arrows("line", "chosen", "mu", "spread"), ...Object.values(this.layers));
    this.map.svg.addEventListener("pointerdown", (event) => this.pick(event));
    this.mapBox = make("div", { class: "lr-map" }, this.map.svg);
    this.which = make("span");
    const chooser = make("div", { class: "lr-row lr-chooser" },
      button("lr-step", "The draw before (its gradients are shown)", "‹", () => this.choose(-1)),
      button("lr-step", "The next draw", "›", () => this.choose(1)), this.which);
    this.table = make("dl", { class: "lr-numbers" });
    this.reason = make("p", { class: "lr-reason" });

    this.plane = new Plot(PLANE, { role: "img" });
    this.plane.svg.append(arrows("step"), draw("defs", {},
      draw("clipPath", { id: `${this.id}-clip` }, draw("rect", { x: PLANE.left, y: PLANE.top, width: PLANE_WIDTH - PLANE.left - PLANE.right, height: PLANE.floor - PLANE.top })),
      draw("pattern", { id: `${this.id}-hatch`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, line(0, 0, 0, 6, { class: "lr-hatch" }))));
    onDrag(this.plane.svg, (event) => {
      const { x, y } = this.plane.at(event);
      this.take({ mu: clip(x, -about.mu, about.mu), logvar: this.spread.logvar(clip(y, ...this.limits)) });
    });
    this.rate = select({ "aria-label": "step size" }, byValue([0.1, 0.5, 1, 2, this.now.rate]).map((r) => [r, `rate ${r}`]), (rate) => this.take({ rate: Number(rate) }));
    this.warning = make("div", { class: "lr-warning", role: "alert", hidden: true });
    const side = make("div", { class: "lr-side" },
      make("div", { class: "lr-caption", text: "KL(q ‖ p) in nats; drag the point" }), this.plane.svg,
      make("div", { class: "lr-row" }, this.rate, button("lr-descend", "One step of gradient descent on KL", "gradient step", () => this.descend())),
      this.warning);
    this.root = make("div", { class: "lab-widget lab-reparameterization", role: "group", "aria-label": "reparameterization" },
      make("div", { class: "lr-title" }, make("b", { text: "z = μ + σ · ε" }), make("span", { class: "lr-quiet", text: "ε ~ N(0, 1) is drawn; μ and σ only move and stretch it, so gradients pass" })),
      controls,
      make("div", { class: "lr-body" }, make("div", { class: "lr-main" }, this.mapBox, chooser, this.table, this.reason), side));
    guardKeys(this.root);
  }

  get now() { return this.traits.values; }
  get spread() { return SPREADS[this.now.parameter]; }
  get limits() { return this.about.logvar.map(this.spread.of); }

  layout() { this.show(); }

  take(values) {
    this.warning.hidden = true;
    this.traits.take(values);
    this.show();
  }

  redraw(count) {
    this.take({ eps: Array.from({ length: count }, normal), chosen: clip(this.now.chosen, 0, count - 1) });
  }

  choose(by) {
    const { eps, chosen } = this.now;
    const order = [...eps.keys()].sort((a, b) => eps[a] - eps[b]); // to the left and to the right
    this.take({ chosen: order[clip(order.indexOf(chosen) + by, 0, eps.length - 1)] });
  }

  /** The draw nearest to the pointer. */
  pick(event) {
    const { x, y } = this.map.at(event);
    const { z } = numbers(this.now);
    const gaps = this.now.eps.map((e, i) => Math.abs(e + clip(y, 0, 1) * (z[i] - e) - x) * (this.map.x(1) - this.map.x(0)));
    const least = Math.min(...gaps);
    if (least < 24) this.take({ chosen: gaps.indexOf(least) });
  }

  /** Gradient descent on KL by mu and what the network gives: where one step leads to. */
  target(n) {
    const { mu, logvar, rate } = this.now;
    return { mu: mu - rate * n.klMu, spread: this.spread.of(logvar) - rate * n[this.spread.kl] };
  }

  descend() {
    const to = this.target(numbers(this.now));
    const logvar = this.spread.logvar(to.spread);
    if (Number.isFinite(logvar)) {
      this.take({ mu: clip(to.mu, -this.about.mu, this.about.mu), logvar: clip(logvar, ...this.about.logvar) });
      return;
    }
    put(this.warning, { text: `The step leads to σ = ${fixed(to.spread)}: no Gaussian has that. With log σ² every step is allowed.` });
    this.warning.hidden = false;
  }

  show() {
    if (!this.width) return;
    const { mu, logvar, eps, chosen, parameter, rate } = this.now;
    const { spread } = this;
    const n = numbers(this.now);
    const value = spread.of(logvar);
    setSlider(this.mu, mu, fixed(mu));
    this.muValue.textContent = fixed(mu);
    const [min, max] = this.limits;
    put(this.spreadSlider, { min, max, step: spread.step, "aria-label": spread.name });
    setSlider(this.spreadSlider, value, fixed(value));
    put(this.spreadName, { text: spread.name });
    this.spreadValue.textContent = fixed(value);
    put(this.spreadNote, { text: spread.other(n) });
    for (const [name, element] of Object.entries(this.choices)) put(element, { "aria-pressed": String(name === parameter) });
    setSelect(this.count, eps.length, `${eps.length} draws`);
    setSelect(this.rate, rate, `rate ${rate}`);
    put(this.which, { text: `draw ${chosen + 1} of ${eps.length}: ε = ${fixed(eps[chosen])}, z = ${fixed(n.z[chosen])}` });
    this.table.replaceChildren(...[
      ["KL, closed form", `${fixed(n.kl, 3)} nats`],
      [`KL, mean over ${eps.length} draws`, `${fixed(n.estimate, 3)} ± ${fixed(n.error, 3)}`],
      ["∂z / ∂μ", "1"],
      [`∂z / ∂${spread.name} = ${spread.zFormula}`, fixed(n[spread.z], 3)],
      ["∂KL / ∂μ = μ", fixed(n.klMu, 3)],
      [`∂KL / ∂${spread.name} = ${spread.klFormula}`, fixed(n[spread.kl], 3)],
    ].flatMap(([name, text]) => [make("dt", { text: name }), make("dd", { text })]));
    put(this.reason, { text: spread.reason });
    this.drawMap(n);
    this.drawPlane(n);
    Object.assign(this.root.dataset, { ...n, mu, logvar, chosen, z: JSON.stringify(n.z) }); // for tests
  }

  // ── 3 View: eps to z ───────────────────────────────────────────────────────────────────────────────────────────────

  drawMap(n) {
    const { map, layers } = this;
    const { mu, eps, chosen } = this.now;
    const { top, floor } = MAP;
    map.scale(Math.max(this.mapBox.clientWidth, 240), [-REACH, REACH], [1, 0]);
    put(map.svg, { "aria-label": `${eps.length} draws of ε mapped to z; q = N(${fixed(mu)}, ${fixed(n.sigma)}²), KL ${fixed(n.kl, 3)} nats` });
    const x = (v) => map.x(clip(v, -REACH - 1, REACH + 1));

    // densities: that of eps stands on its axis, those of z hang from theirs, so that the arrows have room between
    const unit = Math.min(240, (MAP.height - floor - 10) / Math.max(gauss(0), gauss(0, 0, n.sigma)));
    const curve = (density, base, scale) => Array.from({ length: 241 }, (_, i) => REACH * (i / 120 - 1))
      .map((v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${(base + scale * density(v)).toFixed(1)}`).join("");
    const area = (d, base) => `${d}L${x(REACH)} ${base}L${x(-REACH)} ${base}z`;
    const above = curve((v) => gauss(v), top, -240);
    const q = curve((v) => gauss(v, mu, n.sigma), floor, unit);
    layers.densities.replaceChildren(
      draw("path", { class: "lr-p-area", d: area(above, top) }), draw("path", { class: "lr-p", d: above }),
      draw("path", { class: "lr-q-area", d: area(q, floor) }), draw("path", { class: "lr-q", d: q }),
      draw("path", { class: "lr-p lr-dashed", d: curve((v) => gauss(v), floor, unit) }));

    layers.axes.replaceChildren(...[[top, 11], [floor, -11]].flatMap(([y, drop]) => [
      line(x(-REACH), y, x(REACH), y),
      ...[-6, -4, -2, 0, 2, 4, 6].flatMap((v) => [line(x(v), y - 3, x(v), y + 3), map.text(x(v), y + drop, fixed(v, 0))]),
    ]));
    const word = (y, text, kind) => map.text(x(-REACH), y, text, "start", { class: kind });
    layers.words.replaceChildren(word(top - 88, "ε ~ p = N(0, 1)", "lr-word-p"), word(MAP.height - 30, "z ~ q = N(μ, σ²)", "lr-word-q"),
      word(MAP.height - 12, "p = N(0, 1)", "lr-word-p"));

    const many = eps.length > DENSE;
    const lines = [];
    const dots = [];
    const dot = (cx, cy, r, kind = null) => dots.push(draw("circle", { cx, cy, r, class: kind }));
    const arrow = (i, y2, head, kind = null) => lines.push(line(x(eps[i]), top, x(n.z[i]), y2, { "marker-end": `url(#${this.id}-${head})`, class: kind }));
    eps.forEach((e, i) => {
      if (i === chosen) return;
      if (!many) arrow(i, floor - 1, "line");
      dot(x(e), top, many ? 1.75 : 2.75);
      if (Math.abs(n.z[i]) <= REACH) dot(x(n.z[i]), floor, many ? 1.75 : 2.75, "lr-dot-z");
    });
    const z = n.z[chosen];
    arrow(chosen, floor - 2, "chosen", "lr-chosen");
    dot(x(eps[chosen]), top, 4.5, "lr-chosen");
    dot(x(z), floor, 4.5, "lr-chosen");
    layers.lines.replaceChildren(...lines);
    layers.dots.replaceChildren(...dots);

    // gradients of the chosen z: how far it moves for one unit of mu, and of log sigma^2 (or sigma)
    const gradient = (length, y, kind, text) => {
      const [from, to] = [x(z), x(clip(z + length, -REACH, REACH))];
      const left = to > map.width - 130;
      return [
        line(from, y, to, y, { class: `lr-grad-${kind}`, "marker-end": Math.abs(to - from) > 2 ? `url(#${this.id}-${kind})` : null }),
        map.text(left ? Math.min(from, to) - 8 : Math.max(from, to) + 8, y, text, left ? "end" : "start", { class: `lr-word-${kind}` }),
      ];
    };
    const slope = n[this.spread.z];
    layers.gradients.replaceChildren(line(x(z), floor + 5, x(z), floor + 44, { class: "lr-drop" }),
      ...(Math.abs(z) < REACH ? [...gradient(1, floor + 20, "mu", "∂z/∂μ = 1"), ...gradient(slope, floor + 40, "spread", `∂z/∂${this.spread.name} = ${fixed(slope)}`)] : []));
  }

  // ── 4 View: KL over the plane ──────────────────────────────────────────────────────────────────────────────────────

  drawPlane(n) {
    const { plane, spread } = this;
    const { mu, logvar } = this.now;
    if (this.planeOf !== spread) {
      this.planeOf = spread;
      plane.scale(PLANE_WIDTH, [-this.about.mu, this.about.mu], [spread.low ?? this.limits[0], this.limits[1]]);
      this.drawLevels();
    }
    const to = this.target(n);
    const [x, y, tx, ty] = [plane.x(mu), plane.y(spread.of(logvar)), plane.x(to.mu), plane.y(to.spread)];
    plane.marks.replaceChildren(
      draw("g", { "clip-path": `url(#${this.id}-clip)` },
        ...(Math.hypot(tx - x, ty - y) > 3 ? [line(x, y, tx, ty, { class: "lr-descent", "marker-end": `url(#${this.id}-step)` })] : [])),
      draw("circle", { class: "lr-here", cx: x, cy: y, r: 5.5 }));
    put(plane.svg, { "aria-label": `KL over μ and ${spread.name}: ${fixed(n.kl, 3)} nats here; the gradient step leads to μ ${fixed(to.mu)}, ${spread.name} ${fixed(to.spread)}` });
  }

  /** What depends on the parameter only: level lines of KL, axes, and where there is no Gaussian. */
  drawLevels() {
    const { plane, spread } = this;
    const { left, top, floor } = PLANE;
    const [low, high] = plane.ys;
    const right = PLANE_WIDTH - PLANE.right;
    const curves = LEVELS.map((c) => { // mu^2 = 2 c + 1 + logvar - sigma^2
      const side = [];
      for (let i = 0; i <= 300; i++) {
        const v = low + ((high + 0.4 - low) * i) / 300;
        const square = 2 * c + 1 + spread.logvar(v) - Math.exp(spread.logvar(v));
        if (square >= 0) side.push([Math.sqrt(square), v]);
      }
      const points = [...side, ...side.map(([m, v]) => [-m, v]).reverse()];
      return draw("path", { class: "lr-level", d: `M${points.map(([m, v]) => `${plane.x(m).toFixed(1)} ${plane.y(v).toFixed(1)}`).join("L")}z` });
    });
    const word = (x, y, text) => plane.text(x, y, text, "middle", { class: "lr-level-word" });
    const tick = (x, y, text, anchor, more = {}) => plane.text(x, y, text, anchor, { class: "lr-tick", ...more });
    const [zero, one, centre] = [plane.y(0), plane.y(spread.one), (top + floor) / 2];
    const forbidden = spread.low === null ? [] : [
      draw("rect", { x: left, y: zero, width: right - left, height: floor - zero, fill: `url(#${this.id}-hatch)` }), line(left, zero, right, zero, { class: "lr-wall" }),
      word(plane.x(0), (zero + floor) / 2, "σ ≤ 0: no Gaussian")];
    plane.grid.replaceChildren(
      draw("rect", { class: "lr-plane", x: left, y: top, width: right - left, height: floor - top }),
      draw("g", { "clip-path": `url(#${this.id}-clip)` }, ...curves, ...forbidden),
      ...LEVELS.map((c) => word(plane.x(Math.sqrt(2 * c)), one, String(c))),
      draw("path", { class: "lr-prior", d: `M${plane.x(0) - 4} ${one}h8M${plane.x(0)} ${one - 4}v8` }),
      ...[-2, 0, 2].map((v) => tick(plane.x(v), floor + 10, numeral(v))),
      ...ticks(low, high, 5).map((v) => tick(left - 6, plane.y(v), numeral(v), "end")),
      tick((left + right) / 2, floor + 23, "μ"),
      tick(9, centre, spread.name, "middle", { transform: `rotate(-90 9 ${centre})` }));
  }
}

// ── 5 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const widget = widgetOf((model, el) => new View(model, el));
export default widget;
