"""The commands end to end at a small size: what they print, write and return."""

import argparse
import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image

from labutils import __main__ as commands
from labutils import evaluation, load_model
from labutils.__main__ import COMMANDS, main
from labutils.config import PROFILES, LabConfig
from labutils.errors import LabError
from labutils.model import ConditionalVAE

COLUMNS = ["step", "epoch", "seconds", "loss", "mse", "kl", "beta", "tfr", "lr", "val_psnr"]
BASELINES = {"copy_first", "copy_previous", "mean_frame"}


def errors_of(capsys: pytest.CaptureFixture) -> str:
    """What was printed on stderr: one line that begins with `error: `."""
    text = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", text), text
    return text


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A save_root with a finished run, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


# -------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_files_written(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m labutils {command}" in text.split("example:")[1]
    assert "writes:" in text and "--help" in text
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize(
    "command, present, absent",
    [
        ("train", ["--tfr_sde", "--fast_train", "--N_dim", "--lr"], ["--out", "--submission"]),
        ("validate", ["--DR", "--ckpt_path", "--save_root", "--seed"], ["--tfr", "--lr", "--N_dim", "--partial"]),
        ("test", ["--DR", "--ckpt_path", "--submission"], ["--tfr", "--lr", "--val_vi_len"]),
        ("run", ["--profile", "--minutes", "--save_root"], ["--tfr", "--N_dim", "--ckpt_path"]),
        ("make-data", ["--out", "--train", "--seed"], ["--DR", "--lr", "--save_root"]),
        ("stats", ["--DR"], ["--lr", "--save_root"]),
    ],
)
def test_help_shows_what_the_command_needs_and_no_more(command, present, absent, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    flags = set(re.findall(r"(?<!\S)--\w+", capsys.readouterr().out.split("options:")[1]))
    assert set(present) <= flags
    assert not set(absent) & flags


def test_overview_lists_all_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in [*COMMANDS, *commands.MODULES]:
        assert re.search(rf"^  {command} +\w", text, re.M), command


def test_help_is_there_without_torch():
    code = (
        "import sys\nfrom labutils.__main__ import COMMANDS, main\n"
        "for argv in [[], *([name] for name in COMMANDS)]:\n"
        "    try: main([*argv, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_run_accepts_the_flags_of_train_that_its_help_leaves_out():
    function, args = commands._parse(["run", "--profile", "smoke", "--tfr_sde", "3", "--kl_anneal_type", "None"])
    assert function is commands.run
    assert (args.tfr_sde, args.kl_anneal_type) == (3, "None")


@pytest.mark.parametrize(
    "argv",
    [[], ["fly"], ["train", "--tfr_sd", "3"], ["train", "--lr", "fast"], ["train", "--optim", "SGD"], ["make-data"]],
)
def test_wrong_usage_exits_with_2(argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2


# ---------------------------------------------------------------------------------------------------- data and stats


def test_make_data_writes_the_layout(tmp_path, capsys):
    out = tmp_path / "dance"
    argv = ["make-data", "--out", str(out), "--train", "20", "--val", "8", "--supersample", "1"]
    assert main([*argv, "--test_sequences", "1", "--test_frames", "6", "--quiet"]) == 0
    assert "20 training" in capsys.readouterr().out
    counts = {
        "train/train_img": 20, "train/train_label": 20, "val/val_img": 8, "val/val_label": 8,
        "test/test_img/0": 1, "test/test_label/0": 6, "test/test_gt/0": 6,
    }  # fmt: skip
    assert {folder: len(list((out / folder).glob("*.png"))) for folder in counts} == counts
    with Image.open(next((out / "train/train_img").iterdir())) as image:
        assert image.size == (64, 32)


def test_make_data_takes_sizes_from_profile_and_flags(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("labutils.dance.stage.make_data", lambda out, **options: seen.update(options) or out)
    argv = ["make-data", "--out", str(tmp_path / "x")]
    assert main([*argv, "--profile", "full", "--val", "9", "--num_workers", "3"]) == 0
    assert (seen["train"], seen["val"], seen["workers"]) == (23410, 9, 3)
    assert main([*argv, "--quiet"]) == 0
    assert (seen["train"], seen["val"], seen["progress"]) == (PROFILES["quick"].train_frames, 630, False)


def test_stats_prints_all_data_sets_side_by_side(dance, capsys):
    assert main(["stats", "--DR", str(dance), "--DR", f"{dance}/."]) == 0
    text = capsys.readouterr().out
    assert "train" in text and "test" in text and text.count(str(dance)) >= 2


# ------------------------------------------------------------------------------------------- train -> validate -> test


def test_train_writes_history_and_checkpoints(trained):
    rows = list(csv.DictReader((trained / "history.csv").open()))
    assert list(rows[0]) == COLUMNS
    assert len(rows) >= 2 and float(rows[-1]["loss"]) > 0
    assert any(row["val_psnr"] for row in rows)
    for name in ("last.ckpt", "best.ckpt"):
        model = load_model(trained / name)
        assert model.cfg.width == 16 and not model.training
    for name in ("losses.png", "teacher_forcing.png"):
        with Image.open(trained / name) as image:
            assert image.width > 300


def test_train_says_what_it_trains_and_where_the_files_are(dance, tmp_path, capsys):
    root = tmp_path / "ckpts"
    argv = ["train", "--DR", str(dance), "--save_root", str(root), "--fast_train", "--num_epoch", "1", "--width", "16"]
    assert main([*argv, "--val_vi_len", "10", "--device", "cpu", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Training on 96 frames of .*, 1 epochs on cpu: variant fast, [\d,]+ parameters", out)
    assert re.search(
        r"Wrote history.csv, last.ckpt, best.ckpt, losses.png, teacher_forcing.png in " + re.escape(str(root)), out
    )


def test_validate_writes_report_plot_and_gif(copied, dance, capsys):
    assert main(["validate", "--DR", str(dance), "--ckpt_path", f"{copied}/best.ckpt", "--save_root", str(copied),
                 "--quiet"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    report = json.loads((copied / "val/psnr.json").read_text())
    assert {"sequences", "average", "grade", "baselines"} <= report.keys()
    assert report["baselines"].keys() == BASELINES
    (sequence,) = report["sequences"]
    assert len(sequence["psnr_per_frame"]) == 29
    assert np.mean(sequence["psnr_per_frame"]) == pytest.approx(report["average"], abs=1e-3)
    for value in [report["average"], *report["baselines"].values()]:
        assert f"{value:.2f} dB" in out
    assert "SSIM" in out
    assert gif_size(copied / "val/prediction.gif")[0] == 30
    with Image.open(copied / "val/psnr.png") as image:
        assert image.width > 300


def gif_size(path: Path) -> tuple[int, int]:
    """Frames of a GIF, and its width in pixels."""
    with Image.open(path) as image:
        assert image.info.get("loop") == 0 and image.info["duration"] > 0
        return image.n_frames, image.width


def test_test_prints_the_table_and_writes_everything(copied, dance, capsys):
    argv = [
        "test",
        "--DR",
        str(dance),
        "--ckpt_path",
        f"{copied}/best.ckpt",
        "--save_root",
        str(copied),
        "--submission",
    ]
    assert main([*argv, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads((copied / "test/psnr.json").read_text())
    assert {"sequences", "average", "grade", "baselines"} <= report.keys()
    assert report["baselines"].keys() == BASELINES
    scores = [float(m[1]) for m in map(re.compile(r"PSNR for testing sequence(?:\d+): ([\d.]+)$").match, lines) if m]
    assert lines[0].startswith("PSNR for testing sequence1: ") and len(scores) == 2
    assert f"AVG: {report['average']:.2f}" in lines
    assert np.mean(scores) == pytest.approx(report["average"], abs=0.01)
    assert any(line.startswith(f"Grade: {report['grade']} %") for line in lines)
    assert [gif_size(copied / f"test/seq{k}.gif")[0] for k in range(2)] == [30, 30]
    with (copied / "test/submission.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[0] == "id" and [row[0] for row in rows] == [str(k) for k in range(60)]
    assert {len(row) for row in [header, *rows]} == {1 + 3 * 32 * 64}


def test_without_submission_none_is_written(copied, dance):
    assert main(["test", "--DR", str(dance), "--save_root", str(copied), "--quiet"]) == 0
    assert not (copied / "test/submission.csv").exists()


def test_the_checkpoint_tells_data_and_settings(copied, dance, capsys):
    """Without --DR the data set of the training is used; results go beside the checkpoint."""
    assert main(["validate", "--ckpt_path", f"{copied}/best.ckpt", "--quiet"]) == 0
    report = json.loads((copied / "val/psnr.json").read_text())
    assert len(report["sequences"][0]["psnr_per_frame"]) == 29  # --val_vi_len 30 of the training
    assert str(copied / "val") in capsys.readouterr().out


def test_the_seed_reaches_the_rollout(copied, dance, monkeypatch):
    seen, evaluate = [], evaluation.evaluate

    def spy(model, videos, mean_frame, seed, **options):
        seen.append(seed)
        return evaluate(model, videos, mean_frame, seed, **options)

    monkeypatch.setattr(evaluation, "evaluate", spy)
    reports = []
    for seed in ("5", "5"):
        assert main(["validate", "--save_root", str(copied), "--seed", seed, "--quiet"]) == 0
        reports.append((copied / "val/psnr.json").read_bytes())
    assert main(["test", "--save_root", str(copied), "--seed", "6", "--quiet"]) == 0
    assert seen == [5, 5, 6]
    assert reports[0] == reports[1]


def without_truth(dance: Path, folder: Path) -> Path:
    root = Path(shutil.copytree(dance, folder / "secret"))
    shutil.rmtree(root / "test/test_gt")
    return root


def test_without_truth_it_still_predicts(copied, dance, tmp_path, capsys):
    root = without_truth(dance, tmp_path)
    assert main(["test", "--DR", str(root), "--save_root", str(copied), "--submission", "--quiet"]) == 0
    assert "no true frames" in capsys.readouterr().out
    report = json.loads((copied / "test/psnr.json").read_text())
    assert report["average"] is None and report["grade"] is None and len(report["sequences"]) == 2
    assert gif_size(copied / "test/seq1.gif")[0] == 30
    assert (copied / "test/submission.csv").is_file()


def test_without_training_data_only_the_mean_frame_is_missing(copied, dance, tmp_path):
    root = Path(shutil.copytree(dance, tmp_path / "part"))
    shutil.rmtree(root / "train")
    assert main(["test", "--DR", str(root), "--save_root", str(copied), "--quiet"]) == 0
    report = json.loads((copied / "test/psnr.json").read_text())
    assert report["baselines"].keys() == BASELINES - {"mean_frame"}


def test_training_without_validation_data(dance, tmp_path, capsys):
    root = Path(shutil.copytree(dance, tmp_path / "part"))
    shutil.rmtree(root / "val")
    argv = ["train", "--DR", str(root), "--save_root", str(tmp_path / "run"), "--num_epoch", "1", "--width", "16"]
    assert main([*argv, "--device", "cpu", "--quiet"]) == 0
    assert "training without validation" in capsys.readouterr().out
    assert main(["test", "--DR", str(dance), "--save_root", str(tmp_path / "run"), "--quiet"]) == 0  # finds last.ckpt


def course_checkpoint(path: Path) -> Path:
    """A checkpoint in the course's format, of its architecture with few channels."""
    model = ConditionalVAE(LabConfig(variant="course", F_dim=16, L_dim=8, N_dim=4, D_out_dim=16))
    weights = model.state_dict()
    torch.save({"state_dict": weights, "optimizer": weights, "lr": 1e-3, "tfr": 1.0, "last_epoch": 3}, path)
    return path


def test_a_checkpoint_of_the_course_is_accepted(dance, tmp_path):
    path = course_checkpoint(tmp_path / "epoch=3.ckpt")
    for command in ("validate", "test"):
        argv = [command, "--DR", str(dance), "--ckpt_path", str(path), "--save_root", str(tmp_path / "out"), "--quiet"]
        assert main(argv) == 0
    assert (tmp_path / "out/val/psnr.json").is_file() and (tmp_path / "out/test/seq0.gif").is_file()


def test_training_goes_on_from_a_checkpoint_of_the_course(dance, tmp_path):
    path = course_checkpoint(tmp_path / "epoch=3.ckpt")
    argv = ["train", "--DR", str(dance), "--ckpt_path", str(path), "--save_root", str(tmp_path / "run")]
    argv += ["--minutes", "0.01", "--val_vi_len", "4", "--batch_size", "1", "--device", "cpu", "--quiet"]
    assert main(argv) == 0
    cfg = load_model(tmp_path / "run/last.ckpt").cfg
    assert (cfg.variant, cfg.F_dim) == ("course", 16)


# --------------------------------------------------------------------------------- earlier results, going on, stopping


def test_a_new_run_moves_the_earlier_one_aside(copied, dance, capsys):
    (copied / "val").mkdir(exist_ok=True)
    (copied / "val/psnr.json").write_text("{}")
    (copied / "notes.txt").write_text("mine")
    before = {name: (copied / name).read_bytes() for name in ("history.csv", "last.ckpt", "best.ckpt")}
    argv = ["train", "--DR", str(dance), "--save_root", str(copied), "--num_epoch", "1", "--width", "16"]
    assert main([*argv, "--val_vi_len", "10", "--device", "cpu", "--quiet"]) == 0
    assert f"to {copied / 'previous-1'}" in capsys.readouterr().out
    assert {name: (copied / "previous-1" / name).read_bytes() for name in before} == before
    assert (copied / "previous-1/val/psnr.json").is_file() and not (copied / "val").exists()
    assert (copied / "notes.txt").is_file()  # what the lab did not write stays
    assert (copied / "history.csv").read_bytes() != before["history.csv"]
    assert main([*argv, "--val_vi_len", "10", "--device", "cpu", "--quiet"]) == 0
    assert (copied / "previous-2/last.ckpt").is_file()


def test_a_run_that_cannot_start_moves_nothing(copied, capsys):
    assert main(["train", "--DR", str(copied / "no-data"), "--save_root", str(copied), "--quiet"]) == 2
    assert "no-data" in errors_of(capsys)
    assert (copied / "last.ckpt").is_file() and not (copied / "previous-1").exists()


def test_going_on_keeps_settings_and_history(copied, dance, capsys):
    before = list(csv.DictReader((copied / "history.csv").open()))
    assert main(["train", "--ckpt_path", f"{copied}/last.ckpt", "--minutes", "0.08", "--device", "cpu", "--quiet"]) == 0
    assert "Going on from" in capsys.readouterr().out
    assert not (copied / "previous-1").exists()
    after = list(csv.DictReader((copied / "history.csv").open()))
    assert after[: len(before)] == before
    assert len(after) > len(before) and int(after[-1]["step"]) > int(before[-1]["step"])
    assert load_model(copied / "last.ckpt").cfg.width == 16


def settings(*argv: str) -> LabConfig:
    _, args = commands._parse(argv)
    return commands._config(args, resume=True)


def test_flags_win_over_the_checkpoint_and_places_are_never_taken_from_it(copied):
    path = f"{copied}/last.ckpt"
    cfg = settings("train", "--ckpt_path", path)
    assert (cfg.width, cfg.minutes, cfg.save_root) == (16, 0.05, str(copied))
    assert (cfg.device, cfg.quiet) == ("auto", False)
    cfg = settings("train", "--ckpt_path", path, "--lr", "0.5", "--save_root", "elsewhere", "--num_epoch", "9")
    assert (cfg.lr, cfg.save_root, cfg.num_epoch, cfg.minutes) == (0.5, "elsewhere", 9, None)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_stopped_training_leaves_a_checkpoint_to_go_on_from(signum, dance, tmp_path):
    root = tmp_path / "run"
    command = [sys.executable, "-m", "labutils", "train", "--DR", str(dance), "--save_root", str(root), *SMALL]
    process = subprocess.Popen(
        [*command, "--minutes", "5", "--num_epoch", "300", "--per_save", "1"],  # an epoch is a second long
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        assert process.stdout.readline().startswith("Training on 96 frames")
        deadline = time.monotonic() + 60
        while not (root / "last.ckpt").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        (root / "last.ckpt").unlink()
        process.send_signal(signum)  # before it is written again at the end of the next epoch
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"--ckpt_path {root / 'last.ckpt'}" in err
    assert load_model(root / "last.ckpt").cfg.width == 16
    steps = int(list(csv.DictReader((root / "history.csv").open()))[-1]["step"])
    assert main(["train", "--ckpt_path", f"{root}/last.ckpt", "--minutes", "0.08", "--device", "cpu", "--quiet"]) == 0
    assert int(list(csv.DictReader((root / "history.csv").open()))[-1]["step"]) > steps


# --------------------------------------------------------------------------------------------------------------- run


@pytest.mark.slow
def test_run_goes_all_the_way_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PROFILES, "smoke", PROFILES["smoke"])
    argv = ["run", "--minutes", "0.03", "--device", "cpu", "--quiet"]  # the profile is LAB_PROFILE's: smoke
    assert main(argv) == 0
    out = capsys.readouterr().out
    for number, name in enumerate(["data", "training", "validation", "test"], 1):
        assert re.search(rf"Step {number}/4: {name}\n", out)
        assert re.search(rf"Step {number}/4: {name} took \d+ s", out)
    assert "PSNR for testing sequence1: " in out and "AVG: " in out and "Grade: " in out
    gif = out.strip().splitlines()[-1].split("outputs/")[1].split(",")[0]
    assert Path("outputs", gif).is_file()
    for name in ("history.csv", "last.ckpt", "best.ckpt", "val/psnr.json", "val/psnr.png", "test/psnr.json"):
        assert Path("outputs", name).is_file()
    made = Path("data/dance-smoke/train/train_img/frame000000.png").stat().st_mtime_ns
    assert main([*argv, "--num_epoch", "1"]) == 0
    assert Path("data/dance-smoke/train/train_img/frame000000.png").stat().st_mtime_ns == made
    assert Path("outputs/previous-1/test/psnr.json").is_file()


def test_run_makes_no_data_where_the_user_named_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--profile", "smoke", "--DR", "data/mistyped", "--quiet"]) == 2
    assert "data/mistyped" in errors_of(capsys)
    assert not Path("data").exists()


def test_run_refuses_a_wrong_profile_variable(monkeypatch, capsys):
    monkeypatch.setenv("LAB_PROFILE", "quik")
    assert main(["run"]) == 2
    assert "LAB_PROFILE is 'quik'" in errors_of(capsys)


# ------------------------------------------------------------------------------------------------------------ errors


def broken_checkpoint(path: Path) -> str:
    path.write_bytes(b"not a checkpoint")
    return str(path)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["train", "--DR", "{tmp}/nowhere"], "nowhere is missing"),
        (["train", "--DR", "{dance}", "--lr", "-1"], "--lr is -1.0"),
        (["train", "--DR", "{dance}", "--frame_H", "30"], "--frame_H is 30"),
        (["train", "--DR", "{dance}", "--ckpt_path", "{tmp}/none.ckpt"], "none.ckpt is missing"),
        (["validate", "--DR", "{dance}", "--save_root", "{tmp}/empty"], "best.ckpt is missing"),
        (["validate", "--DR", "{dance}", "--ckpt_path", "{broken}"], "broken.ckpt cannot be read as a checkpoint"),
        (["test", "--DR", "{tmp}", "--ckpt_path", "{trained}/best.ckpt"], "test_label is missing"),
        (["test", "--DR", "{dance}", "--ckpt_path", "{trained}/best.ckpt", "--save_root", "{broken}"], "broken.ckpt"),
        (["train", "--DR", "{dance}", "--save_root", "{broken}", *SMALL], "broken.ckpt"),
        (["train", "--DR", "{dance}", "--device", "tpu", "--save_root", "{tmp}/run"], "tpu"),
        (["run", "--profile", "smoke", "--ckpt_path", "a.ckpt"], "takes no --ckpt_path"),
        (["make-data", "--out", "{broken}"], "broken.ckpt is a file"),
        (["make-data", "--out", "{tmp}/d", "--train", "0"], "train is 0"),
        (["stats", "--DR", "{tmp}/nowhere"], "nowhere"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_errors_are_one_line_and_exit_with_2(argv, message, dance, trained, tmp_path, capsys):
    broken = broken_checkpoint(tmp_path / "broken.ckpt")
    places = dict(tmp=tmp_path, dance=dance, trained=trained, broken=broken)
    assert main([word.format(**places) for word in argv]) == 2
    assert message in errors_of(capsys)  # and no progress bar before it: it fails before the work begins


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `stats` raise an error."""

    def fail(args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "stats", (commands.stats_arguments, fail))


def wrapped(error: OSError) -> RuntimeError:
    """As torch.save raises it."""
    outer = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 1480320 vs 1480208")
    outer.__context__ = error
    return outer


@pytest.mark.parametrize(
    "error, message",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out/last.ckpt"),
            "no space left on the disk for out/last.ckpt",
        ),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), "no space left on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "cannot write out: Permission denied"),
        (torch.OutOfMemoryError("CUDA out of memory"), "choose a smaller --batch_size"),
        (LabError("the cause"), "the cause"),
    ],
    ids=["disk full", "disk full in torch.save", "no permission", "GPU memory", "LabError"],
)
def test_what_the_surroundings_refuse_is_one_line_too(monkeypatch, capsys, error, message):
    raising(monkeypatch, error)
    assert main(["stats", "--DR", "x"]) == 2
    assert message in errors_of(capsys)


@pytest.mark.parametrize("error", [ValueError("bug"), RuntimeError("bug"), FileNotFoundError(errno.ENOENT, "bug", "x")])
def test_a_fault_of_the_lab_keeps_its_traceback(monkeypatch, error):
    raising(monkeypatch, error)
    with pytest.raises(type(error)):
        main(["stats", "--DR", "x"])


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    raising(monkeypatch, KeyboardInterrupt())
    assert main(["stats", "--DR", "x"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_reader_that_goes_away_is_no_error(dance):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "labutils", "stats", "--DR", str(dance)], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, "")
