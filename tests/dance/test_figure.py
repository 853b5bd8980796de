"""Kinematics and choreographies: limits of the joints, bones, feet that stand, smooth motion."""

import numpy as np
import pytest

from labutils.dance import JOINT_NAMES, Dancer, choreography, rest_pose, solve
from labutils.dance.dancer import ACTIONS
from labutils.dance.figure import CHANNELS, FOREARM, INDEX, LIMITS, SHIN, STANDING, THIGH, UPPER_ARM


@pytest.fixture(scope="module")
def dances() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Channels (8, 630, C) and the points by their names, (8, 630, 3), of eight choreographies of 21 s."""
    channels = np.stack([choreography(630, np.random.default_rng([5, k])) for k in range(8)])
    points = np.stack([solve(c) for c in channels])
    return channels, {name: points[:, :, i] for name, i in INDEX.items()}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def flex(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Angle in degrees by which the chain a-b-c, (..., 3) each, is bent at b; 0 is straight."""
    return np.degrees(np.arccos((unit(b - a) * unit(c - b)).sum(-1).clip(-1, 1)))


def test_channels_stay_within_their_limits(dances):
    for i, name in enumerate(CHANNELS):
        if (part := name.split("_")[-1]) in LIMITS:
            low, high = LIMITS[part]
            assert low <= dances[0][..., i].min() and dances[0][..., i].max() <= high, name


@pytest.mark.parametrize("s", "rl")
def test_joints_bend_as_joints_do(dances, s):
    p = dances[1]
    hip, knee, ankle, toe = (p[f"{s}_{joint}"] for joint in ("hip", "knee", "ankle", "toe"))
    assert flex(hip, knee, ankle).max() < LIMITS["knee"][1]
    assert flex(p[f"{s}_shoulder"], p[f"{s}_elbow"], p[f"{s}_wrist"]).max() < LIMITS["elbow"][1]
    ahead, foot = unit(np.cross([0, 1, 0], p["l_hip"] - p["r_hip"])), unit((toe - ankle) * [1, 0, 1])  # y up, z away
    # Knees bend forward: the knee lies before the line from hip to ankle, as pelvis and foot see it.
    assert ((knee - (hip + ankle) / 2) * (ahead + foot)).sum(-1).min() > 0
    raised = np.degrees(np.arctan2(((knee - hip) * ahead).sum(-1), (hip - knee)[..., 1]))
    assert LIMITS["hip"][0] < raised.min() and raised.max() < LIMITS["hip"][1]
    assert (ahead * foot).sum(-1).min() > 0.3  # no foot turned by more than 70 degrees


def test_bones_keep_their_length(dances):
    p = dances[1]
    bones = {("hip", "knee"): THIGH, ("knee", "ankle"): SHIN, ("shoulder", "elbow"): UPPER_ARM,
             ("elbow", "wrist"): FOREARM}  # fmt: skip
    for s in "rl":
        for (a, b), length in bones.items():
            np.testing.assert_allclose(np.linalg.norm(p[f"{s}_{a}"] - p[f"{s}_{b}"], axis=-1), length, atol=1e-6)
    np.testing.assert_allclose(p["neck"], (p["r_shoulder"] + p["l_shoulder"]) / 2, atol=1e-9)


def test_one_foot_stands_and_does_not_slide(dances):
    channels, p = dances
    toes = np.stack([p["r_toe"], p["l_toe"]], 2)  # (8, 630, 2, 3)
    np.testing.assert_allclose(toes[..., 1].min(2), 0.04, atol=1e-6)  # always one on the floor, none below
    assert min(points[..., 1].min() for points in p.values()) > 0.03
    lift = channels[..., [CHANNELS.index(f"{s}_lift") for s in "rl"]]
    planted = (lift[:, 1:] < 1e-9) & (lift[:, :-1] < 1e-9)  # (8, 629, 2)
    assert planted.any(2).all()
    assert np.linalg.norm(np.diff(toes, axis=1), axis=-1)[planted].max() < 1e-6


def test_motion_is_smooth(dances):
    joints = np.stack([dances[1][name] for name in JOINT_NAMES], 2)  # (8, 630, 18, 3)
    speed, change = (np.linalg.norm(np.diff(joints, n=n, axis=1), axis=-1) for n in (1, 2))
    assert speed.max() < 0.2 and change.max() < 0.13  # metres a frame: 6 m/s, a swinging foot
    assert speed.mean() > 0.003  # and there is motion


@pytest.mark.parametrize("action", dict.fromkeys(ACTIONS))
def test_every_action_ends_as_it_starts(action):
    """So that any may follow any: standing upright, arms down, both feet flat."""
    dancer = Dancer(np.random.default_rng(1))
    action(dancer)
    upright = {c: dancer.now[c] for c in CHANNELS if c.split("_")[-1] not in ("x", "z", "yaw", "look", "nod")}
    assert upright == pytest.approx({c: STANDING.get(c, 0.0) for c in upright}, abs=1e-9)


def test_rest_pose_faces_the_camera():
    joints = dict(zip(JOINT_NAMES, rest_pose()))
    assert joints["r_shoulder"][0] < joints["l_shoulder"][0]  # the figure's right is at the picture's left
    assert joints["nose"][1] < joints["neck"][1] < joints["r_hip"][1] < joints["r_knee"][1] < joints["r_ankle"][1]
    np.testing.assert_allclose(rest_pose(64, 128), 2 * rest_pose(32, 64))
