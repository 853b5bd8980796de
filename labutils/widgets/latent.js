/* ReparameterizationExplorer and LatentExplorer in the browser (latent.py tells what they show; page.py what a module
   must keep to).

   1 Elements and numbers   2 Line to Python   3 Reparameterization   4 Latent: core   5 Latent: plots   6 Latent: view
   7 Start

   State lives in the model's traits.  The views follow a hand at once; the traits, and so Python, ten times a second and
   always to the last value. */

// ── 1 Elements and numbers ───────────────────────────────────────────────────────────────────────────────────────────

const shortsOf = (view) => new Int16Array(bytesOf(view).slice().buffer);

// ── 3 Reparameterization ─────────────────────────────────────────────────────────────────────────────────────────────

const REACH = 6; // the axes of eps and z go from -REACH to REACH
const MAP = { height: 364, top: 112, bottom: 244, side: 14, dense: 40 };
const PLANE = { width: 300, height: 232, left: 34, right: 8, top: 8, bottom: 30 };
const LEVELS = [0.1, 0.5, 1, 2, 3, 4];
const gauss = (x, mu = 0, sigma = 1) => Math.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));

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

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

class ReparameterizationView {
  constructor(model, el) {
    this.model = model;
    this.about = model.get("_about");
    const names = ["mu", "logvar", "eps", "chosen", "parameter", "rate"];
    this.traits = new Traits(model, names, () => this.show());
    this.id = `lr-${Math.random().toString(36).slice(2, 8)}`;
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    guardKeys(this.root);
    this.sizes = new ResizeObserver(() => this.show());
    this.sizes.observe(this.mapBox);
  }

  remove() { this.sizes.disconnect(); }

  take(values) {
    this.warning.hidden = true;
    this.traits.take(values);
    this.show();
  }

