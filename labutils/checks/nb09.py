"""Exercises of notebook 09: the submission, the grade, the average, the archive."""

import math
from itertools import chain, zip_longest
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labutils.checks.core import Answer, agree, call, compare, exercise, fail, require, unpack

# ------------------------------------------------------------------------------------------------ row and grade


def _rows(x: Tensor, order: tuple[int, ...] = (0, 1, 2), scale: int = 255, whole: Answer = torch.round) -> Tensor:
    return whole(scale * x.clamp(0, 1)).int().permute(order).flatten()


@exercise("9.3", "a frame as a row of the submission", _rows, {
    "channel first: all red values, then all green, then all blue": dict(order=(1, 2, 0)),
    "rows before columns: height and width are swapped": dict(order=(0, 2, 1)),
    "int() cuts off the fraction; round to the nearest first": dict(whole=torch.floor),
    "clip to [0, 1] before the numbers are scaled": lambda x: (255 * x).round().flatten(),
    "values outside [0, 1] wrap around in uint8: clip first": lambda x: (255 * x).round().flatten() % 256,
    "clip and cut off: round to the nearest, and clip before scaling": lambda x: (255 * x).trunc().flatten(),
    "the largest value is 255, not 256": dict(scale=256),
    "the row is still in [0, 1]; scale by 255": lambda x: x.clamp(0, 1).flatten(),
    "the values are right, but they are written as '12.0'; make them int": lambda x: _rows(x).float(),
})  # fmt: skip
def submission_row(answer: Any, g: torch.Generator) -> None:
    """frame float (3, H, W), not bounded -> int (3 H W,), channel first."""
    for H, W in ((4, 6), (3, 8)):
        frame = 0.5 + 0.6 * torch.randn(3, H, W, generator=g)  # some of it below 0 and above 1
        got = call(answer, frame)
        got = got.detach().cpu().numpy() if isinstance(got, Tensor) else np.asarray(got)
        compare(f"the row of a 3x{H}x{W} frame", got, _rows(frame))
        require(got.dtype.kind in "iu", "whole numbers (int)", str(got.dtype))


def _header(size: int, first: int = 0) -> list[str]:
    return ["id", *map(str, range(first, size + first))]


def _counted(lengths: list[int], first: int = 0) -> np.ndarray:
    return np.arange(first, sum(lengths) + first)


def _table(
    videos: list[Tensor], row: Answer = _rows, given: int = 0, ids: Answer = _counted, order: Answer = chain,
    header: Answer = _header, join: Answer = lambda k, rows: np.column_stack([k, rows]),
) -> tuple[Any, np.ndarray]:  # fmt: skip
    kept = [video[given:] for video in videos]
    rows = np.stack([np.asarray(row(frame)) for frame in order(*kept)])  # (N, 3 H W)
    return header(rows.shape[1]), join(ids([len(video) for video in kept]), rows)


def _in_turn(*videos: Tensor) -> list[Tensor]:
    return [frame for moment in zip_longest(*videos) for frame in moment if frame is not None]


