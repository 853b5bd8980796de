"""A tiny training: a bright square on a dark ground, at the place where the pose shows a dark one on white."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from labutils.config import LabConfig
from labutils.images import Video, to_float, to_uint8
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


def noise(frames: int = 20, seed: int = 0, name: str = "train", size: tuple[int, int] = (H, W)) -> Video:
    """Frames and poses without any order: each pixel of each frame is known again."""
    return Video(name, *np.random.default_rng(seed).integers(0, 256, (2, frames, *size, 3), dtype=np.uint8))


def grey(*levels: int) -> np.ndarray:
    """Frames (T, 32, 64, 3) of one grey level each."""
    return np.stack([np.full((32, 64, 3), level, np.uint8) for level in levels])


def write_pngs(folder: Path, frames: np.ndarray, names: Iterable[str] | None = None) -> None:
    """Frames as PNG files with these names, or their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names or map(str, range(len(frames))), frames):
        Image.fromarray(frame.astype(np.uint8)).save(folder / f"{name}.png")


def on(event: str, action: Callable) -> Callable:
    """A callback that acts at one event."""
    return lambda it, trainer: action(trainer) if it == event else None


def config(folder: str | Path = "outputs", **changes: Any) -> LabConfig:
    """Settings that write to the folder ``out`` of a folder."""
    return LabConfig(**{**SETTINGS, "save_root": str(Path(folder) / "out"), **changes})


def model(cfg: LabConfig) -> ConditionalVAE:
    torch.manual_seed(cfg.seed)
    return ConditionalVAE(cfg)


def slow_loop(model: ConditionalVAE, first: np.ndarray, labels: Sequence, z: Any = None, feed: str = "previous"):
    """One step of the model for each label, from a first frame (H, W, 3) on; uint8 (T, H, W, 3) without the first.

    Args:
        z: (T, N, h, w); zeros when not given.
        feed: what each step is given: the ``previous`` prediction, or always the ``first`` frame.
    """
    x = x1 = to_float(first)[None]
    frames = []
    with torch.no_grad():
        for t, label in enumerate(labels):
            z_t = torch.zeros(1, *model.latent_shape) if z is None else z[t][None]
            last = x1 if feed == "first" else x
            x = model.step(last, model.label_transformation(to_float(label)[None]), z_t).clamp(0, 1)
            frames.append(to_uint8(x[0]))
    return np.stack(frames)


def train(cfg: LabConfig, callbacks: Sequence[Any] = (), resume: Any = None, val: bool = True, **options: Any) -> list:
    """The history of a training."""
    return fit(model(cfg), dance(), dance(6, seed=1) if val else None, cfg, callbacks, resume, **options)
