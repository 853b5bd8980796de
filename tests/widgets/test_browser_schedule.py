"""ScheduleExplorer in a real JupyterLab and as a page: its curves, mouse and keys, with and without a kernel."""

import itertools
import re

import numpy as np
import pytest
from browser import jupyterlab, running_browser, until, watch, write_notebook  # noqa: F401, a fixture

from labutils.config import LabConfig
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.widgets import page as pages
from labutils.widgets.schedule import SETTINGS, ScheduleExplorer

FIRST = dict(
    num_epoch=20, kl_anneal_type="Cyclical", kl_anneal_cycle=4, kl_anneal_ratio=0.5, kl_anneal_shape="linear",
    kl_anneal_start=0.0, kl_anneal_stop=1.0, tfr=1.0, tfr_sde=5, tfr_d_step=0.1, tfr_floor=0.2,
)  # fmt: skip
CELLS = [
    f"""from labutils.widgets.schedule import ScheduleExplorer
explorer = ScheduleExplorer(steps_per_epoch=50, **{FIRST!r})
explorer"""
]


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A notebook that shows an explorer; its kernel ends in the last test that uses it."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / "schedule.ipynb", CELLS)
    with jupyterlab(folder) as lab:
        tab = lab.open(browser, "schedule.ipynb")
        tab.run_all()
        tab.page.locator(".lab-schedule .le-curve").first.wait_for(state="attached")
        yield tab


class Explorer:
    """An explorer on a page, as a user sees it."""

    def __init__(self, page, first=FIRST, steps=50):
        self.page = page
        self.root = page.locator(".lab-schedule")
        self.line = self.root.locator(".le-python")
        self.flags = self.root.locator(".le-flags")
        self.readout = self.root.locator(".le-readout")

    def row(self, name):
        return self.root.locator(f".le-row-{name}")

    def slider(self, name):
        return self.row(name).locator("input[type=range]")

    def pixels(self):
        """PNGs of the two panels of the plot: (beta, tfr)."""
        self.page.mouse.move(2, 2)
        box = self.root.locator(".le-plot > svg").bounding_box()
        return [
            self.page.screenshot(clip={"x": box["x"], "y": box["y"] + top, "width": box["width"], "height": high})
            for top, high in ((50, 150), (232, 88))
        ]

    @property
    def cfg(self):
        return eval(self.line.inner_text(), {"LabConfig": LabConfig})

    def curve(self, name, at, range_=(0.0, 1.0)):
        """What the drawn curve says at places ``at`` in [0, 1] of the training, read off its path."""
        top, bottom = {"beta": (56, 196), "tfr": (236, 316)}[name]
        width = float(self.root.locator(".le-plot > svg").get_attribute("width"))
        points = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", self.root.locator(f".le-curve.le-{name}").get_attribute("d"))
        x, y = np.array(points, float).T
        assert (np.diff(x) >= 0).all()
        values = range_[0] + (bottom - y) / (bottom - top) * (range_[1] - range_[0])
        return np.interp(44 + np.asarray(at) * (width - 44 - 14), x, values)

    def expect_curves(self, cfg):
        """The drawn curves are those of labutils.schedules, to a tenth of a pixel."""
        at = (np.arange(997) + 0.35) / 997  # no place is one where a cycle or an epoch starts
        high = max(1.0, cfg.kl_anneal_start, cfg.kl_anneal_stop)
        beta, tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
        drawn = self.curve("beta", at, (0.0, high))
        np.testing.assert_allclose(drawn, [beta(p, 1.0) for p in at], atol=0.01 * high)
        np.testing.assert_allclose(self.curve("tfr", at), [tfr(int(p * cfg.num_epoch)) for p in at], atol=0.002)


# ---------------------------------------------------------------------------------------------------- the formulas


