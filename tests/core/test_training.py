"""The trainer: budgets, the loss, what is written, going on, several processes, faults."""

import itertools
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from refusals import refuses
from tiny import config, dance, model, on, train

from labutils.checkpoint import COLUMNS, load_model, read_checkpoint, read_history
from labutils.distributed import Ranks, select_device
from labutils.evaluation import predict
from labutils.memory import check_memory, training_memory
from labutils.metrics import psnr
from labutils.training import Budget, Objective, Trainer


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def column(history, name):
    return [row[name] for row in history]


# ------------------------------------------------------------------------------------------------------------ budget


@pytest.mark.parametrize(
    "changes, epochs, frames",
    [
        ({}, [0] * 4 + [1] * 4 + [2] * 4, [20] * 3),  # 19 predictions at 6 a step -> 4 steps
        (dict(fast_train=True, fast_partial=0.5, fast_train_epoch=2), [0, 0, 1, 1, 2, 2, 2, 2], [10, 10, 20]),
        (dict(steps=9), [0, 0, 0, 1, 1, 1, 2, 2, 2], [20] * 3),
        (dict(steps=4), [0, 0, 1, 2], [20] * 3),
    ],
    ids=["passes", "fast_train", "steps", "few steps"],
)
def test_an_epoch_predicts_each_frame_once_or_is_an_equal_part_of_the_steps(changes, epochs, frames):
    budget, seen = Budget(config(**changes), frames=20), []
    while not budget.spent:
        seen.append(budget.epoch)
        budget.step += 1
    assert seen == epochs and budget.length == len(epochs)
    assert [budget.frames_in(e) for e in range(3)] == frames


