"""Figures: the drawn data are the given ones, and bad input is named."""

from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refuses

from labutils import show
from labutils.baselines import BASELINES
from labutils.config import LabConfig
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.show.figures import KL


def history(n=20, kl=3.0, validated=(5, 19)):
    return [
        dict(step=10 * i, epoch=i // 2, seconds=0.1 * i, loss=1 / (i + 1), mse=0.5 / (i + 1), kl=kl / (i + 1),
             beta=i / n, tfr=max(0.0, 1 - 0.1 * max(0, i - 4)), lr=1e-3, val_psnr=20.0 + i if i in validated else None)
        for i in range(n)
    ]  # fmt: skip


ROWS = history()


def column(rows, key):
    return [row[key] for row in rows]


def drawn(figure) -> dict:
    """The x and y of each line by its label; the figure becomes a picture."""
    png = figure._repr_png_()
    assert png.startswith(b"\x89PNG") and len(png) > 3000
    return {line.get_label(): np.array(line.get_data(), float).tolist() for ax in figure.axes for line in ax.lines}


def test_loss_curves_draw_the_history():
    figure = show.loss_curves(ROWS)
    lines, steps = drawn(figure), column(ROWS, "step")
    for label, key in {"loss": "loss", "MSE": "mse", KL: "kl", "beta": "beta"}.items():
        assert lines[label] == [steps, column(ROWS, key)]
    assert lines["best 39.00 dB"] == [[50, 190], [25, 39]]
    assert figure.axes[0].get_yscale() == "log" and "nats" in figure.axes[1].get_ylabel()
    collapsed = show.loss_curves(history(kl=0.0, validated=()))
    assert collapsed.axes[1].get_yscale() == "linear"  # a logarithm of 0 would hide the curve
    assert "not validated" in drawn(collapsed)


def test_a_history_of_one_row_is_drawn():
    for figure in (show.loss_curves(ROWS[:1]), show.tfr_and_loss(ROWS[:1]), show.kl_compare({"Cyclical": ROWS[:1]})):
        assert len(drawn(figure)) > 0


