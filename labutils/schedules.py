"""Weights that change while training: the KL weight beta and the teacher-forcing ratio.

Both are plain functions of how far training has come, so they can be drawn without training.
"""

import math
from dataclasses import dataclass

import numpy as np

from labutils.config import LabConfig
from labutils.errors import LabError

RAMPS = {
    "linear": lambda r: r,
    "cosine": lambda r: (1 - math.cos(math.pi * r)) / 2,
    # a logistic curve, rescaled so that it starts at 0 and ends at 1 exactly
    "sigmoid": lambda r: (_logistic(12 * r - 6) - _logistic(-6)) / (_logistic(6) - _logistic(-6)),
}


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@dataclass(frozen=True)
class KLAnnealing:
    """beta over training: constant ("None"), one ramp ("Monotonic") or a ramp in every cycle ("Cyclical").

    Fu et al., "Cyclical Annealing Schedule" (NAACL 2019), eq. 6: with T steps in M cycles, step i = 0 .. T-1 stands at
    tau = mod(i, T/M) / (T/M) of its cycle; beta rises from ``start`` to ``stop`` while tau <= ``ratio`` and then stays.
    tau is computed as mod(i*M, T) / T, exact where M does not divide T (they round: mod(i, ceil(T/M)) / (T/M)).
    "Monotonic" is the same with M = 1; "None" is ``stop`` from the first step on.
    """

    kind: str = "Cyclical"
    start: float = 0.0
    stop: float = 1.0
    cycles: int = 10
    ratio: float = 1.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.kind not in ("Cyclical", "Monotonic", "None"):
            raise LabError(f"KL annealing {self.kind!r}: choose Cyclical, Monotonic or None")
        if self.shape not in RAMPS:
            raise LabError(f"KL annealing shape {self.shape!r}: choose one of {', '.join(RAMPS)}")
        if self.cycles < 1 or not 0 < self.ratio <= 1:
            raise LabError(f"KL annealing: cycles {self.cycles} must be at least 1 and ratio {self.ratio} in (0, 1]")

    @classmethod
    def from_config(cls, cfg: LabConfig) -> "KLAnnealing":
        """The annealing that the flags ``kl_anneal_*`` describe."""
        return cls(
            cfg.kl_anneal_type, cfg.kl_anneal_start, cfg.kl_anneal_stop,
            cfg.kl_anneal_cycle, cfg.kl_anneal_ratio, cfg.kl_anneal_shape,
        )  # fmt: skip

    def __call__(self, position: float, length: float) -> float:
        """beta at ``position`` of a training of ``length``, both in steps or both in seconds."""
        if self.kind == "None":
            return self.stop
        cycles = self.cycles if self.kind == "Cyclical" else 1
        tau = (min(position, length) * cycles) % length / length if position < length else 1.0
        return self.start + (self.stop - self.start) * RAMPS[self.shape](min(tau / self.ratio, 1.0))

    def values(self, steps: int) -> np.ndarray:
        """beta of each of ``steps`` steps, float64 (steps,)."""
        return np.array([self(i, steps) for i in range(steps)])


@dataclass(frozen=True)
class TeacherForcing:
    """The teacher-forcing ratio: the chance that the previous TRUE frame is fed, not the generated one.

    ``start`` before epoch ``sde`` (counted from 0), then ``d_step`` less in each epoch, never below ``floor``:
    tfr(e) = max(floor, start - d_step * max(0, e - sde + 1)).  Scheduled sampling: Bengio et al. (NeurIPS 2015).
    """

    start: float = 1.0
    sde: int = 10
    d_step: float = 0.1
    floor: float = 0.0

    @classmethod
    def from_config(cls, cfg: LabConfig) -> "TeacherForcing":
        """The schedule that the flags ``tfr*`` describe."""
        return cls(cfg.tfr, cfg.tfr_sde, cfg.tfr_d_step, cfg.tfr_floor)

    def __call__(self, epoch: int) -> float:
        decayed = self.start - self.d_step * max(0, epoch - self.sde + 1)
        return min(self.start, max(self.floor, round(decayed, 10)))  # rounded, or 0.1 * 3 leaves dust

    def values(self, epochs: int) -> np.ndarray:
        """The ratio in each of ``epochs`` epochs, float64 (epochs,)."""
        return np.array([self(e) for e in range(epochs)])
