"""The trainer: budgets, batches, what is written, resuming, several processes, faults."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from labutils.config import LabConfig
from labutils.distributed import Ranks, select_device
from labutils.errors import LabError
from labutils.evaluation import predict
from labutils.images import Video, to_float
from labutils.metrics import psnr
from labutils.model import ConditionalVAE, load_model, read_checkpoint
from labutils.optim import Muon, build_optimizers, orthogonalize
from labutils.training import COLUMNS, Budget, Objective, Trainer, fit, read_history

TINY = dict(
    frame_H=16, frame_W=24, width=8, N_dim=4, F_dim=16, L_dim=8, D_out_dim=16,
    train_vi_len=4, batch_size=2, num_epoch=3, per_save=1, per_val=1, quiet=True, num_workers=1,
)  # fmt: skip


def dance(frames=20, seed=0):
    """A bright square on a dark ground; the pose is a dark square on white at the same place."""
    rng = np.random.default_rng(seed)
    x = np.full((frames, 16, 24, 3), 60, np.uint8)
    P = np.full((frames, 16, 24, 3), 255, np.uint8)
    for k, (row, column) in enumerate(zip(rng.integers(0, 12, frames), rng.integers(0, 20, frames), strict=True)):
        x[k, row : row + 4, column : column + 4] = (200, 180, 90)
        P[k, row : row + 4, column : column + 4] = (0, 60, 255)
    return Video("train", x, P)


def config(tmp_path, **changes):
    return LabConfig(**{**TINY, "save_root": str(tmp_path / "out"), **changes})


def make(cfg):
    torch.manual_seed(cfg.seed)
    return ConditionalVAE(cfg)


def train(cfg, callbacks=(), resume=None, video=None, val=True):
    return fit(make(cfg), video or dance(), dance(6, seed=1) if val else None, cfg, callbacks, resume)


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# ------------------------------------------------------------------------------------------------------------ budget


def test_an_epoch_predicts_each_frame_once():
    budget = Budget(LabConfig(**TINY), frames=20)  # 19 predictions at 6 a step -> 4 steps
    epochs = []
    while not budget.spent:
        epochs.append(budget.epoch)
        budget.step += 1
    assert epochs == [0] * 4 + [1] * 4 + [2] * 4


def test_fast_train_has_shorter_epochs_on_fewer_frames_at_first():
    budget = Budget(LabConfig(**TINY, fast_train=True, fast_partial=0.5, fast_train_epoch=2), frames=20)
    assert [budget.frames_in(e) for e in range(3)] == [10, 10, 20]
    assert budget.ends.tolist() == [2, 4, 8]


def test_minutes_are_cut_into_epochs_of_equal_time():
    budget = Budget(LabConfig(**TINY, minutes=0.5), frames=20)
    seen = []
    for seconds in (0, 9.9, 10, 29.9, 31):
        budget.seconds = seconds
        seen.append((budget.epoch, budget.spent))
    assert seen == [(0, False), (0, False), (1, False), (2, False), (2, True)]


# ---------------------------------------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("mode", ["replay", "clips"])
@pytest.mark.parametrize("variant", ["fast", "course"])
def test_training_learns_and_writes_everything(tmp_path, mode, variant):
    cfg = config(tmp_path, mode=mode, variant=variant, num_epoch=24, per_val=8, lr=3e-3)
    history = train(cfg)
    assert np.mean([r["mse"] for r in history[-6:]]) < 0.6 * np.mean([r["mse"] for r in history[:6]])
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]
    assert read_history(out / "history.csv") == history and tuple(history[0]) == COLUMNS
    assert [r["step"] for r in history] == list(range(len(history)))
    assert [r["epoch"] for r in history if r["val_psnr"] is not None] == [7, 15, 23]
    assert load_model(out / "best.ckpt").cfg == cfg


def test_the_recorded_validation_is_that_of_the_saved_model(tmp_path):
    cfg = config(tmp_path)
    history = train(cfg)
    val = dance(6, seed=1)
    prediction = predict(load_model(tmp_path / "out" / "last.ckpt"), [val], seed=cfg.seed)[0]
    assert history[-1]["val_psnr"] == pytest.approx(psnr(prediction[1:], val.frames[1:]).mean(), abs=1e-6)
    best = read_checkpoint(tmp_path / "out" / "best.ckpt")["best_psnr"]
    assert best == max(r["val_psnr"] for r in history if r["val_psnr"] is not None)


def test_the_loss_is_its_formula():
    cfg = LabConfig(**TINY, sigma_x=0.2, l1=0.3)
    model = make(cfg)
    video = dance(5)
    x, P = to_float(video.frames), to_float(video.labels)
    eps = torch.randn(4, *model.latent_shape)
    loss, (total, mse, kl), prediction = Objective(model, cfg)(x[:-1], x[1:], P[1:], eps, 0.7, None)
    error = prediction - x[1:]
    assert mse == pytest.approx(error.square().mean().item(), rel=1e-5)
    expected = mse + 0.3 * error.abs().mean() + 0.7 * 2 * 0.2**2 / (3 * 16 * 24) * kl
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5) and total == loss


def test_beta_1_is_the_elbo():
    """With l1 = 0 the loss differs from -log N(x; x̂, sigma^2) + KL by a factor and a constant only."""
    cfg = LabConfig(**TINY, sigma_x=0.2, l1=0.0)
    model, video = make(cfg), dance(6)
    x, P = to_float(video.frames), to_float(video.labels)
    eps = torch.randn(5, *model.latent_shape)
    loss, (_, _, kl), prediction = Objective(model, cfg)(x[:-1], x[1:], P[1:], eps, 1.0, None)
    log_p = torch.distributions.Normal(prediction, 0.2).log_prob(x[1:]).flatten(1).sum(1).mean()
    D = 3 * 16 * 24
    negative_elbo = -log_p + kl
    constant = D / 2 * math.log(2 * math.pi * 0.2**2)
    assert loss.item() * D / (2 * 0.2**2) + constant == pytest.approx(negative_elbo.item(), rel=1e-5)


def test_replay_feeds_true_frames_at_ratio_1_and_predictions_at_0(tmp_path):
    trainer = Trainer(make(config(tmp_path)), dance(), None, config(tmp_path))
    trainer.replay.fill_(7)
    true_previous = trainer._draw_replay(1.0)[0]
    replayed = trainer._draw_replay(0.0)[0]
    t, shift = trainer._draw_replay(0.0)[-1]
    still = (shift == 0).all(dim=1)
    torch.testing.assert_close(true_previous[still], to_float(dance().frames)[t[still] - 1])
    assert (replayed == 7 / 255).all()


def test_replay_remembers_the_latest_predictions(tmp_path):
    cfg = config(tmp_path)
    trainer = Trainer(make(cfg), dance(), None, cfg)
    before = trainer.replay.clone()
    previous, x, P, eps, _, shift, (t, _) = trainer._draw_replay(1.0)
    prediction = trainer.model.transition(previous, x, P, eps, shift)[0].detach()
    trainer._step(0.0, 1.0)
    changed = (trainer.replay != before).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == sorted(set(t.tolist()))
    for b, frame in enumerate(t.tolist()):
        if (t == frame).sum() == 1:  # drawn twice: either may be kept
            down, right = shift[b].tolist()
            expected = moved(prediction[b].clamp(0, 1).permute(1, 2, 0).numpy(), -down, -right)
            np.testing.assert_allclose(trainer.replay[frame].numpy() / 255, expected, atol=0.51 / 255)


def moved(image, down, right):
    """(H, W, 3) moved by whole pixels, the edges repeated: padded by NumPy and cut out again."""
    padded = np.pad(image, ((9, 9), (9, 9), (0, 0)), mode="edge")
    return padded[9 - down : 9 - down + image.shape[0], 9 - right : 9 - right + image.shape[1]]


def test_half_of_the_scenes_are_moved_with_their_room(tmp_path):
    cfg = config(tmp_path, shift=4, batch_size=64)
    video, trainer = dance(), Trainer(make(cfg), dance(), None, cfg)
    previous, x, P, _, _, shift, (t, everybodys) = trainer._draw_replay(1.0)
    still = (shift == 0).all(dim=1)
    assert torch.equal(everybodys, shift) and 0.5 <= still.float().mean() < 0.65
    assert set(shift[:, 0].tolist()) == {-1, 0, 1}
    assert shift[:, 1].min() == -4 and shift[:, 1].max() == 4
    frames, labels = (
        [[to_float(moved(i, d, r)) for i in a] for d, r in shift.tolist()] for a in (video.frames, video.labels)
    )
    for b, i in enumerate(t.tolist()):
        torch.testing.assert_close(x[b], frames[b][i])
        torch.testing.assert_close(P[b], labels[b][i])
        torch.testing.assert_close(previous[b], frames[b][i - 1])

    generator = trainer.model.Generator
    with torch.no_grad():  # nothing but the room is painted
        generator.out.weight.zero_()
        generator.out.bias.fill_(-40.0)
        generator.background.normal_()
        room = torch.sigmoid(generator.background).permute(1, 2, 0).numpy()
        painted = trainer.model.step(
            previous, trainer.model.label_transformation(P), torch.zeros(len(x), *trainer.model.latent_shape), shift
        )
    for frame, (down, right) in zip(painted.permute(0, 2, 3, 1).numpy(), shift.tolist()):
        np.testing.assert_allclose(frame, moved(room, down, right), atol=1e-6)


def test_no_scene_is_moved_with_shift_0(tmp_path):
    cfg = config(tmp_path, shift=0)
    trainer = Trainer(make(cfg), dance(), None, cfg)
    _, x, _, _, _, shift, (t, _) = trainer._draw_replay(1.0)
    assert shift is None
    torch.testing.assert_close(x, to_float(dance().frames)[t])


def test_clips_are_windows_of_the_video(tmp_path):
    cfg = config(tmp_path, mode="clips")
    trainer = Trainer(make(cfg), dance(), None, cfg)
    starts = set()
    for step in range(40):
        trainer.budget.step = step
        _, x, P, _, teacher, *_ = trainer._draw_clips(0.3)
        for clip, poses in zip(x, P, strict=True):
            start = next(k for k in range(17) if torch.equal(clip, to_float(dance().frames[k : k + 4])))
            assert torch.equal(poses, to_float(dance().labels[start : start + 4]))
            starts.add(start)
        assert teacher.shape == (2, 3)
    assert starts == set(range(17))  # all windows, the first and the last one too


def test_the_learning_rate_warms_up_and_falls_to_zero(tmp_path):
    fast = dict(fast_train=True, fast_lr=3.0, fast_train_epoch=10, fast_partial=1.0)
    cfg = config(tmp_path, num_epoch=50, warmup=0.1, **fast)
    history = train(cfg, val=False)
    rates = np.array([r["lr"] for r in history]) / cfg.lr
    cosine = (1 + np.cos(np.pi * np.arange(200) / 200)) / 2
    np.testing.assert_allclose(rates[40:], cosine[40:], atol=1e-9)
    np.testing.assert_allclose(rates[21:40], 3 * cosine[21:40], atol=1e-9)
    assert rates[0] < 0.1 and (np.diff(rates[:18]) > 0).all()


def test_history_follows_the_schedules(tmp_path):
    annealing = dict(kl_anneal_type="Cyclical", kl_anneal_cycle=2, kl_anneal_ratio=1.0)
    cfg = config(tmp_path, tfr_sde=1, tfr_d_step=0.4, **annealing)
    history = train(cfg, val=False)
    assert [r["tfr"] for r in history] == [1.0] * 4 + [0.6] * 4 + [0.2] * 4
    np.testing.assert_allclose([r["beta"] for r in history], [*np.arange(6) / 6] * 2, atol=1e-12)


def test_averaged_weights_are_a_running_mean(tmp_path):
    cfg = config(tmp_path, ema=0.9)
    trainer = Trainer(make(cfg), dance(), None, cfg)
    expected = trainer.model.Generator.out.bias.detach().clone()
    for step in range(5):
        trainer.budget.step = step
        trainer._set_learning_rate()
        trainer._step(0.0, 1.0)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * trainer.model.Generator.out.bias.detach()
    torch.testing.assert_close(trainer.averaged.Generator.out.bias, expected)


@pytest.mark.parametrize("mode", ["replay", "clips"])
def test_the_same_seed_gives_the_same_history_bit_for_bit(tmp_path, mode):
    a = train(config(tmp_path / "a", mode=mode))
    b = train(config(tmp_path / "b", mode=mode))
    c = train(config(tmp_path / "c", mode=mode, seed=1))
    assert without_time(a) == without_time(b) != without_time(c)


# -------------------------------------------------------------------------------------------------- stop and resume


def stop_after(steps, how="stop"):
    def callback(event, trainer):
        if event == "epoch" and trainer.budget.step >= steps:
            if how == "interrupt":
                raise KeyboardInterrupt
            trainer.stop()

    return callback


def test_stop_ends_with_a_checkpoint(tmp_path):
    history = train(config(tmp_path), [stop_after(4)])
    assert 4 <= len(history) <= 5
    assert read_checkpoint(tmp_path / "out" / "last.ckpt")["step"] == len(history)


def test_an_interrupted_training_resumes_where_it_was(tmp_path):
    whole = train(config(tmp_path / "whole", mode="clips"))
    cfg = config(tmp_path, mode="clips")
    with pytest.raises(KeyboardInterrupt):
        train(cfg, [stop_after(4, "interrupt")])
    resumed = train(cfg.replace(seed=0), resume=tmp_path / "out" / "last.ckpt")
    assert [r["step"] for r in resumed] == list(range(12))
    for a, b in zip(without_time(whole), without_time(resumed), strict=True):
        assert {k: v for k, v in a.items() if k != "val_psnr"} == {k: v for k, v in b.items() if k != "val_psnr"}
    assert whole[-1]["val_psnr"] == resumed[-1]["val_psnr"]


def test_a_spent_budget_is_not_resumed_silently_but_can_be_raised(tmp_path):
    cfg = config(tmp_path)
    train(cfg)
    with pytest.raises(LabError, match="trained for its 3 epochs already"):
        train(cfg, resume=tmp_path / "out" / "last.ckpt")
    assert len(train(cfg.replace(num_epoch=4), resume=tmp_path / "out" / "last.ckpt")) == 16


def test_a_checkpoint_of_another_width_is_refused(tmp_path):
    train(config(tmp_path))
    with pytest.raises(LabError, match="does not fit the model"):
        train(config(tmp_path, width=16), resume=tmp_path / "out" / "last.ckpt")


def test_training_continues_from_a_course_checkpoint(tmp_path):
    cfg = config(tmp_path, variant="course", num_epoch=4)
    course = {"state_dict": make(cfg).state_dict(), "lr": 1e-3, "tfr": 0.9, "last_epoch": 1}
    torch.save(course, tmp_path / "epoch=1.ckpt")
    history = train(cfg, resume=tmp_path / "epoch=1.ckpt")
    assert [r["epoch"] for r in history] == [2] * 4 + [3] * 4


# ------------------------------------------------------------------------------------------------------------ faults


def test_a_loss_that_is_not_finite_is_named_and_the_last_checkpoint_kept(tmp_path):
    def poison(event, trainer):
        if event == "epoch" and trainer.budget.step >= 8:
            trainer.model.Generator.out.bias.data.fill_(math.nan)

    with pytest.raises(LabError, match="the loss is nan in step 8"):
        train(config(tmp_path), [poison], val=False)
    weights = load_model(tmp_path / "out" / "last.ckpt").state_dict()
    assert all(w.isfinite().all() for w in weights.values())


def test_a_full_disk_is_named_and_the_old_checkpoint_kept(tmp_path, monkeypatch):
    train(config(tmp_path))
    before = (tmp_path / "out" / "last.ckpt").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(LabError, match=r"\.ckpt cannot be written: No space left on device"):
        train(config(tmp_path))
    assert (tmp_path / "out" / "last.ckpt").read_bytes() == before
    assert not list((tmp_path / "out").glob("*.part"))


def test_too_few_frames_and_bad_devices_are_named(tmp_path):
    with pytest.raises(LabError, match="at least 4 frames"):
        train(config(tmp_path), video=dance(3))
    with pytest.raises(LabError, match="--device tpu is not available"):
        select_device("tpu")
    with pytest.raises(LabError, match="cannot be divided among 4 processes"):
        Ranks(0, 4).share(6)


def test_a_damaged_history_is_named(tmp_path):
    (tmp_path / "history.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(LabError, match="is no history"):
        read_history(tmp_path / "history.csv")
    (tmp_path / "history.csv").write_text(",".join(COLUMNS) + "\nx,1,1,1,1,1,1,1,1,\n")
    with pytest.raises(LabError, match="cannot be read"):
        read_history(tmp_path / "history.csv")


# --------------------------------------------------------------------------------------------------------- optimizer


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8)])
def test_orthogonalize_keeps_directions_and_levels_singular_values(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    U, _, V = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices)
    inner = U.mT @ result @ V.mT  # diagonal, with all values near 1
    off = inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))
    assert off.abs().max() < 1e-3
    assert 0.6 < inner.diagonal(dim1=-2, dim2=-1).min() and inner.diagonal(dim1=-2, dim2=-1).max() < 1.3


def test_muon_agrees_with_torch_on_matrices():
    """torch.optim.Muon computes in bfloat16, hence the tolerance."""
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(w.clone()) for w in [torch.randn(24, 16)] * 2)
    a = Muon([ours], lr=0.1, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1)
    start = ours.detach().clone()
    for _ in range(4):
        grad = torch.randn(24, 16)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    moved, expected = (ours - start).detach().flatten(), (theirs - start).detach().flatten()
    assert torch.nn.functional.cosine_similarity(moved, expected, dim=0) > 0.999
    assert (moved.norm() / expected.norm()).item() == pytest.approx(1, abs=0.02)


def test_every_parameter_is_optimized_once():
    for optim in ("Muon", "AdamW", "Adam"):
        cfg = LabConfig(**TINY, optim=optim)
        model = make(cfg)
        owned = [id(p) for o in build_optimizers(model, cfg) for g in o.param_groups for p in g["params"]]
        assert sorted(owned) == sorted(id(p) for p in model.parameters())


# --------------------------------------------------------------------------------------------------------- torchrun

WORKER = """
import sys, numpy as np, torch
sys.path.insert(0, sys.argv[2])
import test_training as t
from labutils.distributed import ranks
from labutils.training import fit, write_history
cfg = t.LabConfig(**{**t.TINY, "save_root": sys.argv[1], "mode": sys.argv[3], "num_epoch": 5})
with ranks("cpu") as r:
    history = fit(t.make(cfg), t.dance(), t.dance(6, seed=1), cfg, ranks=r)
    (t.Path(sys.argv[1]) / f"rank{r.rank}.csv").parent.mkdir(exist_ok=True)
    write_history(f"{sys.argv[1]}/rank{r.rank}.csv", history)
