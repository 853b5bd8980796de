"""What notebooks start from: places, data and models that are made once."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from labutils import lab
from labutils.config import PROFILES
from labutils.errors import LabError

TINY = dict(minutes=None, num_epoch=1, width=8, batch_size=1)


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


# ---------------------------------------------------------------------------------------------------------- beginning


def test_begin_and_finish_say_where_and_how_long(home, capsys):
    lab.begin()
    lab.finish()
    first, last = capsys.readouterr().out.splitlines()
    version = torch.__version__.partition("+")[0]
    assert re.fullmatch(rf"profile smoke · the synthetic dance · .*\S · torch {re.escape(version)}", first)
    assert re.fullmatch(r"This notebook took 0 s · profile smoke · .*\S", last)


def test_finish_speaks_of_minutes_where_there_are_some(home, capsys, monkeypatch):
    monkeypatch.setattr(lab, "_began", lab.time.perf_counter() - 150)
    lab.finish()
    assert "took 2.5 min" in capsys.readouterr().out


def test_profile_chooses_values(home, monkeypatch):
    assert lab.by_profile(smoke=1, quick=2) == 1
    monkeypatch.setenv("LAB_PROFILE", "quick")
    assert lab.by_profile(smoke=1, quick=2) == 2
    monkeypatch.setenv("LAB_PROFILE", "full")
    assert (lab.by_profile(1, 2), lab.by_profile(1, 2, 3)) == (2, 3)
    monkeypatch.setenv("LAB_PROFILE", "quik")
    with pytest.raises(LabError, match="quik"):
        lab.by_profile(1, 2)


def test_hardware_names_the_device(monkeypatch):
    monkeypatch.setattr(lab, "device", lambda: torch.device("cpu"))
    assert re.fullmatch(r"\d+ CPU threads, \S+", lab.hardware())


# ------------------------------------------------------------------------------------------------------------- places


def test_home_is_lab_home_else_the_project_else_here(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_HOME", raising=False)
    (tmp_path / "p/labutils").mkdir(parents=True)
    (tmp_path / "p/notebooks/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "p/notebooks/deep")
    assert lab.home() == tmp_path / "p"
    monkeypatch.chdir(tmp_path)
    assert lab.home() == tmp_path
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "elsewhere"))
    assert lab.home() == tmp_path / "elsewhere"
    assert lab.outputs() == tmp_path / "elsewhere" / "outputs" / "notebooks" / "smoke" and lab.outputs().is_dir()


def test_own_data_take_the_place_of_the_dance(data, dance, capsys):
    assert not lab.is_synthetic() and lab.data_root() == dance
    train, val = lab.videos()
    assert (train.name, len(train.frames), val.name, len(val.frames)) == ("train", 96, "val", 30)
    assert [len(video.labels) for video in lab.test_videos()] == [30, 30]
    assert train.frames.shape == (96, 32, 64, 3) and train.frames.dtype == np.uint8
    with pytest.raises(LabError, match="unset LAB_DATA"):
        lab.light("train")
    assert capsys.readouterr().out == ""
    assert lab.config(lr=0.5).lr == 0.5 and lab.config().DR == str(dance) and lab.config().quiet


def test_a_wrong_data_folder_is_named(home, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(home / "nowhere"))
    with pytest.raises(LabError, match=r"LAB_DATA is .*nowhere, which is not a folder"):
        lab.videos()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A home in which the smoke profile's dance was made, at a small size."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def small(synthetic, monkeypatch):
    profile = PROFILES["smoke"]
    monkeypatch.setitem(PROFILES, "smoke", type(profile)("smoke", 40, 12, 1, 12, profile.settings))
    monkeypatch.setenv("LAB_HOME", str(synthetic))
    monkeypatch.delenv("LAB_DATA", raising=False)
    return synthetic


def test_the_dance_is_made_once_and_said(small, capsys):
    train, _ = lab.videos()
    said = capsys.readouterr().out
    assert "Rendering the synthetic dance of 40 training frames" in said and "… done in" in said
    assert len(train.frames) == 40 and (small / "data/dance-smoke").is_dir()
    lab.videos()
    assert capsys.readouterr().out == ""
    assert lab.is_synthetic()


def test_light_is_one_number_for_each_frame(small):
    assert lab.light("train").shape == (40,) and lab.light("val").shape == (12,)
    assert [lab.light(video.name).shape for video in lab.test_videos()] == [(12,)]
    assert np.isfinite(lab.light("train")).all() and lab.light("train").std() > 0


def test_two_notebooks_make_the_dance_once(tmp_path, small, monkeypatch, capsys):
    """Two processes at the same time, as two notebooks in two tabs."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    code = (
        "from labutils import lab; from labutils.config import PROFILES as P, Profile; s = P['smoke'].settings\n"
        "P['smoke'] = Profile('smoke', 40, 12, 1, 12, s); print(len(lab.videos()[0].frames))"
    )
    root = Path(__file__).resolve().parents[2]
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], told
    assert sorted("Rendering" in out for out, _ in told) == [False, True]
    assert all(out.rstrip().endswith("40") and not err for out, err in told)


