"""Each finding on a made example, and none of it on the example's healthy twin."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from formula import Formula
from refusals import refuses
from tiny import dance as squares_at_random
from tiny import grey
from torch import nn

from labutils.__main__ import main
from labutils.config import LabConfig
from labutils.doctor import CATALOGUE, Case, examine
from labutils.doctor.findings import LOOKS
from labutils.images import Video
from labutils.model import ConditionalVAE
from labutils.submission import write_submission


def found(case: Case, name: str, *fields: str) -> str:
    """The evidence of one finding in a case, of the looks that need these fields."""
    looks = [function for key, needs, function in LOOKS if key == name and needs == fields]
    assert looks, (name, fields)
    return "; ".join(filter(None, (function(case) for function in looks)))


# ---------------------------------------------------------------------------------------------- histories and reports


def course(
    lr=lambda e: 1e-3, weight=2.9e-5, kl=5.0, tfr=0.0, psnr=27.0, mse=0.002, epochs=40
) -> list[dict[str, float]]:
    """A history of the course's kind."""
    rows = []
    for e in range(epochs):
        beta, nats = min(1, 0.1 * e), kl * (1 + 0.1 * math.sin(e))
        loss = mse + weight * beta * nats
        rows.append(
            {"epoch": e, "loss": loss, "mse": mse, "kl": nats, "beta": beta, "tfr": tfr, "lr": lr(e), "val_psnr": psnr}
        )
    return rows


@pytest.mark.parametrize(
    ("name", "ill", "shows"),
    [
        ("learning-rate", dict(lr=lambda e: 1e-3 * 0.1 ** ((e >= 2) + (e >= 5))), "from epoch 5 on"),
        ("kl-sum", dict(weight=1.0), "34,133 times as heavy"),
        ("z-unused", dict(kl=0.01), "nats a frame"),
        ("z-unlike-prior", dict(kl=9000.0), "nats a frame"),
        ("feedback-gap", dict(tfr=0.8, psnr=17.0), "80% true frames fed, validation 17.0 dB"),
    ],
)
def test_histories(name, ill, shows):
    assert shows in found(Case(history=course(**ill)), name, "history")
    cosine = course(lr=lambda e: 1e-3 * (1 + math.cos(math.pi * e / 40)) / 2)
    assert not found(Case(history=cosine), name, "history")


def test_a_reported_mean_over_one_frame_too_few_and_below_a_baseline(tmp_path):
    values = [20.0, 22.0, 25.0]
    for name, mean, other in (("bad", sum(values) / 2, 24.0), ("good", sum(values) / 3, 21.0)):
        report = {
            "sequences": [{"psnr": mean, "psnr_per_frame": values}],
            "average": 22.3,
            "baselines": {"copy_first": other},
        }
        (tmp_path / f"{name}-psnr.json").write_text(json.dumps(report))
    assert {f.name for f in examine(tmp_path / "bad-psnr.json")[1]} == {"psnr-mean", "below-baseline"}
    assert not examine(tmp_path / "good-psnr.json")[1]


def test_the_courses_bars_csv_with_other_names_and_json_are_histories(tmp_path):
    bar = "(train [TeacherForcing: ON, 0.9], beta: 0.1) Epoch {e}, lr:{lr}: 100%|##| 5/5 [00:01, loss={loss}]"
    rates = [1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5]
    bars = "\r".join(bar.format(e=e, lr=lr, loss=k) for e, lr in enumerate(rates) for k in (9, 0.5))
    table = "Epoch,Learning Rate,Train Loss\n" + "".join(f"{e},{lr},0.5\n" for e, lr in enumerate(rates))
    lists = json.dumps({"epoch": list(range(len(rates))), "learning_rate": rates, "train_loss": [0.5] * len(rates)})
    for name, text in (("log.txt", bars), ("log.csv", table), ("log.json", lists)):
        (tmp_path / name).write_text(text)
        case, (finding,), _ = examine(tmp_path / name)
        assert finding.name == "learning-rate" and "epoch 5" in finding.evidence and len(case.history) == len(rates)
        assert case.history[3] | {"loss": 0.5, "epoch": 3.0, "lr": 1e-4} == case.history[3]