"""


@pytest.mark.parametrize("mode", ["replay", "clips"])
def test_two_processes_compute_what_one_does(tmp_path, mode):
    (tmp_path / "worker.py").write_text(WORKER.replace("t.Path", "__import__('pathlib').Path"))
    for n in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}",
                   str(tmp_path / "worker.py"), str(tmp_path / f"out{n}"), os.path.dirname(__file__), mode]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
    one, two = (read_history(tmp_path / f"out{n}" / "rank0.csv") for n in (1, 2))
    other = read_history(tmp_path / "out2" / "rank1.csv")
    assert len(one) == len(two) == 20
    for name in ("loss", "mse", "kl"):
        np.testing.assert_allclose([r[name] for r in one], [r[name] for r in two], rtol=1e-4, atol=1e-6)
        assert [r[name] for r in two] == [r[name] for r in other]
    assert one[-1]["val_psnr"] == pytest.approx(two[-1]["val_psnr"], abs=0.01) and other[-1]["val_psnr"] is None
    assert sorted(p.name for p in (tmp_path / "out2").glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    resumed = fit(make(config(tmp_path)), dance(), None, config(tmp_path, mode=mode, num_epoch=6),
                  resume=tmp_path / "out2" / "last.ckpt")  # fmt: skip
    assert [r["epoch"] for r in resumed][-4:] == [5] * 4


# ------------------------------------------------------------------------------------------------- data beyond memory


def test_a_large_replay_lies_in_a_file_and_trains_the_same(tmp_path, monkeypatch):
    within = train(config(tmp_path, mode="replay"))
    monkeypatch.setattr("labutils.training.IN_MEMORY", 1)
    mapped = []
    monkeypatch.setattr(np, "memmap", lambda *a, original=np.memmap, **k: mapped.append(a) or original(*a, **k))
    mapped_history = train(config(tmp_path, mode="replay", save_root=str(tmp_path / "file")))
    assert without_time(mapped_history) == without_time(within)
    assert len(mapped) == 1
    assert sorted(p.name for p in (tmp_path / "file").iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]


def test_no_room_for_the_replay_is_said_before_training(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labutils.training.IN_MEMORY", 1)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(LabError, match=r"no room in .*No space left.*--save_root"):
        train(config(tmp_path, mode="replay"))
