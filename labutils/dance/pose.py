"""Pose images: what a pose estimator finds of the figure, with its defects, and how that is drawn."""

import numpy as np
from PIL import Image, ImageDraw

from labutils.dance.camera import pixel_box, project
from labutils.dance.dancer import CENTRE_Z, Dancer
from labutils.dance.figure import INDEX, LIMB_COLORS, LIMBS, solve

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
    x0, y0, x1, y1 = pixel_box(ends.min(1) - 1, ends.max(1) + 1, height, width)
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
    unseen: np.ndarray = np.any((joints < 0) | (joints >= [width, height]), axis=-1)  # (T, 18)
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


def rest_pose(height: int = 32, width: int = 64) -> np.ndarray:
    """Joints (18, 2) in pixels of the figure as it stands in the middle of the stage and faces the camera."""
    dancer = Dancer(np.random.default_rng(0))
    dancer.stand(0.0, CENTRE_Z, 0.0)
    dancer.move(1)
    return project(solve(dancer.frames[0])[0, :18], height, width)[0]
