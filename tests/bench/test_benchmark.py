"""The benchmark: the starter code's mathematics against ours, counted operations, and the whole command."""

import copy
import json

import pytest
import torch

from labutils.__main__ import main
from labutils.bench.measure import TINY
from labutils.bench.report import figure, summarize, table
from labutils.bench.starter import FixedClips, FrameByFrame, StarterCode, same_mathematics, training_step
from labutils.config import LabConfig
from labutils.dataset import load_split
from labutils.errors import LabError
from labutils.flop import count_flop
from labutils.model import ConditionalVAE
from labutils.training import Trainer

SMALL = {**TINY, "frame_H": 16, "frame_W": 24, "train_vi_len": 4, "batch_size": 2, "quiet": True}


# ----------------------------------------------------------------------------------------------- the same mathematics


def both_ways(dance, tfr, beta, steps=3, **changes):
    """(loss, mse, kl) of both for the same weights, batches and noise: the starter code's and ours, (steps, 3) each."""
    cfg = LabConfig(DR=str(dance), steps=10**7, **SMALL)  # so long that the learning rate stays
    cfg = cfg.replace(**{**same_mathematics(cfg), **changes})
    torch.manual_seed(0)
    ours = ConditionalVAE(cfg)
    torch.nn.init.normal_(ours.Gaussian_Predictor[-1].bias)  # a KL near 0 would be all rounding
    theirs = copy.deepcopy(ours)
    ours.label_transformation = FrameByFrame(ours.label_transformation, cfg.batch_size)
    trainer = Trainer(ours, load_split(dance, "train", cfg), None, cfg)
    predicted = cfg.train_vi_len - 1  # so many times as large are their loss and, with it, their Adam's eps
    eps = predicted * trainer.optimizers[0].param_groups[0]["eps"]
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3, eps=eps)
    expected, found = [], []
    for _ in range(steps):
        b = trainer.batches.draw(trainer.budget.step, 96, tfr)  # the step draws the same ones again
        forced = bool(b.teacher.all())
        expected.append(training_step(theirs, optimizer, b.frames, b.labels, forced, beta, b.eps) / predicted)
        found.append(trainer.step(beta, tfr))
    return torch.stack(expected), torch.stack(found)


