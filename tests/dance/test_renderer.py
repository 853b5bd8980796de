"""Camera, room and figure, and pose images with the estimator's defects."""

import math

import numpy as np
import pytest

from labutils.dance import (
    CENTRE_Z,
    JOINT_NAMES,
    LIMB_COLORS,
    LIMBS,
    Dancer,
    choreography,
    draw_pose,
    project,
    rest_pose,
    solve,
)
from labutils.dance.figure import INDEX
from labutils.dance.pose import estimate
from labutils.dance.renderer import empty_room, render


def standing(x: float, yaw: float) -> np.ndarray:
    """Points (3, P, 3) of a figure that stands still."""
    dancer = Dancer(np.random.default_rng(0))
    dancer.stand(x, CENTRE_Z, yaw)
    dancer.move(3)
    return solve(dancer.frames[0])


def test_camera_against_a_calculation_by_hand():
    # On the optical axis: 4 m along the ray that points 6 degrees down from 1.17 m above the floor.
    a = math.radians(6)
    axis = np.array([0.0, 1.17 - 4 * math.sin(a), 4 * math.cos(a)])
    xy, depth = project(axis, 32, 64)
    np.testing.assert_allclose(xy, [32, 16], atol=1e-9)
    assert depth == pytest.approx(4)
    # Half a metre to the right there: 0.5 / 4 of the focal length 1.74 x 32.  Twice the size, twice the pixels.
    xy, _ = project(axis + [0.5, 0, 0], 32, 64)
    np.testing.assert_allclose(xy, [32 + 1.74 * 32 * 0.125, 16], atol=1e-9)
    np.testing.assert_allclose(project(axis + [0.5, 0, 0], 64, 128)[0], 2 * xy)
    # Straight up from there by h: height h cos a across the axis, depth 4 - h sin a along it.
    xy, depth = project(axis + [0, 0.7, 0], 32, 64)
    assert depth == pytest.approx(4 - 0.7 * math.sin(a))
    assert xy[1] == pytest.approx(16 - 1.74 * 32 * 0.7 * math.cos(a) / (4 - 0.7 * math.sin(a)))


def test_floor_of_the_room_fits_the_camera():
    _, ground, floor = empty_room(32, 64)
    y, x = 28, 50
    spot = np.array([ground[y, x, 0], 0.0, ground[y, x, 1]])
    np.testing.assert_allclose(project(spot, 32, 64)[0], [x + 0.5, y + 0.5], atol=1e-4)
    assert floor[31].min() > 0.9 and floor[:12].max() < 0.01


def test_figure_is_drawn_where_its_joints_are():
    points = standing(-0.8, 0.0)[0]
    frame = render(points, 0.0, 32, 64)
    away = np.abs(frame - empty_room(32, 64)[0]).max(-1) > 40
    (x, y), _ = project(points[INDEX["pelvis"]], 32, 64)
    assert away[int(y), int(x)]
    rows, columns = np.nonzero(away)
    assert abs((columns.min() + columns.max() + 1) / 2 - x) < 1
    head, heel = (project(points[INDEX[n]], 32, 64)[0][1] for n in ("crown", "r_heel"))
    assert -3 < rows.min() - head < 1 and -1 < rows.max() - heel < 2
    assert 0.02 < away.mean() < 0.09
    # Finer images of the same pose agree.
    fine = render(points, 0.0, 128, 256).reshape(32, 4, 64, 4, 3).mean((1, 3))
    assert np.sqrt(((fine - frame) ** 2).mean()) < 3


def test_a_figure_out_of_the_picture_leaves_the_room_empty():
    far = standing(9.0, 0.0)[0]
    np.testing.assert_array_equal(render(far, 0.0, 32, 64), np.rint(empty_room(32, 64)[0]))


def test_estimator_defects():
    points = np.concatenate([solve(choreography(630, np.random.default_rng([5, k]))) for k in range(8)] * 4)
    found = estimate(points, 32, 64, np.random.default_rng(0))
    true = project(points[:, :18], 32, 64)[0]
    assert (found - true)[~np.isnan(found)].std() == pytest.approx(0.08, rel=0.05)  # pixels at 64x32
    blank = np.isnan(found).all((1, 2))
    assert 0.0008 < blank.mean() < 0.004
    inside = ((true > 1) & (true < [63, 31])).all(-1)
    lost = (np.isnan(found[..., 0]) & inside)[~blank][:, 1:14]  # the joints of the body
    assert 0.0005 < lost.mean() < 0.006
    assert 2 < lost.sum() / (np.diff(lost.astype(int), axis=0) == 1).sum() < 6.5  # each is lost for a few frames


def test_unseen_joints():
    def found(x: float, yaw: float) -> set[str]:
        joints = estimate(standing(x, yaw), 32, 64, np.random.default_rng(0))[0]
        return {n for n, j in zip(JOINT_NAMES, joints) if not np.isnan(j).any()}

    assert found(0, 0) == set(JOINT_NAMES)
    assert found(0, 180) == set(JOINT_NAMES) - {"nose", "r_eye", "l_eye"}  # the back of the head
    assert found(0, 90) == set(JOINT_NAMES) - {"l_ear"}  # the far side of it
    assert found(2.5, 0) < set(JOINT_NAMES) and "r_shoulder" in found(2.5, 0) and "l_elbow" not in found(2.5, 0)


def upper_arm(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """The pose image of a figure of which only the joints 2 and 3 are known."""
    joints = np.full((18, 2), np.nan)
    joints[2], joints[3] = start, end
    return draw_pose(joints, 32, 64)


def test_pose_image():
    label = draw_pose(rest_pose(), 32, 64)
    assert label.shape == (32, 64, 3) and label.dtype == np.uint8
    ink = (label < 225).any(-1)
    assert 0.014 < ink.mean() < 0.032 and label.min() > 130  # thin and pale, as in the course's labels
    assert (label[0] == 255).all() and (label[:, :16] == 255).all()
    # A limb has its colour where it runs, and is left out if one of its joints is not known.
    label = upper_arm((10.5, 4), (10.5, 20))
    color = np.array(LIMB_COLORS[LIMBS.index((2, 3))])
    part = (255 - label[12, 10].astype(float)) / np.maximum(255 - color, 1)
    assert part[color < 200] == pytest.approx(3 / 16, abs=0.05)  # 3 of 16 fine pixels
    assert (label[:, [8, 12]] == 255).all() and (label[22:] == 255).all()
    assert (upper_arm((10.5, 4), (np.nan, np.nan)) == 255).all()
    # It reaches over the rim of the picture.
    assert (upper_arm((-6, 10), (9, 10))[9:11, 0] < 250).any()
    assert (upper_arm((-9, 10), (-6, 10)) == 255).all()