# ------------------------------------------------------------------------------------------------------------- models


def test_a_model_is_trained_once_for_its_settings(data, capsys):
    first = lab.trained("base", **TINY)
    assert re.fullmatch(r"trained base: \d+ steps in \d+ s, validation PSNR \d+\.\d\d dB\n", capsys.readouterr().out)
    assert not first.model.training and first.history[-1]["step"] > 0
    assert first.seconds == first.history[-1]["seconds"] and first.val_psnr > 0
    assert first.folder.parent == lab.outputs() and first.folder.name.startswith("base-")
    again = lab.trained("base", **TINY)
    assert capsys.readouterr().out == "" and again.folder == first.folder
    assert again.history == first.history and again.val_psnr == first.val_psnr
    for a, b in zip(first.model.parameters(), again.model.parameters()):
        assert torch.equal(a, b)
    other = lab.trained("base", **TINY, seed=1)
    assert other.folder != first.folder and "trained base" in capsys.readouterr().out
    named = lab.trained("mine", **TINY)
    assert named.folder != first.folder
    places = lab.trained("base", **TINY, num_workers=3)  # where and how, not what
    assert places.folder == first.folder


def test_fresh_trains_again(data, capsys):
    first = lab.trained("base", **TINY)
    (first.folder / "mark").touch()
    again = lab.trained("base", fresh=True, **TINY)
    assert again.folder == first.folder and not (first.folder / "mark").exists()
    assert capsys.readouterr().out.count("trained base") == 2


def test_an_interrupted_training_goes_on(data, capsys):
    def stop(event, trainer):
        if event == "epoch" and trainer.budget.step >= 1:
            raise KeyboardInterrupt

    events = []
    with pytest.raises(KeyboardInterrupt):
        lab.trained("base", [stop], **{**TINY, "num_epoch": 3})
    (unfinished,) = lab.outputs().glob("base-*.unfinished")
    done = lab.trained("base", [lambda event, trainer: events.append((event, trainer.budget.step))],
                       **{**TINY, "num_epoch": 3})  # fmt: skip
    assert not unfinished.exists() and done.folder.is_dir()
    assert [event for event, _ in events].count("epoch") < 3  # not from the beginning
    steps = [row["step"] for row in done.history]
    assert steps == sorted(set(steps))


def test_num_epoch_replaces_the_minutes_of_the_profile(data):
    assert lab.trained("base", num_epoch=1, width=8, batch_size=1).model.cfg.minutes is None


def test_progress_is_one_line_outside_a_notebook(capsys):
    from types import SimpleNamespace

    budget = SimpleNamespace(step=3, seconds=2.0, position=1.0, length=2.0)
    trainer = SimpleNamespace(budget=budget, history=[{"mse": 0.01, "val_psnr": None}])
    progress = lab.Progress("m", every=0.0)
    for event in ("start", "step", "end"):
        progress(event, trainer)
    assert capsys.readouterr().out == "trained m: 3 steps in 2 s\n"


def test_progress_keeps_one_display_up_to_date(monkeypatch):
    from types import SimpleNamespace

    import IPython
    import IPython.display

    shown, updates = [], []
    handle = SimpleNamespace(update=lambda data, raw: updates.append(data))
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda data, raw, display_id: shown.append(data) or handle)
    budget = SimpleNamespace(step=3, seconds=2.0, position=1.0, length=2.0)
    trainer = SimpleNamespace(budget=budget, history=[{"mse": 0.01, "val_psnr": 20.5}])
    progress = lab.Progress("m", every=0.0)
    for event in ("start", "step", "step", "end"):
        progress(event, trainer)
    assert len(shown) == 1 and "training m: 50%, mse 0.01000, 2 s left" in updates[0]["text/plain"]
    assert "<progress" in updates[0]["text/html"] and "<progress" not in updates[-1]["text/html"]
    assert updates[-1]["text/plain"] == "trained m: 3 steps in 2 s, validation PSNR 20.50 dB"


def test_a_folder_is_locked_while_something_is_made(tmp_path):
    order = []

    def other():
        with lab._alone(tmp_path / "thing"):
            order.append("other")

    with lab._alone(tmp_path / "thing"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
