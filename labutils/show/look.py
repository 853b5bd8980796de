"""Colours for pages that may be white or dark, and poses drawn to be seen.

A figure of the lab has no paper of its own: it stands on the page of the notebook.  So its colours are of middling
lightness, and black and greys, wherever they come from, are drawn as more or less of ``INK``.
"""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

INK = "#797979"  # text and axes; 4.3 : 1 on white and on JupyterLab's dark page (#111111), the most one colour can have
PALE = "#79797938"  # what lies behind, as grids and bands: a veil of ink
PAPER = 250  # of 255; a pixel none of whose channels is darker is bare paper
INK_GREY = to_rgba(INK)[0]


def fit_page(figure: Figure) -> None:
    """Let a figure stand on white and on dark pages: white grounds go, text is ``INK``, a grey is as much ink as it is
    dark.  Colours, pictures and white marks (a gap between bars, a cross on a picture) stay; so does what is set twice.
    """
    for artist in figure.findobj():
        if isinstance(artist, Text):
            artist.set_color(_inked(artist.get_color(), 1))
            for part in (artist.get_bbox_patch(), getattr(artist, "arrow_patch", None)):
                if part is not None:
                    _clear(part)
                    _recolour(part, "facecolor", "edgecolor")
        elif isinstance(artist, Axes):
            _clear(artist.patch)
            for axis in (artist.xaxis, artist.yaxis):  # ticks that are still to be made, too
                given = axis.get_tick_params()
                names = {"color": None, "grid_color": None, "labelcolor": 1}
                inked = {name: _inked(given[name], names[name]) for name in names if name in given}
                axis.set_tick_params(which="both", **({"color": INK, "labelcolor": INK} | inked))
        elif isinstance(artist, Legend):
            _clear(artist.get_frame())
        elif isinstance(artist, Line2D):
            _recolour(artist, "color", "markerfacecolor", "markeredgecolor")
        elif isinstance(artist, Patch):
            _recolour(artist, "facecolor", "edgecolor")
        elif isinstance(artist, Collection) and artist.get_array() is None:
            for name in ("facecolor", "edgecolor"):
                colors = getattr(artist, f"get_{name}")()
                if len(colors):
                    getattr(artist, f"set_{name}")([_inked(color) for color in colors])


def bold_poses(frames: np.ndarray) -> np.ndarray:
    """Pose images to look at, never for a model: pale limbs darker and half a pixel wider, of the hue they have.

    At 32 x 64 a limb is less than a pixel wide and mostly paper.  Frames that are not drawn on white paper (less than
    half of it bare) are given back as they are.

    Args:
        frames: uint8 (..., H, W, 3), which stay unchanged.
    """
    if not frames.size or (frames.min(axis=-1) >= PAPER).mean() < 0.5:
        return frames
    ink = 1 - frames.astype(np.float32) / 255  # (..., H, W, 3), 0 on paper
    depth = ink.max(axis=-1, keepdims=True)  # (..., H, W, 1)
    hue = ink / np.maximum(depth, 1 / 255)
    depth = np.sqrt(depth) * (depth > (255 - PAPER) / 255)
    wider, colour = depth.copy(), hue.copy()
    for axis in (-3, -2):
        for step in (-1, 1):
            near = 0.5 * _shifted(depth, step, axis)
            better = near > wider
            wider, colour = np.where(better, near, wider), np.where(better, _shifted(hue, step, axis), colour)
    return np.rint(255 * (1 - wider * colour) * (1 - 0.35 * wider)).astype(np.uint8)  # yellow and cyan darker, too


def is_pose(caption: str) -> bool:
    """Whether a caption speaks of poses, so that frames under it are drawn by ``bold_poses``."""
    return "pose" in caption.lower().split()


def _shifted(values: np.ndarray, step: int, axis: int) -> np.ndarray:
    """The neighbours along an axis, 0 beyond the edge."""
    out = np.roll(values, step, axis)
    edge: list[Any] = [slice(None)] * values.ndim
    edge[axis] = 0 if step > 0 else -1
    out[tuple(edge)] = 0
    return out


def _inked(color: Any, amount: float | None = None) -> Any:
    """A grey or black as an amount of ink, by default as much as it is dark; other colours and white as they are."""
    if isinstance(color, str) and color in ("none", "auto", "inherit"):
        return color
    r, g, b, alpha = to_rgba(color)
    if not r == g == b or r in (1, INK_GREY) or alpha == 0:
        return color
    return (INK_GREY,) * 3 + (alpha * (1 - r**2 if amount is None else amount),)


def _recolour(artist: Artist, *names: str) -> None:
    for name in names:
        color = getattr(artist, f"get_{name}")()
        if (inked := _inked(color)) is not color:
            artist.set(**{name: inked})


def _clear(patch: Patch) -> None:
    """No ground where it is white."""
    if to_rgba(patch.get_facecolor())[:3] == (1, 1, 1):
        patch.set_facecolor("none")
