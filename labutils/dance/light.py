"""The hidden factor: the light of the room, which no pose image tells.

Each frame is multiplied by 1 + light.  ``light`` is the sum of two Gaussian processes of mean 0: a drift of std 0.006
with a correlation time of 3 s, and a flicker of std 0.005 that keeps half of its value from one frame to the next.
Together they wander by 0.8 % or 1.2 grey levels at a mean luminance of 155.  Three quarters of the flicker's variance
are new in every frame (std 0.0043 or 0.7 grey levels), so that a perfect predictor that knows pose and previous frame,
but not the light, stops at about 51 dB, and one that ignores the light altogether at about 46 dB.
"""

import csv
import math
from pathlib import Path

import numpy as np

from labutils.errors import LabError
from labutils.files import regular

DRIFT_STD, DRIFT_KEEP = 0.006, math.exp(-1 / 90)  # correlation time 90 frames
FLICKER_STD, FLICKER_KEEP = 0.005, 0.5


def room_light(frames: int, rng: np.random.Generator) -> np.ndarray:
    """The hidden factor: relative change of the room light in each frame, (frames,); see the module's text."""
    light = np.zeros(frames)
    for std, keep in ((DRIFT_STD, DRIFT_KEEP), (FLICKER_STD, FLICKER_KEEP)):
        value, news = std * rng.normal(), std * math.sqrt(1 - keep**2) * rng.normal(size=frames)
        for t in range(frames):  # x_t = keep x_{t-1} + news_t, the Ornstein-Uhlenbeck process in steps of a frame
            value = keep * value + news[t]
            light[t] += value
    return light


def append_light(path: Path, start: int, light: np.ndarray) -> None:
    """Write the light (T,) of the frames ``start``, ``start`` + 1 ... to the end of a ``light.csv``."""
    with open(path, "a", newline="") as file:
        rows = csv.writer(file)
        if start == 0:
            rows.writerow(["frame", "light"])
        rows.writerows([start + t, f"{value:.6f}"] for t, value in enumerate(light))


def read_light(path: str | Path) -> np.ndarray:
    """The hidden factor of the synthetic data, one value for each frame, from ``light.csv`` (header ``frame,light``).

    Raises:
        LabError: the file is missing, or holds something else.
    """
    regular(path)
    try:
        with open(path, newline="") as file:
            light = np.array([float(row["light"]) for row in csv.DictReader(file)])
        if not np.isfinite(light).all():
            raise ValueError
        return light
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise LabError(f"{path} is not the hidden factor; expected the header frame,light and numbers") from error
