"""Predictors without a model: what a prediction has to beat.

``copy_first`` shows x_1 throughout; ``mean_frame`` the mean training frame; ``nearest_pose`` for each pose the training
frame whose pose image is most like it, a lookup that learns nothing; ``copy_previous`` the previous TRUE frame: no
predictor has that, so it is a bound and not a rival.
"""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from labutils.errors import LabError
from labutils.images import Video
from labutils.metrics import need_truth, psnr

BASELINES = {  # what they are called everywhere
    "copy_first": "copy of the first frame",
    "mean_frame": "mean training frame",
    "nearest_pose": "training frame of the nearest pose",
    "copy_previous": "copy of the previous true frame (unfair)",
}
BLUR = 2.0  # pixels, of pose images before they are compared: a limb that is a pixel off is still near
AT_ONCE = 512  # poses that are looked up together: bounds the memory


class Baselines:
    """The baselines that a training video gives; without one, only those that need none.

    Args:
        train: the training video, or None.
        poses: whether poses are looked up; without it there is no ``nearest_pose``.
    """

    def __init__(self, train: Video | None = None, poses: bool = True):
        self.train = train
        self.mean_frame = None if train is None else mean_training_frame(train)  # uint8 (H, W, 3)
        self._keys = pose_keys(train.labels) if train is not None and poses else None  # (N, D)

    def scores(self, video: Video) -> dict[str, np.ndarray]:
        """PSNR in dB of frames 2..T for each baseline, float64 (T-1,); keys as in ``BASELINES``.

        Raises:
            LabError: not all true frames are known, or the training frames are of another size.
        """
        need_truth(video)
        truth = video.frames[1:]  # (T-1, H, W, 3)
        shown = {"copy_first": np.broadcast_to(video.frames[0], truth.shape)}
        if self.train is not None and self.mean_frame is not None:
            if self.mean_frame.shape != truth.shape[1:]:
                found = f"training frames are {self.mean_frame.shape}, those of {video.name} {truth.shape[1:]}"
                raise LabError(f"{found} (H, W, 3); they must have one size")
            shown["mean_frame"] = np.broadcast_to(self.mean_frame, truth.shape)
            if self._keys is not None:
                shown["nearest_pose"] = self.nearest_pose(video.labels[1:])
        return {name: psnr(frames, truth) for name, frames in (shown | {"copy_previous": video.frames[:-1]}).items()}

    def nearest_pose(self, labels: np.ndarray, count: int = 1) -> np.ndarray:
        """For each pose image the training frame, or the mean of ``count`` frames, whose poses are nearest to it.

        Args:
            labels: uint8 (T, H, W, 3).

        Returns:
            uint8 (T, H, W, 3).

        Raises:
            LabError: there is no training video, or it has fewer than ``count`` frames, or poses of another size.
        """
        if self.train is None or self._keys is None or not 1 <= count <= len(self.train.frames):
            raise LabError(f"nearest_pose: needs a training video of at least {count} frames, and count of at least 1")
        if labels.shape[1:] != self.train.labels.shape[1:]:
            what = f"pose images are {labels.shape[1:]}, those of training {self.train.labels.shape[1:]}"
            raise LabError(f"{what} (H, W, 3); they must have one size")
        found = np.empty((len(labels), *self.train.frames.shape[1:]), np.uint8)
        size = (self._keys**2).sum(1)  # (N,)
        for start in range(0, len(labels), AT_ONCE):
            query = pose_keys(labels[start : start + AT_ONCE])  # (n, D)
            far = size - 2 * query @ self._keys.T  # (n, N): squared distances, less what all of a row share
            if count == 1:
                found[start : start + AT_ONCE] = self.train.frames[far.argmin(1)]
            else:
                nearest = np.argpartition(far, count - 1, axis=1)[:, :count]  # (n, count)
                found[start : start + AT_ONCE] = np.rint(self.train.frames[nearest].mean(1)).astype(np.uint8)
        return found


def pose_keys(labels: np.ndarray) -> np.ndarray:
    """Pose images in the form in which they are compared: 255 - label, blurred by ``BLUR`` pixels, float32 (N, D)."""
    keys = np.empty((len(labels), labels[0, ::2, ::2].size), np.float32)
    for start in range(0, len(labels), AT_ONCE):
        ink = 255 - labels[start : start + AT_ONCE].astype(np.float32)  # (n, H, W, 3): limbs on zero
        soft = gaussian_filter(ink, (0, BLUR, BLUR, 0), truncate=2.5)
        keys[start : start + AT_ONCE] = soft[:, ::2, ::2].reshape(len(soft), -1)  # blurred: every second pixel will do
    return keys


def mean_training_frame(train: Video) -> np.ndarray:
    """The mean of all training frames, uint8 (H, W, 3)."""
    return np.rint(train.frames.mean(axis=0)).astype(np.uint8)


def shortfall(average: float, rivals: Mapping[str, float]) -> str:
    """What to say of a prediction that is worse than a baseline; empty where it is better than all of them.

    Args:
        average: mean PSNR of the prediction in dB.
        rivals: name -> mean PSNR of a baseline in dB.  ``copy_previous``, which sees the truth, is no rival.
    """
    above = {name: value for name, value in rivals.items() if value > average and name != "copy_previous"}
    if not above:
        return ""
    best = max(above, key=lambda name: above[name])
    return f"{average:.2f} dB is less than the baseline {BASELINES[best]!r} reaches, {above[best]:.2f} dB"
