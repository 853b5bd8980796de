"""The site of static pages: equations, Markdown, pages; and a real browser without network."""

import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import series
from nbformat.v4 import new_output
from refusals import refuses

from labutils.__main__ import main
from labutils.equations import mathml
from labutils.teach import notebooks, site
from labutils.teach.site import Renderer

ROOT = Path(__file__).resolve().parents[2]
BOOKS = notebooks.find()
each = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
SMALL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

# ---------------------------------------------------------------------------------------------------------- equations


def shown(text: str) -> str:
    return "".join(ElementTree.fromstring(text).itertext())


@pytest.mark.parametrize(
    "tex, text",
    [
        (r"\mathcal N(0, I)", "𝒩(0,I)"),
        (r"\mathcal{L} \sim \mathbb E_q", "ℒ∼𝔼q"),
        (r"\boldsymbol{\mu} \mathbf x", "μ𝐱"),
        (r"\log p(x; \theta)", "logp(x;θ)"),
        (r"\text{5 \% of } x", "5\xa0%\xa0of\xa0x"),
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", "a=b=c"),
        (r"\operatorname{KL}(q \,\|\, p)", "KL(q‖p)"),
        (r"\texttt{kl\_anneal}", "kl_anneal"),
    ],
)
def test_equations(tex, text):
    assert shown(mathml(tex)).replace("∥", "‖") == text
    assert "\\" not in mathml(tex, block=True)


def test_letters_that_browsers_know_no_variant_for():
    text = mathml(r"\mathcal{N}\mathbf{x}\mathbb{R}\mathtt{a1}")
    assert "mathvariant" not in text.replace('mathvariant="normal"', "")


def test_functions_stand_apart_from_their_operands_only():
    assert mathml(r"a \log p").count("mspace") == 2
    assert "mspace" not in mathml(r"\log(p)")
    assert "mspace" in mathml(r"10 \log_{10} x")


def test_numbers_of_equations_are_kept():
    assert '<span class="tag">(3)</span>' in mathml(r"a = b \tag{3}", block=True)


@pytest.mark.parametrize("tex", [r"\unknownthing x", r"\frac{a}{\nosuch}", r"a & b"])
def test_what_is_not_understood_is_an_error(tex):
    refuses("cannot turn this equation", mathml, tex)


# ----------------------------------------------------------------------------------------------------------- Markdown


def test_links_within_the_site_and_out_of_it():
    renderer = Renderer(ROOT, ["03_reparameterization"])
    text = renderer.markdown(
        "[a](03_reparameterization.ipynb#kl) [b](../labutils/model.py) [c](https://arxiv.org/abs/1) [d](#here) "
        "[e](07_none.ipynb)"
    )
    assert 'href="03_reparameterization.html#kl"' in text and 'href="https://arxiv.org/abs/1"' in text
    assert 'href="#here"' in text and "model.py" not in text and text.count("<a ") == 3


def test_pictures_become_part_of_the_page_or_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    for text in ('![a "strip"](a.png)', '<img src="a.png" alt="a &quot;strip&quot;">'):
        assert '<img src="data:image/png;base64,eA==" alt="a &quot;strip&quot;">' in Renderer(tmp_path).markdown(text)
    for address in ("b.png", "https://example.org/a.png"):
        refuses("cannot show it without network", Renderer(tmp_path).markdown, f"![x]({address})")


def test_answers_to_unfold_and_tables_with_equations():
    source = "<details><summary>q</summary>\n\n$x^2$ *yes*\n\n</details>\n\n| a |\n|---|\n| $z$ |"
    text = Renderer(ROOT).markdown(source)
    assert "<details><summary>q</summary>" in text and text.count("<math") == 2 and "<em>yes</em>" in text
    assert "<td>" in text and "</details>" in text


@each
def test_everything_in_the_notebooks_can_be_part_of_a_page(path):
    """Every equation, every picture."""
    renderer = Renderer(path.parent, [p.stem for p in BOOKS])
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "markdown":
            text = renderer.markdown(cell.source)
            plain = re.sub(r"<pre.*?</pre>|<code.*?</code>|<math.*?</math>|<[^>]+>", "", text, flags=re.S)
            assert not re.search(r"\$[^$\n]{1,200}\$|\\(?:frac|mathbb|mathcal|log)\b", plain), (cell.id, plain)


# -------------------------------------------------------------------------------------------------------------- pages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two notebooks as they are stored, without widgets, in the place of the project's."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    book = series.book(
        series.markdown("more", "## More\n\nSee [the other](91_other.ipynb). $\\mathcal L = 1$"),
        series.code("hidden", "draw()", "hide-input"),
    )
    cells = {cell.id: cell for cell in book.cells}
    cells["hidden"].outputs = [
        new_output("display_data", {"image/png": SMALL, "text/plain": "<Figure>"}),
        new_output("stream", text="a < b\n"),
        new_output("display_data", {"text/html": "<table><tr><td>1</td></tr></table>"}),
        new_output("display_data", {"text/markdown": "*said*"}),
    ]
    cells["check-90-1"].outputs = [new_output("stream", text="passed 90.1: double\n")]
    nbformat.write(book, folder / "90_tiny.ipynb")
    other = series.book()
    other.cells[0].source = "# 91 · Other `code`\n\nThe second one.\n\n- a goal"
    nbformat.write(other, folder / "91_other.ipynb")
    monkeypatch.setattr(notebooks, "FOLDER", folder)
    return folder


