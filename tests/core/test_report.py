"""The assignment's table, the grade, the warning about a model that learned too little, and psnr.json."""

import json

import numpy as np
from refusals import refuses

from labutils.baselines import BASELINES, shortfall
from labutils.report import Report, SequenceReport


def made(*means: float | None) -> Report:
    """A report whose sequences have these mean PSNRs (None: no truth)."""
    sequences = []
    for k, mean in enumerate(means):
        sequence = SequenceReport(str(k), np.zeros((3, 8, 16, 3), np.uint8))
        if mean is not None:
            sequence.psnr, sequence.ssim = np.array([mean - 1, mean + 1.0]), np.array([0.9, 0.8])
            sequence.baselines = {"copy_first": np.array([18.0, 16]), "copy_previous": np.array([40.0, 42])}
        sequences.append(sequence)
    return Report(sequences)


def test_the_table_has_the_assignments_lines():
    assert made(31.234, 28.966).table().splitlines() == [
        "PSNR for testing sequence1: 31.23", "PSNR for testing sequence2: 28.97", "AVG: 30.10",
        "Grade: 100 % of the points for prediction quality", "SSIM: 0.850",
        f"Baseline 17.00 dB: {BASELINES['copy_first']}", f"Baseline 41.00 dB: {BASELINES['copy_previous']}",
    ]  # fmt: skip
    lines = made(24.0, None).table().splitlines()
    assert lines[1] == "PSNR for testing sequence2: no true frames, only predicted"
    assert lines[2] == "AVG: 24.00" and "1 of 2" in lines[3] and "90 %" in lines[4]
    assert made(None, None).table().splitlines()[2:] == ["AVG: none, since no true frames are known"]
    assert made(24.99999).grade == 90  # not rounded up


def test_a_model_below_a_baseline_is_told_the_best_one():
    rivals = {"copy_first": 20.0, "mean_frame": 22.5, "copy_previous": 40.0}  # who sees the truth is no rival
    assert shortfall(22.5, rivals) == ""
    for average in (22.0, 10.0):
        told = shortfall(average, rivals)
        assert f"{average:.2f} dB" in told and BASELINES["mean_frame"] in told and "22.50 dB" in told
    assert len(made(17.0).baseline_lines()) == 2 and made(None).baseline_lines() == []
    assert shortfall(16.9, {"copy_first": 17.0}) in made(16.9).baseline_lines()[2]


def test_a_saved_report_holds_every_frame(tmp_path):
    path = made(31.0, 29.0).save(tmp_path / "new" / "psnr.json")
    stored = json.loads(path.read_text())
    assert stored["average"] == 30 and stored["grade"] == 100 and stored["baselines"]["copy_first"] == 17
    assert [s["psnr"] for s in stored["sequences"]] == [31, 29]
    assert stored["sequences"][0]["psnr_per_frame"] == [30, 32]
    assert stored["sequences"][1]["baselines"]["copy_previous"] == 41
    nothing = made(None)
    assert nothing.average is None and nothing.grade is None and nothing.baselines == {}
    stored = json.loads(nothing.save(path).read_text())
    assert stored["average"] is None and stored["sequences"][0]["psnr"] is None
    refuses(r"psnr\.json.* cannot be written", nothing.save, path / "below")
