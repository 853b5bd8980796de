"""Statistics by which a synthetic data set is compared with a real one."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from labutils.baselines import BASELINES, Baselines
from labutils.dance.writer import MARK, SEQUENCE_FRAMES
from labutils.images import Video
from labutils.pictures import find_images, read_image

STATISTICS = {
    "frames": "frames looked at",
    **{key: f"PSNR in dB: {name}" for key, name in BASELINES.items()},
    "person": "% of pixels further than 25 grey levels from the median over time",
    "ink": "% of label pixels with a channel below 225",
    "blank": "% of labels without ink",
    "luminance": "mean grey level",
    "std": "std of grey levels within a frame",
    "wander": "std over time of the top 3/8 of the picture, person left out, in grey levels",
}


def _read(folder: Path, limit: int) -> np.ndarray:
    """The first ``limit`` images of a folder, uint8 (N, 32, 64, 3)."""
    return np.stack([read_image(file, 32, 64)[0] for file in find_images(folder)[:limit]])


def _read_if_any(folder: Path, limit: int) -> np.ndarray | None:
    """As ``_read``; None where the folder is missing or holds no images."""
    return _read(folder, limit) if any(folder.glob("*.png")) else None


def _describe(
    frames: np.ndarray | None, labels: np.ndarray | None, starts: list[int], rivals: Baselines
) -> dict[str, float]:
    """One row of ``statistics``: frames, labels (N, 32, 64, 3), first frames of sequences, the baselines."""
    result = dict.fromkeys(STATISTICS, math.nan)
    if labels is not None:
        ink: np.ndarray = np.any(labels < 225, axis=-1)  # (N, 32, 64)
        result |= {"frames": len(labels), "ink": 100 * ink.mean(), "blank": 100 * (~ink.any((1, 2))).mean()}
    if frames is not None:
        result["frames"] = len(frames)
        known = labels is not None and len(labels) == len(frames)
        poses = labels if labels is not None and known else frames  # that stand for poses are no poses
        pieces = zip(np.split(frames, starts[1:]), np.split(poses, starts[1:]))
        scores = [rivals.scores(Video("", *piece)) for piece in pieces if len(piece[0]) > 1]
        for key in (k for k in scores[0] if known or k != "nearest_pose") if scores else ():
            result[key] = np.concatenate([score[key] for score in scores]).mean()
        room = np.median(frames[:: max(1, len(frames) // 1000)], 0).astype(np.float32)
        away = frames - room  # (N, 32, 64, 3), from the room as it mostly is
        person = (np.abs(away) > 25).any(-1)
        grey = frames.astype(np.float32).mean(-1)
        result |= {"person": 100 * person.mean(), "luminance": grey.mean(), "std": grey.std((1, 2)).mean()}
        wall = np.where(person, np.nan, away.mean(-1))[:, :12].reshape(len(frames), -1)
        wall = np.nanmean(wall[~np.isnan(wall).all(1)], 1)  # at most (N,): where a person hides all of it, nothing
        result["wander"] = wall.std() if len(wall) else math.nan
    return {key: float(value) for key, value in result.items()}


def statistics(DR: str | Path, max_frames: int = 2520) -> dict[str, dict[str, float]]:
    """Figures by which a synthetic data set is compared with a real one.

    Any data set in the course's layout will do; images are resized to 64x32 as in training.  Where sequences start is
    read from dance.json; without it, one starts every 630 frames.

    Args:
        DR: data root.
        max_frames: frames read of each split or sequence, from its beginning.

    Returns:
        {"train": {...}, "val": {...}, "test 0": {...}, ...}; keys as in ``STATISTICS``, NaN where the truth is missing.

    Raises:
        LabError: DR has no training images, or images cannot be read or put in order.
    """
    root = Path(DR)
    frames = _read(root / "train/train_img", max_frames)
    poses = _read_if_any(root / "train/train_label", max_frames)
    known = poses is not None and len(poses) == len(frames)
    train = Video("train", frames, poses if poses is not None and known else frames)
    alone, rivals = Baselines(train, poses=False), Baselines(train, poses=known)  # a pose is nearest to itself
    try:
        starts = json.loads((root / MARK).read_text())["sequence_starts"]
    except (OSError, ValueError, KeyError, TypeError):
        starts = {split: list(range(0, max_frames, SEQUENCE_FRAMES)) for split in ("train", "val")}
    table = {"train": _describe(frames, poses, starts["train"], alone)}
    truth, labels = (_read_if_any(root / f"val/val_{kind}", max_frames) for kind in ("img", "label"))
    if truth is not None or labels is not None:
        table["val"] = _describe(truth, labels, starts["val"], rivals)
    tests = [p.name for p in (root / "test/test_label").glob("*") if p.name.isdigit()]
    for name in sorted(tests, key=int):
        truth, labels = (_read_if_any(root / f"test/test_{kind}/{name}", max_frames) for kind in ("gt", "label"))
        table[f"test {name}"] = _describe(truth, labels, [0], rivals)
    return table


def print_stats(roots: Iterable[str | Path]) -> None:
    """Print the statistics of several data sets under each other, with what the columns mean."""
    tables = {str(root): statistics(root) for root in roots}
    wide = max([len("data set")] + [len(f"{root}  {split}") for root, table in tables.items() for split in table])
    print("data set".ljust(wide) + "".join(f"{name:>14}" for name in STATISTICS))
    for root, table in tables.items():
        for split, row in table.items():
            cells = ["-" if math.isnan(v) else f"{v:.0f}" if k == "frames" else f"{v:.2f}" for k, v in row.items()]
            print(f"{root}  {split}".ljust(wide) + "".join(f"{cell:>14}" for cell in cells))
    for name, meaning in STATISTICS.items():
        print(f"  {name}: {meaning}")
