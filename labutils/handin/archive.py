"""The archive to hand in: its name, what keeps it from being packed, and what goes into it."""

import shutil
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import labutils
from labutils.errors import LabError
from labutils.files import atomic_file
from labutils.handin.record import digest, read_record
from labutils.handin.sections import SECTIONS, read_words

PROG = "python -m labutils"
CODE = {".py", ".js", ".css", ".md"}  # of labutils
PICTURES = {".svg", ".png", ".gif", ".jpg"}  # that notebooks show
BESIDE = ("README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock", "environment.yml")
WITHHELD = ("teach", "bench")  # rooms of the instructor's edition


def archive_name(student_id: str, name: str) -> str:
    """``LAB4_{id}_{name}.zip``.  Letters and digits of every script stay; what else there is becomes one ``_``.

    Raises:
        LabError: nothing is left of the id or the name, or they are too long for a file's name.
    """
    parts = []
    for what, text in (("student_id", student_id), ("name", name)):
        text = unicodedata.normalize("NFC", text)
        kept = "".join(
            c if unicodedata.category(c)[0] in "LMN" or c == "-" else "" if unicodedata.category(c) == "Cf" else " "
            for c in text
        )
        parts.append("_".join(kept.split()))
        if not parts[-1].strip("-"):
            raise LabError(f"--{what} is {text!r}; it must hold a letter or a digit")
    found = f"LAB4_{parts[0]}_{parts[1]}.zip"
    if len(found.encode()) > 200:
        raise LabError(f"the archive's name would be {len(found.encode())} bytes long; shorten --name to at most 200")
    return found


def objections(root: Path, name: str, student_id: str) -> list[str]:
    """What is still to do before the report in ``root`` can be handed in, a line each; empty where nothing is."""
    again = f"run {PROG} report --save_root {root} again"
    words_file, page, pdf = root / "report.md", root / "report.html", root / "report.pdf"
    if not words_file.is_file():
        return [f"{words_file} is missing: {PROG} report --save_root {root} makes it"]
    words = read_words(words_file)
    found = [
        f"{words_file}: '## {s.title}' still waits for your words"
        for s in SECTIONS
        if s.key not in words or (words[s.key].missing and not (s.extra and not words[s.key].text))
    ]
    record = read_record(page.read_text(encoding="utf-8")) if page.is_file() else None
    if record is None:
        return [*found, f"{page} is missing: {again}"]
    found += [f"{page}, {text}" for text in record.lacks]
    if record.words != digest(words_file):
        found.append(f"{words_file} was changed after {page.name} was made: {again}")
    if (record.name, record.student_id) != (name, student_id):
        found.append(f"{page.name} is by {record.name}, {record.student_id}, not by {name}, {student_id}: {again}")
    if wrong := no_pdf(pdf):
        found.append(f"{wrong}: {again}, or print {page.name} to it in a browser")
    elif pdf.stat().st_mtime < page.stat().st_mtime:
        found.append(f"{pdf} is older than {page.name}: {again}, or print {page.name} to it in a browser")
    return found


def no_pdf(path: Path) -> str:
    """Why a file is no PDF; empty where it is one."""
    if not path.is_file():
        return f"{path} is missing"
    with path.open("rb") as file:
        return "" if file.read(5) == b"%PDF-" else f"{path} is no PDF"


def contents(pdf: Path, submission: Path, notebooks: Path, module: Path) -> dict[str, Path]:
    """What goes into the archive: its name inside -> file; the notebooks where ``grade`` finds them."""
    found = {"report.pdf": pdf}
    if submission.is_file():
        found["submission.csv"] = submission
    mine = [
        *sorted(notebooks.glob("*.ipynb")),
        *sorted(notebooks.glob("*.py")),
        *([module] if module.is_file() else []),
    ]
    found |= {f"source/notebooks/{path.name}": path for path in mine}
    pictures = sorted(path for path in notebooks.glob("images/*") if path.suffix in PICTURES)
    found |= {f"source/notebooks/images/{path.name}": path for path in pictures}
    package = Path(labutils.__file__).parent
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.suffix in CODE and inside.parts[0] not in WITHHELD and "__pycache__" not in inside.parts:
            found[f"source/labutils/{inside.as_posix()}"] = path
    if (package.parent / "pyproject.toml").is_file():  # in a copy of the project, not where it is installed
        found |= {f"source/{name}": package.parent / name for name in BESIDE if (package.parent / name).is_file()}
    return found


def write_archive(path: Path, files: Mapping[str, Path]) -> Path:
    """Write a zip that appears whole or not at all; files that are not there are left out."""
    with atomic_file(path) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, file in files.items():
            if file.is_file():
                with file.open("rb") as source, archive.open(inside, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)
    return path
