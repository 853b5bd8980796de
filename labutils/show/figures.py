"""Every figure of the lab, one function each; each returns a Figure, which a notebook shows when a cell ends with it.

Figures are made without pyplot: nothing is global, nothing is shown twice, and no display is needed.  Colours are those
of Okabe & Ito (2008), told apart by colour-blind readers too, the light ones darker and INK for black, so that each has
a contrast of 3 to a white and to a dark page; line styles and hatches differ as well, for print.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labutils.baselines import BASELINES
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.files import atomic_file
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.show.look import INK, PALE, fit_page
from labutils.show.video import GAP, Panels, strip, strip_frames

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C28600", "#3F9BD6", INK)
STYLES = ("-", (0, (6, 1.5)), (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (3, 1)), (0, (8, 2, 2, 2)), "-")
HATCHES = ("", "///", "...", "xxx", "\\\\\\")
SMOOTH_FROM = 150  # readings from which a running mean is drawn over the raw curve
NOISY = ("loss", "mse", "kl")  # columns of a history that need one, and are drawn logarithmically
KL = r"KL($q$ || $N(0, I)$)"
COLUMN_COLORS = {"loss": 0, "mse": 1, "kl": 2, "beta": 3, "val_psnr": 4, "tfr": 2, "lr": 6}

History = Sequence[Mapping[str, Any]]


class LabFigure(Figure):
    """A Figure that a notebook shows inline although pyplot does not know it, on a white or a dark page alike.

    When it is drawn, ``look.fit_page`` takes white grounds away and turns black and greys into ``INK``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"facecolor": "none", **options})

    def draw(self, renderer: Any) -> None:
        fit_page(self)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def save(figure: Figure, path: str | Path, dpi: int = 130) -> Path:
    """Write a figure, on white, in the format of the suffix (png, pdf, svg); ``LabError`` where that fails."""
    path = Path(path)
    form = path.suffix.lstrip(".").lower()
    if form not in figure.canvas.get_supported_filetypes():
        raise LabError(f"{path}: no figure can be written as {form!r}; use .png, .pdf or .svg")
    with atomic_file(path) as file:
        figure.savefig(file, format=form, dpi=dpi, facecolor="white")
    return path


# ------------------------------------------------------------------------------------------------------- the figures


def loss_curves(history: History) -> Figure:
    """Loss and MSE, KL, beta, and validation PSNR over training steps.

    Args:
        history: rows of ``history.csv``; ``val_psnr`` is None where it was not measured.
    """
    figure, axes = _figure(2, 2, (9, 5.6))
    _panel(axes[0, 0], history, {"loss": "loss", "mse": "MSE"}, "loss, MSE\n(pixels in [0, 1])", STYLES)
    _panel(axes[0, 1], history, {"kl": KL}, "KL (nats per frame)")
    _panel(axes[1, 0], history, {"beta": "beta"}, "KL weight beta")
    measured = _panel(axes[1, 1], history, {"val_psnr": "PSNR"}, "validation PSNR (dB)")
    axes[1, 1].lines[0].set_label(f"best {measured.max():.2f} dB" if len(measured) else "not validated")
    _legend(axes[0, 0])
    _legend(axes[1, 1])
    return _finish(figure, axes, "training step")


