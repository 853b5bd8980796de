"""The synthetic dance: layout, reproducibility, kinematics, camera, hidden factor, defects, errors, statistics."""

import csv
import errno
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labutils.dance import stage
from labutils.dance.stage import CHANNELS, INDEX, JOINT_NAMES, LIMITS
from labutils.errors import LabError

SMALL = dict(train=8, val=5, test_sequences=2, test_frames=4, supersample=2, workers=1, progress=False)


def digest(root: Path) -> str:
    """One hash of all file names and bytes under ``root``."""
    sum_ = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        sum_.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return sum_.hexdigest()


def read(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))])


def flex(points: np.ndarray, a: str, b: str, c: str) -> np.ndarray:
    """Angle in degrees by which the chain a-b-c is bent at b; 0 is straight."""
    u, v = points[:, INDEX[b]] - points[:, INDEX[a]], points[:, INDEX[c]] - points[:, INDEX[b]]
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1)))


@pytest.fixture(scope="module")
def dance(tmp_path_factory) -> Path:
    return stage.make_data(tmp_path_factory.mktemp("stage") / "dance", **SMALL)


@pytest.fixture(scope="module")
def dances() -> list[tuple[np.ndarray, np.ndarray]]:
    """Channels and points of some choreographies, 21 s each."""
    channels = [stage.choreography(630, np.random.default_rng([5, k])) for k in range(8)]
    return [(c, stage.solve(c)) for c in channels]


# ------------------------------------------------------------------------------------------------------------- files


def test_layout_is_the_courses(dance):
    expected = {"dance.json", "train/light.csv", "val/light.csv", "test/light_0.csv", "test/light_1.csv"}
    for kind in ("img", "label"):
        expected |= {f"train/train_{kind}/frame{i:06d}.png" for i in range(8)}
        expected |= {f"val/val_{kind}/frame{i:06d}.png" for i in range(5)}
    for k in range(2):
        expected |= {f"test/test_img/{k}/frame000000.png"}
        expected |= {f"test/test_{kind}/{k}/frame{i:06d}.png" for kind in ("label", "gt") for i in range(4)}
    assert {str(p.relative_to(dance)) for p in dance.rglob("*") if p.is_file()} == expected
    for png in dance.rglob("*.png"):
        image = Image.open(png)
        assert (image.size, image.mode) == ((64, 32), "RGB")
    for k in "01":
        gt, first = dance / f"test/test_gt/{k}/frame000000.png", dance / f"test/test_img/{k}/frame000000.png"
        assert gt.read_bytes() == first.read_bytes()
    assert (dance / "val/light.csv").read_text().splitlines()[0] == "frame,light"
    assert [row["frame"] for row in csv.DictReader(open(dance / "train/light.csv"))] == [str(i) for i in range(8)]
    assert [p.name for p in dance.parent.iterdir()] == ["dance"]  # nothing temporary is left


def test_any_size(tmp_path):
    out = stage.make_data(tmp_path / "d", 2, 1, 0, 1, height=40, width=56, supersample=1, workers=1, progress=False)
    for png in out.rglob("*.png"):
        assert Image.open(png).size == (56, 40)


def test_sequences_are_cut_and_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "SEQUENCE_FRAMES", 3)
    out = stage.make_data(tmp_path / "d", **SMALL)
    starts = json.loads((out / "dance.json").read_text())["sequence_starts"]
    assert starts == {"train": [0, 3, 6], "val": [0, 3], "test": [0, 0]}
    assert len(read(out / "train/train_img")) == 8
    assert [row["frame"] for row in csv.DictReader(open(out / "train/light.csv"))] == [str(i) for i in range(8)]


def test_same_bytes_whatever_the_workers(tmp_path):
    big = SMALL | dict(train=300, val=120, test_sequences=1, test_frames=90, supersample=1, height=16, width=32)
    one = stage.make_data(tmp_path / "one", **big)
    two = stage.make_data(tmp_path / "two", **big | dict(workers=2))
    assert len(list(two.rglob("*.png"))) == 2 * (300 + 120 + 90) + 1
    assert digest(one) == digest(two)


