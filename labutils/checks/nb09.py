"""Exercises of notebook 09: the submission, the grade, the average, the archive."""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

from labutils.checks.core import call, compare, exercise, fail, require, show

LIMITS = ((25, 100), (24, 90), (23, 80), (22, 70), (21, 60), (20, 50))  # the assignment's table: dB, per cent


@exercise("9.3", "a frame as a row of the submission")
def submission_row(answer: Any, g: torch.Generator) -> None:
    """frame float (3, H, W), not bounded -> int (3 H W,), channel first."""
    for H, W in ((4, 6), (3, 8)):
        frame = 0.5 + 0.6 * torch.randn(3, H, W, generator=g)  # some of it below 0 and above 1
        given = frame.clone()
        got = call(answer, given)
        require(torch.equal(given, frame), "the frame as it was", show(given), "work on a copy: the frame was changed")
        got = got.detach().cpu().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
        places = [(c, y, x) for c in range(3) for y in range(H) for x in range(W)]
        expected = np.array([round(255 * min(max(frame[p].item(), 0.0), 1.0)) for p in places])
        clipped = frame.clamp(0, 1)
        order = {
            "channel first: all red values, then all green, then all blue": (1, 2, 0),
            "rows before columns: height and width are swapped": (0, 2, 1),
        }
        mistakes: dict[str, Any] = {
            hint: np.rint(255 * clipped.permute(axes).numpy()).ravel() for hint, axes in order.items()
        }
        mistakes |= {
            "int() cuts off the fraction; round to the nearest first": np.floor(255 * clipped.numpy()).ravel(),
            "clip to [0, 1] before the numbers are scaled": np.rint(255 * frame.numpy()).ravel(),
            "values outside [0, 1] wrap around in uint8: clip first": np.rint(255 * frame.numpy()).ravel() % 256,
            "clip and cut off: round to the nearest, and clip before scaling": np.trunc(255 * frame.numpy()).ravel(),
            "the largest value is 255, not 256": np.rint(256 * clipped.numpy()).ravel(),
            "the row is still in [0, 1]; scale by 255": clipped.numpy().ravel(),
        }
        compare(f"the row of a 3x{H}x{W} frame", got, expected, mistakes)
        hint = "the values are right, but they are written as '12.0'; make them int"
        require(got.dtype.kind in "iu", "whole numbers (int)", str(got.dtype), hint)


def _grade(average: float, limits: Sequence[tuple[float, int]] = LIMITS) -> int:
    return max([percent for limit, percent in limits if average >= limit], default=0)


@exercise("9.2", "the grade of an average")
def grade(answer: Any, g: torch.Generator) -> None:
    """average in dB -> per cent of the points for prediction quality."""
    borders = [25.0, 24.0, 23.0, 22.0, 21.0, 20.0]
    values = borders + [24.999, 19.999, 24.5, 12.0, 40.0] + (20 + 5 * torch.rand(6, generator=g)).tolist()
    got = [call(answer, value) for value in values]
    if not all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in got):
        fail("a number for each average", str(got)[:60], "return per cent as a number, 90 and not '90 %'")

    def table(rule: Callable[[float], float]) -> list[float]:
        return [rule(value) for value in values]

    mistakes = {
        "24.00 dB earns 90 %: 'at least', so >= and not >": table(lambda v: _grade(np.nextafter(v, 0))),
        "the average is not rounded: 24.999 dB are not 25": table(lambda v: _grade(round(v))),
        "the grade goes in steps; there is nothing between them": table(
            lambda v: 100 - 10 * (25 - v) if 20 <= v < 25 else _grade(v)
        ),
        "below 20 dB it is 0 %": table(lambda v: max(_grade(v), 50)),
        "below 20 dB it is 0 % at once; the steps do not go on": table(
            lambda v: min(100, max(0, 100 - 10 * math.ceil(25 - v)))
        ),
        "per cent, not a fraction: 100 and not 1.0": table(lambda v: _grade(v) / 100),
        "100 % begins at 25 dB; the table is one step too high": table(lambda v: _grade(v - 1)),
    }
    for k, (value, mine) in enumerate(zip(values, got)):
        compare(f"the grade of {value:.3f} dB", mine, _grade(value), _at(mistakes, got, k))


def _at(mistakes: dict[str, list[float]], got: list[Any], k: int) -> dict[str, float]:
    """Entry k of those mistakes that explain all that came back."""
    explain = [hint for hint, values in mistakes.items() if np.allclose(values, np.array(got, float))]
    return {hint: mistakes[hint][k] for hint in explain}


