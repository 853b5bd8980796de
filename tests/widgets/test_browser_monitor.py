"""TrainingMonitor in a real JupyterLab, while ``fit`` keeps the kernel busy: curves, Stop, interrupt, an error."""

import re
import time

import numpy as np
import pytest
from browser import jupyterlab, running_browser, until, watch, write_notebook  # noqa: F401, a fixture

SETUP = """import numpy as np, torch
from labutils.config import LabConfig
from labutils.images import Video
from labutils.errors import LabError
from labutils.model import ConditionalVAE, load_model
from labutils.training import fit, read_history
from labutils.widgets.monitor import TrainingMonitor

torch.manual_seed(0)
cfg = LabConfig(frame_H=16, frame_W=24, width=8, N_dim=4, train_vi_len=4, batch_size=2, minutes=3, num_epoch=400,
                per_val=2, num_workers=1)

def video(frames, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (2, frames, 16, 24, 3), dtype=np.uint8)
    return Video("video", *noise)

train, val = video(64, 0), video(9, 1)

def run(monitor, name, *others):
    return fit(ConditionalVAE(cfg), train, val, cfg.replace(save_root=name), [*others, monitor])"""
CELLS = [
    SETUP,
    "monitor = TrainingMonitor()\nhistory = run(monitor, 'stopped')",
    """saved = read_history("stopped/history.csv")
load_model("stopped/last.ckpt")
print("after:", monitor.state, saved == history, history[-1]["val_psnr"] is not None)
print("rate:", monitor.messages, history[-1]["seconds"])""",
    "second = TrainingMonitor()\nhistory = run(second, 'interrupted')",
    """load_model("interrupted/last.ckpt")
print("after interrupt:", second.state, read_history("interrupted/history.csv") == history)""",
    """def fail(event, trainer):
    if event == "validate":
        raise LabError("a fault of the test")

third = TrainingMonitor()
run(third, 'failed', fail)""",
]


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A notebook whose cells have been started and that trains in its second one."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / "monitor.ipynb", CELLS)
    with jupyterlab(folder) as lab:
        tab = lab.open(browser, "monitor.ipynb", height=1300)
        tab.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        yield tab


class Monitor:
    """One monitor on a page, as a user sees it."""

    def __init__(self, page, position=0):
        self.root = page.locator(".lab-monitor").nth(position)

    @property
    def state(self):
        return self.root.get_attribute("data-state")

    def fact(self, name):
        return self.root.locator(f".lm-fact-{name} b").inner_text()

    def points(self, panel):
        """Number of points of the first curve of a panel."""
        path = self.root.locator(f".lm-panel-{panel} .lab-curves path").first
        return len(re.findall("[ML]", path.get_attribute("d")))

    def last_step(self):
        return float(self.fact("step"))


def printed(page, start):
    """The line that a cell has printed and that starts so; "" while there is none."""
    texts = page.locator(".jp-OutputArea-output").all_inner_texts()
    return next((line for text in texts for line in text.splitlines() if line.startswith(start)), "")


def test_curves_grow_while_fit_blocks_the_kernel(tab):
    monitor = Monitor(tab.page)
    monitor.root.wait_for(timeout=60_000)
    assert until(lambda: monitor.state == "running" and monitor.root.locator(".lm-panel-loss path").count() >= 1, 30)
    step, before = monitor.last_step(), monitor.root.locator(".lm-panels").screenshot()
    assert until(lambda: monitor.last_step() > step + 50, 20)
    assert monitor.points("loss") > 50 and monitor.points("kl") > 50 and monitor.points("lr") > 50
    assert monitor.root.locator(".lm-panels").screenshot() != before
    assert until(lambda: monitor.points("val_psnr") >= 2, 30) and "dB" in monitor.fact("best")
    assert re.fullmatch(r"[0-2]:\d\d", monitor.fact("left")) and float(monitor.fact("frames").replace(",", "")) > 1
    assert printed(tab.page, "after") == ""


