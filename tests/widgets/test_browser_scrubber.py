"""FrameScrubber in a real JupyterLab and as a page of its own, by mouse and keyboard, with and without a kernel."""

import numpy as np
import pytest
from browser import fits, opened, running_browser, running_notebook, shown_frame, until, write_notebook  # noqa: F401
from discs import COUNT, noisy, pose, prediction, truth

from labutils.metrics import psnr
from labutils.show import bold_poses
from labutils.widgets import Clip, FrameScrubber
from labutils.widgets.scrubber import error_image

pytestmark = pytest.mark.browser
CELLS = """\
from discs import noisy, pose, prediction, truth
from labutils.widgets import Clip, FrameScrubber
seen = []
scrubber = FrameScrubber.from_arrays(pose, truth, prediction, name="dance", fps=50)
scrubber.observe(lambda change: seen.append(change.new), "index")
scrubber
====
from ipywidgets import HBox, IntSlider, jslink
epochs = FrameScrubber([
    Clip("val", pose, {f"epoch {e}": noisy(truth, 40 / e) for e in (1, 2, 4)}, truth),
    Clip("test 1", pose[:50], {f"epoch {e}": truth[:50] for e in (1, 2, 4)}),
])
slider = IntSlider(2, max=2)
link = jslink((slider, "value"), (epochs, "run"))
HBox([epochs, slider])"""


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A notebook that shows two scrubbers; its kernel ends in the last test that uses it."""
    with running_notebook(browser, tmp_path_factory.mktemp("lab"), CELLS) as tab:
        yield tab


@pytest.fixture
def scrubber(tab):
    """The first of them."""
    return Scrubber(tab.page)


@pytest.fixture
def path(tmp_path):
    """A scrubber as a page."""
    return FrameScrubber.from_arrays(pose, truth, prediction, index=9, fps=50, loop=False).to_html(tmp_path / "a.html")


class Scrubber:
    """One scrubber on a page, as a user sees it."""

    def __init__(self, page, position=0):
        self.page = page
        self.root = page.locator(".lab-scrubber").nth(position)
        self.root.wait_for()
        assert until(lambda: self.root.get_attribute("data-ready") == "true")

    @property
    def index(self):
        return int(self.root.get_attribute("data-index"))

    def button(self, name):
        return self.root.get_by_role("button", name=name)

    def focus(self, index=None):
        """Focus on the frame slider, at frame ``index``."""
        slider = self.root.get_by_role("slider", name="frame")
        slider.focus()
        if index is not None:
            slider.fill(str(index))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def frame(self, panel):
        """The frame in a panel, (32, 64, 3); fails unless each of its pixels is one even square."""
        return shown_frame(self.root.locator(f".ls-panel-{panel} canvas"))

    def shows(self, index):
        """Whether the panels show exactly the arrays' frame."""
        videos = {"pose": pose, "truth": truth, "prediction": prediction}
        return self.index == index and all(np.array_equal(self.frame(k), video[index]) for k, video in videos.items())

    def predictions(self):
        """The frames of all panels that show a prediction."""
        return [shown_frame(canvas) for canvas in self.root.locator(".ls-panel-prediction canvas").all()]

    def predicts(self, frame):
        """Wait until the prediction is this frame."""
        return until(lambda: np.array_equal(self.frame("prediction"), frame))

    def on_curve(self, index):
        """The place (x, y) on the page of frame ``index`` on the plot."""
        box = self.root.locator(".ls-plot > svg").bounding_box()
        span = self.root.locator(".ls-time").bounding_box()  # its thumb is 14 px wide
        return span["x"] + 7 + index / (COUNT - 1) * (span["width"] - 14), box["y"] + 60


# ------------------------------------------------------------------------------------------------------ in a notebook


def test_the_widget_appears_and_not_its_picture(tab):
    """A cell's output holds both; the front end shows the widget alone."""
    outputs = tab.page.locator(".jp-OutputArea-output")
    assert outputs.count() == 2 and outputs.locator(".lab-scrubber").count() == 2
    assert tab.page.locator(".jp-RenderedImage").count() == outputs.locator("img").count() == 0
    held = tab.value("sorted(scrubber._repr_mimebundle_()[0])")
    assert held == ["application/vnd.jupyter.widget-view+json", "image/png", "text/plain"]


def test_a_cell_that_fails_out_of_sight_fails_the_run(tab, browser):
    """Of ``Tab.run_all``, on which the other tests rely."""
    long = [f"{k}\n" + "# a long cell\n" * 30 for k in range(8)]
    write_notebook(tab.lab.folder / "failing.ipynb", [*long, "1 / 0", *long])
    other = tab.lab.open(browser, "failing.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError: division by zero"):
        other.run_all()
    other.page.context.close()


