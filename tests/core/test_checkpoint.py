"""Checkpoints and histories: what is read is what was written; everything else is named, and nothing is executed."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refuses
from tiny import config, dance, on, train
from tiny import model as make

import labutils
from labutils.checkpoint import COLUMNS, load_model, read_checkpoint, read_history, write_history
from labutils.contents import load_moments
from labutils.errors import LabError
from labutils.optim import build_optimizers
from labutils.training import Trainer


def test_a_checkpoint_of_the_lab_gives_settings_and_weights_back(tmp_path):
    model = make(config(width=16))
    torch.save({"state_dict": model.state_dict(), "config": model.cfg.to_dict()}, tmp_path / "a.ckpt")
    found = labutils.load_model(tmp_path / "a.ckpt")
    assert found.cfg == model.cfg and not found.training and isinstance(found, labutils.ConditionalVAE)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters(), strict=True))


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "a.ckpt"
    refuses(r"a\.ckpt is missing", read_checkpoint, path)
    torch.save({"state_dict": make(config()).state_dict()}, path)
    for content, reason in ((b"", "is empty"), (b"no checkpoint", "damaged"), (path.read_bytes()[:5000], "damaged")):
        path.write_bytes(content)
        refuses(rf"a\.ckpt cannot be read as a checkpoint: [^\n\x1b]*{reason}", read_checkpoint, path)
    for content in ({}, {"a": 1}, [1], "x", None):
        torch.save(content, path)
        refuses(r"a\.ckpt is no checkpoint", read_checkpoint, path)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, path)
    refuses(r"a\.ckpt: .*neither the lab's nor the course's", read_checkpoint, path)


ODD = [None, -5, 0.5, 2**70, math.nan, "x", [], [1], {}, {"a": 1}, True, b"x", torch.zeros(2, 3) * math.nan]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of a training, which nobody changes."""
    folder = tmp_path_factory.mktemp("run")
    train(config(folder, steps=6, num_epoch=6), [on("epoch", Trainer.stop)])
    return folder / "out/last.ckpt"


@pytest.mark.parametrize("part", ["state_dict", "weights", "optimizer", "config", "step", "seconds", "best_psnr",
                                  "epoch", "last_epoch", "replayed"])  # fmt: skip
def test_any_odd_content_is_refused_or_without_effect(run, tmp_path, part, capsys):
    """The whole of it, and one value in it, that are odd: a LabError or a training that goes on."""
    good = torch.load(run, weights_only=True)
    inner = good[part] if isinstance(good[part], dict) else {}
    outside = {**good, part: good[part]}
    del outside[part]
    cases = [outside, *({**good, part: odd} for odd in ODD)]
    for k, odd in enumerate(ODD):
        cases += [{**good, part: {**inner, name: odd}} for name in list(inner)[k :: len(ODD)]]
    refused = 0
    for case in cases:
        path = tmp_path / "out/last.ckpt"
        path.parent.mkdir(exist_ok=True)
        torch.save(case, path)
        try:
            read_checkpoint(path)
            cfg = config(tmp_path, steps=7, num_epoch=6)
            trainer = Trainer(make(cfg), dance(), None, cfg)
            trainer.resume(path)
            trainer.step()
        except LabError as error:
            assert "a.ckpt" in str(error) or "last.ckpt" in str(error)
            assert "\n" not in str(error) and "weights_only" not in str(error)
            refused += 1
    assert refused >= (0 if part in ("last_epoch", "replayed") else len(ODD) // 2)


@pytest.mark.parametrize("odd", [None, {}, {"momentum": torch.zeros(3)}, {"momentum": 1}, {"exp_avg": torch.zeros(1)}])
def test_moments_that_do_not_fit_the_weights_are_refused(run, odd):
    optimizer = build_optimizers(make(config()), config())[0]
    good = torch.load(run, weights_only=True)["optimizer"][0]
    load_moments(optimizer, good, "a.ckpt")
    for state in (odd, {"state": odd}, {"state": good["state"] | {0: odd}}, {"state": {**good["state"], 999: {}}}):
        if state == {"state": {}}:  # those of a training that has not begun
            continue
        refuses(r"a\.ckpt is damaged: the state of Muon does not fit", load_moments, optimizer, state, "a.ckpt")


def test_weights_of_students_load_whatever_they_are_wrapped_in(tmp_path):
    path, weights = tmp_path / "a.ckpt", make(config(variant="course")).half().state_dict()
    args = argparse.Namespace(lr=1e-3, gpu=None)
    for content in (
        weights,
        {"model_state_dict": weights, "best_psnr": np.float64(20), "last_epoch": np.int64(3), "args": args},
        {"model": {f"module.{name}": value for name, value in weights.items()}, "lr": np.float32(1e-3)},
        {"state_dict": {f"module._orig_mod.{name}": value for name, value in weights.items()}},
    ):
        torch.save(content, path)
        model = load_model(path)
        assert (model.cfg.variant, model.cfg.F_dim) == ("course", 16)
        for name, value in model.state_dict().items():
            assert value.dtype != torch.float16 and torch.equal(value, weights[name].to(value.dtype))
    torch.save(make(config()), path)
    refuses(r"it holds labutils\.model\.ConditionalVAE, which would be executed", read_checkpoint, path)


def test_a_generator_that_ends_in_a_sigmoid_is_an_option(tmp_path):
    model = make(config(variant="course")).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")
    plain, squashed = (load_model(tmp_path / "a.ckpt", output=output) for output in ("linear", "sigmoid"))
    z, label = torch.zeros(1, *model.latent_shape), torch.rand(1, 8, 16, 24)
    x = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(squashed.step(x, label, z), plain.step(x, label, z).sigmoid())


def test_settings_too_large_for_any_memory_are_refused_before_it_is_taken(run, tmp_path):
    checkpoint = torch.load(run, weights_only=True)
    checkpoint["config"]["width"] = 10**6 * 8
    torch.save(checkpoint, tmp_path / "a.ckpt")
    refuses("does not fit the model", load_model, tmp_path / "a.ckpt")


def test_weights_that_do_not_fit_are_named(tmp_path):
    model = make(config())
    weights = model.state_dict()
    name = "frame_transformation.conv.weight"
    for wrong, message in (
        ({**weights, name: weights[name][:4]}, rf"{name} is \(4, .* expected \(8, "),
        ({k: v for k, v in weights.items() if k != name}, f"{name} is missing, expected"),
        ({**weights, "more": weights[name]}, "more is .* expected not part of this model"),
    ):
        torch.save({"state_dict": wrong, "config": model.cfg.to_dict()}, tmp_path / "a.ckpt")
        refuses(rf"a\.ckpt does not fit the model: {message}", load_model, tmp_path / "a.ckpt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "x"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    refuses("cannot be read", read_checkpoint, tmp_path / "bomb.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_history_is_read_as_written_and_another_file_is_named(tmp_path):
    path = tmp_path / "history.csv"
    rows = [dict(zip(COLUMNS, (k, 0, 0.5, 0.1 / 3, 1e-9, 2.0, 1.0, 0.0, 3e-3, [None, 20.25][k]))) for k in range(2)]
    write_history(path, rows)
    assert read_history(path) == rows and path.read_text().splitlines()[1].endswith(",0.003,")
    for text, message in (("step,loss\n1,2\n", "is no history"), (f"{','.join(COLUMNS)}\nx,1,1\n", "cannot be read")):
        path.write_text(text)
        refuses(message, read_history, path)
