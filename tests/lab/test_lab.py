"""What notebooks start from: places, data and models that are made once."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from refusals import refuses
from tiny import on

from labutils import lab
from labutils.dance import stage_lights
from labutils.profiles import LIGHTS, PROFILES, Profile

TINY = dict(steps=4, num_epoch=4, width=8, batch_size=1, val_vi_len=10)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.delenv("LAB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def data(home, dance, monkeypatch):
    """A data set of the user's in the place of the synthetic one."""
    monkeypatch.setenv("LAB_DATA", str(dance))
    return home


@pytest.mark.parametrize("seconds, told", [(12.4, "12 s"), (150.0, "2.5 min")])
def test_begin_and_finish_say_where_and_how_long(home, capsys, monkeypatch, seconds, told):
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(lab, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(lab, "device", lambda: torch.device("cpu"))
    lab.begin()
    lab.finish()
    first, last = capsys.readouterr().out.splitlines()
    version = re.escape(torch.__version__.partition("+")[0])
    assert re.fullmatch(rf"profile smoke · the synthetic dance · \d+ CPU threads, \S+ · torch {version}", first)
    assert re.fullmatch(rf"This notebook took {told} · profile smoke · \d+ CPU threads, \S+", last)


def test_the_profile_chooses_values(monkeypatch):
    assert lab.BASE_STEPS.keys() == PROFILES.keys()
    for name, chosen in (("smoke", (1, 1)), ("quick", (2, 2)), ("full", (2, 3))):
        monkeypatch.setenv("LAB_PROFILE", name)
        assert (lab.by_profile(smoke=1, quick=2), lab.by_profile(1, 2, 3)) == chosen


def test_home_is_lab_home_else_the_project_else_here(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_HOME", raising=False)
    (tmp_path / "p/labutils").mkdir(parents=True)
    (tmp_path / "p/notebooks/deep").mkdir(parents=True)
    for here, found in (("p/notebooks/deep", "p"), (".", ".")):
        monkeypatch.chdir(tmp_path / here)
        assert lab.home() == tmp_path / found
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "elsewhere"))
    assert lab.outputs() == tmp_path / "elsewhere" / "outputs" / "notebooks" / "smoke" and lab.outputs().is_dir()


def test_own_data_take_the_place_of_the_dance(data, dance, capsys, monkeypatch):
    assert not lab.is_synthetic() and lab.data_root() == dance
    train, val = lab.videos(val_vi_len=20)
    assert (train.name, train.frames.shape, val.name, len(val.frames)) == ("train", (96, 32, 64, 3), "val", 20)
    assert [len(video.labels) for video in lab.test_videos()] == [30, 30]
    refuses("unset LAB_DATA", lab.light, "train")
    assert capsys.readouterr().out == ""
    cfg = lab.config(lr=0.5)
    assert (cfg.lr, cfg.DR, cfg.quiet, cfg.steps) == (0.5, str(dance), True, PROFILES["smoke"].config().steps)
    monkeypatch.setenv("LAB_DATA", str(data / "nowhere"))
    refuses(r"LAB_DATA is .*nowhere, which is not a folder", lab.videos)


def test_the_dance_is_made_once_and_tells_its_light(home, capsys, monkeypatch):
    monkeypatch.setitem(PROFILES, "smoke", Profile("smoke", 40, 12, 1, 12, PROFILES["smoke"].settings))
    train, _ = lab.videos()
    said = capsys.readouterr().out
    assert "Rendering the synthetic dance of 40 training frames" in said and "… done in" in said
    assert len(train.frames) == 40 and (home / "data/dance-smoke").is_dir() and lab.is_synthetic()
    assert [lab.light(name).shape for name in ("train", "val", "0")] == [(40,), (12,), (12,)]
    assert np.isfinite(lab.light("train")).all() and lab.light("train").std() > 0
    assert capsys.readouterr().out == ""


def test_the_dance_under_stage_lights_is_there_whatever_the_data(data, monkeypatch):
    monkeypatch.setitem(PROFILES, "smoke", Profile("smoke", 40, 12, 1, 12, PROFILES["smoke"].settings))
    found = lab.lights(N_dim=5, lr=0.5)
    assert found == {**LIGHTS, "DR": str(data / "data/lights-smoke"), "N_dim": 5, "lr": 0.5, "steps": 40}
    assert "steps" not in lab.lights(minutes=1) and lab.config(**lab.lights(num_epoch=3)).steps is None
    assert stage_lights(found["DR"]) == (3, 0.05) and lab.data_root(lights=True) == Path(found["DR"])
    assert len(lab.videos(**found)[0].frames) == 40 and len(lab.videos()[0].frames) == 96
    assert lab.trained("lights", **{**found, **TINY}).model.cfg.posterior == "innovation"


