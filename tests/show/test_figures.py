"""Figures: the drawn data are the given ones, nothing needs pyplot or a display, and bad input is named."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.show import figures as plotting
from labutils.show.video import strip


def history(n=20, kl=3.0, validated=(5, 19)):
    return [
        dict(step=10 * i, epoch=i // 2, seconds=0.1 * i, loss=1 / (i + 1), mse=0.5 / (i + 1), kl=kl / (i + 1),
             beta=i / n, tfr=max(0.0, 1 - 0.1 * max(0, i - 4)), lr=1e-3, val_psnr=20.0 + i if i in validated else None)
        for i in range(n)
    ]  # fmt: skip


def lines(figure):
    return {line.get_label(): line for ax in figure.axes for line in ax.lines}


def drawn(figure, label):
    line = lines(figure)[label]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def column(rows, key):
    return np.array([row[key] for row in rows], float)


def png(figure):
    data = figure._repr_png_()
    assert data.startswith(b"\x89PNG") and len(data) > 3000
    return data


def test_loss_curves_draw_the_history():
    rows = history()
    figure = plotting.loss_curves(rows)
    for label, key in {"loss": "loss", "MSE": "mse", "KL(q || N(0, I))": "kl", "beta": "beta"}.items():
        x, y = drawn(figure, label)
        np.testing.assert_array_equal(x, column(rows, "step"))
        np.testing.assert_array_equal(y, column(rows, key))
    x, y = drawn(figure, "best 39.00 dB")
    assert x.tolist() == [50, 190] and y.tolist() == [25, 39]
    assert figure.axes[0].get_yscale() == "log" and "nats" in figure.axes[1].get_ylabel()
    png(figure)


def test_loss_curves_of_a_collapsed_unvalidated_run():
    figure = plotting.loss_curves(history(kl=0.0, validated=()))
    assert figure.axes[1].get_yscale() == "linear"  # a logarithm of 0 would hide the curve
    assert "not validated" in lines(figure)
    png(figure)


def test_a_history_of_one_row_is_drawn():
    for function in (plotting.loss_curves, plotting.tfr_and_loss, lambda h: plotting.kl_compare({"Cyclical": h})):
        png(function(history(n=1)))


def test_long_curves_are_shown_raw_and_as_their_running_mean():
    rows = history(n=400)
    rng = np.random.default_rng(0)
    for row in rows:
        row["loss"] = float(rng.uniform(1, 3))
    raw, mean = plotting.loss_curves(rows).axes[0].lines[:2]
    np.testing.assert_array_equal(raw.get_ydata(), column(rows, "loss"))
    window = 400 // 50
    x, y = mean.get_xdata(), mean.get_ydata()
    for k in (0, 100, len(y) - 1):  # a slow loop as the oracle
        centre = int(x[k] // 10)
        assert y[k] == pytest.approx(column(rows, "loss")[centre - window // 2 : centre + window // 2].mean())


def test_tfr_and_loss_share_their_steps():
    rows = history()
    figure = plotting.tfr_and_loss(rows)
    x, y = drawn(figure, "teacher-forcing ratio")
    np.testing.assert_array_equal(x, column(rows, "step"))
    np.testing.assert_array_equal(y, column(rows, "tfr"))
    np.testing.assert_array_equal(drawn(figure, "loss")[1], column(rows, "loss"))
    assert [line.get_xdata()[0] for line in figure.axes[1].lines[1:]] == [50]  # the first decay is marked
    png(figure)


def test_kl_compare_draws_each_history_in_each_panel():
    runs = {"Monotonic": history(), "Cyclical": history(kl=1.0), "None": history(kl=0.5)}
    figure = plotting.kl_compare(runs)
    assert len(figure.axes) == 4
    for ax, key in zip(figure.axes, ("loss", "mse", "kl", "beta")):
        for line, (name, rows) in zip(ax.lines, runs.items(), strict=True):
            assert line.get_label() == name
            np.testing.assert_array_equal(line.get_ydata(), column(rows, key))
    assert len({line.get_color() for line in figure.axes[0].lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in figure.axes[0].lines}) == 3
    png(figure)


def test_schedules_draw_what_training_will_use():
    cfg = LabConfig(kl_anneal_type="Monotonic", num_epoch=30, tfr_sde=3)
    figure = plotting.schedules(cfg, steps=50)
    np.testing.assert_array_equal(drawn(figure, "Monotonic")[1], KLAnnealing.from_config(cfg).values(50))
    np.testing.assert_array_equal(drawn(figure, "tfr")[1], TeacherForcing.from_config(cfg).values(30))
    png(figure)


def test_beta_over_iterations():
    curves = {"a": [0, 0.5, 1], "b": np.linspace(1, 0, 7)}
    figure = plotting.beta_over_iterations(curves)
    for name, values in curves.items():
        x, y = drawn(figure, name)
        assert x.tolist() == list(range(len(values)))
        np.testing.assert_array_equal(y, values)
    png(figure)


def test_psnr_per_frame_counts_frames_from_2_and_names_the_means():
    curve, base = np.array([30.0, 31, 32]), np.array([20.0, 18, 16])
    figure = plotting.psnr_per_frame({"ours": curve}, {"copy_first": base})
    x, y = drawn(figure, "ours: mean 31.00 dB")
    assert x.tolist() == [2, 3, 4] and y.tolist() == curve.tolist()
    assert drawn(figure, "copy first frame: mean 18.00 dB")[1].tolist() == base.tolist()
    assert "dB" in figure.axes[0].get_ylabel()
    png(figure)


def test_psnr_bars_are_the_means_of_the_known_sequences():
    def sequence(level):
        if level is None:
            return SimpleNamespace(psnr=None, baselines={})
        return SimpleNamespace(psnr=np.array([level, level + 2]), baselines={"copy_first": np.array([level - 10.0])})

    report = SimpleNamespace(sequences=[sequence(29), sequence(None), sequence(27)], average=29.0, grade=100)
    ax = plotting.psnr_bars(report).axes[0]
    assert [[bar.get_height() for bar in group] for group in ax.containers] == [[30, 28], [19, 17]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["sequence 1", "sequence 3"]
    with pytest.raises(LabError, match="true frames"):
        plotting.psnr_bars(SimpleNamespace(sequences=[sequence(None)], average=None, grade=None))


def test_frame_strip_shows_the_strip_with_captions_and_frame_numbers():
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(0, 256, (11, 6, 10, 3), dtype=np.uint8) for name in ("pose", "truth")}
    figure = plotting.frame_strip(rows, columns=3)
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.images[0].get_array(), strip(rows, 3, 3, labels=False))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "6", "11"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["pose", "truth"]
    png(figure)
    png(plotting.frame_strip(rows["pose"], columns=2))


def test_a_notebook_shows_the_figure_once():
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    shown, _ = formatter.format(plotting.beta_over_iterations({"a": [0, 1]}))
    assert shown["image/png"].startswith(b"\x89PNG")


def test_importing_and_drawing_need_no_pyplot_and_no_torch():
    code = """if True:
        import sys
        from labutils.show import figures as plotting
        plotting.beta_over_iterations({"a": [0, 1]})._repr_png_()
        assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules, "imported"
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_save_writes_the_format_of_the_suffix(tmp_path):
    figure = plotting.beta_over_iterations({"a": [0, 1]})
    assert plotting.save(figure, tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert plotting.save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(LabError, match=r"a\.xyz.*png"):
        plotting.save(figure, tmp_path / "a.xyz")
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"b\.png cannot be written"):
        plotting.save(figure, tmp_path / "file" / "b.png")


def test_bad_input_is_named():
    for function in (plotting.loss_curves, plotting.tfr_and_loss):
        with pytest.raises(LabError, match="no rows"):
            function([])
    with pytest.raises(LabError, match="no column 'tfr'"):
        plotting.tfr_and_loss([{"step": 1, "loss": 2, "mse": 1}])
    for function in (plotting.kl_compare, plotting.psnr_per_frame, plotting.beta_over_iterations):
        with pytest.raises(LabError, match="nothing can be drawn"):
            function({})
    assert isinstance(plotting.loss_curves(history()), Figure)
