"""FrameScrubber: pose, truth, prediction and error of a video, frame by frame, over its PSNR curve.

The frames travel to the browser once, without loss, and everything that follows happens there: the widget answers
without Python and goes on when the kernel is gone.  Python can read and set the place all the same::

    scrubber = FrameScrubber.from_arrays(pose, truth, prediction)   # uint8 (T, H, W, 3) each
    scrubber.index = 99                                             # the 100th frame
    scrubber.observe(lambda change: ..., "index")
    scrubber = FrameScrubber.from_arrays(pose, truth, {"a": one, "b": another}, together=True)  # side by side
    scrubber.to_html("outputs/scrubber.html")                       # one file: no kernel, no network
    scrubber.figure()                                               # a still for GitHub and print
"""

import html
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labutils.baselines import BASELINES
from labutils.errors import LabError
from labutils.metrics import psnr
from labutils.show import COLORS, INK, PALE, LabFigure, bold_poses
from labutils.widgets import page

SCALES = (1, 2, 4, 8, 16)
SPEEDS = (0.25, 0.5, 1, 2, 4)


# ---------------------------------------------------------------------------------------------------- data


@dataclass(eq=False)
class Clip:
    """One sequence: its poses, its true frames where they are known, and one or several predictions of it.

    Args:
        name: shown in the sequence selector.
        pose: pose images, uint8 (T, H, W, 3), which are shown by ``show.bold_poses``.
        predictions: name of the run -> predicted frames, uint8 (T, H, W, 3), the given frame 1 first.  Names that
            differ only in a number at their end (``epoch 3``, ``epoch 6``) become a slider in the order of that number,
            unless the runs are shown together.
        truth: true frames, uint8 (T, H, W, 3); None leaves the error and, unless ``psnr`` is given, the curves out.
        psnr: name of the run -> PSNR in dB of frames 2..T, (T-1,).  What is missing is computed from the frames.
        baselines: name -> PSNR in dB of frames 2..T, (T-1,); ``copy_first`` is added where the truth is known.

    Raises:
        LabError: an array has another type, shape or number of frames than its neighbours; the sequence is named.
    """

    name: str
    pose: np.ndarray
    predictions: Mapping[str, np.ndarray]
    truth: np.ndarray | None = None
    psnr: Mapping[str, np.ndarray] | None = None
    baselines: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        self.pose = self._frames(self.pose, "pose")
        if not self.predictions:
            raise LabError(f"sequence {self.name!r} has no prediction; give predictions={{name: frames}}")
        self.predictions = {str(k): self._frames(v, f"prediction {k!r}") for k, v in self.predictions.items()}
        if self.truth is not None:
            self.truth = self._frames(self.truth, "truth")
        extra = sorted(set(self.psnr or {}) - set(self.predictions))
        if extra:
            raise LabError(f"sequence {self.name!r}: psnr is given for {extra}, which are no predictions of it")
        self.psnr = {k: self._curve(v, f"psnr of {k!r}") for k, v in (self.psnr or {}).items()}
        self.baselines = {k: self._curve(v, f"baseline {k!r}") for k, v in (self.baselines or {}).items()}
        if self.truth is not None:
            for name, frames in self.predictions.items():
                if name not in self.psnr:
                    self.psnr[name] = psnr(frames[1:], self.truth[1:])
            if "copy_first" not in self.baselines:
                still = np.broadcast_to(self.truth[0], self.truth[1:].shape)
                self.baselines = {"copy_first": psnr(still, self.truth[1:]), **self.baselines}

    def _frames(self, frames: Any, what: str) -> np.ndarray:
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise LabError(
                f"sequence {self.name!r}: {what} is {frames.dtype} {frames.shape}; expected uint8 (T, H, W, 3)"
                + ("; from floats in [0, 1]: (255 * x).round().astype('uint8')" if frames.dtype.kind == "f" else "")
            )
        if len(frames) < 2:
            raise LabError(f"sequence {self.name!r}: {what} has {len(frames)} frame; a video needs at least 2")
        if frames.shape != self.pose.shape and what != "pose":
            raise LabError(
                f"sequence {self.name!r}: {what} has {len(frames)} frames of {frames.shape[1:]}; "
                f"expected {len(self.pose)} frames of {self.pose.shape[1:]}, as many and as large as the poses"
                + ("; is the given frame 1 missing?" if len(frames) + 1 == len(self.pose) else "")
            )
        return frames

    def _curve(self, values: Any, what: str) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(self.pose) - 1,):
            raise LabError(
                f"sequence {self.name!r}: {what} has shape {values.shape}; expected ({len(self.pose) - 1},), "
                f"one value for each of the frames 2..{len(self.pose)}"
            )
        return values


