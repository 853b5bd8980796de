"""FrameScrubber in a real JupyterLab and as a page of its own, by mouse and keyboard, with and without a kernel."""

import base64
import statistics

import numpy as np
import pytest
from browser import jupyterlab, running_browser, until, watch, write_notebook  # noqa: F401, a fixture

COUNT = 120
FRAMES = f"""\
import numpy as np

def frames(count, seed, size=(32, 64)):
    "A disc that circles over a pattern, uint8 (count, *size, 3); the disc stays away from the corners."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size[0], :size[1]]
    t = np.arange(count)[:, None, None]
    disc = np.hypot(x - 32 - 14 * np.cos(t / 6 + seed), y - 16 - 6 * np.sin(t / 6 + seed)) < 5
    video = np.where(disc[..., None], rng.integers(0, 256, 3), rng.integers(90, 140, (*size, 3)))
    return video.astype(np.uint8)

def noisy(video, size):
    "The video with an error that grows with time."
    noise = np.random.default_rng(9).normal(0, 1, video.shape) * np.linspace(1, size, len(video))[:, None, None, None]
    return np.clip(video + np.rint(noise), 0, 255).astype(np.uint8)

pose, truth = frames({COUNT}, 1), frames({COUNT}, 2)
prediction = noisy(truth, 20)
"""
scope: dict = {}
exec(FRAMES, scope)
pose, truth, prediction = scope["pose"], scope["truth"], scope["prediction"]

CELLS = [
    FRAMES,
    """from labutils.widgets import Clip, FrameScrubber
seen = []
scrubber = FrameScrubber.from_arrays(pose, truth, prediction, name="dance", fps=50)
scrubber.observe(lambda change: seen.append(change.new), "index")
scrubber""",
    """from ipywidgets import HBox, IntSlider, jslink
epochs = FrameScrubber([
    Clip("val", pose, {f"epoch {e}": noisy(truth, 40 / e) for e in (1, 2, 4)}, truth),
    Clip("test 1", pose[:50], {f"epoch {e}": truth[:50] for e in (1, 2, 4)}),
])
slider = IntSlider(2, max=2)
link = jslink((slider, "value"), (epochs, "run"))
HBox([epochs, slider])""",
]


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A notebook that shows two scrubbers; its kernel ends in the last test that uses it."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / "scrubber.ipynb", CELLS)
    with jupyterlab(folder) as lab:
        tab = lab.open(browser, "scrubber.ipynb", height=1300)
        tab.run_all()
        for k in (0, 1):
            Scrubber(tab.page, k).wait()
        yield tab


class Scrubber:
    """One scrubber on a page, as a user sees it."""

    def __init__(self, page, position=0):
        self.page = page
        self.root = page.locator(".lab-scrubber").nth(position)

    def wait(self):
        self.root.wait_for()
        assert until(lambda: self.root.get_attribute("data-ready") == "true", 20)

    @property
    def index(self):
        return int(self.root.get_attribute("data-index"))

    def focus(self, index=None):
        """Focus on the frame slider, at frame ``index``."""
        slider = self.root.get_by_role("slider", name="frame")
        slider.focus()
        if index is not None:
            slider.fill(str(index))

    def canvas(self, panel):
        """(zoom, pixels): every pixel of the panel's canvas, uint8 (zoom * H, zoom * W, 3)."""
        width, height, data = self.root.locator(f".ls-panel-{panel} canvas").evaluate(
            """c => {
              const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
              let text = "";
              for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
              return [c.width, c.height, btoa(text)];
            }"""
        )
        pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
        assert (pixels[..., 3] == 255).all()
        return width // 64, pixels[..., :3]

    def frame(self, panel):
        """The frame in a panel, (32, 64, 3); fails unless each of its pixels is one even square."""
        zoom, pixels = self.canvas(panel)
        assert zoom >= 2
        small = pixels[::zoom, ::zoom]
        np.testing.assert_array_equal(small.repeat(zoom, 0).repeat(zoom, 1), pixels)
        return small

    def on_curve(self, index):
        """The place (x, y) on the page of frame ``index`` on the plot."""
        box = self.root.locator(".ls-plot > svg").bounding_box()
        span = self.root.locator(".ls-time").bounding_box()  # its thumb is 14 px wide
        return span["x"] + 7 + index / (COUNT - 1) * (span["width"] - 14), box["y"] + 60


