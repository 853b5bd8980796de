"""The camera that does not move: from metres in the room to pixels of the picture."""

import math

import numpy as np

CAMERA_HEIGHT = 1.17  # metres above the floor
CAMERA_PITCH = 6.0  # degrees below the horizontal
FOCAL = 1.74  # focal length in picture heights


def project(points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pinhole camera: points (..., 3) in metres -> positions (..., 2) in pixels (x, y) and depths (...) in metres."""
    c, s = math.cos(math.radians(CAMERA_PITCH)), math.sin(math.radians(CAMERA_PITCH))
    y, z = points[..., 1] - CAMERA_HEIGHT, points[..., 2]
    depth = np.maximum(c * z - s * y, 0.2)
    scale = FOCAL * height / depth
    return np.stack([width / 2 + scale * points[..., 0], height / 2 - scale * (c * y + s * z)], -1), depth


def pixel_box(low: np.ndarray, high: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels x0, y0, x1, y1 that hold everything between ``low`` and ``high``, (N, 2), within the picture.

    Where x1 <= x0 or y1 <= y0, nothing of it is in the picture.
    """
    (x0, y0), (x1, y1) = np.floor(low.min(0)).astype(int), np.ceil(high.max(0)).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