def test_the_seed_decides_the_dance(dance, tmp_path):
    assert digest(stage.make_data(tmp_path / "same", **SMALL)) == digest(dance)
    other = stage.make_data(tmp_path / "other", **SMALL, seed=1)

    def differ(a: Path, b: Path) -> bool:  # the figure is elsewhere, or stands otherwise: more than noise and jitter
        return (np.abs(read(a)[:4].astype(int) - read(b)[:4]) > 40).any(-1).mean() > 0.02

    assert differ(other / "train/train_img", dance / "train/train_img")
    assert differ(other / "test/test_gt/1", dance / "test/test_gt/1")
    assert differ(dance / "train/train_img", dance / "val/val_img")  # each split and sequence has its own
    assert differ(dance / "test/test_gt/0", dance / "test/test_gt/1")
    assert differ(dance / "train/train_img", dance / "test/test_gt/0")
    light = [(dance / f).read_text().splitlines()[1] for f in ("train/light.csv", "val/light.csv", "test/light_1.csv")]
    assert len(set(light)) == 3


def test_a_complete_dance_is_left_alone_and_another_replaced(tmp_path, capsys):
    out = tmp_path / "d"
    stage.make_data(out, **SMALL)
    before = digest(out)
    (out / ".cache-32x64").mkdir()  # the lab's own cache does not count as foreign
    stamp = (out / "dance.json").stat().st_mtime_ns
    stage.make_data(out, **SMALL)
    assert capsys.readouterr().out == ""
    stage.make_data(out, **SMALL | {"progress": True})
    assert "already" in capsys.readouterr().out and (out / "dance.json").stat().st_mtime_ns == stamp
    (out / "val/val_label/frame000001.png").unlink()
    stage.make_data(out, **SMALL)
    assert digest(out) == before  # a hole is noticed
    stage.make_data(out, **SMALL | dict(train=3))
    assert len(read(out / "train/train_img")) == 3 and not (out / ".cache-32x64").exists()


def test_out_that_cannot_be_used(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(LabError, match="is a file"):
        stage.make_data(file, **SMALL)
    course = tmp_path / "course"
    (course / "train/train_img").mkdir(parents=True)
    with pytest.raises(LabError, match="other data"):
        stage.make_data(course, **SMALL)
    mixed = stage.make_data(tmp_path / "mixed", **SMALL)
    (mixed / "report.pdf").write_text("mine")
    with pytest.raises(LabError, match=r"other data \(report.pdf\)"):
        stage.make_data(mixed, **SMALL, seed=3)
    assert file.read_text() == (mixed / "report.pdf").read_text() == "mine"
    with pytest.raises(LabError, match="cannot write"):
        stage.make_data(file / "below", **SMALL)
    with pytest.raises(LabError, match="train is 0"):
        stage.make_data(tmp_path / "none", **SMALL | dict(train=0))


@pytest.mark.parametrize(
    "trouble, raised", [(OSError(errno.ENOSPC, "No space left on device"), LabError), (KeyboardInterrupt(), None)]
)
def test_an_unfinished_run_leaves_nothing(tmp_path, monkeypatch, trouble, raised):
    calls = []

    def save(image, path, *args, **kwargs):
        calls.append(path)
        Path(path).write_bytes(b"")
        if len(calls) == 5:
            raise trouble

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(raised or KeyboardInterrupt, match="disk is full" if raised else None):
        stage.make_data(tmp_path / "d", **SMALL)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------- skeleton, camera


def test_joint_limits(dances):
    for channels, points in dances:
        for i, name in enumerate(CHANNELS):
            if (part := name.split("_")[-1]) in LIMITS:
                low, high = LIMITS[part]
                assert low <= channels[:, i].min() and channels[:, i].max() <= high, name
        for s in "rl":
            assert flex(points, f"{s}_hip", f"{s}_knee", f"{s}_ankle").max() < LIMITS["knee"][1]
            assert flex(points, f"{s}_shoulder", f"{s}_elbow", f"{s}_wrist").max() < LIMITS["elbow"][1]
            # Knees bend forward: the knee lies before the line from hip to ankle, as pelvis and foot see it.
            hip, knee, ankle, toe = (points[:, INDEX[f"{s}_{j}"]] for j in ("hip", "knee", "ankle", "toe"))
            across = points[:, INDEX["l_hip"]] - points[:, INDEX["r_hip"]]
            ahead = np.cross([0, 1, 0], across) / np.linalg.norm(across, axis=-1, keepdims=True)  # y up, z away
            foot = (toe - ankle) * [1, 0, 1]
            foot /= np.linalg.norm(foot, axis=-1, keepdims=True)
            assert ((knee - (hip + ankle) / 2) * (ahead + foot)).sum(-1).min() > 0
            thigh = knee - hip
            raised = np.degrees(np.arctan2((thigh * ahead).sum(-1), -thigh[:, 1]))
            assert LIMITS["hip"][0] < raised.min() and raised.max() < LIMITS["hip"][1]
            assert (ahead * foot).sum(-1).min() > 0.3  # no foot turned by more than 70 degrees


def test_bones_keep_their_length(dances):
    bones = [("hip", "knee", stage.THIGH), ("knee", "ankle", stage.SHIN), ("shoulder", "elbow", stage.UPPER_ARM),
             ("elbow", "wrist", stage.FOREARM)]  # fmt: skip
    for _, points in dances:
        for s in "rl":
            for a, b, length in bones:
                bone = points[:, INDEX[f"{s}_{a}"]] - points[:, INDEX[f"{s}_{b}"]]
                np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length, atol=1e-6)
        neck = (points[:, INDEX["r_shoulder"]] + points[:, INDEX["l_shoulder"]]) / 2
        np.testing.assert_allclose(points[:, INDEX["neck"]], neck, atol=1e-9)


