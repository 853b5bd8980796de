"""The latent z, to be touched: how it is drawn, and what a trained model keeps in it.

``ReparameterizationExplorer`` is one dimension of z with its mu and log variance; it needs no Python while it runs::

    ReparameterizationExplorer(mu=1.0, logvar=-1.0)

``LatentExplorer`` walks through the z of a trained model.  While a kernel is there it asks the model; predictions
along each direction at the chosen frame travel to the browser beforehand, so it stays alive without one::

    explorer = LatentExplorer(model, video, light="data/dance/val/light.csv")
    explorer.values = [2.0, 0.0, 0.0, 0.0]     # 2 standard deviations along the first direction
    explorer.prediction                        # uint8 (H, W, 3)
    explorer.correlation                       # of each direction with the room light, (K,)
"""

import csv
import math
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from labutils.errors import LabError
from labutils.show.figures import LabFigure
from labutils.widgets import page

MU_LIMIT = 3.0  # |mu| that the sliders reach
LOGVAR_LIMITS = (-6.0, 2.0)
DRAWS = (8, 32, 256)
DIRECTIONS = 4  # sliders, at most
LIMIT = 4.0  # standard deviations that a slider reaches to either side
GRID = 17  # predictions along each direction that travel beforehand (SLOW_GRID where one takes over 30 ms)
SLOW_GRID = 9
PRIOR_DRAWS = 6  # and draws from the prior
STEPS = 64.0  # predictions travel as int16 in 1/64 grey level: z often changes less than one
GAINS = (8, 16, 32, 64, 128)  # of the difference panel
FOLDS = 5


# --------------------------------------------------------------------------------------- one dimension of z, drawn


class ReparameterizationExplorer(page.LabWidget):
    """One dimension of z: eps ~ N(0, 1) becomes z = mu + sigma eps, with the KL divergence and all gradients.

    Everything happens in the browser.  Traits that go both ways:
        mu, logvar: of q(z) = N(mu, sigma^2), logvar = log sigma^2; clipped to the sliders' ranges.
        eps: the standard normal draws.  chosen: index of the draw whose gradients are shown.
        parameter: "logvar" or "sigma", what the second slider moves and what gradients are taken by.
        rate: length of the gradient step on KL that a button takes.

    Args:
        mu, logvar, parameter, rate: first values.
        draws: how many eps.  seed: of these draws.

    Raises:
        LabError: ``draws`` is less than 2.
    """

    _esm = page.module("latent.js")
    _css = page.styles("latent.css")

    mu = traitlets.Float(1.0).tag(sync=True)
    logvar = traitlets.Float(-1.0).tag(sync=True)
    eps = traitlets.List(traitlets.Float()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    parameter = traitlets.Enum(("logvar", "sigma"), default_value="logvar").tag(sync=True)
    rate = traitlets.Float(0.5).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)

    def __init__(self, mu: float = 1.0, logvar: float = -1.0, draws: int = 32, seed: int = 0, **traits: Any) -> None:
        if draws < 2:
            raise LabError(f"ReparameterizationExplorer: draws is {draws}; at least 2 are needed for an estimate")
        eps = np.random.default_rng(seed).standard_normal(draws).tolist()
        # The chosen draw is one that moves visibly when sigma does.
        traits.setdefault("chosen", int(np.argmin(np.abs(np.array(eps) - 1.2))))
        super().__init__(
            mu=mu,
            logvar=logvar,
            eps=eps,
            _about={"kind": "reparameterization", "mu": MU_LIMIT, "logvar": list(LOGVAR_LIMITS), "draws": list(DRAWS)},
            **traits,
        )

    @traitlets.validate("mu")
    def _valid_mu(self, proposal: Any) -> float:
        return _bounded(proposal["value"], -MU_LIMIT, MU_LIMIT)

    @traitlets.validate("logvar")
    def _valid_logvar(self, proposal: Any) -> float:
        return _bounded(proposal["value"], *LOGVAR_LIMITS)

    @traitlets.validate("chosen")
    def _valid_chosen(self, proposal: Any) -> int:
        return int(_bounded(proposal["value"], 0, len(self.eps) - 1)) if self.eps else 0

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

    def to_html(self, path: str | Path, title: str = "Reparameterization") -> Path:
        """Write one self-contained page that needs neither kernel nor network, and return its path."""
        return _write_page(path, title, self)

    def figure(self) -> Figure:
        """A still: the draws, mapped from eps to z, under the densities of q and p."""
        z, eps = self.z, np.array(self.eps)
        reach = max(4.0, float(np.abs(np.concatenate([z, eps])).max()) + 0.3)
        x = np.linspace(-reach, reach, 400)
        p = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
        q = np.exp(-0.5 * ((x - self.mu) / self.sigma) ** 2) / (self.sigma * math.sqrt(2 * math.pi))
        figure = LabFigure(figsize=(8, 4.2))
        top, bottom = figure.subplots(2, sharex=True, gridspec_kw={"hspace": 0.45})
        for axes, density, color, label in ((top, p, "0.45", "eps ~ N(0, 1)"), (bottom, q, "#0072B2", "z ~ q")):
            axes.fill_between(x, density, color=color, alpha=0.25, lw=0)
            axes.plot(x, density, color=color, lw=1.4, label=label)
            axes.set(yticks=[], ylim=(0, None), xlim=(-reach, reach))
            axes.spines[["top", "right", "left"]].set_visible(False)
        bottom.plot(x, p, "--", color="0.45", lw=1, label="p = N(0, 1)")
        for axes in (top, bottom):
            axes.legend(fontsize=8, frameon=False, loc="upper right")
        from matplotlib.patches import ConnectionPatch

        for k, (a, b) in enumerate(zip(eps[:32], z[:32])):
            style = {"color": "#D55E00", "lw": 1.6} if k == self.chosen else {"color": "0.6", "lw": 0.6}
            figure.add_artist(
                ConnectionPatch((a, 0), (b, 0), "data", "data", axesA=top, axesB=bottom, arrowstyle="-|>", **style)
            )
        figure.suptitle(
            f"z = μ + σ·ε,  μ = {self.mu:.2f},  log σ² = {self.logvar:.2f},  KL = {self.kl:.3f} nats", fontsize=10
        )
        return figure


