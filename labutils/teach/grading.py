"""From the one source of the notebooks: the student edition, and the grading of what comes back.

Grading takes a submission's answer cells, by their ids, into the pristine notebook; nothing else of a submission is
used, its labutils and its check cells least of all.  That notebook runs in a process of its own, in a temporary copy,
under pytest with nbval, with other random inputs than the students saw; what counts is the JUnit report, read against
the list of expected checks.  A check that is missing from it, skipped, or anything but passed scores 0.

This runs the students' code on your machine, with your rights.  What is limited is time, not what the code may read,
write or send: grade in a container, or under an account of its own without network.  ``guard`` tells what an answer
can and cannot do to the check.
"""

import ast
import csv
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import nbformat
from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.teach import guard, notebooks
from labutils.teach.notebooks import ROOT, tags

# ---------------------------------------------------------------------------------------------------- student edition

BEGIN = re.compile(r"(\s*)# SOLUTION(?:: (.*\S))?\s*")
END = re.compile(r"\s*# END SOLUTION\s*")
HANDED_OUT = ("README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock", "environment.yml",
              ".gitignore", "data/README.md", "labutils", "notebooks")  # fmt: skip
STAMP = ".student-edition"


def without_solution(source: str, number: str) -> str:
    """A cell's source with each block ``# SOLUTION`` … ``# END SOLUTION`` replaced.

    By the text after ``# SOLUTION:`` where there is one, else by ``raise NotImplementedError("exercise 3.1")``; it is
    indented like the marker.

    Raises:
        LabError: a block is not closed, or not opened.
    """
    lines: list[str] = []
    inside = False
    for line in source.split("\n"):
        begin, end = BEGIN.fullmatch(line), END.fullmatch(line)
        if (begin and inside) or (end and not inside):
            raise LabError(f"exercise {number}: {line.strip()!r} stands in the wrong place")
        if begin:
            lines.append(begin[1] + (begin[2] or f'raise NotImplementedError("exercise {number}")'))
        elif not end and not inside:
            lines.append(line)
        inside = bool(begin) or (inside and not end)
    if inside:
        raise LabError(f"exercise {number}: # SOLUTION is not followed by # END SOLUTION")
    return "\n".join(lines)


def student(book: NotebookNode, name: str = "notebook") -> NotebookNode:
    """The student edition of a notebook: no solutions, no outputs.

    Raises:
        LabError: the solutions are not marked as they must be, or a cell does not parse without them.
    """
    book = nbformat.from_dict(notebooks._plain(book))
    book.cells = [cell for cell in book.cells if "solution" not in tags(cell)]
    for cell in book.cells:
        if cell.cell_type == "code" and "SOLUTION" in cell.source:
            part = re.fullmatch(r"answer-(\d+)-(\d+)", cell.get("id", ""))
            cell.source = without_solution(cell.source, f"{part[1]}.{part[2]}" if part else cell.get("id", "?"))
            if wrong := notebooks.parses(cell.source):
                raise LabError(f"{name}, cell {cell.get('id')}: does not parse in the student edition: {wrong}")
    notebooks.clear(book)
    return book


def write_student(out: Path, folder: Path | None = None) -> list[Path]:
    """Write the folder to hand out: the notebooks without solutions, labutils, and all that ``make setup`` needs.

    The tests stay behind, because they hold right and wrong answers.

    Args:
        out: a folder that does not exist, is empty, or holds an earlier student edition, which is replaced.

    Raises:
        LabError: ``out`` is something else, or the notebooks hold no solutions to remove.
    """
    folder = notebooks.FOLDER if folder is None else folder
    paths = notebooks.find(folder=folder)
    if out.exists() and not (out.is_dir() and ((out / STAMP).is_file() or not any(out.iterdir()))):
        raise LabError(f"{out} is there and no student edition; choose another folder or remove it")
    books = {path.name: notebooks.read(path) for path in paths}
    if not any(_has_solutions(book) for book in books.values()):
        raise LabError(f"the notebooks in {folder} hold no solutions: this is a student edition already")
    editions = {name: student(book, name) for name, book in books.items()}
    if out.exists():
        shutil.rmtree(out)
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.ipynb", "*.part")
    for part in HANDED_OUT:
        source, target = folder if part == "notebooks" else ROOT / part, out / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=skip)
        elif source.is_file():
            shutil.copyfile(source, target)
    (out / STAMP).write_text("Made by `make student` from the lab's notebooks; made anew, this folder is replaced.\n")
    written = [out / "notebooks" / name for name in editions]
    for path in written:
        notebooks.write(path, editions[path.name])
    return written