def test_one_foot_stands_and_does_not_slide(dances):
    for channels, points in dances:
        toes = points[:, [INDEX["r_toe"], INDEX["l_toe"]]]
        np.testing.assert_allclose(toes[..., 1].min(1), 0.04, atol=1e-6)  # always one on the floor, none below
        assert points[..., 1].min() > 0.03
        lift = channels[:, [CHANNELS.index(f"{s}_lift") for s in "rl"]]
        planted = (lift[1:] < 1e-9) & (lift[:-1] < 1e-9)
        slide = np.linalg.norm(np.diff(toes, axis=0), axis=-1)[planted]
        assert slide.max() < 1e-6 and planted.any(1).all()


def test_motion_is_smooth(dances):
    for _, points in dances:
        speed = np.linalg.norm(np.diff(points[:, :18], axis=0), axis=-1)
        assert speed.max() < 0.2  # metres a frame: 6 m/s, a swinging foot
        assert np.linalg.norm(np.diff(points[:, :18], n=2, axis=0), axis=-1).max() < 0.13
        assert speed.mean() > 0.003  # and there is motion


def test_every_action_ends_as_it_starts():
    """So that any may follow any: standing upright, arms down, both feet flat."""
    for action in set(stage.ACTIONS):
        dancer = stage.Dancer(np.random.default_rng(1))
        action(dancer)
        upright = {c: dancer.now[c] for c in CHANNELS if c.split("_")[-1] not in ("x", "z", "yaw", "look", "nod")}
        expected = {c: stage.STANDING.get(c, 0.0) for c in upright}
        assert upright == pytest.approx(expected, abs=1e-9), action.__name__


def test_camera_against_a_calculation_by_hand():
    # On the optical axis: 4 m along the ray that points 6 degrees down from 1.17 m above the floor.
    a = math.radians(6)
    axis = np.array([0.0, 1.17 - 4 * math.sin(a), 4 * math.cos(a)])
    xy, depth = stage.project(axis, 32, 64)
    np.testing.assert_allclose(xy, [32, 16], atol=1e-9)
    assert depth == pytest.approx(4)
    # Half a metre to the right there: 0.5 / 4 of the focal length 1.74 x 32.  Twice the size, twice the pixels.
    xy, _ = stage.project(axis + [0.5, 0, 0], 32, 64)
    np.testing.assert_allclose(xy, [32 + 1.74 * 32 * 0.125, 16], atol=1e-9)
    np.testing.assert_allclose(stage.project(axis + [0.5, 0, 0], 64, 128)[0], 2 * xy)
    # Straight up from there by h: height h cos a across the axis, depth 4 - h sin a along it.
    xy, depth = stage.project(axis + [0, 0.7, 0], 32, 64)
    assert depth == pytest.approx(4 - 0.7 * math.sin(a))
    assert xy[1] == pytest.approx(16 - 1.74 * 32 * 0.7 * math.cos(a) / (4 - 0.7 * math.sin(a)))


