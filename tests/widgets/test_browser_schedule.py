"""ScheduleExplorer in a real JupyterLab and as a page: its curves, mouse and keys, with and without a kernel."""

import itertools
import re

import numpy as np
import pytest
from browser import fits, opened, running_browser, running_notebook, until  # noqa: F401, a fixture

from labutils.config import LabConfig
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.widgets import ScheduleExplorer
from labutils.widgets import page as pages
from labutils.widgets.schedule import SETTINGS

pytestmark = pytest.mark.browser
FIRST = dict(
    num_epoch=20, kl_anneal_type="Cyclical", kl_anneal_cycle=4, kl_anneal_ratio=0.5, kl_anneal_shape="linear",
    kl_anneal_start=0.0, kl_anneal_stop=1.0, tfr=1.0, tfr_sde=5, tfr_d_step=0.1, tfr_floor=0.2,
)  # fmt: skip
CELLS = f"""\
from labutils.widgets import ScheduleExplorer
explorer = ScheduleExplorer(steps_per_epoch=50, **{FIRST!r})
explorer"""


@pytest.fixture(scope="module")
def running(browser, tmp_path_factory):
    """A notebook that shows an explorer; its kernel ends in the last test that uses it."""
    with running_notebook(browser, tmp_path_factory.mktemp("lab"), CELLS) as tab:
        yield tab


@pytest.fixture
def tab(running):
    """The notebook, all settings as at first."""
    choose(running)
    return running


@pytest.fixture
def explorer(tab):
    return Explorer(tab.page)


def choose(tab, **changes):
    """Set traits in Python, and wait until the browser shows them."""
    settings = {**FIRST, **changes}
    tab.python(f"for name, value in {settings!r}.items(): setattr(explorer, name, value)")
    assert until(lambda: Explorer(tab.page).cfg == LabConfig(**settings))


