"""LatentExplorer: walk through the z of a trained model.

While a kernel is there it asks the model; predictions along each direction at the chosen frame travel to the browser
beforehand, so it stays alive without one::

    explorer = LatentExplorer(model, video, light="data/dance/val/light.csv")
    explorer.values = [2.0, 0.0, 0.0, 0.0]     # z = 2 along the first direction: two standard deviations of N(0, I)
    explorer.prediction                        # uint8 (H, W, 3)
    explorer.effect(2)                         # mean change of a pixel between z = 0 and z = ±2, each direction, (K,)
    explorer.correlation                       # of each direction with the room light, (K,)
"""

import time
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from labutils.analysis import correlation, held_out_fit, principal_directions
from labutils.dance import read_light
from labutils.errors import LabError
from labutils.images import Video, to_float, to_uint8
from labutils.model import ConditionalVAE, evaluating
from labutils.modules import kl_divergence
from labutils.show import INK, LabFigure
from labutils.widgets import page

DIRECTIONS = 4  # sliders, at most
LIMIT = 4.0  # a slider reaches at least so far to either side; N(0, I) has standard deviation 1 along each direction
GRID = 17  # predictions along each direction that travel beforehand (SLOW_GRID where one takes over 30 ms)
SLOW_GRID = 9
PRIOR_DRAWS = 6  # and draws from the prior
STEPS = 64.0  # predictions travel as int16 in 1/64 grey level: z often changes less than one
GAINS = (1, 8, 16, 32, 64, 128)  # of the difference panel
PLAIN = 0.05  # mean change of a pixel at z = ±2 above which a difference is seen as it is
LEAST = 10  # frames of a video