  build() {
    const { about, traits } = this;
    const [low, high] = about.logvar;
    this.mu = slider({ min: -about.mu, max: about.mu, step: 0.01, "aria-label": "μ" }, (mu) => this.take({ mu }));
    this.spread = slider({ "aria-label": "spread" }, (value) => {
      this.take({ logvar: traits.values.parameter === "sigma" ? 2 * Math.log(value) : value });
    });
    this.limits = { logvar: [low, high, 0.01], sigma: [Math.exp(low / 2), Math.exp(high / 2), 0.005] };
    this.muValue = make("output");
    this.spreadName = make("span");
    this.spreadValue = make("output");
    this.spreadNote = make("span", { class: "lr-note" });
    const choice = (value, text) => button("lr-choice", `Let the network give ${text}`, text, () => this.take({ parameter: value }));
    this.choices = { logvar: choice("logvar", "log σ²"), sigma: choice("sigma", "σ") };
    this.count = make("select", { "aria-label": "number of draws" },
      ...[...new Set([...about.draws, traits.values.eps.length])].sort((a, b) => a - b)
        .map((n) => make("option", { value: n, text: `${n} draws` })));
    this.count.addEventListener("change", () => this.redraw(Number(this.count.value)));
    const controls = make("div", { class: "lr-controls" },
      make("label", { class: "lr-slider" }, make("span", { text: "μ" }), this.mu, this.muValue),
      make("label", { class: "lr-slider" }, this.spreadName, this.spread, this.spreadValue, this.spreadNote),
      make("div", { class: "lr-row" },
        make("span", { class: "lr-quiet", text: "the network gives" }),
        make("span", { class: "lr-choices", role: "group", "aria-label": "parameter" }, this.choices.logvar, this.choices.sigma),
        make("span", { class: "lr-gap" }),
        this.count,
        button("lr-new", "Draw new ε from N(0, 1)", "draw new ε", () => this.redraw(traits.values.eps.length))));

    // eps above, z below, and what happens between
    const arrow = (name) => draw("marker", { id: `${this.id}-${name}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7,
      markerHeight: 7, orient: "auto", markerUnits: "userSpaceOnUse", class: `lr-head-${name}` }, draw("path", { d: "M0 0.5L8 4L0 7.5z" }));
    this.layers = Object.fromEntries(["axes", "densities", "lines", "dots", "gradients", "words"].map((n) => [n, draw("g", { class: `lr-${n}` })]));
    this.map = draw("svg", { role: "img", height: MAP.height },
      draw("defs", {}, ...["line", "chosen", "mu", "spread"].map(arrow)),
      this.layers.densities, this.layers.axes, this.layers.lines, this.layers.dots, this.layers.gradients, this.layers.words);
    this.map.addEventListener("pointerdown", (event) => this.pick(event));
    this.mapBox = make("div", { class: "lr-map" }, this.map);
    this.back = button("lr-step", "The draw before (its gradients are shown)", "‹", () => this.choose(-1));
    this.on = button("lr-step", "The next draw", "›", () => this.choose(1));
    this.which = make("span");
    const chooser = make("div", { class: "lr-row lr-chooser" }, this.back, this.on, this.which);

    // KL over (mu, logvar)
    this.plane = draw("svg", { role: "img", width: PLANE.width, height: PLANE.height, viewBox: `0 0 ${PLANE.width} ${PLANE.height}` });
    this.planeLevels = draw("g");
    this.planePoint = draw("g");
    this.plane.append(
      draw("defs", {},
        draw("clipPath", { id: `${this.id}-clip` }, draw("rect", { x: PLANE.left, y: PLANE.top, width: PLANE.width - PLANE.left - PLANE.right, height: PLANE.height - PLANE.top - PLANE.bottom })),
        draw("pattern", { id: `${this.id}-hatch`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
          draw("line", { x1: 0, x2: 0, y1: 0, y2: 6, class: "lr-hatch" })),
        arrow("step")),
      this.planeLevels, this.planePoint);
    this.plane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.plane.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.place(event);
    });
    this.plane.addEventListener("pointermove", (event) => { if (this.dragging) this.place(event); });
    for (const end of ["pointerup", "pointercancel"]) this.plane.addEventListener(end, () => { this.dragging = false; });
    this.rate = make("select", { "aria-label": "step size" },
      ...[...new Set([0.1, 0.5, 1, 2, traits.values.rate])].sort((a, b) => a - b).map((r) => make("option", { value: r, text: `rate ${r}` })));
    this.rate.addEventListener("change", () => this.take({ rate: Number(this.rate.value) }));
    this.warning = make("div", { class: "lr-warning", role: "alert", hidden: true });
    this.table = make("dl", { class: "lr-numbers" });
    this.cells = {};
    for (const name of ["kl", "estimate", "zMu", "zSpread", "klMu", "klSpread"]) {
      const cell = { name: make("dt"), value: make("dd") };
      this.cells[name] = cell;
      this.table.append(cell.name, cell.value);
    }
    this.reason = make("p", { class: "lr-reason" });
    const side = make("div", { class: "lr-side" },
      make("div", { class: "lr-caption", text: "KL(q ‖ p) in nats; drag the point" }), this.plane,
      make("div", { class: "lr-row" }, this.rate, button("lr-descend", "One step of gradient descent on KL", "gradient step", () => this.descend())),
      this.warning);
    this.root = make("div", { class: "lab-widget lab-reparameterization", role: "group", "aria-label": "reparameterization" },
      make("div", { class: "lr-title" }, make("b", { text: "z = μ + σ · ε" }), make("span", { class: "lr-quiet", text: "ε ~ N(0, 1) is drawn; μ and σ only move and stretch it, so gradients pass" })),
      controls,
      make("div", { class: "lr-body" }, make("div", { class: "lr-main" }, this.mapBox, chooser, this.table, this.reason), side));
  }

  // -- actions

  redraw(count) {
    const eps = Array.from({ length: count }, normal);
    this.take({ eps, chosen: clip(this.traits.values.chosen, 0, count - 1) });
  }

  choose(by) {
    const { eps, chosen } = this.traits.values;
    const order = eps.map((_, i) => i).sort((a, b) => eps[a] - eps[b]); // to the left and to the right
    this.take({ chosen: order[clip(order.indexOf(chosen) + by, 0, eps.length - 1)] });
  }

  /** The draw nearest to the pointer. */
  pick(event) {
    const box = this.map.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { eps } = this.traits.values;
    const { z } = numbers(this.traits.values);
    const t = clip((y - MAP.top) / (MAP.bottom - MAP.top), 0, 1);
    let best = 0;
    const gap = (i) => Math.abs(this.x(eps[i]) * (1 - t) + this.x(z[i]) * t - x);
    eps.forEach((_, i) => { if (gap(i) < gap(best)) best = i; });
    if (gap(best) < 24) this.take({ chosen: best });
  }

  place(event) {
    const box = this.plane.getBoundingClientRect();
    const across = (event.clientX - box.left - PLANE.left) / (PLANE.width - PLANE.left - PLANE.right);
    const down = (event.clientY - box.top - PLANE.top) / (PLANE.height - PLANE.top - PLANE.bottom);
    const { low, high } = this.planeRange();
    const mu = clip((2 * across - 1) * this.about.mu, -this.about.mu, this.about.mu);
    const value = high - down * (high - low);
    const [least, most] = this.limits[this.traits.values.parameter];
    const bounded = clip(value, least, most);
    this.take({ mu, logvar: this.traits.values.parameter === "sigma" ? 2 * Math.log(bounded) : bounded });
  }

  /** Gradient descent on KL by (mu, logvar) or by (mu, sigma): where one step leads to. */
  target() {
    const { mu, logvar, rate, parameter } = this.traits.values;
    const n = numbers(this.traits.values);
    return parameter === "sigma" ? { mu: mu - rate * n.klMu, spread: n.sigma - rate * n.klSigma }
      : { mu: mu - rate * n.klMu, spread: logvar - rate * n.klLogvar };
  }

  descend() {
    const { parameter } = this.traits.values;
    const to = this.target();
    if (parameter === "sigma" && to.spread <= 0) {
      this.warning.textContent = `The step leads to σ = ${fixed(to.spread)}: no Gaussian has that. With log σ² every step is allowed.`;
      this.warning.hidden = false;
      return;
    }
    const [low, high] = this.about.logvar;
    const logvar = parameter === "sigma" ? 2 * Math.log(to.spread) : to.spread;
    this.take({ mu: clip(to.mu, -this.about.mu, this.about.mu), logvar: clip(logvar, low, high) });
  }

  // -- drawing

  x(value) { return this.width / 2 + (value / REACH) * (this.width / 2 - MAP.side); }

  show() {
    const values = this.traits.values;
    const { mu, logvar, eps, chosen, parameter, rate } = values;
    const n = numbers(values);
    this.width = Math.max(this.mapBox.clientWidth, 240);
    const sigmaMode = parameter === "sigma";

    setSlider(this.mu, mu, fixed(mu));
    this.muValue.textContent = fixed(mu);
    const [low, high, step] = this.limits[parameter];
    put(this.spread, { min: low, max: high, step, "aria-label": sigmaMode ? "σ" : "log σ²" });
    setSlider(this.spread, sigmaMode ? n.sigma : logvar, fixed(sigmaMode ? n.sigma : logvar));
    this.spreadName.textContent = sigmaMode ? "σ" : "log σ²";
    this.spreadValue.textContent = fixed(sigmaMode ? n.sigma : logvar);
    this.spreadNote.textContent = sigmaMode ? `log σ² = ${fixed(logvar)}` : `σ = ${fixed(n.sigma)}`;
    for (const [name, element] of Object.entries(this.choices)) put(element, { "aria-pressed": String(name === parameter) });
    if (![...this.count.options].some((o) => Number(o.value) === eps.length)) {
      this.count.append(make("option", { value: eps.length, text: `${eps.length} draws` }));
    }
    this.count.value = eps.length;
    this.rate.value = rate;
    this.which.textContent = `draw ${chosen + 1} of ${eps.length}: ε = ${fixed(eps[chosen])}, z = ${fixed(n.z[chosen])}`;

    const spread = sigmaMode ? "σ" : "log σ²";
    this.cell("kl", "KL, closed form", `${fixed(n.kl, 3)} nats`);
    this.cell("estimate", `KL, mean over ${eps.length} draws`, `${fixed(n.estimate, 3)} ± ${fixed(n.error, 3)}`);
    this.cell("zMu", "∂z / ∂μ", "1");
    this.cell("zSpread", `∂z / ∂${spread} = ${sigmaMode ? "ε" : "½ σ ε"}`, fixed(sigmaMode ? n.zSigma : n.zLogvar, 3));
    this.cell("klMu", "∂KL / ∂μ = μ", fixed(n.klMu, 3));
    this.cell("klSpread", `∂KL / ∂${spread} = ${sigmaMode ? "σ − 1/σ" : "½ (σ² − 1)"}`, fixed(sigmaMode ? n.klSigma : n.klLogvar, 3));
    this.reason.textContent = sigmaMode
      ? "σ must stay positive, but nothing in a network's output makes it so, and ∂KL/∂σ falls without bound as σ → 0: one step can overshoot, or cross 0."
      : "Every real number is a log variance, σ = exp(½ log σ²) is always positive, and ∂KL/∂log σ² never falls below −½, however narrow q becomes.";
    this.drawMap(n);
    this.drawPlane(n);
    Object.assign(this.root.dataset, { mu, logvar, sigma: n.sigma, kl: n.kl, estimate: n.estimate, error: n.error, chosen,
      zMu: n.zMu, zLogvar: n.zLogvar, zSigma: n.zSigma, klMu: n.klMu, klLogvar: n.klLogvar, klSigma: n.klSigma,
      z: JSON.stringify(n.z) }); // for tests
  }

  cell(name, text, value) {
    this.cells[name].name.textContent = text;
    this.cells[name].value.textContent = value;
  }

  drawMap(n) {
    const { mu, eps, chosen, parameter } = this.traits.values;
    const { layers } = this;
    const [top, bottom] = [MAP.top, MAP.bottom];
    put(this.map, { width: this.width, viewBox: `0 0 ${this.width} ${MAP.height}`,
      "aria-label": `${eps.length} draws of ε mapped to z; q = N(${fixed(mu)}, ${fixed(n.sigma)}²), KL ${fixed(n.kl, 3)} nats` });

    // densities: that of eps stands on its axis, those of z hang from theirs, so that the arrows have room between
    const room = MAP.height - bottom - 10;
    const unit = Math.min(240, room / Math.max(gauss(0), gauss(0, 0, n.sigma)));
    const curve = (density, base, scale) => {
      let d = "";
      for (let i = 0; i <= 240; i++) {
        const v = REACH * (i / 120 - 1);
        d += `${i ? "L" : "M"}${this.x(v).toFixed(1)} ${(base + scale * density(v)).toFixed(1)}`;
      }
      return d;
    };
    const area = (d, base) => `${d}L${this.x(REACH)} ${base}L${this.x(-REACH)} ${base}z`;
    const above = curve((v) => gauss(v), top, -240);
    const p = curve((v) => gauss(v), bottom, unit);
    const q = curve((v) => gauss(v, mu, n.sigma), bottom, unit);
    layers.densities.replaceChildren(
      draw("path", { class: "lr-p-area", d: area(above, top) }), draw("path", { class: "lr-p", d: above }),
      draw("path", { class: "lr-q-area", d: area(q, bottom) }), draw("path", { class: "lr-q", d: q }),
      draw("path", { class: "lr-p lr-dashed", d: p }));

    layers.axes.replaceChildren(...[top, bottom].flatMap((y) => [
      draw("line", { x1: this.x(-REACH), x2: this.x(REACH), y1: y, y2: y }),
      ...[-6, -4, -2, 0, 2, 4, 6].flatMap((v) => [
        draw("line", { x1: this.x(v), x2: this.x(v), y1: y - 3, y2: y + 3 }),
        draw("text", { x: this.x(v), y: y === top ? y + 15 : y - 7, "text-anchor": "middle", text: fixed(v, 0) }),
      ]),
    ]));
    const word = (x, y, text, cls, anchor = "start") => draw("text", { x, y, class: cls, "text-anchor": anchor, text });
    layers.words.replaceChildren(
      word(this.x(-REACH), top - 84, "ε ~ p = N(0, 1)", "lr-word-p"),
      word(this.x(-REACH), MAP.height - 26, "z ~ q = N(μ, σ²)", "lr-word-q"),
      word(this.x(-REACH), MAP.height - 8, "p = N(0, 1)", "lr-word-p"));

    const many = eps.length > MAP.dense;
    const inside = (v) => clip(v, -REACH - 1, REACH + 1);
    const lines = [];
    const dots = [];
    eps.forEach((e, i) => {
      if (i === chosen) return;
      if (!many) lines.push(draw("line", { x1: this.x(e), y1: top, x2: this.x(inside(n.z[i])), y2: bottom - 1, "marker-end": `url(#${this.id}-line)` }));
      dots.push(draw("circle", { cx: this.x(e), cy: top, r: many ? 1.75 : 2.75 }));
      if (Math.abs(n.z[i]) <= REACH) dots.push(draw("circle", { cx: this.x(n.z[i]), cy: bottom, r: many ? 1.75 : 2.75, class: "lr-dot-z" }));
    });
    const [e, z] = [eps[chosen], n.z[chosen]];
    lines.push(draw("line", { class: "lr-chosen", x1: this.x(e), y1: top, x2: this.x(inside(z)), y2: bottom - 2, "marker-end": `url(#${this.id}-chosen)` }));
    dots.push(draw("circle", { class: "lr-chosen", cx: this.x(e), cy: top, r: 4.5 }), draw("circle", { class: "lr-chosen", cx: this.x(inside(z)), cy: bottom, r: 4.5 }));
    layers.lines.replaceChildren(...lines);
    layers.dots.replaceChildren(...dots);

    // gradients of the chosen z: how far it moves for one unit of mu, and of log sigma^2 (or sigma)
    const slope = parameter === "sigma" ? n.zSigma : n.zLogvar;
    const name = parameter === "sigma" ? "∂z/∂σ" : "∂z/∂log σ²";
    const gradient = (length, y, cls, text) => {
      const [from, to] = [this.x(z), this.x(clip(z + length, -REACH, REACH))];
      const left = to > this.width - 130;
      const visible = Math.abs(to - from) > 2;
      return [
        draw("line", { class: `lr-grad-${cls}`, x1: from, x2: to, y1: y, y2: y, "marker-end": visible ? `url(#${this.id}-${cls})` : null }),
        draw("text", { class: `lr-word-${cls}`, x: left ? Math.min(from, to) - 8 : Math.max(from, to) + 8, y, dy: "0.35em",
          "text-anchor": left ? "end" : "start", text }),
      ];
    };
    layers.gradients.replaceChildren(
      draw("line", { class: "lr-drop", x1: this.x(inside(z)), x2: this.x(inside(z)), y1: bottom + 5, y2: bottom + 44 }),
      ...(Math.abs(z) < REACH ? [...gradient(1, bottom + 20, "mu", "∂z/∂μ = 1"), ...gradient(slope, bottom + 40, "spread", `${name} = ${fixed(slope)}`)] : []));
  }

  planeRange() {
    return this.traits.values.parameter === "sigma" ? { low: -0.6, high: this.limits.sigma[1] } : { low: this.about.logvar[0], high: this.about.logvar[1] };
  }

  drawPlane(n) {
    const { mu, logvar, parameter } = this.traits.values;
    const sigmaMode = parameter === "sigma";
    const { low, high } = this.planeRange();
    const [left, right, top, bottom] = [PLANE.left, PLANE.width - PLANE.right, PLANE.top, PLANE.height - PLANE.bottom];
    const X = (v) => left + ((v / this.about.mu + 1) / 2) * (right - left);
    const Y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
    if (this.planeOf !== parameter) { // the level lines: mu^2 = 2 c + 1 + logvar - sigma^2
      this.planeOf = parameter;
      const curves = LEVELS.map((c) => {
        const side = [];
        for (let i = 0; i <= 300; i++) {
          const v = low + ((high + 0.4 - low) * i) / 300;
          if (sigmaMode && v <= 0) continue;
          const lv = sigmaMode ? 2 * Math.log(v) : v;
          const square = 2 * c + 1 + lv - Math.exp(lv);
          if (square >= 0) side.push([Math.sqrt(square), v]);
        }
        const points = [...side.map(([m, v]) => [m, v]), ...side.reverse().map(([m, v]) => [-m, v])];
        return draw("path", { class: "lr-level", d: `M${points.map(([m, v]) => `${X(m).toFixed(1)} ${Y(v).toFixed(1)}`).join("L")}z` });
      });
      const one = sigmaMode ? 1 : 0;
      this.planeLevels.replaceChildren(
        draw("rect", { class: "lr-plane", x: left, y: top, width: right - left, height: bottom - top }),
        draw("g", { "clip-path": `url(#${this.id}-clip)` }, ...curves,
          ...(sigmaMode ? [draw("rect", { x: left, y: Y(0), width: right - left, height: bottom - Y(0), fill: `url(#${this.id}-hatch)` }),
            draw("line", { class: "lr-wall", x1: left, x2: right, y1: Y(0), y2: Y(0) })] : [])),
        ...LEVELS.map((c) => draw("text", { class: "lr-level-word", x: X(Math.sqrt(2 * c)), y: Y(one), dy: "0.35em", "text-anchor": "middle", text: String(c) })),
        draw("path", { class: "lr-prior", d: `M${X(0) - 4} ${Y(one)}h8M${X(0)} ${Y(one) - 4}v8` }),
        ...(sigmaMode ? [draw("text", { class: "lr-level-word", x: X(0), y: (Y(0) + bottom) / 2, dy: "0.35em", "text-anchor": "middle", text: "σ ≤ 0: no Gaussian" })] : []),
        ...[-2, 0, 2].map((v) => draw("text", { class: "lr-tick", x: X(v), y: bottom + 14, "text-anchor": "middle", text: fixed(v, 0) })),
        ...ticks(low, high, 5).map((v) => draw("text", { class: "lr-tick", x: left - 6, y: Y(v), dy: "0.35em", "text-anchor": "end", text: String(v).replace("-", "−") })),
        draw("text", { class: "lr-tick", x: (left + right) / 2, y: bottom + 27, "text-anchor": "middle", text: "μ" }),
        draw("text", { class: "lr-tick", x: 9, y: (top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 9 ${(top + bottom) / 2})`, text: sigmaMode ? "σ" : "log σ²" }));
    }
    const to = this.target();
    const [x, y] = [X(mu), Y(sigmaMode ? n.sigma : logvar)];
    const [tx, ty] = [X(to.mu), Y(to.spread)];
    const far = Math.hypot(tx - x, ty - y);
    this.planePoint.replaceChildren(
      draw("g", { "clip-path": `url(#${this.id}-clip)` },
        ...(far > 3 ? [draw("line", { class: "lr-descent", x1: x, y1: y, x2: tx, y2: ty, "marker-end": `url(#${this.id}-step)` })] : [])),
      draw("circle", { class: "lr-here", cx: x, cy: y, r: 5.5 }));
    put(this.plane, { "aria-label": `KL over μ and ${sigmaMode ? "σ" : "log σ²"}: ${fixed(n.kl, 3)} nats here; the gradient step leads to μ ${fixed(to.mu)}, ${sigmaMode ? "σ" : "log σ²"} ${fixed(to.spread)}` });
  }
}

// ── 4 Latent: core ───────────────────────────────────────────────────────────────────────────────────────────────────

/** What all views of one LatentExplorer share: where z is, and the frames that belong there. */
class LatentCore {
  constructor(model) {
    this.model = model;
    this.about = model.get("_about");
    this.views = new Set();
    this.grids = new Map();
    this.picture = null; // {index, prediction, zero: Int16Array; pose, last, truth: Uint8Array}
    this.traits = new Traits(model, ["index", "values", "draw"], () => this.request());
    this.line = new Line(model, this.about.patience, (...answer) => this.receive(...answer), () => this.approximate());
    this.ready = this.unpack();
    model.on("change:_grids", () => this.unpack());
    for (const name of ["gain", "direction"]) model.on(`change:${name}`, () => this.refresh());
  }

  get here() { return this.traits.values; }

  set(name, value) { save(this.model, { [name]: value }); }

  async unpack() {
    for (const grid of this.model.get("_grids")) {
      if (this.grids.has(grid.index)) continue;
      try {
        const [frames, context] = await Promise.all([inflate(grid.frames), inflate(grid.context)]);
        this.grids.set(grid.index, { frames: new Int16Array(frames.buffer), context, draws: grid.draws, posterior: grid.posterior });
      } catch (error) {
        this.error = `The frames cannot be unpacked in this browser: ${error.message}`;
      }
    }
    if (!this.picture) this.approximate();
  }

  /** Go somewhere: any of index, values, draw. */
  go(where) {
    if (where.index !== undefined) where.index = clip(Math.round(where.index), 1, this.about.count - 1);
    this.traits.take(where);
    this.request();
  }

  request(question = {}) {
    clearTimeout(this.idle);
    if (this.line.alive !== true) this.approximate(); // at once; an answer would replace it
    else for (const view of this.views) view.controls();
    this.line.ask({ index: this.here.index, values: this.here.values, draw: this.here.draw, have: this.picture?.index ?? null, ...question });
  }

  receive(answer, buffers) {
    if (answer.error) {
      this.error = answer.error;
      return this.refresh();
    }
    this.error = null;
    if (!buffers?.length) return this.refresh(); // a grid, which has come as a trait
    const known = this.picture?.index === answer.index ? this.picture : {};
    const context = buffers.length > 2 ? { pose: bytesOf(buffers[2]), last: bytesOf(buffers[3]), truth: bytesOf(buffers[4]), posterior: answer.posterior } : {};
    const picture = { ...known, ...context, index: answer.index, exact: true, prediction: shortsOf(buffers[0]), zero: shortsOf(buffers[1]) };
    if (!picture.pose) return this.request({ have: null }); // asked for before another frame came
    this.picture = picture;
    this.ms = answer.ms;
    if (this.fresh === answer.draw && answer.draw > 0) { // a draw from the prior: the sliders follow
      this.fresh = null;
      this.traits.take({ values: answer.values, draw: answer.draw });
    }
    this.refresh();
    if (this.about.autogrid && !this.grids.has(answer.index)) {
      clearTimeout(this.idle);
      this.idle = setTimeout(() => { if (!this.line.flying) this.line.command({ grid: true, index: this.here.index }); }, 1200);
    }
  }

  /** Without Python: the predictions that came beforehand, their effects added up. */
  approximate() {
    if (!this.grids.size) return;
    const near = [...this.grids.keys()].reduce((a, b) => (Math.abs(b - this.here.index) < Math.abs(a - this.here.index) ? b : a));
    const { limit, grid: G, height, width } = this.about;
    const grid = this.grids.get(near);
    const size = height * width * 3;
    const part = (i) => grid.frames.subarray(i * size, (i + 1) * size);
    const K = this.about.std.length;
    const place = (v) => clip(Math.round(((v + limit) / (2 * limit)) * (G - 1)), 0, G - 1);
    const value = (g) => (g / (G - 1)) * 2 * limit - limit;
    let { draw: drawn, values } = this.here;
    if (this.line.alive === false) { // what is shown is all there is: the sliders snap to it
      if (drawn > grid.draws.length) drawn = ((drawn - 1) % grid.draws.length) + 1;
      if (this.fresh) values = grid.draws[drawn - 1];
      else values = values.map((v, k) => (drawn && v === grid.draws[drawn - 1][k] ? v : value(place(v))));
      this.fresh = null;
      this.traits.take({ index: near, values, draw: drawn });
    } else if (drawn > grid.draws.length) drawn = 0;
    const out = new Int16Array(part(drawn ? 1 + K * G + drawn - 1 : 0));
    for (let k = 0; k < K; k++) {
      const start = drawn ? grid.draws[drawn - 1][k] : 0;
      if (values[k] === start) continue;
      const [from, to] = [part(1 + k * G + place(start)), part(1 + k * G + place(values[k]))];
      for (let i = 0; i < size; i++) out[i] += to[i] - from[i];
    }
    const most = 255 * this.about.steps;
    for (let i = 0; i < size; i++) out[i] = clip(out[i], 0, most);
    const context = (i) => grid.context.subarray(i * size, (i + 1) * size);
    this.picture = { index: near, exact: false, prediction: out, zero: part(0), pose: context(0), last: context(1), truth: context(2), posterior: grid.posterior };
    this.refresh();
  }

  prior() {
    this.fresh = this.here.draw + 1;
    if (this.line.alive === false) {
      this.traits.take({ draw: this.fresh });
      this.approximate();
      return;
    }
    this.traits.values.draw = this.fresh;
    this.request({ fresh: true });
  }

  refresh() { for (const view of this.views) view.show(); }
}

// ── 5 Latent: plots ──────────────────────────────────────────────────────────────────────────────────────────────────

const PLOT = { height: 176, left: 48, right: 10, top: 12, bottom: 30 };

/** Axes, one cloud or some lines, and a mark at the current frame. */
class Chart {
  constructor(name, onPlace) {
    this.grid = draw("g", { class: "ll-grid" });
    this.data = draw("g");
    this.mark = draw("g", { class: "ll-mark" });
    this.svg = draw("svg", { role: "img", height: PLOT.height }, this.grid, this.data, this.mark);
    this.legend = make("div", { class: "ll-legend" });
    this.root = make("div", { class: `ll-chart ll-${name}` }, this.legend, this.svg);
    if (!onPlace) return;
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.svg.setPointerCapture(event.pointerId);
      this.dragging = true;
      onPlace(this.valueAt(event));
    });
    this.svg.addEventListener("pointermove", (event) => { if (this.dragging) onPlace(this.valueAt(event)); });
    for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => { this.dragging = false; });
  }

  valueAt(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    return this.xs[0] + ((x - PLOT.left) / (this.width - PLOT.left - PLOT.right)) * (this.xs[1] - this.xs[0]);
  }

  x(v) { return PLOT.left + ((v - this.xs[0]) / (this.xs[1] - this.xs[0] || 1)) * (this.width - PLOT.left - PLOT.right); }
  y(v) { return PLOT.height - PLOT.bottom - ((v - this.ys[0]) / (this.ys[1] - this.ys[0] || 1)) * (PLOT.height - PLOT.top - PLOT.bottom); }

  frame(width, xs, ys, xName, yName) {
    Object.assign(this, { width, xs, ys });
    const floor = PLOT.height - PLOT.bottom;
    this.grid.replaceChildren(
      ...ticks(...ys, 4).flatMap((t) => [
        draw("line", { x1: PLOT.left, x2: width - PLOT.right, y1: this.y(t), y2: this.y(t) }),
        draw("text", { x: PLOT.left - 6, y: this.y(t), dy: "0.35em", "text-anchor": "end", text: String(t).replace("-", "−") })]),
      ...ticks(...xs, clip(width / 90, 3, 8)).map((t) => draw("text", { x: this.x(t), y: floor + 14, "text-anchor": "middle", text: String(t).replace("-", "−") })),
      draw("text", { x: (PLOT.left + width - PLOT.right) / 2, y: PLOT.height - 2, "text-anchor": "middle", text: xName }),
      draw("text", { x: 9, y: (PLOT.top + floor) / 2, "text-anchor": "middle", transform: `rotate(-90 9 ${(PLOT.top + floor) / 2})`, text: yName }));
    put(this.svg, { width, viewBox: `0 0 ${width} ${PLOT.height}` });
  }
}

const extent = (...series) => {
  let [low, high] = [Infinity, -Infinity];
  for (const s of series) for (const v of s) [low, high] = [Math.min(low, v), Math.max(high, v)];
  const pad = 0.05 * (high - low) || 1;
  return [low - pad, high + pad];
};

// ── 6 Latent: view ───────────────────────────────────────────────────────────────────────────────────────────────────

class LatentView {
  constructor(model, el, core) {
    Object.assign(this, { model, core, about: core.about });
    const { about } = this;
    const T = about.count;
    const scores = floatsOf(about.scores);
    this.scores = about.std.map((_, k) => scores.subarray(k * T, (k + 1) * T));
    this.light = floatsOf(about.light);
    this.combination = floatsOf(about.combination);
    this.build();
    el.classList.add("lab-mount");
    el.append(this.root);
    guardKeys(this.root);
    core.views.add(this);
    this.sizes = new ResizeObserver(() => { if (this.root.clientWidth !== this.seen) this.layout(); });
    this.sizes.observe(this.root);
    core.ready.then(() => { this.layout(); core.request(); });
  }