def test_floor_of_the_room_fits_the_camera():
    _, ground, floor = stage._room(32, 64)
    y, x = 28, 50
    spot = np.array([ground[y, x, 0], 0.0, ground[y, x, 1]])
    np.testing.assert_allclose(stage.project(spot, 32, 64)[0], [x + 0.5, y + 0.5], atol=1e-4)
    assert floor[31].min() > 0.9 and floor[:12].max() < 0.01


def test_rest_pose_faces_the_camera():
    joints = dict(zip(JOINT_NAMES, stage.rest_pose()))
    assert joints["r_shoulder"][0] < joints["l_shoulder"][0]  # the figure's right is at the picture's left
    assert joints["nose"][1] < joints["neck"][1] < joints["r_hip"][1] < joints["r_knee"][1] < joints["r_ankle"][1]
    np.testing.assert_allclose(stage.rest_pose(64, 128), 2 * stage.rest_pose(32, 64))


# ------------------------------------------------------------------------------------------------------------ images


def test_figure_is_drawn_where_its_joints_are():
    dancer = stage.Dancer(np.random.default_rng(0))
    for foot in "rl":
        dancer.now |= dancer.foothold(foot, -0.8, stage.CENTRE_Z, 0.0)
    dancer.move(1)
    points = stage.solve(dancer.frames[0])[0]
    empty = stage._room(32, 64)[0]
    frame = stage.render(points, 0.0, 32, 64)
    away = np.abs(frame - empty).max(-1) > 40
    (x, y), _ = stage.project(points[INDEX["pelvis"]], 32, 64)
    assert away[int(y), int(x)]
    rows, columns = np.nonzero(away)
    assert abs((columns.min() + columns.max() + 1) / 2 - x) < 1
    head, heel = (stage.project(points[INDEX[n]], 32, 64)[0][1] for n in ("crown", "r_heel"))
    assert -3 < rows.min() - head < 1 and -1 < rows.max() - heel < 2
    assert 0.02 < away.mean() < 0.09
    # Finer images of the same pose agree.
    fine = stage.render(points, 0.0, 128, 256).reshape(32, 4, 64, 4, 3).mean((1, 3))
    assert np.sqrt(((fine - frame) ** 2).mean()) < 3


def test_light_column_is_the_light_of_the_wall():
    rng = np.random.default_rng(2)
    points = stage.solve(stage.choreography(120, rng))
    light = stage.room_light(120, rng)
    wall = []
    for p, value in zip(points, light):
        frame = stage.render(p, value, 32, 64, 1, stage.NOISE * rng.standard_normal((32, 64, 3)))
        away = frame.astype(float) - stage._room(32, 64)[0]
        wall.append(away[:12][np.abs(away[:12]).max(-1) < 12].mean())
    assert np.corrcoef(wall, light)[0, 1] > 0.97


def test_written_light_is_the_light_of_the_frames(tmp_path):
    sizes = SMALL | dict(train=60, val=1, test_sequences=0)
    out = stage.make_data(tmp_path / "d", **sizes)
    light = np.array([float(row["light"]) for row in csv.DictReader(open(out / "train/light.csv"))])
    frames = read(out / "train/train_img").astype(float)
    wall = np.median(frames[:, :12] / np.median(frames, 0)[:12], axis=(1, 2, 3))
    assert np.corrcoef(wall, light)[0, 1] > 0.8


def test_light_wanders_as_documented():
    light = np.stack([stage.room_light(3000, np.random.default_rng(k)) for k in range(30)])
    assert light.std() == pytest.approx(math.hypot(stage.DRIFT_STD, stage.FLICKER_STD), rel=0.1)
    assert 0.9 < light.std() * 155 < 1.5  # grey levels
    news = light[:, 1:] - light[:, :-1]  # what the last frame cannot tell is mostly the flicker's own
    assert news.std() * 155 == pytest.approx(stage.FLICKER_STD * math.sqrt(2 * (1 - stage.FLICKER_KEEP)) * 155, rel=0.1)
    ignored = 20 * math.log10(255 / (155 * light.std()))
    assert ignored > 44  # PSNR in dB of a prediction that is perfect but for the light