def test_panels_hold_the_exact_pixels_and_the_error(tab, scrubber):
    for index in (0, 77):
        scrubber.focus(index)
        assert scrubber.shows(index)
        np.testing.assert_array_equal(scrubber.frame("error"), error_image(prediction[index], truth[index], 4))
    scrubber.root.get_by_label("kind of error").select_option("signed")
    scrubber.root.get_by_label("factor on the error").select_option("×8")
    np.testing.assert_array_equal(scrubber.frame("error"), error_image(prediction[77], truth[77], 8, signed=True))
    assert until(lambda: tab.value("[scrubber.signed, scrubber.scale]") == [True, 8])
    tab.python("scrubber.signed = False; scrubber.scale = 4")
    assert until(lambda: np.array_equal(scrubber.frame("error"), error_image(prediction[77], truth[77], 4)))


def test_keys_move_the_frame_and_nothing_else(tab, scrubber):
    scrubber.focus(5)
    still = tab.page.locator(".jp-CodeCell .jp-InputArea").nth(1)
    cells = tab.page.locator(".jp-Cell").count()
    before = still.screenshot()
    for key, index in [("ArrowRight", 6), ("ArrowLeft", 5), ("PageUp", 15), ("PageDown", 5), ("End", COUNT - 1),
                       ("ArrowRight", COUNT - 1), ("Home", 0), ("ArrowLeft", 0), ("PageUp", 10)]:  # fmt: skip
        scrubber.press(key)
        assert scrubber.index == index, key
    assert before == still.screenshot() and scrubber.shows(10)  # the notebook beside it stays as it is
    scrubber.press("b")  # not JupyterLab's "new cell below"
    assert scrubber.index == 1
    scrubber.press("w")
    assert scrubber.index > COUNT / 2
    scrubber.button("Play").focus()  # not a field to write in: JupyterLab takes keys here
    scrubber.press("b")
    assert scrubber.index == 1 and tab.page.locator(".jp-Cell").count() == cells


def test_mouse_on_slider_curve_and_buttons(tab, scrubber):
    mouse, tip = tab.page.mouse, scrubber.root.locator(".ls-tip")
    mouse.click(*scrubber.on_curve(30))
    assert scrubber.shows(30)
    scrubber.press("ArrowRight")  # the click has given the focus to the slider
    assert scrubber.index == 31
    mouse.move(*scrubber.on_curve(40))
    mouse.down()
    for index in (50, 60, 90):
        mouse.move(*scrubber.on_curve(index))
        assert scrubber.index == index
    mouse.up()
    mouse.move(*scrubber.on_curve(20))
    assert scrubber.index == 90
    assert "frame 21" in tip.inner_text() and f"{psnr(prediction[20], truth[20]):.2f}" in tip.inner_text()
    mouse.move(5, 5)
    assert not tip.is_visible()
    box = scrubber.root.locator(".ls-time").bounding_box()
    mouse.click(scrubber.on_curve(100)[0], box["y"] + box["height"] / 2)
    assert scrubber.index == 100
    for button, index in [
        ("One frame back", 99),
        ("First frame (Home)", 0),
        ("One frame on", 1),
        ("Last frame", COUNT - 1),
    ]:
        scrubber.button(button).click()
        assert scrubber.index == index


def test_legend_hides_and_shows_curves(tab, scrubber):
    curves, button = scrubber.root.locator(".lab-curves path"), scrubber.button("copy of the first frame")
    assert curves.count() == 3 and button.get_attribute("aria-pressed") == "true"
    button.focus()
    scrubber.press("Enter")
    assert curves.count() == 2 and button.get_attribute("aria-pressed") == "false"
    assert until(lambda: "copy_first" in tab.value("scrubber.hidden"))
    button.click()
    assert curves.count() == 3


def test_playing_ends_with_python_at_the_last_frame(tab, scrubber):
    scrubber.focus(0)
    scrubber.button("Loop").click()
    assert until(lambda: tab.value("[scrubber.index, scrubber.loop]") == [0, False])
    tab.python("seen.clear()")
    scrubber.focus()
    scrubber.press("Space")
    assert until(lambda: scrubber.index == COUNT - 1 and scrubber.button("Play").count() == 1)
    assert until(lambda: tab.value("[scrubber.index, scrubber.playing]") == [COUNT - 1, False])
    seen = tab.value("seen")
    assert seen == sorted(seen) and seen[-1] == COUNT - 1 and len(seen) >= 2, seen
    tab.python("scrubber.loop = True; scrubber.playing = True")
    assert until(lambda: 0 < scrubber.index < COUNT - 1) and scrubber.button("Pause").is_visible()
    tab.python("scrubber.playing = False")
    assert until(lambda: scrubber.button("Play").count() == 1)