def training_record(history: History, rows: Mapping[str, np.ndarray] | None = None, columns: int = 7) -> Figure:
    """All that a history holds over training steps, and below it a strip of frames: the still of a training monitor.

    Args:
        history: rows of ``history.csv``.
        rows: caption -> uint8 (T, H, W, 3), of which ``columns`` frames are shown; None: no strip.
    """
    image = None if rows is None else strip(rows, columns, 3, labels=False)
    high = 0.0 if image is None else 0.35 + 8.6 * image.shape[0] / image.shape[1]
    figure = LabFigure(figsize=(10, 4.8 + high), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(4.8, max(high, 0.01)))[:, 0]
    axes = upper.subplots(2, 3)
    panels = {"loss, MSE": ("loss", "mse"), "KL (nats per frame)": ("kl",), "validation PSNR (dB)": ("val_psnr",),
              "KL weight beta": ("beta",), "teacher-forcing ratio": ("tfr",), "learning rate": ("lr",)}  # fmt: skip
    for ax, (title, keys) in zip(axes.flat, panels.items()):
        _panel(ax, history, {key: key for key in keys}, "")
        ax.set_title(title, fontsize=10, loc="left")
    _legend(axes[0, 0])
    _finish(figure, axes[1:], "training step")
    if rows is not None and image is not None:
        ax = lower.subplots()
        _strip(ax, image, rows, columns, word="frame ")
        ax.tick_params(labelsize=8)
    return figure


