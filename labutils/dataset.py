"""From a folder of PNGs to uint8 arrays: layout checks, and a cache that decodes every image only once.

The layout is the course's (see data/README.md).  A data set is decoded and resized by all cores the first time it is
used; from then on it is one memory-mapped ``.npy`` file for each folder of images, so it may be larger than memory.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.files import part_file, regular, reserve, shown, sweep
from labutils.images import Video
from labutils.pictures import check_pairs, find_images, number_of, read_image

OTHER = 10  # grey levels by which two pictures differ on average that are not the same one, resized twice

# ------------------------------------------------------------------------------------------------ decoding, only once


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


def _stamp(path: Path) -> str:
    """Changes when a file is rewritten or exchanged: ctime notes even what leaves size and mtime as they were."""
    stat = path.stat()
    return f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def _note(paths: Sequence[Path], cache: Path, height: int, width: int) -> bytes:
    """What is kept beside a cache: it tells for which images it was made, and that it was not touched since."""
    digest = hashlib.sha256("\n".join(map(_stamp, paths)).encode())
    note = {"fingerprint": digest.hexdigest(), "shape": [len(paths), height, width, 3], "array": _stamp(cache)}
    return json.dumps(note).encode()


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
    return home / name


def load_images(folder: Path, root: Path, cfg: LabConfig) -> np.ndarray:
    """All images of a folder as a memory-mapped uint8 array (N, frame_H, frame_W, 3).

    The array is decoded once and kept as ``.npy``; it is made again when the images have changed, or when the file is
    not what was written.  A run that is cut off leaves no half-written cache.

    Raises:
        LabError: an image is unreadable, or there is no room for the cache.
    """
    paths = find_images(folder)
    cache, shape = _cache_file(folder, root, cfg.frame_H, cfg.frame_W), (len(paths), cfg.frame_H, cfg.frame_W, 3)
    note = cache.with_suffix(".json")
    sweep(cache.parent)
    try:
        if cache.is_file() and note.is_file() and note.read_bytes() == _note(paths, cache, *shape[1:3]):
            return np.load(cache, mmap_mode="c")
    except OSError:
        pass  # it cannot be read: decode again

    with part_file(cache) as (part, file):
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        start = file.tell()
        reserve(file, start + math.prod(shape))
        array = np.memmap(part, np.uint8, "r+", offset=start, shape=shape)
        title = None if cfg.quiet or len(paths) < 100 else f"decode {folder.relative_to(root)}"
        decode_images(paths, array, cfg.num_workers, title)
        array.flush()
    with part_file(note) as (_, file):
        file.write(_note(paths, cache, *shape[1:3]))
    return np.load(cache, mmap_mode="c")


# -------------------------------------------------------------------------------------------------------- the splits


def _data_root(DR: str | Path, split: str) -> Path:
    """The data root, which holds the folder of a split; where it lies elsewhere, the message says where."""
    root = Path(DR)
    if not os.path.isdir(root):
        raise LabError(
            f"the data root {shown(root)} is missing; give the folder that holds train/, val/ and test/ with --DR"
        )
    if os.path.isdir(root / split):
        return root
    for depth in ("*", "*/*"):  # an archive unpacked into a folder of its name, for instance
        for found in sorted(root.glob(f"{depth}/{split}/")):
            if not any(part.startswith((".", "__")) for part in found.relative_to(root).parts):
                raise LabError(f"{root / split} is missing, but {found} is there; give --DR {found.parent}")
    if os.path.isdir(root.parent / split) and any(root.glob("*_img")):
        raise LabError(f"{root} is one split of a data set; give --DR {root.parent}")
    return root


def load_split(DR: str | Path, split: str, cfg: LabConfig) -> Video:
    """The training or validation video.

    Args:
        DR: data root.
        split: "train" (all frames, or the first ``cfg.partial`` of them) or "val" (the first ``cfg.val_vi_len``).

    Raises:
        LabError: a folder is missing, a picture has no partner or is unreadable, or there are too few frames.
    """
    root = _data_root(DR, split)
    folders = [root / split / f"{split}_{kind}" for kind in ("img", "label")]
    check_pairs(*map(find_images, folders))
    frames, labels = (load_images(folder, root, cfg) for folder in folders)
    keep = cfg.val_vi_len if split == "val" else max(1, round(cfg.partial * len(frames)))
    need = 2 if split == "val" else cfg.train_vi_len
    if min(keep, len(frames)) < need:
        raise LabError(f"{root / split}: {min(keep, len(frames))} frames are too few, at least {need} are needed")
    return Video(split, frames[:keep], labels[:keep])


def load_test(DR: str | Path, cfg: LabConfig) -> list[Video]:
    """All test sequences, in the order of their numbers, with the true frames where those are known.

    Truth is looked for as PNGs in ``test/test_gt/{k}/``, then as ``Demo_Test/GT{k}.csv`` in the data root, beside it,
    or in the working folder.

    Raises:
        LabError: a folder is missing, or a sequence has no first frame, or truth that does not fit to it.
    """
    root = _data_root(DR, "test")
    test, labels_root = root / "test", root / "test" / "test_label"
    if not os.path.isdir(labels_root):
        raise LabError(f"{labels_root} is missing; it holds one folder of pose images for each test sequence")
    names = [p.name for p in labels_root.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]
    for name in names:
        if not (name.isascii() and name.isdecimal()):
            raise LabError(f"{labels_root / name}: a test sequence is named by its number (0, 1, 2 ...)")
    if not names:
        raise LabError(f"{labels_root} holds no sequence; expected one folder for each: 0, 1, 2 ...")
    videos = []
    for name in sorted(names, key=int):
        poses, given = find_images(labels_root / name), find_images(test / "test_img" / name)
        number = number_of(given[0])
        if number != number_of(poses[0]) and number in map(number_of, poses):
            raise LabError(f"{given[0]} has number {number} but the first label is {poses[0].name}; a label is missing")
        if os.path.isdir(test / "test_gt" / name):
            check_pairs(find_images(test / "test_gt" / name), poses)
        labels = load_images(labels_root / name, root, cfg)
        first = load_images(test / "test_img" / name, root, cfg)[:1]
        truth, where = _load_truth(root, name, cfg)
        if truth is not None:
            if len(truth) != len(labels):
                raise LabError(f"test sequence {name}: {len(truth)} true frames in {where} but {len(labels)} labels")
            if (away := np.abs(truth[0] - first[0].astype(float)).mean()) > OTHER:
                raise LabError(
                    f"test sequence {name}: the true frames in {where} begin with another picture than "
                    f"{given[0]} (mean difference {away:.0f} of 255); put the right ones there, or remove them"
                )
        videos.append(Video(name, first if truth is None else truth, labels))
    return videos


def _load_truth(root: Path, name: str, cfg: LabConfig) -> tuple[np.ndarray | None, Path]:
    """The true frames of a test sequence, where they are known, and where they were found."""
    folder = root / "test" / "test_gt" / name
    if folder.is_dir():
        return load_images(folder, root, cfg), folder
    places = [Path(home, "Demo_Test") for home in (root, root.parent, "")]
    for place in places:
        if (csv := place / f"GT{name}.csv").exists():
            return read_truth_csv(csv, cfg.frame_H, cfg.frame_W), csv
    for place in (root, root / "test", *places):
        if (csv := place / "gt.csv").exists():
            text = f"give true frames as {folder}/*.png or {places[0]}/GT{name}.csv"
            print(f"note: {csv} is not read, sequence {name} is not scored; {text}", file=sys.stderr)
            break
    return None, folder


def read_truth_csv(path: Path, height: int, width: int) -> np.ndarray:
    """The course's ``GT{k}.csv``: T * 3 * H * W numbers in [0, 1], channel first -> uint8 (T, H, W, 3).

    Raises:
        LabError: the file holds something else than numbers in [0, 1], or not a whole number of frames.
    """
    regular(path)
    try:
        values = np.array(path.read_text().replace(",", " ").split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read as numbers ({error})") from error
    size = 3 * height * width
    if not len(values) or len(values) % size:
        raise LabError(f"{path} holds {len(values)} numbers, not a multiple of 3*{height}*{width} = {size}")
    if not (values.min() >= -0.01 and values.max() <= 1.01):  # NaN too
        raise LabError(f"{path} holds values from {values.min():g} to {values.max():g}; they must lie in [0, 1]")
    frames = values.reshape(-1, 3, height, width).clip(0, 1) * 255
    return np.rint(frames).astype(np.uint8).transpose(0, 2, 3, 1)