  remove() {
    this.sizes.disconnect();
    this.core.views.delete(this);
  }

  build() {
    const { about, core } = this;
    this.frame = slider({ min: 1, max: about.count - 1, step: 1, "aria-label": "frame", class: "ll-frame" }, (index) => core.go({ index }));
    this.frameValue = make("output", { class: "ll-frame-value" });
    this.state = make("span", { class: "ll-state", role: "status" });
    const head = make("div", { class: "ll-head" }, make("span", { class: "ll-name", text: about.name }),
      make("label", { class: "ll-time" }, make("span", { text: "frame" }), this.frame, this.frameValue), this.state);

    const panel = (name, text) => {
      const canvas = make("canvas", { role: "img", "aria-label": text });
      const note = make("span", { class: "ll-note" });
      return { name, canvas, note, root: make("figure", { class: `ll-panel ll-panel-${name}` }, make("figcaption", {}, make("span", { text }), note), canvas) };
    };
    this.panels = [panel("prediction", "prediction"), panel("zero", "prediction at z = 0"), panel("difference", "difference"),
      panel("pose", "pose"), panel("last", "last frame"), panel("truth", "true frame")];
    this.gain = make("select", { "aria-label": "factor on the difference", class: "ll-gain" }, ...about.gains.map((g) => make("option", { value: g, text: `×${g}` })));
    this.gain.addEventListener("change", () => core.set("gain", Number(this.gain.value)));
    this.panels[2].root.querySelector("figcaption").append(this.gain);
    this.effect = make("div", { class: "ll-effect", role: "status" });

    this.rows = about.std.map((_, k) => {
      const input = slider({ min: -about.limit, max: about.limit, step: 0.05, "aria-label": `direction ${k + 1}` }, (v) => {
        core.go({ values: core.here.values.map((old, i) => (i === k ? v : old)) });
      });
      const value = make("output");
      const choose = button("ll-choose", `Show direction ${k + 1} in the plots`, `direction ${k + 1}`, () => core.set("direction", k));
      const facts = `${Math.round(100 * about.explained[k])} % of variance`;
      const r = about.correlation ? `r = ${fixed(about.correlation[k])}` : "";
      const root = make("div", { class: "ll-slider" }, choose, input, value, make("span", { class: "ll-facts", text: facts }), make("span", { class: "ll-facts ll-r", text: r }));
      return { input, value, choose, root };
    });
    this.combined = about.light && button("ll-choose", "Show the best linear combination of μ in the plots", "best combination",
      () => core.set("direction", about.std.length));
    const combinedRow = about.light && make("div", { class: "ll-slider ll-combined" }, this.combined,
      make("span", { class: "ll-facts", text: `of μ: r = ${fixed(about.best)}, R² = ${fixed(about.r2)}, both on held-out frames` }));
    this.posterior = button("ll-posterior", "Set the sliders to the posterior mean of this frame", "μ of this frame", () => {
      if (core.picture?.posterior) core.go({ values: core.picture.posterior.slice(), draw: 0 });
    });
    const actions = make("div", { class: "ll-actions" },
      button("ll-reset", "All sliders to 0", "z = 0", () => core.go({ values: about.std.map(() => 0), draw: 0 })),
      this.posterior,
      button("ll-prior", "Draw z from N(0, I)", "draw from the prior", () => core.prior()));
    this.message = make("div", { class: "ll-message", role: "alert", hidden: true });
    const sliders = make("div", { class: "ll-sliders" },
      make("div", { class: "ll-caption", text: `z along the main directions of μ, in standard deviations of μ; KL ${fixed(about.kl)} nats per frame` }),
      ...this.rows.map((r) => r.root), ...(combinedRow ? [combinedRow] : []), actions, this.effect, this.message);
    this.scatter = about.light && new Chart("scatter");
    this.series = new Chart("series", (index) => core.go({ index: index - 1 }));
    this.big = make("div", { class: "ll-big" }, ...this.panels.slice(0, 3).map((p) => p.root));
    this.given = make("div", { class: "ll-given" }, ...this.panels.slice(3).map((p) => p.root));
    this.plots = make("div", { class: "ll-plots" }, ...(this.scatter ? [this.scatter.root] : []), this.series.root);
    this.root = make("div", { class: "lab-widget lab-latent", role: "group", "aria-label": "latent explorer" },
      head, this.big, make("div", { class: "ll-middle" }, sliders, this.given), this.plots);
  }