class Explorer:
    """An explorer on a page, as a user sees it."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".lab-schedule")
        self.line, self.flags = self.root.locator(".le-python"), self.root.locator(".le-flags")

    def slider(self, name):
        return self.root.locator(f".le-row-{name} input[type=range]")

    def field(self, name):
        return self.root.locator(f".le-row-{name}").get_by_role("spinbutton")

    def read(self, name):
        return self.root.locator(f".le-readout .le-{name}").inner_text()

    def box(self):
        return self.root.locator(".le-plot > svg").bounding_box()

    def pixels(self):
        """PNGs of the two panels of the plot: (beta, tfr)."""
        self.page.mouse.move(2, 2)
        box = self.box()
        return [
            self.page.screenshot(clip={"x": box["x"], "y": box["y"] + top, "width": box["width"], "height": high})
            for top, high in ((50, 150), (232, 88))
        ]

    @property
    def cfg(self):
        return eval(self.line.inner_text(), {"LabConfig": LabConfig})

    def curve(self, name, at, high=1.0):
        """What the drawn curve says at places ``at`` in [0, 1] of the training, read off its path."""
        top, bottom = {"beta": (56, 196), "tfr": (236, 316)}[name]
        width = float(self.root.locator(".le-plot > svg").get_attribute("width"))
        points = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", self.root.locator(f".le-curve.le-{name}").get_attribute("d"))
        x, y = np.array(points, float).T
        assert (np.diff(x) >= 0).all()
        return np.interp(44 + at * (width - 44 - 14), x, (bottom - y) / (bottom - top) * high)

    def expect(self, cfg):
        """The settings are those of ``cfg``, and the curves those of labutils.schedules, to a tenth of a pixel."""
        assert self.cfg == cfg
        at = (np.arange(997) + 0.35) / 997  # no place is one where a cycle or an epoch starts
        high = max(1.0, cfg.kl_anneal_start, cfg.kl_anneal_stop)
        beta, tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
        np.testing.assert_allclose(self.curve("beta", at, high), [beta(p, 1.0) for p in at], atol=0.01 * high)
        np.testing.assert_allclose(self.curve("tfr", at), [tfr(int(p * cfg.num_epoch)) for p in at], atol=0.002)


def test_the_browser_computes_what_training_uses(browser):
    """Every beta and tfr of many settings, computed by the widget's module and by labutils.schedules."""
    rng = np.random.default_rng(0)
    cases = []
    kinds, shapes = ("Cyclical", "Monotonic", "None"), ("linear", "cosine", "sigmoid")
    for kind, shape, cycles, ratio in itertools.product(kinds, shapes, (1, 3, 7, 10), (0.3, 1.0)):
        start, stop = rng.choice([0.0, 0.1, 0.25]), rng.choice([1.0, 0.7, 2.0])
        tfr, d, floor = rng.choice([1.0, 0.9, 0.35]), rng.choice([0.0, 0.1, 0.07, 1 / 3]), rng.choice([0.0, 0.15])
        epochs, steps, first = (int(rng.integers(low, high)) for low, high in ((1, 40), (1, 30), (0, 30)))
        values = (epochs, kind, cycles, ratio, shape, start, stop, tfr, first, d, floor)
        cases.append((dict(zip(SETTINGS, (v.item() if isinstance(v, np.generic) else v for v in values))), steps))
    page = browser.new_page()
    theirs = page.evaluate(
        """async ([module, cases]) => {
          const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
          const { betaAt, tfrAt } = await import(url);
          return cases.map(([s, steps]) => {
            const total = s.num_epoch * steps;
            return [Array.from({ length: total + 2 }, (_, i) => betaAt(s, i, total)),
                    Array.from({ length: s.num_epoch }, (_, e) => tfrAt(s, e))];
          });
        }""",
        [pages.module("schedule.js") + "\nexport { betaAt, tfrAt };", cases],
    )
    for (settings, steps), (beta, tfr) in zip(cases, theirs, strict=True):
        cfg = LabConfig(**settings)
        ours = [KLAnnealing.from_config(cfg)(i, cfg.num_epoch * steps) for i in range(cfg.num_epoch * steps + 2)]
        apart = 0 if cfg.kl_anneal_shape == "linear" else 1e-15  # cos and exp of two libraries: the last of their bits
        np.testing.assert_allclose(beta, ours, rtol=0, atol=apart, err_msg=str(settings))
        assert tfr == TeacherForcing.from_config(cfg).values(cfg.num_epoch).tolist(), settings
    page.close()


@pytest.mark.parametrize(
    "change",
    [
        dict(),
        dict(kl_anneal_shape="cosine", kl_anneal_ratio=0.7, kl_anneal_stop=1.5, tfr_d_step=0.3),
        dict(kl_anneal_type="Monotonic", kl_anneal_shape="sigmoid", tfr=0.4),
        dict(kl_anneal_type="None", kl_anneal_stop=0.6, tfr_sde=0),
    ],
)
def test_the_drawn_curves_are_the_schedules(tab, explorer, change):
    choose(tab, **change)
    explorer.expect(LabConfig(**{**FIRST, **change}))


def test_keys_on_a_slider_change_its_curve_its_line_and_python(tab, explorer):
    cells, before = tab.page.locator(".jp-Cell").count(), explorer.pixels()
    assert before == explorer.pixels()
    explorer.slider("kl_anneal_cycle").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("ArrowRight")
    after = explorer.pixels()
    assert before[0] != after[0] and before[1] == after[1]
    assert "kl_anneal_cycle=6" in explorer.line.inner_text() and "--kl_anneal_cycle 6" in explorer.flags.inner_text()
    assert explorer.field("kl_anneal_cycle").input_value() == "6"
    assert until(lambda: tab.value("[explorer.kl_anneal_cycle, explorer.cfg.kl_anneal_cycle]") == [6, 6])
    explorer.slider("tfr_floor").focus()
    tab.page.keyboard.press("End")
    last = explorer.pixels()
    assert last[0] == after[0] and last[1] != after[1]
    assert until(lambda: tab.value("explorer.tfr_floor") == 1) and tab.page.locator(".jp-Cell").count() == cells
    choose(tab)
    assert explorer.pixels() == before