def _has_solutions(book: NotebookNode) -> bool:
    return any(BEGIN.fullmatch(line) for cell in book.cells for line in cell.source.split("\n"))


def try_student(paths: Sequence[Path], say: Callable[[str], None] = print) -> None:
    """Run student notebooks: nothing may fail, and every check must say that it is to do.

    Raises:
        LabError: with everything that was wrong.
    """
    wrong = []
    for path in paths:
        try:
            done = notebooks.execute(notebooks.read(path), path.name, path.parent)
        except LabError as error:
            wrong.append(str(error))
            continue
        cells = [cell for cell in done.book.cells if "check" in tags(cell)]
        for cell in cells:
            text = "".join(out.get("text", "") for out in cell.outputs)
            number = cell.id.removeprefix("check-").replace("-", ".")
            if not text.startswith(f"to do {number}: ") or text.count("\n") != 1:
                wrong.append(f"{path.name}, cell {cell.id}: says {text.strip()[:80]!r}, not that it is to do")
        say(f"{path.stem:28} {done.seconds:6.1f} s  {len(cells)} exercises to do")
    if wrong:
        raise LabError("\n".join(["the student edition does not run as it must:", *wrong]))


# ------------------------------------------------------------------------------------------------- what was handed in

MAX_BOOK = 32_000_000  # bytes of one notebook
MAX_BOOKS = 200  # notebooks of one submission
MAX_ANSWER = 50_000  # characters of one answer
MARKERS = re.compile(r"^(\s*)#.*\b(?:NBVAL_|PYTEST_VALIDATE_)[A-Z_]*.*$", re.M | re.I)
SUSPECT = re.compile(
    r"\b(labutils|get_ipython|globals|locals|vars|builtins|importlib|subprocess|ctypes|inspect|sys|os|gc|socket|open"
    r"|eval|exec|setattr|_getframe|__(?!init__|name__|len__|call__|pycache__)\w+__|threading|multiprocessing|hmac)\b"
)


@dataclass
class Submission:
    """The answers of one student.

    Attributes:
        answers: exercise -> source of the answer cell.
        verdicts: exercise -> why it scores 0, where that is known before anything runs.
        remarks: what a person should know.
    """

    name: str
    answers: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def submissions(place: Path) -> list[Path]:
    """The submissions at ``place``: itself where it is a zip or holds notebooks, else each folder and file in it.

    Raises:
        LabError: there is none.
    """
    if not place.exists():
        raise LabError(f"{place} is missing; name a folder of submissions, or one submission")
    if place.is_file() or any(place.glob("*.ipynb")) or any(place.glob("notebooks/*.ipynb")):
        return [place]
    found = sorted(
        (p for p in place.iterdir() if not p.name.startswith(".") and (p.is_dir() or p.suffix in (".zip", ".ipynb"))),
        key=lambda p: p.name.lower(),
    )
    if not found:
        raise LabError(f"{place} holds no submissions: folders of notebooks, .zip or .ipynb files")
    return found


def _files(place: Path, remarks: list[str]) -> Iterator[tuple[str, bytes]]:
    """(path inside, content) of each notebook of a submission, never more than ``MAX_BOOK`` bytes; nothing unpacked."""
    if place.is_dir():
        for path in sorted(place.rglob("*.ipynb")):
            inside = path.relative_to(place).as_posix()
            if path.is_symlink() or any(p.is_symlink() for p in path.relative_to(place).parents if str(p) != "."):
                remarks.append(f"{inside} is a link and was left out")
            elif not path.resolve().is_relative_to(place.resolve()):
                remarks.append(f"{inside} leads out of the submission and was left out")
            elif path.is_file():
                with path.open("rb") as file:
                    yield inside, file.read(MAX_BOOK + 1)
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if member.is_dir() or path.suffix != ".ipynb":
                    continue
                if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
                    remarks.append(f"{str(path)[:80]} is no safe member of a zip and was left out")
                    continue
                with archive.open(member) as file:
                    yield str(path), file.read(MAX_BOOK + 1)
    else:
        with place.open("rb") as file:
            yield place.name, file.read(MAX_BOOK + 1)