def shown(scrubber, index):
    """True when the panels show exactly the arrays' frame."""
    return (
        scrubber.index == index
        and np.array_equal(scrubber.frame("pose"), pose[index])
        and np.array_equal(scrubber.frame("truth"), truth[index])
        and np.array_equal(scrubber.frame("prediction"), prediction[index])
    )


def test_the_widget_appears_and_not_its_picture(tab):
    """A cell's output holds both; the front end shows the widget alone."""
    outputs = tab.page.locator(".jp-OutputArea-output")
    assert outputs.count() == 2 and outputs.locator(".lab-scrubber").count() == 2
    assert tab.page.locator(".jp-RenderedImage").count() == outputs.locator("img").count() == 0
    held = "scrubber._repr_mimebundle_()[0]"
    assert tab.python(f"print(*sorted({held}))") == "application/vnd.jupyter.widget-view+json image/png text/plain"


def test_a_cell_that_fails_out_of_sight_fails_the_run(tab, browser):
    """Of ``Tab.run_all``, on which the other tests rely."""
    long = [f"{k}\n" + "# a long cell\n" * 30 for k in range(8)]
    write_notebook(tab.lab.folder / "failing.ipynb", [*long, "1 / 0", *long])
    other = tab.lab.open(browser, "failing.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError: division by zero"):
        other.run_all()
    other.page.context.close()


def test_panels_hold_the_exact_pixels_and_the_error(tab):
    from labutils.widgets.scrubber import error_image

    scrubber = Scrubber(tab.page)
    for index in (0, 77):
        scrubber.focus(index)
        assert shown(scrubber, index)
        np.testing.assert_array_equal(scrubber.frame("error"), error_image(prediction[index], truth[index], 4))
    scrubber.root.get_by_label("kind of error").select_option("signed")
    scrubber.root.get_by_label("factor on the error").select_option("×8")
    np.testing.assert_array_equal(scrubber.frame("error"), error_image(prediction[77], truth[77], 8, signed=True))
    assert until(lambda: tab.python("print(scrubber.signed, scrubber.scale)") == "True 8")
    tab.python("scrubber.signed = False; scrubber.scale = 4")
    assert until(lambda: np.array_equal(scrubber.frame("error"), error_image(prediction[77], truth[77], 4)))


def test_keys_move_the_frame_and_nothing_else(tab):
    scrubber, page = Scrubber(tab.page), tab.page
    scrubber.focus(5)
    still = page.locator(".jp-CodeCell .jp-InputArea").nth(1)
    cells = page.locator(".jp-Cell").count()
    before = still.screenshot(), scrubber.frame("pose"), scrubber.frame("prediction")
    for key, index in [("ArrowRight", 6), ("ArrowLeft", 5), ("PageUp", 15), ("PageDown", 5), ("End", COUNT - 1),
                       ("ArrowRight", COUNT - 1), ("Home", 0), ("ArrowLeft", 0), ("PageUp", 10)]:  # fmt: skip
        page.keyboard.press(key)
        assert scrubber.index == index, key
    after = still.screenshot(), scrubber.frame("pose"), scrubber.frame("prediction")
    assert before[0] == after[0]  # the notebook beside it
    assert (before[1] != after[1]).any() and (before[2] != after[2]).any()
    np.testing.assert_array_equal(before[1][:3, :3], after[1][:3, :3])  # the pose picture's corner
    assert shown(scrubber, 10)
    page.keyboard.press("b")  # not JupyterLab's "new cell below"
    assert scrubber.index == 1 and page.locator(".jp-Cell").count() == cells
    page.keyboard.press("w")
    assert scrubber.index > COUNT / 2
    scrubber.root.get_by_role("button", name="Play").focus()  # not a field to write in: JupyterLab takes keys here
    page.keyboard.press("b")
    assert scrubber.index == 1 and page.locator(".jp-Cell").count() == cells


def test_mouse_on_slider_curve_and_buttons(tab):
    scrubber, page = Scrubber(tab.page), tab.page
    page.mouse.click(*scrubber.on_curve(30))
    assert scrubber.index == 30 and shown(scrubber, 30)
    page.keyboard.press("ArrowRight")  # the click has given the focus to the slider
    assert scrubber.index == 31
    page.mouse.move(*scrubber.on_curve(40))
    page.mouse.down()
    for index in (50, 60, 90):
        page.mouse.move(*scrubber.on_curve(index))
        assert scrubber.index == index
    page.mouse.up()
    page.mouse.move(*scrubber.on_curve(20))
    assert scrubber.index == 90
    tip = scrubber.root.locator(".ls-tip").inner_text()
    from labutils.widgets.scrubber import psnr

    assert "frame 21" in tip and f"{psnr(prediction[20], truth[20]):.2f}" in tip
    page.mouse.move(5, 5)
    assert not scrubber.root.locator(".ls-tip").is_visible()
    box = scrubber.root.locator(".ls-time").bounding_box()
    page.mouse.click(scrubber.on_curve(100)[0], box["y"] + box["height"] / 2)
    assert scrubber.index == 100
    for button, index in [("One frame back", 99), ("First frame", 0), ("One frame on", 1), ("Last frame", COUNT - 1)]:
        scrubber.root.get_by_role("button", name=button).click()
        assert scrubber.index == index


