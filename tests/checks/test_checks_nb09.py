"""The checks of notebook 09 tell mistakes apart; the lab's own functions pass."""

import math
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from exercises import accepted, rejected

from labutils import checks, evaluation


def test_the_lab_itself_passes():
    accepted(checks.grade, evaluation.grade)
    accepted(checks.submission_row, lambda x: np.rint(255 * x.clamp(0, 1).numpy()).astype(int).ravel())


def dB(m):
    return -10 * np.log10(m)


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda mse: np.mean([dB(m).mean() for m in mse]), "its MSE is 0"),
        (lambda mse: np.mean([dB(np.maximum(m, 1e-10)).mean() for m in mse]), "leave it out"),
        (lambda mse: dB(np.concatenate([m[1:] for m in mse])).mean(), "every sequence counts the same"),
        (lambda mse: np.mean([dB(m[1:].mean()) for m in mse]), "PSNR of the mean MSE; take"),
        (lambda mse: dB(np.concatenate([m[1:] for m in mse]).mean()), "mean MSE of all frames"),
        (lambda mse: np.mean([dB(m[1:]).sum() / len(m) for m in mse]), "divided by T$"),
        (lambda mse: np.mean([dB(m[1:]).sum() / (len(m) - 2) for m in mse]), "divided by T - 2"),
        (lambda mse: np.mean([dB(m[1:-1]).mean() for m in mse]), "the last frame is missing"),
        (lambda mse: np.mean([-10 * np.log(m[1:]).mean() for m in mse]), "logarithm to base 10"),
        (lambda mse: -np.mean([dB(m[1:]).mean() for m in mse]), "the sign"),
        (lambda mse: [dB(m[1:]).mean() for m in mse], "shape"),
    ],
)
def test_wrong_averages(answer, hint):
    rejected(checks.tester_average, answer, hint)


def steps(v, above=lambda v, limit: v >= limit, lowest=0):
    return next((100 - 10 * k for k, limit in enumerate((25, 24, 23, 22, 21, 20)) if above(v, limit)), lowest)


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda v: steps(v, lambda v, limit: v > limit), "at least"),
        (lambda v: steps(round(v)), "not rounded"),
        (lambda v: steps(v, lowest=50), "below 20 dB it is 0 %"),
        (lambda v: min(100, max(0, 100 - 10 * math.ceil(25 - v))), "do not go on"),
        (lambda v: 100 - 10 * (25 - v) if 20 <= v < 25 else steps(v), "goes in steps"),
        (lambda v: steps(v) / 100, "not a fraction"),
        (lambda v: steps(v - 1), "one step too high"),
        (lambda v: f"{steps(v)} %", "not '90 %'"),
    ],
)
def test_wrong_grades(answer, hint):
    rejected(checks.grade, answer, hint)


def rint(x):
    return torch.round(255 * x).int()


def in_place(x):
    return rint(x.clamp_(0, 1)).flatten()


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda x: rint(x.clamp(0, 1)).permute(1, 2, 0).flatten(), "channel first"),
        (lambda x: rint(x.clamp(0, 1)).transpose(1, 2).flatten(), "rows before columns"),
        (lambda x: (255 * x.clamp(0, 1)).int().flatten(), "cuts off"),
        (lambda x: rint(x).flatten(), "before the numbers are scaled"),
        (lambda x: rint(x).flatten() % 256, "wrap around"),
        (lambda x: torch.round(256 * x.clamp(0, 1)).int().flatten(), "not 256"),
        (lambda x: x.clamp(0, 1).flatten(), "scale by 255"),
        (lambda x: torch.round(255 * x.clamp(0, 1)).flatten(), "make them int"),
        (lambda x: rint(x.clamp(0, 1)), "in another shape"),
        (in_place, "work on a copy"),
    ],
)
def test_wrong_rows(answer, hint):
    rejected(checks.submission_row, answer, hint)


FOLDERS, SUFFIXES = ("__pycache__", ".git", ".ipynb_checkpoints", ".venv"), (".ckpt", ".pt", ".pth", ".pyc")


def bad(name, folders=FOLDERS, suffixes=SUFFIXES, lower=True, up=True, absolute=True):
    path = PurePosixPath(name)
    suffix = path.suffix.lower() if lower else path.suffix
    outside = (absolute and path.is_absolute()) or (up and ".." in path.parts)
    return outside or bool(set(folders) & set(path.parts)) or suffix in suffixes


def listing(test):
    return lambda names: [name for name in names if test(name)]


@pytest.mark.parametrize(
    "answer, hint",
    [
        (listing(lambda n: bad(n, lower=False)), "in capitals"),
        (listing(lambda n: bad(n, absolute=False)), "begins with '/'"),
        (listing(lambda n: bad(n, up=False) or n.startswith("..")), "in the middle of a name"),
        (listing(lambda n: bad(n) or ".." in n), "two dots are part of this name"),
        (listing(lambda n: bad(n) or "__pycache__" in n), "only in the file's name|whole parts"),
        (listing(lambda n: bad(n) or "/.git" in n), ".gitignore is not .git"),
        (listing(lambda n: bad(n, suffixes=SUFFIXES[:1] + SUFFIXES[3:])), "a checkpoint"),
        (listing(lambda n: bad(n) or "ckpt" in n), "the ending of the name"),
        (lambda names: sorted(listing(bad)(names)), "in their order"),
        (lambda names: set(listing(bad)(names)), "in a list"),
        (lambda names: [n.lower() for n in names if bad(n)], "as they are written"),
    ],
)
def test_wrong_lists(answer, hint):
    rejected(checks.unwanted, answer, hint)