def collect(place: Path, stubs: Mapping[str, tuple[str, str]]) -> Submission:
    """Read a submission.

    Args:
        place: a folder, a zip or a notebook.
        stubs: exercise -> (name of its notebook, source of its answer cell before anybody has answered).
    """
    found = Submission(place.name if place.is_dir() else place.stem)
    candidates: dict[str, list[tuple[str, str]]] = {}
    count = 0
    try:
        for inside, data in _files(place, found.remarks):
            parts = PurePosixPath(inside).parts
            if "__MACOSX" in parts or ".ipynb_checkpoints" in parts or parts[-1].startswith("."):
                continue
            count += 1
            if count > MAX_BOOKS:
                found.remarks.append(f"more than {MAX_BOOKS} notebooks; the rest was left out")
                break
            if len(data) > MAX_BOOK:
                found.remarks.append(f"{inside} is larger than {MAX_BOOK / 1e6:g} MB and was left out")
                continue
            try:
                cells = _answers(data)
            except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
                found.remarks.append(f"{inside} is no notebook: {type(error).__name__}")
                continue
            for number, source in cells:
                candidates.setdefault(number, []).append((parts[-1], source))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        found.remarks.append(f"cannot be read: {str(error)[:80] or type(error).__name__}")
    for number, (name, stub) in stubs.items():
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
            words = sorted({m[0] for m in SUSPECT.finditer(clean)} - {m[0] for m in SUSPECT.finditer(stub)})
            if words:
                found.remarks.append(f"look at {number}: it names {', '.join(words[:6])}")
    return found


def _answers(data: bytes) -> list[tuple[str, str]]:
    """(exercise, source) of each answer cell in the text of a notebook."""
    book = json.loads(data.decode("utf-8"))
    found = []
    for cell in book["cells"]:
        if cell.get("cell_type") != "code":
            continue
        ids = (cell.get("id"), (cell.get("metadata") or {}).get("id"))  # the second is where Colab keeps it
        part = next((m for m in (re.fullmatch(r"answer-(\d+)-(\d+)", str(i)) for i in ids) if m), None)
        if part:
            source = cell["source"]
            found.append((f"{part[1]}.{part[2]}", source if isinstance(source, str) else "".join(source)))
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


# ------------------------------------------------------------------------------------------------------------ running


@dataclass
class Limits:
    """What one run may take: seconds for a cell and for a notebook."""

    cell: float = 60
    notebook: float = 900


@dataclass
class Book:
    """A notebook to grade in: ``base`` without answers, and its exercises in order."""

    name: str
    base: NotebookNode
    exercises: list[str]


INCONCLUSIVE = "not reached"
OVER = "time is over"
TAMPERED = "replaced a function that checks rely on"
STOPPED = "ran too long or ended the kernel"


def books(folder: Path) -> tuple[list[Book], dict[str, str]]:
    """The notebooks that hold exercises, and the solutions where they are still there (exercise -> source).

    Raises:
        LabError: a check cell is not as it must be.
    """
    from labutils import checks

    found, solutions = [], {}
    for path in notebooks.find(folder=folder):
        book = notebooks.read(path)
        base = student(book, path.name)
        numbers = []
        for cell in base.cells:
            part = re.fullmatch(r"check-(\d+)-(\d+)", cell.get("id", ""))
            if not part:
                continue
            number = f"{part[1]}.{part[2]}"
            call = notebooks.check_call(cell.source)
            known = checks.EXERCISES.get(number)
            if call is None or known is None or getattr(checks, call.func.attr, None) is not known:
                raise LabError(f"{path.name}, cell {cell.id}: is not the call of the check of exercise {number}")
            numbers.append(number)
        if numbers:
            found.append(Book(path.name, base, numbers))
        for cell in book.cells:
            part = re.fullmatch(r"answer-(\d+)-(\d+)", cell.get("id", ""))
            if part and _has_solutions(NotebookNode(cells=[cell])):
                solutions[f"{part[1]}.{part[2]}"] = cell.source
    return found, solutions


