"""The warm-up of notebook 00: mistakes are told apart."""

import pytest
from exercises import rejected

from labutils import checks


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda video: video, "x_1 is given"),
        (lambda video: video[1:], "first video of the batch"),
        (lambda video: video[:, :-1], "leaves out the last frame"),
        (lambda video: video[:, 2:], "x_2 has index 1"),
        (lambda video: video[:, 1], "one index takes one frame"),
        (lambda video: video[:, :1], "not what to keep"),
        (lambda video: video[:, 1:].transpose(-1, -2), "height comes before width"),
        (lambda video: print(video.shape), "`return` missing"),
        (lambda video: video[:, 1:5], "shape differs"),
    ],
)
def test_a_mistake_gets_its_hint(wrong, hint):
    rejected(checks.frames_to_predict, wrong, hint)