def test_minutes_are_cut_into_epochs_of_equal_time(tmp_path, monkeypatch):
    """With a clock on which each step takes a second."""
    clock = itertools.count()
    monkeypatch.setattr("labutils.training.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    history = train(config(tmp_path, minutes=0.2), val=False)
    assert column(history, "seconds") == list(range(12))
    assert column(history, "epoch") == [0] * 4 + [1] * 4 + [2] * 4
    assert train(config(tmp_path, minutes=0.2), val=False, resume=tmp_path / "out/last.ckpt") == history
    assert len(train(config(tmp_path, minutes=0.3), val=False, resume=tmp_path / "out/last.ckpt")) == 18


# ---------------------------------------------------------------------------------------------------------- the loop


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["replay", "clips"])
@pytest.mark.parametrize("variant, steps", [("fast", 60), ("course", 18)])
def test_training_learns_and_writes_everything(tmp_path, mode, variant, steps):
    cfg = config(tmp_path, mode=mode, variant=variant, steps=steps, num_epoch=6, per_val=2)
    history = train(cfg)
    assert np.mean(column(history[-6:], "mse")) < 0.6 * np.mean(column(history[:6], "mse"))
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]
    assert read_history(out / "history.csv") == history and tuple(history[0]) == COLUMNS
    assert column(history, "step") == list(range(steps))
    measured = {row["step"]: row["val_psnr"] for row in history if row["val_psnr"] is not None}
    assert list(measured) == [steps // 3 - 1, 2 * steps // 3 - 1, steps - 1]
    assert load_model(out / "best.ckpt").cfg == cfg
    assert read_checkpoint(out / "best.ckpt")["best_psnr"] == max(measured.values())
    val = dance(6, seed=1)  # what is recorded is the saved model's
    prediction = predict(load_model(out / "last.ckpt"), [val], seed=cfg.seed)[0]
    assert measured[steps - 1] == pytest.approx(psnr(prediction[1:], val.frames[1:]).mean(), abs=1e-6)


@pytest.mark.parametrize("mode, l1, beta", [("clips", 0.3, 0.7), ("clips", 0.0, 1.0), ("replay", 0.3, 0.7)])
def test_the_loss_is_its_formula(mode, l1, beta):
    cfg = config(mode=mode, sigma_x=0.2, l1=l1)
    batch = Trainer(model(cfg), dance(), None, cfg).batches.draw(0, 20, 0.5)
    loss, (total, mse, kl), predictions = Objective(model(cfg), cfg)(batch, beta)
    x, D = batch.frames[:, 1:], 3 * 16 * 24
    assert total == loss and mse == pytest.approx((predictions - x).square().mean().item(), rel=1e-5)
    expected = mse + l1 * (predictions - x).abs().mean() + beta * 2 * 0.2**2 / D * kl
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    if (l1, beta) == (0, 1):  # then it is -log N(x; x̂, sigma^2) + KL, but for a factor and a constant
        log_p = torch.distributions.Normal(predictions, 0.2).log_prob(x).flatten(2).sum(2).mean()
        constant = D / 2 * math.log(2 * math.pi * 0.2**2)
        assert loss.item() * D / (2 * 0.2**2) + constant == pytest.approx((kl - log_p).item(), rel=1e-5)


def test_a_public_step_is_that_of_the_loop_and_takes_rates_of_its_own(tmp_path):
    cfg = config(tmp_path, steps=6, shift=0, tfr_sde=0, tfr_d_step=0.5, kl_anneal_type="Monotonic")
    trainer = Trainer(model(cfg), dance(), None, cfg)
    true, batch = trainer.batches.predicted.clone(), trainer.batches.draw(0, 20, 0.5)
    metrics = [trainer.step().tolist()]
    changed = (trainer.batches.predicted != true).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == sorted(set(batch.places.tolist()))  # the predictions are remembered for later batches
    metrics += [trainer.step().tolist() for _ in range(5)]
    assert trainer.budget.spent
    assert metrics == [[row["loss"], row["mse"], row["kl"]] for row in train(cfg, val=False)]
    trainer = Trainer(model(cfg.replace(mode="clips", l1=0.0)), dance(), None, cfg.replace(mode="clips", l1=0.0))
    batch = trainer.batches.draw(0, 20, 0.25)
    drawn, trainer.batches.draw = [], lambda step, count, tfr: drawn.append(tfr) or batch
    loss, mse, kl = trainer.step(beta=0.5, tfr=0.25)
    assert drawn == [0.25] and loss.item() == pytest.approx((mse + 0.5 * trainer.objective.kl_scale * kl).item())
    trainer.fit()
    assert (trainer.history[0]["beta"], trainer.history[0]["tfr"], len(trainer.history)) == (0.5, 0.25, 6)


def test_the_history_follows_the_schedules(tmp_path):
    fast = dict(fast_train=True, fast_lr=3.0, fast_train_epoch=10, fast_partial=1.0)
    annealing = dict(kl_anneal_type="Cyclical", kl_anneal_cycle=2, kl_anneal_ratio=1.0)
    cfg = config(tmp_path, steps=100, num_epoch=50, warmup=0.1, tfr_sde=48, tfr_d_step=0.4, **fast, **annealing)
    history = train(cfg.replace(per_save=100, train_vi_len=2, batch_size=1), val=False)
    assert column(history, "tfr")[-5:] == [1.0, 0.6, 0.6, 0.2, 0.2]
    np.testing.assert_allclose(column(history, "beta"), [*np.arange(50) / 50] * 2, atol=1e-12)
    rates, cosine = np.array(column(history, "lr")) / cfg.lr, (1 + np.cos(np.pi * np.arange(100) / 100)) / 2
    np.testing.assert_allclose(rates[11:], np.where(np.arange(11, 100) < 20, 3, 1) * cosine[11:], atol=1e-9)
    assert rates[0] < 0.1 and (np.diff(rates[:10]) > 0).all()


def test_averaged_weights_are_a_running_mean():
    cfg = config(ema=0.9)
    trainer = Trainer(model(cfg), dance(), None, cfg)
    expected = trainer.model.Generator.out.bias.detach().clone()
    for step in range(5):
        trainer.step()
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * trainer.model.Generator.out.bias.detach()
    torch.testing.assert_close(trainer.averaged.Generator.out.bias, expected)


@pytest.mark.parametrize("mode", ["replay", "clips"])
def test_the_same_seed_gives_the_same_history_bit_for_bit(tmp_path, mode):
    a, b, c = (without_time(train(config(tmp_path, mode=mode, steps=6, seed=seed))) for seed in (0, 0, 1))
    assert a == b != c


# -------------------------------------------------------------------------------------------------- stop and resume


@pytest.mark.parametrize("mode", ["replay", "clips"])
@pytest.mark.parametrize("place", ["in an epoch", "between epochs", "in a validation"])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, mode, place):
    cfg = config(tmp_path, mode=mode, per_save=10, tfr=0.5)
    whole, last = train(cfg), tmp_path / "out/last.ckpt"
    before = read_checkpoint(last)
    stop = {"in an epoch": "zero_grad", "between epochs": "epoch", "in a validation": "predict"}[place]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        signal_now = Mock(side_effect=lambda *_, **__: signal.raise_signal(signal.SIGINT))
        if stop == "zero_grad":  # after the optimizer's step, before it is counted
            patch.setattr(torch.optim.AdamW, "zero_grad", lambda o, set_to_none: signal.raise_signal(signal.SIGINT))
        if stop == "predict":
            patch.setattr("labutils.training.predict", signal_now)
        train(cfg, [on("epoch", signal_now)] if stop == "epoch" else [])
    assert read_checkpoint(last)["step"] == (1 if stop == "zero_grad" else 4)
    assert without_time(train(cfg, resume=last)) == without_time(whole)
    after = read_checkpoint(last)
    for name in ("state_dict", "weights"):
        assert all(torch.equal(after[name][key], value) for key, value in before[name].items())
    assert after["best_psnr"] == before["best_psnr"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]


