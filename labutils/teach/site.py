"""The notebooks as a site of static pages, which need neither kernel nor network.

Equations become MathML and diagrams SVG when the site is written; pictures are part of their page.  A widget that works
without Python is alive in its page (widgets/page.py); of the others a picture is shown.  Each page's content security
policy forbids every request.
"""

import base64
import html
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labutils.errors import LabError
from labutils.teach import notebooks
from labutils.teach.diagram import Unsupported, draw
from labutils.widgets import page

STYLE = Path(__file__).with_suffix(".css")
ALIVE = {"FrameScrubber", "ScheduleExplorer", "ReparameterizationExplorer", "LatentExplorer", "TrainingMonitor"}
TITLE = "Conditional VAEs for video prediction"

# ---------------------------------------------------------------------------------------------------------- equations

FUNCTIONS = {"log", "exp", "ln", "min", "max", "sin", "cos", "tanh", "det", "dim", "sup", "inf", "lim", "arg max"}
# First letters in Unicode's mathematical alphabets: browsers know no other mathvariant than "normal"
ALPHABETS = {
    "bold": (0x1D400, 0x1D41A, 0x1D7CE), "italic": (0x1D434, 0x1D44E, 0), "bold-italic": (0x1D468, 0x1D482, 0),
    "script": (0x1D49C, 0x1D4B6, 0), "double-struck": (0x1D538, 0x1D552, 0x1D7D8),
    "sans-serif": (0x1D5A0, 0x1D5BA, 0x1D7E2),
}  # fmt: skip
EXCEPTIONS = {
    "script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ")),
    "double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ")),
    "italic": {"h": "ℎ"},
}


def mathml(tex: str, block: bool = False) -> str:
    """An equation as MathML.

    Raises:
        LabError: it holds something that is not understood.
    """
    from latex2mathml.converter import convert

    tag = re.search(r"\\tag\{([^}]*)\}", tex)
    source = re.sub(r"\\tag\{[^}]*\}", "", tex).strip()
    source = re.sub(r"\\(begin|end)\{(?:aligned|split|gathered)\}", r"\\\1{align*}", source)
    source = re.sub(r"\\(math(?:cal|bb|bf|rm|sf|tt|it)|boldsymbol|hat|bar|tilde|vec)\s+([A-Za-z])", r"\\\1{\2}", source)
    source = re.sub(r"\\texttt\{([^{}]*)\}", lambda m: r"\texttt{" + m[1].replace(r"\_", "_") + "}", source)
    source = source.replace(r"\lvert", "|").replace(r"\rvert", "|")
    try:
        text = convert(source, display="block" if block else "inline")
        root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", text))
    except Exception as error:  # it raises its own and the standard ones alike
        raise LabError(f"cannot turn this equation into MathML: {tex.strip()[:120]} ({error})") from error
    for element in root.iter():
        _mend(element)
    for element in root.iter():
        if "\\" in (element.text or "") or element.text == "&":
            raise LabError(f"cannot turn this equation into MathML: {tex.strip()[:120]} ({element.text} is not known)")
    _space(root)
    out = ElementTree.tostring(root, encoding="unicode")
    if not block:
        return out
    number = f'<span class="tag">({html.escape(tag[1])})</span>' if tag else ""
    return f'<div class="equation">{out}{number}</div>'


def _mend(element: Element) -> None:
    """Bring what latex2mathml gives into what browsers draw well."""
    variant = element.get("mathvariant")
    if variant == "monospace":
        del element.attrib["mathvariant"]
        element.set("style", "font-family: monospace")
    elif variant in ALPHABETS:
        upper, lower, digit = ALPHABETS[variant]
        out = ""
        for c in element.text or "":
            base = upper - 65 if "A" <= c <= "Z" else lower - 97 if "a" <= c <= "z" else digit - 48 if digit else 0
            plain = not (c.isascii() and c.isalnum()) or not base or (c.isdigit() and not digit)
            out += EXCEPTIONS.get(variant, {}).get(c) or (c if plain else chr(base + ord(c)))
        element.text = out
        del element.attrib["mathvariant"]
    if element.tag == "mtext":
        element.text = re.sub(r"\\([%_&#$])", r"\1", element.text or "")
    if element.tag == "mi" and element.text in ("~", ";", ":", "|"):
        element.tag, element.text = "mo", {"~": "∼"}.get(element.text, element.text)
        if element.text == ";":
            element.set("separator", "true")
    if element.tag == "mo" and re.fullmatch(r"[A-Za-z]{2,}", element.text or ""):
        element.tag = "mi"  # \operatorname


