"""``python -m labutils faults``: what the lab does with bad input, with a full disk, and when it is killed.

A case is a small healthy data set, run and command, of which one thing is spoiled.  Afterwards the command must either
say in a line or two what is wrong (``refused``), or give exactly what it gives for the healthy files (``same``).
Everything else is a fault of the lab: a traceback, a hang, or a result that is wrong in silence.

The cases are drawn by hypothesis (MacIver et al., JOSS 2019); the tests draw a hundred, this command as many as wanted.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from labutils.errors import LabError

LIMIT = 300  # seconds after which a case hangs, also on a slow and busy machine
REFUSED, SAME = "refused", "same"
EITHER = frozenset({REFUSED, SAME})
TRAIN = "train --DR data --save_root run --steps 4 --num_epoch 2 --batch_size 1 --width 8 --device cpu --quiet".split()
VALIDATE = "validate --DR data --ckpt_path ckpts/last.ckpt --save_root run --device cpu --quiet".split()
TEST = "test --DR data --ckpt_path ckpts/last.ckpt --save_root run --device cpu --quiet".split()
RESUME = [*TRAIN, "--ckpt_path", "ckpts/last.ckpt"]
RESULTS = {"train": "run/history.csv", "validate": "run/val/psnr.json", "test": "run/test/psnr.json"}


@dataclass(frozen=True)
class Case:
    """One thing that is spoiled.

    Attributes:
        area, name: what; for people and for counting.
        command: what is run afterwards.
        spoil: changes the files below a folder that holds data/ and ckpts/.
        expected: the verdicts that are right.
        space: bytes that a file may hold, as on a full disk; None: no limit.
    """

    area: str
    name: str
    command: tuple[str, ...]
    spoil: Callable[[Path], object] = field(compare=False)
    expected: frozenset[str] = EITHER
    space: int | None = None

    def __repr__(self) -> str:
        return f"{self.area}: {self.name}; {' '.join(self.command)}"


@dataclass(frozen=True)
class Outcome:
    """What came of a case: "refused", "same", "traceback", "hang" or "silent", and what was printed."""

    verdict: str
    text: str = ""


# ------------------------------------------------------------------------------------------------- running a command


def _child(folder: Path, argv: tuple[str, ...], space: int | None, out: Any) -> None:
    """In a process of its own: run a command in ``folder``; all that it prints goes into the pipe ``out``."""
    os.chdir(folder)
    pipe = out.fileno()
    for stream in (1, 2):
        os.dup2(pipe, stream)
    os.close(pipe)
    os.environ |= {"LAB_PROFILE": "smoke", "XDG_CACHE_HOME": str(folder / "cache"), "MPLBACKEND": "Agg"}
    if space is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (space, space))
    from labutils.__main__ import main

    try:
        status = main(list(argv))
    except SystemExit as error:  # argparse
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@cache
def _context() -> Any:
    """Processes are forked from one that has imported torch and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "labutils.commands", "labutils.training", "labutils.evaluation"])
    return context