def test_pages_from_stored_outputs(folder, tmp_path, capsys):
    index = site.write_site(tmp_path / "site", run=False)
    assert index == tmp_path / "site" / "index.html" and len(capsys.readouterr().out.splitlines()) == 2
    page, other = ((tmp_path / "site" / name).read_text() for name in ("90_tiny.html", "91_other.html"))
    assert '<a href="91_other.html">91 · Other code →</a>' in page and "← 90 · Tiny" in other
    assert '<a href="91_other.html">the other</a>' in page and "<math" in page and SMALL in page
    assert "a &lt; b" in page and "<td>1</td>" in page and "<em>said</em>" in page and "passed 90.1: double" in page
    assert "NBVAL_CHECK_OUTPUT" not in page and "<summary>our answer</summary>" in page
    assert "default-src 'none'" in page and "script-src 'none'" in page
    text = index.read_text()
    assert text.index("90_tiny.html") < text.index("91_other.html") and "The second one." in text
    for html in (page, other, text):
        assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(?!data:)", html)
        assert "@import" not in html and "url(" not in html
        assert all((tmp_path / "site" / target).is_file() for target in re.findall(r'href="([\w]+\.html)"', html))


def test_an_error_names_notebook_and_cell(folder, tmp_path, capsys):
    nbformat.write(series.book(series.markdown("bad-equation", r"$\nosuch$")), folder / "90_tiny.ipynb")
    assert main(["html", "--stored", "--out", str(tmp_path / "site")]) == 2
    err = capsys.readouterr().err
    assert "90_tiny.ipynb, cell bad-equation: cannot turn this equation into MathML" in err


def test_only_our_own_widgets_that_need_no_kernel_are_alive():
    state = {"_anywidget_id": "labutils.widgets.scrubber.FrameScrubber", "_esm": "js", "clips": [{"frames": {}}]}
    buffers = [{"path": ["clips", 0, "frames", "a"], "data": "eA=="}, {"path": ["gone", 0], "data": "eA=="}]
    widget = site.alive({"state": state, "buffers": buffers})
    assert type(widget).__name__ == "FrameScrubber" and widget.clips == [{"frames": {"a": {"$bytes": "eA=="}}}]
    assert site.alive({"state": {**state, "_anywidget_id": "labutils.widgets.studio.PoseStudio"}}) is None
    assert site.alive({"state": {"_model_name": "IntSliderModel"}}) is None


WIDGETS = """import numpy as np
from labutils.widgets import FrameScrubber, PoseStudio, ScheduleExplorer

rng = np.random.default_rng(0)
pose, truth, guess = rng.integers(0, 255, (3, 12, 32, 64, 3)).astype(np.uint8)
scrubber = FrameScrubber.from_arrays(pose, truth, guess)
scrubber"""
LATER = "scrubber.index = 2\nScheduleExplorer()"


@pytest.mark.browser
@pytest.mark.slow
def test_a_site_in_a_real_browser_without_network(folder, tmp_path, capsys):
    """The series runs, its pages open from files, nothing is asked from anywhere, and a scrubber scrubs."""
    from browser import chromium, opened

    (folder / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"/>')
    first = [
        series.markdown("title", "# 90 · Tiny\n\nWith $\\log p(x)$ and ![a drawing](a.svg)"),
        series.code("widgets", WIDGETS),
        series.code("later", LATER),
        series.markdown("end", "On to [the next](91_other.ipynb)."),
    ]
    second = [series.markdown("title", "# 91 · Next\n\nText.")]
    for name, cells in (("90_tiny", first), ("91_other", second)):
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    index = site.write_site(tmp_path / "site")
    assert "2 widgets alive" in capsys.readouterr().out
    with chromium() as browser:
        for scheme in ("light", "dark"):
            with opened(browser, index, color_scheme=scheme) as page:
                walk(page)


def walk(page):
    """From the index to a page with widgets, on to the next, and back."""
    from browser import until

    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.get_by_role("link", name="90 · Tiny").click()
    root = page.locator(".lab-scrubber")
    root.wait_for()
    assert until(lambda: root.get_attribute("data-ready") == "true", 20)
    assert root.get_attribute("data-index") == "2"  # as the notebook left it
    root.get_by_role("slider", name="frame").focus()
    page.keyboard.press("ArrowRight")
    assert until(lambda: root.get_attribute("data-index") == "3")
    assert page.locator(".lab-mount").count() == 2
    assert page.locator("math").first.bounding_box()["width"] > 30
    assert page.locator("math mi").first.text_content() == "log"
    assert page.evaluate("document.querySelector('img[alt=\"a drawing\"]').naturalWidth") == 40
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)") == dark
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("link", name="91 · Next").first.click()
    page.get_by_role("heading", name="91 · Next").wait_for()
    page.get_by_role("link", name="← 90 · Tiny").first.click()
    root.wait_for()
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked
