"""The notebooks as a site of static pages, which need neither kernel nor network.

Equations become MathML when the site is written, and pictures are part of their page.  A widget that works without
Python is alive in its page (widgets/page.py); of the others a picture is shown.  Each page's content security policy
forbids every request.
"""

import base64
import copy
import html
import mimetypes
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labutils.equations import mathml
from labutils.errors import LabError
from labutils.teach import notebooks
from labutils.teach.execution import execute
from labutils.widgets import render_page

STYLE = Path(__file__).with_suffix(".css")
ALIVE = {"FrameScrubber", "ScheduleExplorer", "ReparameterizationExplorer", "LatentExplorer", "TrainingMonitor"}
STATE = "application/vnd.jupyter.widget-state+json"
TITLE = "Conditional VAEs for video prediction"

# ----------------------------------------------------------------------------------------------------------- Markdown


class Renderer(IPythonRenderer):
    """Markdown of a notebook as HTML that needs nothing from elsewhere.

    Args:
        folder: that relative addresses start from.
        pages: names of notebooks ("03_reparameterization") that the site holds.
    """

    def __init__(self, folder: Path, pages: Sequence[str] = ()):
        super().__init__(escape=False, exclude_anchor_links=True)
        self.folder, self.pages = folder, set(pages)

    def block_math(self, body: str) -> str:
        return mathml(body, block=True)

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        name = re.sub(r"[^\w]+", "-", re.sub(r"<[^>]+>|&\w+;", "", text)).strip("-").lower()
        return f'<h{level} id="{html.escape(name)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        target = self.target(url)
        return f'<a href="{html.escape(target)}">{text}</a>' if target else f'<span class="file">{text}</span>'

    def target(self, url: str) -> str:
        """Where a link leads in the site; empty where it leads out of it, to a file of the project."""
        part = re.fullmatch(r"(?:\./)?([\w-]+)\.ipynb(#.*)?", url)
        if part and part[1] in self.pages:
            return f"{part[1]}.html{part[2] or ''}"
        return url if re.match(r"https?://|#|mailto:", url) else ""

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f'<img src="{self.embedded(url)}" alt="{html.escape(re.sub("<[^>]+>", "", html.unescape(text)))}">'

    def embedded(self, url: str) -> str:
        """A picture of the project as a data address.

        Raises:
            LabError: it is not there, or lies elsewhere.
        """
        path = (self.folder / url).resolve()
        if "://" in url or not path.is_file():
            raise LabError(f"the picture {url} is not in {self.folder}; a page cannot show it without network")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"

    def block_html(self, html: str) -> str:
        return self.raw(html) + "\n"

    def inline_html(self, html: str) -> str:
        return self.raw(html)

    def raw(self, text: str) -> str:
        """HTML with its pictures embedded and its links led into the site."""

        def picture(m: re.Match[str]) -> str:
            return m[0] if m[2].startswith("data:") else m[1] + self.embedded(m[2]) + m[3]

        def link(m: re.Match[str]) -> str:
            return m[1] + html.escape(self.target(m[2]) or "#") + m[3]

        text = re.sub(r'(<img\b[^>]*\bsrc=")([^"]+)(")', picture, text)
        return re.sub(r'(<a\b[^>]*\bhref=")([^"]+)(")', link, text)

    def markdown(self, text: str) -> str:
        """Markdown as HTML."""
        return MarkdownWithMath(renderer=self).render(text)


# ------------------------------------------------------------------------------------------------------------- a page


def cells(book: NotebookNode, renderer: Renderer) -> list[Any]:
    """The parts of a notebook's page, for ``render_page``: HTML, and widgets.

    Raises:
        LabError: an equation or a picture cannot be part of a page; the cell is named.
    """
    parts: list[Any] = []
    widgets = book.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in book.cells:
        try:
            if cell.cell_type == "markdown":
                parts.append(f'<section class="text">{renderer.markdown(cell.source)}</section>')
            elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
                parts.append(code(cell))
                parts += [output(out, cell, widgets, renderer) for out in cell.outputs]
        except LabError as error:
            raise LabError(f"cell {cell.get('id')}: {error}") from error
    return parts


def code(cell: NotebookNode) -> str:
    """A code cell's source."""
    source = cell.source.replace(notebooks.MARK + "\n", "")
    text = highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight"))
    tags = notebooks.tags(cell)
    if "hide-input" in tags:
        return f'<details class="code hidden"><summary>code</summary>{text}</details>'
    if "exercise" in tags:
        return f'<details class="code exercise"><summary>our answer</summary>{text}</details>'
    return f'<div class="code {"check" if "check" in tags else "code"}">{text}</div>'


