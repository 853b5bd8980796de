"""Writing a data set: layout, reproducibility, what lies there already, errors, runs that are cut off."""

import csv
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refuses

from labutils.alone import alone
from labutils.dance import make_data, stage_lights
from labutils.errors import LabError

SIZES = dict(train=8, val=5, test_sequences=2, test_frames=4, height=40, width=72, supersample=1)
SMALL = SIZES | dict(workers=1, progress=False)


def digest(root: Path) -> str:
    """One hash of all file names and bytes under ``root``."""
    sum_ = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        sum_.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return sum_.hexdigest()


def light_frames(file: Path) -> list[int]:
    """The column ``frame`` of a light.csv."""
    return [int(row["frame"]) for row in csv.DictReader(file.read_text().splitlines())]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("small") / "dance", **SMALL)


def test_layout_is_the_courses(small):
    expected = {"dance.json", "train/light.csv", "val/light.csv", "test/light_0.csv", "test/light_1.csv"}
    for kind in ("img", "label"):
        expected |= {f"train/train_{kind}/frame{i:06d}.png" for i in range(8)}
        expected |= {f"val/val_{kind}/frame{i:06d}.png" for i in range(5)}
    for k in range(2):
        expected |= {f"test/test_img/{k}/frame000000.png"}
        expected |= {f"test/test_{kind}/{k}/frame{i:06d}.png" for kind in ("label", "gt") for i in range(4)}
    assert {str(p.relative_to(small)) for p in small.rglob("*") if p.is_file()} == expected
    for png in small.rglob("*.png"):
        with Image.open(png) as image:
            assert (image.size, image.mode) == ((72, 40), "RGB")
    for first in small.glob("test/test_img/*/*"):
        assert first.read_bytes() == (small / "test/test_gt" / first.parent.name / first.name).read_bytes()
    assert (small / "val/light.csv").read_text().startswith("frame,light\n")
    assert light_frames(small / "test/light_1.csv") == list(range(4))
    assert [p.name for p in small.parent.iterdir()] == ["dance"]  # nothing temporary is left


@pytest.mark.slow
def test_same_bytes_whatever_the_workers(tmp_path):
    big = SMALL | dict(train=640, val=20, test_sequences=1, height=16, width=32)
    one = make_data(tmp_path / "one", **big)
    two = make_data(tmp_path / "two", **big | dict(workers=2))
    assert len(list(two.rglob("*.png"))) == 2 * (640 + 20 + 4) + 1
    assert digest(one) == digest(two)
    # A new choreography begins every 630 frames; files and light are numbered on.
    starts = json.loads((one / "dance.json").read_text())["sequence_starts"]
    assert starts == {"train": [0, 630], "val": [0], "test": [0]}
    assert light_frames(one / "train/light.csv") == list(range(640))


def test_the_seed_decides_the_dance(small, tmp_path):
    assert digest(make_data(tmp_path / "same", **SMALL)) == digest(small)
    other = make_data(tmp_path / "other", **SMALL, seed=1)
    begins = []  # of each split and sequence
    for root in (small, other):
        for folder in ("train/train_img", "val/val_img", "test/test_gt/0", "test/test_gt/1"):
            with Image.open(root / folder / "frame000000.png") as image:
                begins.append(np.asarray(image).astype(int))
    for a, b in combinations(begins, 2):  # the figure is elsewhere, or stands otherwise: more than noise and jitter
        assert (np.abs(a - b) > 40).any(-1).mean() > 0.02
    light = [file.read_text().splitlines()[1] for root in (small, other) for file in root.glob("*/light*.csv")]
    assert len(set(light)) == 8


def test_a_complete_dance_is_left_alone_and_another_replaced(tmp_path, capsys):
    out = make_data(tmp_path / "d", **SMALL)
    before, stamp = digest(out), (out / "dance.json").stat().st_mtime_ns
    (out / ".cache-32x64").mkdir()  # the lab's own cache does not count as foreign
    make_data(out, **SMALL)
    assert capsys.readouterr().out == ""
    make_data(out, **SMALL | {"progress": True})
    assert "already" in capsys.readouterr().out and (out / "dance.json").stat().st_mtime_ns == stamp
    (out / "val/val_label/frame000001.png").unlink()
    make_data(out, **SMALL)
    assert digest(out) == before  # a hole is noticed
    make_data(out, **SMALL | dict(train=3))
    assert len(list((out / "train/train_img").iterdir())) == 3 and not (out / ".cache-32x64").exists()


