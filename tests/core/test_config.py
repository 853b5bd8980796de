"""LabConfig and the profiles: each setting refuses what its declaration does not allow, and is a flag."""

import dataclasses
import math
import re
import types
import typing

import pytest
from refusals import refuses

from labutils.__main__ import parse
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.profiles import PROFILES, default_profile

FIELDS = dataclasses.fields(LabConfig)
NAMES = [f.name for f in FIELDS]
# The course's flags and their values when nothing is given (its data root and save root had none).
# Ours differ in lr and optim (Muon) and in kl_anneal_type (None scores best).
COURSE = dict(
    batch_size=2, num_epoch=70, per_save=3, partial=1.0, train_vi_len=16, val_vi_len=630,
    frame_H=32, frame_W=64, F_dim=128, L_dim=32, N_dim=12, D_out_dim=192, tfr=1.0, tfr_sde=10,
    tfr_d_step=0.1, ckpt_path=None, fast_train=False,
    fast_partial=0.4, fast_train_epoch=5, kl_anneal_cycle=10, kl_anneal_ratio=1,
)  # fmt: skip


def kind(f: dataclasses.Field) -> typing.Any:
    """The type of a setting's values: int of ``int | None``; a ``Literal`` as it is."""
    return typing.get_args(f.type)[0] if isinstance(f.type, types.UnionType) else f.type


def around(f: dataclasses.Field) -> tuple[list, list]:
    """Numbers at the ends of a declared range: just inside, and just outside."""
    within, inside, outside = f.metadata["within"], [], []
    step = 8 if f.name in ("frame_H", "frame_W") else 1
    for end, closed, up in zip(within[1:-1].split(","), (within[0] == "[", within[-1] == "]"), (1, -1)):
        end = float(end)
        if abs(end) > 1e11:
            outside += [int(end) if kind(f) is int else end, math.inf]
        elif kind(f) is int:
            inside += [int(end) + (0 if closed else up * step)]
            outside += [int(end) - (up * step if closed else 0)]
        else:
            inside += [end if closed else math.nextafter(end, up * math.inf)]
            outside += [math.nextafter(end, -up * math.inf) if closed else end]
    return inside, outside


def test_the_flags_of_the_course_keep_name_and_default():
    assert {name: getattr(LabConfig(), name) for name in COURSE} == COURSE
    assert {"DR", "save_root", "optim", "device", "num_workers"} <= set(NAMES)


@pytest.mark.parametrize("f", FIELDS, ids=NAMES)
def test_a_setting_takes_what_it_declares_and_refuses_the_rest_by_name(f):
    odd = {int: ["8", 1.5, True, math.nan], float: ["8", True, math.nan], bool: [1], str: [8, "", "a\0b", "x" * 300]}
    refused = odd.get(kind(f), ["no", ["frame"]])
    if kind(f) in (int, float):
        inside, outside = around(f)
        for value in inside:
            assert getattr(LabConfig(**{f.name: value}), f.name) == value
        refused += outside
    for value in refused:
        refuses(rf"^--{f.name} is {re.escape(repr(value)[:50])}[^\n]*; [^\n]+$", LabConfig, **{f.name: value})
    if type(None) not in typing.get_args(f.type):
        refuses(f"--{f.name} is None", LabConfig, **{f.name: None})


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(frame_H=36), "--frame_H is 36; it must be a multiple of 8"),
        (dict(frame_W=4), "--frame_W is 4; it must be a multiple of 8"),
        (dict(shift=32), "--shift is 32; it must be smaller than a frame"),
        (dict(steps=5, minutes=1.5), r"--steps 5 and --minutes 1\.5 are both given"),
    ],
    ids=str,
)
def test_settings_must_fit_together(settings, message):
    refuses(message, LabConfig, **settings)


@pytest.mark.parametrize("f", FIELDS, ids=NAMES)
def test_each_setting_is_a_flag_of_its_type(f, capsys):
    def flags(*argv: str) -> dict:
        return {name: value for name, value in vars(parse(["train", *argv])[1]).items() if name in NAMES}

    assert flags() == {}  # a flag that is not given is absent: a profile or a checkpoint may decide it
    if kind(f) is bool:
        assert [flags(f"--{f.name}"), flags(f"--no-{f.name}")] == [{f.name: True}, {f.name: False}]
        return
    choices = typing.get_args(kind(f))
    given = choices[-1] if choices else {int: "8", float: "0.25", str: "some/where"}[kind(f)]
    found = flags(f"--{f.name}", given)
    assert found == {f.name: given if choices else kind(f)(given)} and LabConfig(**found)
    if kind(f) is not str:
        with pytest.raises(SystemExit):
            flags(f"--{f.name}", "many")
        assert f"argument --{f.name}: invalid" in capsys.readouterr().err


@pytest.mark.parametrize("change", [dict(steps=5), dict(minutes=2.0), dict(num_epoch=3), dict(lr=0.5)], ids=str)
@pytest.mark.parametrize("before", [dict(steps=9), dict(minutes=1.0), {}], ids=str)
def test_a_budget_puts_out_the_others(before, change):
    cfg = LabConfig(**before).replace(**change)
    expected = before if "lr" in change else change
    assert (cfg.steps, cfg.minutes) == (expected.get("steps"), expected.get("minutes"))
    both = LabConfig(**before).replace(steps=5, num_epoch=3)  # 5 steps, cut into 3 epochs
    assert (both.steps, both.minutes, both.num_epoch) == (5, None, 3)


def test_replace_checks_too_and_leaves_the_original():
    cfg = LabConfig()
    assert cfg.replace(lr=0.5).lr == 0.5 and cfg == LabConfig()
    for wrong in (dict(lr=-1.0), dict(steps=5, minutes=1.0)):
        with pytest.raises(LabError):
            cfg.replace(**wrong)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.lr = 1.0


def test_a_dict_gives_the_settings_back_also_those_of_another_version():
    for cfg in (LabConfig(), LabConfig(DR="x", minutes=2.5, fast_train=True, ckpt_path="a.ckpt", lr=3e-4)):
        assert LabConfig.from_dict(cfg.to_dict() | {"setting_of_the_future": 1}) == cfg
    assert LabConfig.from_dict({"lr": 0.5}) == LabConfig(lr=0.5)


def test_profiles_grow_and_their_settings_are_settings():
    assert list(PROFILES) == ["smoke", "quick", "full"] and PROFILES["full"].train_frames == 23410
    for name, profile in PROFILES.items():
        cfg = profile.config()
        assert profile.name == name and cfg.DR == f"data/dance-{name}"  # one folder each: none overwrites another
        assert cfg.val_vi_len <= profile.val_frames and cfg.train_vi_len <= profile.train_frames
        other = profile.config(minutes=2.0, lr=0.5)
        assert (other.steps, other.minutes, other.lr) == (None, 2.0, 0.5)
    sizes = [(p.train_frames, p.val_frames, p.config().steps) for p in PROFILES.values()]
    assert sizes == sorted(sizes) and [steps for *_, steps in sizes] == [40, 1200, 12000]


@pytest.mark.parametrize("cuda, expected", [(True, "full"), (False, "quick")])
def test_the_variable_names_the_profile_and_else_the_device(monkeypatch, cuda, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    for name, found in [*((name, name) for name in PROFILES), ("", expected)]:
        monkeypatch.setenv("LAB_PROFILE", name)
        assert default_profile().name == found
    monkeypatch.setenv("LAB_PROFILE", "quik")
    refuses(r"LAB_PROFILE is 'quik'.*smoke, quick, full", default_profile)
