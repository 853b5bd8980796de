"""TrainingMonitor in a real JupyterLab, while ``fit`` keeps the kernel busy: curves, Stop, interrupt, an error."""

import re

import numpy as np
import pytest
from browser import fits, opened, running_browser, running_notebook, until  # noqa: F401, a fixture
from tiny import noise

pytestmark = pytest.mark.browser
CELLS = """\
from tiny import config, model, noise
from labutils.checkpoint import load_model, read_history
from labutils.errors import LabError
from labutils.training import fit
from labutils.widgets import TrainingMonitor

def run(monitor, name, *others):
    cfg = config(num_epoch=100_000, per_val=2, per_save=3, quiet=False, save_root=name)
    return fit(model(cfg), noise(64), noise(9, seed=1), cfg, [*others, monitor])
====
monitor = TrainingMonitor()
history = run(monitor, "stopped")
====
saved = read_history("stopped/history.csv")
load_model("stopped/last.ckpt")
print("after:", monitor.state, saved == history, history[-1]["val_psnr"] is not None)
====
second = TrainingMonitor()
history = run(second, "interrupted")
====
load_model("interrupted/last.ckpt")
print("after interrupt:", second.state, read_history("interrupted/history.csv") == history)
====
def fail(event, trainer):
    if event == "validate":
        raise LabError("a fault of the test")

third = TrainingMonitor()
run(third, "failed", fail)"""


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A notebook whose cells have been started and that trains in its second one."""
    with running_notebook(browser, tmp_path_factory.mktemp("lab"), CELLS, wait=False) as tab:
        yield tab


@pytest.fixture
def monitor(tab):
    """The first of the notebook's monitors."""
    return Monitor(tab.page)


class Monitor:
    """One monitor on a page, as a user sees it."""

    def __init__(self, page, position=0):
        self.page, self.root = page, page.locator(".lab-monitor").nth(position)
        self.root.wait_for()

    @property
    def state(self):
        return self.root.get_attribute("data-state")

    def fact(self, name):
        return self.root.locator(f".lm-fact-{name} b").inner_text()

    def paths(self, panel):
        return self.root.locator(f".lm-panel-{panel} .lab-curves path")

    def points(self, panel):
        """Number of points of the first curve of a panel."""
        return len(re.findall("[ML]", self.paths(panel).first.get_attribute("d")))

    def step(self):
        return int(self.fact("step"))

    def cursors(self):
        return self.root.locator('.lm-cursor[visibility="visible"]').count()


def printed(page, start):
    """The line that a cell has printed and that starts so; "" while there is none."""
    texts = page.locator(".jp-OutputArea-output").all_inner_texts()
    return next((line for text in texts for line in text.splitlines() if line.startswith(start)), "")


def test_curves_grow_while_fit_blocks_the_kernel(tab, monitor):
    assert until(lambda: monitor.state == "running" and monitor.paths("loss").count() >= 1)
    step, before = monitor.step(), monitor.root.locator(".lm-panels").screenshot()
    assert until(lambda: monitor.step() > step + 50)
    assert min(monitor.points(panel) for panel in ("loss", "kl", "lr")) > 50
    assert monitor.root.locator(".lm-panels").screenshot() != before
    assert until(lambda: monitor.paths("val_psnr").count() and monitor.points("val_psnr") >= 2)
    assert "dB" in monitor.fact("best") and float(monitor.fact("frames").replace(",", "")) > 0
    assert re.fullmatch(r"[\d:]+:\d\d", monitor.fact("left")) and printed(tab.page, "after") == ""


def test_the_strip_shows_truth_and_prediction(monitor):
    canvases = monitor.root.locator(".lm-strip canvas")
    assert until(lambda: canvases.count() == 3 and canvases.first.is_visible())
    val = noise(9, seed=1)  # the cells' one
    for k, expected in enumerate((val.labels, val.frames, val.frames)):
        pixels = canvases.nth(k).evaluate(
            """c => [0, c.width - 24].map(x => [...c.getContext("2d").getImageData(x, 0, 24, 16).data])"""
        )
        first, last = np.array(pixels, np.uint8).reshape(2, 16, 24, 4)[..., :3]
        np.testing.assert_array_equal(first, expected[0])  # frame 1 is given: prediction and truth are the same
        assert (last == expected[8]).all() == (k < 2)


def test_hovering_reads_all_panels_at_one_step(monitor):
    box = monitor.root.locator(".lm-panel-beta svg").bounding_box()
    monitor.page.mouse.move(box["x"] + 120, box["y"] + 60)
    assert until(lambda: monitor.cursors() == 6)
    monitor.page.mouse.move(2, 2)
    assert until(lambda: monitor.cursors() == 0)
    assert "undefined" not in monitor.root.inner_text()


def test_stop_by_keyboard_ends_the_blocking_fit_and_the_next_cell_goes_on(tab, monitor):
    stop = monitor.root.get_by_role("button", name="Stop")
    stop.focus()
    tab.page.keyboard.press("Enter")
    assert monitor.root.locator(".lm-state").inner_text() in ("stopping", "stopped")
    assert until(lambda: monitor.state == "stopped")
    assert until(lambda: printed(tab.page, "after:") == "after: stopped True True")
    assert monitor.root.locator(".lm-message").inner_text() == "checkpoint: stopped/last.ckpt"
    assert not stop.is_visible()
    assert tab.page.locator(".jp-RenderedImage").count() == 0  # its output holds a picture now, which is not shown


def test_the_notebooks_interrupt_ends_it_as_cleanly(tab):
    monitor = Monitor(tab.page, 1)
    assert until(lambda: monitor.paths("loss").count() >= 1)
    tab.lab.request("POST", f"api/kernels/{tab.kernel}/interrupt")
    assert until(lambda: printed(tab.page, "after interrupt:") == "after interrupt: stopped True")
    assert until(lambda: monitor.state == "stopped")


def test_an_error_is_shown_and_the_first_run_still_stands(tab, monitor):
    third = Monitor(tab.page, 2)
    assert until(lambda: third.state == "failed")
    assert third.root.get_by_role("alert").inner_text() == "a fault of the test"
    assert monitor.state == "stopped" and monitor.points("loss") > 50
    assert tab.value("[monitor.state, third.state]") == ["stopped", "failed"]


def test_the_record_survives_the_kernel_and_travels_as_a_page(tab, monitor, browser, tmp_path):
    path = tmp_path / "page.html"
    tab.python(f"monitor.to_html({str(path)!r})")
    tab.shut_down_kernel()
    assert monitor.state == "stopped" and monitor.points("loss") > 50
    with opened(browser, path, color_scheme="dark") as page:
        copy = Monitor(page)
        assert until(lambda: copy.state == "stopped")
        assert copy.fact("step") == monitor.fact("step") and copy.points("loss") == monitor.points("loss")
        assert fits(page, 380)
