"""Grading: what students handed in, judged in our own notebooks.

Grading takes a submission's answer cells, by their ids, into the pristine notebook; nothing else of a submission is
used, its labutils and its check cells least of all.  That notebook runs in a process of its own, in a temporary copy,
under pytest with nbval, with other random inputs than the students saw; what counts is the JUnit report, read against
the list of expected checks.  A check that is missing from it, skipped, or anything but passed scores 0.

This runs the students' code on your machine, with your rights.  What is limited is time, not what the code may read,
write or send: grade in a container, or under an account of its own without network.  ``guard`` tells what an answer
can and cannot do to the check.
"""

import ast
import copy
import csv
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import psutil
from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.teach import guard, notebooks, rules
from labutils.teach.notebooks import SOLUTION, cell_id, exercise_of
from labutils.teach.student import edition
from labutils.teach.submissions import MARKERS, Submission, collect, submissions

INCONCLUSIVE = "not reached"
OVER = "time is over"
TAMPERED = "replaced a function that checks rely on"
STOPPED = "ran too long or ended the kernel"


@dataclass
class Limits:
    """What one run may take: seconds for a cell and for a notebook."""

    cell: float = 60
    notebook: float = 900


@dataclass
class Book:
    """A notebook to grade in.

    Attributes:
        base: its student edition.
        stubs: exercise -> source of its answer cell in ``base``, in order.
        solutions: exercise -> our answer, where it is still there.
    """

    name: str
    base: NotebookNode
    stubs: dict[str, str]
    solutions: dict[str, str]


def books() -> list[Book]:
    """The notebooks that hold exercises.

    Raises:
        LabError: a check cell is not as it must be.
    """
    found = []
    for path in notebooks.find():
        book = notebooks.read(path)
        base = edition(book, path.name)
        numbers = []
        for cell in base.cells:
            if number := exercise_of(cell, "check"):
                if wrong := rules.wrong_call(cell.source, number):
                    raise LabError(f"{path.name}, cell {cell.id}: {wrong}")
                numbers.append(number)
        if numbers:
            sources = {cell.get("id", ""): cell.source for cell in base.cells}
            stubs = {number: sources.get(cell_id("answer", number), "") for number in numbers}
            answers = {exercise_of(cell, "answer"): cell.source for cell in book.cells if SOLUTION.search(cell.source)}
            found.append(Book(path.name, base, stubs, {n: answers[n] for n in numbers if n in answers}))
    return found


def _graded(book: Book, answers: Mapping[str, str], name: str, secret: str, arm: str) -> NotebookNode:
    """The notebook that runs: guard, the cells of ``base`` with these answers up to the last check, checks by guard."""
    graded = copy.deepcopy(book.base)
    last = max(k for k, cell in enumerate(graded.cells) if exercise_of(cell, "check"))
    graded.cells = [cell for cell in graded.cells[: last + 1] if cell.cell_type == "code"]
    for cell in graded.cells:
        cell.metadata = nbformat.from_dict({})
        number, check = exercise_of(cell, "answer"), exercise_of(cell, "check")
        if number and number in answers:
            cell.source = answers[number]
        elif check and (call := notebooks.check_call(cell.source)):
            given = ", ".join(ast.unparse(part) for part in (*call.args, *call.keywords))
            cell.source = f"{notebooks.MARK}\n{name}({check!r}, {given})"
            text = notebooks.passed_line(check).replace("\n", f" · {guard.token(secret, check)}\n")
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
        with _process(command, place, environment(place, home, seed, run_id), run_id) as process:
            try:
                process.wait(limits.notebook)
                late = False
            except subprocess.TimeoutExpired:
                late = True
        cells = [cell.id for cell in graded.cells]
        return verdicts(report, cells, list(answers), late)


def environment(place: Path, home: Path, seed: int, run_id: str) -> dict[str, str]:
    """What the run's processes see: nothing of this process's environment but where programs are."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "CONDA_PREFIX")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(place / "tmp"), "TMPDIR": str(place / "tmp"), "IPYTHONDIR": str(place / "tmp" / "ipython"),
        "JUPYTER_CONFIG_DIR": str(place / "tmp" / "config"), "JUPYTER_DATA_DIR": str(place / "tmp" / "data"),
        "JUPYTER_RUNTIME_DIR": str(place / "tmp" / "runtime"), "MPLCONFIGDIR": str(place / "tmp" / "matplotlib"),
        "PYTHONPATH": str(notebooks.ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1", "LAB_HOME": str(home), "LAB_PROFILE": "smoke",
        "LAB_MODULE": str(place / "my_cvae.py"),
        "LAB_CHECK_SEED": str(seed), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LAB_GRADING": run_id,
    }  # fmt: skip


@contextmanager
def _process(command: Sequence[str], place: Path, environment: dict[str, str], run_id: str) -> Iterator[Any]:
    """A process; at the end it and all that it started are gone, found by the run's number in their environment."""
    with open(place / "report" / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=os.name == "posix",
        )  # fmt: skip
        try:
            yield process
        finally:
            children = []
            with suppress(psutil.Error):
                children = psutil.Process(process.pid).children(recursive=True)
            for other in psutil.process_iter():
                with suppress(psutil.Error, OSError):
                    if other.environ().get("LAB_GRADING") == run_id:
                        children.append(other)
            process.kill()
            for child in children:
                with suppress(psutil.Error):
                    child.kill()
            process.wait()


