"""GIFs and strips: what is read back is what was given."""

import errno
import os

import imageio.v3 as iio
import numpy as np
import pytest

from labutils.errors import LabError
from labutils.show.video import BAR, GAP, PAPER, atomic_file, error_frames, strip, strip_frames, write_gif

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


def read(path):
    return iio.imread(path, plugin="pillow", mode="RGB")


def panel(frames, k, scale, top=BAR):
    x = k * (scale * W + GAP)
    return frames[:, top : top + scale * H, x : x + scale * W]


def test_gif_has_frames_duration_loop_and_the_panels_side_by_side(tmp_path):
    moving = plain(RED, 6)
    moving[3:, :, : W // 2] = BLUE
    panels = {"prediction": moving, "truth": plain(GREEN, 6), "pose": plain(BLUE, 6)}
    path = write_gif(tmp_path / "deep" / "a.gif", panels, fps=20, scale=3)
    frames = read(path)
    assert frames.shape == (6, BAR + 3 * H, 3 * 3 * W + 2 * GAP, 3)
    for k, given in enumerate(panels.values()):
        big = given.repeat(3, axis=1).repeat(3, axis=2)
        assert np.abs(panel(frames, k, 3).astype(int) - big).max() <= 8  # the palette's grain
    assert (frames[:, BAR:, 3 * W : 3 * W + GAP] == PAPER).all()
    meta = iio.immeta(path, plugin="pillow")
    assert meta["loop"] == 0 and meta["duration"] == 50
    assert all(iio.immeta(path, plugin="pillow", index=k)["duration"] == 50 for k in range(6))
    assert os.listdir(path.parent) == ["a.gif"]


def test_equal_frames_are_not_merged(tmp_path):
    assert len(read(write_gif(tmp_path / "a.gif", plain(RED, 12)))) == 12


def test_every_frame_is_the_right_one(tmp_path):
    given = smooth(40)
    frames = panel(read(write_gif(tmp_path / "a.gif", given, scale=1)), 0, 1).astype(int)
    for t in (0, 1, 20, 39):  # the nearest of all given frames is frame t
        errors = ((frames[t] - given.astype(int)) ** 2).mean(axis=(1, 2, 3))
        assert errors.argmin() == t or errors[t] < 1.2 * errors.min()
        assert 10 * np.log10(255**2 / errors[t]) > 24


def test_a_still_pixel_does_not_flicker(tmp_path):
    rng = np.random.default_rng(0)
    noisy = (smooth(1).astype(int) + rng.integers(-2, 3, (30, H, W, 3))).astype(np.uint8)
    frames = panel(read(write_gif(tmp_path / "a.gif", [noisy, smooth(30)], scale=1)), 0, 1)
    assert (noisy[1:] != noisy[:-1]).any(axis=-1).mean() > 0.9
    assert (frames[1:] != frames[:-1]).any(axis=-1).mean() < 0.002


def test_captions_are_drawn_above_and_can_be_left_out(tmp_path):
    frames = read(write_gif(tmp_path / "a.gif", [plain(RED), plain(RED)], captions=["truth", "pose"], counter=False))
    bar = frames[0, :BAR]
    dark = (bar.max(axis=-1) < 100).any(axis=0)
    step = 3 * W + GAP
    assert dark[:30].any() and dark[step : step + 30].any() and (frames[:, BAR:].max(axis=-1) > 150).all()
    moving = smooth(5)
    assert read(write_gif(tmp_path / "b.gif", moving, scale=2, counter=False)).shape == (5, 2 * H, 2 * W, 3)


def test_the_counter_changes_with_the_frame(tmp_path):
    frames = read(write_gif(tmp_path / "a.gif", plain(RED, 3)))
    bars = [frames[t, :BAR].tobytes() for t in range(3)]
    assert len(set(bars)) == 3


def test_loop_and_fps_are_rounded_to_what_a_gif_can_say(tmp_path):
    meta = iio.immeta(write_gif(tmp_path / "a.gif", plain(RED), fps=30, loop=2), plugin="pillow")
    assert meta["duration"] == 30 and meta["loop"] == 2


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
    with pytest.raises(LabError, match=message):
        write_gif(tmp_path / "a.gif", panels, **options)
    assert not list(tmp_path.iterdir())


def test_strip_places_evenly_spaced_frames(tmp_path):
    rows = {"pose": smooth(11, 1), "truth": smooth(11, 2)}
    image = strip(rows, columns=3, scale=2, labels=False)
    assert image.shape == (2 * 2 * H + GAP, 3 * 2 * W + 2 * GAP, 3) and image.dtype == np.uint8
    for r, given in enumerate(rows.values()):
        for c, t in enumerate((0, 5, 10)):
            y, x = r * (2 * H + GAP), c * (2 * W + GAP)
            big = given[t].repeat(2, axis=0).repeat(2, axis=1)
            np.testing.assert_array_equal(image[y : y + 2 * H, x : x + 2 * W], big)
    labelled = strip(rows, columns=3, scale=2)
    np.testing.assert_array_equal(labelled[-image.shape[0] :, -image.shape[1] :], image)
    assert (labelled[:BAR] < 100).any() and (labelled[:, : 7 * 4] < 100).any()


def test_strip_frames_go_from_the_first_to_the_last():
    assert strip_frames(630, 8).tolist() == [0, 90, 180, 270, 359, 449, 539, 629]
    assert strip_frames(3, 8).tolist() == [0, 1, 2]
    with pytest.raises(LabError, match="columns is 0"):
        strip_frames(3, 0)


def test_error_frames():
    a, b = plain((10, 100, 255), 1), plain((12, 90, 0), 1)
    assert error_frames(a, b, gain=3)[0, 0, 0].tolist() == [6, 30, 255]
    assert (error_frames(a, b) == error_frames(b, a)).all()
    with pytest.raises(LabError, match="truth"):
        error_frames(a, plain(RED, 2))


def test_atomic_file_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(LabError, match=r"a\.bin cannot be written.*No space left"):
        with atomic_file(path) as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"%d" % (1 // 0))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(LabError, match="under"), atomic_file(path / "under") as file:
        pass