  layout() {
    this.seen = this.root.clientWidth;
    const width = this.seen - 8;
    if (width <= 0) return;
    const { height: H, width: W } = this.about;
    const density = devicePixelRatio || 1;
    const narrow = width < 560;
    this.root.classList.toggle("ll-narrow", narrow);
    const columns = narrow ? 1 : 3;
    const fit = (room) => Math.max(1, Math.floor((room / W) * density + 1e-6));
    const big = fit(Math.min((width - 12 * (columns - 1)) / columns, 420));
    const small = Math.max(1, Math.min(Math.round(2 * density), fit((width - 24) / 3)));
    this.panels.forEach((p, i) => {
      const zoom = i < 3 ? big : small;
      Object.assign(p, { zoom, pixels: new ImageData(W, H), small: Object.assign(document.createElement("canvas"), { width: W, height: H }) });
      Object.assign(p.canvas, { width: zoom * W, height: zoom * H });
      p.canvas.style.width = p.root.style.width = `${(zoom * W) / density}px`;
      p.canvas.style.height = `${(zoom * H) / density}px`;
    });
    const body = narrow ? width : Math.min(width, Math.max((3 * big * W) / density + 24, 560));
    for (const part of [this.plots, this.big, this.root.querySelector(".ll-middle"), this.root.querySelector(".ll-head")]) part.style.width = `${body}px`;
    this.body = body;
    this.drawn = null;
    this.show();
  }