def test_the_strip_shows_truth_and_prediction(tab):
    monitor = Monitor(tab.page)
    canvases = monitor.root.locator(".lm-strip canvas")
    assert until(lambda: canvases.count() == 3 and canvases.first.is_visible(), 20)
    frames, labels = np.random.default_rng(1).integers(0, 256, (2, 9, 16, 24, 3), dtype=np.uint8)  # SETUP's val
    for k, expected in enumerate((labels, frames, frames)):
        pixels = canvases.nth(k).evaluate(
            """c => [0, c.width - 24].map(x => [...c.getContext("2d").getImageData(x, 0, 24, 16).data])"""
        )
        first, last = np.array(pixels, np.uint8).reshape(2, 16, 24, 4)[..., :3]
        np.testing.assert_array_equal(first, expected[0])  # frame 1 is given: prediction and truth are the same
        assert (last == expected[8]).all() == (k < 2)


def test_hovering_reads_all_panels_at_one_step(tab):
    monitor, page = Monitor(tab.page), tab.page
    box = monitor.root.locator(".lm-panel-beta svg").bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    assert monitor.root.locator('.lm-cursor[visibility="visible"]').count() == 6
    page.mouse.move(2, 2)
    assert until(lambda: monitor.root.locator('.lm-cursor[visibility="visible"]').count() == 0)


def test_stop_by_keyboard_ends_the_blocking_fit_and_the_next_cell_goes_on(tab, record_property):
    monitor = Monitor(tab.page)
    monitor.root.get_by_role("button", name="Stop").focus()
    began = time.monotonic()
    tab.page.keyboard.press("Enter")
    assert monitor.root.locator(".lm-state").inner_text() in ("stopping", "stopped")
    assert until(lambda: monitor.state == "stopped", 15)
    text = f"Stop: {time.monotonic() - began:.1f} s"
    print(f"\n{text}")
    record_property("stop", text)
    assert until(lambda: printed(tab.page, "after:") == "after: stopped True True", 15)
    messages, seconds = map(float, printed(tab.page, "rate:").split()[1:])
    assert messages <= 2.5 * seconds + 5  # the events (start, stopping, validation, end) come on top of the rate
    assert monitor.root.locator(".lm-message").inner_text() == "checkpoint: stopped/last.ckpt"
    assert not monitor.root.get_by_role("button", name="Stop").is_visible()
    assert tab.page.locator(".jp-RenderedImage").count() == 0  # its output holds a picture now, which is not shown


def test_the_notebooks_interrupt_ends_it_as_cleanly(tab):
    monitor = Monitor(tab.page, 1)
    monitor.root.wait_for(timeout=20_000)
    assert until(lambda: monitor.root.locator(".lm-panel-loss path").count() >= 1, 20)
    tab.lab.request("POST", f"api/kernels/{tab.kernel}/interrupt")
    assert until(lambda: printed(tab.page, "after interrupt:") == "after interrupt: stopped True", 20)
    assert until(lambda: monitor.state == "stopped")


def test_an_error_is_shown_and_the_first_run_still_stands(tab):
    monitor = Monitor(tab.page, 2)
    monitor.root.wait_for(timeout=20_000)
    assert until(lambda: monitor.state == "failed", 20)
    assert monitor.root.get_by_role("alert").inner_text() == "a fault of the test"
    first = Monitor(tab.page)
    assert first.state == "stopped" and first.points("loss") > 50
    assert tab.python("print(monitor.state, third.state, monitor._trainer)") == "stopped failed None"
    assert tab.errors == []


def test_the_record_survives_the_kernel_and_travels_as_a_page(tab, browser, tmp_path):
    path = tmp_path / "page.html"
    tab.python(f"monitor.to_html({str(path)!r})")
    tab.shut_down_kernel()
    monitor = Monitor(tab.page)
    assert monitor.state == "stopped" and monitor.points("loss") > 50
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 900}, color_scheme="dark")
    page = context.new_page()
    errors = watch(page)
    page.goto(path.as_uri())
    copy = Monitor(page)
    assert until(lambda: copy.state == "stopped")
    assert copy.fact("step") == monitor.fact("step") and copy.points("loss") == monitor.points("loss")
    page.set_viewport_size({"width": 380, "height": 900})
    assert until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
    assert errors == []
    context.close()
