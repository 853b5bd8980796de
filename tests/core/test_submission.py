"""submission.csv: rows written out slowly, a round trip, and what is no submission."""

import csv
import os

import numpy as np
from refusals import refuses

from labutils.submission import read_submission, write_submission

H, W = 8, 16
FRAMES = np.random.default_rng(0).integers(0, 256, (7, H, W, 3), dtype=np.uint8)
FRAMES[0, 0, 0] = (0, 7, 255)


def test_rows_are_numbered_through_and_hold_the_values_channel_first(tmp_path):
    path = write_submission(tmp_path / "submission.csv", [FRAMES[:4], FRAMES[4:]])
    header, *rows = csv.reader(path.open())
    assert header == ["id", *map(str, range(3 * H * W))] and len(rows) == 7
    for k, frame in enumerate(FRAMES):
        values = [frame[y, x, c] for c in range(3) for y in range(H) for x in range(W)]
        assert rows[k] == [str(k), *map(str, values)]
    np.testing.assert_array_equal(read_submission(path, H, W), FRAMES)


def test_bad_input_is_named(tmp_path):
    path = tmp_path / "s.csv"
    for bad in ([], [FRAMES.astype(float)], [FRAMES, FRAMES[:, :4]], [FRAMES[0]]):
        refuses("write_submission", write_submission, path, bad)
    refuses(r"s\.csv cannot be read", read_submission, path)
    text = write_submission(path, [FRAMES]).read_text()
    refuses(rf"{1 + 3 * H * W} columns", read_submission, path)
    for wrong, message in (
        (text.replace("\n1,", "\n5,"), "must count"),
        (text.rsplit(",", 1)[0] + ",256\n", r"0\.\.255"),
        (text.replace("\n1,", "\nx,"), "cannot be read"),
        (text.rsplit(",", 1)[0] + ",nan\n", "cannot be read"),
        (text.rsplit(",", 1)[0] + ",1.5\n", "cannot be read"),
        (text.rsplit(",", 1)[0] + "," + "9" * 200_000 + "\n", "cannot be read"),
    ):
        path.write_text(wrong)
        refuses(message, read_submission, path, H, W)
    path.unlink()
    os.mkfifo(path)
    refuses("is a pipe", read_submission, path, H, W)
