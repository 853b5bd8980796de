"""The commands end to end at a small size: what they print, write and return."""

import csv
import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image

from labutils import commands, evaluation, load_model
from labutils.__main__ import COMMANDS, main, parse
from labutils.baselines import BASELINES
from labutils.checkpoint import COLUMNS, read_history
from labutils.config import LabConfig
from labutils.dance import read_states
from labutils.errors import LabError
from labutils.model import ConditionalVAE
from labutils.profiles import PROFILES, Profile


def help_of(capsys: pytest.CaptureFixture, *command: str) -> str:
    """What is printed instead of running a command."""
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture) -> str:
    """What was printed on stderr: one line that begins with `error: `."""
    text = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", text), text
    return text


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A save_root with a finished run, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def part(dance: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to take something away from."""
    return Path(shutil.copytree(dance, tmp_path / "part"))


def pictures(path: Path) -> tuple[int, int]:
    """The frames of a picture file, and its width; a GIF repeats for ever."""
    with Image.open(path) as image:
        if path.suffix == ".gif":
            assert image.info["loop"] == 0 and image.info["duration"] > 0
        return getattr(image, "n_frames", 1), image.width


# -------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_there_and_explained(command, capsys):
    place, summary = COMMANDS[command]
    module, name = importlib.import_module(place), command.replace("-", "_")
    assert callable(getattr(module, name)) and getattr(module, f"{name}_arguments").__doc__ == summary
    text = help_of(capsys, command)
    assert all(len(line) <= 120 for line in text.splitlines())
    assert f"python -m labutils {command}" in text.split("example:")[1] and "writes:" in text
    assert re.search(rf"^  {command} +{re.escape(summary)}$", help_of(capsys), re.M)


@pytest.mark.parametrize(
    "command, present, absent",
    [
        ("train", ["--tfr_sde", "--fast_train", "--N_dim", "--lr"], ["--out", "--submission"]),
        ("validate", ["--DR", "--ckpt_path", "--save_root", "--seed"], ["--tfr", "--lr", "--N_dim", "--partial"]),
        ("test", ["--DR", "--ckpt_path", "--submission"], ["--tfr", "--lr", "--val_vi_len"]),
        ("run", ["--profile", "--steps", "--minutes", "--save_root"], ["--tfr", "--N_dim", "--ckpt_path"]),
        ("make-data", ["--out", "--train", "--seed"], ["--DR", "--lr", "--save_root"]),
        ("stats", ["--DR"], ["--lr", "--save_root"]),
    ],
)
def test_help_shows_what_the_command_needs_and_no_more(command, present, absent, capsys):
    flags = set(re.findall(r"(?<!\S)--\w+", help_of(capsys, command).split("options:")[1]))
    assert set(present) <= flags and not set(absent) & flags


def test_run_accepts_the_flags_of_train_that_its_help_leaves_out():
    function, args = parse(["run", "--profile", "smoke", "--tfr_sde", "3", "--kl_anneal_type", "None"])
    assert function is commands.run and (args.tfr_sde, args.kl_anneal_type) == (3, "None")


@pytest.mark.parametrize("argv", ["", "fly", "train --tfr_sd 3", "train --lr fast", "train --optim Lion", "make-data"])
def test_wrong_usage_exits_with_2(argv):
    with pytest.raises(SystemExit) as end:
        main(argv.split())
    assert end.value.code == 2


# ---------------------------------------------------------------------------------------------------- data and stats


def test_make_data_takes_sizes_from_profile_and_flags(monkeypatch, tmp_path, capsys):
    out = tmp_path / "dance"
    sizes = "--train 20 --val 8 --supersample 1 --test_sequences 1 --test_frames 6 --height 16"
    assert main(["make-data", "--out", str(out), *sizes.split(), "--quiet"]) == 0
    assert "20 training and 8 validation frames, 1 test sequences of 6" in capsys.readouterr().out
    assert [len(list(out.glob(f"{k}/*.png"))) for k in ("train/train_img", "test/test_gt/0")] == [20, 6]
    with Image.open(next((out / "train/train_img").iterdir())) as image:
        assert image.size == (64, 16)
    seen = {}
    monkeypatch.setattr("labutils.dance.make_data", lambda out, **options: seen.update(options) or out)
    assert main(["make-data", "--out", "x", "--profile", "full", "--val", "9", "--num_workers", "3"]) == 0
    assert (seen["train"], seen["val"], seen["workers"], seen["progress"]) == (23410, 9, 3, True)
    for flags, lights in (("", (0, 0.05)), ("--lights", (3, 0.05)), ("--lights 4 --switch 0.2", (4, 0.2))):
        assert main(["make-data", "--out", "x", *flags.split()]) == 0 and (seen["lights"], seen["switch"]) == lights
    assert main(["make-data", "--out", "x", "--quiet"]) == 0
    assert (seen["train"], seen["val"], seen["progress"]) == (PROFILES["quick"].train_frames, 630, False)


# ------------------------------------------------------------------------------------------- train -> validate -> test


def test_train_writes_history_checkpoints_and_figures(trained):
    rows = list(csv.DictReader((trained / "history.csv").open()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 12
    assert [k for k, row in enumerate(rows) if row["val_psnr"]] == [5, 11]
    for name in ("last.ckpt", "best.ckpt"):
        assert load_model(trained / name).cfg.width == 8
    assert all(pictures(trained / name)[1] > 300 for name in ("losses.png", "teacher_forcing.png"))


@pytest.fixture
def seeds(monkeypatch):
    """The seeds of all evaluations."""
    seen, evaluate = [], evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **options: seen.append(a[3]) or evaluate(*a, **options))
    return seen


def test_validate_writes_report_figure_and_gif(copied, capsys, seeds):
    """Without --DR it is the data set of the training; results go beside the checkpoint."""
    flags = ["--ckpt_path", f"{copied}/best.ckpt", "--val_vi_len", "20", "--quiet"]
    assert main(["validate", *flags, "--seed", "5"]) == 0 and seeds == [5]
    out, report = capsys.readouterr().out, json.loads((copied / "val/psnr.json").read_text())
    (sequence,) = report["sequences"]
    assert len(sequence["psnr_per_frame"]) == 19 and report["baselines"].keys() == BASELINES.keys()
    assert np.mean(sequence["psnr_per_frame"]) == pytest.approx(report["average"], abs=1e-3)
    for value in [report["average"], *report["baselines"].values()]:
        assert f"{value:.2f} dB" in out
    assert "SSIM" in out and "The model has learned too little" in out and str(copied / "val") in out
    latent = json.loads((copied / "val/latent.json").read_text())
    assert (latent["frames"], latent["draws"], latent["units"]) == (19, 8, 12) and "lights" not in latent
    assert f"z carries {latent['kl']:.3f} nats a frame; {latent['active_units']} of its 12 numbers are active" in out
    assert f"best of 8: {latent['best_of']:.2f} dB (19 frames)" in out and "switches" not in out
    assert pictures(copied / "val/prediction.gif")[0] == 20 and pictures(copied / "val/psnr.png")[1] > 300


def test_validate_under_stage_lights_tells_how_they_behave(copied, tmp_path, capsys):
    """Beside what is true of the data: here two states, which switch often."""
    sizes = "--train 20 --val 12 --test_sequences 1 --test_frames 6 --supersample 1"
    lit, argv = str(tmp_path / "lit"), f"make-data --out {tmp_path}/lit {sizes} --lights 2 --switch 0.25 --quiet"
    assert main(argv.split()) == 0
    assert main(["validate", "--DR", lit, "--save_root", str(copied), "--quiet"]) == 0
    lights = json.loads((copied / "val/latent.json").read_text())["lights"]
    assert (lights["states"], lights["switch"], len(lights["shares"])) == (2, 0.25, 2)
    assert sum(lights["shares"]) == pytest.approx(1) and lights["variation"] == pytest.approx(
        abs(lights["shares"][0] - 0.5)
    )
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("The light switches in"))
    assert line.startswith(f"The light switches in {lights['rate']:.1%} of the frames (data: 25.0%)")
    assert line.endswith("z would carry 0.56 nats a frame at best")  # H(1/4) = ln 4 - 3/4 ln 3


def test_test_prints_the_table_and_writes_everything(copied, dance, capsys, seeds):
    argv = ["test", "--DR", str(dance), "--save_root", str(copied), "--quiet"]
    assert main(argv) == 0 and not (copied / "test/submission.csv").exists()
    capsys.readouterr()
    assert main([*argv, "--submission", "--seed", "6"]) == 0 and seeds == [0, 6]
    lines, report = capsys.readouterr().out.splitlines(), json.loads((copied / "test/psnr.json").read_text())
    assert {"sequences", "average", "grade", "baselines"} <= report.keys()
    scores = [float(m[1]) for m in map(re.compile(r"PSNR for testing sequence(?:\d+): ([\d.]+)$").match, lines) if m]
    assert lines[0].startswith("PSNR for testing sequence1: ") and len(scores) == 2
    assert f"AVG: {report['average']:.2f}" in lines and np.mean(scores) == pytest.approx(report["average"], abs=0.01)
    assert any(line.startswith(f"Grade: {report['grade']} %") for line in lines)
    assert [pictures(copied / f"test/seq{k}.gif")[0] for k in range(2)] == [30, 30]
    assert len((copied / "test/submission.csv").read_text().splitlines()) == 61


def test_data_without_truth_or_without_training_frames_are_predicted(copied, part, capsys):
    shutil.rmtree(part / "train")
    shutil.rmtree(part / "test/test_gt/1")
    argv = ["test", "--DR", str(part), "--save_root", str(copied), "--quiet"]
    assert main(argv) == 0
    assert json.loads((copied / "test/psnr.json").read_text())["baselines"].keys() == {"copy_first", "copy_previous"}
    panel = 3 * 64 + 4  # prediction, ground truth, pose; prediction, pose
    assert [pictures(copied / f"test/seq{k}.gif")[1] for k in range(2)] == [3 * panel - 4, 2 * panel - 4]
    shutil.rmtree(part / "test/test_gt")
    assert main(argv) == 0 and "no true frames" in capsys.readouterr().out
    report = json.loads((copied / "test/psnr.json").read_text())
    assert report["average"] is None and report["grade"] is None and len(report["sequences"]) == 2


def test_training_without_validation_data_and_going_on(part, dance, tmp_path, capsys):
    shutil.rmtree(part / "val")
    root = str(tmp_path / "run")
    assert main(["train", "--DR", str(part), "--save_root", root, *SMALL, "--steps", "2"]) == 0
    assert "training without validation" in capsys.readouterr().out
    assert main(["test", "--DR", str(dance), "--save_root", root, "--quiet"]) == 0  # finds last.ckpt
    before = read_history(tmp_path / "run/history.csv")
    assert main(["train", "--ckpt_path", f"{root}/last.ckpt", "--steps", "4", "--device", "cpu", "--quiet"]) == 0
    assert "Going on from" in capsys.readouterr().out and not (tmp_path / "run/previous-1").exists()
    after = read_history(tmp_path / "run/history.csv")
    assert after[:2] == before and len(after) == 4 and load_model(tmp_path / "run/last.ckpt").cfg.width == 8


@pytest.mark.slow
def test_a_checkpoint_of_the_course_is_validated_tested_and_trained_on(dance, tmp_path):
    path, out = str(tmp_path / "epoch=3.ckpt"), tmp_path / "out"
    weights = ConditionalVAE(LabConfig(variant="course", F_dim=16, L_dim=8, N_dim=4, D_out_dim=16)).state_dict()
    torch.save({"state_dict": weights, "optimizer": weights, "lr": 1e-3, "tfr": 1.0, "last_epoch": 3}, path)
    places = ["--DR", str(dance), "--ckpt_path", path, "--save_root", str(out), "--quiet"]
    assert main(["validate", *places, "--val_vi_len", "4"]) == main(["test", *places]) == 0
    assert (out / "val/psnr.json").is_file() and (out / "test/seq0.gif").is_file()
    argv = ["train", *places, "--steps", "8", "--num_epoch", "8", "--val_vi_len", "4", "--train_vi_len", "4"]
    assert main([*argv, "--batch_size", "1", "--device", "cpu"]) == 0
    assert [row["epoch"] for row in read_history(out / "history.csv")] == [4, 5, 6, 7]
    cfg = load_model(out / "last.ckpt").cfg
    assert (cfg.variant, cfg.F_dim, cfg.L_dim, cfg.N_dim, cfg.D_out_dim) == ("course", 16, 8, 4, 16)


# --------------------------------------------------------------------------------- earlier results, going on, stopping


def test_a_new_run_moves_the_earlier_one_aside(copied, dance, capsys):
    (copied / "val").mkdir()
    (copied / "val/psnr.json").write_text("{}")
    (copied / "notes.txt").write_text("mine")
    before = {name: (copied / name).read_bytes() for name in ("history.csv", "last.ckpt", "best.ckpt")}
    argv = ["train", "--DR", str(dance), "--save_root", str(copied), *SMALL, "--steps", "2", "--val_vi_len", "4"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert re.search(r"Training on 96 frames of .*, 2 steps on cpu: variant fast, [\d,]+ parameters", out)
    written = "history.csv, last.ckpt, best.ckpt, losses.png, teacher_forcing.png"
    assert f"Wrote {written} in {copied}" in out and f"to {copied / 'previous-1'}" in out
    assert {name: (copied / "previous-1" / name).read_bytes() for name in before} == before
    assert (copied / "previous-1/val/psnr.json").is_file() and not (copied / "val").exists()
    assert (copied / "notes.txt").is_file()  # what the lab did not write stays
    assert len(read_history(copied / "history.csv")) == 2
    assert main(argv) == 0 and (copied / "previous-2/last.ckpt").is_file()
    assert main([*argv, "--DR", str(copied / "no-data")]) == 2  # a run that cannot start moves nothing
    assert (copied / "last.ckpt").is_file() and not (copied / "previous-3").exists()


def test_flags_win_over_the_checkpoint_and_places_are_never_taken_from_it(copied, monkeypatch):
    def settings(*flags: str) -> LabConfig:
        assert main(["train", *flags]) == 0
        return seen.pop()

    seen, path = [], f"{copied}/last.ckpt"
    monkeypatch.setattr(commands, "train_model", seen.append)
    cfg = settings("--ckpt_path", path)
    assert (cfg.width, cfg.steps, cfg.save_root, cfg.device, cfg.quiet) == (8, 12, str(copied), "auto", False)
    cfg = settings("--ckpt_path", path, "--lr", "0.5", "--save_root", "elsewhere", "--num_epoch", "9")
    assert (cfg.lr, cfg.save_root, cfg.num_epoch, cfg.steps) == (0.5, "elsewhere", 9, None)
    cfg = settings("--ckpt_path", path, "--minutes", "1.5")
    assert (cfg.minutes, cfg.steps, cfg.num_epoch) == (1.5, None, 4)
    cfg = settings("--steps", "7", "--num_epoch", "3")
    assert (cfg.steps, cfg.num_epoch, cfg.width) == (7, 3, LabConfig().width)


def test_a_finished_run_that_is_started_again_makes_what_is_missing(copied, capsys):
    """As after kill -9 between the last checkpoint and the figures."""
    (copied / "losses.png").unlink()
    before = {name: (copied / name).read_bytes() for name in ("history.csv", "last.ckpt", "best.ckpt")}
    assert main(["train", "--ckpt_path", f"{copied}/last.ckpt", "--device", "cpu", "--quiet"]) == 0
    assert "last.ckpt has been trained for its 12 steps already; raise --steps" in capsys.readouterr().out
    assert (copied / "losses.png").is_file()
    assert {name: (copied / name).read_bytes() for name in before} == before


def test_a_checkpoint_does_not_say_what_to_compile_nor_invents_data(copied, capsys, monkeypatch):
    checkpoint = torch.load(copied / "last.ckpt", weights_only=True)
    checkpoint["config"] |= {"compile": True, "save_root": "/elsewhere", "ckpt_path": "other.ckpt"}
    torch.save(checkpoint, copied / "last.ckpt")
    seen: list[LabConfig] = []
    monkeypatch.setattr(commands, "train_model", seen.append)
    path = f"{copied}/last.ckpt"
    assert main(["train", "--ckpt_path", path]) == 0
    assert (seen[0].compile, seen[0].save_root, seen[0].ckpt_path) == (False, str(copied), path)
    torch.save(checkpoint | {"config": checkpoint["config"] | {"DR": "no/where"}}, copied / "last.ckpt")
    assert main(["train", "--ckpt_path", path]) == 2
    assert "last.ckpt are not in no/where; say with --DR" in error_of(capsys)


@pytest.mark.slow
def test_a_generator_that_was_trained_with_a_sigmoid_is_noticed_and_scored_right(dance, tmp_path, capsys):
    model = ConditionalVAE(LabConfig(variant="course", F_dim=16, L_dim=8, N_dim=4, D_out_dim=16))
    for p in model.Generator.parameters():
        p.data.zero_()
    model.Generator[-1].bias.data.fill_(2.0)  # a light grey: sigmoid(2) = 0.88
    torch.save(model.state_dict(), tmp_path / "a.pth")
    argv = ["validate", "--DR", str(dance), "--ckpt_path", str(tmp_path / "a.pth"), "--val_vi_len", "4", "--quiet"]
    found = []
    for flags, hint in (([], True), (["--output", "sigmoid"], False)):
        assert main([*argv, "--save_root", str(tmp_path / "out"), *flags]) == 0
        text = capsys.readouterr().out
        assert ("100% of the generator's values lie more than 0.25 outside [0, 1]" in text) is hint
        assert ("try --output sigmoid" in text) is hint
        found.append(json.loads((tmp_path / "out/val/psnr.json").read_text()))
    assert found[0] != found[1]
    assert main([*argv, "--ckpt_path", "none"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_stopped_training_leaves_a_checkpoint_to_go_on_from(signum, dance, tmp_path):
    root = tmp_path / "run"
    flags = [*SMALL, "--steps", "1000000", "--num_epoch", "1000000", "--per_val", "2", "--per_save", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "labutils", "train", "--DR", dance, "--save_root", root, "--val_vi_len", "4", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signum, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        patience = time.monotonic() + 300
        while not (root / "best.ckpt").is_file() and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.05)
        assert not (root / "last.ckpt").exists()  # it is written by the end only
        process.send_signal(signum)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in err, err
    assert f"--ckpt_path {root / 'last.ckpt'}" in err
    steps = len(read_history(root / "history.csv"))
    assert steps > 1
    go_on = ["train", "--ckpt_path", f"{root}/last.ckpt", "--steps", str(steps + 1), "--num_epoch", "2"]
    assert main([*go_on, "--device", "cpu", "--quiet"]) == 0
    assert len(read_history(root / "history.csv")) == steps + 1


# --------------------------------------------------------------------------------------------------------------- run


@pytest.fixture
def smaller(tmp_path, monkeypatch):
    """A profile of seconds, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    small = Profile("smoke", 40, 12, 1, 12, dict(steps=4, num_epoch=2, batch_size=1, val_vi_len=12, width=8))
    monkeypatch.setitem(PROFILES, "smoke", small)


@pytest.mark.slow
def test_run_under_stage_lights(smaller, capsys, monkeypatch):
    taken, real = [], commands.validate_model
    monkeypatch.setattr(commands, "validate_model", lambda cfg: (taken.append(cfg.ckpt_path), real(cfg))[1])
    assert main("run --lights --profile smoke --device cpu --quiet --N_dim 3".split()) == 0
    out, latent = capsys.readouterr().out, json.loads(Path("outputs/val/latent.json").read_text())
    assert read_states("data/lights-smoke/val/lights.csv").shape == (12,) and not Path("data/dance-smoke").exists()
    cfg = load_model("outputs/best.ckpt").cfg
    assert (cfg.posterior, cfg.sigma_x, cfg.N_dim, cfg.width) == ("innovation", 2.0, 3, 8)  # a flag has the last word
    assert (latent["units"], latent["lights"]["states"], latent["lights"]["switch"]) == (3, 3, 0.05)
    assert "The light switches in" in out and "0.23 nats a frame at best" in out
    assert [Path(path).name for path in taken] == ["last.ckpt"]  # best.ckpt is that of the luckiest draw
    page = Path("outputs/index.html").read_text()
    assert all(text in page for text in ("What z is for", "z carries", "draw 1", "draw 3")) and "draw 4" not in page


@pytest.mark.slow
def test_run_goes_all_the_way_twice(smaller, capsys):
    argv = ["run", "--device", "cpu", "--quiet"]  # the profile is LAB_PROFILE's: smoke
    assert main(argv) == 0
    out = capsys.readouterr().out
    for number, name in enumerate(["data", "training", "validation", "test"], 1):
        assert re.search(rf"Step {number}/4: {name}\n(.*\n)+Step {number}/4: {name} took \d+ s", out)
    assert "PSNR for testing sequence1: " in out and "AVG: " in out and "Grade: " in out
    names = "history.csv last.ckpt best.ckpt val/psnr.json val/latent.json val/psnr.png val/prediction.gif"
    assert all(Path("outputs", name).is_file() for name in [*names.split(), "test/seq0.gif", "index.html"])
    made = Path("data/dance-smoke/train/train_img/frame000000.png").stat().st_mtime_ns
    assert main([*argv, "--steps", "2"]) == 0
    assert Path("data/dance-smoke/train/train_img/frame000000.png").stat().st_mtime_ns == made
    assert Path("outputs/previous-1/test/psnr.json").is_file() and len(read_history("outputs/history.csv")) == 2


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "argv, message",
    [
        ("train --DR {tmp}/nowhere", "nowhere is missing"),
        ("train --DR {dance} --lr -1", "--lr is -1.0"),
        ("train --DR {dance} --steps 3 --minutes 1", "--steps 3 and --minutes 1 are both given"),
        ("train --DR {dance} --ckpt_path {tmp}/none.ckpt", "none.ckpt is missing"),
        ("validate --DR {dance} --save_root {tmp}/empty", "best.ckpt is missing"),
        ("validate --DR {dance} --ckpt_path {broken}", "broken.ckpt cannot be read as a checkpoint"),
        ("test --DR {tmp} --ckpt_path {trained}/best.ckpt", "test_label is missing"),
        ("test --DR {dance} --ckpt_path {trained}/best.ckpt --save_root {broken}", "broken.ckpt"),
        ("train --DR {dance} --save_root {broken} " + " ".join(SMALL), "broken.ckpt"),
        ("train --DR {dance} --device tpu --save_root {tmp}/run", "--device tpu is not available"),
        ("run --profile smoke --ckpt_path a.ckpt", "takes no --ckpt_path"),
        ("run --profile smoke --DR {tmp}/mistyped", "mistyped"),
        ("make-data --out {broken}", "broken.ckpt is a file"),
        ("run --profile smoke --lights --DR {dance}", "use it without --DR"),
        ("make-data --out {tmp}/d --train 0", "train is 0"),
        ("make-data --out {tmp}/d --lights 9", "lights is 9"),
        ("make-data --out {tmp}/d --lights --switch 1", "switch is 1.0"),
        ("stats --DR {tmp}/nowhere", "nowhere"),
    ],
)
def test_errors_are_one_line_and_exit_with_2(argv, message, dance, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    words = argv.format(tmp=tmp_path, dance=dance, trained=trained, broken=tmp_path / "broken.ckpt")
    assert main(words.split()) == 2
    assert message in error_of(capsys)  # and no progress bar before it: it fails before the work begins
    assert not {"mistyped", "outputs", "data", "d"} & {path.name for path in tmp_path.iterdir()}


def test_a_wrong_profile_variable_and_a_run_under_torchrun_are_named(monkeypatch, capsys):
    for name, value, message in (("LAB_PROFILE", "quik", "LAB_PROFILE is 'quik'"), ("WORLD_SIZE", "2", "use train")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert main(["run"]) == 2 and message in error_of(capsys)


def wrapped(error: OSError) -> RuntimeError:
    """As torch.save raises it."""
    outer = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 1480320 vs 1480208")
    outer.__context__ = error
    return outer


FULL = "No space left on device"


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.ENOSPC, FULL, "out/last.ckpt"), "no space left on the disk for out/last.ckpt"),
        (wrapped(OSError(errno.ENOSPC, FULL)), "no space left on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "no access to out: Permission denied"),
        (torch.OutOfMemoryError("CUDA out of memory"), "choose a smaller --batch_size"),
        (LabError("the cause"), "the cause"),
    ],
    ids=["disk full", "disk full in torch.save", "no permission", "GPU memory", "LabError"],
)
def test_what_the_surroundings_refuse_is_one_line_too(monkeypatch, capsys, error, message):
    monkeypatch.setattr(commands, "stats", Mock(side_effect=error))
    assert main(["stats", "--DR", "x"]) == 2
    assert message in error_of(capsys)