@exercise("9.1", "the average that the tester prints")
def tester_average(answer: Any, g: torch.Generator) -> None:
    """mse: a list of arrays (T_k,), entry 0 that of the given frame -> dB."""
    for lengths in ((5, 9, 7), (4, 30)):
        mse = [
            np.concatenate([[0.0], np.exp(torch.randn(T - 1, generator=g, dtype=torch.float64).numpy() - 5 - k)])
            for k, T in enumerate(lengths)
        ]  # sequences of unequal length and quality
        psnr = [[-10 * math.log10(value) for value in m[1:]] for m in mse]  # frames 2..T
        means = [sum(p) / len(p) for p in psnr]
        expected = sum(means) / len(means)
        frames = [value for p in psnr for value in p]
        with_first = [sum([100.0, *p]) / (len(p) + 1) for p in psnr]
        pooled = float(np.concatenate([m[1:] for m in mse]).mean())
        mistakes = {
            "frame 1 is given, not predicted: its MSE is 0 and its PSNR infinite; leave it out": math.inf,
            "frame 1 is given, not predicted; leave it out": sum(with_first) / len(with_first),
            "every sequence counts the same: take the mean of each, then the mean of these": sum(frames) / len(frames),
            "that is the PSNR of the mean MSE; take the PSNR of each frame, then the mean": statistics.fmean(
                -10 * math.log10(m[1:].mean()) for m in mse
            ),
            "that is the PSNR of the mean MSE of all frames": -10 * math.log10(pooled),
            "T - 1 frames were predicted; the sum is divided by T": statistics.fmean(
                sum(p) / (len(p) + 1) for p in psnr
            ),
            "T - 1 frames were predicted; the sum is divided by T - 2": statistics.fmean(
                sum(p) / (len(p) - 1) for p in psnr
            ),
            "the last frame is missing": statistics.fmean(statistics.fmean(p[:-1]) for p in psnr),
            "the sign: PSNR rises as the MSE falls": -expected,
            "decibel are 10 times the logarithm to base 10": expected * math.log(10),
            "10 log10 of an MSE; 20 log10 is for its root": 2 * expected,
        }  # fmt: skip
        with np.errstate(divide="ignore"):
            got = call(answer, [m.copy() for m in mse])
        if isinstance(got, (float, np.floating)) and math.isinf(got):
            fail(show(expected), show(got), next(iter(mistakes)), "the average")
        compare("the average", got, expected, mistakes)


# ----------------------------------------------------------------------------------------------------- the archive

FOLDERS = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv"}
SUFFIXES = {".ckpt", ".pt", ".pth", ".pyc"}
GOOD = (
    "report.pdf", "source/trainer.py", "source/modules/layers.py", "source/README.md", "source/notes..draft.txt",
    "source/about__pycache__.md", "source/ckpt.py", "source/pt/loss.py", "source/figures/gif.png", "source/.gitignore",
    "source/venv.md",
)  # fmt: skip
BAD = {  # name -> what is wrong with it
    "../other/report.pdf": "'..' leads out of the folder",
    "source/../../report.pdf": "'..' leads out of the folder, also in the middle of a name",
    "/lab4/trainer.py": "an absolute name, which begins with '/'",
    "source/__pycache__/trainer.cpython-312.pyc": "what Python made itself",
    "source/modules/__pycache__/notes.txt": "a folder __pycache__, however deep",
    "source/.git/config": "the repository's own folder",
    "source/.ipynb_checkpoints/analysis.ipynb": "Jupyter's copies",
    ".venv/pyvenv.cfg": "an environment",
    "source/epoch=70.ckpt": "a checkpoint",
    "source/best.pth": "a checkpoint",
    "source/LAST.CKPT": "a checkpoint, in capitals: compare lower case",
}


def _unwanted(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        path.is_absolute() or ".." in path.parts or bool(FOLDERS & set(path.parts)) or path.suffix.lower() in SUFFIXES
    )


@exercise("9.4", "what must not be in the archive")
def unwanted(answer: Any, g: torch.Generator) -> None:
    """names of an archive -> the list of those that must not be in it, in their order."""
    names = [*GOOD, *BAD]
    names = [names[i] for i in torch.randperm(len(names), generator=g).tolist()]
    got = call(answer, list(names))
    if not isinstance(got, list) or not all(isinstance(name, str) for name in got):
        fail("a list of names", show(got), "return the unwanted names, as they are written, in a list")
    expected = [name for name in names if _unwanted(name)]
    found = set(got)
    for name in sorted(found - set(names)):
        fail("only names that were given", name, "return the names as they are written")
    hints = {
        "source/notes..draft.txt": "two dots are part of this name; only a whole part '..' leads upwards",
        "source/about__pycache__.md": "compare whole parts of the path; here it is only in the file's name",
        "source/.gitignore": "compare whole parts of the path: .gitignore is not .git",
        "source/venv.md": "compare whole parts of the path: this file may stay",
        "source/ckpt.py": "look at the ending of the name, which is .py here",
        "source/pt/loss.py": "look at the ending of the name, which is .py here",
    }
    for name in names:
        if name in found and not _unwanted(name):
            fail(f"{name} stays in", "listed as unwanted", hints.get(name, "nothing is wrong with this name"))
        if name not in found and _unwanted(name):
            fail(f"{name} is listed", "not listed", BAD[name])
    require(
        got == expected, "each name once, in the order given", show(str(got)), "go through the names in their order"
    )
