"""GIFs and strips: what is read back is what was given."""

import imageio.v3 as iio
import numpy as np
import pytest
from refusals import refuses

from labutils.show.video import BAR, GAP, GROUND, error_frames, strip, strip_frames, write_gif

H, W = 8, 20
RED, GREEN, BLUE = ((200, 16, 16), (16, 200, 16), (16, 16, 200))


def plain(color, T=5):
    return np.full((T, H, W, 3), color, np.uint8)


def smooth(T, seed=0):
    """Slow noise, uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W]
    waves = [128 + 90 * np.sin(x / 5 + rng.uniform(0, 6) + y / 4 + t / 9) for t in range(T) for _ in range(3)]
    return np.stack(waves).reshape(T, 3, H, W).transpose(0, 2, 3, 1).astype(np.uint8)


def large(frames, scale):
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


@pytest.fixture
def gif(tmp_path):
    """Write a GIF; its frames, uint8 (T, H, W, 3)."""
    return lambda *args, **options: iio.imread(
        write_gif(tmp_path / "a.gif", *args, **options), plugin="pillow", mode="RGB"
    )


def test_gif_has_frames_duration_loop_and_the_panels_side_by_side(tmp_path, gif):
    moving = plain(RED, 6)
    moving[3:, :, : W // 2] = BLUE
    panels = {"prediction": moving, "truth": plain(GREEN, 6), "pose": plain(BLUE, 6)}
    frames = gif(panels, fps=20, scale=3)
    assert frames.shape == (6, BAR + 3 * H, 3 * 3 * W + 2 * GAP, 3)
    for k, given in enumerate(panels.values()):
        left = k * (3 * W + GAP)
        found = frames[:, BAR:, left : left + 3 * W].astype(int)
        assert np.abs(found - large(given, 3)).max() <= 8  # the palette's grain
    assert (frames[:, BAR:, 3 * W : 3 * W + GAP] == GROUND).all()
    times = [iio.immeta(tmp_path / "a.gif", plugin="pillow", index=k)["duration"] for k in range(6)]
    assert times == [50] * 6 and iio.immeta(tmp_path / "a.gif", plugin="pillow")["loop"] == 0
    assert len(gif(plain(RED, 12), fps=30, loop=2)) == 12  # equal frames are not merged
    meta = iio.immeta(tmp_path / "a.gif", plugin="pillow")
    assert (meta["duration"], meta["loop"]) == (30, 2)  # a GIF counts in hundredths of a second


def test_every_frame_is_the_right_one(gif):
    given = smooth(40)
    frames = gif(given, scale=1)[:, BAR:].astype(int)
    for t in (0, 1, 20, 39):  # the nearest of all given frames is frame t
        errors = ((frames[t] - given.astype(int)) ** 2).mean(axis=(1, 2, 3))
        assert errors.argmin() == t or errors[t] < 1.2 * errors.min()
        assert 10 * np.log10(255**2 / errors[t]) > 24


def test_a_still_pixel_does_not_flicker(gif):
    rng = np.random.default_rng(0)
    noisy = (smooth(1).astype(int) + rng.integers(-2, 3, (30, H, W, 3))).astype(np.uint8)
    frames = gif([noisy, smooth(30)], scale=1)[:, BAR:, :W]
    assert (noisy[1:] != noisy[:-1]).any(axis=-1).mean() > 0.9
    assert (frames[1:] != frames[:-1]).any(axis=-1).mean() < 0.002


def test_captions_and_counter_are_drawn_above_and_can_be_left_out(gif):
    frames = gif([plain(RED), plain(RED)], captions=["truth", "pose"], counter=False)
    words = (frames[0, :BAR].min(axis=-1) > 200).any(axis=0)
    step = 3 * W + GAP
    assert words[:30].any() and words[step : step + 30].any() and (frames[:, BAR:].min(axis=-1) < 200).all()
    assert gif(smooth(5), scale=2, counter=False).shape == (5, 2 * H, 2 * W, 3)
    assert len({frame[:BAR].tobytes() for frame in gif(plain(RED, 3))}) == 3  # the counter changes with the frame


@pytest.mark.parametrize(
    ("panels", "options", "message"),
    [
        ([], {}, "0 panels"),
        ([plain(RED), plain(RED, 4)], {}, "as the first"),
        ([plain(RED), plain(RED)], {"captions": ["one"]}, "2 panels but 1 captions"),
        (plain(RED).astype(float), {}, "float64.*uint8"),
        (plain(RED)[0], {}, r"\(8, 20, 3\)"),
        (plain(RED)[:0], {}, "not empty"),
        (plain(RED), {"fps": 0}, "fps is 0"),
        (plain(RED), {"fps": 60}, "fps is 60"),
        (plain(RED), {"scale": 0}, "scale is 0"),
    ],
)
def test_bad_input_is_named(tmp_path, panels, options, message):
    refuses(message, write_gif, tmp_path / "a.gif", panels, **options)
    assert not list(tmp_path.iterdir())


def test_strip_places_evenly_spaced_frames():
    rows = {"pose": smooth(11, 1), "truth": smooth(11, 2)}
    image = strip(rows, columns=3, scale=2, labels=False)
    assert image.shape == (2 * 2 * H + GAP, 3 * 2 * W + 2 * GAP, 3) and image.dtype == np.uint8
    for r, given in enumerate(rows.values()):
        for c, t in enumerate((0, 5, 10)):
            y, x = r * (2 * H + GAP), c * (2 * W + GAP)
            np.testing.assert_array_equal(image[y : y + 2 * H, x : x + 2 * W], large(given[t], 2))
    labelled = strip(rows, columns=3, scale=2)
    np.testing.assert_array_equal(labelled[-image.shape[0] :, -image.shape[1] :], image)
    assert (labelled[:BAR] == 255).all(axis=-1).any() and (labelled[:, : 7 * 4] == 255).all(axis=-1).any()
    assert strip_frames(630, 8).tolist() == [0, 90, 180, 270, 359, 449, 539, 629]
    assert strip_frames(3, 8).tolist() == [0, 1, 2]
    refuses("columns is 0", strip_frames, 3, 0)


def test_error_frames():
    a, b = plain((10, 100, 255), 1), plain((12, 90, 0), 1)
    assert error_frames(a, b, gain=3)[0, 0, 0].tolist() == [6, 30, 255]
    assert (error_frames(a, b) == error_frames(b, a)).all()
    refuses("truth", error_frames, a, plain(RED, 2))
