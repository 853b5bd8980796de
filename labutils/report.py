"""What an evaluation found: the assignment's table, the grade, the baselines, and the file psnr.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labutils.baselines import BASELINES, shortfall
from labutils.files import atomic_file
from labutils.metrics import grade


@dataclass
class SequenceReport:
    """One predicted sequence.  Without truth ``psnr`` and ``ssim`` are None and ``baselines`` is empty.

    Attributes:
        prediction: uint8 (T, H, W, 3).
        psnr, ssim, each of baselines: float64 (T-1,), frames 2..T.
    """

    name: str
    prediction: np.ndarray
    psnr: np.ndarray | None = None
    ssim: np.ndarray | None = None
    baselines: dict[str, np.ndarray] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        means = {"psnr": _mean([self.psnr]), "ssim": _mean([self.ssim])}
        curves = {"psnr_per_frame": self.psnr, "ssim_per_frame": self.ssim}
        plain = {name: None if curve is None else curve.tolist() for name, curve in curves.items()}
        return {"name": self.name, **means, "baselines": {k: _mean([v]) for k, v in self.baselines.items()}, **plain}


@dataclass
class Report:
    """All sequences of an evaluation.  Means are over the sequences whose truth is known, None if there is none."""

    sequences: list[SequenceReport]

    @property
    def average(self) -> float | None:
        """Mean over sequences of their mean PSNR in dB."""
        return _mean([s.psnr for s in self.sequences])

    @property
    def ssim(self) -> float | None:
        return _mean([s.ssim for s in self.sequences])

    @property
    def grade(self) -> int | None:
        """Per cent of the points for prediction quality."""
        return None if self.average is None else grade(self.average)

    @property
    def baselines(self) -> dict[str, float]:
        """Name -> mean PSNR in dB, averaged like the prediction's."""
        names = [name for name in BASELINES if any(name in s.baselines for s in self.sequences)]
        return {name: float(_mean([s.baselines.get(name) for s in self.sequences]) or 0.0) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Plain values, unrounded; PSNR in dB, means over frames 2..T, grade in per cent."""
        means = {name: getattr(self, name) for name in ("average", "ssim", "grade", "baselines")}
        return {"sequences": [s.to_json() for s in self.sequences], **means}

    def save(self, path: str | Path) -> Path:
        """Write ``to_json()`` as a file."""
        with atomic_file(path) as file:
            file.write((json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n").encode())
        return Path(path)

    def table(self) -> str:
        """The lines that the assignment's tester prints, then grade, SSIM and baselines."""
        means = [_mean([s.psnr]) for s in self.sequences]
        values = ["no true frames, only predicted" if m is None else f"{m:.2f}" for m in means]
        lines = [f"PSNR for testing sequence{k}: {value}" for k, value in enumerate(values, start=1)]
        known = sum(m is not None for m in means)
        if not known:
            return "\n".join([*lines, "AVG: none, since no true frames are known"])
        lines.append(f"AVG: {self.average:.2f}")
        if known < len(self.sequences):
            lines.append(f"(means are over the {known} of {len(self.sequences)} sequences whose true frames are known)")
        lines += [f"Grade: {self.grade} % of the points for prediction quality", f"SSIM: {self.ssim:.3f}"]
        return "\n".join(lines + self.baseline_lines())

    def baseline_lines(self) -> list[str]:
        """One line for each baseline: its mean PSNR and what it is; and a warning where one is better."""
        lines = [f"Baseline {value:.2f} dB: {BASELINES[name]}" for name, value in self.baselines.items()]
        if self.average is not None and (short := shortfall(self.average, self.baselines)):
            lines.append(f"The model has learned too little: {short}. Train it for longer: --steps or --minutes")
        return lines


def _mean(curves: Sequence[np.ndarray | None]) -> float | None:
    """Mean of the curves' means; None if there is no curve."""
    means = [curve.mean() for curve in curves if curve is not None]
    return float(np.mean(means)) if means else None
