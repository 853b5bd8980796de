"""Figures that can be read on white and on dark pages; poses that can be seen."""

import colorsys
import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from labutils import show

PAGES = ("#ffffff", "#111111")  # JupyterLab's, light and dark


def contrast(one, other):
    """Of two colours, 1 to 21: WCAG 2.2, relative luminance."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in map(np.array, (one, other))]
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) + 0.05 for c in linear)
    return high / low


def on_page(figure, page):
    """The picture of a notebook laid on a page, (H, W, 3) in [0, 1]."""
    rgba = np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGBA")) / 255
    return rgba[..., :3] * rgba[..., 3:] + np.array(to_rgb(page)) * (1 - rgba[..., 3:])


@pytest.mark.parametrize("page", PAGES)
def test_colours_stand_out_from_both_pages(page):
    assert contrast(to_rgb(show.INK), to_rgb(page)) >= 4.3  # the most that one colour can have on both is 4.345
    assert [color for color in show.COLORS if contrast(to_rgb(color), to_rgb(page)) < 3] == []


def test_figures_have_no_paper_and_black_is_ink():
    """Also where a notebook draws in black and greys, and on ticks that are made while drawing."""
    figure = show.LabFigure(figsize=(4, 3), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], color="black", label="a")
    ax.axhspan(0.2, 0.4, color="0.92")
    ax.set_title("title", color="0.3")
    ax.grid(color="0.9")
    ax.legend()
    for _ in range(2):  # drawn twice it looks the same
        for page in PAGES:
            shown = on_page(figure, page)
            assert np.allclose(shown[0, 0], to_rgb(page))
            most = max(contrast(color, to_rgb(page)) for color in np.unique(shown.reshape(-1, 3), axis=0))
            assert 4 < most < 4.6  # neither black on dark nor white on white, or any harsher grid
    assert to_rgb(ax.title.get_color()) == to_rgb(show.INK) and ax.title.get_alpha() is None
    band = ax.patches[0].get_facecolor()
    assert band[:3] == to_rgb(show.INK) and band[3] < 0.3  # light grey stays the paler


def test_white_marks_and_colours_stay():
    figure = show.LabFigure()
    ax = figure.subplots()
    ax.imshow(np.zeros((2, 2, 3)))
    (cross,) = ax.plot(1, 1, "+", color="white")
    (bar,) = ax.bar(0, 1, color="#0072B2", edgecolor="white")
    figure._repr_png_()
    assert to_rgb(cross.get_color()) == to_rgb(bar.get_edgecolor()) == (1, 1, 1)
    assert to_rgb(bar.get_facecolor()) == to_rgb("#0072B2")


def test_saved_figures_are_on_white(tmp_path):
    figure = show.beta_over_iterations({"a": [0, 1]})
    figure._repr_png_()
    with Image.open(show.save(figure, tmp_path / "a.png")) as image:
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def limbs(*colors):
    """Pale lines on white paper, a third of the way to their colours, uint8 (1, 32, 64, 3)."""
    frame = np.full((1, 32, 64, 3), 255, np.uint8)
    for k, color in enumerate(colors):
        frame[0, 8 + 6 * k, 10:50] = 255 - (255 - np.array(color)) // 3
    return frame


def test_limbs_are_darker_and_wider_and_keep_their_hue():
    colors = [(255, 0, 0), (255, 170, 0), (0, 85, 255)]
    given = limbs(*colors)
    before = given.copy()
    bold = show.bold_poses(given)
    np.testing.assert_array_equal(given, before)
    assert (bold.min(-1) < 250).sum() > 2.9 * (given.min(-1) < 250).sum()
    for k, color in enumerate(colors):
        row = 8 + 6 * k
        wanted = colorsys.rgb_to_hsv(*(c / 255 for c in color))[0]
        for near in (-1, 0, 1):
            found = bold[0, row + near, 30] / 255
            assert abs((colorsys.rgb_to_hsv(*found)[0] - wanted + 0.5) % 1 - 0.5) < 0.02
        paper, pale, dark = (1.0, 1, 1), given[0, row, 30] / 255, bold[0, row, 30] / 255
        assert contrast(dark, paper) > max(1.9, 1.3 * contrast(pale, paper))
    assert (bold[0, 0] == 255).all()


def test_only_drawings_on_white_paper_are_bold():
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3), dtype=np.uint8)
    assert show.bold_poses(frames) is frames
    given = limbs((255, 0, 0))
    shown = show.strip({"pose": given, "truth": given}, 1, 1, labels=False)
    np.testing.assert_array_equal(shown[:32], show.bold_poses(given)[0])
    np.testing.assert_array_equal(shown[-32:], given[0])


def test_epochs_are_whole_numbers():
    from labutils.config import LabConfig

    ax = show.schedules(LabConfig(num_epoch=3), steps=30).axes[1]
    assert all(tick == round(tick) for tick in ax.get_xticks())