def _bounded(value: float, low: float, high: float) -> float:
    if math.isnan(value):
        raise LabError(f"the value is not a number; it must lie in [{low:g}, {high:g}]")
    return min(max(value, low), high)


def _write_page(path: str | Path, title: str, widget: page.LabWidget) -> Path:
    import html

    return page.write_page(path, title, [f"<h1>{html.escape(title)}</h1>", widget])


# --------------------------------------------------------------------------------------------- the algebra of mu


def principal_directions(mu: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal component analysis: the orthonormal directions along which the rows of ``mu`` vary most.

    Args:
        mu: (T, D).
        count: directions wanted; fewer where ``mu`` does not vary in so many.

    Returns:
        directions (K, D), the standard deviation along each (K,), and each one's share of the variance (K,).
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)  # (T, D)
    if mu.shape[1] <= len(mu):
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    else:  # the smaller of the two products has the same singular values
        values, columns = np.linalg.eigh(centred @ centred.T)  # (T,), (T, T), rising
        singular = np.sqrt(np.maximum(values[::-1], 0))
        rows = (columns[:, ::-1].T @ centred) / np.maximum(singular, 1e-300)[:, None]
    total = float((singular**2).sum())
    rank = int((singular > 1e-6 * max(singular[0], 1e-30)).sum()) if total > 0 else 1
    keep = min(count, rank)
    directions = rows[:keep]
    # A direction's sign is arbitrary: let its largest entry be positive.
    signs = np.sign(directions[np.arange(keep), np.abs(directions).argmax(1)])
    directions = directions * np.where(signs == 0, 1, signs)[:, None]
    return directions, singular[:keep] / math.sqrt(len(mu)), singular[:keep] ** 2 / (total or 1.0)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def held_out_fit(scores: np.ndarray, target: np.ndarray, folds: int = FOLDS) -> tuple[np.ndarray, float]:
    """The best linear combination of ``scores``, judged on frames it was not fitted to.

    The video is cut into ``folds`` pieces; each is predicted by least squares from all the others.  (Neighbouring
    frames resemble each other, so pieces are held out, not single frames.)

    Args:
        scores: (T, K).  target: (T,).

    Returns:
        the held-out predictions (T,), and R^2 = 1 - sum (target - prediction)^2 / sum (target - mean of the rest)^2,
        which is at most 1 and below 0 where the mean would have been better.
    """
    design = np.column_stack([np.ones(len(target)), scores])  # (T, 1 + K)
    prediction, mean = np.empty(len(target)), np.empty(len(target))
    for piece in np.array_split(np.arange(len(target)), folds):
        rest = np.setdiff1d(np.arange(len(target)), piece)
        weights = np.linalg.lstsq(design[rest], target[rest], rcond=None)[0]
        prediction[piece], mean[piece] = design[piece] @ weights, target[rest].mean()
    spread = float(((target - mean) ** 2).sum())
    return prediction, 1 - float(((target - prediction) ** 2).sum()) / spread if spread > 0 else 0.0


