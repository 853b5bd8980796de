"""A tiny training: a bright square on a dark ground, at the place where the pose shows a dark one on white."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labutils.config import LabConfig
from labutils.images import Video
from labutils.model import ConditionalVAE
from labutils.training import fit

H, W = 16, 24  # H != W shows what mixes them up
SETTINGS = dict(
    frame_H=H, frame_W=W, width=8, N_dim=4, F_dim=16, L_dim=8, D_out_dim=16,
    train_vi_len=4, batch_size=2, num_epoch=3, per_save=1, per_val=1, quiet=True, num_workers=1,
)  # fmt: skip


def dance(frames: int = 20, seed: int = 0) -> Video:
    rng = np.random.default_rng(seed)
    x, P = np.full((frames, H, W, 3), 60, np.uint8), np.full((frames, H, W, 3), 255, np.uint8)
    for k, (row, column) in enumerate(zip(rng.integers(0, 12, frames), rng.integers(0, 20, frames))):
        x[k, row : row + 4, column : column + 4] = (200, 180, 90)
        P[k, row : row + 4, column : column + 4] = (0, 60, 255)
    return Video("train", x, P)


def noise(frames: int = 20, seed: int = 0) -> Video:
    """Frames and poses without any order: each pixel of each frame is known again."""
    x, P = np.random.default_rng(seed).integers(0, 256, (2, frames, H, W, 3), dtype=np.uint8)
    return Video("train", x, P)


def config(folder: str | Path = "outputs", **changes: Any) -> LabConfig:
    """Settings that write to the folder ``out`` of a folder."""
    return LabConfig(**{**SETTINGS, "save_root": str(Path(folder) / "out"), **changes})


def model(cfg: LabConfig) -> ConditionalVAE:
    torch.manual_seed(cfg.seed)
    return ConditionalVAE(cfg)


def train(cfg: LabConfig, callbacks: Sequence[Any] = (), resume: Any = None, val: bool = True, **options: Any) -> list:
    """The history of a training."""
    return fit(model(cfg), dance(), dance(6, seed=1) if val else None, cfg, callbacks, resume, **options)