def test_mouse_on_choices_sliders_and_presets(tab, explorer):
    explorer.root.get_by_role("radio", name="Monotonic").click()
    assert 'kl_anneal_type="Monotonic"' in explorer.line.inner_text()
    assert explorer.slider("kl_anneal_cycle").is_disabled() and explorer.slider("kl_anneal_ratio").is_enabled()
    tab.page.keyboard.press("ArrowLeft")  # radio buttons: the one before
    assert until(lambda: tab.value("explorer.kl_anneal_type") == "Cyclical")
    box = explorer.slider("tfr_d_step").bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert until(lambda: tab.value("explorer.tfr_d_step") == 0.25)
    preset = explorer.root.get_by_label("preset")
    preset.select_option(label="no annealing")
    assert until(lambda: tab.value("[explorer.kl_anneal_type, explorer.tfr_d_step]") == ["None", 0.25])
    preset.select_option(label="assignment's default: 10 cycles")
    assert until(lambda: tab.value("[explorer.kl_anneal_cycle, explorer.tfr_d_step]") == [10, 0.1])
    explorer.field("kl_anneal_ratio").fill("0.35")
    assert preset.input_value() == "-1"  # settings of one's own
    explorer.field("tfr").fill("7")  # as far as LabConfig allows
    assert until(lambda: tab.value("[explorer.kl_anneal_ratio, explorer.tfr]") == [0.35, 1])
    assert explorer.cfg == eval(tab.value("explorer.line"), {"LabConfig": LabConfig})
    assert explorer.flags.inner_text() == tab.value("explorer.flags")


def test_hover_and_arrows_read_the_values(tab, explorer):
    cfg, box = LabConfig(**FIRST), explorer.box()
    beta, tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
    for place in (0.1, 0.43, 0.9):
        tab.page.mouse.move(box["x"] + 44 + place * (box["width"] - 58), box["y"] + 100)
        epoch, step = map(int, re.findall(r"\d+", explorer.read("where")))
        assert abs(step - place * 1000) <= 3 and epoch == step // 50
        assert (explorer.read("beta"), explorer.read("tfr")) == (f"{beta(step, 1000):.3f}", f"{tfr(epoch):.2f}")
    tab.page.mouse.move(2, 2)
    explorer.root.get_by_role("slider", name="epoch to read").focus()
    for key, epoch in [("Home", 0), ("ArrowRight", 1), ("PageUp", 11), ("End", 19), ("ArrowLeft", 18)]:
        tab.page.keyboard.press(key)
        assert explorer.read("where") == f"epoch {epoch}, step {50 * epoch}"
    assert explorer.read("tfr") == f"{tfr(18):.2f}"


def test_copy_puts_the_line_on_the_clipboard(tab, explorer):
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, line in (("Python", explorer.line), ("command line", explorer.flags)):
        explorer.root.get_by_role("button", name=f"copy: {name}").click()
        assert until(lambda line=line: tab.page.evaluate("navigator.clipboard.readText()") == line.inner_text())


def test_it_draws_on_when_the_kernel_is_gone(tab, explorer):
    tab.shut_down_kernel()
    explorer.slider("kl_anneal_cycle").focus()
    tab.page.keyboard.press("End")
    explorer.root.get_by_role("radio", name="cosine").click()
    explorer.expect(LabConfig(**{**FIRST, "kl_anneal_cycle": 20, "kl_anneal_shape": "cosine"}))


def test_the_page_works_without_any_network(browser, tmp_path):
    path = ScheduleExplorer(steps_per_epoch=50, **FIRST).to_html(tmp_path / "page.html")
    with opened(browser, path, color_scheme="dark") as page:
        explorer = Explorer(page)
        explorer.expect(LabConfig(**FIRST))
        explorer.slider("tfr_sde").focus()
        page.keyboard.press("Home")
        assert fits(page, 380)
        explorer.expect(LabConfig(**{**FIRST, "tfr_sde": 0}))