def verdicts(report: Path, cells: Sequence[str], wanted: Sequence[str], late: bool) -> dict[str, str]:
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
    found: dict[str, str] = {}
    spoiled = ""
    for key in cells:
        kind, text = outcome.get(key, ("absent", ""))
        exercise = key.partition("-")[2].replace("-", ".")
        halted = kind in ("error", "skipped", "absent") or re.search(
            r"Timeout of|plugin exception|Kernel dead|Kernel aborted", text.split("Traceback:")[0]
        )
        if key.startswith("check-") and exercise in wanted:
            if spoiled and spoiled != f"answer {exercise}":
                found[exercise] = INCONCLUSIVE
            elif spoiled or halted:
                found[exercise] = STOPPED
            else:
                found[exercise] = "passed" if kind == "passed" else _reason(text)
        if halted and not spoiled:
            spoiled = f"answer {exercise}" if key.partition("-")[0] in ("answer", "check") else key
    return {exercise: found.get(exercise, nothing) for exercise in wanted}


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
    judged: dict[str, str] = {}
    pending = {number: answers[number] for number in book.stubs if number in answers}
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
        judged |= firm
        pending = {n: s for n, s in pending.items() if n not in judged}
    return judged


# ------------------------------------------------------------------------------------------------------------- grades


def write_csv(path: Path, grades: Sequence[Submission], exercises: Sequence[str]) -> None:
    """A row for each student: name, number passed, 1 or 0 for each exercise, and why."""

    def cell(text: str) -> str:  # a spreadsheet would take these for a formula
        return f"'{text}" if text[:1] in "=+-@\t\r" else text

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "passed", "of", *exercises, "why", "remarks"])
        for grade in grades:
            marks = [int(grade.verdicts[number] == "passed") for number in exercises]
            texts = [cell(grade.why), cell("; ".join(grade.remarks))]
            table.writerow([cell(grade.name), grade.passed, len(exercises), *marks, *texts])


def grade(place: Path, out: Path, seed: int | None, limits: Limits, jobs: int = 1) -> None:
    """Grade all submissions at ``place`` and write the table ``out``.

    Args:
        seed: of the checks' inputs; None: drawn, and printed.
        jobs: submissions that run at the same time.

    Raises:
        LabError: there are no submissions, or the pristine notebooks cannot be used.
    """
    seed = secrets.randbelow(1_000_000) + 1 if seed is None else seed
    places = submissions(place)
    series = books()
    stubs = {
        number: (book.name, stub, book.solutions.get(number, ""))
        for book in series
        for number, stub in book.stubs.items()
    }
    if not stubs:
        raise LabError("the notebooks hold no exercises")
    print(f"{len(places)} submissions, {len(stubs)} exercises, check seed {seed}")
    with tempfile.TemporaryDirectory(prefix="grading-home-") as scratch:
        home = Path(scratch)
        print("First our own solutions, which also make data and models …", flush=True)
        patient = Limits(10 * limits.cell, 10 * limits.notebook)  # it is here that models are trained
        for book in series:
            for number, verdict in run(book, book.solutions, home, seed, patient, keep=True).items():
                if verdict != "passed":
                    print(f"warning: our own solution of {number} does not pass ({verdict}); do not trust its verdicts")

        def one(submission: Path) -> Submission:
            found = collect(submission, stubs)
            for book in series:
                mine = {n: s for n, s in found.answers.items() if n in book.stubs}
                found.verdicts |= judge(book, mine, home, seed, limits)
            found.verdicts = {number: found.verdicts[number] for number in stubs}
            return found

        grades = []
        width = max(len(p.name) for p in places)
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for result in pool.map(one, places):
                grades.append(result)
                print(result.line(width), flush=True)
    write_csv(out, grades, list(stubs))
