"""What the widgets share: base class, style sheets, and pages that show them without a kernel and without a network.

A widget's ES module must

- import nothing, and keep what it shows in traits of the model;
- define a constant ``widget`` with ``render({model, el})`` and, optionally, ``initialize({model})``, as ``widgetOf`` of
  ``shared.js`` does, and end with ``export default widget;``.

What the modules share stands in ``shared.js``, which comes before each of them.  In a notebook anywidget runs the
whole.  In a page the same text is inlined as it is, followed by ``page.js``, which starts ``widget`` with a model that
holds the traits' values but has no kernel behind it.
"""

import base64
import hashlib
import html
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import anywidget
import traitlets
from matplotlib.figure import Figure

from labutils.errors import LabError

HERE = Path(__file__).parent
STILL_BYTES = 200_000  # of a widget's picture in a notebook, at most

Answer = Callable[[dict[str, Any], Sequence[Any]], tuple[dict[str, Any], list[bytes]]]


class LabWidget(anywidget.AnyWidget):
    """A widget with a ``figure()``, whose output holds that still beside the view.

    A live notebook shows the view, which it ranks higher; a stored one, from which the view has been taken, shows the
    picture, as GitHub does.  Where there is nothing to draw yet, there is no picture.
    """

    _esm: str  # its script and its style sheets, as ``module`` and ``styles`` give them
    _css: str
    page_title = ""  # of a page that shows this widget alone

    def figure(self) -> Figure:
        """The widget as a still."""
        raise NotImplementedError

    def to_html(self, path: str | Path, title: str | None = None) -> Path:
        """Write one self-contained page that needs neither kernel nor network, and return its path.

        It opens from ``file://``; folders are made.
        """
        title = self.page_title if title is None else title
        return write_page(path, title, [f"<h1>{html.escape(title)}</h1>", self])

    def answer_with(self, answer: Answer) -> None:
        """Have ``answer`` reply to the questions that a ``Line`` of shared.js asks, one after the other.

        It gets the question and its buffers, and gives what to reply and the reply's buffers.  What it raises is
        replied as ``error``, since a traceback would go to a log that nobody reads.
        """

        def hear(_: Any, question: dict[str, Any], buffers: Any) -> None:
            start = time.perf_counter()
            reply: dict[str, Any] = {}
            out: list[bytes] = []
            try:
                reply, out = answer(question, buffers)
            except (LabError, traitlets.TraitError) as error:
                reply["error"] = str(error)
            except Exception as error:
                reply["error"] = f"{type(error).__name__}: {error}"
            ms = 1000 * (time.perf_counter() - start)
            self.send({**reply, "answer": question.get("ask"), "what": question.get("what"), "ms": ms}, out)

        self.on_msg(hear)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        try:
            png = still(self.figure())
        except Exception:  # a widget that cannot be drawn (a monitor before training) is shown all the same
            return data, metadata
        return {**data, "image/png": base64.b64encode(png).decode("ascii")}, metadata


def still(figure: Figure, limit: int = STILL_BYTES) -> bytes:
    """The figure as a PNG of at most ``limit`` bytes: with fewer colours, then fewer dots, where it takes more."""
    from PIL import Image

    for dpi in (110, 90, 72, 55):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        if buffer.tell() > limit:
            image = Image.open(buffer).convert("RGBA")  # no paper of its own; FASTOCTREE alone keeps it so
            image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            buffer = io.BytesIO()
            image.save(buffer, format="png", optimize=True)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


Number = TypeVar("Number", int, float)


def bounded(value: Number, low: Number, high: Number) -> Number:
    """The value, brought into [low, high] as a slider would; LabError where it is not a number."""
    if math.isnan(value):
        raise LabError(f"the value is not a number; it must lie in [{low:g}, {high:g}]")
    return min(max(value, low), high)


@lru_cache
def source(name: str) -> str:
    """The text of a file beside this module."""
    return (HERE / name).read_text(encoding="utf-8")


def styles(*names: str) -> str:
    """The shared style sheet followed by the named ones: what a widget gives as ``_css``."""
    return "\n".join(source(name) for name in ("shared.css", *names))


def module(name: str) -> str:
    """The shared script followed by the named one: what a widget gives as ``_esm``."""
    return source("shared.js") + "\n" + source(name)


def _plain(value: Any) -> Any:
    """A trait's value as JSON; bytes become ``{"$bytes": base64}``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def state(widget: anywidget.AnyWidget) -> dict[str, Any]:
    """The values of the widget's own synchronised traits, without those of anywidget and ipywidgets."""
    theirs = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
    return {name: _plain(getattr(widget, name)) for name in widget.keys if name not in theirs}


def _script_hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii") + "'"


def render_page(title: str, parts: Sequence[str | anywidget.AnyWidget]) -> str:
    """One self-contained HTML page.

    Args:
        title: text of the page's title (not shown in its body).
        parts: in order; a string is HTML and taken as it is (escape what you do not know), a widget is shown alive.

    The page's content security policy forbids every request to the network and every script but those inlined here.
    """
    body: list[str] = []
    modules: dict[str, str] = {}
    sheets: dict[str, None] = {}
    for part in parts:
        if isinstance(part, str):
            body.append(part)
            continue
        kind = type(part).__name__
        modules[kind] = str(part._esm)
        sheets[str(part._css)] = None
        values = json.dumps(state(part), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
        body.append(
            f'<div class="lab-mount" data-widget="{kind}"><script type="application/json">{values}</script></div>'
        )
    scripts = []
    for kind, module in modules.items():
        script = f"\n{module}\n{source('page.js').replace('WIDGET_KIND', kind)}"
        if "</script" in script.lower():
            raise ValueError(f"the module of {kind} holds an end tag of a script and cannot be inlined")
        scripts.append(script)
    policy = "; ".join([
        "default-src 'none'",
        "img-src data: blob:",
        "style-src 'unsafe-inline'",
        "script-src " + (" ".join(map(_script_hash, scripts)) or "'none'"),
        "base-uri 'none'",
        "form-action 'none'",
    ])  # fmt: skip
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{html.escape(title)}</title>",
        *(f"<style>\n{sheet}\n</style>" for sheet in (source("page.css"), *sheets)),
        "</head>",
        "<body>",
        "<main>",
        *body,
        "</main>",
        *(f'<script type="module">{script}</script>' for script in scripts),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def write_page(path: str | Path, title: str, parts: Sequence[str | anywidget.AnyWidget]) -> Path:
    """Write ``render_page(title, parts)`` to ``path`` (folders are made) and return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(title, parts), encoding="utf-8", newline="\n")
    return path
