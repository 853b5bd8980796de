"""The data layout, the decode-once cache, and one clear error for each kind of fault."""

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import write_pngs

from labutils import dataset
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import to_float

CFG = LabConfig(train_vi_len=4, quiet=True, num_workers=2)


def write_images(folder: Path, count: int, size=(64, 32), name="frame{:06d}", seed=0) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    write_pngs(folder, images, [name.format(k) for k in range(count)])
    return images


@pytest.fixture
def root(tmp_path):
    for k, folder in enumerate(["train/train_img", "train/train_label", "val/val_img", "val/val_label"]):
        write_images(tmp_path / folder, 6, seed=k)
    for k in range(2):
        write_images(tmp_path / f"test/test_img/{k}", 1, seed=10 + k)
        write_images(tmp_path / f"test/test_label/{k}", 5, seed=20 + k)
        write_images(tmp_path / f"test/test_gt/{k}", 5, seed=10 + k)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """The number of images in each call of decode_images."""
    calls, original = [], dataset.decode_images
    monkeypatch.setattr(dataset, "decode_images", lambda paths, *a: calls.append(len(paths)) or original(paths, *a))
    return calls


def test_resize_is_what_torchvision_does(root):
    from torchvision import transforms

    write_images(root / "big", 3, size=(301, 150))
    got = dataset.load_images(root / "big", root, CFG)
    resize = transforms.Compose([transforms.Resize((32, 64)), transforms.ToTensor()])
    for k in range(3):
        with Image.open(root / f"big/frame{k:06d}.png") as image:
            assert torch.equal(to_float(got[k]), resize(image.convert("RGB")))


def test_images_arrive_unchanged_in_the_order_of_their_numbers_and_memory_mapped(root):
    images = write_images(root / "numbers", 12, name="{}")  # "10" sorts before "2" as text
    found = dataset.load_images(root / "numbers", root, CFG)
    assert isinstance(found, np.memmap) and np.array_equal(found, images)


def test_the_cache_is_used_and_made_again_when_an_image_changes_or_it_is_damaged(root, decoded):
    folder = root / "train" / "train_img"
    first = dataset.load_images(folder, root, CFG)
    assert np.array_equal(first, dataset.load_images(folder, root, CFG)) and decoded == [6]
    Image.fromarray(255 - np.asarray(first[2])).save(folder / "frame000002.png")
    os.utime(folder / "frame000002.png", ns=(1, 1))  # whatever the clock's resolution
    changed = dataset.load_images(folder, root, CFG).copy()
    assert np.array_equal(changed[2], 255 - first[2]) and np.array_equal(changed[3], first[3]) and decoded == [6, 6]
    cache = next(root.glob(".cache-*/*train_img.npy"))
    cache.write_bytes(cache.read_bytes()[:100])
    assert np.array_equal(dataset.load_images(folder, root, CFG), changed)
    large = dataset.load_images(folder, root, CFG.replace(frame_H=64, frame_W=128))  # has a cache of its own
    assert large.shape == (6, 64, 128, 3) and decoded == [6, 6, 6, 6]
    assert dataset.load_images(folder, root, CFG).shape == (6, 32, 64, 3) and len(decoded) == 4