@pytest.mark.parametrize("error", [ValueError("bug"), RuntimeError("bug"), FileNotFoundError(errno.ENOENT, "bug", "x")])
def test_a_fault_of_the_lab_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(commands, "stats", Mock(side_effect=error))
    with pytest.raises(type(error)):
        main(["stats", "--DR", "x"])


def test_a_reader_that_goes_away_is_no_error(dance):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "labutils", "stats", "--DR", str(dance)]
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, "")


# ------------------------------------------------------------------------------------------- the course's own flags

TRAINER = ("--device cuda --gpu 1 --store_visualization --DR {dr} --save_root {out} --num_workers 4 --num_epoch 70 "
           "--per_save 3 --partial 1.0 --train_vi_len 16 --val_vi_len 630 --frame_H 32 --frame_W 64 --F_dim 128 "
           "--L_dim 32 --N_dim 12 --D_out_dim 192 --tfr 1.0 --tfr_sde 10 --tfr_d_step 0.1 --fast_train "
           "--fast_partial 0.4 --fast_train_epoch 5")  # fmt: skip
LINES = [  # a line of the course's Trainer or Tester; settings that it gives; what it says on stderr
    ("train " + TRAINER, {"num_epoch": 70, "fast_train": True}, "--gpu is not needed"),
    ("train --optim adam --kl_anneal_type cyclical --kl_anneal_cycle 10",
     {"optim": "Adam", "kl_anneal_type": "Cyclical"}, ""),
    ("train --kl_anneal_type linear", {"kl_anneal_type": "Monotonic"}, ""),
    ("train --kl_anneal_type Without --kl_anneal_ratio 0", {"kl_anneal_type": "None", "kl_anneal_ratio": 1.0},
     "is not used without --kl_anneal_type"),
    ("train --kl_anneal_type Cyclical --kl_anneal_ratio 0", None, "--kl_anneal_type None keeps"),
    ("train --optim SGD", None, "use --optim Adam"),
    ("train --gpu 2", None, "torchrun --nproc-per-node 2"),
    ("train --gpu --exp_name first --save_root {out}", {"save_root": "{out}/first"}, "a folder of save_root"),
    ("train --test --ckpt_path {ckpt} --DR {dr}", {"ckpt_path": "{ckpt}"}, "train --test is validate"),
    ("test --make_gif --no_sanity --ckpt_path {ckpt}", {"width": 8}, "validate and test always write GIFs"),
    ("test --test --ckpt_path {ckpt} " + TRAINER, {"F_dim": 128, "width": 8, "DR": "{dr}", "steps": 12},
     "the checkpoint says it: --frame_H"),
    ("validate --lr 0.001 --batch_size 2 --kl_anneal_type None --kl_anneal_ratio 0 --ckpt_path {ckpt}",
     {"batch_size": 1}, "--batch_size, --lr"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "settings", "says"), LINES)
def test_lines_of_the_courses_trainer_and_tester(line, settings, says, copied, dance, monkeypatch, capsys):
    def here(text: str) -> str:
        return text.format(dr=dance, out=copied / "out", ckpt=copied / "last.ckpt")

    seen: list[LabConfig] = []
    for name in ("train_model", "validate_model", "test_model"):
        monkeypatch.setattr(commands, name, lambda cfg, *rest: seen.append(cfg))
    assert main(here(line).split()) == (2 if settings is None else 0)
    if settings is not None:
        (cfg,) = seen
        for name, value in settings.items():
            assert getattr(cfg, name) == (here(value) if isinstance(value, str) else value), name
    text = capsys.readouterr().err
    assert says in text and all(row.startswith(("note: ", "error: ")) for row in text.splitlines())
    assert bool(says) == bool(text)


@pytest.mark.parametrize(("flag", "meant"), [("--num_epochs", "--num_epoch"), ("--per-save=2", "--per_save")])
def test_a_flag_that_is_nearly_right_is_suggested(flag, meant, capsys):
    with pytest.raises(SystemExit):
        main(["train", flag, "3"])
    assert f"did you mean {meant} for {flag.split('=')[0]}?" in capsys.readouterr().err