def test_checkpoints_and_sequences(tab):
    scrubber = Scrubber(tab.page, 1)
    scrubber.focus(60)
    assert scrubber.predicts(noisy(truth, 10)[60])
    scrubber.press("ArrowDown")
    assert scrubber.predicts(noisy(truth, 20)[60])
    run = scrubber.root.get_by_role("slider", name="epoch")
    assert run.get_attribute("aria-valuetext") == "epoch 2"
    assert tab.page.locator(".widget-readout").inner_text() == "1"  # linked in the browser
    run.focus()
    scrubber.press("ArrowLeft")
    assert scrubber.predicts(noisy(truth, 40)[60]) and scrubber.index == 60
    assert until(lambda: tab.value("[epochs.run, slider.value]") == [0, 0])
    scrubber.root.get_by_label("sequence").select_option("test 1")
    assert scrubber.predicts(truth[49])  # 50 frames, truth unknown
    assert not scrubber.root.locator(".ls-panel-error").is_visible()
    assert until(lambda: tab.value("[epochs.sequence, epochs.index]") == [1, 49])
    tab.python("epochs.sequence = 0; epochs.run = 2; epochs.index = 60")
    assert scrubber.predicts(noisy(truth, 10)[60])
    tab.python("epochs.together = True")
    every = [noisy(truth, 40 / e)[60] for e in (1, 2, 4)]
    assert until(lambda: np.array_equal(scrubber.predictions(), every))


def test_it_scrubs_on_when_the_kernel_is_gone(tab, scrubber):
    scrubber.focus(3)
    tab.shut_down_kernel()
    scrubber.press("ArrowRight", "PageUp")
    assert scrubber.shows(14)
    tab.page.mouse.click(*scrubber.on_curve(80))
    assert scrubber.shows(80)
    scrubber.press("Space")
    assert until(lambda: scrubber.index > 85)
    scrubber.press("Space")


# ------------------------------------------------------------------------------------------------------------- a page


def test_the_page_scrubs_without_any_network(browser, path):
    with opened(browser, path) as page:
        wanted, scrubber = [], Scrubber(page)
        page.on("request", lambda request: wanted.append(request.url))
        assert scrubber.shows(9)
        page.mouse.click(*scrubber.on_curve(50))
        scrubber.press("PageUp")
        assert scrubber.shows(60)
        scrubber.press("Space")
        assert until(lambda: scrubber.index > 65)
        scrubber.press("Space")
        assert fits(page, 380)
        scrubber.press("Home")
        assert scrubber.shows(0) and wanted == []


def test_runs_side_by_side(browser, tmp_path):
    runs = {f"future {k}": noisy(truth, 10 * k) for k in (3, 1, 2)}
    scrubber = FrameScrubber.from_arrays(pose, truth, runs, together=True)
    with opened(browser, scrubber.to_html(tmp_path / "runs.html")) as page:
        scrubber = Scrubber(page)
        panels = scrubber.root.locator(".ls-panel:visible")
        for index in (0, 77):
            scrubber.focus(index)
            assert panels.count() == 5 and np.array_equal(scrubber.frame("truth"), truth[index])
            assert np.array_equal(scrubber.predictions(), [video[index] for video in runs.values()])
        assert scrubber.root.locator(".ls-panel-prediction .ls-note").all_inner_texts() == list(runs)
        for name, video in runs.items():  # the chosen one is read out
            assert scrubber.root.locator(".ls-chosen").inner_text() == name
            assert scrubber.root.locator(".ls-now-value").inner_text() == f"{psnr(video[77], truth[77]):.2f} dB"
            scrubber.press("ArrowUp")
        for width in (600, 360):  # in several rows
            assert fits(page, width) and until(lambda: len({p.bounding_box()["y"] for p in panels.all()}) > 1)
        assert np.array_equal(scrubber.predictions(), [video[77] for video in runs.values()])
        side = scrubber.button("side by side")
        side.click()
        assert panels.count() == 4 and np.array_equal(scrubber.predictions(), [runs["future 2"][77]])
        assert scrubber.root.locator(".ls-panel-error").is_visible() and side.get_attribute("aria-pressed") == "false"
        side.click()
        assert panels.count() == 5 and not scrubber.root.locator(".ls-error").is_visible()


def sticks_out(root):
    """Names of what reaches beyond a widget's box, which cuts it off."""
    return root.evaluate(
        """root => {
          const box = root.getBoundingClientRect();
          const out = (b) => b.width && (b.right > box.right + 0.5 || b.left < box.left - 0.5);
          const parts = [...root.querySelectorAll("*")].filter(e => out(e.getBoundingClientRect()));
          return parts.map(e => e.outerHTML.slice(0, 80));
        }"""
    )