def _graded(book: Book, answers: Mapping[str, str], name: str, secret: str, arm: str) -> NotebookNode:
    """The notebook that runs: guard, the cells of ``base`` with these answers up to the last check, checks by guard."""
    graded = nbformat.from_dict(notebooks._plain(book.base))
    last = max(k for k, cell in enumerate(graded.cells) if "check" in tags(cell))
    graded.cells = [cell for cell in graded.cells[: last + 1] if cell.cell_type == "code"]
    for cell in graded.cells:
        kind, _, dashed = cell.get("id", "").partition("-")
        number = dashed.replace("-", ".")
        cell.metadata = nbformat.from_dict({})
        if kind == "answer" and number in answers:
            cell.source = answers[number]
        elif kind == "check" and number in book.exercises:
            call = notebooks.check_call(cell.source)
            given = ", ".join(ast.unparse(part) for part in (*call.args, *call.keywords))
            cell.source = f"{notebooks.MARK}\n{name}({number!r}, {given})"
            title = notebooks.passed_line(number).rstrip("\n")
            text = f"{title} · {guard.token(secret, number)}\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
            cell.execution_count = 1  # without it nbval compares nothing
        else:
            cell.source = MARKERS.sub(r"\1#", cell.source)
    graded.cells.insert(0, nbformat.v4.new_code_cell(arm, id="guard"))
    return graded


def run(
    book: Book, answers: Mapping[str, str], home: Path, seed: int, limits: Limits, keep: bool = False
) -> dict[str, str]:
    """Run one notebook with these answers.

    Args:
        home: data sets and models; the run uses a copy, or with ``keep`` the folder itself.

    Returns:
        Exercise -> "passed", or why not; ``INCONCLUSIVE`` where an earlier cell kept it from being judged.
    """
    run_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as scratch:
        place = Path(scratch)
        if not keep:
            home = shutil.copytree(home, place / "home")
        for name in ("notebooks", "tmp", "report"):
            (place / name).mkdir()
        path, secret_file = place / "notebooks" / book.name, place / "tmp" / run_id
        secret_file.write_text(secret)
        arm = (
            f"from labutils.teach.guard import arm as _{run_id}\n"
            f"_{run_id} = _{run_id}({str(secret_file)!r}, {str(path)!r}, {seed})"
        )
        graded = _graded(book, answers, f"_{run_id}", secret, arm)
        nbformat.write(graded, path)
        (place / "pytest.ini").write_text("[pytest]\n")
        report = place / "report" / f"{secrets.token_hex(8)}.xml"
        command = [
            sys.executable, "-m", "pytest", "-q", "--color=no", "-c", "pytest.ini", "--rootdir=.", "-p", "nbval.plugin",
            "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={limits.cell:g}",
            f"--junitxml={report}", f"notebooks/{book.name}",
        ]  # fmt: skip
        with _process(command, place, _environment(place, home, seed, run_id), run_id) as process:
            try:
                process.wait(limits.notebook)
                late = False
            except subprocess.TimeoutExpired:
                late = True
        cells = [cell.id for cell in graded.cells]
        return _verdicts(report, cells, list(answers), late)


def _environment(place: Path, home: Path, seed: int, run_id: str) -> dict[str, str]:
    """What the run's processes see: nothing of this process's environment but where programs are."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "CONDA_PREFIX")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(place / "tmp"), "TMPDIR": str(place / "tmp"), "IPYTHONDIR": str(place / "tmp" / "ipython"),
        "JUPYTER_CONFIG_DIR": str(place / "tmp" / "config"), "JUPYTER_DATA_DIR": str(place / "tmp" / "data"),
        "JUPYTER_RUNTIME_DIR": str(place / "tmp" / "runtime"), "MPLCONFIGDIR": str(place / "tmp" / "matplotlib"),
        "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1", "LAB_HOME": str(home), "LAB_PROFILE": "smoke",
        "LAB_CHECK_SEED": str(seed), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LAB_GRADING": run_id,
    }  # fmt: skip


@contextmanager
def _process(command: Sequence[str], place: Path, environment: dict[str, str], run_id: str) -> Iterator[Any]:
    """A process; at the end it and all that it started are gone, found by the run's number in their environment."""
    import psutil

    with open(place / "report" / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=os.name == "posix",
        )  # fmt: skip
        try:
            yield process
        finally:
            children = []
            try:
                children = psutil.Process(process.pid).children(recursive=True)
            except psutil.Error:
                pass
            for other in psutil.process_iter():
                try:
                    if other.environ().get("LAB_GRADING") == run_id:
                        children.append(other)
                except (psutil.Error, OSError):
                    continue
            if process.poll() is None:
                process.kill()
            for child in children:
                try:
                    child.kill()
                except psutil.Error:
                    continue
            process.wait()


