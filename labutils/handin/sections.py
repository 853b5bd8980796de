"""What the assignment grades, and the learner's own words about it: report.md, one heading for each section."""

import re
from dataclasses import dataclass
from pathlib import Path

from labutils.errors import LabError
from labutils.files import atomic_file

TODO = "TODO: your words"


@dataclass(frozen=True)
class Section:
    """One grading item of the report.

    Attributes:
        part: the chapter that it belongs to.
        hint: what a reader looks for, Markdown.
        made_in: notebooks that make it.
        code: pattern of the names whose code belongs here.
        extra: its points are a bonus; without words it is left out.
    """

    key: str
    title: str
    points: int
    part: str
    hint: str
    made_in: tuple[str, ...]
    code: str = ""
    extra: bool = False


INTRODUCTION, IMPLEMENTATION, ANALYSIS = "Introduction", "Implementation details", "Analysis"
SECTIONS = (
    Section("introduction", "Introduction", 5, INTRODUCTION,
            "the task in two sentences, the five modules, what goes in at training and at inference",
            ("00_start_here", "02_modules")),
    Section("protocol", "Training protocol", 10, IMPLEMENTATION,
            "clips of 16 frames, 15 predictions, which frame goes where, the loss with its weights, optimizer, how "
            "long, the code of one step", ("06_training",), r"train|loss|step$|objective"),
    Section("reparameterization", "Reparameterization", 5, IMPLEMENTATION,
            r"why sampling stops gradients, $z = \mu + e^{\text{logvar}/2}\,\varepsilon$, why log variance, your code",
            ("03_reparameterization",), r"reparam|kl_div"),
    Section("forcing", "Teacher forcing", 5, IMPLEMENTATION,
            "start, first epoch of decay, step, floor; what it costs (exposure bias); your code",
            ("05_annealing", "06_training"), r"forc|teacher|last_frame"),
    Section("annealing", "KL annealing", 5, IMPLEMENTATION,
            "monotonic and cyclical as formulas; the figure shows them over iterations; your code",
            ("05_annealing",), r"anneal|beta"),
    Section("tfr-loss", "Teacher-forcing ratio and loss", 5, ANALYSIS,
            "why the loss rises where the ratio falls", ("08_analysis",)),
    Section("curves", "Loss curves: monotonic, cyclical, none", 10, ANALYSIS,
            "what differs and why; what may be concluded from so many runs, and what not", ("08_analysis",)),
    Section("psnr", "PSNR per frame on validation", 5, ANALYSIS,
            "where it is low and why; how far above the baselines", ("07_validation", "08_analysis")),
    Section("derivation", "Derivation", 5, ANALYSIS,
            r"from $\log p(X \mid c)$ to the objective, every step named; the EM view", ("04_derivation",), extra=True),
)  # fmt: skip
DEMO = (("Questions", 30), ("Prediction quality", 20))

_HEAD = """<!-- The words of your report, in Markdown (equations between dollar signs). `python -m labutils report` adds
figures, tables and code to each section and never changes what you wrote. Replace the lines that begin with TODO.
Smaller headings begin with ###. A picture of your own: ![what it shows](file beside this one).
A line `code: name, Class.method` chooses which code a section shows; `code: none` shows none. -->
"""
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_CODE = re.compile(r"^code:[ \t]*([\w.]+(?:[ \t]*,[ \t]*[\w.]+)*)[ \t]*$", re.M)


@dataclass(frozen=True)
class Words:
    """What a learner wrote for a section: Markdown, and the names after ``code:`` (None without such a line)."""

    text: str
    code: tuple[str, ...] | None = None

    @property
    def missing(self) -> bool:
        """Whether words are still to be written."""
        return not self.text or re.search(r"\bTODO\b", self.text) is not None


def grading() -> str:
    """The report's grading items as a table in Markdown: part, points, what a reader looks for, notebooks."""
    rows = ["| part | points | what a reader looks for | made in |", "|---|---:|---|---|"]
    for s in SECTIONS:
        links = ", ".join(f"[{name[:2]}]({name}.ipynb)" for name in s.made_in)
        rows.append(f"| {s.title} | {'+' * s.extra}{s.points} | {s.hint} | {links} |")
    return "\n".join(rows)


def keep_words(path: Path) -> dict[str, Words]:
    """The words of each section in ``path``; sections that it lacks are added with their marker, nothing is changed."""
    text = _HEAD
    if path.is_file():
        read_words(path)  # says where it is no text
        text = path.read_bytes().decode("utf-8-sig")  # with the line ends that it has
    lacking = [s for s in SECTIONS if s.key not in _parts(text)]
    if lacking:
        for s in lacking:
            bonus = " extra (to leave it out, delete the line below)" if s.extra else ""
            text = f"{text.rstrip()}\n\n## {s.title}\n\n<!-- {s.points} points{bonus}: {s.hint} -->\n\n{TODO}\n"
        with atomic_file(path) as file:
            file.write(text.encode())
    return read_words(path)


def read_words(path: Path) -> dict[str, Words]:
    """The words of each section that stands in ``path``.

    Raises:
        LabError: it cannot be read, or a section stands in it twice.
    """
    try:
        found = _parts(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read as text ({error})") from error
    words = {}
    for key, texts in found.items():
        if len(texts) > 1:
            title = next(s.title for s in SECTIONS if s.key == key)
            raise LabError(f"{path}: the heading '## {title}' is there {len(texts)} times; leave one")
        text = _COMMENT.sub("", texts[0])
        names = [name.strip() for line in _CODE.findall(text) for name in line.split(",")]
        chosen = tuple(name for name in names if name != "none") if names else None
        words[key] = Words(_CODE.sub("", text).strip(), chosen)
    return words


def _parts(text: str) -> dict[str, list[str]]:
    """Section -> the texts under its heading; other headings, and all in fenced code, belong to the text above."""
    keys = {s.title.lower(): s.key for s in SECTIONS}
    found: dict[str, list[str]] = {}
    here: list[str] = []  # the texts of the section that is read
    fenced = False
    for line in text.splitlines(keepends=True):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        head = None if fenced else re.fullmatch(r"##\s+(.*?)[\s#]*", line)
        if head and head[1].lower() in keys:
            here = found.setdefault(keys[head[1].lower()], [])
            here.append("")
        elif here:
            here[-1] += line
    return found
