"""The room and the figure in it, as the camera sees them.

The figure is a set of tapered capsules, shaded, with shadows and a faint reflection on the floor.  Colours and light
are grey levels from 0 to 255.  Frames carry sensor noise of std 0.6 grey levels (a cap of 51 dB); it makes rounding
harmless to the hidden factor.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from labutils.dance.camera import CAMERA_HEIGHT, CAMERA_PITCH, FOCAL, pixel_box, project
from labutils.dance.figure import INDEX

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
ALL = np.arange(len(PARTS))
MIRRORED = np.array([i for i, part in enumerate(PARTS) if part[4] in ("trousers", "shoes")])
LIGHT_FROM = np.array([-0.25, -0.75, 0.61], np.float32)  # unit vector to the lamps: picture x, picture y (down), viewer
NOISE = 0.6  # std of the sensor noise in grey levels


@lru_cache(maxsize=4)
def empty_room(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The room without the figure, float32; the arrays are shared, so do not write to them.

    Returns:
        its grey levels (H, W, 3), the spot (x, z) of the floor that each pixel sees (H, W, 2), and how much of the
        floor it sees, from 0 to 1, (H, W).
    """
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


def render(
    points: np.ndarray,
    light: float | np.ndarray,
    height: int,
    width: int,
    supersample: int = 3,
    noise: np.ndarray | float = 0.0,
) -> np.ndarray:
    """One frame.

    Args:
        points: (len(POINTS), 3) of ``solve``, metres.
        light: relative change of the room light, of all colours or of each (3,); 0 is the usual.
        supersample: the figure is drawn this many times finer along each axis, then averaged.
        noise: (H, W, 3), added at last, grey levels.

    Returns:
        uint8 (H, W, 3).
    """
    room, ground, floor = empty_room(height, width)
    frame = room * _shadow(points, ground, floor)[..., None]  # (H, W, 3)
    _draw_reflection(frame, floor, points)
    _draw_figure(frame, points, supersample)
    return np.clip(np.rint(frame * (1 + light) + noise), 0, 255).astype(np.uint8)


def _shadow(points: np.ndarray, ground: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """How much of the light the figure leaves to the floor, (H, W)."""
    shade = np.ones(floor.shape, np.float32)
    for name, strength, size in (("r_ankle", 0.42, 0.17), ("l_ankle", 0.42, 0.17), ("pelvis", 0.17, 0.55)):
        x, y, z = points[INDEX[name]]
        spread = size
        if name != "pelvis":  # the shadow of a foot grows wider and paler as the foot is lifted
            spread *= 1 + 2 * max(y - 0.08, 0)
            strength *= math.exp(-5 * max(y - 0.08, 0))
        gap = ((ground - np.array([x, z - 0.04], np.float32)) ** 2).sum(-1)
        shade *= 1 - strength * floor * np.exp(-gap / spread**2)
    return shade


def _draw_reflection(frame: np.ndarray, floor: np.ndarray, points: np.ndarray) -> None:
    """Darken ``frame`` (H, W, 3) where the floor mirrors legs and shoes: the same capsules below it, blurred."""
    height, width = floor.shape
    below = _Capsules.seen(points * [1, -1, 1], MIRRORED, height, width)
    x0, y0, x1, y1 = below.box(0.03 * height, height, width)
    if x1 > x0 and y1 > y0:
        cover = below.cover(_centres(x0, x1, 1), _centres(y0, y1, 1), 0.06 * height)[0]
        glint = 0.2 * cover.max(0) * floor[y0:y1, x0:x1]
        frame[y0:y1, x0:x1] *= 1 - 0.8 * glint[..., None]


def _draw_figure(frame: np.ndarray, points: np.ndarray, supersample: int) -> None:
    """Draw the figure on ``frame`` (H, W, 3)."""
    height, width, _ = frame.shape
    body, k = _Capsules.seen(points, ALL, height, width), supersample
    x0, y0, x1, y1 = body.box(1, height, width)
    if x1 <= x0 or y1 <= y0:
        return
    cover, t, nx, ny, bulge = body.cover(_centres(x0, x1, k), _centres(y0, y1, k), 1 / k)  # (K, h, w)
    za, zb = body.za[:, None, None], body.zb[:, None, None]
    depth = za + t * (zb - za) - bulge * PART_RADII.mean(1)[:, None, None]
    depth[cover == 0] = np.inf
    top = depth.argmin(0)[None]  # (1, h, w): the capsule in front
    nx, ny, bulge = (np.take_along_axis(n, top, 0)[0] for n in (nx, ny, bulge))
    lit = 0.55 + 0.65 * np.maximum(LIGHT_FROM[0] * nx + LIGHT_FROM[1] * ny + LIGHT_FROM[2] * bulge, 0)
    alpha = cover.max(0)
    rgba = np.empty((*alpha.shape, 4), np.float32)
    rgba[..., :3] = PART_COLORS[top[0]] * (lit * alpha)[..., None]
    rgba[..., 3] = alpha
    rgba = rgba.reshape(y1 - y0, k, x1 - x0, k, 4).mean((1, 3))
    frame[y0:y1, x0:x1] = frame[y0:y1, x0:x1] * (1 - rgba[..., 3:]) + rgba[..., :3]


def _centres(start: int, stop: int, k: int) -> np.ndarray:
    """Centres of the pixels ``start`` .. ``stop`` - 1 along one axis, each pixel cut into ``k``."""
    return (np.arange(start * k, stop * k, dtype=np.float32) + 0.5) / k


class _Capsules(NamedTuple):
    """K tapered capsules in the picture: both ends (K, 2) and radii there (K,) in pixels, depths (K,) in metres."""

    a: np.ndarray
    b: np.ndarray
    ra: np.ndarray
    rb: np.ndarray
    za: np.ndarray
    zb: np.ndarray

    @staticmethod
    def seen(points: np.ndarray, parts: np.ndarray, height: int, width: int) -> "_Capsules":
        """What the camera sees of some ``parts`` (numbers in ``PARTS``) of the figure (len(POINTS), 3)."""
        xy, depth = project(points.astype(np.float32), height, width)
        first, last = PART_FROM[parts], PART_TO[parts]
        za, zb = depth[first], depth[last]
        ra, rb = FOCAL * height * PART_RADII[parts, 0] / za, FOCAL * height * PART_RADII[parts, 1] / zb
        return _Capsules(xy[first], xy[last], ra, rb, za, zb)

    def box(self, margin: float, height: int, width: int) -> tuple[int, int, int, int]:
        """The pixels that hold all capsules and ``margin`` pixels around them, as ``pixel_box`` gives them."""
        pad = np.maximum(self.ra, self.rb)[:, None] + margin
        return pixel_box(np.minimum(self.a, self.b) - pad, np.maximum(self.a, self.b) + pad, height, width)

    def cover(self, x: np.ndarray, y: np.ndarray, soft: float) -> tuple[np.ndarray, ...]:
        """The capsules at the pixel centres ``x`` (w,), ``y`` (h,); ``soft`` is the width of their edge in pixels.

        Returns:
            (K, h, w) each: coverage from 0 to 1, place along the axis from 0 to 1, and the surface normal's x, y and
            bulge towards the viewer.
        """
        a, b, ra, rb = self[:4]
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
