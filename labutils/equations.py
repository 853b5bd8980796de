"""Equations as MathML, which browsers draw without a script and without fonts from elsewhere."""

import html
import re
import unicodedata
from contextlib import suppress
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert

from labutils.errors import LabError

FUNCTIONS = {"log", "exp", "ln", "min", "max", "sin", "cos", "tanh", "det", "dim", "sup", "inf", "lim", "arg max"}
OPERANDS = ("mi", "mn", "mfrac", "msub", "msup", "msubsup", "mover", "mtext", "msqrt", "mrow")
VARIANTS = {"bold": "BOLD", "italic": "ITALIC", "bold-italic": "BOLD ITALIC", "script": "SCRIPT",
            "double-struck": "DOUBLE-STRUCK", "sans-serif": "SANS-SERIF"}  # fmt: skip


def mathml(tex: str, block: bool = False) -> str:
    """An equation as MathML.

    Raises:
        LabError: it holds something that is not understood.
    """
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
    text, variant = element.text or "", element.get("mathvariant")
    if variant == "monospace":
        element.set("style", "font-family: monospace")
    if variant in VARIANTS:  # browsers know no other mathvariant than "normal"
        text = "".join(_letter(c, variant) for c in text)
    if variant in {*VARIANTS, "monospace"}:
        del element.attrib["mathvariant"]
    if element.tag == "mtext":
        text = re.sub(r"\\([%_&#$])", r"\1", text)
    if element.tag == "mi" and text in ("~", ";", ":", "|"):
        element.tag, text = "mo", {"~": "∼"}.get(text, text)
        if text == ";":
            element.set("separator", "true")
    if element.tag == "mo" and re.fullmatch(r"[A-Za-z]{2,}", text):
        element.tag = "mi"  # \operatorname
    element.text = text or None


def _letter(c: str, variant: str) -> str:
    """A letter or digit in one of Unicode's mathematical alphabets; itself where it is not in there."""
    name = re.sub("LATIN | LETTER", "", unicodedata.name(c)) if c.isascii() and c.isalnum() else ""
    for prefix in ("MATHEMATICAL ", ""):  # "MATHEMATICAL SCRIPT CAPITAL N", but "SCRIPT CAPITAL B"
        with suppress(KeyError):
            return unicodedata.lookup(f"{prefix}{VARIANTS[variant]} {name}")
    return c


def _space(parent: Element) -> None:
    """A thin space between a function's name and an operand without brackets, as TeX sets it."""
    children = list(parent)
    for child in children:
        _space(child)
    if parent.tag not in ("mrow", "mtd", "math", "mstyle", "mpadded"):
        return
    for k in range(len(children) - 1, 0, -1):
        left, right = children[k - 1], children[k]
        opening = next((part.text for part in right.iter() if part.text and not len(part)), " ")[0] in "([{|"
        if (_named(left) and right.tag in OPERANDS and not opening) or (_named(right) and left.tag in OPERANDS):
            parent.insert(k, Element("mspace", width="0.167em"))


def _named(element: Element) -> bool:
    """Whether this is a function's name, with or without indices."""
    while element.tag in ("msub", "msup", "msubsup", "munder", "mover") and len(element):
        element = element[0]
    return element.tag in ("mi", "mo") and (element.text or "").replace("\u2009", " ") in FUNCTIONS