def test_replayed_frames_that_do_not_belong_to_the_checkpoint_are_not_taken(tmp_path, capsys):
    cfg, last = config(tmp_path), tmp_path / "out/last.ckpt"
    train(cfg, [on("epoch", Trainer.stop)])
    (frames,) = last.parent.glob("replayed-*.npy")
    assert len(train(cfg, [on("epoch", Trainer.stop)], resume=last)) == 8 and not frames.exists()
    assert capsys.readouterr().err == ""
    (frames,) = last.parent.glob("replayed-*.npy")
    frames.write_bytes(frames.read_bytes()[:-1] + b"x")
    assert len(train(cfg, [on("start", Trainer.stop)], resume=last)) == 8
    assert "replayed-8.npy does not belong to last.ckpt" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "cut", "noise", "rows"])
def test_a_damaged_history_is_kept_under_another_name(tmp_path, capsys, damage):
    cfg, history = config(tmp_path), tmp_path / "out/history.csv"
    train(cfg)
    text = history.read_text()
    lines = text.splitlines(keepends=True)
    bad = {"cut": text[:-30], "noise": "a\0b", "rows": "".join(lines[:5] + lines[7:])}.get(damage)
    history.unlink() if bad is None else history.write_text(bad)
    assert column(train(cfg.replace(num_epoch=4), resume=tmp_path / "out/last.ckpt"), "step") == [12, 13, 14, 15]
    assert "the history begins anew at step 12" in capsys.readouterr().err
    kept = tmp_path / "out/history-damaged-1.csv"
    assert (kept.read_text() if kept.exists() else None) == bad


def test_a_finished_training_gives_its_model_and_history_back(tmp_path):
    cfg, last = config(tmp_path), tmp_path / "out/last.ckpt"
    whole, before = train(cfg), last.read_bytes()
    assert train(cfg, resume=last) == whole and last.read_bytes() == before
    assert len(train(cfg.replace(num_epoch=4), resume=last)) == 16
    refuses("does not fit the model", train, cfg.replace(width=16), resume=last)


def test_an_interrupt_while_weights_are_moved_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    def torn(module, weights, inputs):  # as where the signal comes in the middle of torch's functional_call
        module.Generator._parameters["background"] = weights["Generator.background"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("labutils.training.functional_call", torn)
        train(config(tmp_path))
    assert len(train(config(tmp_path), resume=tmp_path / "out/last.ckpt")) == 12


def test_stop_ends_with_a_validation_and_a_checkpoint(tmp_path):
    validated = Mock()
    history = train(config(tmp_path), [on("epoch", Trainer.stop), on("validate", validated)])
    assert validated.call_count == 1  # not once more for the end
    assert len(history) == 4 and history[-1]["val_psnr"] and read_checkpoint(tmp_path / "out/last.ckpt")["step"] == 4


@pytest.mark.parametrize("budget, epochs", [({}, [2] * 4 + [3] * 4), (dict(steps=8), [2, 2, 3, 3])], ids=str)
def test_training_goes_on_from_a_course_checkpoint(tmp_path, budget, epochs):
    cfg = config(tmp_path, variant="course", num_epoch=4, **budget)
    course = {"state_dict": model(cfg).state_dict(), "lr": 1e-3, "tfr": 0.9, "last_epoch": 1}
    torch.save(course, tmp_path / "epoch=1.ckpt")
    assert column(train(cfg, resume=tmp_path / "epoch=1.ckpt"), "epoch") == epochs


# ------------------------------------------------------------------------------------------------------------ faults


def test_a_loss_that_is_not_finite_is_named_and_the_last_checkpoint_kept(tmp_path):
    def poison(trainer):
        if trainer.budget.step >= 8:
            trainer.model.Generator.out.bias.data.fill_(math.nan)

    refuses("the loss is nan in step 8", train, config(tmp_path), [on("epoch", poison)], val=False)
    weights = load_model(tmp_path / "out/last.ckpt").state_dict()
    assert all(w.isfinite().all() for w in weights.values())


def test_a_full_disk_is_named_and_the_old_checkpoint_kept(tmp_path, monkeypatch):
    train(config(tmp_path, steps=3))
    before = (tmp_path / "out/last.ckpt").read_bytes()
    monkeypatch.setattr(torch, "save", Mock(side_effect=OSError(28, "No space left on device")))
    refuses(r"\.ckpt cannot be written: No space left on device", train, config(tmp_path, steps=3))
    assert (tmp_path / "out/last.ckpt").read_bytes() == before and not list((tmp_path / "out").glob("*.part"))


def test_a_second_training_into_one_folder_is_refused_and_a_killed_one_holds_nobody_up(tmp_path):
    code = "import os, sys; from labutils.alone import alone\nwith alone(sys.argv[1]): print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        refuses(rf"out is in use by process {other.pid} on .* since .*; wait", train, config(tmp_path))
        other.kill()
    assert (tmp_path / "out/.running").exists() and len(train(config(tmp_path))) == 12
    assert not (tmp_path / "out/.running").exists()


@pytest.mark.parametrize("name", ["tpu", "meta", "", "cuda:", "cuda:99", "cuda:²", "cpu:-1", "gpu", "auto:1"])
def test_a_device_that_is_not_there_is_named(name):
    refuses(rf"--device {name} is not available.*; choose cpu, [^\n]*auto$", select_device, name)


@pytest.mark.parametrize("changes", [dict(width=10**9), dict(batch_size=10**9), dict(frame_H=8 * 10**9)], ids=str)
def test_absurd_sizes_are_refused_before_memory_is_taken(changes):
    (name, value) = next(iter(changes.items()))
    refuses(rf"--{name} {value} [^\n]*choose smaller ones", check_memory, config(**changes), torch.device("cpu"))


def test_the_memory_of_a_training_grows_with_its_batch():
    small, large = (training_memory(config(batch_size=size)) for size in (2, 8))
    weights = 5 * sum(p.nbytes for p in model(config()).parameters())
    assert large - weights == 4 * (small - weights) > 0


def test_what_cannot_be_trained_is_named(tmp_path):
    cfg = config(tmp_path)
    for video in (dance(3), dance().part(0, 1)):
        refuses(r"at least 4 frames with labels; \d frames", Trainer, model(cfg), video, None, cfg)


# --------------------------------------------------------------------------------------------------------- torchrun

WORKER = """
from tiny import config, on, train
from labutils.training import Trainer
from labutils.checkpoint import write_history
from labutils.distributed import ranks
with ranks("cpu") as r:
    for mode in ("replay", "clips"):
        write_history(f"{mode}{r.rank}.csv", train(config(mode, mode=mode, steps=12), ranks=r))
        cfg = config(f"{mode}-halves", mode=mode, steps=12)
        train(cfg, [on("epoch", Trainer.stop)], ranks=r)
        resumed = train(cfg, ranks=r, resume=f"{mode}-halves/out/last.ckpt")
        write_history(f"{mode}-resumed{r.rank}.csv", resumed)
"""


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    for mode in ("replay", "clips"):
        one = train(config(tmp_path / "one", mode=mode, steps=12), ranks=Ranks(device=select_device("cpu")))
        two, other = (read_history(tmp_path / f"{mode}{k}.csv") for k in range(2))
        for name in ("loss", "mse", "kl"):
            np.testing.assert_allclose(column(one, name), column(two, name), rtol=1e-4, atol=1e-6)
            assert column(two, name) == column(other, name)
            assert column(two, name) == column(read_history(tmp_path / f"{mode}-resumed0.csv"), name)
        assert one[-1]["val_psnr"] == pytest.approx(two[-1]["val_psnr"], abs=0.01) and other[-1]["val_psnr"] is None
        out = tmp_path / mode / "out"
        assert sorted(p.name for p in out.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
        resumed = train(config(tmp_path / mode, mode=mode, steps=15), resume=out / "last.ckpt")  # by one process
        assert column(resumed, "step") == list(range(15))