  controls() {
    const { core } = this;
    const { index, values } = core.here;
    setSlider(this.frame, index, `frame ${index + 1} of ${this.about.count}`);
    this.frameValue.textContent = `${index + 1} / ${this.about.count}`;
    this.rows.forEach((row, k) => {
      setSlider(row.input, values[k], `${signed(values[k])} standard deviations`);
      row.value.textContent = `${signed(values[k])} std`;
    });
    this.root.dataset.values = JSON.stringify(values);
  }

  show() {
    const { core, model } = this;
    if (!this.body) return;
    this.controls();
    const picture = core.picture;
    this.message.hidden = !core.error;
    if (core.error) this.message.textContent = core.error;
    const live = core.line.alive === true && picture?.exact;
    const several = core.grids.size > 1 ? `, ${core.grids.size} frames` : "";
    this.state.textContent = live ? (core.line.latency === undefined ? "" : `live: ${core.line.latency.toFixed(0)} ms a step, model ${core.ms.toFixed(0)} ms`)
      : `no kernel: predictions made beforehand${several}`;
    this.state.hidden = !live && core.line.alive !== false;
    const gain = model.get("gain");
    this.gain.value = gain;
    if (picture) {
      const { prediction, zero } = picture;
      const n = prediction.length;
      const unit = this.about.steps;
      let [sum, square] = [0, 0];
      for (let i = 0; i < n; i++) {
        const d = (prediction[i] - zero[i]) / unit;
        sum += d;
        square += d * d;
      }
      this.effect.replaceChildren(make("span", { text: "difference to z = 0: mean " }), make("b", { text: signed(sum / n) }),
        make("span", { text: ", root mean square " }), make("b", { text: fixed(Math.sqrt(square / n)) }), make("span", { text: " of 255 grey levels" }));
      for (const p of this.panels) {
        const rgba = p.pixels.data;
        const source = { prediction, zero, difference: null, pose: picture.pose, last: picture.last, truth: picture.truth }[p.name];
        const fine = p.name === "prediction" || p.name === "zero";
        for (let i = 0, o = 0; i < n; o += 4) {
          for (let c = 0; c < 3; c++, i++) {
            rgba[o + c] = p.name === "difference" ? Math.floor(128 + (gain * (prediction[i] - zero[i])) / unit + 0.5) : fine ? Math.round(source[i] / unit) : source[i];
          }
          rgba[o + 3] = 255;
        }
        p.small.getContext("2d").putImageData(p.pixels, 0, 0);
        const pen = p.canvas.getContext("2d");
        pen.imageSmoothingEnabled = false;
        pen.drawImage(p.small, 0, 0, p.canvas.width, p.canvas.height);
      }
    }
    this.drawPlots();
    Object.assign(this.root.dataset, { index: core.here.index, live: String(Boolean(live)), ready: String(Boolean(picture)), alive: String(core.line.alive),
      latency: core.line.latency ?? "" });
  }