def output(out: NotebookNode, cell: NotebookNode, widgets: Mapping[str, Any], renderer: Renderer) -> Any:
    """One output of a cell, as HTML or as a widget."""
    if out.output_type == "stream":
        return f'<pre class="out">{html.escape(notebooks.relative(notebooks.collapse(out.text)).rstrip())}</pre>'
    if out.output_type == "error":
        raise LabError(f"ended in an error: {out.ename}: {out.evalue}")
    data = out.data
    model = widgets.get(data.get(notebooks.WIDGET, {}).get("model_id", ""))
    if model is not None and (widget := alive(model)) is not None:
        return widget
    alt = html.escape(f"figure of the cell {cell.get('id', '')}".replace("-", " "))
    for kind in ("image/png", "image/gif", "image/jpeg"):
        if kind in data:
            width = out.metadata.get(kind, {}).get("width")
            size = f' width="{int(width)}"' if width else ""
            picture = re.sub(r"\s", "", data[kind])
            return f'<p class="out figure"><img src="data:{kind};base64,{picture}" alt="{alt}"{size}></p>'
    if "text/html" in data:
        return f'<div class="out html">{renderer.raw(data["text/html"])}</div>'
    if "text/markdown" in data:
        return f'<div class="out html">{renderer.markdown(data["text/markdown"])}</div>'
    return f'<pre class="out">{html.escape(notebooks.relative(data.get("text/plain", "")))}</pre>'


def alive(model: Mapping[str, Any]) -> Any:
    """A widget's stored model as what ``render_page`` takes; None for widgets that need a kernel, or are not ours.

    Its bytes become ``{"$bytes": base64}``, as widgets/page.js reads them.
    """
    state = copy.deepcopy(dict(model["state"]))
    kind = str(state.get("_anywidget_id", "")).rpartition(".")[2]
    if kind not in ALIVE or "_esm" not in state:
        return None
    for buffer in model.get("buffers", ()):
        *path, last = buffer["path"]
        with suppress(KeyError, IndexError, TypeError):  # of a value that was replaced since
            reduce(getitem, path, state)[last] = {"$bytes": buffer["data"]}
    widget = type(kind, (SimpleNamespace,), {})(**state)  # render_page asks for the type's name, the traits and `keys`
    widget.keys = [name for name in state if name != "keys"]
    return widget


def frame(title: str, parts: Sequence[Any], before: str = "", after: str = "") -> str:
    """A page of the site: navigation, parts, navigation."""
    light, dark = HtmlFormatter(style="default"), HtmlFormatter(style="github-dark")
    style = "\n".join([
        STYLE.read_text(encoding="utf-8"),
        light.get_style_defs(".highlight"),
        "@media (prefers-color-scheme: dark) {", dark.get_style_defs(".highlight"), "}",
    ])  # fmt: skip
    empty = "<span></span>"
    links = f'<nav>{before or empty}<a href="index.html">all notebooks</a>{after or empty}</nav>'
    navigation = [links] if before or after else []
    return render_page(title, [f"<style>\n{style}\n</style>", *navigation, *parts, *navigation])


# ----------------------------------------------------------------------------------------------------------- the site


def write_site(out: Path, run: bool = True) -> Path:
    """Write a page for each notebook, and an index; the index's path.

    Args:
        run: run the notebooks, for the widgets; else their stored outputs are taken.

    Raises:
        LabError: a notebook fails, or holds what cannot be part of a page.
    """
    paths = notebooks.find()
    books = [notebooks.read(path) for path in paths]
    titles = [title_of(book, path.stem) for book, path in zip(books, paths)]
    renderer = Renderer(paths[0].parent, [path.stem for path in paths])
    out.mkdir(parents=True, exist_ok=True)

    def link(k: int, left: str = "", right: str = "") -> str:
        known = 0 <= k < len(paths)
        return f'<a href="{paths[k].stem}.html">{left}{html.escape(titles[k])}{right}</a>' if known else ""

    for k, (path, book) in enumerate(zip(paths, books)):
        book, seconds = execute(path) if run else (book, 0.0)
        try:
            parts = cells(book, renderer)
        except LabError as error:
            raise LabError(f"{path.name}, {error}") from error
        text = frame(titles[k], parts, link(k - 1, left="← "), link(k + 1, right=" →"))
        (out / f"{path.stem}.html").write_text(text, encoding="utf-8", newline="\n")
        widgets = sum(not isinstance(part, str) for part in parts)
        print(f"{path.stem:28} {seconds:6.1f} s  {len(text) / 1e6:5.2f} MB  {widgets} widgets alive", flush=True)
    rows = "".join(f"<li>{link(k)}{lead(book, renderer)}</li>" for k, book in enumerate(books))
    index = out / "index.html"
    parts = [f"<h1>{TITLE}</h1>", *_readme(renderer.folder.parent), f'<ol class="series">{rows}</ol>']
    index.write_text(frame(TITLE, parts), encoding="utf-8", newline="\n")
    return index


def title_of(book: NotebookNode, default: str) -> str:
    """The first heading, without its Markdown."""
    text = re.search(r"^# (.+)$", book.cells[0].source if book.cells else "", re.M)
    return re.sub(r"[`*$\\]", "", text[1].strip() if text else default)


def lead(book: NotebookNode, renderer: Renderer) -> str:
    """The first paragraph under a notebook's title, as HTML."""
    text = book.cells[0].source.partition("\n")[2].strip() if book.cells else ""
    first = next((p for p in re.split(r"\n\s*\n", text) if not re.match(r"[#*>|!<-]", p)), "")
    return renderer.markdown(first) if first else ""


def _readme(folder: Path) -> list[str]:
    """The README's first words and picture, where the site is made from the project's notebooks."""
    readme = folder / "README.md"
    if not readme.is_file():
        return []
    paragraphs = re.split(r"\n\s*\n", readme.read_text(encoding="utf-8").partition("\n")[2].strip())[:3]
    return [Renderer(folder).markdown("\n\n".join(paragraphs))]
