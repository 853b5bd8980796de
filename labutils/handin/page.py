"""The report as one page that prints well, and as a PDF where a browser of the chromium family is installed."""

import base64
import contextlib
import html
import mimetypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labutils.errors import LabError
from labutils.handin.evidence import Code, Evidence, Missing, Picture
from labutils.handin.record import Record, digest
from labutils.handin.sections import DEMO, SECTIONS, TODO, Words
from labutils.widgets import render_page

TITLE = "Conditional VAE for video prediction"
QUALITY = "Prediction quality"
CHROMIUM = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
APPS = ("Google Chrome", "Chromium", "Microsoft Edge")  # on macOS, where they are not on the path
PATIENCE = 180  # seconds that printing may take


def render(
    name: str, student_id: str, source: Path, words: Mapping[str, Words], evidence: Mapping[str, Sequence[Evidence]]
) -> tuple[str, list[tuple[str, str]]]:
    """The report as one self-contained page, and the placeholders that it holds: section, what it lacks.

    Args:
        source: report.md, in whose folder the pictures lie that the words name.

    Raises:
        LabError: such a picture is not there.
    """
    markdown = _Renderer(source.parent)
    unwritten: list[tuple[str, str]] = []
    lacks: list[tuple[str, str]] = []
    body: list[str] = []
    graded: list[tuple[str, str, str]] = []  # item, points, section

    def show(title: str, items: Sequence[Evidence]) -> None:
        body.extend(map(_show, items))
        lacks.extend((title, str(item)) for item in items if isinstance(item, Missing))

    chapter, part, within = 0, "", 0
    for s in SECTIONS:
        text = words.get(s.key, Words(""))
        if s.extra and not text.text:
            continue
        if s.part != part:
            chapter, part, within = chapter + 1, s.part, 0
            body.append(f"<h2>{chapter} {part}</h2>")
        within += 1
        number = str(chapter)
        if s.title != part:
            number += f".{within}"
            body.append(f"<h3>{number} {html.escape(s.title)}</h3>")
        body[-1] = body[-1].replace(">", f' id="{s.key}">', 1)
        graded.append((s.title, f"{'+' * s.extra}{s.points}", f'<a href="#{s.key}">{number}</a>'))
        body.append(markdown.words(text.text.removesuffix(TODO)))  # the marker alone is told by the box below
        if text.missing:
            unwritten.append((s.title, f"your words, in {source.name}"))
            body.append(_todo(f"Your words are missing: write them in {source.name}, under '## {s.title}'."))
        show(s.title, evidence.get(s.key, ()))
    body.append(f'<h2 id="quality">{chapter + 1} {QUALITY} on the test sequences</h2>')
    show(QUALITY, evidence.get("quality", ()))
    places = {QUALITY: f'<a href="#quality">{chapter + 1}</a>'}
    graded += [(f"Demo: {item.lower()}", str(worth), places.get(item, "asked in person")) for item, worth in DEMO]
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    head = [
        f"<style>\n{style}\n{HtmlFormatter(style='default').get_style_defs('.highlight')}\n</style>",
        f"<h1>{TITLE}</h1>",
        f'<p class="author">{html.escape(name)} · {html.escape(student_id)}</p>',
        _points(graded),
    ]
    tail = Record(name, student_id, digest(source), tuple(map(": ".join, lacks))).to_html()
    return render_page(f"{TITLE} · {name}", [*head, *body, tail]), [*unwritten, *lacks]


def _points(rows: Sequence[tuple[str, str, str]]) -> str:
    cells = "".join(f"<tr><td>{html.escape(t)}</td><td class='number'>{p}</td><td>{n}</td></tr>" for t, p, n in rows)
    return (
        f"<table class='points'><tr><th>graded</th><th class='number'>points</th><th>section</th></tr>{cells}</table>"
    )


def _todo(text: str) -> str:
    return f'<p class="todo">{html.escape(text)}</p>'


def _show(item: Evidence) -> str:
    """A piece of evidence as HTML."""
    if isinstance(item, Missing):
        return _todo(f"{item}"[0].upper() + f"{item}"[1:])
    if isinstance(item, Picture):
        caption, data = html.escape(item.caption), base64.b64encode(item.png).decode("ascii")
        inner = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    elif isinstance(item, Code):
        caption, inner = html.escape(item.place), highlight(item.text, PythonLexer(), HtmlFormatter())
    else:
        caption = html.escape(item.caption)
        head, *rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in [item.head, *item.rows])
        inner = f"<table><tr>{head.replace('td>', 'th>')}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    kind = type(item).__name__.lower()
    return f'<figure class="{kind}">{inner}<figcaption>{caption}</figcaption></figure>'


# -------------------------------------------------------------------------------------------------------- their words


class _Renderer(IPythonRenderer):
    """Markdown as HTML that needs nothing from elsewhere: pictures embedded, equations as MathML, HTML as text."""

    def __init__(self, folder: Path):
        super().__init__(escape=True, allow_harmful_protocols=False, exclude_anchor_links=True)
        self.folder = folder

    def words(self, text: str) -> str:
        return MarkdownWithMath(renderer=self).render(text)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f"<h4>{text}</h4>\n"

    def block_mermaidjs(self, code: str) -> str:
        return self.block_code(code)

    def block_math(self, body: str) -> str:
        return _equation(body, block=True)

    def inline_math(self, body: str) -> str:
        return _equation(body)

    def latex_environment(self, name: str, body: str) -> str:
        return _equation(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        path = (self.folder / url).resolve()
        kind = mimetypes.guess_type(path.name)[0] or ""
        if "://" in url or not path.is_file() or not kind.startswith("image/"):
            raise LabError(f"report.md shows {url}, which is no picture in {self.folder}")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f'<img alt="{html.escape(html.unescape(text))}" src="data:{kind};base64,{data}">'


def _equation(tex: str, block: bool = False) -> str:
    """An equation as MathML; as it was written where it is not understood, or where latex2mathml is not installed."""
    try:
        from labutils.equations import mathml

        return mathml(tex, block)
    except (ImportError, LabError):
        return f"<code>{html.escape(tex.strip())}</code>"


# --------------------------------------------------------------------------------------------------------------- PDF


def find_browser() -> str | None:
    """A browser that prints without a window: $CHROMIUM, one on the path, or Playwright's; None where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found:
        return found
    for app in APPS:
        path = Path(f"/Applications/{app}.app/Contents/MacOS/{app}")
        if path.is_file():
            return str(path)
    with contextlib.suppress(Exception):  # not installed, or without a browser
        from playwright.sync_api import sync_playwright

        with sync_playwright() as p:
            return p.chromium.executable_path if Path(p.chromium.executable_path).is_file() else None
    return None


def print_pdf(page: Path, pdf: Path) -> str:
    """Print a page to a PDF, which appears whole or not at all; empty where it worked, else why not."""
    browser = find_browser()
    if not browser:
        return "no chromium was found"
    with tempfile.TemporaryDirectory() as folder:
        made = pdf.with_name(f".{pdf.name}.part")
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}",
                   f"--print-to-pdf={made.resolve()}", page.resolve().as_uri()]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in containers: there it does not start otherwise
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
            if done.returncode or not made.is_file():
                told = done.stderr.strip().splitlines() or ["it says nothing"]
                return f"{Path(browser).name} failed ({told[-1][:120]})"
            os.replace(made, pdf)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{Path(browser).name} failed ({error})"
        finally:
            made.unlink(missing_ok=True)
    return ""
