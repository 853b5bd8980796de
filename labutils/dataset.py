"""From a folder of PNGs to uint8 arrays: layout checks, and a cache that decodes every image only once.

The layout is the course's (see data/README.md).  A data set is decoded and resized by all cores the first time it is
used; from then on it is one memory-mapped ``.npy`` file for each folder of images, so it may be larger than memory.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import Video

# ---------------------------------------------------------------------------------------------- finding and decoding


def find_images(folder: Path) -> list[Path]:
    """The PNGs of a folder, sorted by the (last) integer in their names.

    Raises:
        LabError: the folder is missing or empty, a name holds no number, or two names hold the same one.
    """
    if not folder.is_dir():
        raise LabError(f"{folder} is missing; data/README.md shows the layout, `make-data` makes a data set")
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("*.png")):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise LabError(f"{path} has no number in its name; frames are ordered by it (frame000630.png or 630.png)")
        number = int(digits[-1])
        if number in numbered:
            raise LabError(f"{path} and {numbered[number].name} have the same number; remove or rename one of them")
        numbered[number] = path
    if not numbered:
        raise LabError(f"{folder} holds no PNG images")
    return [numbered[number] for number in sorted(numbered)]


def read_image(path: Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode one image and resize it as torchvision's Resize does for a PIL image: bilinear, antialiased, uint8.

    Returns:
        uint8 (height, width, 3) and the image's own (width, height).
    """
    try:
        with Image.open(path) as image:
            size = image.size
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)), size
    except (OSError, SyntaxError, ValueError) as error:
        raise LabError(f"{path} cannot be read as an image ({error}); replace it or copy it again") from error


def decode_images(paths: Sequence[Path], out: np.ndarray, workers: int, progress: str | None = None) -> None:
    """Decode and resize images into ``out``, uint8 (N, H, W, 3), with ``workers`` threads (0: one for each core).

    Pillow releases the interpreter lock while it inflates and resizes, so threads use all cores.

    Raises:
        LabError: an image is unreadable or of another size than the first one.
    """
    height, width = out.shape[1:3]
    first = read_image(paths[0], height, width)[1]

    def decode(k: int) -> None:
        out[k], size = read_image(paths[k], height, width)
        if size != first:
            raise LabError(
                f"{paths[k]} is {size[0]}x{size[1]} pixels but {paths[0].name} is {first[0]}x{first[1]}; "
                "all images of a folder must have one size"
            )

    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        with tqdm(total=len(paths), desc=progress, unit="image", disable=None if progress else True) as bar:
            for _ in pool.map(decode, range(len(paths)), chunksize=16):
                bar.update()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _fingerprint(paths: Sequence[Path], height: int, width: int) -> str:
    """Changes when an image is added, removed, renamed or rewritten, or when the size asked for changes."""
    digest = hashlib.sha256(f"{height}x{width}".encode())
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _cache_file(folder: Path, root: Path, height: int, width: int) -> Path:
    """Where the array of a folder is kept: beside the data, or in the user's cache where that is read-only."""
    name = f"{folder.relative_to(root).as_posix().replace('/', '-')}.npy"
    home = root / f".cache-{height}x{width}"
    try:
        home.mkdir(exist_ok=True)
        if os.access(home, os.W_OK):
            return home / name
    except OSError:
        pass
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cvae-lab"
    home = user_cache / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16] / f"{height}x{width}"
    home.mkdir(parents=True, exist_ok=True)
    return home / name


def load_images(folder: Path, root: Path, cfg: LabConfig) -> np.ndarray:
    """All images of a folder as a memory-mapped uint8 array (N, frame_H, frame_W, 3).

    The array is decoded once and kept as ``.npy``; it is made again when the images have changed.  It is written under
    another name and then renamed, so a run that is cut off leaves no half-written cache.
    """
    paths = find_images(folder)
    cache = _cache_file(folder, root, cfg.frame_H, cfg.frame_W)
    note = cache.with_suffix(".json")
    fingerprint = _fingerprint(paths, cfg.frame_H, cfg.frame_W)
    try:
        if json.loads(note.read_text())["fingerprint"] == fingerprint:
            return np.load(cache, mmap_mode="c")
    except (OSError, ValueError, KeyError):
        pass  # no cache, or one that was damaged: decode again

    shape = (len(paths), cfg.frame_H, cfg.frame_W, 3)
    handle, temporary = tempfile.mkstemp(dir=cache.parent, suffix=".npy.part")
    os.close(handle)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        title = None if cfg.quiet or len(paths) < 100 else f"decode {folder.relative_to(root)}"
        decode_images(paths, array, cfg.num_workers, title)
        array.flush()
        note.unlink(missing_ok=True)
        os.replace(temporary, cache)
        note.write_text(json.dumps({"fingerprint": fingerprint, "images": len(paths)}))
    except OSError as error:
        reason = error.strerror or error
        raise LabError(f"the cache {cache} cannot be written: {reason}; make room or set XDG_CACHE_HOME") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return np.load(cache, mmap_mode="c")