def encode(frames: np.ndarray) -> bytes:
    """Lossless bytes of uint8 frames (T, H, W, 3): each frame minus the one before it, modulo 256, then zlib.

    Most of a picture stands still, so the differences are nearly all 0; smaller than a PNG of all frames, and the
    browser undoes it exactly, without the colour management that image formats go through.
    """
    step = frames.copy()
    step[1:] -= frames[:-1]  # uint8 wraps around
    packer = zlib.compressobj(4, strategy=zlib.Z_FILTERED)  # for noisy differences smaller and faster than level 9
    return packer.compress(step.tobytes()) + packer.flush()


def decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of ``encode`` for frames of ``shape`` (T, H, W, 3); scrubber.js does the same."""
    step = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(shape)
    return np.cumsum(step, axis=0, dtype=np.uint8)


@lru_cache
def error_colours() -> tuple[np.ndarray, np.ndarray]:
    """Colours of the error: (256, 3) uint8 for 0..1 and (511, 3) uint8 for -1..1.  No error is nearly black.

    Lightness rises evenly with the size of the error in Oklab (Ottosson 2020), so that twice the error looks like
    twice the step; the sign is told by hue, blue for too dark and orange for too bright.
    """
    t = np.linspace(0.0, 1.0, 256)
    arch = np.sin(np.pi * np.clip(t, 0.0, 1.0)) ** 0.7
    size = _oklch(0.14 + 0.83 * t, 0.17 * arch, 300.0 + 155.0 * t)
    bright = _oklch(0.14 + 0.78 * t, 0.15 * arch, 50.0 + 30.0 * t)
    dark = _oklch(0.14 + 0.78 * t, 0.15 * arch, 265.0 - 40.0 * t)
    return size, np.concatenate([dark[:0:-1], bright])


def _oklch(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Oklab lightness, chroma and hue in degrees, each (n,), as sRGB uint8 (n, 3); colours outside sRGB are clipped."""
    a, b = chroma * np.cos(np.deg2rad(hue)), chroma * np.sin(np.deg2rad(hue))
    lms = np.stack([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ], axis=-1) ** 3  # fmt: skip
    to_rgb = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ])  # fmt: skip
    rgb = np.clip(lms @ to_rgb.T, 0.0, 1.0)
    rgb = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return np.rint(255 * rgb).astype(np.uint8)


def error_image(prediction: np.ndarray, truth: np.ndarray, scale: int = 4, signed: bool = False) -> np.ndarray:
    """The error of uint8 frames (..., H, W, 3) in colours, uint8 (..., H, W, 3); scrubber.js draws the same.

    Absolute: root mean square over the channels, the quantity that PSNR counts.  Signed: mean over the channels.
    Both are in units of the data range, times ``scale``, and clipped to 1.
    """
    size, sign = error_colours()
    error = (prediction.astype(np.float64) - truth.astype(np.float64)) / 255.0
    if signed:
        return sign[np.floor(255.0 * np.clip(scale * error.mean(-1), -1.0, 1.0) + 0.5).astype(int) + 255]
    return size[np.floor(255.0 * np.minimum(scale * np.sqrt((error**2).mean(-1)), 1.0) + 0.5).astype(int)]


def run_axis(names: Sequence[str]) -> tuple[str, list[str]]:
    """("epoch", names in order of their number) where all names are ``epoch <number>`` alike; else ("", names)."""
    parts = [p for name in names if (p := re.fullmatch(r"(.*?)[\s_=-]*(\d+(?:\.\d+)?)", name))]
    axes = {p[1] for p in parts}
    if len(parts) < max(len(names), 2) or len(axes) > 1 or "" in axes:
        return "", list(names)
    return parts[0][1], [p[0] for p in sorted(parts, key=lambda p: float(p[2]))]


