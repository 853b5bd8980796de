"""What all tests share: one thread, the smoke profile, one small synthetic data set and one short training."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["LAB_PROFILE"] = "smoke"

import tempfile
from pathlib import Path

import pytest

from labutils.images import Video

# What answers pass in tests is not kept in the reader's own module.
os.environ.setdefault("LAB_MODULE", str(Path(tempfile.mkdtemp(prefix="labutils-")) / "my_cvae.py"))

# Flags of a training of a second or two.
SMALL = ["--steps", "12", "--num_epoch", "4", "--batch_size", "1", "--width", "8", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="session")
def dance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in the course's layout: 96 training and 30 validation frames, 2 test sequences of 30; read only."""
    from labutils.dance import make_data

    out = tmp_path_factory.mktemp("dance") / "data"
    make_data(out, train=96, val=30, test_sequences=2, test_frames=30, supersample=1, seed=7, progress=False)
    return out


@pytest.fixture(scope="session")
def video(dance: Path) -> Video:
    """The validation frames of ``dance``."""
    from labutils.config import LabConfig
    from labutils.dataset import load_split

    return load_split(dance, "val", LabConfig(DR=str(dance), quiet=True))


@pytest.fixture(scope="session")
def trained(dance: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``train`` writes after a few steps on ``dance``: history.csv, last.ckpt, best.ckpt ...; read only."""
    from labutils.__main__ import main

    save_root = tmp_path_factory.mktemp("trained")
    assert main(["train", "--DR", str(dance), "--save_root", str(save_root), "--per_val", "2", *SMALL]) == 0
    return save_root
