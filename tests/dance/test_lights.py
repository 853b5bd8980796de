"""The stage lights: the chain and its information against theory, what frames show of it, what is written and read."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from labutils.dance import (
    CLEAN,
    GAINS,
    describe_lights,
    information,
    make_data,
    read_light,
    read_states,
    seen_lights,
    stage_lights,
    switching_lights,
)  # fmt: skip
from labutils.dance.renderer import empty_room
from labutils.errors import LabError
from labutils.pictures import find_images, read_image

SIZES = dict(train=60, val=12, test_sequences=1, test_frames=6, supersample=1, seed=5, workers=1, progress=False)
FOUR = dict(lights=4, switch=0.3)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """The same dance without stage lights, and with four."""
    root = tmp_path_factory.mktemp("lights")
    return make_data(root / "plain", **SIZES), make_data(root / "lit", **SIZES, **FOUR)


def frames_of(folder: Path) -> np.ndarray:
    return np.stack([read_image(file, 32, 64)[0] for file in find_images(folder)])


@pytest.mark.parametrize("states, switch", [(2, 0.5), (3, 0.05), (5, 0.3)])
def test_the_chain_is_the_one_that_is_described(states, switch):
    chain = switching_lights(40_000, np.random.default_rng(1), states, switch)
    switched = chain[1:] != chain[:-1]
    assert binomtest(int(switched.sum()), len(switched), switch).pvalue > 1e-3
    assert set(chain) == set(range(states))
    pairs = np.zeros((states, states))
    np.add.at(pairs, (chain[:-1], chain[1:]), 1)
    for row in pairs:  # from each state to each other one equally often
        others = row[row != row.max()] if switch < 0.5 else row
        assert np.ptp(others) < 6 * math.sqrt(others.max())
    shares = np.bincount(chain) / len(chain)  # neighbours resemble each other: 1 / switch frames count as one
    np.testing.assert_allclose(shares, 1 / states, atol=4 * math.sqrt(2 / (switch * len(chain))))
    starts = [switching_lights(1, np.random.default_rng(seed), states, switch)[0] for seed in range(600)]
    assert all(binomtest(starts.count(k), 600, 1 / states).pvalue > 1e-3 for k in range(states))


@pytest.mark.parametrize("states, switch", [(2, 0.5), (3, 0.05), (5, 0.3), (4, 1.0)])
def test_information_is_the_entropy_of_the_next_state(states, switch):
    chances = np.array([1 - switch, *[switch / (states - 1)] * (states - 1)])
    chances = chances[chances > 0]
    assert information(states, switch) == pytest.approx(-(chances * np.log(chances)).sum())
    assert information() == pytest.approx(0.2332, abs=1e-4)


def test_frames_show_the_states_that_are_written(pair):
    _, lit = pair
    for states, folder, count in (
        ("train/lights.csv", "train/train_img", 60),
        ("test/lights_0.csv", "test/test_gt/0", 6),
    ):
        true, (seen, distance) = read_states(lit / states), seen_lights(frames_of(lit / folder), 4)
        assert true.dtype.kind == "i" and true.shape == (count,)
        np.testing.assert_array_equal(seen, true)
        assert distance.max() < CLEAN
    gaps = np.abs(GAINS[:, None] - GAINS).max(-1)
    assert gaps[~np.eye(len(GAINS), dtype=bool)].min() > 0.3  # none can be taken for another


def test_lights_change_the_light_and_nothing_else(pair):
    plain, lit = pair
    names = [{str(p.relative_to(root)) for p in root.rglob("*.png")} for root in pair]
    assert names[0] == names[1] and len(names[0]) == 2 * (60 + 12 + 6) + 1
    for label in (name for name in names[0] if "label" in name):
        assert (plain / label).read_bytes() == (lit / label).read_bytes()
    # Frame by frame the room, the figure and the noise are the same: the two differ by the gains of the light.
    gain = (1 + read_light(plain / "val/light.csv"))[:, None] / GAINS[read_states(lit / "val/lights.csv")]  # (T, 3)
    restored = frames_of(lit / "val/val_img") * gain[:, None, None]
    assert np.abs(restored - frames_of(plain / "val/val_img")).max() < 5
    assert sorted(p.name for p in lit.glob("*/*.csv")) == ["lights.csv", "lights.csv", "lights_0.csv"]


def test_without_lights_nothing_tells_of_them(pair, tmp_path):
    plain, lit = pair
    settings = [json.loads((root / "dance.json").read_text())["settings"] for root in pair]
    assert settings[1] == {**settings[0], **FOUR} and not FOUR.keys() & settings[0].keys()
    assert stage_lights(plain) == stage_lights(tmp_path) == (0, 0.0) and stage_lights(lit) == (4, 0.3)
    before = (plain / "dance.json").stat().st_mtime_ns
    make_data(plain, **SIZES, switch=0.7)  # is left alone: of lights that are not there it does not matter
    assert (plain / "dance.json").stat().st_mtime_ns == before


def test_another_light_is_another_dance(tmp_path):
    small = {**SIZES, "train": 3, "val": 2}
    out = make_data(tmp_path / "d", **small, lights=2, switch=0.5)
    stamp = (out / "dance.json").stat().st_mtime_ns
    make_data(out, **small, lights=2, switch=0.5)
    assert (out / "dance.json").stat().st_mtime_ns == stamp
    make_data(out, **small, lights=3, switch=0.5)
    assert stage_lights(out) == (3, 0.5)
    make_data(out, **small)
    assert not list(out.glob("*/lights*.csv"))


@pytest.mark.parametrize("states", [[0, 0, 1, 2, 2, 1], [1, 1, 1, 1, 1, 1]])
def test_a_report_counts_by_hand(states):
    room = empty_room(32, 64)[0]
    video = np.stack([np.rint(room * GAINS[k]) for k in states]).astype(np.uint8)
    video[-1] = np.rint(room * (GAINS[states[-1]] + np.float32([0.12, 0, 0]) * [-1, 1, 1]))  # is not clean
    report = describe_lights(video[None], states=3, switch=0.1)
    shares = np.bincount(states[1:], minlength=3) / 5
    assert report.rate == pytest.approx(np.mean(np.diff(states) != 0)) and report.clean == pytest.approx(4 / 5)
    np.testing.assert_allclose(report.shares, shares)
    assert report.variation == pytest.approx(np.abs(shares - 1 / 3).sum() / 2)
    assert f"{report.rate:.1%} of the frames (data: 10.0%)" in str(report) and (report.states, report.switch) == (
        3,
        0.1,
    )


@pytest.mark.parametrize(
    "changes, message",
    [(dict(lights=k), f"lights is {k}; .* from 2 to 5") for k in (-1, 1, 6)]
    + [(dict(lights=3, switch=p), rf"switch is {p}; it must lie in \(0, 1\)") for p in (0.0, 1.0, -0.1, math.nan)],
)
def test_bad_arguments_are_named(tmp_path, changes, message):
    with pytest.raises(LabError, match=message):
        make_data(tmp_path / "d", **{**SIZES, **changes})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, message",
    [(text, "expected the header frame,state and integers") for text in ("a,b\n1,2\n", "frame,state\n0\n")]
    + [("frame,state\n0,1.5\n", "integers")]
    + [
        (f"frame,state\n{rows}", "frames must count 0, 1, 2") for rows in ("", "1,0\n", "0,1\n0,1\n", "0,5\n", "0,-1\n")
    ],
)
def test_what_is_not_the_stage_lights(tmp_path, text, message):
    with pytest.raises(LabError, match=r"lights\.csv cannot be read"):
        read_states(tmp_path / "lights.csv")
    (tmp_path / "lights.csv").write_text(text)
    with pytest.raises(LabError, match=message):
        read_states(str(tmp_path / "lights.csv"))