@pytest.fixture
def float64(monkeypatch):
    """Computes in double precision, where equal mathematics gives equal numbers."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("tfr", "beta"), [(0.0, 0.0), (0.0, 1e-3), (1.0, 1.0)])
def test_our_trainer_computes_what_the_starter_code_does(dance, tfr, beta, float64):
    expected, found = both_ways(dance, tfr, beta)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    assert found[-1, 0] < found[0, 0], "it learns"


@pytest.mark.parametrize("tfr", [0.0, 1.0])
def test_losses_agree_to_1e_4_in_single_precision_and_with_the_same_adam(dance, tfr):
    expected, found = both_ways(dance, tfr, 0.0)
    torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "change", [{}, {"feedback_grad": False}, {"l1": 1e-3}, {"grad_clip": 0.01}, {"sigma_x": 20.0}], ids=str
)
def test_other_mathematics_is_noticed(dance, change, float64, monkeypatch):
    if not change:  # but for statistics over all frames
        monkeypatch.setattr(FrameByFrame, "forward", lambda self, images: self.encoder(images))
    expected, found = both_ways(dance, 0.0, 1e-3, **change)
    assert ((found - expected).abs() / expected).max() > 1e-7


# ------------------------------------------------------------------------------------------- the starter code's loop


def test_fixed_clips_decode_what_the_cache_holds(dance):
    cfg = LabConfig(DR=str(dance), **SMALL)
    clips, video = FixedClips(cfg), load_split(dance, "train", cfg)
    assert len(clips) == 96 // 4
    for images, known in zip(clips[5], (video.frames, video.labels)):
        assert torch.equal((images * 255).round().byte().movedim(1, -1), torch.from_numpy(known[20:24].copy()))


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_starter_code_drops_the_remainder_and_goes_on_to_the_next_epoch(dance):
    cfg = LabConfig(DR=str(dance), **{**SMALL, "train_vi_len": 30})  # 3 clips: one batch, and one clip is left over
    starter = StarterCode(ConditionalVAE(cfg), cfg, torch.device("cpu"))
    first, again = starter.draw()[0], starter.draw()[0]
    assert starter.epoch == 1 and torch.equal(first, again)


def test_starter_code_needs_a_batch_of_clips(dance):
    with pytest.raises(LabError, match="1 clips of 60 frames; a batch needs 2"):
        FixedClips(LabConfig(DR=str(dance), **{**SMALL, "train_vi_len": 60}))


# --------------------------------------------------------------------------------------------------------- operations


@pytest.mark.parametrize("groups", [1, 8])
def test_operations_of_a_convolution(groups):
    conv = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(2, 8, 6, 10, requires_grad=True)
    forward = 2 * (2 * 16 * 3 * 5) * (8 // groups * 9)  # 2 x outputs x products in each
    assert count_flop(lambda: conv(x)) == forward
    assert count_flop(lambda: conv(x).sum().backward()) == 3 * forward
    assert count_flop(lambda: conv(x.detach()).sum().backward()) == 2 * forward


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def quick(dance, tmp_path_factory):
    """What ``bench --quick`` wrote, and its report."""
    out = tmp_path_factory.mktemp("bench")
    assert main(["bench", "--quick", "--DR", str(dance), "--out", str(out), "--device", "cpu"]) == 0
    return out


@pytest.mark.slow
def test_quick_bench_measures_everything(quick):
    results = json.loads((quick / "bench.json").read_text())
    assert results["complete"] and results["frames"] == {"train": 96, "val": 30, "0": 30, "1": 30}
    summary = results["summary"]
    ways = ["starter, own", "starter, true", "course, own", "course, true", "fast, replay"]
    assert list(summary["speed"]) == ways
    for way, values in summary["speed"].items():
        assert values["frames_per_s"] > 0 and values["memory_mb"] > 100 and values["tflop_per_s"] > 0, way
        assert 0 < values["wait_share"] < 1, way
        assert values["wait_s"] + values["compute_s"] == pytest.approx(values["step_s"])
        assert values["ratio"] == pytest.approx(1) or not way.startswith("starter")
    flop = {way: values["gflop_per_frame"] for way, values in summary["speed"].items()}
    assert flop["course, own"] == pytest.approx(flop["starter, own"], rel=0.01), "the same mathematics"
    assert flop["course, true"] < flop["starter, true"], "a true frame is encoded once, not twice"
    assert set(summary["learn"]) == {"fast, 0.6 s", "starter, 0.6 s"}
    for row in results["learn"]:
        assert row["steps"] > 0 and row["trained_s"] >= 0.6 and 0 < row["psnr"] < 60
        assert row["curve"][-1] == [row["trained_s"], row["psnr"]]
    (growth,) = results["growth"]
    assert growth["rollout"]["sequences"] == 2 and growth["rollout"]["frames"] == 29 and growth["rollout"]["s"] > 0
    assert {name: len(points) for name, points in growth["step_s"].items()} == dict.fromkeys(growth["step_s"], 2)
    assert summary["start_s"] > 0.5
    assert (quick / "bench.png").stat().st_size > 10_000
    text = (quick / "bench.md").read_text()
    for part in (*ways, "cores: ", "RAM: ", "GPU: none", "OS: ", f"torch: {torch.__version__}", "torchvision: "):
        assert part in text, part


@pytest.mark.slow
def test_report_of_a_run_that_was_stopped_says_so(quick):
    results = json.loads((quick / "bench.json").read_text())
    results.update(complete=False, growth=[], learn=[], start=[], speed=results["speed"][:1])
    results["summary"] = summarize(results)
    text = table(results)
    assert "Not complete" in text and "starter, own" in text and "Rollout" not in text
    figure(results)


@pytest.mark.parametrize("flags", [["--trials", "0"], ["--minutes", "0"], ["--DR", "nowhere"]])
def test_bad_flags_are_refused(flags, tmp_path, capsys):
    assert main(["bench", "--quick", "--device", "cpu", "--out", str(tmp_path), *flags]) == 2
    assert flags[1] in capsys.readouterr().err


def test_a_case_that_fails_is_named(dance, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("labutils.bench.commands.plan", lambda *args: iter([dict(case="speed", way="nonsense")]))
    assert main(["bench", "--quick", "--DR", str(dance), "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert "the case speed of nonsense ended with code" in capfd.readouterr().err
