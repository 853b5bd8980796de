"""Profiles: how large the built-in job is, from a smoke test to a run on a GPU."""

import os
from dataclasses import dataclass
from typing import Any

from labutils.config import LabConfig
from labutils.errors import LabError


@dataclass(frozen=True)
class Profile:
    """How large the built-in job is: frames of the synthetic dance to render and steps to train."""

    name: str
    train_frames: int
    val_frames: int
    test_sequences: int
    test_frames: int
    settings: dict[str, Any]

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Training and validation frames, test sequences, and frames of each: what ``make_data`` asks for."""
        return self.train_frames, self.val_frames, self.test_sequences, self.test_frames

    def config(self, **changes: Any) -> LabConfig:
        """The profile's LabConfig, with ``changes`` on top."""
        return LabConfig(**{"DR": f"data/dance-{self.name}", **self.settings}).replace(**changes)

    def lights(self) -> dict[str, Any]:
        """Settings with which z learns the stage lights; without those of the data."""
        return {**LIGHTS, "steps": LIGHTS_STEPS[self.name]}


# With these z learns the stage lights: at twice the learning rate or half the steps it switches them too often.
LIGHTS = dict(posterior="innovation", sigma_x=2.0, N_dim=2, width=8, lr=1e-3, kl_anneal_type="Monotonic",
              kl_anneal_ratio=0.5)  # fmt: skip
LIGHTS_STEPS = {"smoke": 40, "quick": 4000, "full": 12000}
PROFILES = {
    "smoke": Profile("smoke", 128, 40, 2, 40, dict(steps=40, batch_size=1, val_vi_len=40, width=8)),
    "quick": Profile("quick", 2520, 630, 6, 630, dict(steps=1200)),
    "full": Profile("full", 23410, 630, 6, 630, dict(steps=12000)),
}


def default_profile() -> Profile:
    """The profile named by the variable LAB_PROFILE; else ``full`` where CUDA works and ``quick`` where it does not.

    Raises:
        LabError: LAB_PROFILE names no profile.
    """
    name = os.environ.get("LAB_PROFILE", "")
    if not name:
        import torch

        name = "full" if torch.cuda.is_available() else "quick"
    if name not in PROFILES:
        raise LabError(f"LAB_PROFILE is {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