def test_out_that_cannot_be_used(tmp_path):
    def fails(match: str, out: Path, **changes: int) -> None:
        refuses(match, make_data, out, **SMALL | changes)

    file, course, mixed = tmp_path / "file", tmp_path / "course", tmp_path / "mixed"
    file.write_text("mine")
    fails("is a file", file)
    fails("cannot be written", file / "below")
    (course / "train/train_img").mkdir(parents=True)
    fails("other data", course)
    (course / "dance.json").write_text("{")
    fails(r"other data \(images without a readable dance\.json\)", course)
    make_data(mixed, **SMALL)
    (mixed / "report.pdf").write_text("mine")
    fails(r"other data \(report\.pdf\)", mixed, seed=3)
    assert file.read_text() == (mixed / "report.pdf").read_text() == "mine"
    fails(r"train is 0; it must lie in \[1, ", tmp_path / "none", train=0)
    fails(r"height is 15; it must lie in \[16, ", tmp_path / "none", height=15)


def test_what_it_would_take_is_told_before_it_begins(tmp_path):
    for changes, message in (
        (dict(supersample=5000), r"supersample 5000.* GiB of memory, this machine has"),
        (dict(height=10**11), r"72x100000000000 pixels.* GiB of memory"),
        (dict(train=10**11), r"frames of 72x40 pixels take at least .* GiB, but only .* are free for .*none"),
    ):
        refuses(message, make_data, tmp_path / "none", **SMALL | changes)
    refuses("--out is .* must be a path", make_data, tmp_path / "a\0b", **SMALL)
    refuses("cannot be written: File name too long", make_data, tmp_path / ("x" * 254), **SMALL)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from labutils.dance import make_data, writer
if sys.argv[2] == "rendering":
    writer._write = lambda dance, new, *rest: (new / "half").write_bytes(b"") and 0 or os.kill(os.getpid(), 9)
else:  # between moving the old dance away and the new one to its place
    move = Path.rename
    Path.rename = lambda path, to: (move(path, to), os.kill(os.getpid(), 9))
make_data(sys.argv[1], train=3, val=3, test_sequences=0, supersample=1, workers=1, progress=False)
"""


@pytest.mark.parametrize("stage", ["rendering", "replacing"])
def test_what_a_killed_run_leaves_is_cleared_and_nothing_is_lost(tmp_path, stage):
    out = make_data(tmp_path / "d", **SMALL)
    before = digest(out)
    done = subprocess.run([sys.executable, "-c", KILLED, str(out), stage], timeout=300)
    assert done.returncode == -signal.SIGKILL and (tmp_path / ".d.new").is_dir()
    assert out.exists() == (stage == "rendering")
    stamp = None if stage == "replacing" else (out / "dance.json").stat().st_mtime_ns
    make_data(out, **SMALL)  # there already, or back in its place
    assert digest(out) == before and [p.name for p in tmp_path.iterdir()] == ["d"]
    assert stamp in (None, (out / "dance.json").stat().st_mtime_ns)


def test_only_one_process_writes_a_dance(tmp_path):
    with alone(tmp_path / ".d.new"):
        run = [sys.executable, "-m", "labutils", "make-data", "--out", str(tmp_path / "d"), "--profile", "smoke"]
        done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and f"in use by process {os.getpid()}" in done.stderr


def test_what_systems_leave_in_folders_is_passed_over(small, tmp_path):
    out = shutil.copytree(small, tmp_path / "d")
    for stray in (".DS_Store", "Thumbs.db", "__MACOSX/x", "train/train_img/._frame000001.png"):
        (out / stray).parent.mkdir(exist_ok=True)
        (out / stray).write_bytes(b"")
    make_data(out, **SMALL)
    assert (out / "Thumbs.db").exists()  # complete: left alone
    (out / "dance.json").write_text('{"settings": ' + "[" * 100_000)
    assert stage_lights(out) == (0, 0.0)
    os.unlink(out / "dance.json")
    os.mkfifo(out / "dance.json")
    assert stage_lights(out) == (0, 0.0)
    refuses("other data", make_data, out, **SMALL)


@pytest.mark.parametrize(
    "trouble, raised", [(OSError(errno.ENOSPC, "No space left on device"), LabError), (KeyboardInterrupt(), None)]
)
@pytest.mark.parametrize("earlier", [False, True])
def test_an_unfinished_run_changes_nothing(tmp_path, monkeypatch, trouble, raised, earlier):
    if earlier:
        make_data(tmp_path / "d", **SMALL)
    before, calls = digest(tmp_path), []

    def save(image, path, *args, **kwargs):
        calls.append(path)
        Path(path).write_bytes(b"")
        if len(calls) == 5:
            raise trouble

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(raised or KeyboardInterrupt, match="No space left.*bytes are free" if raised else None):
        make_data(tmp_path / "d", **SMALL, seed=1)
    assert digest(tmp_path) == before and [p.name for p in tmp_path.iterdir()] == ["d"] * earlier