# --------------------------------------------------------------------------------------------------------- networks


def network(paint, q=lambda frame: 0 * frame, spread=0.0, label=None) -> ConditionalVAE:
    """A network that paints the next frame from the previous one, the pose's feature and z, all (B, 3, H, W).

    Args:
        q: the posterior's mean from the frame; ``spread``: its log variance.
        label: the module that poses pass through; it leaves them as they are.
    """
    model = ConditionalVAE(LabConfig(frame_H=16, frame_W=24, width=8, N_dim=3))
    model.latent_shape = (3, 16, 24)
    model.frame_transformation, model.label_transformation = nn.Identity(), label or nn.Identity()

    def gaussian(frame, pose, eps=None):
        mu = q(frame)
        return mu, mu, torch.full_like(mu, spread)

    model.Gaussian_Predictor, model.Generator = Formula(gaussian), nn.Identity()
    model.Decoder_Fusion = Formula(paint)
    return model.eval()


def squares(frames: int = 14) -> Video:
    """Frames that are their poses: an orange square that goes down and right on a ground that grows lighter."""
    x = np.full((frames, 16, 24, 3), 60, np.uint8) + np.arange(0, 6 * frames, 6, dtype=np.uint8)[:, None, None, None]
    for t in range(frames):
        x[t, t % 11 : t % 11 + 5, t % 17 : t % 17 + 6] = (230, 140, 20)
    return Video("val", x, x.copy())


VAL = squares()
MEAN, STD = (getattr(VAL.frames.astype(np.float32) / 255, f)(axis=(0, 1, 2)) for f in ("mean", "std"))


def norm(mean: np.ndarray) -> nn.Module:
    """BatchNorm that has seen pictures of this mean."""
    layer = nn.BatchNorm2d(3, affine=False)
    layer.running_mean.copy_(torch.from_numpy(mean))
    layer.running_var.copy_(torch.from_numpy(STD**2))
    return layer


def unnormed(previous, feature, z):
    return feature * torch.from_numpy(STD).view(1, 3, 1, 1) + torch.from_numpy(MEAN).view(1, 3, 1, 1)


def at_home_in_bgr(previous, pose, z):
    return pose if pose[:, 0].mean() < pose[:, 2].mean() else 0.5 * torch.ones_like(pose)


