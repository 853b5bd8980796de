"""Writing a data set: choreographies rendered into the course's folder layout, by one process or several."""

import contextlib
import json
import multiprocessing
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from labutils import machine, rules
from labutils.alone import alone
from labutils.dance.dancer import choreography
from labutils.dance.figure import solve
from labutils.dance.light import append_light, room_light
from labutils.dance.lights import GAINS, append_states, switching_lights
from labutils.dance.pose import draw_pose, estimate
from labutils.dance.renderer import NOISE, render
from labutils.errors import LabError
from labutils.files import full, regular, shown

VERSION = 1  # raise it when the same settings give other bytes
SEQUENCE_FRAMES = 630  # the training split is cut into choreographies of this length
BLOCK = 70  # frames that a worker renders at a time
MARK = "dance.json"  # the file of a data set that says how it was made
SPLITS = ("train", "val", "test")
STRAY = ("Thumbs.db", "desktop.ini", "__MACOSX")  # what systems leave in a folder, besides names with a dot
BYTES_RENDERED = 100  # of memory for each pixel of the fine picture, about; measured with tracemalloc
BYTES_WRITTEN = 1  # for each pixel of a frame and its pose image, at least; 1.8 at 64x32


@dataclass(frozen=True)
class Dance:
    """Everything that decides the bytes of a synthetic data set.

    Raises:
        LabError: a number is out of range.
    """

    train: int
    val: int
    test_sequences: int
    test_frames: int
    height: int
    width: int
    supersample: int
    seed: int
    lights: int = 0  # states of the stage lights; 0: the room light drifts instead
    switch: float = 0.05  # the chance in each frame that the stage lights switch
    version: int = VERSION

    def __post_init__(self) -> None:
        least = {"train": 1, "val": 1, "test_sequences": 0, "test_frames": 1, "height": 16, "width": 16,
                 "supersample": 1, "seed": 0}  # fmt: skip
        for name, low in least.items():
            rules.check(name, getattr(self, name), int, f"[{low}, 1e12)")
        if self.lights and not 2 <= self.lights <= len(GAINS):
            raise LabError(f"lights is {self.lights}; it must be 0 (none) or a number of states from 2 to {len(GAINS)}")
        if not 0 < self.switch < 1:
            raise LabError(f"switch is {self.switch}; it must lie in (0, 1)")

    def settings(self) -> dict[str, float]:
        """What ``dance.json`` says of it; without stage lights nothing of them."""
        return {name: value for name, value in asdict(self).items() if self.lights or name not in ("lights", "switch")}

    def sequences(self) -> "Iterator[Sequence]":
        """The sequences in the order in which they are rendered."""
        for split, frames in (("train", self.train), ("val", self.val)):
            for k, start in enumerate(range(0, frames, SEQUENCE_FRAMES)):
                yield Sequence(split, k, start, min(SEQUENCE_FRAMES, frames - start), f"{split}_img", f"{split}_label")
        for k in range(self.test_sequences):
            yield Sequence("test", k, 0, self.test_frames, f"test_gt/{k}", f"test_label/{k}")

    def is_complete(self, root: Path) -> bool:
        """Whether ``root`` holds as many images as this dance has, in each folder."""
        counts: Counter[Path] = Counter()
        for sequence in self.sequences():
            for folder in sequence.folders(root):
                counts[folder] += sequence.frames
        return all(p.is_dir() and sum(map(_is_picture, os.listdir(p))) == n for p, n in counts.items())

    @property
    def frames(self) -> int:
        """Of all splits together."""
        return self.train + self.val + self.test_sequences * self.test_frames

    def check_room(self, out: Path, workers: int) -> None:
        """Nothing where this dance can be rendered to ``out`` by so many processes.

        Raises:
            LabError: memory or disk are too small, and what it would take.
        """
        pixels = self.height * self.width
        need, there = BYTES_RENDERED * pixels * self.supersample**2 * workers, machine.memory()
        if need > there:
            raise LabError(
                f"rendering {self.width}x{self.height} pixels with supersample {self.supersample}, {workers} processes:"
                f" about {_gib(need)} of memory, this machine has {_gib(there)}; choose smaller ones (usual: 3)"
            )
        need, there = BYTES_WRITTEN * pixels * self.frames, machine.room(out)
        if need > there:
            raise LabError(
                f"{self.frames:,} frames of {self.width}x{self.height} pixels take at least {_gib(need)}, but only "
                f"{_gib(there)} are free for {shown(out)}; make fewer frames, or choose another --out"
            )


