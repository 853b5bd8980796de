"""``submission.csv``, as the later editions of the assignment ask for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labutils.errors import LabError
from labutils.files import atomic_file, regular


def write_submission(path: str | Path, predictions: Sequence[np.ndarray]) -> Path:
    """Write ``submission.csv`` of the later editions: header ``id,0,1,...,6143``, then one row for each frame.

    A row holds the frame's number (from 0, counted through all sequences) and its values 0..255, channel first.

    Args:
        predictions: uint8 (T, H, W, 3) for each sequence, in order.
    """
    if not predictions:
        raise LabError("write_submission: there are no predictions")
    for p in predictions:
        if p.dtype != np.uint8 or p.ndim != 4 or p.shape[-1] != 3 or p.shape[1:] != predictions[0].shape[1:]:
            raise LabError(f"write_submission: got {p.dtype} {p.shape}; expected uint8 (T, H, W, 3) of one size")
    # every value as ",123", padded with zero bytes that are then dropped: 100 times as fast as formatting numbers
    cells = np.array([f",{v}".encode() for v in range(256)], dtype="S4").view(np.uint8).reshape(256, 4)
    number = 0
    with atomic_file(path) as file:
        file.write(f"id,{','.join(map(str, range(predictions[0][0].size)))}\n".encode())
        for prediction in predictions:
            rows = np.moveaxis(prediction, -1, 1).reshape(len(prediction), -1)  # (T, 3 H W)
            for row in cells[rows].reshape(len(rows), -1):
                file.write(b"%d" % number + row[row > 0].tobytes() + b"\n")
                number += 1
    return Path(path)


def read_rows(path: str | Path, height: int, width: int, dtype: type) -> np.ndarray:
    """The rows of a submission as they stand there, (N, 1 + 3 * height * width): id and values.

    Raises:
        LabError: it is none of this frame size.
    """
    regular(path)
    try:
        table: np.ndarray = np.loadtxt(path, dtype=dtype, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read as a submission ({error})") from error
    if table.shape[1] != 1 + 3 * height * width or not len(table):
        raise LabError(f"{path} has {table.shape[1]} columns and {len(table)} rows, not 1 + 3*{height}*{width} columns")
    return table


def read_submission(path: str | Path, height: int = 32, width: int = 64) -> np.ndarray:
    """Read ``submission.csv`` -> uint8 (N, height, width, 3); ``LabError`` where it is none of this frame size."""
    table = read_rows(path, height, width, np.int32)
    ids, values = table[:, 0], table[:, 1:]
    if (ids != np.arange(len(ids))).any() or values.min() < 0 or values.max() > 255:
        raise LabError(f"{path}: the column id must count 0, 1, 2 ... and all values must lie in 0..255")
    return np.moveaxis(values.astype(np.uint8).reshape(-1, 3, height, width), 1, -1)