def _space(parent: Element) -> None:
    """A thin space between a function's name and an operand without brackets, as TeX sets it."""
    children = list(parent)
    for child in children:
        _space(child)
    if parent.tag not in ("mrow", "mtd", "math", "mstyle", "mpadded"):
        return
    for k in range(len(children) - 1, 0, -1):
        left, right = children[k - 1], children[k]
        operands = ("mi", "mn", "mfrac", "msub", "msup", "msubsup", "mover", "mtext", "msqrt", "mrow")
        after = _named(left) and right.tag in operands and _first(right) not in "([{|"
        before = _named(right) and left.tag in operands
        if after or before:
            parent.insert(k, Element("mspace", width="0.167em"))


def _named(element: Element) -> bool:
    while element.tag in ("msub", "msup", "msubsup", "munder", "mover") and len(element):
        element = element[0]
    return element.tag in ("mi", "mo") and (element.text or "").replace("\u2009", " ") in FUNCTIONS


def _first(element: Element) -> str:
    while len(element):
        element = element[0]
    return (element.text or "")[:1] or " "


# ----------------------------------------------------------------------------------------------------------- Markdown


class Renderer(IPythonRenderer):
    """Markdown of a notebook as HTML that needs nothing from elsewhere.

    Args:
        folder: that relative addresses start from.
        pages: names of notebooks ("03_reparameterization") that the site holds.
    """

    def __init__(self, folder: Path, pages: Sequence[str] = (), attachments: Mapping[str, Any] | None = None):
        super().__init__(escape=False, exclude_anchor_links=True, attachments=dict(attachments or {}))
        self.folder, self.pages = folder, set(pages)

    def block_math(self, body: str) -> str:
        return mathml(body, block=True)

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)

    def block_mermaidjs(self, code: str) -> str:
        try:
            return f'<figure class="diagram">{draw(code)}</figure>\n'
        except Unsupported:
            return f'<pre class="diagram">{html.escape(code.strip())}</pre>\n'

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
        if url.startswith("attachment:"):
            source = self._embed_image_or_attachment(url)
        else:
            source = self.embedded(url)
        return f'<img src="{source}" alt="{html.escape(re.sub("<[^>]+>", "", text))}">'

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
        return self._raw(html) + "\n"

    def inline_html(self, html: str) -> str:
        return self._raw(html)

    def _raw(self, text: str) -> str:
        text = re.sub(
            r'(<img\b[^>]*\bsrc=")([^"]+)(")',
            lambda m: m[0] if m[2].startswith("data:") else m[1] + self.embedded(m[2]) + m[3],
            text,
        )
        return re.sub(
            r'(<a\b[^>]*\bhref=")([^"]+)(")', lambda m: m[1] + html.escape(self.target(m[2]) or "#") + m[3], text
        )


def markdown(text: str, renderer: Renderer) -> str:
    """Markdown as HTML."""
    return MarkdownWithMath(renderer=renderer).render(text)


# ------------------------------------------------------------------------------------------------------------- a page


def cells(done: notebooks.Executed, renderer: Renderer) -> list[Any]:
    """The parts of a notebook's page, for ``page.page``: HTML, and widgets.

    Raises:
        LabError: an equation or a picture cannot be part of a page; the cell is named.
    """
    parts: list[Any] = []
    for cell in done.book.cells:
        try:
            if cell.cell_type == "markdown":
                renderer.attachments = dict(cell.get("attachments", {}))
                parts.append(f'<section class="text">{markdown(cell.source, renderer)}</section>')
            elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
                parts.append(code(cell))
                for out in cell.outputs:
                    parts.append(output(out, cell, done.widgets, renderer))
        except LabError as error:
            raise LabError(f"cell {cell.get('id')}: {error}") from error
    return parts


def code(cell: NotebookNode) -> str:
    """A code cell's source."""
    source = cell.source.replace(notebooks.MARK + "\n", "")
    text = highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight"))
    kind = next((tag for tag in ("exercise", "check") if tag in notebooks.tags(cell)), "code")
    if "hide-input" in notebooks.tags(cell):
        return f'<details class="code hidden"><summary>code</summary>{text}</details>'
    if kind == "exercise":
        return f'<details class="code exercise"><summary>our answer</summary>{text}</details>'
    return f'<div class="code {kind}">{text}</div>'