def run(folder: Path, argv: tuple[str, ...], space: int | None = None) -> tuple[int | None, str]:
    """The exit status of a command and all that it printed; None where it hung."""
    reader, writer = os.pipe()
    with open(writer, "wb") as out:
        process = _context().Process(target=_child, args=(folder, argv, space, _Handle(out.fileno())))
        process.start()
    parts, end = [], time.monotonic() + LIMIT
    with open(reader, "rb", buffering=0) as pipe:
        while (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                parts.append(pipe.read(1 << 16))
                if not parts[-1]:
                    break
    process.join(max(0.1, end - time.monotonic()))
    hung = process.is_alive()
    process.kill()
    process.join()
    return (None if hung else process.exitcode), b"".join(parts).decode(errors="replace")


class _Handle:
    """A file descriptor that is handed to a forked server's child."""

    def __init__(self, number: int):
        self.sent = reduction.DupFd(number)

    def fileno(self) -> int:
        return int(self.sent.detach())


def result(folder: Path, command: str) -> Any:
    """What a command wrote that counts: the losses of training, or the PSNR of every frame."""
    path = folder / RESULTS[command]
    if not path.is_file():
        return None
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return [line.split(",")[3:6] for line in path.read_text().splitlines()]  # loss, mse, kl


# ------------------------------------------------------------------------------------------------ the healthy example


@cache
def healthy() -> Path:
    """A folder with a small data set and a run on it, whose results are kept beside them; made once in a process."""
    from labutils.dance import make_data

    root = Path(tempfile.mkdtemp(prefix="labutils-faults-"))
    make_data(root / "data", train=40, val=16, test_sequences=1, test_frames=16, supersample=1, progress=False)
    status, text = run(root, (*TRAIN[:3], "--save_root", "ckpts", *TRAIN[5:]))
    if status != 0:
        raise LabError(f"the healthy example does not train: {text[-2000:]}")
    shutil.rmtree(root / "data" / ".cache-32x64", ignore_errors=True)
    return root


@cache
def right(argv: tuple[str, ...]) -> Any:
    """The result of a command on the healthy example."""
    with tempfile.TemporaryDirectory(prefix="labutils-faults-") as place:
        folder = _copy(Path(place))
        status, text = run(folder, argv)
        if status != 0:
            raise LabError(f"{' '.join(argv)} fails on the healthy example: {text[-2000:]}")
        return result(folder, argv[0])


def _copy(place: Path) -> Path:
    folder = place / "case"
    shutil.copytree(healthy(), folder)
    return folder


def judge(case: Case) -> Outcome:
    """Spoil a copy of the healthy example, run the command, and say what came of it."""
    with tempfile.TemporaryDirectory(prefix="labutils-faults-") as place:
        folder = _copy(Path(place))
        case.spoil(folder)
        status, text = run(folder, case.command, case.space)
        if status is None:
            return Outcome("hang", text[-500:])
        if "Traceback (most recent call last)" in text or status not in (0, 2):
            return Outcome("traceback", f"exit {status}: {text[-1500:]}")
        if status == 2:
            lines = [line for line in text.splitlines() if line.startswith("error: ")]
            good = len(lines) == 1 and "\x1b" not in text and "weights_only" not in text
            verdict = REFUSED if good or text.startswith("usage:") else "traceback"
        else:
            verdict = SAME if result(folder, case.command[0]) == right(_plain(case.command)) else "silent"
        return Outcome(verdict if verdict in case.expected | {"traceback"} else "silent", text[-1500:])


def _plain(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The healthy command of a case: flags that are tried out stand at its end."""
    for plain in (RESUME, TRAIN, VALIDATE, TEST):
        if list(argv[: len(plain)]) == plain:
            return tuple(plain)
    raise ValueError(argv)


# ---------------------------------------------------------------------------------------------------------- the cases

FOLDERS = {
    "train/train_img": TRAIN, "train/train_label": TRAIN, "val/val_img": VALIDATE, "val/val_label": VALIDATE,
    "test/test_label/0": TEST, "test/test_img/0": TEST, "test/test_gt/0": TEST,
}  # fmt: skip
ONLY = frozenset


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def _header(path: Path, width: int, height: int) -> None:
    """A PNG that claims another size."""
    data = bytearray(path.read_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    path.write_bytes(data)


def _as_mode(path: Path, mode: str) -> None:
    """The same picture, stored otherwise."""
    image = Image.open(path).convert("RGB")
    if mode == "P":
        colours = image.getcolors(256)
        image = image.quantize(256, dither=Image.Dither.NONE) if colours else image.convert("RGBA")
    else:
        image = image.convert(mode)
    image.save(path)


def _replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


PICTURES: dict[str, tuple[Callable[[Path, random.Random], object], frozenset[str]]] = {
    "cut off": (lambda p, r: os.truncate(p, r.randrange(p.stat().st_size)), ONLY({REFUSED})),
    "noise": (lambda p, r: p.write_bytes(r.randbytes(r.randrange(5000))), ONLY({REFUSED})),
    "another size": (lambda p, r: Image.open(p).resize((r.randint(1, 200), 33)).save(p), ONLY({REFUSED})),
    "claims 60000 x 60000": (lambda p, r: _header(p, 60000, 60000), ONLY({REFUSED})),
    "claims no width": (lambda p, r: _header(p, 0, 32), ONLY({REFUSED})),
    "a dangling link": (lambda p, r: _replaced(p, lambda q: q.symlink_to("nowhere.png")), ONLY({REFUSED})),
    "a link to itself": (lambda p, r: _replaced(p, lambda q: q.symlink_to(q.name)), ONLY({REFUSED})),
    "a pipe": (lambda p, r: _replaced(p, os.mkfifo), ONLY({REFUSED})),
    "a folder": (lambda p, r: _replaced(p, Path.mkdir), ONLY({REFUSED})),
    "twice the number": (lambda p, r: shutil.copy(p, p.with_name(f"x0{p.name}")), ONLY({REFUSED})),
    "no number": (lambda p, r: p.rename(p.with_name("frame.png")), ONLY({REFUSED})),
    "as RGBA": (lambda p, r: _as_mode(p, "RGBA"), ONLY({SAME})),
    "as palette": (lambda p, r: _as_mode(p, "P"), ONLY({SAME})),
}
FOREIGN = (".DS_Store", "._frame1.png", "Thumbs.db", "__MACOSX/x.png", ".ipynb_checkpoints/1.png", "readme.txt")


@st.composite
def pictures(draw: st.DrawFn) -> Case:
    """One image of one folder is spoiled."""
    where, what = draw(st.sampled_from(sorted(FOLDERS))), draw(st.sampled_from(sorted(PICTURES)))
    spoil, expected = PICTURES[what]
    k, seed = draw(st.integers(0, 39)), draw(st.integers(0, 2**32))

    def change(folder: Path) -> None:
        images = _images(folder / "data" / where)
        spoil(images[k % len(images)], random.Random(seed))

    return Case("pictures", f"{what}: image {k} of {where}, seed {seed}", tuple(FOLDERS[where]), change, expected)


@st.composite
def folders(draw: st.DrawFn) -> Case:
    """An image is missing, of both folders or of one; a file is there that does not belong to the data set."""
    where = draw(st.sampled_from(["train", "val"]))
    command = tuple(TRAIN if where == "train" else VALIDATE)
    img, label = f"data/{where}/{where}_img", f"data/{where}/{where}_label"
    kind = draw(st.sampled_from(["missing", "shifted", "foreign", "empty", "gone"]))
    i, j = draw(st.integers(1, 14)), draw(st.integers(1, 14))

    def change(folder: Path) -> None:
        if kind == "missing":
            _images(folder / img)[i].unlink()
        elif kind == "shifted":  # equal counts, other numbers
            _images(folder / img)[i].unlink()
            _images(folder / label)[i - 1 if i == j else j].unlink()
        elif kind == "foreign":
            path = folder / img / FOREIGN[i % len(FOREIGN)]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"not an image")
        elif kind == "empty":
            for path in _images(folder / label):
                path.unlink()
        else:
            shutil.rmtree(folder / label)

    expected = ONLY({SAME}) if kind == "foreign" else ONLY({REFUSED})
    return Case("folders", f"{kind} {i} {j} in {where}", command, change, expected)


@st.composite
def truths(draw: st.DrawFn) -> Case:
    """The true test frames as CSV, of which one number is another text, or some are missing."""
    text = draw(
        st.sampled_from(["nan", "inf", "-inf", "-1", "2", "1e400", "x", "0x1p3", "", "1 2", "ok", "cut", "long"])
    )
    place = draw(st.integers(0, 10**6))

    def change(folder: Path) -> None:
        truth = folder / "data/test/test_gt/0"
        frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in _images(truth)])  # (T, H, W, 3)
        numbers = [repr(v) for v in (frames.transpose(0, 3, 1, 2).reshape(-1) / 255).tolist()]
        if text == "cut":
            del numbers[place % len(numbers) :]
        elif text == "long":
            numbers[place % len(numbers)] = f"{float(numbers[place % len(numbers)]):.17f}" + "0" * 200_000
        elif text != "ok":
            numbers[place % len(numbers)] = text
        shutil.rmtree(truth)
        (folder / "data/Demo_Test").mkdir()
        (folder / "data/Demo_Test/GT0.csv").write_text(",".join(numbers) + "\n")

    expected = {"ok": ONLY({SAME}), "long": EITHER}.get(text, ONLY({REFUSED}))
    return Case("truth csv", f"{text!r} at {place}", tuple(TEST), change, expected)


@st.composite
def caches(draw: st.DrawFn) -> Case:
    """The cache of a data set is not what it was, or the images are not: it is made anew."""
    kinds = ["empty", "cut", "noise", "dtype", "shape", "note", "note of another kind", "swapped images", "gone"]
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**32))

    def change(folder: Path) -> None:
        run(folder, (*VALIDATE, "--save_root", "first"))  # makes the cache
        rng = random.Random(seed)
        for path in sorted((folder / "data").glob(".cache-*/*.npy")):
            note = path.with_suffix(".json")
            if kind == "empty":
                path.write_bytes(b"")
            elif kind == "cut":
                os.truncate(path, rng.randrange(path.stat().st_size))
            elif kind == "noise":
                path.write_bytes(rng.randbytes(300))
            elif kind == "dtype":
                np.save(path, np.load(path).astype(np.float32))
            elif kind == "shape":
                np.save(path, np.load(path)[:, ::2])
            elif kind == "note":
                note.write_bytes(note.read_bytes()[: rng.randrange(10)])
            elif kind == "note of another kind":
                note.write_text(rng.choice(["[]", "3", "null", '"x"', '{"fingerprint": 3}']))
            elif kind == "gone":
                path.unlink()
        if kind == "swapped images":  # and back, so that the result must be the same
            a, b, *_ = _images(folder / "data/val/val_img")
            for _ in range(2):
                one, other = a.read_bytes(), b.read_bytes()
                a.write_bytes(other)
                b.write_bytes(one)

    return Case("caches", f"{kind}, seed {seed}", tuple(VALIDATE), change, ONLY({SAME}))


ODD: list[Any] = [None, -5, 0, 2**70, math.nan, math.inf, "x", "", [], [1], {}, {"a": 1}, True, 1.5, b"x"]


@st.composite
def checkpoints(draw: st.DrawFn) -> Case:
    """A checkpoint is damaged, or one of its values is an odd one."""
    command = draw(st.sampled_from([VALIDATE, TEST, RESUME]))
    kind = draw(st.sampled_from(["cut", "noise", "byte", "odd", "missing", "weights", "setting", "zip", "pickle"]))
    seed, odd = draw(st.integers(0, 2**32)), draw(st.integers(0, len(ODD) - 1))

    def change(folder: Path) -> None:
        import torch

        path, rng = folder / "ckpts/last.ckpt", random.Random(seed)
        if kind == "cut":
            os.truncate(path, rng.randrange(path.stat().st_size))
        elif kind == "noise":
            path.write_bytes(rng.randbytes(rng.randrange(3000)))
        elif kind == "byte":
            data = bytearray(path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
        elif kind == "zip":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("a", b"b")
        elif kind == "pickle":  # would write a file if it was executed
            path.write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
        else:
            checkpoint = torch.load(path, weights_only=True)
            if kind == "weights":
                name = rng.choice(sorted(checkpoint["state_dict"]))
                checkpoint["state_dict"][name] = ODD[odd] if odd % 2 else torch.full((2, 3), math.nan)
            else:
                where = checkpoint["config"] if kind == "setting" else checkpoint
                name = rng.choice(sorted(where))
                if kind == "missing":
                    del where[name]
                else:
                    where[name] = ODD[odd]
            torch.save(checkpoint, path)

    expected = ONLY({REFUSED}) if kind in ("noise", "zip", "pickle", "weights", "cut") else EITHER
    return Case("checkpoints", f"{kind}, seed {seed}, {ODD[odd]!r}", tuple(command), change, expected)


def _values() -> SearchStrategy[str]:
    odd = [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e400",
        "abc",
        "",
        "-0.5",
        "1.5",
        "True",
        "None",
        "²",
        "x" * 5000,
        "-9" * 30,
    ]
    return st.sampled_from(odd) | st.text(max_size=5).filter(lambda text: "\x00" not in text)


@st.composite
def flags(draw: st.DrawFn) -> Case:
    """A flag has an odd value.  One that is allowed may give another result, but no other fault."""
    import dataclasses

    from labutils.config import LabConfig

    fields = [
        f.name for f in dataclasses.fields(LabConfig) if f.name not in ("save_root", "quiet", "device", "compile")
    ]
    name, value = draw(st.sampled_from(fields)), draw(_values())
    return Case("flags", f"--{name} {value!r}", (*TRAIN, f"--{name}={value}"), lambda folder: None)


@st.composite
def full_disks(draw: st.DrawFn) -> Case:
    """No file can grow beyond some bytes, as on a full disk."""
    command = draw(st.sampled_from([TRAIN, VALIDATE, TEST]))
    space = draw(st.sampled_from([0, 1, 100, 1000, 5000, 20_000, 100_000, 400_000]))
    return Case("full disk", f"{space} bytes", tuple(command), lambda folder: None, EITHER, space)


AREAS: dict[str, Callable[[], SearchStrategy[Case]]] = {
    "pictures": pictures, "folders": folders, "truth csv": truths, "caches": caches, "checkpoints": checkpoints,
    "flags": flags, "full disk": full_disks,
}  # fmt: skip


def lenient(case: Case, outcome: Outcome) -> bool:
    """Whether an outcome is no fault: a setting that is allowed may well give another result."""
    return outcome.verdict in case.expected or (case.area == "flags" and outcome.verdict == "silent")


def explore(area: str, cases: int, seed: int = 0) -> tuple[Counter[str], list[tuple[Case, Outcome]]]:
    """Judge so many cases of an area: verdict -> count, and the faults."""
    count: Counter[str] = Counter()
    wrong: list[tuple[Case, Outcome]] = []

    @settings(max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(AREAS[area]())
    def attempt(case: Case) -> None:
        outcome = judge(case)
        fine = lenient(case, outcome)
        count[outcome.verdict if outcome.verdict in ("traceback", "hang") or not fine else "fine"] += 1
        if not fine:
            wrong.append((case, outcome))

    attempt._hypothesis_internal_use_seed = seed  # type: ignore[attr-defined]
    attempt()
    return count, wrong


# ------------------------------------------------------------------------------------------------------ killed at once


def killed(seed: int, mode: str, stage: str) -> str:
    """Kill -9 at a random moment of a command, start it again, and say what is wrong then; "" where nothing is.

    Args:
        mode: "clips" or "replay".
        stage: "make-data", "train", "validate" or "pack".
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="labutils-faults-") as place:
        folder = _copy(Path(place))
        argv = {
            "make-data": "make-data --out fresh --profile smoke --train 40 --quiet".split(),
            "train": [*TRAIN, "--mode", mode, "--steps", "30", "--num_epoch", "10", "--per_save", "1"],
            "validate": VALIDATE,
        }[stage]
        environment = {**os.environ, "LAB_PROFILE": "smoke", "PYTHONPATH": str(Path(__file__).parents[2]),
                       "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [sys.executable, "-m", "labutils", *argv]
        options: dict[str, Any] = dict(cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process = subprocess.Popen(command, **options)
        time.sleep(rng.uniform(1.5, 7.0))
        process.kill()
        process.communicate()
        again = command
        if stage == "train" and (folder / "run/last.ckpt").is_file():
            again = [*command, "--ckpt_path", "run/last.ckpt"]
        try:
            done = subprocess.run(again, **options, timeout=10 * LIMIT, text=True)
        except subprocess.TimeoutExpired:
            return "the second start hangs"
        if done.returncode != 0:
            return f"the second start ends with {done.returncode}: {done.stderr[-500:]}"
        left = [p.name for p in folder.rglob("*.part")]
        return f"left behind: {', '.join(left)}" if left else ""


# --------------------------------------------------------------------------------------------------------- the command


def faults_arguments(parser: argparse.ArgumentParser) -> None:
    """spoil files, fill the disk and kill processes, and count what goes wrong"""
    parser.description = """
Try the lab's commands on spoiled input: pictures, folders, truth, caches, checkpoints, flags, a full disk; then kill
them with signal 9 at random moments and start them again. Prints a table of what came of it and every case that ended
in a traceback, a hang, or a wrong result in silence. The exit status is 1 where there was one.

example:  python -m labutils faults --cases 1000 --kills 40
writes:   nothing"""
    parser.add_argument("--cases", type=int, default=140, metavar="N", help="spoiled inputs (%(default)s)")
    parser.add_argument("--kills", type=int, default=8, metavar="N", help="processes that are killed (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the cases (%(default)s)")
    parser.add_argument("--only", choices=sorted(AREAS), help="one area of the table")


def faults(args: argparse.Namespace) -> int:
    """Print the table; 1 where something went wrong."""
    areas = [args.only] if args.only else list(AREAS)
    bad = 0
    print("| area | tried | refused or same | tracebacks | hangs | silent |\n|---|---|---|---|---|---|", flush=True)
    for area in areas:
        count, wrong = explore(area, max(1, args.cases // len(areas)), args.seed)
        cells = (count.total(), *(count[k] for k in ("fine", "traceback", "hang", "silent")))
        print(f"| {area} | " + " | ".join(map(str, cells)) + " |", flush=True)
        for case, outcome in wrong:
            print(f"  {outcome.verdict}: {case!r}\n    {outcome.text.strip()[-600:]}", file=sys.stderr, flush=True)
        bad += len(wrong)
    stages = [("make-data", ""), ("train", "clips"), ("train", "replay"), ("validate", "")]
    for k in range(args.kills):
        stage, mode = stages[k % len(stages)]
        if text := killed(args.seed + k, mode, stage):
            bad += 1
            print(f"  killed in {stage} {mode}, seed {args.seed + k}: {text}", file=sys.stderr, flush=True)
    print(f"killed and started again: {args.kills}; wrong in all: {bad}")
    return int(bad > 0)
