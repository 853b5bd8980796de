"""ScheduleExplorer without a browser: settings in and out, the lines it writes, its page and its figure."""

import argparse
import json
import re

import numpy as np
import pytest
import traitlets
from refusals import refuses

from labutils.commands import train_arguments
from labutils.config import LabConfig
from labutils.widgets import ScheduleExplorer
from labutils.widgets.schedule import DEFAULTS, FLOATS, PRESETS, SETTINGS

CHOSEN = dict(
    num_epoch=30, kl_anneal_type="Cyclical", kl_anneal_cycle=3, kl_anneal_ratio=0.5, kl_anneal_shape="sigmoid",
    kl_anneal_start=0.1, kl_anneal_stop=2.0, tfr=0.9, tfr_sde=4, tfr_d_step=0.25, tfr_floor=0.05,
)  # fmt: skip


def test_it_starts_from_a_configuration_and_gives_one_back():
    cfg = LabConfig(width=48, lr=1e-4, seed=5).replace(**CHOSEN)
    explorer = ScheduleExplorer(cfg)
    assert explorer.cfg == cfg
    explorer.tfr_sde = 7
    assert explorer.cfg == cfg.replace(tfr_sde=7)
    assert explorer.config(minutes=1.5, lr=2e-3) == cfg.replace(tfr_sde=7, minutes=1.5, lr=2e-3)
    explorer = ScheduleExplorer(cfg, num_epoch=12, steps_per_epoch=9, tfr=0.7)  # arguments win
    assert (explorer.num_epoch, explorer.steps_per_epoch, explorer.tfr) == (12, 9, 0.7)
    assert ScheduleExplorer(LabConfig(batch_size=4, train_vi_len=16)).steps_per_epoch == 42  # 2519 predictions at 60


@pytest.mark.parametrize("settings", [CHOSEN, {}, {"tfr_floor": 1.0 - DEFAULTS["tfr_floor"]}])
def test_the_lines_give_the_schedule_chosen_and_name_only_what_differs(settings):
    explorer = ScheduleExplorer(LabConfig(seed=3), **settings)
    assert eval(explorer.line, {"LabConfig": LabConfig}) == LabConfig(**settings)
    parser = argparse.ArgumentParser()
    train_arguments(parser)
    given = vars(parser.parse_args(explorer.flags.split()))
    assert LabConfig(**{name: value for name, value in given.items() if name in SETTINGS}) == LabConfig(**settings)
    changed = {name: value for name, value in settings.items() if value != DEFAULTS[name]}
    assert explorer.changed == changed and explorer.line.count("=") == explorer.flags.count("--") == len(changed)


@pytest.mark.parametrize(
    "wrong", [dict(kl_anneal_ratio=0.0), dict(kl_anneal_type="cyclic"), dict(tfr=1.2), dict(num_epoch=0)]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    name, value = next(iter(wrong.items()))
    refuses(f"--{name} ", ScheduleExplorer, **wrong)
    explorer = ScheduleExplorer()
    refuses(f"--{name} ", setattr, explorer, name, value)
    assert getattr(explorer, name) == DEFAULTS[name]


def test_other_faults():
    refuses("steps_per_epoch is 0", ScheduleExplorer, steps_per_epoch=0)
    with pytest.raises(traitlets.TraitError):
        ScheduleExplorer(tfr_sde="late")


def test_presets_are_configurations():
    for name, settings in PRESETS.items():
        assert set(settings) <= set(SETTINGS), name
        LabConfig(**settings)
    assignment = next(settings for name, settings in PRESETS.items() if "assignment" in name)
    assert assignment == dict(
        kl_anneal_type="Cyclical", kl_anneal_cycle=10, kl_anneal_ratio=1.0, kl_anneal_shape="linear",
        kl_anneal_start=0.0, kl_anneal_stop=1.0, tfr=1.0, tfr_sde=10, tfr_d_step=0.1, tfr_floor=0.0,
    )  # fmt: skip
    assert {"tfr", "kl_anneal_ratio"} <= set(FLOATS) and "tfr_sde" not in FLOATS


def test_the_page_holds_the_settings_and_asks_for_nothing(tmp_path):
    text = ScheduleExplorer(**CHOSEN).to_html(tmp_path / "deep" / "page.html", title="A <b>").read_text()
    assert "A &lt;b&gt;" in text and "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bimport\b\s*[({\"']|\bfetch\(|@import|\burl\(", text)
    values = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert {name: values[name] for name in CHOSEN} == CHOSEN
    assert {name: values["_defaults"][name] for name in SETTINGS} == DEFAULTS


def test_the_figure_draws_the_schedule_chosen():
    explorer = ScheduleExplorer(**CHOSEN, steps_per_epoch=10)
    beta, tfr = (axes.lines[0].get_ydata() for axes in explorer.figure().axes)
    assert len(beta) == 300 and beta.max() == 2.0 and beta[0] == 0.1
    np.testing.assert_allclose(tfr[3:8], [0.9, 0.65, 0.4, 0.15, 0.05])