def test_the_browser_computes_what_training_uses(browser):
    """Every beta and tfr of many settings, computed by the widget's module and by labutils.schedules."""
    rng = np.random.default_rng(0)
    cases = []
    kinds, shapes = ("Cyclical", "Monotonic", "None"), ("linear", "cosine", "sigmoid")
    for kind, shape, cycles, ratio in itertools.product(kinds, shapes, (1, 3, 7, 10), (0.3, 1.0)):
        epochs, steps = int(rng.integers(1, 40)), int(rng.integers(1, 30))
        start, stop = rng.choice([0.0, 0.1, 0.25]), rng.choice([1.0, 0.7, 2.0])
        tfr, d, floor = rng.choice([1.0, 0.9, 0.35]), rng.choice([0.0, 0.1, 0.07, 1 / 3]), rng.choice([0.0, 0.15])
        values = (epochs, kind, cycles, ratio, shape, start, stop, tfr, int(rng.integers(-2, 30)), d, floor)
        settings = {name: v.item() if isinstance(v, np.generic) else v for name, v in zip(SETTINGS, values)}
        cases.append((settings, steps))
    page = browser.new_page()
    module = pages.module("schedule.js") + "\nexport { betaAt, tfrAt };"
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
        [module, cases],
    )
    for (settings, steps), (beta, tfr) in zip(cases, theirs, strict=True):
        cfg = LabConfig(**settings)
        total = cfg.num_epoch * steps
        ours = [KLAnnealing.from_config(cfg)(i, total) for i in range(total + 2)]
        if cfg.kl_anneal_shape == "linear":
            assert beta == ours, settings
        else:  # cos and exp of two libraries may differ in the last of their bits
            np.testing.assert_allclose(beta, ours, rtol=0, atol=1e-15, err_msg=str(settings))
        assert tfr == TeacherForcing.from_config(cfg).values(cfg.num_epoch).tolist(), settings
    page.close()


# ------------------------------------------------------------------------------------------------------ in a notebook


def test_the_drawn_curves_are_the_schedules(tab):
    explorer = Explorer(tab.page)
    explorer.expect_curves(LabConfig(**FIRST))
    for change in (
        dict(kl_anneal_shape="cosine", kl_anneal_ratio=0.7, kl_anneal_stop=1.5, tfr_d_step=0.3),
        dict(kl_anneal_type="Monotonic", kl_anneal_shape="sigmoid", tfr=0.4),
        dict(kl_anneal_type="None", kl_anneal_stop=0.6, tfr_sde=0),
    ):
        tab.python(f"for name, value in {change!r}.items(): setattr(explorer, name, value)")
        assert until(lambda: explorer.cfg == LabConfig(**{**FIRST, **change})), explorer.line.inner_text()  # noqa: B023
        explorer.expect_curves(LabConfig(**{**FIRST, **change}))
        tab.python(f"for name, value in {FIRST!r}.items(): setattr(explorer, name, value)")
    assert until(lambda: explorer.cfg == LabConfig(**FIRST))


def test_keys_on_a_slider_change_its_curve_its_line_and_python(tab):
    explorer, page = Explorer(tab.page), tab.page
    cells = page.locator(".jp-Cell").count()
    before = explorer.pixels()
    assert before == explorer.pixels()
    explorer.slider("kl_anneal_cycle").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    after = explorer.pixels()
    assert before[0] != after[0] and before[1] == after[1]
    assert "kl_anneal_cycle=6" in explorer.line.inner_text() and "--kl_anneal_cycle 6" in explorer.flags.inner_text()
    assert explorer.row("kl_anneal_cycle").get_by_role("spinbutton").input_value() == "6"
    assert until(lambda: tab.python("print(explorer.kl_anneal_cycle, explorer.cfg.kl_anneal_cycle)") == "6 6")
    explorer.slider("tfr_floor").focus()
    page.keyboard.press("End")
    last = explorer.pixels()
    assert last[0] == after[0] and last[1] != after[1]
    assert until(lambda: tab.python("print(explorer.tfr_floor)") == "1.0") and page.locator(".jp-Cell").count() == cells
    tab.python("explorer.kl_anneal_cycle, explorer.tfr_floor = 4, 0.2")
    assert until(lambda: explorer.pixels() == before)