def test_narrow_screens_show_all_of_it(browser, tmp_path):
    many = {"a model with a rather long name": prediction, "teacher forcing": truth}
    checkpoints = {f"epoch {e}": truth for e in (1, 2, 4)}
    for runs in (many, checkpoints):
        clips = [Clip("validation", pose, runs, truth), Clip("test 1", pose, runs, truth)]
        scrubber = FrameScrubber(clips, signed=True, hidden=[])
        with opened(browser, scrubber.to_html(tmp_path / "narrow.html")) as page:
            root = Scrubber(page).root
            for width in (600, 400, 320):
                assert fits(page, width) and until(lambda root=root: sticks_out(root) == [])


def test_poses_are_drawn_bold_and_focus_is_seen(browser, tmp_path):
    thin = np.full_like(truth, 255)
    thin[:, 10, 5:50] = (170, 255, 255)
    with opened(browser, FrameScrubber.from_arrays(thin, truth, prediction).to_html(tmp_path / "bold.html")) as page:
        scrubber = Scrubber(page)
        np.testing.assert_array_equal(scrubber.frame("pose"), bold_poses(thin)[0])
        time = scrubber.root.locator(".ls-time")
        before = time.screenshot()
        page.keyboard.press("Tab")
        while not time.evaluate("e => e === document.activeElement"):
            page.keyboard.press("Tab")
        assert time.screenshot() != before


def saving(path, script):
    """Let the page run a script where a notebook would send what has changed to Python."""
    text = path.read_text(encoding="utf-8")
    assert text.count("save_changes() {}") == 1
    path.write_text(text.replace("save_changes() {}", f"save_changes() {{ {script}; }}"), encoding="utf-8")


@pytest.mark.parametrize("fault", ["throw Error('no kernel')", "return Promise.reject(Error('no kernel'))"])
def test_it_scrubs_on_when_nothing_can_be_sent(browser, path, fault):
    """What a notebook may do while its kernel goes."""
    saving(path, fault)
    with opened(browser, path, bypass_csp=True) as page:
        scrubber = Scrubber(page)
        scrubber.focus()
        scrubber.press("PageUp", "l", "Space")
        assert until(lambda: scrubber.index > 25)
        scrubber.press("Space", "Home")
        assert scrubber.shows(0)


def test_a_step_draws_neither_curves_nor_axes_anew(browser, path):
    """So that it is done within a frame of the screen."""
    with opened(browser, path) as page:
        scrubber = Scrubber(page)
        scrubber.focus()
        scrubber.root.evaluate(
            """root => {
              globalThis.changed = [];
              const drawn = ({ target }) => target.closest?.(".lab-grid, .lab-curves") ?? target;
              new MutationObserver(records => changed.push(...records.map(r => drawn(r).getAttribute?.("class"))))
                .observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
            }"""
        )
        scrubber.press("ArrowRight")
        assert scrubber.shows(10)
        changed = page.evaluate("changed")
        assert "ls-cursor" in changed and not {"lab-grid", "lab-curves"} & set(changed) and len(changed) < 60, changed


def test_playing_does_not_flood_python(browser, path):
    """Counted on a page, where nothing but the module's own throttle holds messages back, on a clock of the test."""
    saving(path, "(globalThis.saved ??= []).push([performance.now(), this.get('index')])")
    with opened(browser, path, bypass_csp=True) as page:
        page.clock.install()
        page.reload()
        scrubber = Scrubber(page)
        scrubber.focus(0)
        page.clock.run_for(1000)
        scrubber.press("Space")
        page.clock.run_for(4000)
        assert scrubber.index == COUNT - 1 and scrubber.button("Play").count() == 1
        saved = page.evaluate("saved")
        steps = [(then, i) for (then, i), (_, before) in zip(saved[1:], saved, strict=False) if i != before]
        gaps = np.diff([then for then, _ in steps])
        assert 20 <= len(steps) <= 26 and gaps.min() > 90 and steps[-1][1] == COUNT - 1, steps  # in 2.4 s


@pytest.mark.parametrize("density", [1.5, 2])
def test_pixels_stay_even_on_dense_screens(browser, path, density):
    with opened(browser, path, device_scale_factor=density) as page:
        scrubber = Scrubber(page)
        canvas = scrubber.root.locator(".ls-panel-truth canvas")
        wide = canvas.evaluate("c => c.width")
        assert wide % 64 == 0 and wide >= 128
        assert canvas.bounding_box()["width"] * density == pytest.approx(wide, abs=0.1)  # one device pixel for each
        assert scrubber.shows(9)
