"""Statistics of data sets: values by hand, the order of the images, what is missing, what cannot be read."""

import json
import math

import numpy as np
import pytest
from refusals import refuses
from tiny import grey, write_pngs

from labutils.baselines import BASELINES
from labutils.config import LabConfig
from labutils.dance import STATISTICS, print_stats, statistics
from labutils.dataset import load_images


def db(mse: float) -> float:
    return 10 * math.log10(255**2 / mse)


def test_statistics_by_hand(tmp_path):
    # Four grey frames and labels of which two are blank and two have 1/64 of ink.
    frames = grey(100, 110, 110, 120)
    frames[3, 20:, :32] = 220  # a "person": 12/32 x 1/2 of the picture in one of four frames
    labels = grey(255, 255, 255, 255)
    labels[2:, :, 5, 1] = 224
    labels[:2, :, 5, 1] = 225
    write_pngs(tmp_path / "train/train_img", frames)
    write_pngs(tmp_path / "train/train_label", labels)
    write_pngs(tmp_path / "test/test_label/0", labels[2:])
    for missing in ("val/val_img", "val/val_label", "test/test_gt/0"):
        (tmp_path / missing).mkdir(parents=True)  # an empty folder is as good as none
    table = statistics(tmp_path)
    assert list(table) == ["train", "test 0"]
    dark, bright = 1 - 12 / 64, 12 / 64
    copy_first = (2 * db(100) + db(dark * 20**2 + bright * 120**2)) / 3
    copy_previous = (db(100) + 100 + db(dark * 10**2 + bright * 110**2)) / 3  # equal frames: 100 dB
    # The mean frame is 110, and where the "person" stands 135.
    mse = [dark * (f - 110) ** 2 + bright * (g - 135) ** 2 for f, g in ((110, 110), (110, 110), (120, 220))]
    expected = {
        "frames": 4, "copy_first": copy_first, "mean_frame": sum(map(db, mse)) / 3, "copy_previous": copy_previous,
        "nearest_pose": math.nan,  # a training pose is nearest to itself
        "person": 100 * bright / 4, "ink": 100 / 64 / 2, "blank": 50,
        "luminance": (100 + 110 + 110 + 120 * dark + 220 * bright) / 4,
        "std": 100 * math.sqrt(dark * bright) / 4, "wander": np.std([100, 110, 110, 120]),
    }  # fmt: skip
    assert table["train"] == pytest.approx(expected, rel=1e-5, nan_ok=True)
    known = {"frames": 2, "ink": pytest.approx(100 / 64), "blank": 0}  # labels without their frames
    assert {key: value for key, value in table["test 0"].items() if not math.isnan(value)} == known


def test_the_nearest_pose_is_looked_up_where_poses_are_known(tmp_path):
    write_pngs(tmp_path / "train/train_img", grey(10, 60, 130))
    for folder in ("train/train_label", "test/test_label/0"):
        write_pngs(tmp_path / folder, grey(0, 100, 200))
    for folder in ("val/val_img", "test/test_gt/0"):
        write_pngs(tmp_path / folder, grey(15, 70, 120))
    table = statistics(tmp_path)
    assert table["test 0"]["nearest_pose"] == pytest.approx(db(10**2))
    assert math.isnan(table["val"]["nearest_pose"]) and table["val"]["mean_frame"] > 0
    for image in (tmp_path / "train/train_label").iterdir():
        image.unlink()
    assert math.isnan(statistics(tmp_path)["test 0"]["nearest_pose"])


def test_each_sequence_starts_anew(tmp_path):
    write_pngs(tmp_path / "train/train_img", grey(0, 10, 200, 220, 90))
    (tmp_path / "dance.json").write_text(json.dumps({"sequence_starts": {"train": [0, 2, 4, 6]}}))
    row = statistics(tmp_path)["train"]
    assert row["copy_first"] == row["copy_previous"] == pytest.approx((db(10**2) + db(20**2)) / 2)
    assert all(math.isnan(statistics(tmp_path, max_frames=1)["train"][key]) for key in BASELINES)


@pytest.mark.parametrize("names", [["cam2_frame1", "cam1_frame2", "cam1_frame3"], ["9", "10", "011"]])
def test_images_are_read_in_the_order_and_size_of_training(tmp_path, names):
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 128, 3), dtype=np.uint8)
    write_pngs(tmp_path / "train/train_img", noise // [[[[1]]], [[[2]]], [[[3]]]], names)
    frames = load_images(tmp_path / "train/train_img", tmp_path, LabConfig(quiet=True))  # (3, 32, 64, 3)
    assert np.diff(frames.mean((1, 2, 3))).max() < -15  # from bright to dark
    for n in (1, 2, 3):
        assert statistics(tmp_path, max_frames=n)["train"]["luminance"] == pytest.approx(frames[:n].mean())


def test_errors(tmp_path):
    refuses("train_img is missing", statistics, tmp_path)
    write_pngs(tmp_path / "train/train_img", grey(1, 2))
    (tmp_path / "val/val_img").mkdir(parents=True)
    (tmp_path / "val/val_img/0.png").write_bytes(b"not a png")
    refuses(r"val_img/0\.png cannot be read as an image", statistics, tmp_path)


def test_print_stats(dance, tmp_path, capsys):
    write_pngs(tmp_path / "train/train_img", grey(0, 255))
    print_stats([dance, tmp_path])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["data", "set", *STATISTICS]
    rows = {tuple(line.split("  ")[:2]) for line in lines}
    assert rows > {(str(dance), split) for split in ("train", "val", "test 0", "test 1")} | {(str(tmp_path), "train")}
    cells = next(line for line in lines if line.startswith(str(tmp_path))).split()[2:]
    assert cells == ["2", "0.00", f"{db(127**2):.2f}", "-", "0.00", "100.00", "-", "-", "127.50", "0.00", "-"]
    assert [line.split(":")[0].strip() for line in lines[-len(STATISTICS) :]] == list(STATISTICS)