def test_legend_hides_and_shows_curves(tab):
    scrubber = Scrubber(tab.page)
    curves = scrubber.root.locator(".lab-curves path")
    button = scrubber.root.get_by_role("button", name="copy of frame 1")
    assert curves.count() == 3 and button.get_attribute("aria-pressed") == "true"
    button.focus()
    tab.page.keyboard.press("Enter")
    assert curves.count() == 2 and button.get_attribute("aria-pressed") == "false"
    assert until(lambda: "copy_first" in tab.python("print(scrubber.hidden)"))
    button.click()
    assert curves.count() == 3


def test_index_travels_to_python_and_back(tab):
    scrubber = Scrubber(tab.page)
    scrubber.focus(42)
    assert until(lambda: tab.python("print(scrubber.index)") == "42")
    tab.python("scrubber.index = 17")
    assert until(lambda: scrubber.index == 17) and shown(scrubber, 17)


def test_playing_ends_with_python_at_the_last_frame(tab):
    scrubber, page = Scrubber(tab.page), tab.page
    scrubber.focus(0)
    scrubber.root.get_by_role("button", name="Loop").click()
    assert until(lambda: tab.python("print(scrubber.index, scrubber.loop)") == "0 False")
    tab.python("seen.clear()")
    scrubber.focus()
    page.keyboard.press("Space")
    assert scrubber.root.get_by_role("button", name="Pause").is_visible()
    assert until(lambda: scrubber.index == COUNT - 1, 10)  # 2.4 s at 50 frames a second
    assert until(lambda: scrubber.root.get_by_role("button", name="Play").count() == 1)
    assert until(lambda: tab.python("print(scrubber.index, scrubber.playing)") == f"{COUNT - 1} False")
    seen = eval(tab.python("print(seen)"))
    assert seen == sorted(seen) and seen[-1] == COUNT - 1 and len(seen) >= 3, seen
    tab.python("scrubber.loop = True; scrubber.playing = True")
    assert until(lambda: 0 < scrubber.index < 60)
    tab.python("scrubber.playing = False")


def test_checkpoints_and_sequences(tab):
    scrubber, page = Scrubber(tab.page, 1), tab.page
    noisy = scope["noisy"]
    scrubber.focus(60)
    np.testing.assert_array_equal(scrubber.frame("prediction"), noisy(truth, 10)[60])
    page.keyboard.press("ArrowDown")
    assert until(lambda: np.array_equal(scrubber.frame("prediction"), noisy(truth, 20)[60]))
    run = scrubber.root.get_by_role("slider", name="epoch")
    assert run.get_attribute("aria-valuetext") == "epoch 2"
    assert page.locator(".widget-readout").inner_text() == "1"  # linked in the browser
    run.focus()
    page.keyboard.press("ArrowLeft")
    assert until(lambda: np.array_equal(scrubber.frame("prediction"), noisy(truth, 40)[60])) and scrubber.index == 60
    assert until(lambda: tab.python("print(epochs.run, slider.value)") == "0 0")
    scrubber.root.get_by_label("sequence").select_option("test 1")
    assert until(lambda: np.array_equal(scrubber.frame("prediction"), truth[49]))  # 50 frames, truth unknown
    assert not scrubber.root.locator(".ls-panel-error").is_visible()
    assert until(lambda: tab.python("print(epochs.sequence, epochs.index)") == "1 49")
    tab.python("epochs.sequence = 0; epochs.run = 2; epochs.index = 60")
    assert until(lambda: np.array_equal(scrubber.frame("prediction"), noisy(truth, 10)[60]))