@pytest.mark.slow
def test_two_notebooks_make_the_dance_once(home):
    """Two processes at the same time, as two notebooks in two tabs."""
    code = (
        "from labutils import lab; from labutils.profiles import PROFILES as P, Profile; s = P['smoke'].settings\n"
        "P['smoke'] = Profile('smoke', 40, 12, 1, 12, s); print(len(lab.videos()[0].frames))"
    )
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    pair = [subprocess.Popen([sys.executable, "-c", code], **options) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], told
    assert sorted("Rendering" in out for out, _ in told) == [False, True]
    assert all(out.rstrip().endswith("40") and not err for out, err in told)


def test_a_model_is_trained_once_for_its_settings(data, capsys):
    first = lab.trained("base", **TINY)
    line, *warning = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"trained base: 4 steps in \d+ s, validation PSNR \d+\.\d\d dB", line)
    assert "base is below a baseline" in warning[0] and "steps=16" in warning[1]
    assert not first.model.training and first.seconds == first.history[-1]["seconds"] and first.val_psnr > 0
    assert first.folder.parent == lab.outputs() and first.folder.name.startswith("base-")
    (first.folder / "mark").touch()
    for again in (lab.trained("base", **TINY), lab.trained("base", **TINY, num_workers=3)):  # where and how, not what
        assert "trained base: " not in capsys.readouterr().out
        assert (again.folder, again.history, again.val_psnr) == (first.folder, first.history, first.val_psnr)
        assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    others = [lab.trained("base", **TINY, seed=1).folder, lab.trained("mine", **TINY).folder]
    assert len({first.folder, *others}) == 3 and capsys.readouterr().out.count(" steps in ") == 2
    fresh = lab.trained("base", fresh=True, **TINY)
    assert fresh.folder == first.folder and not (first.folder / "mark").exists()


def test_a_model_that_beats_the_baselines_is_not_blamed(data, capsys, monkeypatch):
    monkeypatch.setattr("labutils.baselines.Baselines.scores", lambda *args: {"copy_first": np.array([1.0])})
    lab.trained("base", **TINY)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_budget_the_base_steps_are_trained(data, monkeypatch):
    monkeypatch.setitem(lab.BASE_STEPS, "smoke", 2)
    assert len(lab.trained("base", width=8, val_vi_len=10).history) == 2
    one_epoch = lab.trained("base", width=8, val_vi_len=10, num_epoch=1, batch_size=7)
    assert one_epoch.model.cfg.steps is None and len(one_epoch.history) == 1


def test_an_interrupted_training_goes_on(data):
    events = []
    with pytest.raises(KeyboardInterrupt):
        lab.trained("base", [on("epoch", Mock(side_effect=KeyboardInterrupt))], **TINY)
    (unfinished,) = lab.outputs().glob("base-*.unfinished")
    done = lab.trained("base", [lambda event, trainer: events.append(event)], **TINY)
    assert not unfinished.exists() and done.folder.is_dir()
    assert events.count("epoch") == 3  # that of the interruption comes again
    assert [row["step"] for row in done.history] == [0, 1, 2, 3]


@pytest.mark.parametrize("notebook", [False, True])
def test_progress_is_one_line_that_a_notebook_keeps_up_to_date(monkeypatch, capsys, notebook):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object() if notebook else None)
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data))
    monkeypatch.setattr("IPython.display.display", lambda data, raw, display_id: shown.append(data) or handle)
    budget = SimpleNamespace(step=3, seconds=2.0, position=1.0, length=2.0)
    trainer = SimpleNamespace(budget=budget, history=[{"mse": 0.01, "val_psnr": 20.5}])
    progress = lab.Progress("m", every=0.0)
    for event in ("start", "log", "end"):
        progress(event, trainer)
    end = "trained m: 3 steps in 2 s, validation PSNR 20.50 dB"
    if notebook:
        assert [data["text/plain"] for data in shown[1:]] == ["training m: 50%, mse 0.01000, 2 s left", end]
        assert ["<progress" in data["text/html"] for data in shown] == [True, True, False]
    else:
        assert capsys.readouterr().out == end + "\n" and not shown
