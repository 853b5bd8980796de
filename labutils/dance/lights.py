"""The stage lights: a latent that is known, for data in which a z has something to carry.

With ``make_data(..., lights=K)`` the room light has K states, white and some colours.  In each frame it switches with
probability p to another one, by chance: the pose tells nothing of it, the previous frame tells the present state, and
only whether it switches, and to what, is new.  So the information that a z must carry is known exactly:

    h = H(p) + p ln(K - 1) nats a frame,   H(p) = -p ln p - (1 - p) ln(1 - p);   0.23 for p = 0.05, K = 3.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labutils.dance.renderer import empty_room
from labutils.errors import LabError
from labutils.files import regular

GAINS = np.array(  # of red, green and blue: white, red, blue, green, all equally far from each other, and dim
    [(1, 1, 1), (1, 0.55, 0.55), (0.55, 0.55, 1), (0.55, 1, 0.55), (0.55, 0.55, 0.55)], np.float32
)
WALL = 10 / 32  # part of the picture, from its top, in which light is read: the figure is seldom there
CLEAN = 0.1  # a frame whose gains are all closer than this to a state's shows it cleanly


def switching_lights(frames: int, rng: np.random.Generator, states: int = 3, switch: float = 0.05) -> np.ndarray:
    """The state of the light in each frame, int (frames,): a Markov chain that is in each state equally often."""
    state = np.empty(frames, int)
    state[0] = rng.integers(states)
    jumps = np.where(rng.random(frames) < switch, rng.integers(1, states, frames), 0)
    for t in range(1, frames):
        state[t] = (state[t - 1] + jumps[t]) % states
    return state


def information(states: int = 3, switch: float = 0.05) -> float:
    """What is new about the light in a frame, in nats: h of the module's text."""
    entropy = -sum(p * math.log(p) for p in (switch, 1 - switch) if p > 0)
    return entropy + switch * math.log(states - 1)


def seen_lights(frames: np.ndarray, states: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Which state of the light frames show, judged by the wall: uint8 (..., H, W, 3) -> int (...,), float (...,).

    Returns:
        the nearest state of each frame, and how far the frame is from it: the largest difference of the three gains.
    """
    H, W = frames.shape[-3:-1]
    rows = max(1, round(WALL * H))
    room = empty_room(H, W)[0][:rows].astype(np.float64)  # (rows, W, 3)
    gains = (frames[..., :rows, :, :] * room).sum((-3, -2)) / (room**2).sum((0, 1))  # (..., 3): least squares
    distance = np.abs(gains[..., None, :] - GAINS[:states]).max(-1)  # (..., states)
    return distance.argmin(-1), distance.min(-1)


@dataclass(frozen=True)
class LightsReport:
    """How the light behaves in predicted videos, beside what is true of the data.

    Attributes:
        rate: share of the frames in which the nearest state is another one than in the frame before.
        shares: how often each state is shown.
        clean: share of the frames that show a state cleanly, no gain further than ``CLEAN`` from it.
        switch, states: of the data.
    """

    rate: float
    shares: tuple[float, ...]
    clean: float
    switch: float
    states: int

    @property
    def variation(self) -> float:
        """Total variation distance of the shares from 1/K each, in [0, 1]."""
        return 0.5 * sum(abs(share - 1 / self.states) for share in self.shares)

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.2f}" for share in self.shares)
        return (
            f"The light switches in {self.rate:.1%} of the frames (data: {self.switch:.1%}); shares of its states "
            f"{shares} (data: {1 / self.states:.2f} each); {self.clean:.1%} of the frames show a state cleanly"
        )


def describe_lights(videos: np.ndarray, states: int = 3, switch: float = 0.05) -> LightsReport:
    """How the light behaves in predicted videos, uint8 (n, T, H, W, 3); the given first frames do not count."""
    state, distance = seen_lights(videos, states)  # (n, T)
    shares = np.bincount(state[:, 1:].ravel(), minlength=states) / state[:, 1:].size
    rate, clean = (state[:, 1:] != state[:, :-1]).mean(), (distance[:, 1:] <= CLEAN).mean()
    return LightsReport(float(rate), tuple(shares.tolist()), float(clean), switch, states)


def append_states(path: Path, start: int, states: np.ndarray) -> None:
    """Write the states (T,) of the frames ``start``, ``start`` + 1 ... to the end of a ``lights.csv``."""
    with open(path, "a", newline="") as file:
        rows = csv.writer(file)
        if start == 0:
            rows.writerow(["frame", "state"])
        rows.writerows([start + t, int(state)] for t, state in enumerate(states))


def read_states(path: str | Path) -> np.ndarray:
    """The true state of the light in each frame, int (T,), from ``lights.csv`` (header ``frame,state``).

    Raises:
        LabError: the file is missing, or holds something else.
    """
    regular(path)
    try:
        with open(path, newline="") as file:
            rows = [(int(row["frame"]), int(row["state"])) for row in csv.DictReader(file)]
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise LabError(f"{path} is not the stage lights; expected the header frame,state and integers") from error
    counted = rows and [frame for frame, _ in rows] == list(range(len(rows)))
    if not counted or not all(0 <= state < len(GAINS) for _, state in rows):
        raise LabError(f"{path}: frames must count 0, 1, 2 ... and states lie in 0..{len(GAINS) - 1}")
    return np.array([state for _, state in rows])