def test_a_step_takes_less_than_a_frame_of_the_screen(tab, record_property):
    scrubber = Scrubber(tab.page)
    scrubber.focus(0)
    times = scrubber.root.evaluate(
        """async root => {
          const slider = root.querySelector(".ls-time"), work = [], screen = [];
          for (let i = 0; i < 100; i++) {
            await new Promise(requestAnimationFrame);
            const start = performance.now();
            slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
            root.offsetHeight;  // layout included
            work.push(performance.now() - start);
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            screen.push(performance.now() - start);
          }
          return [work, screen];
        }"""
    )
    assert scrubber.index == 100
    for name, values in zip(("script and layout", "until the next picture"), times, strict=True):
        values = sorted(values)
        text = f"{statistics.median(values):.1f} ms, 95 %: {values[94]:.1f} ms"
        print(f"\nstep, {name}: {text}", end="")
        record_property(name, text)
    print()
    assert statistics.median(times[0]) < 16


def test_it_scrubs_on_when_the_kernel_is_gone(tab):
    assert tab.errors == []
    scrubber = Scrubber(tab.page)
    scrubber.focus(3)
    tab.shut_down_kernel()
    tab.page.wait_for_timeout(1000)
    for key in ("ArrowRight", "PageUp"):
        tab.page.keyboard.press(key)
    assert shown(scrubber, 14)
    tab.page.mouse.click(*scrubber.on_curve(80))
    assert shown(scrubber, 80)
    tab.page.keyboard.press("Space")
    assert until(lambda: scrubber.index > 85)
    tab.page.keyboard.press("Space")
    assert [e for e in tab.errors if "lab-scrubber" in e or "blob:" in e] == []


def test_the_page_scrubs_without_any_network(browser, tmp_path):
    from labutils.widgets import FrameScrubber

    path = FrameScrubber.from_arrays(pose, truth, prediction, index=9).to_html(tmp_path / "page.html")
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 800})
    wanted: list[str] = []
    context.route("**/*", lambda route: (wanted.append(route.request.url), route.abort())
                  if not route.request.url.startswith("file:") else route.continue_())  # fmt: skip
    page = context.new_page()
    errors = watch(page)
    page.goto(path.as_uri())
    scrubber = Scrubber(page)
    scrubber.wait()
    assert shown(scrubber, 9)
    page.mouse.click(*scrubber.on_curve(50))
    page.keyboard.press("PageUp")
    assert shown(scrubber, 60)
    page.keyboard.press("Space")
    assert until(lambda: scrubber.index > 65)
    page.keyboard.press("Space")
    page.set_viewport_size({"width": 380, "height": 900})
    page.keyboard.press("Home")
    assert until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth")) and shown(scrubber, 0)
    assert wanted == [] and errors == []
    context.close()


def test_playing_does_not_flood_python(browser, tmp_path):
    """Counted on a page, where nothing but the module's own throttle holds messages back."""
    from labutils.widgets import FrameScrubber

    path = FrameScrubber.from_arrays(pose, truth, prediction, fps=50, loop=False).to_html(tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("save_changes() {}") == 1
    path.write_text(
        text.replace("save_changes() {}", "save_changes() { saved.push([performance.now(), this.get('index')]); }")
    )
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.add_init_script("globalThis.saved = []")
    page.goto(path.as_uri())
    scrubber = Scrubber(page)
    scrubber.wait()
    scrubber.focus()
    page.keyboard.press("Space")
    assert until(
        lambda: scrubber.root.get_by_role("button", name="Play").count() == 1 and scrubber.index == COUNT - 1, 10
    )
    page.wait_for_timeout(200)
    saved = page.evaluate("saved")
    steps = [(then, index) for (then, index), (_, before) in zip(saved[1:], saved, strict=False) if index != before]
    gaps = np.diff([then for then, _ in steps])
    assert len(steps) > 10 and gaps.min() > 90 and steps[-1][1] == COUNT - 1, steps
    context.close()


@pytest.mark.parametrize("density", [1.5, 2])
def test_pixels_stay_even_on_dense_screens(browser, tmp_path, density):
    from labutils.widgets import FrameScrubber

    path = FrameScrubber.from_arrays(pose, truth, prediction).to_html(tmp_path / "page.html")
    context = browser.new_context(device_scale_factor=density, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.goto(path.as_uri())
    scrubber = Scrubber(page)
    scrubber.wait()
    zoom, _ = scrubber.canvas("truth")
    box = scrubber.root.locator(".ls-panel-truth canvas").bounding_box()
    assert box["width"] * density == pytest.approx(64 * zoom, abs=0.1)  # one canvas pixel is one device pixel
    assert shown(scrubber, 0)
    context.close()
