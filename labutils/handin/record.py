"""What a report's page says of itself, so that `pack` knows whose it is and what it still lacks."""

import dataclasses
import hashlib
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

_PLACE = re.compile(r'<div hidden id="record">(.*?)</div>')


@dataclass(frozen=True)
class Record:
    """Whose a report is, the hash of its report.md, and what it lacks beside words, a line each."""

    name: str
    student_id: str
    words: str
    lacks: tuple[str, ...]

    def to_html(self) -> str:
        """A part of the page that is not shown."""
        return f'<div hidden id="record">{html.escape(json.dumps(dataclasses.asdict(self)))}</div>'


def read_record(page: str) -> Record | None:
    """The record in the text of a page; None where it has none."""
    found = _PLACE.search(page)
    if not found:
        return None
    values = json.loads(html.unescape(found[1]))
    return Record(**{**values, "lacks": tuple(values["lacks"])})


def digest(path: Path) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
