"""The study of z: its two tables, from made rows and from a tiny run that goes on where it was stopped."""

import json

import pytest

from labutils.__main__ import main
from labutils.bench import study
from labutils.profiles import PROFILES, Profile


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A profile that trains in a second, in a home of its own."""
    settings = dict(steps=4, num_epoch=2, batch_size=1, val_vi_len=12, width=8)
    monkeypatch.setitem(PROFILES, "smoke", Profile("smoke", 40, 12, 2, 12, settings))
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("LAB_PROFILE", "smoke")
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setattr(study, "IMPORTANCE", 2)
    monkeypatch.chdir(tmp_path)


def test_the_study_of_the_lights_measures_each_model_once(tiny, monkeypatch, tmp_path, capsys):
    ways = {name: study.LIGHTS_WAYS[name] for name in ("innovation", study.WITHOUT_Z)}
    monkeypatch.setattr(study, "LIGHTS_WAYS", ways)
    assert main("study lights --seeds 2 --steps 2 --out out".split()) == 0
    rows = json.loads((tmp_path / "out/lights.json").read_text())
    assert [(row["model"], row["seed"]) for row in rows] == [(name, seed) for name in ways for seed in range(2)]
    assert rows[0]["bounds"] != rows[1]["bounds"] and len(rows[0]["bounds"]) == 2  # seeds differ; two test sequences
    assert "| innovation | 2 |" in capsys.readouterr().out
    monkeypatch.setattr(study, "_train", None)  # nothing is trained again
    assert main("study lights --seeds 2 --steps 2 --out out".split()) == 0


def test_the_table_of_the_lights_pairs_seeds_with_their_twins():
    same = dict.fromkeys(("seconds", "kl", "variation", "clean", "mu", "zero", "draws", "switches_at_zero"), 0.5)
    rows = [
        {"model": name, "steps": 9, "seed": seed, "ideal": 0.23, "rate": 1.0 + seed, **same, "bounds": [b, b + spread]}
        for name, seed, b, spread in (("innovation", 0, 3, 1), ("innovation", 1, 5, 1), (study.WITHOUT_Z, 0, 2, 0))
    ]
    line = next(line for line in study.lights_table(rows).splitlines() if line.startswith("| innovation"))
    # seed 1 has no twin: the gain is that of seed 0, 1 and 2 nats: 1.5, t(0.975, 1) = 12.706 times 0.5
    assert "+1.50 ± 6.35" in line and "1.50 (1.00 to 2.00)" in line


def test_the_table_of_the_schedules_gives_an_interval_over_seeds():
    rows = [
        {"sigma_x": 2.0, "kind": kind, "seed": seed, "kl": 1.0 + seed, "mu": 30.0, "zero": 20.0 + seed}
        for kind in study.KINDS
        for seed in range(2)
    ]
    assert study.annealing_table(rows).splitlines()[2] == "| 2 |" + " 1.50 ± 6.35 | 9.50 ± 6.35 |" * 3


def test_one_seed_is_refused(capsys):
    assert main("study annealing --seeds 1".split()) == 2
    assert "--seeds is 1" in capsys.readouterr().err
