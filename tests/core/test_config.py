"""LabConfig, the profiles, and the command-line flags generated from them."""

import argparse
import dataclasses
import subprocess
import sys
import types
import typing

import pytest

from labutils.config import PROFILES, LabConfig, add_flags, default_profile, flags_given
from labutils.errors import LabError

GROUPS = ("data", "model", "training", "schedules", "output")
FIELDS = dataclasses.fields(LabConfig)

# The course's flags and their values when nothing is given (its data root and save root had none).
# Ours differ in lr and optim (Muon) and in kl_anneal_type (None scores best).
COURSE = dict(
    batch_size=2, num_epoch=70, per_save=3, partial=1.0, train_vi_len=16, val_vi_len=630,
    frame_H=32, frame_W=64, F_dim=128, L_dim=32, N_dim=12, D_out_dim=192, tfr=1.0, tfr_sde=10,
    tfr_d_step=0.1, ckpt_path=None, fast_train=False,
    fast_partial=0.4, fast_train_epoch=5, kl_anneal_cycle=10, kl_anneal_ratio=1,
)  # fmt: skip


def parse(*argv: str) -> dict:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_flags(parser, GROUPS)
    return flags_given(parser.parse_args(argv))


def plain_type(f: dataclasses.Field) -> type:
    """The type of a field's values: int of ``int``, float of ``float | None``, str of ``Literal[...]``."""
    if isinstance(f.type, types.UnionType):
        return typing.get_args(f.type)[0]
    return str if typing.get_origin(f.type) is typing.Literal else f.type


@pytest.mark.parametrize("name", COURSE)
def test_flags_of_the_course_keep_name_and_default(name):
    assert getattr(LabConfig(), name) == COURSE[name]


def test_other_flags_of_the_course_exist():
    assert {"DR", "save_root", "optim", "device", "num_workers"} <= {f.name for f in FIELDS}


@pytest.mark.parametrize("f", FIELDS, ids=lambda f: f.name)
def test_each_field_is_a_flag_of_its_type(f):
    kind = plain_type(f)
    if kind is bool:
        assert parse(f"--{f.name}") == {f.name: True}
        assert parse(f"--no-{f.name}") == {f.name: False}
        return
    if typing.get_origin(f.type) is typing.Literal:
        given = typing.get_args(f.type)[-1]
        with pytest.raises(argparse.ArgumentError, match=f.name):
            parse(f"--{f.name}", "no-such-choice")
    else:
        given = {int: "8", float: "0.25", str: "some/where"}[kind]
    value = parse(f"--{f.name}", given)[f.name]
    assert type(value) is kind and value == kind(given)
    if kind in (int, float):
        with pytest.raises(argparse.ArgumentError, match=f.name):
            parse(f"--{f.name}", "many")
    LabConfig(**{f.name: value})  # the value the test chose is one that the config accepts


@pytest.mark.parametrize("f", FIELDS, ids=lambda f: f.name)
def test_each_field_has_a_help_text_and_a_known_group(f):
    assert len(f.metadata["help"]) > 10
    assert f.metadata["group"] in GROUPS


def test_a_flag_not_given_is_absent():
    assert parse() == {}
    assert parse("--lr", "0.5") == {"lr": 0.5}


@pytest.mark.parametrize("group", GROUPS)
def test_a_command_shows_only_the_groups_it_asks_for(group):
    parser = argparse.ArgumentParser()
    add_flags(parser, (group,))
    text = parser.format_help()
    for f in FIELDS:
        assert (f"--{f.name} " in text or f"--{f.name}," in text) == (f.metadata["group"] == group)


def test_help_shows_defaults_of_the_given_config():
    parser = argparse.ArgumentParser()
    add_flags(parser, ("training",), LabConfig(batch_size=77))
    assert "(default: 77)" in parser.format_help()


@pytest.mark.parametrize(
    "setting",
    [
        dict(frame_H=30), dict(frame_W=0), dict(frame_W=-8), dict(partial=0.0), dict(partial=1.5),
        dict(fast_partial=-0.1),
        dict(kl_anneal_ratio=0.0), dict(tfr=1.1), dict(tfr=-0.1), dict(tfr_floor=2.0), dict(ema=-1.0), dict(warmup=1.5),
        dict(train_vi_len=1), dict(val_vi_len=1), dict(F_dim=0), dict(L_dim=-1), dict(N_dim=0), dict(D_out_dim=0),
        dict(width=0), dict(num_epoch=0), dict(batch_size=0), dict(lr=0.0), dict(lr=float("nan")), dict(sigma_x=0.0),
        dict(grad_clip=-1.0), dict(kl_anneal_cycle=0), dict(per_save=0), dict(per_val=0), dict(fast_lr=0.0),
        dict(minutes=0.0), dict(minutes=-1.0), dict(variant="slow"), dict(optim="SGD"), dict(kl_anneal_type="cyclical"),
        dict(mode="both"), dict(kl_anneal_shape="step"), dict(shift=-1), dict(shift=32),
    ],
    ids=lambda s: "{}={}".format(*next(iter(s.items()))),
)  # fmt: skip
def test_a_bad_value_is_refused_and_its_flag_named(setting):
    ((name, value),) = setting.items()
    with pytest.raises(LabError) as error:
        LabConfig(**setting)
    assert f"--{name} " in str(error.value)
    assert str(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_dict_round_trip_is_the_identity():
    cfg = LabConfig(DR="x", minutes=2.5, fast_train=True, kl_anneal_type="None", ckpt_path="a.ckpt", lr=3e-4)
    assert LabConfig.from_dict(cfg.to_dict()) == cfg
    assert LabConfig.from_dict(LabConfig().to_dict()) == LabConfig()


def test_a_dict_of_another_version_is_read():
    assert LabConfig.from_dict({"lr": 0.5, "setting_of_the_future": 1}) == LabConfig(lr=0.5)


def test_replace_checks_too_and_leaves_the_original():
    cfg = LabConfig()
    assert cfg.replace(lr=0.5).lr == 0.5 and cfg.lr == LabConfig().lr
    with pytest.raises(LabError, match="--lr"):
        cfg.replace(lr=-1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.lr = 1.0


def test_profiles_grow_and_their_settings_are_settings():
    assert list(PROFILES) == ["smoke", "quick", "full"]
    small, middle, large = PROFILES.values()
    assert small.train_frames < middle.train_frames < large.train_frames == 23410
    assert middle.val_frames == large.val_frames == 630
    for name, profile in PROFILES.items():
        assert profile.name == name
        cfg = profile.config()
        assert cfg.val_vi_len <= profile.val_frames
        assert cfg.train_vi_len <= profile.train_frames
        assert profile.config(lr=0.5).lr == 0.5
    assert len({profile.config().DR for profile in PROFILES.values()}) == 3  # one folder each: none overwrites another


@pytest.mark.parametrize("name", PROFILES)
def test_the_variable_names_the_profile(monkeypatch, name):
    monkeypatch.setenv("LAB_PROFILE", name)
    assert default_profile() is PROFILES[name]


def test_a_wrong_profile_is_named_with_the_choices(monkeypatch):
    monkeypatch.setenv("LAB_PROFILE", "quik")
    with pytest.raises(LabError, match=r"LAB_PROFILE is 'quik'.*smoke, quick, full"):
        default_profile()


@pytest.mark.parametrize("cuda, expected", [(True, "full"), (False, "quick")])
def test_without_the_variable_the_device_decides(monkeypatch, cuda, expected):
    import torch

    monkeypatch.setenv("LAB_PROFILE", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert default_profile().name == expected


def test_config_does_not_import_torch():
    code = "import sys, labutils.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