def test_mouse_on_choices_sliders_and_presets(tab):
    explorer, page = Explorer(tab.page), tab.page
    explorer.root.get_by_role("radio", name="Monotonic").click()
    assert 'kl_anneal_type="Monotonic"' in explorer.line.inner_text()
    assert explorer.slider("kl_anneal_cycle").is_disabled() and explorer.slider("kl_anneal_ratio").is_enabled()
    page.keyboard.press("ArrowLeft")  # radio buttons: the one before
    assert until(lambda: tab.python("print(explorer.kl_anneal_type)") == "Cyclical")
    box = explorer.slider("tfr_d_step").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert until(lambda: tab.python("print(explorer.tfr_d_step)") == "0.25")
    preset = explorer.root.get_by_label("preset")
    preset.select_option(label="no annealing")
    assert until(lambda: tab.python("print(explorer.kl_anneal_type, explorer.tfr_d_step)") == "None 0.25")
    preset.select_option(label="assignment's default: 10 cycles")
    assert until(lambda: tab.python("print(explorer.kl_anneal_cycle, explorer.tfr_d_step)") == "10 0.1")
    explorer.row("kl_anneal_ratio").get_by_role("spinbutton").fill("0.35")
    assert preset.input_value() == "-1"  # settings of one's own
    assert until(lambda: tab.python("print(explorer.kl_anneal_ratio)") == "0.35")
    explorer.row("tfr").get_by_role("spinbutton").fill("7")  # as far as LabConfig allows
    assert until(lambda: tab.python("print(explorer.tfr)") == "1.0")
    assert explorer.cfg == eval(tab.python("print(explorer.line)"), {"LabConfig": LabConfig})
    assert explorer.flags.inner_text() == tab.python("print(explorer.flags)")
    tab.python(f"for name, value in {FIRST!r}.items(): setattr(explorer, name, value)")
    assert until(lambda: explorer.cfg == LabConfig(**FIRST))


def test_hover_and_arrows_read_the_values(tab):
    explorer, page = Explorer(tab.page), tab.page
    cfg = LabConfig(**FIRST)
    beta, tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
    box = explorer.root.locator(".le-plot > svg").bounding_box()
    for place in (0.1, 0.43, 0.9):
        page.mouse.move(box["x"] + 44 + place * (box["width"] - 58), box["y"] + 100)
        epoch, step = map(int, re.findall(r"\d+", explorer.readout.locator(".le-where").inner_text()))
        assert abs(step - place * 1000) <= 3 and epoch == step // 50
        assert explorer.readout.locator(".le-beta").inner_text() == f"{beta(step, 1000):.3f}"
        assert explorer.readout.locator(".le-tfr").inner_text() == f"{tfr(epoch):.2f}"
    page.mouse.move(2, 2)
    explorer.root.get_by_role("slider", name="epoch to read").focus()
    page.keyboard.press("Home")
    for key, epoch in [("ArrowRight", 1), ("PageUp", 11), ("End", 19), ("ArrowLeft", 18)]:
        page.keyboard.press(key)
        assert explorer.readout.locator(".le-where").inner_text() == f"epoch {epoch}, step {50 * epoch}"
    assert explorer.readout.locator(".le-tfr").inner_text() == f"{tfr(18):.2f}"


def test_copy_puts_the_line_on_the_clipboard(tab):
    explorer = Explorer(tab.page)
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, line in (("Python", explorer.line), ("command line", explorer.flags)):
        explorer.root.get_by_role("button", name=f"copy: {name}").click()
        assert until(lambda: tab.page.evaluate("navigator.clipboard.readText()") == line.inner_text())  # noqa: B023


def test_it_draws_on_when_the_kernel_is_gone(tab):
    assert tab.errors == []
    explorer, page = Explorer(tab.page), tab.page
    before = explorer.pixels()
    tab.shut_down_kernel()
    page.wait_for_timeout(1000)
    explorer.slider("kl_anneal_cycle").focus()
    page.keyboard.press("End")
    explorer.root.get_by_role("radio", name="cosine").click()
    after = explorer.pixels()
    assert before[0] != after[0] and before[1] == after[1]
    cfg = LabConfig(**{**FIRST, "kl_anneal_cycle": 20, "kl_anneal_shape": "cosine"})
    assert explorer.cfg == cfg
    explorer.expect_curves(cfg)
    assert [e for e in tab.errors if "lab-schedule" in e or "blob:" in e] == []


def test_the_page_works_without_any_network(browser, tmp_path):
    path = ScheduleExplorer(steps_per_epoch=50, **FIRST).to_html(tmp_path / "page.html")
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900}, color_scheme="dark")
    page = context.new_page()
    errors = watch(page)
    page.goto(path.as_uri())
    explorer = Explorer(page)
    explorer.expect_curves(LabConfig(**FIRST))
    explorer.slider("tfr_sde").focus()
    page.keyboard.press("Home")
    assert explorer.cfg == LabConfig(**{**FIRST, "tfr_sde": 0})
    explorer.expect_curves(explorer.cfg)
    page.set_viewport_size({"width": 380, "height": 1200})
    assert until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
    explorer.expect_curves(explorer.cfg)
    assert errors == []
    context.close()
