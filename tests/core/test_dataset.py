"""The data layout, the decode-once cache, and one clear error for each kind of fault."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from labutils import dataset
from labutils.config import LabConfig
from labutils.errors import LabError

CFG = LabConfig(train_vi_len=4, quiet=True, num_workers=2)


def write_images(folder, count, size=(64, 32), name="frame{:06d}.png", seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images = rng.integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / name.format(k))
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


def test_resize_is_what_torchvision_does(root):
    from torchvision import transforms

    folder = root / "big"
    write_images(folder, 3, size=(301, 150))
    got = dataset.load_images(folder, root, CFG)
    resize = transforms.Compose([transforms.Resize((32, 64)), transforms.ToTensor()])
    for k in range(3):
        with Image.open(folder / f"frame{k:06d}.png") as image:
            expected = resize(image.convert("RGB"))
        assert torch.equal(dataset.to_float(got[k]), expected)


def test_images_of_the_right_size_arrive_unchanged(root):
    images = write_images(root / "same", 4)
    assert np.array_equal(dataset.load_images(root / "same", root, CFG), images)


def test_frames_are_ordered_by_their_number_not_their_name(root):
    folder = root / "numbers"
    images = write_images(folder, 12, name="{}.png")  # "10" sorts before "2" as text
    assert np.array_equal(dataset.load_images(folder, root, CFG), images)


def test_the_cache_is_used_and_rebuilt_when_an_image_changes(root, monkeypatch):
    folder = root / "train" / "train_img"
    decoded = []
    original = dataset.decode_images

    def counted(paths, *rest):
        decoded.append(len(paths))
        original(paths, *rest)

    monkeypatch.setattr(dataset, "decode_images", counted)
    first = dataset.load_images(folder, root, CFG)
    again = dataset.load_images(folder, root, CFG)
    assert decoded == [6] and np.array_equal(first, again)
    Image.fromarray(255 - np.asarray(first[2])).save(folder / "frame000002.png")
    os.utime(folder / "frame000002.png", ns=(1, 1))  # whatever the clock's resolution
    changed = dataset.load_images(folder, root, CFG)
    assert decoded == [6, 6]
    assert np.array_equal(changed[2], 255 - first[2]) and np.array_equal(changed[3], first[3])


def test_another_size_has_a_cache_of_its_own(root):
    small = dataset.load_split(root, "train", CFG)
    large = dataset.load_split(root, "train", CFG.replace(frame_H=64, frame_W=128))
    assert small.frames.shape == (6, 32, 64, 3) and large.frames.shape == (6, 64, 128, 3)


def test_an_interrupted_or_damaged_cache_is_made_again(root, monkeypatch):
    folder = root / "train" / "train_img"

    def broken(paths, out, *a):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "decode_images", broken)
        with pytest.raises(KeyboardInterrupt):
            dataset.load_images(folder, root, CFG)
    assert not list(root.rglob("*.part"))
    good = dataset.load_images(folder, root, CFG).copy()
    cache = next(root.glob(".cache-*/*train_img.npy"))
    cache.write_bytes(cache.read_bytes()[:100])
    assert np.array_equal(dataset.load_images(folder, root, CFG), good)


def test_a_read_only_data_set_is_cached_elsewhere(root, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(dataset.os, "access", lambda *a: False)
    video = dataset.load_split(root, "val", CFG)
    assert len(video.frames) == 6 and len(list(home.rglob("*.npy"))) == 2


def test_arrays_are_memory_mapped(root):
    assert isinstance(dataset.load_split(root, "train", CFG).frames, np.memmap)


def test_decoding_uses_several_threads(root, monkeypatch):
    import threading

    seen = set()
    barrier = threading.Barrier(2, timeout=20)
    original = dataset.read_image

    def watched(*a):
        if len(seen) < 2 and threading.current_thread() is not threading.main_thread():
            seen.add(threading.get_ident())
            barrier.wait()
        return original(*a)

    monkeypatch.setattr(dataset, "read_image", watched)
    dataset.decode_images(dataset.find_images(root / "train/train_img") * 8, np.empty((48, 32, 64, 3), np.uint8), 2)
    assert len(seen) == 2


def test_splits_and_test_sequences(root):
    train, val = dataset.load_split(root, "train", CFG), dataset.load_split(root, "val", CFG.replace(val_vi_len=5))
    assert train.frames.shape == (6, 32, 64, 3) and len(val.frames) == len(val.labels) == 5
    assert len(dataset.load_split(root, "train", CFG.replace(partial=0.7)).frames) == 4
    test = dataset.load_test(root, CFG)
    assert [v.name for v in test] == ["0", "1"] and all(v.has_truth for v in test)


def test_a_test_sequence_without_truth_has_only_its_first_frame(root):
    for path in (root / "test/test_gt/1").iterdir():
        path.unlink()
    (root / "test/test_gt/1").rmdir()
    video = dataset.load_test(root, CFG)[1]
    assert not video.has_truth and len(video.frames) == 1 and len(video.labels) == 5


def test_truth_from_the_course_csv(root):
    truth = dataset.load_images(root / "test/test_gt/0", root, CFG).copy()
    for k in range(2):
        for path in (root / f"test/test_gt/{k}").iterdir():
            path.unlink()
        (root / f"test/test_gt/{k}").rmdir()
    (root / "Demo_Test").mkdir()
    numbers = truth.transpose(0, 3, 1, 2).reshape(-1) / 255
    (root / "Demo_Test/GT0.csv").write_text(",".join(f"{v:.6f}" for v in numbers))
    videos = dataset.load_test(root, CFG)
    assert np.array_equal(videos[0].frames, truth) and not videos[1].has_truth
    (root / "Demo_Test/GT0.csv").write_text("\n".join(f"{v:.6f}" for v in numbers[:-1]))
    with pytest.raises(LabError, match=r"GT0.csv holds \d+ numbers, not a multiple"):
        dataset.load_test(root, CFG)


def test_to_uint8_inverts_to_float_and_clips():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 6, 3), dtype=np.uint8)
    assert np.array_equal(dataset.to_uint8(dataset.to_float(images)), images)
    extreme = torch.tensor([-0.5, 1.5, 0.5]).view(3, 1, 1)
    assert dataset.to_uint8(extreme).tolist() == [[[0, 255, 128]]]


def remove(path):
    path.unlink()


FAULTS = {
    "no root": (lambda r: r.rename(r.parent / "gone"), "data root .* is missing"),
    "no folder": (lambda r: (r / "train/train_img").rename(r / "x"), "train_img is missing"),
    "empty folder": (lambda r: [p.unlink() for p in (r / "train/train_img").iterdir()], "holds no PNG images"),
    "unequal counts": (
        lambda r: remove(r / "train/train_img/frame000003.png"),
        "5 images in train_img but 6 in train_label",
    ),
    "truncated": (
        lambda r: (r / "train/train_img/frame000003.png").write_bytes(
            (r / "train/train_img/frame000003.png").read_bytes()[:300]
        ),
        "frame000003.png cannot be read as an image",
    ),
    "not an image": (
        lambda r: (r / "train/train_img/frame000003.png").write_text("hello"),
        "frame000003.png cannot be read as an image",
    ),
    "odd size": (lambda r: write_images(r / "train/train_img", 4, size=(60, 32)), "is 64x32 pixels but .* is 60x32"),
    "no number": (
        lambda r: (r / "train/train_img/frame000003.png").rename(r / "train/train_img/three.png"),
        "three.png has no number",
    ),
    "same number": (
        lambda r: (r / "train/train_img/frame000003.png").rename(r / "train/train_img/4.png"),
        "have the same number",
    ),
    "too few": (
        lambda r: [remove(r / f"train/train_{k}/frame00000{i}.png") for i in range(3) for k in ("img", "label")],
        "3 frames are too few, at least 4",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_one_clear_error(root, fault):
    damage, message = FAULTS[fault]
    damage(root)
    with pytest.raises(LabError, match=message):
        dataset.load_split(root, "train", CFG)


def test_faults_of_test_sequences(root):
    remove(root / "test/test_gt/1/frame000004.png")
    with pytest.raises(LabError, match="test sequence 1: 4 true frames but 5 labels"):
        dataset.load_test(root, CFG)
    (root / "test/test_label/first").mkdir()
    with pytest.raises(LabError, match="named by its number"):
        dataset.load_test(root, CFG)


def test_importing_the_data_room_does_not_import_torch():
    """Decoding and `stats` start at once."""
    code = "import sys, labutils.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