# -------------------------------------------------------------------------------------------------------- the splits


def _data_root(DR: str | Path) -> Path:
    root = Path(DR)
    if not root.is_dir():
        raise LabError(f"the data root {root} is missing; give the folder that holds train/, val/ and test/ with --DR")
    return root


def load_split(DR: str | Path, split: str, cfg: LabConfig) -> Video:
    """The training or validation video.

    Args:
        DR: data root.
        split: "train" (all frames, or the first ``cfg.partial`` of them) or "val" (the first ``cfg.val_vi_len``).

    Raises:
        LabError: a folder is missing, counts differ, an image is unreadable, or there are too few frames.
    """
    root = _data_root(DR)
    frames, labels = (load_images(root / split / f"{split}_{kind}", root, cfg) for kind in ("img", "label"))
    if len(frames) != len(labels):
        raise LabError(
            f"{root / split}: {len(frames)} images in {split}_img but {len(labels)} in {split}_label; "
            "there must be one label for each frame"
        )
    keep = cfg.val_vi_len if split == "val" else max(1, round(cfg.partial * len(frames)))
    need = 2 if split == "val" else cfg.train_vi_len
    if min(keep, len(frames)) < need:
        raise LabError(f"{root / split}: {min(keep, len(frames))} frames are too few, at least {need} are needed")
    return Video(split, frames[:keep], labels[:keep])


def load_test(DR: str | Path, cfg: LabConfig) -> list[Video]:
    """All test sequences, in the order of their numbers, with the true frames where those are known.

    Truth is looked for as PNGs in ``test/test_gt/{k}/``, then as ``Demo_Test/GT{k}.csv`` in or beside the data root.

    Raises:
        LabError: a folder is missing, or a sequence has no first frame, or truth of another length than its labels.
    """
    root = _data_root(DR)
    labels_root = root / "test" / "test_label"
    if not labels_root.is_dir():
        raise LabError(f"{labels_root} is missing; it holds one folder of pose images for each test sequence")
    names = [p.name for p in labels_root.iterdir() if p.is_dir()]
    for name in names:
        if not name.isdigit():
            raise LabError(f"{labels_root / name}: a test sequence is named by its number (0, 1, 2 ...)")
    if not names:
        raise LabError(f"{labels_root} holds no sequence; expected one folder for each: 0, 1, 2 ...")
    videos = []
    for name in sorted(names, key=int):
        labels = load_images(labels_root / name, root, cfg)
        first = load_images(root / "test" / "test_img" / name, root, cfg)[:1]
        truth = _load_truth(root, name, cfg)
        if truth is not None and len(truth) != len(labels):
            raise LabError(f"test sequence {name}: {len(truth)} true frames but {len(labels)} labels")
        videos.append(Video(name, first if truth is None else truth, labels))
    return videos


def _load_truth(root: Path, name: str, cfg: LabConfig) -> np.ndarray | None:
    folder = root / "test" / "test_gt" / name
    if folder.is_dir():
        return load_images(folder, root, cfg)
    for csv in (root / "Demo_Test" / f"GT{name}.csv", root.parent / "Demo_Test" / f"GT{name}.csv"):
        if csv.is_file():
            return read_truth_csv(csv, cfg.frame_H, cfg.frame_W)
    return None


def read_truth_csv(path: Path, height: int, width: int) -> np.ndarray:
    """The course's ``GT{k}.csv``: T * 3 * H * W numbers in [0, 1], channel first -> uint8 (T, H, W, 3).

    Raises:
        LabError: the file holds something else than numbers, or not a whole number of frames.
    """
    try:
        values = np.array(path.read_text().replace(",", " ").split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read as numbers ({error})") from error
    size = 3 * height * width
    if not len(values) or len(values) % size:
        raise LabError(f"{path} holds {len(values)} numbers, not a multiple of 3*{height}*{width} = {size}")
    if values.min() < -0.01 or values.max() > 1.01:
        raise LabError(f"{path} holds values from {values.min():g} to {values.max():g}; they must lie in [0, 1]")
    frames = values.reshape(-1, 3, height, width).clip(0, 1) * 255
    return np.rint(frames).astype(np.uint8).transpose(0, 2, 3, 1)
