"""The synthetic dance: a stand-in for the course's data set, in the course's own folder layout.

One jointed figure dances seeded choreographies in a lit studio, seen by one fixed camera.  Every frame comes with the
pose image that a pose estimator would have drawn, and with one number that no pose image tells: the room light.

From top to bottom: skeleton, kinematics, choreography, camera, room and renderer, pose estimator, room light, writer,
statistics.

Units and axes.  Lengths in metres, angles in degrees, image positions in pixels (pixel i covers [i, i + 1)), time in
frames, 30 to the second.  World: x to the right of the picture, y up, z away from the camera.  Yaw 0 faces the
camera, yaw 90 faces the right edge of the picture.  Body frames: left, up, forward.

The hidden factor.  Each frame is multiplied by 1 + light.  ``light`` is the sum of two Gaussian processes of mean 0:
a drift of std 0.006 with a correlation time of 3 s, and a flicker of std 0.005 that keeps half of its value from one
frame to the next.  Together they wander by 0.8 % or 1.2 grey levels at a mean luminance of 155.  Three quarters of
the flicker's variance are new in every frame (std 0.0043 or 0.7 grey levels), so that a perfect predictor that knows
pose and last frame, but not the light, stops at about 51 dB, and one that ignores the light altogether at about 46 dB.

Frames also carry sensor noise of std 0.6 grey levels (a cap of 51 dB); it makes rounding harmless to the light.
"""

import csv
import errno
import json
import math
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from labutils.errors import LabError

# ---------------------------------------------------------------------------------------------------------- skeleton

# The 18 joints of the COCO model and the 17 limbs between them, in OpenPose's order and colours.
JOINT_NAMES = (
    "nose", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "r_hip", "r_knee",
    "r_ankle", "l_hip", "l_knee", "l_ankle", "r_eye", "l_eye", "r_ear", "l_ear",
)  # fmt: skip
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
         (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip
LIMB_COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170),
)  # fmt: skip

# Lengths of the figure, 1.78 m tall.
HIP_HEIGHT, THIGH, SHIN = 0.935, 0.43, 0.43
HIP_HALF, SHOULDER_HALF = 0.09, 0.18
WAIST, CHEST = 0.14, 0.38  # pelvis to waist, waist to neck
UPPER_ARM, FOREARM, HAND = 0.29, 0.26, 0.11
# The foot is rigid and pitches about its ball, which stands BALL in front of the ankle: (forward, up) from the ball.
BALL = 0.13
FOOT = {"ankle": (-BALL, 0.08), "heel": (-0.16, 0.05)}
# Points of the head, (left, up, forward) from the neck.
HEAD = {
    "nose": (0, 0.19, 0.10), "r_eye": (-0.033, 0.225, 0.085), "l_eye": (0.033, 0.225, 0.085),
    "r_ear": (-0.075, 0.20, 0), "l_ear": (0.075, 0.20, 0), "jaw": (0, 0.15, 0.03), "brow": (0, 0.22, 0.025),
    "nape": (0, 0.215, -0.03), "crown": (0, 0.25, 0.0),
}  # fmt: skip

# All points the kinematics yields; the joints come first.
POINTS = JOINT_NAMES + ("pelvis", "jaw", "brow", "nape", "crown") + tuple(
    f"{side}_{name}" for side in "rl" for name in ("seat", "flank", "pec", "hand", "heel", "toe")
)  # fmt: skip
INDEX = {name: i for i, name in enumerate(POINTS)}

# The channels of a pose: what a choreography animates.  x, z: where the ankle of the flat foot stands.
FOOT_CHANNELS = ("x", "z", "yaw", "lift", "pitch")
ARM_CHANNELS = ("flex", "abd", "rot", "elbow")
BODY_CHANNELS = ("drop", "shift", "sway", "lean", "bend", "twist", "nod", "look")
CHANNELS = (
    tuple(f"{s}_{c}" for s in "rl" for c in FOOT_CHANNELS)
    + BODY_CHANNELS
    + tuple(f"{s}_{c}" for s in "rl" for c in ARM_CHANNELS)
)
# Least and greatest value.  Degrees, but for lift, drop, shift and sway in metres.  Knees and hips are solved for.
LIMITS = {
    "lift": (0, 0.3), "pitch": (-25, 85), "drop": (0, 0.55), "shift": (-0.2, 0.2), "sway": (-0.1, 0.1),
    "lean": (-15, 80), "bend": (-15, 40), "twist": (-35, 35), "nod": (-30, 35), "look": (-60, 60),
    "flex": (-45, 170), "abd": (0, 170), "rot": (-80, 90), "elbow": (0, 145), "knee": (0, 155), "hip": (-40, 130),
}  # fmt: skip
STANDING = {"r_abd": 9.0, "l_abd": 9.0, "r_elbow": 14.0, "l_elbow": 14.0, "r_rot": -20.0, "l_rot": -20.0}

# -------------------------------------------------------------------------------------------------------- kinematics


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter over time, axis 0, cut at 3 sigma, ends repeated."""
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    return sum(k * padded[i : i + len(values)] for i, k in enumerate(kernel / kernel.sum()))


def _direction(yaw: np.ndarray, pitch: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors left, up, forward, each (T, 3), of a body that faces ``yaw`` and is pitched forward by ``pitch``."""
    yaw, pitch = np.radians(yaw), np.radians(pitch) + np.zeros_like(yaw)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    left = np.stack([np.cos(yaw), zero, np.sin(yaw)], -1)
    ahead = np.stack([np.sin(yaw), zero, -np.cos(yaw)], -1)
    above = np.stack([zero, one, zero], -1)
    c, s = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    return left, c * above + s * ahead, c * ahead - s * above