def _is_picture(name: str) -> bool:
    return name.endswith(".png") and not name.startswith(".")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


@dataclass(frozen=True)
class Sequence:
    """One choreography: the files ``start``, ``start`` + 1 ... of a folder of frames and one of pose images."""

    split: str
    number: int  # among the sequences of its split
    start: int
    frames: int
    img: str
    label: str

    @property
    def seed(self) -> tuple[int, int]:
        """What sets it apart from the other sequences of the same dance."""
        return SPLITS.index(self.split), self.number

    def folders(self, root: Path) -> tuple[Path, Path]:
        """Where its frames lie, and its pose images."""
        return root / self.split / self.img, root / self.split / self.label

    def light_file(self, root: Path, kind: str = "light") -> Path:
        """Where its hidden factor is written: ``light`` of the room, or the stage ``lights``."""
        return root / self.split / (f"{kind}_{self.number}.csv" if self.split == "test" else f"{kind}.csv")


@dataclass(frozen=True)
class _Job:
    """Consecutive frames of one sequence for one worker; the arrays start at frame ``first`` of the sequence."""

    dance: Dance
    root: Path
    sequence: Sequence
    first: int
    points: np.ndarray  # (n, len(POINTS), 3)
    joints: np.ndarray  # (n, 18, 2)
    light: np.ndarray  # (n,), or (n, 3) for each colour

    def render(self) -> int:
        """Write the images; returns how many frames there were."""
        d, (img, label) = self.dance, self.sequence.folders(self.root)
        for i, t in enumerate(range(self.first, self.first + len(self.points))):
            rng = np.random.default_rng([d.seed, *self.sequence.seed, t])
            noise = NOISE * rng.standard_normal((d.height, d.width, 3), dtype=np.float32)
            frame = render(self.points[i], self.light[i], d.height, d.width, d.supersample, noise)
            pose = draw_pose(self.joints[i], d.height, d.width)
            for folder, image in ((img, frame), (label, pose)):
                Image.fromarray(image).save(folder / f"frame{self.sequence.start + t:06d}.png", compress_level=1)
        return len(self.points)


def _jobs(d: Dance, root: Path) -> Iterator[_Job]:
    """The work in blocks; makes the folders and writes the hidden factor on the way."""
    for sequence in d.sequences():
        rng = np.random.default_rng([d.seed, *sequence.seed])
        points = solve(choreography(sequence.frames, rng))
        joints, light = estimate(points, d.height, d.width, rng), room_light(sequence.frames, rng)
        for folder in sequence.folders(root):
            folder.mkdir(parents=True, exist_ok=True)
        if d.lights:
            states = switching_lights(sequence.frames, rng, d.lights, d.switch)
            append_states(sequence.light_file(root, "lights"), sequence.start, states)
            light = GAINS[states] - 1
        else:
            append_light(sequence.light_file(root), sequence.start, light)
        for i in range(0, sequence.frames, BLOCK):
            cut = slice(i, i + BLOCK)
            yield _Job(d, root, sequence, i, points[cut], joints[cut], light[cut])