# -------------------------------------------------------------------------------------------------- widget


class FrameScrubber(page.LabWidget):
    """Scrub through predicted videos.

    Traits that go both ways (all others are fixed when the widget is made):
        index: frame shown, from 0; on the screen and in the assignment frames count from 1.  Clipped to the sequence.
            While the front end plays or drags, Python hears of it at most ten times a second, and always of the last.
        run: index of the run (model, checkpoint) in ``runs``;  sequence: index of the sequence in ``sequences``.
        together: the predictions of all runs side by side, in place of one prediction and its error; ``run`` is then
            the one whose PSNR is read out.  Given as True at the start, it keeps numbered runs as they are, without a
            slider.  2 to 8 runs without a slider have a button for it.
        playing, loop, speed: the player; ``speed`` is a factor on ``fps``.
        scale, signed: the error panel shows ``scale`` times the error, absolute or with its sign.
        hidden: names of curves that are not drawn: runs, baselines, "mean", and "others" for the other checkpoints.

    Args:
        sequences: the clips; all must hold predictions of the same runs.
        fps: frames a second when playing at speed 1.
        **traits: first values of the traits above.

    Raises:
        LabError: no clip is given, or a clip lacks a run that another one has.
    """

    _esm = page.module("scrubber.js")
    _css = page.styles("scrubber.css")
    page_title = "Frame scrubber"

    index = traitlets.Int(0).tag(sync=True)
    run = traitlets.Int(0).tag(sync=True)
    sequence = traitlets.Int(0).tag(sync=True)
    together = traitlets.Bool(False).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    loop = traitlets.Bool(True).tag(sync=True)
    speed = traitlets.Enum(SPEEDS, default_value=1).tag(sync=True)
    scale = traitlets.Enum(SCALES, default_value=4).tag(sync=True)
    signed = traitlets.Bool(False).tag(sync=True)
    hidden = traitlets.List(traitlets.Unicode()).tag(sync=True)

    fps = traitlets.Float(20.0).tag(sync=True)
    runs = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sequences = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _axis = traitlets.Unicode().tag(sync=True)
    _clips = traitlets.List(traitlets.Dict()).tag(sync=True)
    _colours = traitlets.List(traitlets.Bytes()).tag(sync=True)

    def __init__(self, sequences: Sequence[Clip], fps: float = 20.0, **traits: Any) -> None:
        self.clips = list(sequences)
        if not self.clips:
            raise LabError("no sequence to show; FrameScrubber needs at least one Clip")
        names = list(self.clips[0].predictions)
        for clip in self.clips:
            if set(clip.predictions) != set(names):
                raise LabError(
                    f"sequence {clip.name!r} has predictions of {list(clip.predictions)}, but "
                    f"{self.clips[0].name!r} has them of {names}; give every sequence the same runs"
                )
        axis, names = ("", names) if traits.get("together") else run_axis(names)
        traits.setdefault("run", len(names) - 1 if axis else 0)
        traits.setdefault("hidden", [k for k in BASELINES if k != "copy_first"])
        super().__init__(
            sequences=[clip.name for clip in self.clips],
            runs=names,
            fps=fps,
            _axis=axis,
            _clips=[_packed(clip, names) for clip in self.clips],
            _colours=[map_.tobytes() for map_ in error_colours()],
            **traits,
        )

    @classmethod
    def from_arrays(
        cls,
        pose: np.ndarray,
        truth: np.ndarray | None,
        prediction: np.ndarray | Mapping[str, np.ndarray],
        name: str = "sequence",
        **traits: Any,
    ) -> "FrameScrubber":
        """One sequence from arrays, uint8 (T, H, W, 3) each; ``prediction`` may be a dict of several runs."""
        predictions = prediction if isinstance(prediction, Mapping) else {"prediction": prediction}
        return cls([Clip(name, pose, predictions, truth)], **traits)

    @classmethod
    def from_report(cls, report: Any, videos: Sequence[Any], **traits: Any) -> "FrameScrubber":
        """All sequences of an evaluation.

        Args:
            report: an ``evaluation.Report``, or a dict of several, name of the run -> report.
            videos: the ``dataset.Video`` list that was evaluated, in the same order.

        Raises:
            LabError: a report and the videos do not belong together.
        """
        reports = report if isinstance(report, Mapping) else {"prediction": report}
        for run, one in reports.items():
            ours, theirs = [v.name for v in videos], [s.name for s in one.sequences]
            if ours != theirs:
                raise LabError(f"the report of {run!r} is about the sequences {theirs}, the videos are {ours}")
        clips = []
        for k, video in enumerate(videos):
            parts = {run: one.sequences[k] for run, one in reports.items()}
            baselines = next(iter(parts.values())).baselines or {}
            curves = {run: part.psnr for run, part in parts.items() if part.psnr is not None and len(part.psnr)}
            truth = video.frames if video.has_truth else None
            predictions = {run: part.prediction for run, part in parts.items()}
            clips.append(Clip(video.name, video.labels, predictions, truth, curves, baselines))
        return cls(clips, **traits)

    # What arrives from anywhere is brought into range, as a slider would.
    @traitlets.validate("index", "sequence", "run")
    def _valid(self, proposal: Any) -> int:
        here = self.clips[page.bounded(self.sequence, 0, len(self.clips) - 1)]
        counts = {"index": len(here.pose), "sequence": len(self.clips), "run": len(here.predictions)}
        return page.bounded(proposal["value"], 0, counts[proposal["trait"].name] - 1)

    @traitlets.observe("sequence")
    def _shorter_sequence(self, change: Any) -> None:
        self.index = min(self.index, len(self.clips[self.sequence].pose) - 1)

    def __repr__(self) -> str:
        frames = len(self.clips[self.sequence].pose)
        return (
            f"FrameScrubber({self.sequences[self.sequence]!r}, {self.runs[self.run]!r}, frame {self.index + 1} of "
            f"{frames}; {len(self.sequences)} sequence(s), {len(self.runs)} run(s), {self.nbytes / 1e6:.1f} MB)"
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the frames as they travel to the browser."""
        return sum(len(data) for clip in self._clips for data in (clip["pose"], clip["truth"], *clip["frames"]) if data)

    def to_html(self, path: str | Path, title: str | None = None, before: str = "", after: str = "") -> Path:
        """Write one self-contained page that scrubs without kernel and network, and return its path.

        ``before`` and ``after`` are HTML above and below the widget, taken as it is; default: the title, and nothing.
        """
        title = self.page_title if title is None else title
        return page.write_page(path, title, [before or f"<h1>{html.escape(title)}</h1>", self, after])

    def figure(self, columns: int = 8, sequence: int | None = None, run: int | None = None) -> Figure:
        """A still: ``columns`` evenly spaced frames as a strip, and the PSNR of every frame under it.

        Args:
            columns: frames in the strip, the first and the last of the video among them.
            sequence, run: what to draw; default: what the widget shows, which is every run (a row each, without the
                error) where they are ``together``.

        Returns:
            A matplotlib Figure (without pyplot); a notebook shows it, ``savefig`` writes it.

        Raises:
            LabError: fewer than 2 columns, or no such sequence or run.
        """
        together = self.together and run is None
        sequence = self.sequence if sequence is None else sequence
        run = self.run if run is None else run
        if columns < 2 or not 0 <= sequence < len(self.clips) or not 0 <= run < len(self.runs):
            raise LabError(
                f"figure(columns={columns}, sequence={sequence}, run={run}): columns must be at least 2, "
                f"sequence below {len(self.clips)} and run below {len(self.runs)}"
            )
        clip, columns = self.clips[sequence], min(columns, len(self.clips[sequence].pose))
        return _figure(clip, self.runs if together else [self.runs[run]], together, columns, self.scale, self.signed)


def _packed(clip: Clip, runs: Sequence[str]) -> dict[str, Any]:
    """A clip as scrubber.js reads it; curves as float32, frames by ``encode``."""
    count, height, width, _ = clip.pose.shape
    curves, baselines = clip.psnr or {}, clip.baselines or {}

    def curve(values: np.ndarray | None) -> bytes | None:
        return None if values is None else values.astype("<f4").tobytes()

    return {
        "count": count,
        "height": height,
        "width": width,
        "pose": encode(bold_poses(clip.pose)),
        "truth": None if clip.truth is None else encode(clip.truth),
        "frames": [encode(clip.predictions[run]) for run in runs],
        "psnr": [curve(curves.get(run)) for run in runs],
        "baselines": [
            {"name": name, "label": BASELINES.get(name, name), "psnr": curve(values)}
            for name, values in baselines.items()
        ],
    }


# -------------------------------------------------------------------------------------------------- figure


def _figure(clip: Clip, runs: Sequence[str], together: bool, columns: int, scale: int, signed: bool) -> Figure:
    """The still of several runs ``together``, or of the only one with its error."""
    count = len(clip.pose)
    rows = [("pose", bold_poses(clip.pose))]
    if clip.truth is not None:
        rows.append(("ground truth", clip.truth))
    rows += [(run if together else "prediction", clip.predictions[run]) for run in runs]
    shown = np.unique(np.rint(np.linspace(0, count - 1, columns)).astype(int))
    if clip.truth is not None and not together:
        error = np.empty_like(clip.truth)
        error[shown] = error_image(clip.predictions[runs[0]][shown], clip.truth[shown], scale, signed)
        rows.append((f"error ×{scale}", error))
    known = clip.psnr or {}
    curves = {run: known[run] for run in runs if run in known}
    names = {run: f"{run}: mean {curve.mean():.2f} dB" if together else run for run, curve in curves.items()}

    # Sizes in inches; the strip fills the width between the captions and the right edge.
    total, right, gap = 10.0, 0.1, 0.04
    left = min(max(0.95, *(0.15 + 0.075 * len(label) for label, _ in rows)), 2.5)
    cell = (total - left - right - gap * (len(shown) - 1)) / len(shown)
    high = cell * clip.pose.shape[1] / clip.pose.shape[2]
    strip = len(rows) * (high + gap)
    top, plot, bottom = 0.5, 1.9 if curves else 0.0, 0.45 if curves else 0.05
    longest = max(map(len, names.values()), default=0)
    ncols = min(max(int(7.4 / (0.7 + 0.065 * longest)), 1), 3) if together else 4  # of the legend
    between = 0.3 + 0.18 * (len(curves) // ncols) if curves else 0.0
    height = top + strip + between + plot + bottom
    figure = LabFigure(figsize=(total, height))

    for i, (label, frames) in enumerate(rows):
        y = height - top - (i + 1) * (high + gap) + gap
        figure.text((left - 0.08) / total, (y + high / 2) / height, label, ha="right", va="center", fontsize=9)
        for j, t in enumerate(shown):
            x = left + j * (cell + gap)
            axes = figure.add_axes((x / total, y / height, cell / total, high / height))
            axes.imshow(frames[t], interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8", linewidth=0.5)
            if i == 0:
                axes.set_title(f"{t + 1}" + (" (given)" if t == 0 else ""), fontsize=8, pad=3)
    average = "".join(f", mean PSNR {curve.mean():.2f} dB" for curve in curves.values())
    title = clip.name if together else f"{clip.name}: {runs[0]}{average}"
    figure.text(left / total, 1 - 0.17 / height, title, fontsize=10, va="center")
    if not curves:
        return figure

    axes = figure.add_axes((left / total, bottom / height, (total - left - right) / total, plot / height))
    frame = np.arange(2, count + 1)
    if clip.baselines and "copy_first" in clip.baselines:
        axes.plot(frame, clip.baselines["copy_first"], "--", color=INK, lw=1, label=BASELINES["copy_first"])
    for run, curve in curves.items():
        axes.plot(frame, curve, color=COLORS[runs.index(run) % len(COLORS)], lw=1.2, label=names[run])
    if not together:
        axes.axhline(curve.mean(), color=COLORS[0], lw=0.8, ls=":", label="mean")
        drawn = shown[shown > 0]
        axes.plot(drawn + 1, curve[drawn - 1], "o", color=COLORS[1], ms=4, label="frames above")
    axes.set(xlim=(1, count), xlabel="frame", ylabel="PSNR (dB)")
    axes.tick_params(labelsize=8)
    axes.grid(color=PALE, lw=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=ncols, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)
    return figure
