"""The warm-up: the notebook's answer passes, named mistakes are told apart."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from labutils import checks


@pytest.fixture(scope="module")
def answer(project: Path):
    """The function of the notebook's answer cell."""
    notebook = nbformat.read(project / "notebooks" / "00_start_here.ipynb", as_version=4)
    names: dict = {}
    exec(next(cell.source for cell in notebook.cells if cell["id"] == "answer-0-1"), names)
    return SimpleNamespace(**names).frames_to_predict


@pytest.mark.parametrize("seed", range(5))
def test_the_notebooks_answer_passes(answer, seed):
    checks.frames_to_predict.judge(answer, seed)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda video: video, "x_1 is given"),
        (lambda video: video[1:], "first video of the batch"),
        (lambda video: video[:, :-1], "leaves out the last frame"),
        (lambda video: video[:, 2:], "x_2 has index 1"),
        (lambda video: video[:, 1], "one index takes one frame"),
        (lambda video: video[:, :1], "not what to keep"),
        (lambda video: video[:, 1:].transpose(-1, -2), "height comes before width"),
        (lambda video: print(video.shape), "`return` missing"),
        (lambda video: video[:, 1:5], "shape differs"),
    ],
)
def test_a_mistake_gets_its_hint(wrong, hint):
    with pytest.raises(checks.CheckFailed, match=hint):
        checks.frames_to_predict.judge(wrong)


def _missing(video):
    raise NotImplementedError("exercise 0.1")


@pytest.mark.parametrize("missing", [None, _missing])
def test_what_is_missing_is_to_do(missing, capsys):
    checks.frames_to_predict(missing)
    assert capsys.readouterr().out == "to do 0.1: the frames to predict\n"


def test_passing_prints_the_fixed_line(answer, capsys, monkeypatch):
    monkeypatch.setenv("LAB_CHECK_SEED", "7")
    checks.frames_to_predict(answer)
    assert capsys.readouterr().out == "passed 0.1: the frames to predict\n"