def tfr_and_loss(history: History) -> Figure:
    """The teacher-forcing ratio beside the loss, over training steps; where the ratio first decays is marked."""
    figure, axes = _figure(2, 1, (7.5, 5), sharex=True, height_ratios=(2, 1))
    step, tfr = _column(history, "step"), _column(history, "tfr")
    _panel(axes[0, 0], history, {"loss": "loss", "mse": "MSE"}, "loss, MSE\n(pixels in [0, 1])", STYLES)
    axes[1, 0].plot(step, tfr, color=COLORS[2], drawstyle="steps-post", label="teacher-forcing ratio")
    axes[1, 0].set(ylabel="teacher-\nforcing ratio", ylim=(-0.05, 1.05), xlim=_span(step))
    decayed = np.flatnonzero(tfr < tfr[0])
    if len(decayed):
        for ax in axes.flat:
            ax.axvline(step[decayed[0]], color=INK, linestyle=":", linewidth=1.2)
        axes[0, 0].annotate(
            "first decay", (step[decayed[0]], 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0),
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
    _legend(axes[0, 0])
    return _finish(figure, axes[1:], "training step")


def kl_compare(histories: Mapping[str, History]) -> Figure:
    """The same curves of several trainings, for instance with monotonic, cyclical and no KL annealing."""
    _some(histories, "histories")
    figure, axes = _figure(2, 2, (9, 5.6), sharex=True)
    panels = {"loss": "loss", "mse": "MSE (pixels in [0, 1])", "kl": "KL (nats per frame)", "beta": "KL weight beta"}
    for ax, (key, label) in zip(axes.flat, panels.items()):
        for k, (name, history) in enumerate(histories.items()):
            _curve(ax, _column(history, "step"), _column(history, key), name, k, smooth=key != "beta")
        if key == "beta":
            ax.set_ylabel(label)
        else:
            _log(ax, label)
    handles, names = axes[1, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, title="KL annealing")
    return _finish(figure, axes[1:], "training step")


def schedules(cfg: LabConfig, steps: int = 1000) -> Figure:
    """Both schedules of a configuration, drawn without training: beta over ``steps`` steps, tfr over the epochs."""
    figure, axes = _figure(1, 2, (9, 3))
    beta, tfr = KLAnnealing.from_config(cfg).values(steps), TeacherForcing.from_config(cfg).values(cfg.num_epoch)
    axes[0, 0].plot(np.arange(steps), beta, color=COLORS[3], label=cfg.kl_anneal_type)
    axes[0, 0].set(xlabel="training step", ylabel="KL weight beta", title=f"KL annealing: {cfg.kl_anneal_type}")
    axes[0, 1].plot(np.arange(cfg.num_epoch), tfr, color=COLORS[2], drawstyle="steps-post", label="tfr")
    axes[0, 1].set(xlabel="epoch", ylabel="teacher-forcing ratio", ylim=(-0.05, 1.05), title="Teacher forcing")
    for ax in axes.flat:
        _whole(ax)
    return _finish(figure, axes)


def beta_over_iterations(curves: Mapping[str, Sequence[float]]) -> Figure:
    """The KL weight beta of several schedules over iterations."""
    _some(curves, "curves")
    figure, axes = _figure(1, 1, (7.5, 3.2))
    for k, (name, values) in enumerate(curves.items()):
        _curve(axes[0, 0], np.arange(len(values)), np.asarray(values, float), name, k, smooth=False)
    axes[0, 0].set_ylabel("KL weight beta")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return _finish(figure, axes, "iteration")


def psnr_per_frame(
    curves: Mapping[str, np.ndarray], baselines: Mapping[str, np.ndarray] | None = None, title: str = ""
) -> Figure:
    """PSNR of each predicted frame; the legend gives the means.

    Args:
        curves: name -> PSNR in dB of frames 2..T, (T-1,).
        baselines: the same for predictors without a model, drawn thinner.
    """
    _some(curves, "curves")
    figure, axes = _figure(1, 1, (8, 4))
    ax = axes[0, 0]
    for k, (name, values) in enumerate([*curves.items(), *(baselines or {}).items()]):
        values = np.asarray(values, float)
        width = 1.6 if k < len(curves) else 1.0
        label = f"{BASELINES.get(name, name)}: mean {values.mean():.2f} dB"
        frame = np.arange(2, len(values) + 2)
        color, style = COLORS[k % len(COLORS)], STYLES[k % len(STYLES)]
        ax.plot(frame, values, color=color, linestyle=style, linewidth=width, label=label)
    ax.set(ylabel="PSNR (dB)", title=title, xlim=(1, len(values) + 1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _finish(figure, axes, "frame")


def psnr_bars(report: Any) -> Figure:
    """Mean PSNR of each sequence of an ``evaluation.Report`` beside its baselines, with the grade's limits."""
    known = [(k, s) for k, s in enumerate(report.sequences, start=1) if s.psnr is not None]
    _some(known, "sequences with true frames")
    figure, axes = _figure(1, 1, (8, 4))
    ax = axes[0, 0]
    names = ["prediction", *(name for name in BASELINES if all(name in s.baselines for _, s in known))]
    for j, name in enumerate(names):
        heights = [(s.psnr if j == 0 else s.baselines[name]).mean() for _, s in known]
        place = np.arange(len(known)) + (j - (len(names) - 1) / 2) * 0.8 / len(names)
        label = BASELINES.get(name, name)
        look = dict(color=COLORS[j], hatch=HATCHES[j], edgecolor="white", linewidth=0.5)
        bars = ax.bar(place, heights, 0.8 / len(names), label=label, **look)
        if j == 0:
            ax.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    for limit, text in ((25, "100 % from 25 dB"), (20, "0 % below 20 dB")):
        ax.axhline(limit, color=INK, linewidth=1, linestyle=":")
        ax.annotate(text, (1, limit), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=8, annotation_clip=False)  # fmt: skip
    ax.set_xticks(np.arange(len(known)), [f"sequence {k}" for k, _ in known])
    ax.set(ylabel="mean PSNR (dB)", title=f"average {report.average:.2f} dB, grade {report.grade} %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _finish(figure, axes)


def frame_strip(rows: Panels, columns: int = 8, captions: Sequence[str] | None = None, title: str = "") -> Figure:
    """Evenly spaced frames, a row for each video; see ``video.strip``.

    Args:
        rows: a mapping caption -> uint8 (T, H, W, 3), or as for ``video.write_gif``.
    """
    image = strip(rows, columns, 3, captions, labels=False)
    figure, axes = _figure(1, 1, (10, 0.5 + 9 * image.shape[0] / image.shape[1]))
    _strip(axes[0, 0], image, rows, columns, captions)
    axes[0, 0].set_title(title or "frame", fontsize=10)
    return figure


# ------------------------------------------------------------------------------------------------- what they share


def _figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes, an array (rows, columns)."""
    figure = LabFigure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _finish(figure: Figure, axes: np.ndarray, xlabel: str | None = None) -> Figure:
    """Grid and frame of all axes; ``xlabel`` under those given, which all count whole numbers."""
    for ax in figure.axes:
        ax.grid(True, color=PALE, linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        if legend := ax.get_legend():
            legend.set_frame_on(False)
    for ax in axes.flat:
        if xlabel:
            ax.set_xlabel(xlabel)
            _whole(ax)
    return figure


def _legend(ax: Axes) -> None:
    """A legend in one line above the panel, where it covers no curve."""
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=4, fontsize=9)


def _whole(ax: Axes) -> None:
    """Ticks of the x axis on whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=(1, 2, 2.5, 5, 10)))


def _column(history: History, key: str) -> np.ndarray:
    """One column of a history as floats, NaN where there is no value."""
    _some(history, "rows in the history")
    if key not in history[0]:
        raise LabError(f"the history has no column {key!r}; it has {', '.join(history[0])}")
    return np.array([np.nan if row[key] in (None, "") else float(row[key]) for row in history])


def _some(values: Any, what: str) -> None:
    if not len(values):
        raise LabError(f"there are no {what}, so nothing can be drawn")


def _span(x: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that holds these values, never empty."""
    return float(x.min()), float(max(x.max(), x.min() + 1))


def _curve(ax: Axes, x: np.ndarray, y: np.ndarray, label: str, k: int, style: Any = None, smooth: bool = True) -> None:
    """The k-th curve of a panel; a long noisy one is drawn pale, with its running mean over it."""
    color, style = COLORS[k % len(COLORS)], style or STYLES[k % len(STYLES)]
    if not smooth or len(y) < SMOOTH_FROM:
        ax.plot(x, y, color=color, linestyle=style, linewidth=1.6, label=label)
        return
    ax.plot(x, y, color=color, linewidth=0.8, alpha=0.25)
    window = len(y) // 50
    mean = np.convolve(y, np.ones(window) / window, mode="valid")
    ax.plot(x[window // 2 :][: len(mean)], mean, color=color, linestyle=style, linewidth=1.6, label=label)


def _panel(
    ax: Axes, history: History, curves: Mapping[str, str], label: str, styles: Sequence[Any] = ("-",)
) -> np.ndarray:  # fmt: skip
    """Columns of a history (name -> words of the legend) over its steps; the values of the last one that are known."""
    step = _column(history, "step")
    for k, (key, words) in enumerate(curves.items()):
        values, color = _column(history, key), COLUMN_COLORS[key]
        known = np.isfinite(values)
        if key == "val_psnr":
            ax.plot(step[known], values[known], "o-", color=COLORS[color], label=words, markersize=5)
        else:
            _curve(ax, step, values, words, color, styles[k % len(styles)], smooth=key in NOISY)
    if set(curves) <= set(NOISY):
        _log(ax, label)
    ax.set(ylabel=label, xlim=_span(step))
    return values[known]


def _strip(
    ax: Axes, image: np.ndarray, rows: Panels, columns: int, captions: Sequence[str] | None = None, word: str = ""
) -> None:  # fmt: skip
    """The image that ``strip`` has made of ``rows`` with scale 3, captions at its left and frame numbers above it."""
    captions = list(rows) if isinstance(rows, Mapping) and captions is None else captions
    videos = [rows] if isinstance(rows, np.ndarray) else list(rows.values() if isinstance(rows, Mapping) else rows)
    H, W = (3 * n for n in videos[0].shape[1:3])
    shown = strip_frames(len(videos[0]), columns)
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks(np.arange(len(shown)) * (W + GAP) + W / 2, [f"{word}{t + 1}" for t in shown])
    ax.set_yticks(np.arange(len(videos)) * (H + GAP) + H / 2, captions or [""] * len(videos))
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.spines[:].set_visible(False)


def _log(ax: Axes, label: str) -> None:
    """A logarithmic y axis, unless a value is not positive."""
    values = np.concatenate([line.get_ydata() for line in ax.lines])
    if np.nanmin(values) > 0:
        ax.set_yscale("log")
    ax.set_ylabel(label)
