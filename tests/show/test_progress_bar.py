"""Progress in a file is plain lines; in a terminal it is a bar."""

from types import SimpleNamespace

import pytest

from labutils.config import LabConfig
from labutils.show import ProgressBar


def told(steps=100):
    """All that the callback is told of in a training of ``steps``."""
    row = {"mse": 0.01, "kl": 1.0, "beta": 1.0, "tfr": 0.5, "step": 0, "seconds": 1.0}
    budget = SimpleNamespace(position=0, length=steps)
    trainer = SimpleNamespace(cfg=LabConfig(steps=steps), budget=budget, history=[], best_psnr=20.0)
    show = ProgressBar()
    show("start", trainer)
    for budget.position in range(5, steps + 1, 5):
        trainer.history = [row | {"step": budget.position}]
        show("log", trainer)
    show("end", trainer)


def test_a_file_gets_ten_plain_lines(capsys):
    told()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{k}%" for k in range(10, 101, 10)]
    assert not any("\r" in line or "|" in line for line in lines) and "mse=0.01000" in lines[0]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    told()
    text = capsys.readouterr().err
    assert "\r" in text and "100/100step" in text and "train: 100%" in text


@pytest.mark.parametrize("steps", [3, 7])
def test_the_end_is_told_of_a_short_training(steps, capsys):
    told(5 * steps)
    assert capsys.readouterr().err.splitlines()[-1].startswith("train: 100%")