def output(out: NotebookNode, cell: NotebookNode, widgets: Mapping[str, Any], renderer: Renderer) -> Any:
    """One output of a cell, as HTML or as a widget."""
    if out.output_type == "stream":
        return f'<pre class="out">{html.escape(notebooks._relative(notebooks.collapse(out.text)).rstrip())}</pre>'
    if out.output_type == "error":
        raise LabError(f"ended in an error: {out.ename}: {out.evalue}")
    data = out.data
    state = widgets.get(data.get(notebooks.WIDGET, {}).get("model_id", ""))
    if state is not None and (widget := alive(state)) is not None:
        return widget
    alt = html.escape(f"figure of the cell {cell.get('id', '')}".replace("-", " "))
    if "image/svg+xml" in data:
        encoded = base64.b64encode(data["image/svg+xml"].encode()).decode()
        return f'<p class="out figure"><img src="data:image/svg+xml;base64,{encoded}" alt="{alt}"></p>'
    for kind in ("image/png", "image/gif", "image/jpeg"):
        if kind in data:
            text = re.sub(r"\s", "", data[kind])
            width = out.metadata.get(kind, {}).get("width") or ""
            return (
                f'<p class="out figure"><img src="data:{kind};base64,{text}" alt="{alt}"'
                + (f' width="{int(width)}"' if width else "")
                + "></p>"
            )
    if "text/html" in data:
        return f'<div class="out html">{renderer._raw(data["text/html"])}</div>'
    if "text/latex" in data:
        return mathml(data["text/latex"].strip().strip("$"), block=True)
    if "text/markdown" in data:
        return f'<div class="out html">{markdown(data["text/markdown"], renderer)}</div>'
    return f'<pre class="out">{html.escape(notebooks._relative(data.get("text/plain", "")))}</pre>'


def alive(state: Mapping[str, Any]) -> Any:
    """A widget's state as what ``page.page`` takes; None for widgets that need a kernel, or are not ours."""
    kind = str(state.get("_anywidget_id", "")).rpartition(".")[2]
    if kind not in ALIVE or "_esm" not in state:
        return None
    widget = type(kind, (SimpleNamespace,), {})(**state)  # page.page asks for the type's name, the traits and `keys`
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
    return page.page(title, [f"<style>\n{style}\n</style>", *navigation, *parts, *navigation])


# ----------------------------------------------------------------------------------------------------------- the site


def title_of(book: NotebookNode, default: str) -> str:
    """The first heading."""
    text = re.search(r"^# (.+)$", book.cells[0].source if book.cells else "", re.M)
    return text[1].strip() if text else default


def write_site(out: Path, folder: Path | None = None, execute: bool = True, say: Callable[[str], None] = print) -> Path:
    """Write a page for each notebook of ``folder``, and an index; the index's path.

    Args:
        execute: run the notebooks, for the widgets; else their stored outputs are taken.

    Raises:
        LabError: a notebook fails, or holds what cannot be part of a page.
    """
    paths = notebooks.find(folder=folder)
    names = [path.stem for path in paths]
    rows = []
    books = [notebooks.read(path) for path in paths]
    titles = [title_of(book, name) for book, name in zip(books, names)]
    out.mkdir(parents=True, exist_ok=True)
    for k, (path, book) in enumerate(zip(paths, books)):
        if execute:
            done = notebooks.execute(book, path.name, path.parent, widgets=True)
        else:
            done = notebooks.Executed(book, 0.0)
        renderer = Renderer(path.parent, names)
        try:
            parts = cells(done, renderer)
        except LabError as error:
            raise LabError(f"{path.name}, {error}") from error
        links = []
        for n, left, right in ((k - 1, "← ", ""), (k + 1, "", " →")):
            link = (
                f'<a href="{names[n]}.html">{left}{_plain_title(titles[n])}{right}</a>' if 0 <= n < len(names) else ""
            )
            links.append(link)
        text = frame(_plain_title(titles[k], escape=False), parts, *links)
        (out / f"{path.stem}.html").write_text(text, encoding="utf-8", newline="\n")
        rows.append(_row(path.stem, book, renderer))
        alive_here = sum(not isinstance(part, str) for part in parts)
        say(f"{path.stem:28} {done.seconds:6.1f} s  {len(text) / 1e6:5.2f} MB  {alive_here} widgets alive")
    index = out / "index.html"
    index.write_text(
        frame(TITLE, [f"<h1>{TITLE}</h1>", *_lead(paths[0].parent), f'<ol class="series">{"".join(rows)}</ol>']),
        encoding="utf-8", newline="\n",
    )  # fmt: skip
    return index


def _plain_title(title: str, escape: bool = True) -> str:
    text = re.sub(r"[`*$\\]", "", title)
    return html.escape(text) if escape else text


def _row(name: str, book: NotebookNode, renderer: Renderer) -> str:
    """A notebook in the index: its title and the first paragraph under it."""
    text = book.cells[0].source.partition("\n")[2].strip() if book.cells else ""
    first = next((p for p in re.split(r"\n\s*\n", text) if not re.match(r"[#*>|!<-]", p)), "")
    title = _plain_title(title_of(book, name))
    return f'<li><a href="{name}.html">{title}</a>{markdown(first, renderer) if first else ""}</li>'


def _lead(folder: Path) -> list[str]:
    """The README's first words and picture, where the site is made from the project's notebooks."""
    readme = folder.parent / "README.md"
    if not readme.is_file():
        return []
    paragraphs = re.split(r"\n\s*\n", readme.read_text(encoding="utf-8").partition("\n")[2].strip())[:3]
    return [markdown("\n\n".join(paragraphs), Renderer(folder.parent))]