def test_an_interrupted_decoding_leaves_nothing(root, monkeypatch):
    monkeypatch.setattr(dataset, "decode_images", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        dataset.load_images(root / "train/train_img", root, CFG)
    assert not list(root.rglob("*.part")) and not list(root.rglob("*.npy"))


def test_a_read_only_data_set_is_cached_elsewhere(root, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(dataset.os, "access", lambda *a: False)
    assert len(dataset.load_split(root, "val", CFG).frames) == 6 and len(list(home.rglob("*.npy"))) == 2


def test_splits_and_test_sequences(root):
    train, val = dataset.load_split(root, "train", CFG), dataset.load_split(root, "val", CFG.replace(val_vi_len=5))
    assert train.frames.shape == (6, 32, 64, 3) and len(val.frames) == len(val.labels) == 5
    assert len(dataset.load_split(root, "train", CFG.replace(partial=0.7)).frames) == 4
    assert [(v.name, v.has_truth) for v in dataset.load_test(root, CFG)] == [("0", True), ("1", True)]
    shutil.rmtree(root / "test/test_gt/1")
    video = dataset.load_test(root, CFG)[1]
    assert not video.has_truth and len(video.frames) == 1 and len(video.labels) == 5


def test_truth_from_the_course_csv(root):
    truth = dataset.load_images(root / "test/test_gt/0", root, CFG).copy()
    shutil.rmtree(root / "test/test_gt")
    (root / "Demo_Test").mkdir()
    numbers = truth.transpose(0, 3, 1, 2).reshape(-1) / 255
    file = root / "Demo_Test/GT0.csv"
    file.write_text(",".join(f"{v:.6f}" for v in numbers))
    videos = dataset.load_test(root, CFG)
    assert np.array_equal(videos[0].frames, truth) and not videos[1].has_truth
    for text, message in (
        ("\n".join(f"{v:.6f}" for v in numbers[:-1]), r"GT0.csv holds \d+ numbers, not a multiple"),
        ("0 one 0", "GT0.csv cannot be read as numbers"),
        (",".join(f"{255 * v:.1f}" for v in numbers), r"they must lie in \[0, 1\]"),
        (",".join(["nan", *map(str, numbers[1:])]), r"they must lie in \[0, 1\]"),
        (",".join(["-inf", *map(str, numbers[1:])]), r"they must lie in \[0, 1\]"),
        ("0" * 200_000, r"GT0.csv holds 1 numbers"),
    ):
        file.write_text(text)
        with pytest.raises(LabError, match=message):
            dataset.load_test(root, CFG)


def test_truth_in_the_working_folder_is_used_and_a_gt_csv_is_told_of(root, tmp_path_factory, monkeypatch, capsys):
    truth = dataset.load_images(root / "test/test_gt/0", root, CFG)
    numbers = truth.transpose(0, 3, 1, 2).reshape(-1) / 255
    shutil.rmtree(root / "test/test_gt")
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    Path("Demo_Test").mkdir()
    np.savetxt("Demo_Test/GT0.csv", numbers, fmt="%.6f")
    (root / "gt.csv").write_text("id,0,1\n")
    first, second = dataset.load_test(root, CFG)
    assert np.array_equal(first.frames, truth) and not second.has_truth
    assert "gt.csv is not read, sequence 1 is not scored" in capsys.readouterr().err
    os.unlink("Demo_Test/GT0.csv")
    os.mkfifo("Demo_Test/GT0.csv")
    with pytest.raises(LabError, match=r"GT0\.csv is a pipe"):
        dataset.load_test(root, CFG)


def test_a_split_instead_of_the_data_set_is_told(root):
    with pytest.raises(LabError, match=r"train is one split of a data set; give --DR .*$"):
        dataset.load_split(root / "train", "train", CFG)


def test_exchanged_images_are_noticed(root):
    a, b = root / "train/train_img/frame000001.png", root / "train/train_img/frame000002.png"
    pixels = np.zeros((2, 32, 64, 3), np.uint8)
    pixels[1, 0, 0] = 1
    for path, image in zip((a, b), pixels):
        path.write_bytes(b"")
        Image.fromarray(image).save(path, compress_level=0)  # of one size
        os.utime(path, ns=(1, 1))
    before = dataset.load_images(a.parent, root, CFG).copy()
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)
    for path in (a, b):
        os.utime(path, ns=(1, 1))
    assert len(one) == len(other) and np.array_equal(dataset.load_images(a.parent, root, CFG)[1:3], before[2:0:-1])


DAMAGE = {
    "empty": lambda npy, note: npy.write_bytes(b""),
    "another type": lambda npy, note: np.save(npy, np.load(npy).astype(np.float32)),
    "another shape": lambda npy, note: np.save(npy, np.load(npy)[:, ::2]),
    "other pixels": lambda npy, note: np.save(npy, 255 - np.load(npy)),
    "objects": lambda npy, note: np.save(npy, np.array([{}]), allow_pickle=True),
    "note of another kind": lambda npy, note: note.write_text("[" * 100_000),
    "note is a pipe": lambda npy, note: (note.unlink(), os.mkfifo(note)),
    "array is gone": lambda npy, note: npy.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_cache_that_is_not_what_was_written_is_made_anew(root, decoded, damage):
    folder = root / "train/train_img"
    before = dataset.load_images(folder, root, CFG).copy()
    npy = next(root.glob(".cache-*/*train_img.npy"))
    DAMAGE[damage](npy, npy.with_suffix(".json"))
    for _ in range(2):
        after = dataset.load_images(folder, root, CFG)
        assert after.dtype == np.uint8 and np.array_equal(after, before)
    assert decoded == [6, 6]


def test_a_full_disk_is_told_before_decoding_and_leaves_nothing(root, decoded, monkeypatch):
    (root / ".cache-32x64").mkdir()
    (root / ".cache-32x64/.train-train_img.npy.0123abcd.part").write_bytes(b"of a killed run")
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    message = r"train_img.npy cannot be written: No space left .*36,992 bytes.* bytes are free in .*cache-32x64"
    with pytest.raises(LabError, match=message):
        dataset.load_images(root / "train/train_img", root, CFG)
    assert not decoded and not list((root / ".cache-32x64").iterdir())


FRAME, LABEL = "train/train_img/frame000003.png", "train/train_label/frame00000{}.png"
FAULTS = {
    "no root": (lambda r: r.rename(r.parent / "gone"), "data root .* is missing"),
    "no folder": (lambda r: (r / "train/train_img").rename(r / "x"), "train_img is missing"),
    "empty folder": (lambda r: [p.unlink() for p in (r / "train/train_img").iterdir()], "holds no PNG images"),
    "unequal counts": (
        lambda r: (r / FRAME).unlink(),
        r"train_label/frame000003.png has no partner in .*train_img \(5 frames, 6 labels\)",
    ),
    "equal counts, shifted": (
        lambda r: [(r / FRAME).unlink(), (r / LABEL.format(1)).unlink()],
        r"train_img/frame000001.png has no partner in .*train_label \(5 frames, 5 labels\)",
    ),
    "a test label is missing": (
        lambda r: (
            [(r / f"test/test_{k}/0/frame000000.png").unlink() for k in ("gt", "label")]
            + [
                shutil.copy(r / "test/test_label/0/frame000001.png", r / "test/test_label/0/frame000000.png"),
                (r / "test/test_img/0/frame000000.png").rename(r / "test/test_img/0/frame000002.png"),
                shutil.rmtree(r / "test/test_gt/0"),
            ]
        ),
        "test_img/0/frame000002.png has number 2 but the first label is frame000000.png",
    ),
    "truth of another sequence": (
        lambda r: [shutil.rmtree(r / "test/test_gt/0"), shutil.copytree(r / "test/test_gt/1", r / "test/test_gt/0")],
        "sequence 0: the true frames in .*test_gt/0 begin with another picture than .*test_img/0/frame000000.png",
    ),
    "one folder too high": (
        lambda r: [(r / "a/b").mkdir(parents=True), (r / "train").rename(r / "a/b/train")],
        r"train is missing, but .*a/b/train is there; give --DR .*a/b$",
    ),
    "truncated": (
        lambda r: (r / FRAME).write_bytes((r / FRAME).read_bytes()[:300]),
        "3.png cannot be read as an image",
    ),
    "not an image": (lambda r: (r / FRAME).write_text("hello"), "frame000003.png cannot be read as an image"),
    "odd size": (lambda r: write_images(r / "train/train_img", 4, size=(60, 32)), "is 64x32 pixels but .* is 60x32"),
    "no number": (lambda r: (r / FRAME).rename(r / "train/train_img/three.png"), "three.png has no number"),
    "same number": (lambda r: (r / FRAME).rename(r / "train/train_img/4.png"), "have the same number"),
    "too few": (
        lambda r: [(r / f"train/train_{k}/frame00000{i}.png").unlink() for i in range(3) for k in ("img", "label")],
        "3 frames are too few, at least 4",
    ),
    "truth too short": (
        lambda r: (r / "test/test_gt/1/frame000004.png").unlink(),
        r"test_label/1/frame000004.png has no partner in .*test_gt/1 \(4 frames, 5 labels\)",
    ),
    "odd sequence": (lambda r: (r / "test/test_label/first").mkdir(), "named by its number"),
    "no plain number": (lambda r: (r / "test/test_label/²").mkdir(), "named by its number"),
    "no sequence": (lambda r: [shutil.rmtree(p) for p in (r / "test/test_label").iterdir()], "holds no sequence"),
    "no test": (lambda r: shutil.rmtree(r / "test"), "test_label is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_one_clear_error(root, fault):
    damage, message = FAULTS[fault]
    damage(root)
    with pytest.raises(LabError, match=message):
        dataset.load_split(root, "train", CFG)
        dataset.load_test(root, CFG)