def _verdicts(report: Path, cells: Sequence[str], wanted: Sequence[str], late: bool) -> dict[str, str]:
    """Read a JUnit report: exercise -> "passed" or why not.

    Args:
        cells: the ids of the notebook's cells, all of them code.
        late: the run was ended because its time was over.
    """
    nothing = OVER if late else INCONCLUSIVE
    try:
        tree = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return dict.fromkeys(wanted, nothing)
    outcome: dict[str, tuple[str, str]] = {}  # cell id -> kind, text
    for case in tree.iter("testcase"):
        number = re.fullmatch(r"Cell (\d+)", case.get("name", ""))
        if not number or int(number[1]) >= len(cells):
            continue
        part = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        key = cells[int(number[1])]
        text = "" if part is None else f"{part.get('message', '')}\n{part.text or ''}"
        known = outcome.get(key)
        if known is None or known[0] == "passed":  # an error while a test is torn down comes second
            outcome[key] = ("passed" if part is None else part.tag, text)
    verdicts, spoiled = {}, ""
    for key in cells:
        kind, text = outcome.get(key, ("absent", ""))
        exercise = key.partition("-")[2].replace("-", ".")
        halted = kind in ("error", "skipped", "absent") or re.search(
            r"Timeout of|plugin exception|Kernel dead|Kernel aborted", text.split("Traceback:")[0]
        )
        if key.startswith("check-") and exercise in wanted:
            if spoiled and spoiled != f"answer {exercise}":
                verdicts[exercise] = INCONCLUSIVE
            elif spoiled or halted:
                verdicts[exercise] = STOPPED
            else:
                verdicts[exercise] = "passed" if kind == "passed" else _reason(text)
        if halted and not spoiled:
            spoiled = f"answer {exercise}" if key.partition("-")[0] in ("answer", "check") else key
    return {exercise: verdicts.get(exercise, nothing) for exercise in wanted}


def _reason(text: str) -> str:
    """Why a check failed, from what it said; for a person to read, as the student's code may have said it."""
    text = re.sub(r"(?:\x1b|#x1B)\[[0-9;]*m", "", text)  # colours, as pytest writes them
    if replaced := re.search(r"^Tampered: ([\w.]+)", text, re.M):
        return f"{TAMPERED}: {replaced[1]}"
    if re.search(r"\bto do \d+\.\d+: ", text):
        return "to do"
    told = (r"^\s*got\s+(\w*Error: .*)$", r"^\s*likely\s+(\S.*)$", r"^(\w*Error: .*)$")
    said = next((found for found in (re.search(pattern, text, re.M) for pattern in told) if found), None)
    return "wrong: " + re.sub(r"[^\x20-\x7e\u00a0-\uffff]", "", said[1])[:100] if said else "wrong"


def judge(book: Book, answers: Mapping[str, str], home: Path, seed: int, limits: Limits) -> dict[str, str]:
    """Run a notebook until every answer is judged: what one of them ends or hangs must not cost the others.

    What a run says for certain stands, and the rest runs again without the answers that are judged.
    """
    verdicts: dict[str, str] = {}
    pending = {number: answers[number] for number in book.exercises if number in answers}
    while pending:
        found = run(book, pending, home, seed, limits)
        firm = {n: v for n, v in found.items() if v not in (INCONCLUSIVE, OVER) and not v.startswith(TAMPERED)}
        tampered = next((n for n in pending if found[n].startswith(TAMPERED)), None)
        if tampered is not None:  # a function stays replaced: the first who is told so did it
            firm[tampered] = found[tampered]
        if not firm:  # nobody knows who stopped it: each alone
            for number, source in pending.items():
                alone = run(book, {number: source}, home, seed, limits)[number]
                firm[number] = "ended the run" if alone == INCONCLUSIVE else alone
        verdicts |= firm
        pending = {n: s for n, s in pending.items() if n not in verdicts}
    return verdicts


