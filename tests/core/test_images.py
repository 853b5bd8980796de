"""Pixels and floats, and stretches of video."""

import numpy as np
import torch
from refusals import refuses

from labutils.images import Video, to_bytes, to_float, to_uint8


def test_floats_and_bytes_of_arrays_and_tensors():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 6, 3), dtype=np.uint8)
    for given in (images, torch.from_numpy(images)):
        floats = to_float(given)
        assert floats.dtype == torch.float32
        np.testing.assert_array_equal(floats, np.moveaxis(images.astype(np.float32) / np.float32(255), -1, -3))
        np.testing.assert_array_equal(to_uint8(floats), images)
    assert to_float(torch.from_numpy(images[0])).is_contiguous(memory_format=torch.channels_last)
    values = torch.tensor([-0.5, 1.5, 0.5]).view(3, 1, 1).requires_grad_()
    assert to_bytes(values).tolist() == to_uint8(values).tolist() == [[[0, 255, 128]]]


def test_a_video_fits_together():
    frames, labels = np.zeros((2, 6, 8, 8, 3), np.uint8)
    part = Video("val", frames, labels).part(1, 4)
    assert (len(part.frames), len(part.labels), part.has_truth) == (3, 3, True)
    assert not Video("1", frames[:1], labels).has_truth
    refuses("1: 5 frames but 6 labels", Video, "1", frames[:5], labels)
    refuses(r"1: frames are \(8, 8, 3\), labels \(4, 8, 3\)", Video, "1", frames, labels[:, :4])
