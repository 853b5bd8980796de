"""The findings that there are, and what is known of the run in which they are looked for."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labutils.images import Video
from labutils.model import ConditionalVAE

Row = dict[str, float]  # of a history; a value that is not known is left out


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: its name in ``CATALOGUE``, and the numbers that show it."""

    name: str
    evidence: str

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return CATALOGUE[self.name][0]

    @property
    def todo(self) -> str:
        """What to do about it."""
        return CATALOGUE[self.name][1]


CATALOGUE = {  # name: title, what to do
    "batchnorm": (
        "BatchNorm in training mode at the test",
        "call nn.Module.eval before each validation and test (a method of yours named eval hides it), train() after "
        "it, and train on for an epoch, so that the running statistics fit the weights",
    ),
    "psnr-mean": (
        "PSNR divided by one frame too few",
        "divide the sum of the PSNRs by their number: 629 predicted frames, not 628; the true value is lower",
    ),
    "kl-sum": (
        "KL summed beside a mean MSE",
        "weigh KL by beta * 2 sigma_x^2 / (3 H W) with sigma_x near 0.3 beside the mean MSE, or sum both",
    ),
    "z-unused": (
        "z is not used",
        "on a dance that pose and previous frame tell, that is right; where something is left to chance, lower the "
        "weight of KL (--sigma_x) or anneal it (--kl_anneal_type Monotonic)",
    ),
    "z-unlike-prior": (
        "z is never drawn like the prior",
        "raise the weight of KL (--sigma_x, or beta above 0): the decoder must see such z as N(0, I) "
        "gives it at the test",
    ),
    "feedback-gap": (
        "teacher-forcing gap: good from true frames, bad from its own",
        "let teacher forcing decay to 0 (--tfr_sde, --tfr_d_step) well before the end, or use --mode replay",
    ),
    "beyond-range": (
        "output beyond its range",
        "end the generator with a sigmoid, or clip to [0, 1] before a frame is fed back, scored, shown or written; "
        "a submission holds 0..255",
    ),
    "learning-rate": (
        "the learning rate falls to nothing early",
        "set the milestones to 60 and 85 % of the epochs, or use a cosine over all of them (the lab's schedule)",
    ),
    "pairing": (
        "frames and poses are paired wrongly",
        "sort both folders by the number in the names, and pair frame t with pose t: x_t from x_{t-1} and P_t",
    ),
    "bgr": (
        "red and blue are exchanged (BGR)",
        "cv2.imread gives BGR: convert with cv2.cvtColor(image, cv2.COLOR_BGR2RGB), or read with PIL",
    ),
    "posterior-in-validation": (
        "the validation's z comes from the posterior, which sees the answer",
        "draw z from N(0, I) in validation as in the test; x_t must not enter it",
    ),
    "below-baseline": (
        "predictions below a baseline that learns nothing",
        "train for longer (--steps or --minutes), and mend what else is found here first",
    ),
}


@dataclass
class Case:
    """What is known of a run; what is not known is None or empty.

    Attributes:
        seen: files that were read, and what they are.
        history: one row for each step or epoch.
        notes: numbers of a checkpoint of the course: lr, last_epoch.
        predictions: of a submission, float (N, H, W, 3) as they stand in the file.
        reports: contents of psnr.json files, by name.
        code: syntax trees of Python files, by name.
        psnr: the validation PSNR that was reported, in dB.
        measured: results that several findings share.
    """

    seen: list[str] = field(default_factory=list)
    history: list[Row] | None = None
    model: ConditionalVAE | None = None
    notes: dict[str, float] | None = None
    predictions: np.ndarray | None = None
    reports: dict[str, Any] | None = None
    code: dict[str, ast.Module] | None = None
    train: Video | None = None
    val: Video | None = None
    test: list[Video] | None = None
    psnr: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)


Look = Callable[[Case], str]
NEEDS = {  # field of a case: how it is called
    "history": "a history", "model": "a checkpoint", "notes": "a checkpoint of the course", "reports": "a psnr.json",
    "predictions": "a submission", "code": "the Python files of the run", "psnr": "a history or --psnr",
    "val": "--DR", "train": "--DR", "test": "--DR",
}  # fmt: skip
LOOKS: list[tuple[str, tuple[str, ...], Look]] = []


def look(name: str, *needs: str) -> Callable[[Look], Look]:
    """A function is one way to look for a finding; it returns the evidence, or "" where there is none.

    Args:
        needs: fields of the case that must be known for it.
    """

    def register(function: Look) -> Look:
        assert name in CATALOGUE and set(needs) <= NEEDS.keys()
        LOOKS.append((name, needs, function))
        return function

    return register