def test_estimator_defects(dances):
    rng = np.random.default_rng(0)
    blank, lost, jitter = [], [], []
    for _, points in dances:
        for _ in range(4):
            found = stage.estimate(points, 32, 64, rng)
            none = np.isnan(found).all((1, 2))
            blank.append(none)
            true = stage.project(points[:, :18], 32, 64)[0]
            inside = ((true > 1) & (true < [63, 31])).all(-1)
            body = np.arange(1, 14)
            lost.append((np.isnan(found[..., 0]) & inside)[~none][:, body])
            jitter.append((found - true)[~np.isnan(found)])
    blank, lost = np.concatenate(blank), np.concatenate(lost)
    assert 0.0008 < blank.mean() < 0.004
    assert 0.0005 < lost.mean() < 0.006
    ends = np.diff(lost.astype(int), axis=0)
    assert 2 < lost.sum() / (ends == 1).sum() < 6.5  # each lasts a few frames
    assert np.concatenate(jitter).std() == pytest.approx(0.08, rel=0.05)  # pixels at 64x32


def test_unseen_joints():
    def found(x: float, yaw: float) -> set[str]:
        dancer = stage.Dancer(np.random.default_rng(0))
        for foot in "rl":
            dancer.now |= dancer.foothold(foot, x, stage.CENTRE_Z, yaw)
        dancer.move(3)
        joints = stage.estimate(stage.solve(dancer.frames[0]), 32, 64, np.random.default_rng(0))[0]
        return {n for n, j in zip(JOINT_NAMES, joints) if not np.isnan(j).any()}

    assert found(0, 0) == set(JOINT_NAMES)
    assert found(0, 180) == set(JOINT_NAMES) - {"nose", "r_eye", "l_eye"}  # the back of the head
    assert found(0, 90) == set(JOINT_NAMES) - {"l_ear"}  # the far side of it
    assert found(2.5, 0) < set(JOINT_NAMES) and "r_shoulder" in found(2.5, 0) and "l_elbow" not in found(2.5, 0)


def test_pose_image():
    label = stage.draw_pose(stage.rest_pose(), 32, 64)
    assert label.shape == (32, 64, 3) and label.dtype == np.uint8
    ink = (label < 225).any(-1)
    assert 0.014 < ink.mean() < 0.032 and label.min() > 130  # thin and pale, as in the course's labels
    assert (label[0] == 255).all() and (label[:, :16] == 255).all()
    # A limb has its colour where it runs, and is left out if one of its joints is not known.
    joints = np.full((18, 2), np.nan)
    joints[2], joints[3] = (10.5, 4), (10.5, 20)
    label = stage.draw_pose(joints, 32, 64)
    limb = stage.LIMBS.index((2, 3))
    part = (255 - label[12, 10].astype(float)) / np.maximum(255 - np.array(stage.LIMB_COLORS[limb]), 1)
    assert part[np.array(stage.LIMB_COLORS[limb]) < 200] == pytest.approx(3 / 16, abs=0.05)  # 3 of 16 fine pixels
    assert (label[:, [8, 12]] == 255).all() and (label[22:] == 255).all()
    joints[3] = np.nan
    assert (stage.draw_pose(joints, 32, 64) == 255).all()


def test_pose_image_reaches_over_the_rim():
    joints = np.full((18, 2), np.nan)
    joints[2], joints[3] = (-6, 10), (9, 10)
    assert (stage.draw_pose(joints, 32, 64)[9:11, 0] < 250).any()
    joints[2], joints[3] = (-9, 10), (-6, 10)
    assert (stage.draw_pose(joints, 32, 64) == 255).all()


# -------------------------------------------------------------------------------------------------------- statistics


def save(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i}.png")


