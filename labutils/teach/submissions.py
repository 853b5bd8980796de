"""What students hand in: folders, zips or notebooks, of which nothing but the answer cells is read."""

import ast
import json
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.teach.notebooks import exercise_of

MAX_BOOK = 32_000_000  # bytes of one notebook
MAX_BOOKS = 200  # notebooks of one submission
MAX_ANSWER = 50_000  # characters of one answer
MARKERS = re.compile(r"^(\s*)#.*\b(?:NBVAL_|PYTEST_VALIDATE_)[A-Z_]*.*$", re.M | re.I)
SUSPECT = re.compile(
    r"\b(labutils|get_ipython|globals|locals|vars|builtins|importlib|subprocess|ctypes|inspect|sys|os|gc|socket|open"
    r"|eval|exec|setattr|_getframe|__(?!init__|name__|len__|call__|getitem__|pycache__)\w+__|threading|multiprocessing|hmac|my\.\w+|reference)\b"
)


@dataclass
class Submission:
    """What one student handed in, and what it is worth.

    Attributes:
        answers: exercise -> source of the answer cell, where there is one to judge.
        verdicts: exercise -> "passed" or why not; of those without an answer, as soon as they are read.
        remarks: what a person should know.
    """

    name: str
    answers: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """How many exercises passed."""
        return sum(verdict == "passed" for verdict in self.verdicts.values())

    @property
    def why(self) -> str:
        """What did not pass, and why not."""
        return "; ".join(f"{number} {verdict}" for number, verdict in self.verdicts.items() if verdict != "passed")

    def line(self, width: int = 24) -> str:
        """The result in one line."""
        text = f"{self.name:{width}} {self.passed:3} of {len(self.verdicts)}"
        return "  ".join([text, *filter(None, [self.why]), *(f"[{remark}]" for remark in self.remarks)])


def submissions(place: Path) -> list[Path]:
    """The submissions at ``place``: itself where it is a zip or holds notebooks, else each folder and file in it.

    Raises:
        LabError: there is none.
    """
    if not place.exists():
        raise LabError(f"{place} is missing; name a folder of submissions, or one submission")
    homes = ("*.ipynb", "notebooks/*.ipynb", "source/notebooks/*.ipynb")  # the last as `pack` writes it
    if place.is_file() or any(path for home in homes for path in place.glob(home)):
        return [place]
    found = sorted(
        (p for p in place.iterdir() if not p.name.startswith(".") and (p.is_dir() or p.suffix in (".zip", ".ipynb"))),
        key=lambda p: p.name.lower(),
    )
    if not found:
        raise LabError(f"{place} holds no submissions: folders of notebooks, .zip or .ipynb files")
    return found


def collect(place: Path, stubs: Mapping[str, tuple[str, str, str]]) -> Submission:
    """Read a submission.

    Args:
        place: a folder, a zip or a notebook.
        stubs: exercise -> (name of its notebook, source of its answer cell before anybody has answered, our answer).
    """
    found = Submission(place.name if place.is_dir() else place.stem)
    candidates = _candidates(place, found.remarks)
    for number, (name, stub, ours) in stubs.items():
        answers = candidates.get(number, [])
        answers = [(n, s) for n, s in answers if s.strip() != stub.strip()] or answers
        if len({s for _, s in answers}) > 1:
            answers = [(n, s) for n, s in answers if n == name] or answers
        sources = {s for _, s in answers}
        if not sources:
            found.verdicts[number] = "missing"
        elif len(sources) > 1:
            found.verdicts[number] = f"{len(sources)} different answers"
        elif (source := sources.pop()).strip() == stub.strip() or not source.strip():
            found.verdicts[number] = "to do"
        elif len(source) > MAX_ANSWER:
            found.verdicts[number] = f"longer than {MAX_ANSWER} characters"
        elif (clean := neutral(source)) is None:
            found.verdicts[number] = "does not parse"
        else:
            found.answers[number] = clean
            words = sorted({m[0] for m in SUSPECT.finditer(clean)} - {m[0] for m in SUSPECT.finditer(stub + ours)})
            if words:
                found.remarks.append(f"look at {number}: it names {', '.join(words[:6])}")
    return found


def neutral(source: str) -> str | None:
    """An answer without marks for nbval and without IPython's magics; None where it is no Python then."""
    source = MARKERS.sub(r"\1#", source.replace("\r\n", "\n").replace("\r", "\n"))
    for text in (source, re.sub(r"^([ \t]*)([%!?].*|.*\?[ \t]*)$", r"\1pass  # \2", source, flags=re.M)):
        try:
            ast.parse(text)
            return text
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _candidates(place: Path, remarks: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Exercise -> (name of the notebook, source) of each answer cell that a submission holds."""
    candidates: dict[str, list[tuple[str, str]]] = {}
    count = 0
    try:
        for inside, data in _files(place, remarks):
            parts = PurePosixPath(inside).parts
            if "__MACOSX" in parts or ".ipynb_checkpoints" in parts or parts[-1].startswith("."):
                continue
            count += 1
            if count > MAX_BOOKS:
                remarks.append(f"more than {MAX_BOOKS} notebooks; the rest was left out")
                break
            if len(data) > MAX_BOOK:
                remarks.append(f"{inside} is larger than {MAX_BOOK / 1e6:g} MB and was left out")
                continue
            try:
                for number, source in _answers(data):
                    candidates.setdefault(number, []).append((parts[-1], source))
            except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
                remarks.append(f"{inside} is no notebook: {type(error).__name__}")
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        remarks.append(f"cannot be read: {str(error)[:80] or type(error).__name__}")
    return candidates


def _files(place: Path, remarks: list[str]) -> Iterator[tuple[str, bytes]]:
    """(path inside, content) of each notebook of a submission, never more than ``MAX_BOOK`` bytes; nothing unpacked."""
    if place.is_dir():
        for path in sorted(place.rglob("*.ipynb")):
            inside = path.relative_to(place).as_posix()
            if path.is_symlink() or not path.resolve().is_relative_to(place.resolve()):
                remarks.append(f"{inside} is a link or leads out of the submission and was left out")
            elif path.is_file():
                with path.open("rb") as file:
                    yield inside, file.read(MAX_BOOK + 1)
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename.replace("\\", "/"))
                if member.is_dir() or name.suffix != ".ipynb":
                    continue
                if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
                    remarks.append(f"{str(name)[:80]} is no safe member of a zip and was left out")
                    continue
                with archive.open(member) as member_file:
                    yield str(name), member_file.read(MAX_BOOK + 1)
    else:
        with place.open("rb") as file:
            yield place.name, file.read(MAX_BOOK + 1)


def _answers(data: bytes) -> list[tuple[str, str]]:
    """(exercise, source) of each answer cell in the text of a notebook."""
    found = []
    for cell in json.loads(data.decode("utf-8"))["cells"]:
        ids = (cell.get("id"), (cell.get("metadata") or {}).get("id"))  # the second is where Colab keeps it
        number = next((n for n in (exercise_of(NotebookNode(id=i), "answer") for i in ids) if n), None)
        if number and cell.get("cell_type") == "code":
            source = cell["source"]
            found.append((number, source if isinstance(source, str) else "".join(source)))
    return found
