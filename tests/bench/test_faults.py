"""Spoiled input, a full disk and killed processes: no traceback, no hang, no wrong result in silence."""

import pytest
from hypothesis import HealthCheck, given, settings

from labutils.bench import faults

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("area", faults.AREAS)
def test_whatever_is_spoiled_is_refused_or_makes_no_difference(area):
    @settings(max_examples=14, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(faults.AREAS[area]())
    def attempt(case):
        outcome = faults.judge(case)
        assert faults.lenient(case, outcome), f"{case!r}: {outcome.verdict}\n{outcome.text}"

    attempt()


@pytest.mark.parametrize("seed, stage, mode", [(0, "train", "replay"), (1, "make-data", "")])
def test_a_killed_command_can_be_started_again(seed, stage, mode):
    assert faults.killed(seed, mode, stage) == ""


def test_a_fault_is_told_from_a_refusal(monkeypatch):
    """The harness itself: what it calls a traceback, a wrong result and a right one."""
    from labutils.bench.faults import Case

    argv = tuple(faults.VALIDATE)
    assert faults.judge(Case("none", "nothing is spoiled", argv, lambda folder: None)).verdict == "same"
    gone = Case(
        "none", "no checkpoint", argv, lambda folder: (folder / "ckpts/last.ckpt").unlink(), faults.ONLY({"same"})
    )
    assert faults.judge(gone).verdict == "silent" and not faults.lenient(gone, faults.judge(gone))

    def darker(folder):
        from PIL import Image

        path = sorted((folder / "data/val/val_img").glob("*.png"))[3]
        Image.new("RGB", Image.open(path).size).save(path)

    assert faults.judge(Case("none", "another frame", argv, darker)).verdict == "silent"