@exercise("9.5", "the table of the submission", _table, {
    "frame 1, which is given, has a row as well: T rows for each video": dict(given=1),
    "one row for each frame, of all videos: (N, 1 + 3 H W), not a table for each video":
        lambda videos: (_table(videos)[0], [_table([video])[1] for video in videos]),
    "only the first video is in it; go on with the rows of the others": lambda videos: _table(videos[:1]),
    "only the last video is in it; collect the rows of all": lambda videos: _table(videos[-1:]),
    "the first column is missing: the frame's number, id": dict(join=lambda k, rows: rows),
    "id comes first, before the values": dict(join=lambda k, rows: np.column_stack([rows, k])),
    "id counts on through all videos; here it begins again with each":
        dict(ids=lambda lengths: np.concatenate([np.arange(n) for n in lengths])),
    "id counts the frames, not the videos": dict(ids=lambda lengths: np.repeat(np.arange(len(lengths)), lengths)),
    "id counts from 0": dict(ids=lambda lengths: _counted(lengths, 1)),
    "id is more than 255 in a long table, where uint8 begins again at 0; make it int":
        dict(join=lambda k, rows: np.column_stack([k, rows]).astype(np.uint8)),
    "video after video: all frames of the first, then all of the second": dict(order=_in_turn),
    "channel first: my.submission_row makes the row of a frame": dict(row=lambda x: _rows(x, (1, 2, 0))),
    "the values are not clipped to [0, 1]; my.submission_row does that":
        dict(row=lambda x: (255 * x).round().flatten()),
    "the values are still in [0, 1]; my.submission_row makes the row of a frame":
        dict(row=lambda x: x.clamp(0, 1).flatten()),
    "the values are right, but they are written as '12.0'; make them int":
        dict(join=lambda k, rows: np.column_stack([k, rows]).astype(np.float32)),
    "the header begins with 'id'": dict(header=lambda size: _header(size)[1:]),
    "the header's numbers begin at 0": dict(header=lambda size: _header(size, 1)),
    "the header names 3 H W values: 0 to 3 H W - 1": dict(header=lambda size: _header(size + 1)),
    "the header is one text; it should be a list, ['id', '0', …]": dict(header=lambda size: ",".join(_header(size))),
    "the header's numbers should be text, '0' and not 0": dict(header=lambda size: ["id", *range(size)]),
})  # fmt: skip
def submission_table(answer: Any, g: torch.Generator) -> None:
    """videos: a list of float (T_k, 3, H, W), not bounded -> header, list of str; rows, int (N, 1 + 3 H W)."""
    for lengths, H, W in (((3, 5, 2), 4, 6), ((140, 120), 2, 3)):  # the second: more than 256 rows
        videos = [0.5 + 0.6 * torch.randn(T, 3, H, W, generator=g) for T in lengths]
        (names, wanted), size = _table(videos), 3 * H * W
        header, rows = unpack(call(answer, videos), "header", "rows")
        try:
            rows = np.asarray(rows)
        except ValueError:  # of unequal length
            parts = ", ".join(str(len(part)) for part in rows[:4])
            hint = "all rows are equally long, and stand in one list"
            fail(f"{len(wanted)} rows of {len(names)} numbers", f"{len(rows)} parts, of {parts} …", hint, "rows")
        what = f"of {len(lengths)} videos {lengths}, 3x{H}x{W}"
        if rows.shape != wanted.shape:
            hint = "a row for each frame of all videos; in each row the number and 3 H W values"
            fail(f"shape {wanted.shape}", f"shape {rows.shape}", hint, f"rows {what}")
        compare(f"first column {what}", rows[:, 0], wanted[:, 0])
        compare(f"values {what}", rows[:, 1:], wanted[:, 1:])
        require(rows.dtype.kind in "iu", "whole numbers (int)", str(rows.dtype), what="rows")
        told = f"{type(header).__name__} {header!r}"
        told = told if len(told) < 60 else f"{told[:35]} … {told[-20:]}"
        if not (isinstance(header, (list, tuple)) and list(header) == names):
            hint = "a list of str: 'id', then the numbers of the values"
            fail(f"['id', '0', '1', … '{size - 1}']", told, hint, "the header")


LIMITS = ((25, 100), (24, 90), (23, 80), (22, 70), (21, 60), (20, 50))  # the assignment's table: dB, per cent


def _grade(average: float) -> float:
    return max([percent for limit, percent in LIMITS if average >= limit], default=0)


@exercise("9.2", "the grade of an average", _grade, {
    "return per cent as a number, 90 and not '90 %'": lambda v: f"{_grade(v)} %",
    "24.00 dB earns 90 %: 'at least', so >= and not >": lambda v: _grade(math.nextafter(v, 0)),
    "the average is not rounded: 24.999 dB are not 25": lambda v: _grade(round(v)),
    "the grade goes in steps; there is nothing between them":
        lambda v: 100 - 10 * (25 - v) if 20 <= v < 25 else _grade(v),
    "below 20 dB it is 0 %": lambda v: max(_grade(v), 50),
    "below 20 dB it is 0 % at once; the steps do not go on": lambda v: min(100, max(0, 100 - 10 * math.ceil(25 - v))),
    "per cent, not a fraction: 100 and not 1.0": lambda v: _grade(v) / 100,
    "100 % begins at 25 dB; the table is one step too high": lambda v: _grade(v - 1),
})  # fmt: skip
def grade(answer: Any, g: torch.Generator) -> None:
    """average in dB -> per cent of the points for prediction quality."""
    borders = [25.0, 24.0, 23.0, 22.0, 21.0, 20.0]  # last: at them two mistakes may look alike
    values = [24.5, 24.999, 19.999, 12.0, 40.0, *(20 + 5 * torch.rand(6, generator=g)).tolist(), *borders]
    got = [call(answer, value) for value in values]
    numbers = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in got)
    require(numbers, "a number for each average", str(got)[:60])
    for value, mine in zip(values, got):
        compare(f"the grade of {value:.3f} dB", mine, _grade(value))


# ------------------------------------------------------------------------------------------------------ the average


def _average(
    mse: list[np.ndarray], frames: slice = slice(1, None), decibel: Answer = lambda m: -10 * np.log10(m),
    each: Answer = np.mean,
) -> float:  # fmt: skip
    return np.mean([each(decibel(m[frames])) for m in mse])  # each: of one sequence