  drawPlots() {
    const { about, light, model, core } = this;
    const T = about.count;
    const K = about.std.length;
    const k = clip(model.get("direction"), 0, light ? K : K - 1);
    const frames = Array.from({ length: T }, (_, i) => i + 1);
    const best = k === K;
    const x = best ? this.combination : this.scores[k];
    const name = best ? "best combination" : `direction ${k + 1}`;
    this.rows.forEach((row, i) => put(row.choose, { "aria-pressed": String(i === k) }));
    if (this.combined) put(this.combined, { "aria-pressed": String(best) });
    const key = `${k} ${this.body}`;
    if (this.drawn !== key) {
      this.drawn = key;
      const left = this.scatter ? (this.body < 560 ? this.body : 250) : 0;
      const rest = this.body < 560 ? this.body : this.body - left - (left ? 16 : 0);
      const path = (chart, values) => values.reduce((d, v, i) => `${d}${i ? "L" : "M"}${chart.x(i + 1).toFixed(1)} ${chart.y(v).toFixed(1)}`, "");
      const entry = (cls, text) => [make("i", { class: cls }), make("span", { text })];
      if (light) {
        this.scatter.frame(left, extent(x), extent(light), best ? "held-out prediction" : `${name} (std)`, "hidden factor");
        const cloud = Array.from(x, (v, i) => `M${this.scatter.x(v).toFixed(1)} ${this.scatter.y(light[i]).toFixed(1)}h0`).join("");
        this.scatter.data.replaceChildren(draw("path", { class: "ll-cloud", d: cloud }));
        const r = best ? about.best : about.correlation[k];
        this.scatter.legend.replaceChildren(make("span", { text: `${name}, r = ${fixed(r)}` }));
        put(this.scatter.svg, { "aria-label": `${name} and the hidden factor over ${T} frames, correlation ${fixed(r)}` });
        // the direction, brought to the factor's units by least squares
        const [mx, my] = [mean([...x]), mean([...light])];
        let [xy, xx] = [0, 0];
        x.forEach((v, i) => { xy += (v - mx) * (light[i] - my); xx += (v - mx) ** 2; });
        this.fitted = best ? x : x.map((v) => my + (xx ? (xy / xx) * (v - mx) : 0));
        this.series.frame(rest, [1, T], extent(light, this.fitted), "frame", "hidden factor");
        this.series.data.replaceChildren(draw("path", { class: "ll-light", d: path(this.series, [...light]) }), draw("path", { class: "ll-fit", d: path(this.series, [...this.fitted]) }));
        this.series.legend.replaceChildren(...entry("ll-key-light", "hidden factor"), ...entry("ll-key-fit", best ? "read from μ by the best combination, held out" : `read from ${name} of μ`));
      } else {
        this.fitted = x;
        this.series.frame(rest, [1, T], extent(x), "frame", `${name} (std)`);
        this.series.data.replaceChildren(draw("path", { class: "ll-fit", d: path(this.series, [...x]) }));
        this.series.legend.replaceChildren(...entry("ll-key-fit", `${name} of μ over the video`));
      }
      put(this.series.svg, { "aria-label": `${name} over the ${T} frames; click to go to a frame` });
    }
    const i = core.here.index;
    if (this.scatter) this.scatter.mark.replaceChildren(draw("circle", { cx: this.scatter.x(x[i]), cy: this.scatter.y(light[i]), r: 4.5 }));
    const at = this.series.x(frames[i]);
    this.series.mark.replaceChildren(draw("line", { x1: at, x2: at, y1: PLOT.top, y2: PLOT.height - PLOT.bottom }), draw("circle", { cx: at, cy: this.series.y(this.fitted[i]), r: 4 }));
  }
}

// ── 7 Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const cores = new WeakMap(); // by a trait that never changes: each call may get another face of one and the same model

function initialize({ model }) {
  if (model.get("_about").kind === "latent") cores.set(model.get("_about"), new LatentCore(model));
}

function render({ model, el }) {
  const about = model.get("_about");
  const view = about.kind === "latent" ? new LatentView(model, el, cores.get(about)) : new ReparameterizationView(model, el);
  return () => view.remove();
}

const widget = { initialize, render };
export default widget;
