"""GIFs and frame strips: arrays of frames in, one small picture file or image out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labutils.errors import LabError
from labutils.files import atomic_file
from labutils.show.look import bold_poses, is_pose

COLORS = 64  # palette entries of a GIF; the first two are the caption bar's
TOLERANCE = 6  # of 255: a pixel keeps its palette entry until another one is closer by more than this
GAP, BAR, WORDS, GROUND = 4, 16, (255, 255, 255), (110, 110, 110)  # pixels, pixels, RGB, RGB: at home on any page

Panels = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


def write_gif(
    path: str | Path, panels: Panels, fps: float = 25, scale: int = 3, captions: Sequence[str] | None = None,
    loop: int = 0, counter: bool = True,
) -> Path:  # fmt: skip
    """Write frames, or several panels side by side, as a GIF.

    All frames share one palette, drawn from a sample of them, without dithering, and a pixel keeps its colour until it
    changes visibly: no flicker, and few pixels to store.

    Args:
        panels: uint8 (T, H, W, 3); or a list of them; or a mapping caption -> frames.  What is called a pose is drawn
            bold, see ``bold_poses``.
        fps: frames per second, at most 50; a GIF counts in hundredths of a second, so it is rounded to 100 / k.
        scale: enlargement, nearest neighbour.
        captions: one for each panel, drawn above it.
        loop: how often it repeats; 0 is for ever.
        counter: draw the frame's number (from 1), which also keeps the writer from merging equal frames.
    """
    import imageio.v3 as iio

    captions, panels = _panels(panels, captions)
    if not 0.1 <= fps <= 50 or scale < 1 or scale != int(scale):
        raise LabError(f"write_gif: fps is {fps} and scale is {scale}; fps lies in [0.1, 50], scale is 1, 2, 3 ...")
    frames = np.concatenate(panels, axis=2)  # (T, H, k W, 3)
    indices, palette = _quantize(frames)  # (T, H, k W)
    T, H, W = panels[0].shape[:3]
    top, step = (BAR if counter or any(captions) else 0), scale * W + GAP
    canvas = np.zeros((T, top + scale * H, len(panels) * step - GAP), np.uint8)  # entry 0: ground
    for k in range(len(panels)):
        part = indices[:, :, k * W : (k + 1) * W].repeat(scale, axis=1).repeat(scale, axis=2)
        canvas[:, top:, k * step : k * step + scale * W] = part
    for t in range(T):
        words = [(k * step + 2, 0, caption) for k, caption in enumerate(captions)]
        if counter:
            words.append((canvas.shape[2] - 7 * len(str(T)) - 2, 0, f"{t + 1:>{len(str(T))}}"))
        canvas[t, :top] = _text(words, canvas.shape[2], BAR)[:top]
    gif = iio.imwrite(
        "<bytes>", canvas, extension=".gif", plugin="pillow", mode="P", is_batch=True,
        palette=palette.tobytes(), duration=10 * round(100 / fps), loop=loop, optimize=True,
    )  # fmt: skip
    with atomic_file(path) as file:
        file.write(gif)
    return Path(path)


def strip(
    rows: Panels, columns: int = 8, scale: int = 2, captions: Sequence[str] | None = None, labels: bool = True
) -> np.ndarray:
    """Evenly spaced frames as one still image: a row for each video, a column for each moment.

    ``rows`` is as ``panels`` of ``write_gif``; ``columns`` frames are shown, from the first to the last; ``labels`` are
    captions at the left and frame numbers (from 1) at the top.

    Returns:
        uint8 (height, width, 3).  Without labels, cell (r, c) starts at pixel (r (scale H + 4), c (scale W + 4)).
    """
    captions, rows = _panels(rows, captions)
    H, W = rows[0].shape[1:3]
    shown = strip_frames(len(rows[0]), columns)
    cell_h, cell_w = scale * H + GAP, scale * W + GAP
    left, top = (7 * max(map(len, captions)) + 6, BAR) if labels else (0, 0)
    image = np.full((top + len(rows) * cell_h - GAP, left + len(shown) * cell_w - GAP, 3), GROUND, np.uint8)
    if labels:
        words = [(2, top + r * cell_h + scale * H // 2 - BAR // 2, caption) for r, caption in enumerate(captions)]
        words += [(left + c * cell_w + 2, 0, str(t + 1)) for c, t in enumerate(shown)]
        image[_text(words, image.shape[1], image.shape[0]) == 1] = WORDS
    for r, row in enumerate(rows):
        for c, t in enumerate(shown):
            y, x = top + r * cell_h, left + c * cell_w
            image[y : y + scale * H, x : x + scale * W] = row[t].repeat(scale, axis=0).repeat(scale, axis=1)
    return image


def strip_frames(T: int, columns: int) -> np.ndarray:
    """The frames (counted from 0) that ``strip`` shows, int (min(T, columns),)."""
    if columns < 1:
        raise LabError(f"strip: columns is {columns}; at least 1 is needed")
    return np.linspace(0, T - 1, min(T, columns)).round().astype(int)


def error_frames(prediction: np.ndarray, truth: np.ndarray, gain: float = 4) -> np.ndarray:
    """``gain`` times the absolute difference of two uint8 videos, clipped; uint8, of the same shape."""
    if prediction.shape != truth.shape:
        raise LabError(f"error_frames: the prediction is {prediction.shape}, the truth {truth.shape}")
    return np.clip(gain * np.abs(prediction.astype(np.int16) - truth), 0, 255).astype(np.uint8)


def _panels(panels: Panels, captions: Sequence[str] | None) -> tuple[list[str], list[np.ndarray]]:
    """Captions and arrays of equal shape, however they were given; poses as they can be seen."""
    if isinstance(panels, Mapping):
        captions, panels = list(panels) if captions is None else captions, list(panels.values())
    panels = [panels] if isinstance(panels, np.ndarray) else list(panels)
    captions = [""] * len(panels) if captions is None else list(captions)
    if not panels or len(captions) != len(panels):
        raise LabError(f"{len(panels)} panels but {len(captions)} captions; give at least 1, and as many of both")
    for k, p in enumerate(panels, start=1):
        if p.dtype != np.uint8 or p.ndim != 4 or p.shape[-1] != 3 or not p.size or p.shape != panels[0].shape:
            wanted = "uint8 (T, H, W, 3), not empty" + (f", and {panels[0].shape} as the first" if k > 1 else "")
            raise LabError(f"panel {k} {captions[k - 1]!r} is {p.dtype} {p.shape}; expected {wanted}")
    return captions, [bold_poses(p) if is_pose(caption) else p for caption, p in zip(captions, panels)]


def _quantize(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (T, H, W, 3) -> palette entries (T, H, W), at least 2, and the palette (n, 3)."""
    sample = Image.fromarray(np.concatenate(frames[strip_frames(len(frames), 40)]))
    image = sample.quantize(COLORS - 2, method=Image.Quantize.FASTOCTREE)
    palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[: COLORS - 2]
    nearest = [Image.fromarray(frame).quantize(palette=image, dither=Image.Dither.NONE) for frame in frames]
    indices = np.stack([np.asarray(n) for n in nearest])
    for t in range(1, len(frames)):
        old, new = (np.abs(palette[indices[k]].astype(np.int16) - frames[t]).max(axis=-1) for k in (t - 1, t))
        indices[t] = np.where(old <= new + TOLERANCE, indices[t - 1], indices[t])
    return indices + 2, np.concatenate([np.array([GROUND, WORDS], np.uint8), palette])


def _text(words: Sequence[tuple[int, int, str]], width: int, height: int) -> np.ndarray:
    """Words at (x, y), 1 on 0, uint8 (height, width); not smoothed, so that two colours are enough."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    for x, y, word in words:
        draw.text((x, y), word, fill=1, font=ImageFont.load_default(12))
    return np.asarray(image, np.uint8)