def _pooled(mse: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([m[1:] for m in mse])


@exercise("9.1", "the average that the tester prints", _average, {
    "frame 1 is given, not predicted: its MSE is 0 and its PSNR infinite; leave it out": dict(frames=slice(None)),
    "frame 1 is given, not predicted; leave it out":
        dict(frames=slice(None), decibel=lambda m: -10 * np.log10(m.clip(1e-10))),
    "every sequence counts the same: take the mean of each, then the mean of these":
        lambda mse: -10 * np.log10(_pooled(mse)).mean(),
    "that is the PSNR of the mean MSE; take the PSNR of each frame, then the mean":
        dict(decibel=lambda m: -10 * np.log10(m.mean())),
    "that is the PSNR of the mean MSE of all frames": lambda mse: -10 * np.log10(_pooled(mse).mean()),
    "T - 1 frames were predicted; the sum is divided by T": dict(each=lambda dB: dB.sum() / (len(dB) + 1)),
    "T - 1 frames were predicted; the sum is divided by T - 2": dict(each=lambda dB: dB.sum() / (len(dB) - 1)),
    "the last frame is missing": dict(frames=slice(1, -1)),
    "the sign: PSNR rises as the MSE falls": dict(decibel=lambda m: 10 * np.log10(m)),
    "decibel are 10 times the logarithm to base 10": dict(decibel=lambda m: -10 * np.log(m)),
    "10 log10 of an MSE; 20 log10 is for its root": dict(decibel=lambda m: -20 * np.log10(m)),
})  # fmt: skip
def tester_average(answer: Any, g: torch.Generator) -> None:
    """mse: a list of arrays (T_k,), entry 0 that of the given frame -> dB."""
    for lengths in ((5, 9, 7), (4, 30)):
        mse = [
            np.concatenate([[0.0], np.exp(torch.randn(T - 1, generator=g, dtype=torch.float64).numpy() - 5 - k)])
            for k, T in enumerate(lengths)
        ]  # sequences of unequal length and quality
        with np.errstate(divide="ignore"):
            agree(f"the average of sequences of {lengths} frames", answer, _average, mse)


# ----------------------------------------------------------------------------------------------------- the archive

FOLDERS = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv"}
SUFFIXES = {".ckpt", ".pt", ".pth", ".pyc"}
GOOD = {  # name -> why it may stay
    "source/notes..draft.txt": "two dots are part of this name; only a whole part '..' leads upwards",
    "source/about__pycache__.md": "compare whole parts of the path; here it is only in the file's name",
    "source/.gitignore": "compare whole parts of the path: .gitignore is not .git",
    "source/venv.md": "compare whole parts of the path: this file may stay",
    "source/ckpt.py": "look at the ending of the name, which is .py here",
    "source/pt/loss.py": "look at the ending of the name, which is .py here, in a folder pt",
    "source/excerpt": "the ending is .pt, with its dot; this name just ends with these letters",
}
PLAIN = ("report.pdf", "source/trainer.py", "source/modules/layers.py", "source/README.md", "source/figures/gif.png")
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
    "source/best.pth": "a checkpoint: .pt and .pth are torch's endings",
    "source/best.pt": "a checkpoint: .pt is torch's ending too",
    "source/modules/layers.pyc": "what Python made itself, also outside of __pycache__",
    "source/LAST.CKPT": "a checkpoint, in capitals: compare lower case",
}


def _unwanted(name: str) -> bool:
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts
    return outside or bool(FOLDERS & set(path.parts)) or path.suffix.lower() in SUFFIXES


def _listed(names: list[str], other: str = "") -> list[str]:
    """An answer to 9.4, with another verdict on the name ``other``."""
    return [name for name in names if _unwanted(name) != (name == other)]


@exercise("9.4", "what must not be in the archive", _listed, {
    "return the unwanted names, as they are written, in a list": lambda names: set(_listed(names)),
    "return the names as they are written": lambda names: [name.lower() for name in _listed(names)],
    "go through the names in their order": lambda names: sorted(_listed(names)),
    **{why: dict(other=name) for name, why in (GOOD | BAD).items()},
})  # fmt: skip
def unwanted(answer: Any, g: torch.Generator) -> None:
    """names of an archive -> the list of those that must not be in it, in their order."""
    names = [*PLAIN, *GOOD, *BAD]
    names = [names[i] for i in torch.randperm(len(names), generator=g).tolist()]
    got = call(answer, list(names))
    require(isinstance(got, list) and all(isinstance(name, str) for name in got), "a list of names", got)
    strange = sorted(set(got) - set(names))
    require(not strange, "only names that were given", ", ".join(strange))
    for name in names:
        if _unwanted(name):
            require(name in got, f"{name} is listed", "not listed")
        else:
            require(name not in got, f"{name} stays in", "listed as unwanted", "nothing is wrong with this name")
    require(got == _listed(names), "each name once, in the order given", str(got))