class LatentExplorer(page.LabWidget):
    """Move z along the directions in which the posterior mean varies most, and see the predicted frame change.

    Pose and previous frame are fixed: those of frame ``index`` of the video, the true previous frame.  The z
    that is shown is the sum of ``values[k]`` times direction k, plus what a draw from the prior has outside of these
    directions; so with all sliders at 0, z = 0, the mean of the prior, whose standard deviation is 1 along each.

    Traits that go both ways:
        index: frame that is predicted, from 1 (frame 0 has no previous frame).
        values: z along each direction, within ±``limit``.
        draw: number of the draw from the prior that z started from; 0 for none.
        direction: which direction the plots show; K for the best linear combination.
        gain: factor on the difference to the prediction at z = 0; starts at 1 where z moves pixels visibly.

    Attributes (K directions, T frames):
        mu: posterior means (T, N, h, w).
        kl: KL of each frame's posterior from the prior in nats, (T,).
        directions: (K, N h w), orthonormal.
        std, explained: standard deviation of mu along each, and share of its variance, (K,).
        limit: how far the sliders reach: 4, or four times the largest ``std``.
        scores: mu along each direction, (T, K).
        light, correlation, combination, best_correlation, r2: with a hidden factor, the factor (T,), its correlation
            with each direction (K,), the held-out prediction of it by the best linear combination (T,), the
            correlation of that with it, and the held-out R^2; else None.
        untrained_r2: the same R^2 for an untrained model of the same settings.  Chance features tell something too,
            so ``r2`` by itself is no evidence that the model has learned anything.

    Args:
        model: a trained model; left in the mode in which it came.
        video: its true frames must all be known.  The course's architecture takes about 0.1 s for a frame on a CPU;
            give it ``video.part(0, 60)``.
        light: a hidden factor, (T,), or the path of the synthetic data's ``light.csv``; directions then point to where
            it grows.  Where z codes what is *new*, give the change.
        index: frame shown first; default: the middle one.
        directions: sliders, at most 4.

    Raises:
        LabError: the video is of another size than the model, or lacks its true frames; ``light`` has another length.
    """

    _esm = page.module("latent.js")
    _css = page.styles("latent.css")
    page_title = "The latent z"

    index = traitlets.Int(1).tag(sync=True)
    values = traitlets.List(traitlets.Float()).tag(sync=True)
    draw = traitlets.Int(0, min=0).tag(sync=True)
    direction = traitlets.Int(0).tag(sync=True)
    gain = traitlets.Enum(GAINS).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _grids = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        model: ConditionalVAE,
        video: Video,
        light: np.ndarray | Sequence[float] | str | Path | None = None,
        index: int | None = None,
        directions: int = DIRECTIONS,
        **traits: Any,
    ) -> None:
        size = (model.cfg.frame_H, model.cfg.frame_W, 3)
        count = len(video.labels)
        if video.labels.shape[1:] != size:
            raise LabError(
                f"{video.name}: frames are {video.labels.shape[1:]}, the model was built for {size} (H, W, 3); "
                "load the video with the model's own cfg"
            )
        if not video.has_truth or count < LEAST:
            raise LabError(
                f"{video.name}: {len(video.frames)} true frames for {count} poses; the posterior is computed from "
                f"true frames, at least {LEAST} of them: give a training or validation video"
            )
        if not 1 <= directions <= DIRECTIONS:
            raise LabError(f"LatentExplorer: directions is {directions}; 1 to {DIRECTIONS} fit on the screen")
        if model.cfg.prior != "standard":
            raise LabError("LatentExplorer shows draws of N(0, I); this model has a learned prior: train one without")
        self.model, self.video, self.light = model, video, _light(light, video)
        self._analyse(directions)
        self._zero = lru_cache(64)(lambda index: self._predict(index, np.zeros((1, self._size)))[0])  # (3, H, W)
        start = time.perf_counter()
        self._predict(1, np.zeros((2, self._size)))
        seconds = (time.perf_counter() - start) / 2
        self._points = GRID if seconds < 0.03 else SLOW_GRID
        traits.setdefault("values", [0.0] * len(self.directions))
        traits.setdefault("direction", 0 if self.correlation is None else int(self.correlation.argmax()))
        index = int(page.bounded(count // 2 if index is None else index, 1, count - 1))
        traits.setdefault("gain", 1 if self.effect(2, [index]).max() >= PLAIN else 16)
        super().__init__(
            index=index,
            _about={
                "count": count, "height": size[0], "width": size[1], "name": video.name,
                "std": self.std.tolist(), "explained": self.explained.tolist(), "limit": self.limit,
                "grid": self._points, "steps": STEPS, "gains": list(GAINS), "kl": float(self.kl.mean()),
                "scores": _floats(self.scores.T), "light": _floats(self.light),
                "combination": _floats(self.combination), "best": self.best_correlation, "r2": self.r2,
                "untrained": self.untrained_r2,
                "correlation": None if self.correlation is None else self.correlation.tolist(),
                "patience": max(600, round(8000 * seconds)), "autogrid": seconds < 0.03,
            },
            **traits,
        )  # fmt: skip
        self._grids = [self._grid(self.index)]
        self.answer_with(self._answer)

    # What arrives from anywhere is brought into range, as a slider would.
    @traitlets.validate("index")
    def _valid_index(self, proposal: Any) -> int:
        return int(page.bounded(proposal["value"], 1, len(self.video.labels) - 1))

    @traitlets.validate("values")
    def _valid_values(self, proposal: Any) -> list[float]:
        values = proposal["value"]
        if len(values) != len(self.directions):
            raise LabError(f"values has {len(values)} numbers; there are {len(self.directions)} directions")
        return [page.bounded(v, -self.limit, self.limit) for v in values]

    @traitlets.validate("direction")
    def _valid_direction(self, proposal: Any) -> int:
        return int(page.bounded(proposal["value"], 0, len(self.directions) - (self.light is None)))

    # -- the model

    def _analyse(self, directions: int) -> None:
        """Posterior means, their main directions, and what these tell of the light."""
        self.mu, self.kl = self._posterior(self.model)
        count = len(self.mu)
        flat = self.mu.reshape(count, -1)  # (T, N h w)
        self._size = flat.shape[1]
        # The combination may use more than the sliders show: all of a short z, or its main directions.
        most = min(12, max(1, count // 10))
        wide, std, explained = principal_directions(flat, max(directions, most))
        self.directions, self.std, self.explained = wide[:directions], std[:directions], explained[:directions]
        self.limit = max(LIMIT, float(np.ceil(4 * self.std.max())))
        self.scores = flat @ self.directions.T  # (T, K)
        self.correlation = self.combination = self.best_correlation = self.r2 = self.untrained_r2 = None
        if self.light is None:
            return
        found = np.array([correlation(s, self.light) for s in self.scores.T])
        signs = np.where(found < 0, -1.0, 1.0)
        self.directions, self.scores = self.directions * signs[:, None], self.scores * signs
        self.correlation = found * signs
        self.combination, self.r2 = held_out_fit(flat @ wide[:most].T, self.light)
        self.best_correlation = correlation(self.combination, self.light)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            untrained = ConditionalVAE(self.model.cfg)
        chance = self._posterior(untrained.to(next(self.model.parameters()).device))[0].reshape(count, -1)
        self.untrained_r2 = held_out_fit(chance @ principal_directions(chance, most)[0].T, self.light)[1]

    def _posterior(self, model: ConditionalVAE, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """mu (T, N, h, w) of the posterior on the true frames, and its KL (T,) in nats."""
        previous = np.concatenate([self.video.frames[:1], self.video.frames[:-1]])  # the first one has none
        means, costs = [], []
        with evaluating(model) as device:
            for start in range(0, len(self.video.labels), batch):
                cut = slice(start, start + batch)
                pixels = self.video.frames[cut], self.video.labels[cut], previous[cut]
                x, P, last = (to_float(a).to(device) for a in pixels)  # (B, 3, H, W) each
                _, mu, logvar = model.posterior(x, model.label_transformation(P), previous=last)
                means.append(mu.float().cpu())
                costs.append(kl_divergence(mu, logvar).float().cpu())
        mean = torch.cat(means)
        if not mean.isfinite().all():
            raise LabError("the posterior mean is not finite; train the model again with a smaller --lr or --grad_clip")
        return mean.numpy(), torch.cat(costs).numpy()

    def _predict(self, index: int, z: np.ndarray, batch: int = 32) -> Tensor:
        """Frames predicted with each row of z (B, N h w), (B, 3, H, W) in [0, 1]."""
        frames = []
        with evaluating(self.model) as device:
            last = to_float(self.video.frames[index - 1])[None].to(device)  # (1, 3, H, W)
            feature = self.model.label_transformation(to_float(self.video.labels[index])[None].to(device))
            for part in torch.from_numpy(z.astype(np.float32)).to(device).split(batch):  # (b, N h w)
                expand = (len(part), -1, -1, -1)
                part = part.unflatten(1, self.model.latent_shape)  # (b, N, h, w)
                frame = self.model.step(last.expand(expand), feature.expand(expand), part).clamp(0, 1)
                frames.append(frame.float().cpu())
        return torch.cat(frames)

    def _at(self, index: int, values: Sequence[float] | np.ndarray, draw: int) -> Tensor:
        return self._predict(index, self._z(values, draw)[None])[0]  # (3, H, W)

    def _rest(self, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw number ``draw`` from the prior: the sliders' values (K,), and what is left of it (N h w,)."""
        if draw == 0:
            return np.zeros(len(self.directions)), np.zeros(self._size)
        z = np.random.default_rng(draw).standard_normal(self._size)
        values = self._nearest(z)
        return values, z - values @ self.directions

    def _nearest(self, z: np.ndarray) -> np.ndarray:
        """The sliders' values (K,), within their range, that come closest to z (N h w,)."""
        return np.clip(self.directions @ z, -self.limit, self.limit)

    def _z(self, values: Sequence[float] | np.ndarray, draw: int) -> np.ndarray:
        return np.asarray(values) @ self.directions + self._rest(draw)[1]

    @property
    def z(self) -> np.ndarray:
        """The latent that is shown, float64 (N, h, w)."""
        return self._z(self.values, self.draw).reshape(self.model.latent_shape)

    @property
    def prediction(self) -> np.ndarray:
        """The frame predicted with it, uint8 (H, W, 3)."""
        return to_uint8(self._at(self.index, self.values, self.draw))

    @property
    def prediction_at_zero(self) -> np.ndarray:
        """The frame predicted with z = 0, the prior's mean, uint8 (H, W, 3)."""
        return to_uint8(self._zero(self.index))

    def effect(self, size: float = 2.0, indices: Sequence[int] | None = None) -> np.ndarray:
        """How much z moves the prediction: mean absolute change of a pixel in [0, 1] between z = 0 and z = ±``size``.

        Returns one number for each direction, (K,), averaged over both signs and over frames.

        Args:
            size: length of z, in standard deviations of the prior; N(0, I) draws longer ones than 2 along a direction
                in 5 % of the frames.
            indices: frames that are predicted; default: 12, evenly spaced.
        """
        if indices is None:
            indices = np.linspace(1, len(self.video.labels) - 1, 12).astype(int).tolist()
        z = size * np.concatenate([self.directions, -self.directions])  # (2K, N h w)
        moved = [(self._predict(t, z) - self._zero(t)).abs().mean((1, 2, 3)) for t in indices]  # (2K,) each
        return torch.stack(moved).mean(0).view(2, -1).mean(0).numpy().astype(np.float64)

    def posterior_values(self, index: int | None = None) -> np.ndarray:
        """The sliders' values, within their range, that come closest to mu of frame ``index``, (K,)."""
        return self._nearest(self.mu[self.index if index is None else index].reshape(-1))

    def draw_from_prior(self, number: int) -> None:
        """Show draw ``number`` (1, 2 ...) of z ~ N(0, I); the sliders go to where it lies along the directions."""
        with self.hold_sync():
            self.draw = number
            self.values = self._rest(self.draw)[0].tolist()

    # -- the browser

    def _context(self, index: int) -> np.ndarray:
        """Pose, last and true frame, uint8 (3, H, W, 3)."""
        return np.stack([self.video.labels[index], self.video.frames[index - 1], self.video.frames[index]])

    def _grid(self, index: int) -> dict[str, Any]:
        """All that the browser needs at one frame when there is no kernel."""
        steps = np.linspace(-self.limit, self.limit, self._points)[:, None]
        draws = [self._rest(d)[0] for d in range(1, PRIOR_DRAWS + 1)]
        posterior = self.posterior_values(index)
        z = np.concatenate([
            *(steps * direction for direction in self.directions),
            [self._z(values, d) for d, values in enumerate(draws, 1)],
            self._z(posterior, 0)[None],
        ])  # fmt: skip  # (K * points + PRIOR_DRAWS + 1, N h w)
        frames = torch.cat([self._zero(index)[None], self._predict(index, z)])
        return {
            "index": index,
            "frames": zlib.compress(_fine(frames), 4),
            "context": zlib.compress(self._context(index).tobytes(), 4),
            "posterior": posterior.tolist(),
            "draws": [values.tolist() for values in draws],
        }

    def _answer(self, question: dict[str, Any], _: Any) -> tuple[dict[str, Any], list[bytes]]:
        index = int(page.bounded(question["index"], 1, len(self.video.labels) - 1))
        if question.get("grid"):  # kept in the traits, so that other views and saved pages have it too
            self._grids = [*[g for g in self._grids if g["index"] != index][-7:], self._grid(index)]
            return {}, []
        draw = int(question["draw"])
        values = np.clip(question["values"], -self.limit, self.limit)
        if question.get("fresh"):
            values = self._rest(draw)[0]
        reply = {"index": index, "values": values.tolist(), "draw": draw}
        out = [_fine(self._at(index, values, draw)), _fine(self._zero(index))]
        if question.get("have") != index:
            reply["posterior"] = self.posterior_values(index).tolist()
            out += [image.tobytes() for image in self._context(index)]
        return reply, out

    def __repr__(self) -> str:
        told = "" if self.r2 is None else f"; light: held-out R² {self.r2:.2f}, untrained {self.untrained_r2:.2f}"
        shares = ", ".join(f"{100 * share:.0f} %" for share in self.explained)
        return f"LatentExplorer({self.video.name!r}, frame {self.index + 1}; variance along z: {shares}{told})"

    def to_html(self, path: str | Path, title: str | None = None, moments: int = 6) -> Path:
        """Write one self-contained page: it moves along the directions at ``moments`` frames of the video.

        Args:
            path: the file to write.
            title: its title.
            moments: frames, the shown one among them, whose predictions travel in the page (about 0.2 MB each).
        """
        if moments < 1:
            raise LabError(f"to_html: moments is {moments}; at least the shown frame is needed")
        count = len(self.video.labels)
        chosen = {int(i) for i in np.rint(np.linspace(1, count - 1, moments - 1))} | {self.index}
        here, known = self._grids, {g["index"]: g for g in self._grids}
        with self.hold_sync():  # what goes into the page need not go to a browser
            self._grids = [known.get(i) or self._grid(i) for i in sorted(chosen)]
            try:
                return super().to_html(path, title)
            finally:
                self._grids = here

    def figure(self, steps: Sequence[float] = (-4, -2, 0, 2, 4), gain: int | None = None) -> Figure:
        """A still: the prediction along each direction, the difference to z = 0, and the light, where it is known."""
        gain = self.gain if gain is None else gain
        K, n = len(self.directions), len(steps)
        heights = [0.95 * 2 * K, 2.3][: 1 if self.light is None else 2]
        figure = LabFigure(figsize=(1.75 * n + 0.6, heights[0] + (heights[1] if heights[1:] else 0.3)))
        parts = figure.subfigures(len(heights), height_ratios=heights, squeeze=False)[:, 0]
        place = {"hspace": 0.08, "wspace": 0.04, "left": 0.1, "bottom": 0.02, "top": 0.95}
        grid = parts[0].subplots(2 * K, n, squeeze=False, gridspec_kw=place)
        zero = _grey(self._zero(self.index))
        for k in range(K):
            frames = self._predict(self.index, np.outer(steps, self.directions[k]))
            for j, frame in enumerate(frames):
                grid[2 * k, j].imshow(to_uint8(frame), interpolation="nearest")
                grid[2 * k + 1, j].imshow(difference_image(_grey(frame), zero, gain), interpolation="nearest")
                grid[0, j].set_title(f"$z$ = {steps[j]:+g}" if steps[j] else "$z$ = 0", fontsize=8)
            grid[2 * k, 0].set_ylabel(f"direction {k + 1}\n{100 * self.explained[k]:.0f} %", fontsize=7)
            grid[2 * k + 1, 0].set_ylabel("difference" if gain == 1 else f"difference\n×{gain}", fontsize=7)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8", linewidth=0.5)
        if self.light is not None and self.correlation is not None:
            shown = self.direction if self.direction < K else int(self.correlation.argmax())
            place = {"bottom": 0.24, "wspace": 0.28}
            scatter, series = parts[1].subplots(1, 2, width_ratios=[1, 2.2], gridspec_kw=place)
            scatter.plot(self.scores[:, shown], self.light, ".", color="#0072B2", ms=3)
            scatter.set(xlabel=f"$\\mu$ along direction {shown + 1}", ylabel="hidden factor")
            scatter.set_title(f"r = {self.correlation[shown]:.2f}", fontsize=9)
            t = np.arange(1, len(self.light) + 1)
            series.plot(t, self.light, color=INK, lw=1, label="hidden factor")
            series.plot(t, self.combination, color="#D55E00", lw=1, label=r"best combination of $\mu$, held out")
            series.set(xlim=(1, len(t)))
            series.xaxis.set_major_locator(MaxNLocator(integer=True))
            series.set_xlabel("frame", loc="left")
            told = f"held-out R² = {self.r2:.2f}; untrained model: {self.untrained_r2:.2f}"
            series.set_title(told, fontsize=9, loc="left")
            series.legend(fontsize=7, frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, -0.16))
            for axes in (scatter, series):
                axes.tick_params(labelsize=7)
                axes.spines[["top", "right"]].set_visible(False)
        return figure


def difference_image(frame: np.ndarray, zero: np.ndarray, gain: float) -> np.ndarray:
    """``gain`` times the difference of two frames in grey levels on mid grey, uint8; latent.js draws the same."""
    return np.clip(np.floor(128 + gain * (frame.astype(np.float64) - zero) + 0.5), 0, 255).astype(np.uint8)


def _light(light: Any, video: Video) -> np.ndarray | None:
    """The hidden factor from what the user gave, (T,)."""
    if light is None:
        return None
    light = np.asarray(read_light(light) if isinstance(light, (str, Path)) else light, np.float64)
    count = len(video.labels)
    if light.shape != (count,) or not np.isfinite(light).all():
        raise LabError(
            f"light is {light.shape}; expected one finite number for each of the {count} frames of "
            f"{video.name!r}, ({count},)"
        )
    return light


def _grey(frames: Tensor) -> np.ndarray:
    """Frames (..., 3, H, W) in [0, 1] in grey levels 0..255, float32 (..., H, W, 3)."""
    return frames.mul(255).movedim(-3, -1).numpy()


def _fine(frames: Tensor) -> bytes:
    """Frames (..., 3, H, W) as int16 (..., H, W, 3) in 1/64 grey level."""
    return np.rint(STEPS * _grey(frames)).astype("<i2").tobytes()


def _floats(values: np.ndarray | None) -> bytes | None:
    return None if values is None else np.ascontiguousarray(values).astype("<f4").tobytes()