# ------------------------------------------------------------------------------------------------------------- grades


@dataclass
class Grade:
    """One student's result: exercise -> "passed" or why not."""

    name: str
    verdicts: dict[str, str]
    remarks: list[str]

    @property
    def passed(self) -> int:
        return sum(verdict == "passed" for verdict in self.verdicts.values())

    def line(self, width: int = 24) -> str:
        """The result in one line."""
        open_ = [f"{n} {v}" for n, v in self.verdicts.items() if v != "passed"]
        text = f"{self.name:{width}} {self.passed:3} of {len(self.verdicts)}"
        return "  ".join([text, *(["; ".join(open_)] if open_ else []), *(f"[{r}]" for r in self.remarks)])


def write_csv(path: Path, grades: Sequence[Grade], exercises: Sequence[str]) -> None:
    """A row for each student: name, number passed, 1 or 0 for each exercise, and why."""

    def cell(text: str) -> str:  # a spreadsheet would take these for a formula
        return f"'{text}" if text[:1] in "=+-@\t\r" else text

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "passed", "of", *exercises, "why", "remarks"])
        for grade in grades:
            why = "; ".join(f"{n} {v}" for n, v in grade.verdicts.items() if v != "passed")
            marks = [int(grade.verdicts[n] == "passed") for n in exercises]
            texts = [cell(why), cell("; ".join(grade.remarks))]
            table.writerow([cell(grade.name), grade.passed, len(exercises), *marks, *texts])


def grade(
    place: Path, out: Path, seed: int | None = None, limits: Limits | None = None, jobs: int = 1,
    folder: Path | None = None, say: Callable[[str], None] = print,
) -> list[Grade]:  # fmt: skip
    """Grade all submissions at ``place`` and write the table ``out``.

    Args:
        seed: of the checks' inputs; default: drawn, and said.
        jobs: submissions that run at the same time.
        folder: the pristine notebooks; default: the project's.

    Raises:
        LabError: there are no submissions, or the pristine notebooks cannot be used.
    """
    limits = limits or Limits()
    seed = secrets.randbelow(1_000_000) + 1 if seed is None else seed
    places = submissions(place)
    series, solutions = books(notebooks.FOLDER if folder is None else folder)
    exercises = [number for book in series for number in book.exercises]
    if not exercises:
        raise LabError("the notebooks hold no exercises")
    sources = {cell.get("id", ""): cell.source for book in series for cell in book.base.cells}
    home_of = {number: book.name for book in series for number in book.exercises}
    stubs = {n: (home_of[n], sources.get(f"answer-{n.replace('.', '-')}", "")) for n in exercises}
    say(f"{len(places)} submissions, {len(exercises)} exercises, check seed {seed}")
    with tempfile.TemporaryDirectory(prefix="grading-home-") as scratch:
        home = Path(scratch)
        say("First our own solutions, which also make data and models …")
        _reference(series, solutions, home, seed, limits, say)
        width = max(len(p.name) for p in places)

        def one(submission: Path) -> Grade:
            found = collect(submission, stubs)
            verdicts = dict(found.verdicts)
            for book in series:
                mine = {n: s for n, s in found.answers.items() if n in book.exercises}
                if mine:
                    verdicts |= judge(book, mine, home, seed, limits)
            return Grade(found.name, {n: verdicts.get(n, INCONCLUSIVE) for n in exercises}, found.remarks)

        grades = []
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for result in pool.map(one, places):
                grades.append(result)
                say(result.line(width))
    write_csv(out, grades, exercises)
    return grades


def _reference(
    series: Sequence[Book], solutions: Mapping[str, str], home: Path, seed: int, limits: Limits,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Grade the solutions themselves, once: it shows that they pass, and leaves data and models in ``home``."""
    for book in series:
        answers = {n: s for n, s in solutions.items() if n in book.exercises}
        patient = Limits(10 * limits.cell, 10 * limits.notebook)  # it is here that models are trained
        for number, verdict in run(book, answers, home, seed, patient, keep=True).items():
            if verdict != "passed":
                say(f"warning: our own solution of {number} does not pass ({verdict}); nobody's can be trusted to")