def read_light(path: str | Path) -> np.ndarray:
    """The hidden factor of the synthetic data, one value for each frame, from ``light.csv`` (header ``frame,light``).

    Raises:
        LabError: the file is missing, or holds something else.
    """
    try:
        with open(path, newline="") as file:
            return np.array([float(row["light"]) for row in csv.DictReader(file)])
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{path} is not the hidden factor; expected the header frame,light and numbers") from error


# ----------------------------------------------------------------------------------------- the z of a trained model


class LatentExplorer(page.LabWidget):
    """Move z along the directions in which the posterior mean varies most, and see the predicted frame change.

    Pose and last frame are fixed: those of frame ``index`` of the video, the last frame being the true one.  The z
    that is shown is the sum of ``values[k]`` standard deviations along direction k, plus what a draw from the prior
    has outside of these directions; so with all sliders at 0, z = 0, the mean of the prior.

    Traits that go both ways:
        index: frame that is predicted, from 1 (frame 0 has no last frame).
        values: one number for each direction, in standard deviations of mu along it, within ±4.
        draw: number of the draw from the prior that z started from; 0 for none.
        direction: which direction the plots show; K for the best linear combination.
        gain: factor on the difference to the prediction at z = 0.

    Attributes (K directions, T frames):
        mu: posterior means (T, N, h, w).  kl: KL of each frame's posterior from the prior in nats, (T,).
        directions: (K, N h w), orthonormal.  std, explained: standard deviation and share of variance, (K,).
        scores: mu along each direction, mean removed, in units of ``std``, (T, K).
        light, correlation, combination, best_correlation, r2: with a hidden factor, the factor (T,), its correlation
        with each direction (K,), the held-out prediction of it by the best linear combination (T,), the correlation
        of that with it, and the held-out R^2; else None.

    Args:
        model: a trained ``ConditionalVAE``; left in the mode in which it came.
        video: a ``dataset.Video`` whose true frames are all known.  The course's architecture takes about 0.1 s for a
            frame on a CPU; give it ``video.part(0, 60)``.
        light: a hidden factor, (T,), or the path of the synthetic data's ``light.csv``; directions then point to where
            it grows.
        index: frame shown first; default: the middle one.
        directions: sliders, at most 4.

    Raises:
        LabError: the video is of another size than the model, or lacks its true frames; ``light`` has another length.
    """

    _esm = page.module("latent.js")
    _css = page.styles("latent.css")

    index = traitlets.Int(1).tag(sync=True)
    values = traitlets.List(traitlets.Float()).tag(sync=True)
    draw = traitlets.Int(0).tag(sync=True)
    direction = traitlets.Int(0).tag(sync=True)
    gain = traitlets.Enum(GAINS, default_value=16).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _grids = traitlets.List().tag(sync=True)

    def __init__(
        self,
        model: Any,
        video: Any,
        light: np.ndarray | Sequence[float] | str | Path | None = None,
        index: int | None = None,
        directions: int = DIRECTIONS,
        **traits: Any,
    ) -> None:
        size = (model.cfg.frame_H, model.cfg.frame_W, 3)
        if video.labels.shape[1:] != size:
            raise LabError(
                f"{video.name}: frames are {video.labels.shape[1:]}, the model was built for {size} (H, W, 3); "
                "load the video with the model's own cfg"
            )
        if not video.has_truth or len(video.labels) < 2 * FOLDS:
            raise LabError(
                f"{video.name}: {len(video.frames)} true frames for {len(video.labels)} poses; the posterior is "
                f"computed from true frames, at least {2 * FOLDS} of them: give a training or validation video"
            )
        if not 1 <= directions <= DIRECTIONS:
            raise LabError(f"LatentExplorer: directions is {directions}; 1 to {DIRECTIONS} fit on the screen")
        self.model, self.video = model, video
        count = len(video.labels)
        self.light = None
        if light is not None:
            self.light = read_light(light) if isinstance(light, (str, Path)) else np.asarray(light, np.float64)
            if self.light.shape != (count,) or not np.isfinite(self.light).all():
                raise LabError(
                    f"light is {self.light.shape}; expected one finite number for each of the {count} frames of "
                    f"{video.name!r}, ({count},)"
                )

        self.mu, self.kl = self._posterior()
        flat = self.mu.reshape(count, -1)  # (T, N h w)
        self.directions, self.std, self.explained = principal_directions(flat, directions)
        scores = (flat - flat.mean(0)) @ self.directions.T / np.maximum(self.std, 1e-30)  # (T, K)
        self.correlation = self.combination = self.best_correlation = self.r2 = None
        if self.light is not None:
            self.correlation = np.array([correlation(s, self.light) for s in scores.T])
            signs = np.where(self.correlation < 0, -1.0, 1.0)
            self.directions, scores, self.correlation = (
                self.directions * signs[:, None], scores * signs, self.correlation * signs,
            )  # fmt: skip
            # The combination may use more than the sliders show: all of a short z, or its main directions.
            wide = principal_directions(flat, min(12, max(1, count // 10)))[0]
            self.combination, self.r2 = held_out_fit((flat - flat.mean(0)) @ wide.T, self.light)
            self.best_correlation = correlation(self.combination, self.light)
        self.scores = scores

        K = len(self.directions)
        self._contexts: dict[int, np.ndarray] = {}
        start = time.perf_counter()
        self._predict(1, np.zeros((2, self.directions.shape[1])))
        seconds = (time.perf_counter() - start) / 2
        self._points = GRID if seconds < 0.03 else SLOW_GRID
        traits.setdefault("values", [0.0] * K)
        traits.setdefault("direction", 0 if self.light is None else int(self.correlation.argmax()))
        super().__init__(
            index=count // 2 if index is None else index,
            _about={
                "kind": "latent", "count": count, "height": size[0], "width": size[1], "name": video.name,
                "std": self.std.tolist(), "explained": self.explained.tolist(), "limit": LIMIT, "grid": self._points,
                "steps": STEPS, "gains": list(GAINS), "kl": float(self.kl.mean()), "size": int(flat.shape[1]),
                "scores": _floats(self.scores.T), "light": _floats(self.light),
                "combination": _floats(self.combination),
                "correlation": None if self.light is None else self.correlation.tolist(),
                "best": self.best_correlation, "r2": self.r2,
                "patience": max(600, round(8000 * seconds)), "autogrid": seconds < 0.03,
            },
            **traits,
        )  # fmt: skip
        self._grids = [self._grid(self.index)]
        self.on_msg(self._answer)

    # What arrives from anywhere is brought into range, as a slider would.
    @traitlets.validate("index")
    def _valid_index(self, proposal: Any) -> int:
        return int(_bounded(proposal["value"], 1, len(self.video.labels) - 1))

    @traitlets.validate("values")
    def _valid_values(self, proposal: Any) -> list[float]:
        values = proposal["value"]
        if len(values) != len(self.directions):
            raise LabError(f"values has {len(values)} numbers; there are {len(self.directions)} directions")
        return [_bounded(v, -LIMIT, LIMIT) for v in values]

    @traitlets.validate("direction")
    def _valid_direction(self, proposal: Any) -> int:
        last = len(self.directions) - (self.light is None)
        return int(_bounded(proposal["value"], 0, last))

    @traitlets.validate("draw")
    def _valid_draw(self, proposal: Any) -> int:
        return max(int(proposal["value"]), 0)

    # -- the model

    def _posterior(self, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """mu (T, N, h, w) of q(z | x_t, P_t) on the true frames, and its KL (T,) in nats."""
        from labutils.images import to_float
        from labutils.model import evaluating
        from labutils.modules import kl_divergence

        means, costs = [], []
        with evaluating(self.model) as device:
            for start in range(0, len(self.video.labels), batch):
                cut = slice(start, start + batch)
                x, P = (to_float(a[cut]).to(device) for a in (self.video.frames, self.video.labels))  # (B, 3, H, W)
                _, mu, logvar = self.model.posterior(x, self.model.label_transformation(P))
                means.append(mu.float().cpu().numpy())
                costs.append(kl_divergence(mu, logvar).float().cpu().numpy())
        mu, kl = np.concatenate(means), np.concatenate(costs)
        if not np.isfinite(mu).all():
            raise LabError("the posterior mean is not finite; train the model again with a smaller --lr or --grad_clip")
        return mu, kl

    def _predict(self, index: int, z: np.ndarray, batch: int = 32) -> np.ndarray:
        """Frames predicted with each row of z (B, N h w), in grey levels 0..255, float32 (B, H, W, 3)."""
        import torch

        from labutils.images import to_float
        from labutils.model import evaluating

        frames = []
        with evaluating(self.model) as device:
            previous = to_float(self.video.frames[index - 1])[None].to(device)  # (1, 3, H, W)
            feature = self.model.label_transformation(to_float(self.video.labels[index])[None].to(device))
            for start in range(0, len(z), batch):
                part = torch.from_numpy(z[start : start + batch].astype(np.float32)).to(device)
                part = part.unflatten(1, self.model.latent_shape)  # (b, N, h, w)
                expand = (len(part), -1, -1, -1)
                x = self.model.step(previous.expand(expand), feature.expand(expand), part).clamp(0, 1)
                frames.append(x.mul(255).movedim(-3, -1).float().cpu().numpy())
        return np.concatenate(frames)

    def _rest(self, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw number ``draw`` from the prior: the sliders' values (K,), and what is left of it (N h w,)."""
        size = int(np.prod(self.model.latent_shape))
        if draw == 0:
            return np.zeros(len(self.directions)), np.zeros(size)
        z = np.random.default_rng(draw).standard_normal(size)
        values = np.clip(self.directions @ z / np.maximum(self.std, 1e-30), -LIMIT, LIMIT)
        return values, z - (values * self.std) @ self.directions

    def _z(self, values: Sequence[float], draw: int) -> np.ndarray:
        return (np.asarray(values) * self.std) @ self.directions + self._rest(draw)[1]

    def _zero(self, index: int) -> np.ndarray:
        if index not in self._contexts:
            if len(self._contexts) > 64:
                self._contexts.clear()
            self._contexts[index] = self._predict(index, np.zeros((1, self.directions.shape[1])))[0]
        return self._contexts[index]

    def _at(self, index: int, values: Sequence[float], draw: int) -> np.ndarray:
        return self._predict(index, self._z(values, draw)[None])[0]

    @property
    def z(self) -> np.ndarray:
        """The latent that is shown, float64 (N, h, w)."""
        return self._z(self.values, self.draw).reshape(self.model.latent_shape)

    @property
    def prediction(self) -> np.ndarray:
        """The frame predicted with it, uint8 (H, W, 3)."""
        return np.rint(self._at(self.index, self.values, self.draw)).astype(np.uint8)

    @property
    def prediction_at_zero(self) -> np.ndarray:
        """The frame predicted with z = 0, the prior's mean, uint8 (H, W, 3)."""
        return np.rint(self._zero(self.index)).astype(np.uint8)

    def posterior_values(self, index: int | None = None) -> np.ndarray:
        """The sliders' values, within their range, that come closest to mu of frame ``index``, (K,)."""
        mu = self.mu[self.index if index is None else index].reshape(-1)
        return np.clip(self.directions @ mu / np.maximum(self.std, 1e-30), -LIMIT, LIMIT)

    def draw_from_prior(self, number: int) -> None:
        """Show draw ``number`` (1, 2 ...) of z ~ N(0, I); the sliders go to where it lies along the directions."""
        with self.hold_sync():
            self.draw = number
            self.values = self._rest(self.draw)[0].tolist()

    # -- the browser

    def _grid(self, index: int) -> dict[str, Any]:
        """All that the browser needs at one frame when there is no kernel."""
        K = len(self.directions)
        steps = np.linspace(-LIMIT, LIMIT, self._points)
        z = np.concatenate([
            *[s * self.std[k] * self.directions[k][None] for k in range(K) for s in steps],
            *[self._z(self._rest(d)[0], d)[None] for d in range(1, PRIOR_DRAWS + 1)],
        ])  # fmt: skip  # (K * points + PRIOR_DRAWS, N h w)
        frames = np.concatenate([self._zero(index)[None], self._predict(index, z)])
        context = [self.video.labels[index], self.video.frames[index - 1], self.video.frames[index]]
        return {
            "index": index,
            "frames": zlib.compress(_fine(frames), 4),
            "context": zlib.compress(np.stack(context).tobytes(), 4),
            "posterior": self.posterior_values(index).tolist(),
            "draws": [self._rest(d)[0].tolist() for d in range(1, PRIOR_DRAWS + 1)],
        }

    def _answer(self, _: Any, content: dict[str, Any], buffers: Any = None) -> None:
        """Answer one question of latent.js; it never asks a second one before."""
        start = time.perf_counter()
        reply: dict[str, Any] = {"answer": content.get("ask")}
        out: list[bytes] = []
        try:
            index = int(_bounded(content["index"], 1, len(self.video.labels) - 1))
            if content.get("grid"):
                grid = self._grid(index)
                # Kept in the traits too, so that other views and saved pages have it.
                self._grids = [*[g for g in self._grids if g["index"] != index][-7:], grid]
            else:
                draw = max(int(content.get("draw", 0)), 0)
                if content.get("fresh"):
                    values = self._rest(draw)[0]
                else:
                    values = [_bounded(float(v), -LIMIT, LIMIT) for v in content["values"]][: len(self.directions)]
                reply |= {"index": index, "values": list(map(float, values)), "draw": draw}
                out = [_fine(self._at(index, values, draw)), _fine(self._zero(index))]
                if content.get("have") != index:
                    context = (self.video.labels[index], self.video.frames[index - 1], self.video.frames[index])
                    out += [np.ascontiguousarray(a).tobytes() for a in context]
                    reply["posterior"] = self.posterior_values(index).tolist()
        except Exception as error:  # told in the widget: a traceback would go to a log that nobody reads
            reply["error"] = f"{type(error).__name__}: {error}"
        reply["ms"] = 1000 * (time.perf_counter() - start)
        self.send(reply, out)

    def __repr__(self) -> str:
        told = "" if self.r2 is None else f"; light: held-out R² {self.r2:.2f}"
        shares = ", ".join(f"{100 * share:.0f} %" for share in self.explained)
        return f"LatentExplorer({self.video.name!r}, frame {self.index + 1}; variance along z: {shares}{told})"

    def to_html(self, path: str | Path, title: str = "The latent z", moments: int = 6) -> Path:
        """Write one self-contained page: it moves along the directions at ``moments`` frames of the video.

        Args:
            path: the file to write.  title: its title.
            moments: frames, the shown one among them, whose predictions travel in the page (about 0.2 MB each).
        """
        if moments < 1:
            raise LabError(f"to_html: moments is {moments}; at least the shown frame is needed")
        count = len(self.video.labels)
        chosen = {int(i) for i in np.rint(np.linspace(1, count - 1, max(moments - 1, 0)))} | {self.index}
        here, known = list(self._grids), {g["index"]: g for g in self._grids}
        with self.hold_sync():  # what goes into the page need not go to a browser
            self._grids = [known.get(i) or self._grid(i) for i in sorted(chosen)]
            try:
                return _write_page(path, title, self)
            finally:
                self._grids = here

    def figure(self, steps: Sequence[float] = (-4, -2, 0, 2, 4), gain: int | None = None) -> Figure:
        """A still: the prediction along each direction, the difference to z = 0, and the light, where it is known."""
        gain = self.gain if gain is None else gain
        K, n = len(self.directions), len(steps)
        figure = LabFigure(figsize=(1.75 * n + 0.6, 0.95 * 2 * K + (2.3 if self.light is not None else 0.3)))
        heights = [0.95 * 2 * K] if self.light is None else [0.95 * 2 * K, 2.3]
        parts = figure.subfigures(len(heights), height_ratios=heights, squeeze=False)[:, 0]
        upper = parts[0]
        grid = upper.subplots(
            2 * K,
            n,
            squeeze=False,
            gridspec_kw={"hspace": 0.08, "wspace": 0.04, "left": 0.1, "bottom": 0.02, "top": 0.95},
        )
        zero = self._zero(self.index)
        for k in range(K):
            frames = self._predict(self.index, np.array([s * self.std[k] * self.directions[k] for s in steps]))
            for j, frame in enumerate(frames):
                grid[2 * k, j].imshow(np.rint(frame).astype(np.uint8), interpolation="nearest")
                grid[2 * k + 1, j].imshow(difference_image(frame, zero, gain), interpolation="nearest")
                if k == 0:
                    grid[0, j].set_title(f"{steps[j]:+g} std" if steps[j] else "0", fontsize=8)
            grid[2 * k, 0].set_ylabel(f"direction {k + 1}\n{100 * self.explained[k]:.0f} %", fontsize=7)
            grid[2 * k + 1, 0].set_ylabel(f"difference\n×{gain}", fontsize=7)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8", linewidth=0.5)
        if self.light is not None:
            best = int(self.correlation.argmax())
            place = {"bottom": 0.24, "wspace": 0.28, "width_ratios": [1, 2.2]}
            scatter, series = parts[1].subplots(1, 2, gridspec_kw=place)
            scatter.plot(self.scores[:, best], self.light, ".", color="#0072B2", ms=3)
            scatter.set(xlabel=f"direction {best + 1} (std)", ylabel="hidden factor")
            scatter.set_title(f"r = {self.correlation[best]:.2f}", fontsize=9)
            t = np.arange(1, len(self.light) + 1)
            series.plot(t, self.light, color="0.4", lw=1, label="hidden factor")
            series.plot(t, self.combination, color="#D55E00", lw=1, label="best combination of μ, held out")
            series.set(xlabel="frame", xlim=(1, len(t)))
            series.set_title(f"held-out R² = {self.r2:.2f}", fontsize=9, loc="left")
            series.legend(fontsize=7, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97))
            for axes in (scatter, series):
                axes.tick_params(labelsize=7)
                axes.spines[["top", "right"]].set_visible(False)
        return figure


def difference_image(frame: np.ndarray, zero: np.ndarray, gain: float) -> np.ndarray:
    """``gain`` times the difference of two frames in grey levels on mid grey, uint8; latent.js draws the same."""
    return np.clip(np.floor(128 + gain * (frame.astype(np.float64) - zero) + 0.5), 0, 255).astype(np.uint8)


def _fine(frames: np.ndarray) -> bytes:
    """Frames in grey levels as int16 in 1/64 grey level."""
    return np.rint(STEPS * frames).astype("<i2").tobytes()


def _floats(values: np.ndarray | None) -> bytes | None:
    return None if values is None else np.ascontiguousarray(values).astype("<f4").tobytes()