def make_data(
    out: str | Path,
    train: int = 2520,
    val: int = 630,
    test_sequences: int = 6,
    test_frames: int = 630,
    height: int = 32,
    width: int = 64,
    supersample: int = 3,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
    lights: int = 0,
    switch: float = 0.05,
) -> Path:
    """Render a synthetic data set in the course's layout; data/README.md describes it.

    The same arguments give the same bytes, however many workers there are.  Every sequence of train, val and test has
    its own choreography, defects and light, seeded by (seed, split, sequence).  All is written to the folder
    ``.NAME.new`` beside ``out`` and renamed at the end, so an interrupted run leaves nothing; what a killed one leaves
    is removed by the next.  A folder that is already complete is left alone; a dance made with other settings is
    replaced.

    Args:
        out: folder to write.
        train, val: frames of these splits; choreographies of up to 630 frames are put one after the other.
        test_sequences, test_frames: test clips and the frames of each; their true frames go to test/test_gt.
        height, width: pixels.  supersample: fineness of the figure's edges.
        workers: processes; 0 means one for each core.
        progress: show a progress bar on stderr.
        lights: states of the stage lights (see ``labutils.dance.lights``), whose true states go to ``lights.csv`` in
            place of ``light.csv``; 0 for none.  Choreographies, poses and room are the same with and without.
        switch: the chance that they switch in a frame.

    Returns:
        ``out`` as a Path.

    Raises:
        LabError: ``out`` cannot be used, an argument is out of range, or the disk is full.
    """
    out = Path(out)
    dance = Dance(train, val, test_sequences, test_frames, height, width, supersample, seed, lights, switch)
    rules.check("--out", str(out), str)
    workers = workers or os.cpu_count() or 1
    target = Path(os.path.realpath(out))
    work = target.parent / f".{target.name}.new"
    try:
        if work.is_dir():  # of a process that is at work, or was killed
            with alone(work):
                _clear(work, target)
        if _holds(out, dance):
            if progress:
                print(f"{out} already holds this dance: nothing to do")
            return out
        dance.check_room(out, workers)
        with alone(work):
            try:
                new = work / secrets.token_hex(4)  # what is left of a killed run's processes writes elsewhere
                new.mkdir()
                _write(dance, new, workers, progress)
                if target.exists():
                    target.rename(work / "old")
                new.rename(target)
            finally:
                _clear(work, target)
    except OSError as error:
        hint = full(error, target) or "; choose another --out"
        raise LabError(f"{out} cannot be written: {error.strerror or error}{hint}") from error
    finally:
        with contextlib.suppress(OSError):
            work.rmdir()
    return out


def _clear(work: Path, target: Path) -> None:
    """Remove what a run leaves in its folder; a dance that it was about to replace goes back to its place."""
    old = work / "old"
    if old.exists() and not target.exists():
        old.rename(target)
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def stage_lights(root: str | Path) -> tuple[int, float]:
    """How many states the stage lights of a data set have, and the chance that they switch; 0 states: it has none."""
    settings = _settings(Path(root)) or {}
    K, switch = settings.get("lights"), settings.get("switch")
    return (K, switch) if type(K) is int and type(switch) is float else (0, 0.0)


def _settings(root: Path) -> dict[str, Any] | None:
    """How the data set in a folder was made, or None where nothing readable says so."""
    try:
        regular(root / MARK)
        settings = json.loads((root / MARK).read_text())["settings"]
    except (LabError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def _holds(out: Path, d: Dance) -> bool:
    """True if ``out`` already holds this very dance, False if it may be written.

    Raises:
        LabError: ``out`` is a file, or a folder with something in it that this module did not write.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise LabError(f"{out} is a file; --out must name a folder that is new, empty, or made by this command")
    names = {p.name for p in out.iterdir()}
    found = _settings(out)
    foreign = sorted(n for n in names - {MARK, *SPLITS, *STRAY} if not n.startswith("."))
    if names and (found is None or foreign):
        what = f"{', '.join(foreign[:3])}" if foreign else f"images without a readable {MARK}"
        raise LabError(f"{out} holds other data ({what}); choose another --out, or move that folder away")
    return found == d.settings() and d.is_complete(out)


def _write(d: Dance, root: Path, workers: int, progress: bool) -> None:
    """Render all into ``root``, a new folder; the mark comes last."""
    with tqdm(total=d.frames, unit="frame", desc="rendering the dance", disable=None if progress else True) as bar:
        if workers == 1 or d.frames < 500:  # starting processes would take longer than the work
            for job in _jobs(d, root):
                bar.update(job.render())
        else:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                for done in pool.imap_unordered(_Job.render, _jobs(d, root)):
                    bar.update(done)
    starts: dict[str, list[int]] = {split: [] for split in SPLITS}
    for sequence in d.sequences():
        starts[sequence.split].append(sequence.start)
        if sequence.split == "test":  # all that a test gives of its frames is the first one
            first = "frame000000.png"
            given = root / f"test/test_img/{sequence.number}"
            given.mkdir(parents=True)
            shutil.copyfile(sequence.folders(root)[0] / first, given / first)
    # "made_by" keeps its value, so that the same arguments give the same bytes.
    mark = {"made_by": "labutils.stage", "settings": d.settings(), "sequence_starts": starts}
    (root / MARK).write_text(json.dumps(mark, indent=1) + "\n")
