"""Videos of a disc for the tests of the scrubber, in the test and in the kernel of its notebook."""

import numpy as np

COUNT = 120


def frames(seed: int) -> np.ndarray:
    """A disc that circles over a pattern, uint8 (COUNT, 32, 64, 3); the disc stays away from the corners."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :64]
    t = np.arange(COUNT)[:, None, None]
    disc = np.hypot(x - 32 - 14 * np.cos(t / 6 + seed), y - 16 - 6 * np.sin(t / 6 + seed)) < 5
    return np.where(disc[..., None], rng.integers(0, 256, 3), rng.integers(90, 140, (32, 64, 3))).astype(np.uint8)


def noisy(video: np.ndarray, size: float) -> np.ndarray:
    """The video with an error that grows with time."""
    noise = np.random.default_rng(9).normal(0, 1, video.shape) * np.linspace(1, size, len(video))[:, None, None, None]
    return np.clip(video + np.rint(noise), 0, 255).astype(np.uint8)


pose, truth = frames(1), frames(2)
prediction = noisy(truth, 20)