def test_long_curves_are_shown_raw_and_as_their_running_mean():
    rows, window = history(n=400), 400 // 50
    for row, loss in zip(rows, np.random.default_rng(0).uniform(1, 3, 400).tolist(), strict=True):
        row["loss"] = loss
    raw, mean = show.loss_curves(rows).axes[0].lines[:2]
    assert raw.get_ydata().tolist() == column(rows, "loss")
    x, y = mean.get_xdata(), mean.get_ydata()
    for k in (0, 100, len(y) - 1):  # a slow loop as the oracle
        centre = int(x[k] // 10)
        assert y[k] == pytest.approx(np.mean(column(rows, "loss")[centre - window // 2 : centre + window // 2]))


def test_tfr_and_loss_share_their_steps():
    figure = show.tfr_and_loss(ROWS)
    lines, steps = drawn(figure), column(ROWS, "step")
    assert lines["teacher-forcing ratio"] == [steps, column(ROWS, "tfr")]
    assert lines["loss"] == [steps, column(ROWS, "loss")]
    assert [line.get_xdata()[0] for line in figure.axes[1].lines[1:]] == [50]  # the first decay is marked


def test_kl_compare_draws_each_history_in_each_panel():
    runs = {"Monotonic": ROWS, "Cyclical": history(kl=1.0), "None": history(kl=0.5)}
    figure = show.kl_compare(runs)
    for ax, key in zip(figure.axes, ("loss", "mse", "kl", "beta"), strict=True):
        for line, (name, rows) in zip(ax.lines, runs.items(), strict=True):
            assert line.get_label() == name and line.get_ydata().tolist() == column(rows, key)
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 3


def test_schedules_draw_what_training_will_use():
    cfg = LabConfig(kl_anneal_type="Monotonic", num_epoch=30, tfr_sde=3)
    lines = drawn(show.schedules(cfg, steps=50))
    assert lines["Monotonic"][1] == KLAnnealing.from_config(cfg).values(50).tolist()
    assert lines["tfr"][1] == TeacherForcing.from_config(cfg).values(30).tolist()
    curves = {"a": [0, 0.5, 1], "b": np.linspace(1, 0, 7).tolist()}
    assert drawn(show.beta_over_iterations(curves)) == {k: [list(range(len(v))), v] for k, v in curves.items()}


def test_psnr_per_frame_counts_frames_from_2_and_names_the_means():
    figure = show.psnr_per_frame({"ours": np.array([30.0, 31, 32])}, {"copy_first": np.array([20.0, 18, 16])})
    lines = drawn(figure)
    assert lines["ours: mean 31.00 dB"] == [[2, 3, 4], [30, 31, 32]]
    assert lines[f"{BASELINES['copy_first']}: mean 18.00 dB"] == [[2, 3, 4], [20, 18, 16]]
    assert "dB" in figure.axes[0].get_ylabel()


def test_psnr_bars_are_the_means_of_the_known_sequences():
    def sequence(level):
        if level is None:
            return SimpleNamespace(psnr=None, baselines={})
        rivals = {name: np.array([level - 10.0 * k]) for k, name in enumerate(BASELINES, 1)}
        return SimpleNamespace(psnr=np.array([level, level + 2]), baselines=rivals)

    report = SimpleNamespace(sequences=[sequence(29), sequence(None), sequence(27)], average=29.0, grade=100)
    ax = show.psnr_bars(report).axes[0]
    assert [[bar.get_height() for bar in group] for group in ax.containers] == [
        [30, 28],
        *([29 - k, 27 - k] for k in (10, 20, 30, 40)),
    ]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["sequence 1", "sequence 3"]
    refuses("true frames", show.psnr_bars, SimpleNamespace(sequences=[sequence(None)], average=None, grade=None))


def test_frame_strip_shows_the_strip_with_captions_and_frame_numbers():
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(0, 256, (11, 6, 10, 3), dtype=np.uint8) for name in ("pose", "truth")}
    figure = show.frame_strip(rows, columns=3)
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.images[0].get_array(), show.strip(rows, 3, 3, labels=False))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "6", "11"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["pose", "truth"]
    assert drawn(figure) == drawn(show.frame_strip(rows["pose"], columns=2)) == {}


def test_save_writes_the_format_of_the_suffix(tmp_path):
    figure = show.beta_over_iterations({"a": [0, 1]})
    assert show.save(figure, tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert show.save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "file").touch()
    for name, message in (("a.xyz", r"a\.xyz.*png"), ("file/b.png", r"b\.png cannot be written")):
        refuses(message, show.save, figure, tmp_path / name)


def test_bad_input_is_named():
    for function, given, message in (
        (show.loss_curves, [], "no rows"), (show.tfr_and_loss, [], "no rows"),
        (show.tfr_and_loss, [{"step": 1, "loss": 2, "mse": 1}], "no column 'tfr'"),
        (show.kl_compare, {}, "nothing can be drawn"), (show.psnr_per_frame, {}, "nothing can be drawn"),
        (show.beta_over_iterations, {}, "nothing can be drawn"),
    ):  # fmt: skip
        refuses(message, function, given)


def test_legends_cover_no_data_and_say_nothing_twice():
    curves = {name: np.linspace(20, 30, 9) + k for k, name in enumerate("abc")}
    figures = [
        show.loss_curves(ROWS), show.training_record(ROWS), show.tfr_and_loss(ROWS), show.psnr_per_frame(curves),
        show.kl_compare({"Monotonic": ROWS, "Cyclical": ROWS}), show.beta_over_iterations(curves),
    ]  # fmt: skip
    for figure in figures:
        figure._repr_png_()
        legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
        assert legends
        for legend in legends:
            words = [text.get_text() for text in legend.get_texts()]
            assert len(set(words)) == len(words) > 0
            assert not [ax for ax in figure.axes if ax.bbox.overlaps(legend.get_window_extent().padded(-1))]
