"""One self-contained page of a run: the scrubber over all its predictions, the table, the grade, the curves."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labutils import show
from labutils.baselines import BASELINES
from labutils.config import LabConfig
from labutils.images import Video
from labutils.report import Report
from labutils.widgets.page import write_page
from labutils.widgets.scrubber import Clip, FrameScrubber

FUTURES, FUTURE = 3, 250  # rollouts that the page shows side by side, and frames of each


def write_summary(
    path: str | Path, cfg: LabConfig, history: Sequence[dict[str, Any]],
    validation: tuple[Report, Video, tuple[Sequence[str], np.ndarray]], test: tuple[Report, Sequence[Video]],
) -> Path:  # fmt: skip
    """Write a page that opens without kernel and network.

    Args:
        history: the rows of history.csv.
        validation: the report and the video of the validation, what there is to say of z, and rollouts that differ in
            z only, uint8 (draws, T, H, W, 3).
        test: the report and the videos of the test sequences.

    Returns:
        ``path``.
    """
    (val_report, val, (told, draws)), (test_report, videos) = validation, test
    named = [("validation", val_report.sequences[0], val)]
    named += [(f"test {k}", s, v) for k, (s, v) in enumerate(zip(test_report.sequences, videos, strict=True), start=1)]
    clips = [
        Clip(
            name, video.labels, {"prediction": sequence.prediction}, video.frames if video.has_truth else None,
            None if sequence.psnr is None else {"prediction": sequence.psnr}, sequence.baselines or None,
        )
        for name, sequence, video in named
    ]  # fmt: skip
    trained = f"{history[-1]['seconds']:.0f} s, {history[-1]['step'] + 1} steps" if history else "not by this run"
    parts: list[str | FrameScrubber] = [
        "<h1>From poses to video</h1>",
        f"<p>Each video is predicted from its first frame and its poses alone. Data {html.escape(cfg.DR)}, "
        f"variant {cfg.variant}, training {trained}.</p>",
        _result(test_report),
        FrameScrubber(clips),
        _table(named),
        "<h2>What z is for</h2>",
        *(f"<p>{html.escape(line)}.</p>" for line in told),
        "<p>Several futures of the validation video: one first frame, the same poses, and z drawn anew.</p>",
        _futures(val, draws),
        "<h2>Training</h2>",
        _picture(show.loss_curves(history), "Loss, mean squared error, KL divergence and beta over training"),
        _picture(show.tfr_and_loss(history), "Teacher-forcing ratio beside the loss"),
        "<h2>Test</h2>",
        _picture(show.psnr_bars(test_report), "PSNR of each test sequence beside the baselines"),
    ]
    return write_page(path, "CVAE video prediction: results", parts)


def _futures(video: Video, draws: np.ndarray) -> FrameScrubber:
    """Some of the rollouts side by side, for the first frames of the video."""
    shown = {f"draw {k}": frames[:FUTURE] for k, frames in enumerate(draws[:FUTURES], start=1)}
    frames = len(draws[0][:FUTURE])
    return FrameScrubber.from_arrays(
        video.labels[:frames], video.frames[:frames], shown, "validation", together=len(shown) > 1
    )


def _result(report: Report) -> str:
    if report.average is None:
        return "<p>The true test frames are not known: no PSNR.</p>"
    return (
        f"<p><strong>Test average {report.average:.2f} dB, SSIM {report.ssim:.3f}: "
        f"{report.grade} % of the points for prediction quality.</strong></p>"
    )


def _table(named: Sequence[tuple[str, Any, Video]]) -> str:
    """PSNR of each sequence beside its baselines, in dB."""
    head = ["sequence", "PSNR (dB)", "SSIM", *BASELINES.values()]
    rows = []
    for name, sequence, _ in named:
        values = [sequence.psnr, *(sequence.baselines.get(key) for key in BASELINES)]
        cells = ["–" if value is None else f"{value.mean():.2f}" for value in values]
        cells.insert(1, "–" if sequence.ssim is None else f"{sequence.ssim.mean():.3f}")
        numbers = "".join(f"<td class='number'>{cell}</td>" for cell in cells)
        rows.append(f"<tr><th scope='row'>{name}</th>{numbers}</tr>")
    columns = "".join(f"<th scope='col'>{html.escape(text)}</th>" for text in head)
    return f"<table><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _picture(figure: Any, description: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    encoded = base64.b64encode(data.getvalue()).decode()
    source = f"data:image/png;base64,{encoded}"
    return f'<div><img alt="{html.escape(description)}" src="{source}"></div>'