def test_statistics_by_hand(tmp_path):
    # Four grey frames 100, 110, 110, 120 and labels of which two are blank and two have 1/64 of ink.
    frames = np.zeros((4, 32, 64, 3), np.uint8) + np.array([100, 110, 110, 120], np.uint8)[:, None, None, None]
    frames[3, 20:, :32] = 220  # a "person": 12/32 x 1/2 of the picture in one of four frames
    labels = np.full((4, 32, 64, 3), 255, np.uint8)
    labels[2:, :, 5, 1] = 224
    labels[:2, :, 5, 1] = 225
    save(tmp_path / "train/train_img", frames)
    save(tmp_path / "train/train_label", labels)
    save(tmp_path / "test/test_label/0", labels[2:])
    table = stage.statistics(tmp_path)
    row = table["train"]
    dark, bright = 1 - 12 / 64, 12 / 64

    def db(mse: float) -> float:
        return 10 * math.log10(255**2 / mse)

    last_first = dark * 20**2 + bright * 120**2
    assert row["copy_first"] == pytest.approx((2 * db(100) + db(last_first)) / 3)
    last_previous = dark * 10**2 + bright * 110**2
    assert row["copy_previous"] == pytest.approx((db(100) + 100 + db(last_previous)) / 3)  # equal frames: 100 dB
    mean = [110, 135]  # of the dark and the bright part
    mse = [dark * (f - mean[0]) ** 2 + bright * (g - mean[1]) ** 2 for f, g in ((110, 110), (110, 110), (120, 220))]
    assert row["mean_frame"] == pytest.approx(sum(map(db, mse)) / 3, rel=1e-5)
    assert row["person"] == pytest.approx(100 * bright / 4)
    assert row["ink"] == pytest.approx(100 / 64 / 2)
    assert row["blank"] == pytest.approx(50)
    assert row["luminance"] == pytest.approx((100 + 110 + 110 + 120 * dark + 220 * bright) / 4)
    assert row["std"] == pytest.approx(100 * math.sqrt(dark * bright) / 4, rel=1e-5)
    assert row["wander"] == pytest.approx(np.std([100, 110, 110, 120]), rel=1e-5)
    assert row["frames"] == 4 and table["test 0"]["frames"] == 2
    assert math.isnan(table["test 0"]["copy_first"]) and table["test 0"]["ink"] == pytest.approx(100 / 64)
    assert list(table) == ["train", "test 0"]


def test_statistics_start_anew_with_each_sequence(tmp_path):
    frames = np.zeros((4, 32, 64, 3), np.uint8) + np.array([0, 10, 200, 220], np.uint8)[:, None, None, None]
    save(tmp_path / "train/train_img", frames)
    (tmp_path / "dance.json").write_text(json.dumps({"sequence_starts": {"train": [0, 2], "val": [0], "test": []}}))
    row = stage.statistics(tmp_path)["train"]
    expected = np.mean([20 * math.log10(255 / 10), 20 * math.log10(255 / 20)])
    assert row["copy_first"] == row["copy_previous"] == pytest.approx(expected)


def test_statistics_resize_as_pil_and_sort_by_number(tmp_path):
    rng = np.random.default_rng(0)
    big = rng.integers(0, 255, (11, 64, 128, 3), dtype=np.uint8)
    save(tmp_path / "train/train_img", big)
    small = np.stack([np.asarray(Image.fromarray(f).resize((64, 32), Image.Resampling.BILINEAR)) for f in big])
    mse = ((small[1:].astype(float) - small[:-1]) ** 2).mean((1, 2, 3))
    expected = (10 * np.log10(255**2 / mse)).mean()
    assert stage.statistics(tmp_path)["train"]["copy_previous"] == pytest.approx(expected, rel=1e-5)


def test_statistics_errors_and_print(dance, tmp_path, capsys):
    with pytest.raises(LabError, match="no PNG images"):
        stage.statistics(tmp_path)
    other = stage.make_data(tmp_path / "other", **SMALL)
    stage.print_stats([dance, other])
    lines = capsys.readouterr().out.splitlines()
    for root in (dance, other):
        assert sum(line.startswith(f"{root}  ") for line in lines) == len(("train", "val", "test 0", "test 1"))
    assert all(name in lines[0] for name in stage.STATISTICS)
    (tmp_path / "train/train_img").mkdir(parents=True)
    (tmp_path / "train/train_img/0.png").write_bytes(b"not a png")
    with pytest.raises(LabError, match=r"cannot read .*0\.png"):
        stage.statistics(tmp_path)
