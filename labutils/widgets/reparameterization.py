"""ReparameterizationExplorer: one dimension of z with its mu and log variance; it needs no Python while it runs.

ReparameterizationExplorer(mu=1.0, logvar=-1.0)
"""

import math
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from labutils.errors import LabError
from labutils.show import COLORS, INK, LabFigure
from labutils.widgets import page

RANGES = {"mu": (-3.0, 3.0), "logvar": (-6.0, 2.0)}  # of the sliders
DRAWS = (8, 32, 256)


class ReparameterizationExplorer(page.LabWidget):
    """One dimension of z: eps ~ N(0, 1) becomes z = mu + sigma eps, with the KL divergence and all gradients.

    Everything happens in the browser.  Traits that go both ways:
        mu, logvar: of q(z) = N(mu, sigma^2), logvar = log sigma^2; clipped to the sliders' ranges.
        eps: the standard normal draws.
        chosen: index of the draw whose gradients are shown.
        parameter: "logvar" or "sigma", what the second slider moves and what gradients are taken by.
        rate: length of the gradient step on KL that a button takes.

    Args:
        mu, logvar, parameter, rate: first values.
        draws: how many eps.
        seed: of these draws.

    Raises:
        LabError: ``draws`` is less than 2.
    """

    _esm = page.module("reparameterization.js")
    _css = page.styles("reparameterization.css")
    page_title = "Reparameterization"

    mu = traitlets.Float(1.0).tag(sync=True)
    logvar = traitlets.Float(-1.0).tag(sync=True)
    eps = traitlets.List(traitlets.Float()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    parameter = traitlets.Enum(("logvar", "sigma"), default_value="logvar").tag(sync=True)
    rate = traitlets.Float(0.5).tag(sync=True)
    _about = traitlets.Dict({"mu": RANGES["mu"][1], "logvar": list(RANGES["logvar"]), "draws": list(DRAWS)}).tag(
        sync=True
    )

    def __init__(self, mu: float = 1.0, logvar: float = -1.0, draws: int = 32, seed: int = 0, **traits: Any) -> None:
        if draws < 2:
            raise LabError(f"ReparameterizationExplorer: draws is {draws}; at least 2 are needed for an estimate")
        eps = np.random.default_rng(seed).standard_normal(draws)
        # The chosen draw is one that moves visibly when sigma does.
        traits.setdefault("chosen", int(np.argmin(np.abs(eps - 1.2))))
        super().__init__(mu=mu, logvar=logvar, eps=eps.tolist(), **traits)

    @traitlets.validate("mu", "logvar")
    def _valid_number(self, proposal: Any) -> float:
        return page.bounded(proposal["value"], *RANGES[proposal["trait"].name])

    @traitlets.validate("chosen")
    def _valid_chosen(self, proposal: Any) -> int:
        return int(page.bounded(proposal["value"], 0, max(len(self.eps) - 1, 0)))

    @traitlets.observe("eps")
    def _fewer_draws(self, _: Any) -> None:
        self.chosen = min(self.chosen, max(len(self.eps) - 1, 0))

    @property
    def sigma(self) -> float:
        """Standard deviation, exp(logvar / 2)."""
        return math.exp(0.5 * self.logvar)

    @property
    def z(self) -> np.ndarray:
        """The draws z = mu + sigma eps, (draws,)."""
        return self.mu + self.sigma * np.array(self.eps)

    @property
    def kl(self) -> float:
        """KL(N(mu, sigma^2) || N(0, 1)) in nats, closed form."""
        return -0.5 * (1 + self.logvar - self.mu**2 - math.exp(self.logvar))

    @property
    def kl_estimate(self) -> tuple[float, float]:
        """Monte Carlo estimate mean(log q(z) - log p(z)) over the draws, in nats, and its standard error."""
        ratio = 0.5 * (self.z**2 - np.array(self.eps) ** 2 - self.logvar)
        return float(ratio.mean()), float(ratio.std(ddof=1) / math.sqrt(len(ratio)))

    @property
    def gradients(self) -> dict[str, float]:
        """By mu and by logvar: of the chosen z (``z_mu``, ``z_logvar``) and of KL (``kl_mu``, ``kl_logvar``)."""
        return {
            "z_mu": 1.0,
            "z_logvar": 0.5 * self.sigma * self.eps[self.chosen],
            "kl_mu": self.mu,
            "kl_logvar": 0.5 * (math.exp(self.logvar) - 1),
        }

    def __repr__(self) -> str:
        return f"ReparameterizationExplorer(mu={self.mu:g}, logvar={self.logvar:g}; KL {self.kl:.3f} nats)"

    def figure(self) -> Figure:
        """A still: the draws, mapped from eps to z, under the densities of q and p."""
        from matplotlib.patches import ConnectionPatch

        z, eps = self.z, np.array(self.eps)
        reach = max(4.0, float(np.abs(np.concatenate([z, eps])).max()) + 0.3)
        x = np.linspace(-reach, reach, 400)
        p = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
        q = np.exp(-0.5 * ((x - self.mu) / self.sigma) ** 2) / (self.sigma * math.sqrt(2 * math.pi))
        figure = LabFigure(figsize=(8, 4.2))
        top, bottom = figure.subplots(2, sharex=True, gridspec_kw={"hspace": 0.45})
        for axes, density, color, label in (
            (top, p, INK, r"$\epsilon$ ~ $N(0, 1)$"),
            (bottom, q, COLORS[0], "$z$ ~ $q$"),
        ):
            axes.fill_between(x, density, color=color, alpha=0.25, lw=0)
            axes.plot(x, density, color=color, lw=1.4, label=label)
            axes.set(yticks=[], ylim=(0, None), xlim=(-reach, reach))
            axes.spines[["top", "right", "left"]].set_visible(False)
        bottom.plot(x, p, "--", color=INK, lw=1, label="$p$ = $N(0, 1)$")
        for axes in (top, bottom):
            axes.legend(fontsize=8, frameon=False, loc="upper right")
        for k, (a, b) in enumerate(zip(eps[:32], z[:32])):
            arrow = ConnectionPatch((a, 0), (b, 0), "data", "data", axesA=top, axesB=bottom, arrowstyle="-|>")
            arrow.set(**{"color": "#D55E00", "lw": 1.6} if k == self.chosen else {"color": "0.6", "lw": 0.6})
            figure.add_artist(arrow)
        figure.suptitle(
            rf"$z = \mu + \sigma \epsilon$,  $\mu$ = {self.mu:.2f},  "
            rf"$\log \sigma^2$ = {self.logvar:.2f},  KL = {self.kl:.3f} nats",
            fontsize=10,
        )
        return figure