HEALTHY = network(lambda previous, pose, z: pose)
BY_Z = network(lambda previous, pose, z: z + 0.5, lambda frame: frame - 0.5)
NETWORKS = {  # finding: an ill network, a healthy one
    "batchnorm": (network(unnormed, label=norm(MEAN + 5)), network(unnormed, label=norm(MEAN))),
    "beyond-range": (network(lambda previous, pose, z: 4 * pose - 1), HEALTHY),
    "z-unused": (HEALTHY, BY_Z),
    "z-unlike-prior": (network(lambda previous, pose, z: pose, lambda frame: 9 * frame, -9.0), HEALTHY),
    "feedback-gap": (network(lambda previous, pose, z: previous), HEALTHY),
    "pairing": (network(lambda previous, pose, z: pose.roll((1, 1), (2, 3))), HEALTHY),
    "bgr": (network(at_home_in_bgr), HEALTHY),
    "below-baseline": (network(lambda previous, pose, z: 0 * pose), HEALTHY),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    ill, healthy = NETWORKS[name]
    assert found(Case(model=ill, val=VAL), name, "model", "val")
    assert not found(Case(model=healthy, val=VAL), name, "model", "val")


def test_a_validation_as_good_as_the_posterior_makes_it():
    def evidence(psnr: float) -> str:
        return found(Case(model=BY_Z, val=VAL, psnr=psnr), "posterior-in-validation", "model", "val", "psnr")

    assert "95.00 dB were reported" in evidence(95.0) and not evidence(9.0)


def test_a_rate_in_a_checkpoint_of_the_course(tmp_path):
    weights = ConditionalVAE(LabConfig(variant="course", F_dim=16, L_dim=8, N_dim=4, D_out_dim=16)).state_dict()
    for lr, names in ((1e-5, ["learning-rate"]), (1e-3, [])):
        path = tmp_path / "epoch=9.ckpt"
        torch.save({"state_dict": weights, "optimizer": weights, "lr": lr, "tfr": 0.5, "last_epoch": 9}, path)
        case, findings, missing = examine(path)
        assert [f.name for f in findings] == names and case.model.cfg.variant == "course"
        assert missing.keys() == CATALOGUE.keys() - {"learning-rate"} and "--DR" in missing["bgr"]


# --------------------------------------------------------------------------------------------- data and submissions


def test_frames_that_move_with_the_poses_of_other_frames():
    video = squares_at_random(60)
    for s, name in ((2, "pose t+2"), (-1, "pose t-1")):
        moved = Video("train", np.roll(video.frames, -s, 0), video.labels)
        assert name in found(Case(train=moved), "pairing", "train")
        parts = dict(predictions=moved.frames.astype(np.float32), test=[video])
        assert name in found(Case(**parts), "pairing", "predictions", "test")
    assert not found(Case(train=video, val=video), "pairing", "train")


def sequences() -> list[Video]:
    first, second = squares_at_random(20, seed=1), squares_at_random(20, seed=2)
    return [Video("0", first.frames, first.labels), Video("1", 255 - second.frames, second.labels)]


SUBMISSIONS = {  # finding: fields that are needed, what makes it of frames (T, H, W, 3) in order
    "bgr": (("predictions", "test"), lambda parts: np.concatenate(parts)[..., ::-1]),
    "below-baseline": (("predictions", "test"), lambda parts: 0 * np.concatenate(parts) + 128),
    "pairing": (("predictions", "test"), lambda parts: np.concatenate(parts[::-1])),
    "beyond-range": (("predictions",), lambda parts: np.concatenate(parts) * 1.4),
}


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_submissions(name):
    fields, ill = SUBMISSIONS[name]
    test = sequences()
    parts = [video.frames.astype(np.float32) for video in test]
    assert found(Case(predictions=ill(parts), test=test), name, *fields)
    assert not found(Case(predictions=np.concatenate(parts), test=test), name, *fields)


@pytest.mark.parametrize(
    ("values", "says"), [([0, 0.5, 1], "fractions"), ([0, math.nan, 9], "not finite"), ([-3, 0, 9], "from -3 to 9")]
)
def test_values_that_are_no_grey_levels(values, says):
    assert says in found(Case(predictions=np.array(values, np.float32)), "beyond-range", "predictions")


# -------------------------------------------------------------------------------------------------------------- code

ILL = """
class VAE_Model(nn.Module):
    def __init__(self, args):
        self.mse_criterion = nn.MSELoss()
        self.scheduler = optim.lr_scheduler.MultiStepLR(self.optim, milestones=[2, 5], gamma=0.1)
    @torch.no_grad()
    def eval(self):
        for img, label in self.val_dataloader():
            self.val_one_step(img, label)
    def val_one_step(self, img, label):
        z, mu, logvar = self.Gaussian_Predictor(img, label)
        return sum(psnr_list) / (len(psnr_list) - 1)
def kl_criterion(mu, logvar, batch_size):
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / batch_size
def loader(path):
    return cv2.imread(path)
"""
CURED = {
    "def eval(": "def validate(", "len(psnr_list) - 1": "len(psnr_list)", "[2, 5]": "[40, 60]",
    "nn.MSELoss()": "nn.MSELoss(reduction='sum')", "self.Gaussian_Predictor(img, label)": "self.prior()",
    "cv2.imread(path)": "cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)",
}  # fmt: skip


def test_code(tmp_path):
    path = tmp_path / "Trainer.py"
    path.write_text(ILL)
    names = {f.name: f.evidence for f in examine(path)[1]}
    assert names.keys() == {"batchnorm", "psnr-mean", "kl-sum", "learning-rate", "posterior-in-validation", "bgr"}
    assert names["batchnorm"].startswith("Trainer.py:7: VAE_Model.eval hides") and "[2, 5]" in names["learning-rate"]
    healthy = ILL
    for old, new in CURED.items():
        healthy = healthy.replace(old, new)
        path.write_text(ILL.replace(old, new))
        assert len(examine(path)[1]) == 5, old
    path.write_text(healthy)
    assert not examine(path)[1]


# ------------------------------------------------------------------------------------------------------- the command


def test_what_was_read_what_was_found_and_what_was_not_looked_for(tmp_path, capsys):
    table = "epoch,loss,lr\n" + "".join(f"{e},0.1,0.001\n" for e in range(8))
    (tmp_path / "history.csv").write_text(table)
    assert main(["doctor", str(tmp_path / "history.csv")]) == 0
    out = capsys.readouterr().out
    assert "(history of 8 rows)" in out and "nothing found" in out and "red and blue are exchanged (BGR): needs" in out
    (tmp_path / "run" / "code").mkdir(parents=True)
    (tmp_path / "run" / "code" / "Trainer.py").write_text(ILL)
    (tmp_path / "run" / "notes.txt").write_text("nothing to see")
    assert main(["doctor", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "1. BatchNorm in training mode" in out and "evidence: Trainer.py:7" in out and "to do:" in out
    assert "(code)" in out and "nothing found" not in out


def test_a_run_of_the_lab_and_its_data(trained, dance, tmp_path, capsys):
    main(["doctor", str(trained), "--DR", str(dance)])
    out = capsys.readouterr().out
    assert "(checkpoint, variant fast)" in out and "(history of 12 rows)" in out and "(data: train, val)" in out
    told = out.split("Not looked")[0]
    assert not [text for text in ("paired wrongly", "(BGR)", "BatchNorm", "KL summed", "comes from") if text in told]
    assert "predictions below a baseline" in out  # 12 steps teach little


def test_a_submission_is_read_and_what_cannot_be_judged_is_refused(tmp_path):
    path = write_submission(tmp_path / "submission.csv", [grey(10, 20, 30)])
    case, findings, _ = examine(path)
    assert case.predictions.shape == (3, 32, 64, 3) and not findings
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    refuses("is nothing that can be judged", examine, tmp_path / "notes.csv")
    refuses("is missing", examine, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refuses("holds no checkpoint, history", examine, tmp_path / "empty")
    refuses("the data root .* is missing", examine, path, Path("nowhere"))
    refuses("--psnr is nan", examine, path, psnr=math.nan)


ODD = [
    b"", b"\0" * 99, b"\xff\xfe1,2", b"lr,loss\n1e999,nan\n\n,,,\n", b"id,0,1,2,3\n0,1,x\n", b"[" * 9999, b"{}",
    b'{"psnr_per_frame": [1, "a"], "psnr": 1, "average": [], "sequences": [1, {"psnr_per_frame": {}}]}',
    b'{"lr": [1, null, "x", 1e400], "loss": 3}', b'[1, {"lr": []}]', b"lr,kl\n" + b"9" * 140_000 + b",1\n",
    b"(train) Epoch 99999999999999999, lr:1e-\n(train) Epoch 1, lr:.", b"PK\3\4", b"\x80\x02}q\0.", b"def eval(:",
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".json", ".txt", ".py", ".ckpt", "", "-psnr.json"])
def test_odd_files_give_a_verdict_or_one_line(suffix, tmp_path, capsys):
    for k, content in enumerate(ODD):
        path = tmp_path / f"{k}{suffix}"
        path.write_bytes(content)
        assert main(["doctor", str(path)]) in (0, 1, 2), content[:60]
    if suffix != ".ckpt":  # in a folder, what is no part of a run is passed over
        assert main(["doctor", str(tmp_path)]) in (0, 1, 2)
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


def test_each_finding_is_looked_for_and_tested():
    assert {name for name, _, _ in LOOKS} == CATALOGUE.keys()