def _knee(hip: np.ndarray, ankle: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """The knee (T, 3) of a leg of two bones that bends towards ``ahead``: the law of cosines."""
    leg = ankle - hip
    length = np.linalg.norm(leg, axis=-1, keepdims=True)
    leg /= length
    along = (THIGH**2 - SHIN**2 + length**2) / (2 * length)
    pole = ahead - (ahead * leg).sum(-1, keepdims=True) * leg
    pole /= np.linalg.norm(pole, axis=-1, keepdims=True)
    return hip + along * leg + np.sqrt(np.maximum(THIGH**2 - along**2, 0)) * pole


def solve(channels: np.ndarray) -> np.ndarray:
    """Kinematics: pose channels over time -> points in the room.

    The feet stand where the channels say, and the pelvis rides between them as high as both legs reach, so feet
    neither slide nor float.  Arms, torso and head follow by their angles.

    Args:
        channels: (T, len(CHANNELS)), consecutive frames.
    Returns:
        (T, len(POINTS), 3) in metres; the first 18 are the joints.
    """
    ch = {name: channels[:, i] for i, name in enumerate(CHANNELS)}
    p: dict[str, np.ndarray] = {}

    stand = {}
    for s in "rl":
        _, up, fwd = _direction(ch[f"{s}_yaw"])
        stand[s] = np.stack([ch[f"{s}_x"], ch[f"{s}_lift"], ch[f"{s}_z"]], -1)
        ball = stand[s] + BALL * fwd
        p[f"{s}_toe"] = ball + 0.05 * fwd + 0.04 * up  # toes stay level
        _, up, fwd = _direction(ch[f"{s}_yaw"], ch[f"{s}_pitch"])
        for name, (f, u) in FOOT.items():
            p[f"{s}_{name}"] = ball + f * fwd + u * up

    heading = smooth((ch["r_yaw"] + ch["l_yaw"]) / 2, 4.0)
    left, _, ahead = _direction(heading)
    pelvis = smooth((stand["r"] + stand["l"]) / 2, 5.0) + ch["shift"][:, None] * ahead + ch["sway"][:, None] * left
    side = {"r": -1.0, "l": 1.0}
    height = HIP_HEIGHT - ch["drop"]
    for s in "rl":
        gap = (pelvis + side[s] * HIP_HALF * left - p[f"{s}_ankle"])[:, [0, 2]]
        reach = np.sqrt(np.maximum((0.998 * (THIGH + SHIN)) ** 2 - (gap**2).sum(-1), 0.01))
        height = np.minimum(height, p[f"{s}_ankle"][:, 1] + reach)
    window = np.lib.stride_tricks.sliding_window_view(np.pad(height, 3, mode="edge"), 7)
    pelvis[:, 1] = smooth(window.min(-1), 1.0)  # a minimum over the filter's width: never above the reach
    p["pelvis"] = pelvis

    for s in "rl":
        p[f"{s}_hip"] = pelvis + side[s] * HIP_HALF * left
        p[f"{s}_seat"] = pelvis + side[s] * 0.07 * left
        knee_yaw = 0.5 * (heading + ch[f"{s}_yaw"])
        p[f"{s}_knee"] = _knee(p[f"{s}_hip"], p[f"{s}_ankle"], _direction(knee_yaw)[2])

    turn = heading + ch["twist"]
    left, up, _ = _direction(turn, ch["lean"])
    waist = pelvis + WAIST * up
    left, up, fwd = _direction(turn, ch["lean"] + ch["bend"])
    neck = p["neck"] = waist + CHEST * up
    for s in "rl":
        p[f"{s}_flank"] = waist + side[s] * 0.06 * left
        p[f"{s}_pec"] = neck - 0.12 * up + side[s] * 0.075 * left
        shoulder = p[f"{s}_shoulder"] = neck + side[s] * SHOULDER_HALF * left
        flex, abd, rot, elbow = (np.radians(ch[f"{s}_{c}"])[:, None] for c in ARM_CHANNELS)
        out = side[s] * left
        arm = np.sin(abd) * out + np.cos(abd) * (np.sin(flex) * fwd - np.cos(flex) * up)
        forth = np.sin(flex) * up + np.cos(flex) * fwd  # both perpendicular to the upper arm
        aside = np.cos(abd) * out + np.sin(abd) * (np.cos(flex) * up - np.sin(flex) * fwd)
        forearm = np.cos(elbow) * arm + np.sin(elbow) * (np.cos(rot) * forth + np.sin(rot) * aside)
        p[f"{s}_elbow"] = shoulder + UPPER_ARM * arm
        p[f"{s}_wrist"] = p[f"{s}_elbow"] + FOREARM * forearm
        p[f"{s}_hand"] = p[f"{s}_wrist"] + HAND * forearm

    left, up, fwd = _direction(turn + ch["look"], 0.7 * (ch["lean"] + ch["bend"]) + ch["nod"])
    for name, (x, y, z) in HEAD.items():
        p[name] = neck + x * left + y * up + z * fwd
    return np.stack([p[name] for name in POINTS], 1)


# ------------------------------------------------------------------------------------------------------ choreography

CENTRE_Z = 4.35  # where the figure mostly dances, metres from the camera
PICTURE_EDGE = 0.57  # the edge of a 2:1 picture, metres to the side for each metre from the camera
STEP, STEP_FRAMES = 0.53, 15  # length and duration of a walking step


def _wrap(angle: float) -> float:
    return (angle + 180) % 360 - 180


class Dancer:
    """Appends frames of pose channels, one movement after the other; each starts and ends at rest.

    Attributes:
        rng: source of every choice.
        now: value of each channel in the last frame.
        frames: blocks (n, len(CHANNELS)) so far.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.now = dict.fromkeys(CHANNELS, 0.0) | STANDING
        self.frames: list[np.ndarray] = []
        x, z, yaw = rng.uniform(-1.3, 1.3), CENTRE_Z + rng.uniform(-0.3, 0.3), self.facing()
        for foot in "rl":
            self.now |= self.foothold(foot, x, z, yaw)

    # -- where the figure is

    def length(self) -> int:
        return sum(map(len, self.frames))

    def heading(self) -> float:
        return (self.now["r_yaw"] + self.now["l_yaw"]) / 2

    def place(self) -> tuple[float, float]:
        return (self.now["r_x"] + self.now["l_x"]) / 2, (self.now["r_z"] + self.now["l_z"]) / 2

    def ahead(self, forward: float, left: float = 0.0) -> tuple[float, float]:
        """The spot so many metres forward and to the left of where the figure stands."""
        (x, z), yaw = self.place(), math.radians(self.heading())
        return (x + forward * math.sin(yaw) + left * math.cos(yaw), z - forward * math.cos(yaw) + left * math.sin(yaw))

    def facing(self) -> float:
        """A direction to face: mostly to the camera, else to a side, seldom away."""
        return float(self.rng.choice([0, 90, -90, 180], p=[0.6, 0.16, 0.16, 0.08]) + self.rng.normal(0, 6))

    @staticmethod
    def foothold(foot: str, x: float, z: float, yaw: float, apart: float = 0.1) -> dict[str, float]:
        """Channels of one foot when the figure stands over (x, z): ``apart`` metres beside it, toes a little out."""
        sign = 1 if foot == "l" else -1
        a = math.radians(yaw)
        return {
            f"{foot}_x": x + sign * apart * math.cos(a),
            f"{foot}_z": z + sign * apart * math.sin(a),
            f"{foot}_yaw": yaw + sign * 7,
        }

    # -- movements

    def move(self, frames: int, swing: str = "", **to: float) -> None:
        """Ease the channels ``to`` to their new values; ``swing`` names a foot that leaves the floor meanwhile.

        The easing is the minimum-jerk curve 10 s^3 - 15 s^4 + 6 s^5 (Flash and Hogan, 1985).
        """
        start = np.array([self.now[c] for c in CHANNELS])
        self.now |= to
        end = np.array([self.now[c] for c in CHANNELS])
        s = np.arange(1, frames + 1)[:, None] / frames
        block = start + (end - start) * (10 * s**3 - 15 * s**4 + 6 * s**5)
        if swing:
            x, z, lift, pitch = (CHANNELS.index(f"{swing}_{c}") for c in ("x", "z", "lift", "pitch"))
            stride = min(1.0, math.hypot(end[x] - start[x], end[z] - start[z]))  # metres
            block[:, lift] += (0.03 + 0.05 * stride) * np.sin(np.pi * s[:, 0]) ** 2
            block[:, pitch] += (8 + 20 * stride) * np.sin(np.pi * s[:, 0] ** 0.7) ** 2  # early
        self.frames.append(block)

    def arms(self, frames: int, both: dict[str, float], **to: float) -> None:
        """Move both arms alike."""
        self.move(frames, **{f"{s}_{c}": v for s in "rl" for c, v in both.items()}, **to)

    def rest(self, frames: int) -> None:
        """Back to standing upright with the arms down, feet as they are."""
        self.move(frames, **{c: 0.0 for c in BODY_CHANNELS}, **{f"{s}_flex": 0.0 for s in "rl"}, **STANDING)

    def turn(self, yaw: float) -> None:
        """Turn on the spot in small steps, the inner foot first."""
        rest = _wrap(yaw - self.heading())
        if abs(rest) < 12:
            return
        x, z = self.place()
        count = math.ceil(abs(rest) / 65)
        for i in range(1, count + 1):
            target = yaw - rest * (1 - i / count)
            target += 360 * round((self.heading() - target) / 360)
            for foot in "lr" if rest > 0 else "rl":
                self.move(9, swing=foot, **self.foothold(foot, x, z, target))

    def walk(self, x: float, z: float) -> None:
        """Turn towards (x, z), walk there and close the feet; the arms swing against the legs."""
        x0, z0 = self.place()
        distance = math.hypot(x - x0, z - z0)
        if distance < 0.3:
            return
        self.turn(math.degrees(math.atan2(x - x0, -(z - z0))))
        yaw = self.heading()
        count = max(1, round(distance / STEP))
        pace = STEP_FRAMES + int(self.rng.integers(-2, 3))
        feet = "lr" if self.rng.random() < 0.5 else "rl"
        for i in range(1, count + 1):
            foot, other = feet[i % 2], feet[(i + 1) % 2]
            part = i / count
            swing = {f"{other}_flex": 22.0, f"{foot}_flex": -20.0, f"{other}_elbow": 28.0, f"{foot}_elbow": 14.0}
            hold = self.foothold(foot, x0 + part * (x - x0), z0 + part * (z - z0), yaw, apart=0.07)
            heels = {f"{other}_pitch": 16.0, f"{foot}_pitch": 0.0}
            self.move(pace, swing=foot, lean=4.0, shift=0.04, **hold, **swing, **heels)
        last = feet[(count + 1) % 2]
        level = dict.fromkeys(("r_flex", "l_flex", "r_pitch", "l_pitch", "lean", "shift"), 0.0)
        self.move(pace, swing=last, **level, **self.foothold(last, x, z, yaw), **STANDING)

    def come_back(self) -> None:
        """From the rim of the picture, or from too near or too far, back to the middle."""
        x, z = self.place()
        if abs(x) > 1.5 or abs(z - CENTRE_Z) > 0.5:
            self.walk(self.rng.uniform(-1.2, 1.2), CENTRE_Z + self.rng.uniform(-0.3, 0.3))


# Actions: each starts and ends standing, arms down.


def idle(d: Dancer) -> None:
    """Stand; shift the weight, look about, now and then bring the hands together or one to the face."""
    for _ in range(int(d.rng.integers(1, 4))):
        pose = {f"{s}_{c}": 0.0 for s in "rl" for c in ARM_CHANNELS} | STANDING
        kind = d.rng.random()
        if kind < 0.25:
            pose |= {f"{s}_{c}": v for s in "rl" for c, v in {"elbow": 95.0, "rot": -55.0, "flex": 10.0}.items()}
        elif kind < 0.45:
            s = d.rng.choice(["r", "l"])
            pose |= {f"{s}_elbow": 130.0, f"{s}_rot": -30.0, f"{s}_flex": 40.0}
        turn = {"look": d.rng.uniform(-35, 35), "sway": d.rng.uniform(-0.05, 0.05), "twist": d.rng.uniform(-8, 8)}
        d.move(int(d.rng.integers(18, 30)), **pose, **turn)
        d.move(int(d.rng.integers(8, 24)), nod=d.rng.uniform(-5, 10))
    d.rest(18)


def raise_arms(d: Dancer) -> None:
    """Arms sideways to a T or overhead, with straight or bent elbows, or forward and up."""
    for _ in range(int(d.rng.integers(1, 3))):
        kind = int(d.rng.integers(4))
        if kind == 0:  # sideways
            d.arms(20, {"abd": d.rng.uniform(55, 95), "elbow": 8.0})
        elif kind == 1:  # overhead
            d.arms(28, {"abd": d.rng.uniform(150, 168), "elbow": 10.0, "rot": 60.0})
        elif kind == 2:  # hands up, elbows out
            d.arms(24, {"abd": d.rng.uniform(95, 120), "elbow": 70.0, "rot": 88.0})
        else:  # forward
            d.arms(22, {"flex": d.rng.uniform(80, 165), "elbow": 10.0})
        d.move(int(d.rng.integers(6, 20)))
        d.rest(24)


def wave(d: Dancer) -> None:
    """Raise one arm and wave the forearm."""
    s = d.rng.choice(["r", "l"])
    upper = d.rng.uniform(70, 110)
    d.move(20, **{f"{s}_abd": upper, f"{s}_elbow": 70.0, f"{s}_rot": 85.0}, look=10.0 if s == "l" else -10.0)
    for _ in range(int(d.rng.integers(2, 5))):
        d.move(9, **{f"{s}_elbow": 35.0})
        d.move(9, **{f"{s}_elbow": 85.0})
    d.rest(22)


def squat(d: Dancer) -> None:
    """Bend both knees, arms forward for balance."""
    for _ in range(int(d.rng.integers(1, 3))):
        deep = d.rng.uniform(0.28, 0.42)
        d.arms(26, {"flex": 75.0, "elbow": 15.0}, drop=deep, lean=80 * deep, shift=-0.2 * deep, nod=-12.0)
        d.move(int(d.rng.integers(4, 14)))
        d.rest(26)


def bow(d: Dancer) -> None:
    """Bend forward from the hips."""
    deep = d.rng.uniform(35, 70)
    d.arms(30, {"flex": 0.45 * deep}, lean=deep, bend=0.3 * deep, shift=-0.1, nod=8.0)
    d.move(int(d.rng.integers(6, 20)))
    d.rest(30)


def lunge(d: Dancer) -> None:
    """A long step forward on a bent knee, the heel behind lifted, some dips, and the front foot comes back."""
    yaw, (x, z) = d.heading(), d.place()
    s = d.rng.choice(["r", "l"])
    o = "l" if s == "r" else "r"
    to = d.ahead(d.rng.uniform(0.75, 0.95))
    d.move(24, swing=s, drop=0.24, lean=8.0, **{f"{o}_pitch": 35.0}, **d.foothold(s, *to, yaw))
    for _ in range(int(d.rng.integers(1, 3))):
        d.move(16, drop=0.38, **{f"{o}_pitch": 50.0, f"{o}_flex": 35.0, f"{o}_elbow": 60.0, f"{s}_flex": -20.0})
        d.move(16, drop=0.24, **{f"{o}_pitch": 35.0})
    d.move(22, swing=s, drop=0.0, lean=0.0, **{f"{o}_pitch": 0.0}, **d.foothold(s, x, z, yaw))
    d.rest(16)


def kneel(d: Dancer) -> None:
    """Down on one knee, stay, and up again."""
    yaw, (x, z) = d.heading(), d.place()
    s = d.rng.choice(["r", "l"])
    o = "l" if s == "r" else "r"
    d.move(22, swing=s, drop=0.08, **d.foothold(s, *d.ahead(0.8), yaw))
    knee = {f"{o}_pitch": 72.0, f"{s}_flex": 35.0, f"{s}_elbow": 40.0}
    d.move(30, drop=0.45, shift=0.06, lean=8.0, **knee)
    d.move(int(d.rng.integers(12, 36)), look=d.rng.uniform(-30, 30))
    d.move(30, drop=0.08, shift=0.0, lean=4.0, look=0.0, **{f"{o}_pitch": 0.0, f"{s}_flex": 0.0})
    d.move(20, swing=s, drop=0.0, lean=0.0, **d.foothold(s, x, z, yaw))
    d.rest(14)


def side_steps(d: Dancer) -> None:
    """Two or three steps sideways and as many back, arms half out."""
    yaw, start = d.heading(), d.place()
    count, size = int(d.rng.integers(2, 4)), d.rng.uniform(0.3, 0.45)
    way = 1 if d.rng.random() < 0.5 else -1
    spots = [d.ahead(0, way * size * i) for i in range(1, count + 1)]
    for sign, path in ((way, spots), (-way, spots[-2::-1] + [start])):
        for spot in path:
            for foot in "lr" if sign > 0 else "rl":
                d.move(11, swing=foot, r_abd=30.0, l_abd=30.0, drop=0.04, **d.foothold(foot, *spot, yaw))
    d.rest(16)


def turn_round(d: Dancer) -> None:
    """Face another way, wait, and often turn on."""
    for _ in range(int(d.rng.integers(1, 3))):
        d.turn(d.heading() + float(d.rng.choice([90, -90, 180])))
        d.move(int(d.rng.integers(8, 24)))


def walk_across(d: Dancer) -> None:
    """Walk to one side of the picture, sometimes half out of it, turn, and walk back."""
    way = -1 if d.place()[0] > 0 else 1
    z = CENTRE_Z + d.rng.uniform(-0.3, 0.3)
    edge = PICTURE_EDGE * z - 0.1
    d.walk(way * d.rng.uniform(0.65, 1) * edge, z)
    d.move(int(d.rng.integers(4, 16)))
    d.walk(-way * d.rng.uniform(0.2, 1) * edge, z)


def approach(d: Dancer) -> None:
    """Walk towards the camera until the picture cuts head and feet off, turn round, walk back."""
    d.walk(0.4 * d.place()[0] + d.rng.uniform(-0.3, 0.3), d.rng.uniform(1.9, 2.5))
    d.turn(d.rng.uniform(-8, 8))
    d.move(int(d.rng.integers(10, 30)), look=d.rng.uniform(-20, 20))
    d.come_back()


# The deck of actions from which a choreography is dealt; a new one is shuffled when it is empty.
ACTIONS: tuple[Callable[[Dancer], None], ...] = (
    walk_across, walk_across, walk_across, approach, approach, idle, raise_arms, wave, squat, bow, lunge, lunge, kneel,
    side_steps, turn_round,
)  # fmt: skip


def choreography(frames: int, rng: np.random.Generator) -> np.ndarray:
    """A seeded sequence of actions as pose channels, (frames, len(CHANNELS))."""
    dancer = Dancer(rng)
    deck: list[Callable[[Dancer], None]] = []
    while dancer.length() < frames + 30:
        deck = deck or [ACTIONS[i] for i in rng.permutation(len(ACTIONS))]
        deck.pop()(dancer)
        dancer.come_back()
        if rng.random() < 0.6:
            dancer.turn(dancer.facing())
    channels = np.concatenate(dancer.frames)
    skip = int(rng.integers(0, 30))  # not every sequence begins at the first frame of an action
    return channels[skip : skip + frames]


# ------------------------------------------------------------------------------------------------------------ camera

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


def rest_pose(height: int = 32, width: int = 64) -> np.ndarray:
    """Joints (18, 2) in pixels of the figure as it stands in the middle of the stage and faces the camera."""
    dancer = Dancer(np.random.default_rng(0))
    for foot in "rl":
        dancer.now |= dancer.foothold(foot, 0.0, CENTRE_Z, 0.0)
    dancer.move(1)
    return project(solve(dancer.frames[0])[0, :18], height, width)[0]


# -------------------------------------------------------------------------------------------------- room and renderer

WALL_Z = 6.6  # metres; the floor bends into the wall here
COLORS = {
    "shirt": (68, 82, 104), "trousers": (23, 23, 27), "skin": (168, 124, 108), "hair": (34, 31, 32),
    "shoes": (24, 22, 23),
}  # fmt: skip
# The body as tapered capsules: from, to, radius at both ends (metres), material.  Limbs are added for both sides.
PARTS = [("r_seat", "l_seat", 0.112, 0.112, "trousers"), ("r_shoulder", "l_shoulder", 0.058, 0.058, "shirt"),
         ("neck", "jaw", 0.055, 0.055, "skin"), ("jaw", "brow", 0.068, 0.076, "skin"),
         ("nape", "crown", 0.07, 0.086, "hair")]  # fmt: skip
for _s in "rl":
    PARTS += [
        (f"{_s}_flank", f"{_s}_pec", 0.122, 0.128, "shirt"), (f"{_s}_shoulder", f"{_s}_elbow", 0.066, 0.056, "shirt"),
        (f"{_s}_elbow", f"{_s}_wrist", 0.050, 0.040, "shirt"), (f"{_s}_wrist", f"{_s}_hand", 0.036, 0.036, "skin"),
        (f"{_s}_hip", f"{_s}_knee", 0.098, 0.075, "trousers"), (f"{_s}_knee", f"{_s}_ankle", 0.073, 0.062, "trousers"),
        (f"{_s}_heel", f"{_s}_toe", 0.05, 0.04, "shoes"),
    ]  # fmt: skip
PART_FROM = np.array([INDEX[part[0]] for part in PARTS])
PART_TO = np.array([INDEX[part[1]] for part in PARTS])
PART_RADII = np.array([part[2:4] for part in PARTS], np.float32)
PART_COLORS = np.array([COLORS[part[4]] for part in PARTS], np.float32)
MIRRORED = np.array([i for i, part in enumerate(PARTS) if part[4] in ("trousers", "shoes")])
LIGHT_FROM = np.array([-0.25, -0.75, 0.61], np.float32)  # unit vector to the lamps: picture x, picture y (down), viewer
NOISE = 0.6  # std of the sensor noise in grey levels


@lru_cache(maxsize=4)
def _room(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The empty room in grey levels (H, W, 3), where each pixel sees the floor (H, W, 2), how much it does (H, W)."""
    u = (np.arange(width) + 0.5)[None, :] / height - width / height / 2  # in picture heights from the middle
    v = (np.arange(height) + 0.5)[:, None] / height - 0.5
    c, s = math.cos(math.radians(CAMERA_PITCH)), math.sin(math.radians(CAMERA_PITCH))
    # A ray (u, -v, FOCAL) of the camera falls s FOCAL + c v per picture height and meets the floor after CAMERA_HEIGHT.
    far = np.minimum(CAMERA_HEIGHT / np.maximum(s * FOCAL + c * v, 1e-3), 30) + 0 * u
    ground = np.stack([far * u, far * (c * FOCAL - s * v)], -1)
    floor = 1 / (1 + np.exp((ground[..., 1] - WALL_Z) / 0.45))  # soft: the wall rounds into the floor
    pools = sum(
        a * np.exp(-(((u - x) / w) ** 2) - ((v + 0.56) / h) ** 2)
        for x, a, w, h in ((-0.80, 88, 0.20, 0.22), (-0.02, 68, 0.22, 0.16), (0.70, 76, 0.24, 0.24))
    )
    dark = sum(-62 * np.exp(-(((u - x) / 0.17) ** 2) - ((v + 0.55) / 0.14) ** 2) for x in (-0.42, 0.33))
    wall = 152 + 25 * u + 14 * np.clip(-v, 0, 0.5) + pools + dark
    ground_light = 158 + 62 * (v - 0.05) + 22 * u - 16 * u**2
    grey = floor * ground_light + (1 - floor) * wall
    tint = np.array([1.008, 1.0, 0.99])
    return (grey[..., None] * tint).astype(np.float32), ground.astype(np.float32), floor.astype(np.float32)


def _cover(
    a: np.ndarray, b: np.ndarray, ra: np.ndarray, rb: np.ndarray, x: np.ndarray, y: np.ndarray, soft: float
) -> tuple[np.ndarray, ...]:
    """Capsules seen at the pixel centres ``x`` (w,), ``y`` (h,).  Positions (K, 2), radii (K,), ``soft``: in pixels.

    Returns (K, h, w) each: coverage with an edge ``soft`` wide, place along the axis in [0, 1], and the surface
    normal's x, y and bulge towards the viewer.
    """
    axis = b - a
    axis_ = axis / np.maximum((axis**2).sum(-1, keepdims=True), 1e-4)
    dx = x[None, None, :] - a[:, 0, None, None]  # (K, 1, w)
    dy = y[None, :, None] - a[:, 1, None, None]  # (K, h, 1)
    t = np.clip(dx * axis_[:, 0, None, None] + dy * axis_[:, 1, None, None], 0, 1)  # (K, h, w)
    inv = 1 / (ra[:, None, None] + t * (rb - ra)[:, None, None])
    nx = (dx - t * axis[:, 0, None, None]) * inv
    ny = (dy - t * axis[:, 1, None, None]) * inv
    n2 = nx * nx + ny * ny
    cover = np.clip((1 - np.sqrt(n2)) / (inv * soft) + 0.5, 0, 1)
    return cover, t, nx, ny, np.sqrt(np.maximum(1 - n2, 0))


def _box(low: np.ndarray, high: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels x0, y0, x1, y1 that hold everything between ``low`` and ``high``, within the picture."""
    (x0, y0), (x1, y1) = np.floor(low.min(0)).astype(int), np.ceil(high.max(0)).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def render(
    points: np.ndarray, light: float, height: int, width: int, supersample: int = 3, noise: np.ndarray | float = 0.0
) -> np.ndarray:
    """One frame.

    Args:
        points: (len(POINTS), 3) of ``solve``, metres.
        light: relative change of the room light; 0 is the usual.
        supersample: the figure is drawn this many times finer along each axis, then averaged.
        noise: (H, W, 3), added at last, grey levels.
    Returns:
        uint8 (H, W, 3).
    """
    room, ground, floor = _room(height, width)
    xy, depth = project(points.astype(np.float32), height, width)
    a, b, za, zb = xy[PART_FROM], xy[PART_TO], depth[PART_FROM], depth[PART_TO]  # (K, 2) and (K,)
    ra, rb = FOCAL * height * PART_RADII[:, 0] / za, FOCAL * height * PART_RADII[:, 1] / zb

    shade = np.ones((height, width), np.float32)
    for name, strength, size in (("r_ankle", 0.42, 0.17), ("l_ankle", 0.42, 0.17), ("pelvis", 0.17, 0.55)):
        x, y, z = points[INDEX[name]]
        spread = size * (1 + 2 * max(y - 0.08, 0)) if size < 0.5 else size
        strength *= math.exp(-5 * max(y - 0.08, 0)) if size < 0.5 else 1
        gap = ((ground - np.float32([x, z - 0.04])) ** 2).sum(-1)
        shade *= 1 - strength * floor * np.exp(-gap / spread**2)
    frame = room * shade[..., None]

    # Faint reflection of legs and shoes in the floor: the same capsules below it, blurred.
    below, far = project((points * [1, -1, 1]).astype(np.float32), height, width)
    c, d = below[PART_FROM[MIRRORED]], below[PART_TO[MIRRORED]]
    rc, rd = (FOCAL * height * PART_RADII[MIRRORED, i] / far[e[MIRRORED]] for i, e in ((0, PART_FROM), (1, PART_TO)))
    pad = np.maximum(rc, rd)[:, None] + 0.03 * height
    x0, y0, x1, y1 = _box(np.minimum(c, d) - pad, np.maximum(c, d) + pad, height, width)
    if x1 > x0 and y1 > y0:
        x, y = np.arange(x0, x1, dtype=np.float32) + 0.5, np.arange(y0, y1, dtype=np.float32) + 0.5
        glint = 0.2 * _cover(c, d, rc, rd, x, y, 0.06 * height)[0].max(0) * floor[y0:y1, x0:x1]
        frame[y0:y1, x0:x1] *= 1 - 0.8 * glint[..., None]

    pad = np.maximum(ra, rb)[:, None] + 1
    x0, y0, x1, y1 = _box(np.minimum(a, b) - pad, np.maximum(a, b) + pad, height, width)
    if x1 > x0 and y1 > y0:
        k = supersample
        x = (np.arange(x0 * k, x1 * k, dtype=np.float32) + 0.5) / k
        y = (np.arange(y0 * k, y1 * k, dtype=np.float32) + 0.5) / k
        cover, t, nx, ny, bulge = _cover(a, b, ra, rb, x, y, 1 / k)
        behind = za[:, None, None] + t * (zb - za)[:, None, None] - bulge * PART_RADII.mean(1)[:, None, None]
        behind[cover == 0] = np.inf
        top = behind.argmin(0)[None]  # (1, h, w): the capsule in front
        nx, ny, bulge = (np.take_along_axis(n, top, 0)[0] for n in (nx, ny, bulge))
        lit = 0.55 + 0.65 * np.maximum(LIGHT_FROM[0] * nx + LIGHT_FROM[1] * ny + LIGHT_FROM[2] * bulge, 0)
        alpha = cover.max(0)
        rgba = np.empty((*alpha.shape, 4), np.float32)
        rgba[..., :3] = PART_COLORS[top[0]] * (lit * alpha)[..., None]
        rgba[..., 3] = alpha
        rgba = rgba.reshape(y1 - y0, k, x1 - x0, k, 4).mean((1, 3))
        frame[y0:y1, x0:x1] = frame[y0:y1, x0:x1] * (1 - rgba[..., 3:]) + rgba[..., :3]

    return np.clip(np.rint(frame * (1 + light) + noise), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- pose estimator

LINE = 3.0 / 512  # thickness of a limb in picture heights
JITTER = 0.08 / 32  # std of a joint's position in picture heights: 0.08 px at 64x32
MISSING = 1 / 1500  # chance per joint and frame that the estimator loses it, for 2 to 6 frames
BLANK = 0.002  # part of the frames in which it finds nobody


def draw_pose(joints_2d: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pose image: limbs drawn on white about 512 pixels high, then averaged down, which leaves them thin and pale.

    Args:
        joints_2d: (18, 2) positions (x, y) in pixels of the height x width picture; NaN where a joint is not known.
    Returns:
        uint8 (height, width, 3).
    """
    label = np.full((height, width, 3), 255, np.uint8)
    known = [(i, j, color) for (i, j), color in zip(LIMBS, LIMB_COLORS) if not np.isnan(joints_2d[[i, j]]).any()]
    if not known:
        return label
    ends = np.array([joints_2d[[i, j]] for i, j, _ in known])  # (limbs, 2, 2)
    x0, y0, x1, y1 = _box(ends.min(1) - 1, ends.max(1) + 1, height, width)
    if x1 <= x0 or y1 <= y0:
        return label
    fine = max(1, round(512 / height))
    canvas = Image.new("RGB", ((x1 - x0) * fine, (y1 - y0) * fine), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    thickness = max(1, round(LINE * height * fine))
    for (start, end), (_, _, color) in zip((ends - [x0, y0]) * fine, known):
        draw.line([*start.tolist(), *end.tolist()], fill=color, width=thickness)
    label[y0:y1, x0:x1] = np.asarray(canvas.reduce(fine))
    return label


def estimate(points: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """What a pose estimator finds in T frames: (T, 18, 2) in pixels, NaN where it finds nothing.

    It jitters a little, does not see joints out of the picture or on the far side of the head, loses a joint now and
    then, and in 0.2 % of the frames everything.
    """
    frames = len(points)
    joints = project(points[:, :18], height, width)[0]
    joints += rng.normal(0, JITTER * height, joints.shape)
    unseen = ((joints < 0) | (joints >= [width, height])).any(-1)  # (T, 18)
    ears = points[:, [INDEX["r_ear"], INDEX["l_ear"]]]
    outward = (ears - ears.mean(1, keepdims=True)) / np.linalg.norm(ears[:, :1] - ears[:, 1:], axis=-1, keepdims=True)
    unseen[:, 16:18] |= outward[:, :, 2] > 0.42  # 0.5 is straight away from the camera
    gaze = points[:, INDEX["nose"]] - ears.mean(1)
    turned = gaze[:, 2] / np.linalg.norm(gaze, axis=-1) > 0.3  # 1 is straight away from the camera
    unseen[:, [INDEX["nose"], INDEX["r_eye"], INDEX["l_eye"]]] |= turned[:, None]
    for frame, joint in np.argwhere(rng.random((frames, 18)) < MISSING):
        unseen[frame : frame + int(rng.integers(2, 7)), joint] = True
    unseen[rng.random(frames) < BLANK] = True
    return np.where(unseen[..., None], np.nan, joints)


# -------------------------------------------------------------------------------------------------------- room light

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


# ------------------------------------------------------------------------------------------------------------ writer

STAGE_VERSION = 1  # raise it when the same settings give other bytes
SEQUENCE_FRAMES = 630  # the training split is cut into choreographies of this length
MARK = "dance.json"
_SPLIT_KEY = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Dance:
    """Everything that decides the bytes of a synthetic data set."""

    train: int
    val: int
    test_sequences: int
    test_frames: int
    height: int
    width: int
    supersample: int
    seed: int
    version: int = STAGE_VERSION

    def __post_init__(self) -> None:
        least = {"train": 1, "val": 1, "test_sequences": 0, "test_frames": 1, "height": 16, "width": 16,
                 "supersample": 1, "seed": 0}  # fmt: skip
        for name, low in least.items():
            if getattr(self, name) < low:
                raise LabError(f"{name} is {getattr(self, name)}; it must be at least {low}")


@dataclass(frozen=True)
class _Job:
    """Consecutive frames of one sequence for one worker; arrays start at frame ``first`` of the sequence."""

    dance: Dance
    key: tuple[int, int]  # split and sequence: the noise of a frame is seeded by (seed, split, sequence, frame)
    first: int
    number: int  # of the first file
    img: str
    label: str
    points: np.ndarray
    joints: np.ndarray
    light: np.ndarray


def _render_job(job: _Job) -> int:
    d = job.dance
    for i in range(len(job.points)):
        rng = np.random.default_rng([d.seed, *job.key, job.first + i])
        noise = NOISE * rng.standard_normal((d.height, d.width, 3), dtype=np.float32)
        frame = render(job.points[i], job.light[i], d.height, d.width, d.supersample, noise)
        label = draw_pose(job.joints[i], d.height, d.width)
        for folder, image in ((job.img, frame), (job.label, label)):
            Image.fromarray(image).save(f"{folder}/frame{job.number + i:06d}.png", compress_level=1)
    return len(job.points)


def _sequences(d: Dance) -> Iterator[tuple[str, int, int, int, str, str]]:
    """Split, sequence, number of its first file, frames, image folder and label folder of every sequence."""
    for split, frames in (("train", d.train), ("val", d.val)):
        for k, start in enumerate(range(0, frames, SEQUENCE_FRAMES)):
            yield split, k, start, min(SEQUENCE_FRAMES, frames - start), f"{split}_img", f"{split}_label"
    for k in range(d.test_sequences):
        yield "test", k, 0, d.test_frames, f"test_gt/{k}", f"test_label/{k}"


def _light_file(split: str, sequence: int) -> str:
    return f"test/light_{sequence}.csv" if split == "test" else f"{split}/light.csv"


def _jobs(d: Dance, root: Path, block: int = 70) -> Iterator[_Job]:
    """The work in blocks; makes the folders and writes the hidden factor on the way."""
    for split, k, start, frames, img, label in _sequences(d):
        rng = np.random.default_rng([d.seed, _SPLIT_KEY[split], k])
        points = solve(choreography(frames, rng))
        joints, light = estimate(points, d.height, d.width, rng), room_light(frames, rng)
        for folder in (img, label):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
        with open(root / _light_file(split, k), "a", newline="") as file:
            rows = csv.writer(file)
            if start == 0:
                rows.writerow(["frame", "light"])
            rows.writerows([start + t, f"{value:.6f}"] for t, value in enumerate(light))
        for i in range(0, frames, block):
            cut = slice(i, i + block)
            yield _Job(d, (_SPLIT_KEY[split], k), i, start + i, str(root / split / img), str(root / split / label),
                       points[cut], joints[cut], light[cut])  # fmt: skip


def _complete(d: Dance, root: Path) -> bool:
    """Whether ``root`` holds all images of this dance."""
    counts: dict[Path, int] = {}
    for split, _, _, frames, *folders in _sequences(d):
        for folder in folders:
            counts[root / split / folder] = counts.get(root / split / folder, 0) + frames
    return all(p.is_dir() and sum(f.name.endswith(".png") for f in os.scandir(p)) == n for p, n in counts.items())


def _check_out(d: Dance, out: Path) -> bool:
    """True if ``out`` already holds this very dance, False if it may be written.

    Raises:
        LabError: ``out`` is a file, or a folder with something in it that this module did not write.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise LabError(f"{out} is a file; --out must name a folder that is new, empty, or made by this command")
    names = {p.name for p in out.iterdir()}
    try:
        found = json.loads((out / MARK).read_text())["settings"] if MARK in names else None
    except (ValueError, KeyError, TypeError):
        found = None
    foreign = sorted(n for n in names - {MARK, "train", "val", "test"} if not n.startswith("."))
    if names and (found is None or foreign):
        what = f"{', '.join(foreign[:3])}" if foreign else "images without a readable " + MARK
        raise LabError(f"{out} holds other data ({what}); choose another --out, or move that folder away")
    return found == asdict(d) and _complete(d, out)


def make_data(
    out: str | Path,
    train: int = 2520,
    val: int = 630,
    test_sequences: int = 6,
    test_frames: int = 630,
    height: int = 32,
    width: int = 64,
    supersample: int = 3,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Render a synthetic data set in the course's layout; data/README.md describes it.

    The same arguments give the same bytes, however many workers there are.  Every sequence of train, val and test has
    its own choreography, defects and light, seeded by (seed, split, sequence).  All is written to a folder beside
    ``out`` and renamed at the end, so an interrupted run leaves nothing.  A folder that is already complete is left
    alone; a dance made with other settings is replaced.

    Args:
        out: folder to write.
        train, val: frames of these splits; choreographies of up to 630 frames are put one after the other.
        test_sequences, test_frames: test clips and the frames of each; their true frames go to test/test_gt.
        height, width: pixels.  supersample: fineness of the figure's edges.
        workers: processes; 0 means one for each core.
        progress: show a progress bar on stderr.
    Returns:
        ``out`` as a Path.
    Raises:
        LabError: ``out`` cannot be used, an argument is out of range, or the disk is full.
    """
    out = Path(out)
    dance = Dance(train, val, test_sequences, test_frames, height, width, supersample, seed)
    if _check_out(dance, out):
        if progress:
            print(f"{out} already holds this dance: nothing to do")
        return out
    target = out.resolve()
    new, old = (target.with_name(f".{target.name}.{kind}-{os.getpid()}") for kind in ("new", "old"))
    try:
        new.mkdir(parents=True)
        _write(dance, new, workers or os.cpu_count() or 1, progress)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(f"the disk is full: {out} was not written; free some space or make fewer frames") from None
        raise LabError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
    return out


def _write(d: Dance, root: Path, workers: int, progress: bool) -> None:
    total = d.train + d.val + d.test_sequences * d.test_frames
    with tqdm(total=total, unit="frame", desc="rendering the dance", disable=not progress) as bar:
        if workers == 1 or total < 500:  # starting processes would take longer than the work
            for job in _jobs(d, root):
                bar.update(_render_job(job))
        else:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                for done in pool.imap_unordered(_render_job, _jobs(d, root)):
                    bar.update(done)
    starts: dict[str, list[int]] = {split: [] for split in _SPLIT_KEY}
    for split, k, start, *_ in _sequences(d):
        starts[split].append(start)
        if split == "test":
            first = "frame000000.png"
            (root / f"test/test_img/{k}").mkdir(parents=True)
            shutil.copyfile(root / f"test/test_gt/{k}/{first}", root / f"test/test_img/{k}/{first}")
    mark = {"made_by": "labutils.dance.stage", "settings": asdict(d), "sequence_starts": starts}
    (root / MARK).write_text(json.dumps(mark, indent=1) + "\n")


# -------------------------------------------------------------------------------------------------------- statistics

STATISTICS = {
    "frames": "frames looked at",
    "copy_first": "PSNR in dB of repeating the sequence's first frame",
    "mean_frame": "PSNR in dB of the mean training frame",
    "copy_previous": "PSNR in dB of repeating the last true frame",
    "person": "% of pixels further than 25 grey levels from the median over time",
    "ink": "% of label pixels with a channel below 225",
    "blank": "% of labels without ink",
    "luminance": "mean grey level",
    "std": "std of grey levels within a frame",
    "wander": "std over time of the top 3/8 of the picture, person left out, in grey levels",
}


def _read(folder: Path, limit: int) -> np.ndarray | None:
    """The first ``limit`` images by the number in their names, uint8 (N, 32, 64, 3); None if there are none."""
    files = sorted(folder.glob("*.png"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)])[:limit]
    if not files:
        return None
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB").resize((64, 32), Image.Resampling.BILINEAR)))
        except OSError as error:
            raise LabError(f"cannot read {file}: {error}") from None
    return np.stack(images)


def _mean_psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    """PSNR per frame against peak 255, averaged; equal frames count 100 dB."""
    if not len(truth):
        return math.nan
    mse = ((prediction.astype(np.float32) - truth) ** 2).reshape(len(truth), -1).mean(1)
    return float(np.minimum(10 * np.log10(255**2 / np.maximum(mse, 1e-9)), 100).mean())


def _describe(
    frames: np.ndarray | None, labels: np.ndarray | None, starts: list[int], mean: np.ndarray
) -> dict[str, float]:
    """One row of ``statistics``: frames, labels (N, 32, 64, 3), first frames of sequences, mean training frame."""
    result = dict.fromkeys(STATISTICS, math.nan)
    if labels is not None:
        ink = (labels < 225).any(-1)  # (N, 32, 64)
        result |= {"frames": len(labels), "ink": 100 * ink.mean(), "blank": 100 * (~ink.any((1, 2))).mean()}
    if frames is None:
        return {k: float(v) for k, v in result.items()}
    first = np.searchsorted(starts, np.arange(len(frames)), side="right") - 1
    first = np.asarray(starts)[first]  # number of the sequence's first frame, for each frame
    later = np.flatnonzero(first < np.arange(len(frames)))
    room = np.median(frames[:: max(1, len(frames) // 1000)], 0).astype(np.float32)
    away = frames - room  # from the room, as it mostly is
    person = (np.abs(away) > 25).any(-1)
    grey = frames.astype(np.float32).mean(-1)
    wall = np.where(person, np.nan, away.mean(-1))[:, :12].reshape(len(frames), -1)
    wall = np.nanmean(wall[~np.isnan(wall).all(1)], 1)
    return {k: float(v) for k, v in result.items()} | {
        "frames": float(len(frames)),
        "copy_first": _mean_psnr(frames[first[later]], frames[later]),
        "mean_frame": _mean_psnr(mean[None], frames[later]),
        "copy_previous": _mean_psnr(frames[later - 1], frames[later]),
        "person": 100 * float(person.mean()),
        "luminance": float(grey.mean()),
        "std": float(grey.std((1, 2)).mean()),
        "wander": float(wall.std()) if len(wall) else math.nan,
    }


def statistics(DR: str | Path, max_frames: int = 2520) -> dict[str, dict[str, float]]:
    """Figures by which a synthetic data set is compared with a real one.

    Any data set in the course's layout will do; images are resized to 64x32 as PIL's bilinear filter does.  Where
    sequences start is read from dance.json; without it, one starts every 630 frames.

    Args:
        DR: data root.  max_frames: frames read of each split or sequence, from its beginning.
    Returns:
        {"train": {...}, "val": {...}, "test 0": {...}, ...}; keys as in ``STATISTICS``, NaN where the truth is missing.
    Raises:
        LabError: DR has no training images, or an image cannot be read.
    """
    root = Path(DR)
    frames = _read(root / "train/train_img", max_frames)
    if frames is None:
        raise LabError(f"{root}/train/train_img holds no PNG images; --DR must name a data set in the course's layout")
    mean = frames.mean(0)
    try:
        starts = json.loads((root / MARK).read_text())["sequence_starts"]
    except (OSError, ValueError, KeyError, TypeError):
        starts = {split: list(range(0, max_frames, SEQUENCE_FRAMES)) for split in ("train", "val")}
    table = {"train": _describe(frames, _read(root / "train/train_label", max_frames), starts["train"], mean)}
    val = _read(root / "val/val_img", max_frames), _read(root / "val/val_label", max_frames)
    if any(part is not None for part in val):
        table["val"] = _describe(*val, starts["val"], mean)
    tests = [p.name for p in (root / "test/test_label").glob("*") if p.name.isdigit()]
    for name in sorted(tests, key=int):
        truth, labels = (_read(root / f"test/test_{kind}/{name}", max_frames) for kind in ("gt", "label"))
        table[f"test {name}"] = _describe(truth, labels, [0], mean)
    return table


def print_stats(roots: Iterable[str | Path]) -> None:
    """Print the statistics of several data sets under each other, with what the columns mean."""
    tables: dict[str, Any] = {str(root): statistics(root) for root in roots}
    wide = max([len("data set")] + [len(f"{root}  {split}") for root, table in tables.items() for split in table])
    print("data set".ljust(wide) + "".join(f"{name:>14}" for name in STATISTICS))
    for root, table in tables.items():
        for split, row in table.items():
            cells = ["-" if math.isnan(v) else f"{v:.0f}" if k == "frames" else f"{v:.2f}" for k, v in row.items()]
            print(f"{root}  {split}".ljust(wide) + "".join(f"{cell:>14}" for cell in cells))
    for name, meaning in STATISTICS.items():
        print(f"  {name}: {meaning}")
