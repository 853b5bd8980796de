"""The figure: its skeleton, and the kinematics that turns the channels of a pose into points in the room.

Body frames are left, up, forward.  A body of yaw 0 faces the camera, one of yaw 90 faces the right edge of the picture.
"""

import math

import numpy as np

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

SIDES = {"r": -1.0, "l": 1.0}  # right and left, and their sign along the axis to the left

# Lengths of the figure, 1.78 m tall, in metres.
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


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
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
    heading = _smooth((ch["r_yaw"] + ch["l_yaw"]) / 2, 4.0)  # (T,)
    points = _lower_body(ch, heading)
    points |= _upper_body(ch, heading, points["pelvis"])
    return np.stack([points[name] for name in POINTS], 1)


def _lower_body(ch: dict[str, np.ndarray], heading: np.ndarray) -> dict[str, np.ndarray]:
    """Feet, pelvis and legs, (T, 3) each, from channels (T,) and the direction (T,) that the pelvis faces."""
    p: dict[str, np.ndarray] = {}
    stand = {}
    for s in SIDES:
        _, up, fwd = _direction(ch[f"{s}_yaw"])
        stand[s] = np.stack([ch[f"{s}_x"], ch[f"{s}_lift"], ch[f"{s}_z"]], -1)
        ball = stand[s] + BALL * fwd
        p[f"{s}_toe"] = ball + 0.05 * fwd + 0.04 * up  # toes stay level
        _, up, fwd = _direction(ch[f"{s}_yaw"], ch[f"{s}_pitch"])
        for name, (f, u) in FOOT.items():
            p[f"{s}_{name}"] = ball + f * fwd + u * up

    left, _, ahead = _direction(heading)
    pelvis = _smooth((stand["r"] + stand["l"]) / 2, 5.0) + ch["shift"][:, None] * ahead + ch["sway"][:, None] * left
    height = HIP_HEIGHT - ch["drop"]
    for s, sign in SIDES.items():
        gap = (pelvis + sign * HIP_HALF * left - p[f"{s}_ankle"])[:, [0, 2]]
        reach = np.sqrt(np.maximum((0.998 * (THIGH + SHIN)) ** 2 - (gap**2).sum(-1), 0.01))
        height = np.minimum(height, p[f"{s}_ankle"][:, 1] + reach)
    window = np.lib.stride_tricks.sliding_window_view(np.pad(height, 3, mode="edge"), 7)
    pelvis[:, 1] = _smooth(window.min(-1), 1.0)  # a minimum over the filter's width: never above the reach
    p["pelvis"] = pelvis

    for s, sign in SIDES.items():
        p[f"{s}_hip"] = pelvis + sign * HIP_HALF * left
        p[f"{s}_seat"] = pelvis + sign * 0.07 * left
        knee_yaw = 0.5 * (heading + ch[f"{s}_yaw"])
        p[f"{s}_knee"] = _knee(p[f"{s}_hip"], p[f"{s}_ankle"], _direction(knee_yaw)[2])
    return p


def _upper_body(ch: dict[str, np.ndarray], heading: np.ndarray, pelvis: np.ndarray) -> dict[str, np.ndarray]:
    """Torso, arms and head, (T, 3) each, from channels (T,), the pelvis (T, 3) and the direction (T,) it faces."""
    p: dict[str, np.ndarray] = {}
    turn = heading + ch["twist"]
    left, up, _ = _direction(turn, ch["lean"])
    waist = pelvis + WAIST * up
    left, up, fwd = _direction(turn, ch["lean"] + ch["bend"])
    neck = p["neck"] = waist + CHEST * up
    for s, sign in SIDES.items():
        p[f"{s}_flank"] = waist + sign * 0.06 * left
        p[f"{s}_pec"] = neck - 0.12 * up + sign * 0.075 * left
        shoulder = p[f"{s}_shoulder"] = neck + sign * SHOULDER_HALF * left
        flex, abd, rot, elbow = (np.radians(ch[f"{s}_{c}"])[:, None] for c in ARM_CHANNELS)
        out = sign * left
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
    return p
