"""What predictors without a model reach: values by hand, the nearest pose against a slow loop, what does not fit."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tiny import H, W, noise

from labutils import baselines
from labutils.baselines import BASELINES, Baselines, mean_training_frame
from labutils.errors import LabError
from labutils.images import Video


def levels(*values: int, size: tuple[int, int] = (H, W)) -> np.ndarray:
    return np.stack([np.full((*size, 3), v, np.uint8) for v in values])


def db(difference: float) -> float:
    return 20 * np.log10(255 / difference)


def test_baselines_by_hand():
    known = Video("1", levels(100, 110, 130), levels(0, 90, 190))
    train = Video("train", levels(100, 106, 115, 95, 107), levels(0, 50, 100, 150, 200))  # mean 104.6, shown as 105
    found = Baselines(train).scores(known)
    expected = {
        "copy_first": [db(10), db(30)], "mean_frame": [db(5), db(25)], "nearest_pose": [db(5), db(23)],
        "copy_previous": [db(10), db(20)],
    }  # fmt: skip
    assert list(found) == list(BASELINES) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values)
    assert list(Baselines().scores(known)) == ["copy_first", "copy_previous"]
    assert list(Baselines(train, poses=False).scores(known)) == ["copy_first", "mean_frame", "copy_previous"]
    assert (mean_training_frame(train) == 105).all()


def slow_neighbours(train: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Training poses by their distance from one pose, the nearest first."""

    def soft(pose):
        ink = 255 - pose.astype(np.float64)
        return np.stack([gaussian_filter(ink[..., c], 2, truncate=2.5)[::2, ::2] for c in range(3)])

    return np.argsort([((soft(pose) - soft(query)) ** 2).sum() for pose in train], kind="stable")


@pytest.mark.parametrize("size", [(H, W), (15, 21)])
@pytest.mark.parametrize("count", [1, 5])
def test_the_nearest_pose_equals_a_slow_loop_in_pieces_of_any_size(size, count, monkeypatch):
    frames, poses = np.random.default_rng(1).integers(0, 256, (2, 20, *size, 3), dtype=np.uint8)
    queries = np.random.default_rng(2).integers(0, 256, (7, *size, 3), dtype=np.uint8)
    order = [slow_neighbours(poses, query)[:count] for query in queries]
    assert len({tuple(sorted(o)) for o in order}) > 2
    expected = np.stack([np.rint(frames[o].mean(0)) for o in order])
    for at_once in (512, 3):
        monkeypatch.setattr(baselines, "AT_ONCE", at_once)
        found = Baselines(Video("train", frames, poses)).nearest_pose(queries, count)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_a_training_pose_finds_its_own_frame():
    train = noise(30)
    np.testing.assert_array_equal(Baselines(train).nearest_pose(train.labels[::-1]), train.frames[::-1])


def test_what_does_not_fit_is_named():
    train, known = Video("train", levels(1, 2, 3), levels(4, 5, 6)), Video("1", levels(1, 2, 3), levels(4, 5, 6))
    turned = Video("1", levels(1, 2, size=(W, H)), levels(1, 2, size=(W, H)))
    for call, message in (
        (lambda: Baselines(train).scores(turned), r"training frames are \(16, 24, 3\), those of 1 \(24, 16, 3\)"),
        (lambda: Baselines(train).nearest_pose(turned.labels), r"pose images are \(24, 16, 3\)"),
        (lambda: Baselines(train).scores(Video("1", known.frames[:1], known.labels)), "1 of 3 true frames"),
        (lambda: Baselines().nearest_pose(known.labels), "needs a training video"),
        (lambda: Baselines(train, poses=False).nearest_pose(known.labels), "needs a training video"),
        (lambda: Baselines(train).nearest_pose(known.labels, 4), "of at least 4 frames"),
        (lambda: Baselines(train).nearest_pose(known.labels, 0), "count of at least 1"),
    ):
        with pytest.raises(LabError, match=message):
            call()
