"""TrainingMonitor without a browser: numbers, messages, the end of a run, the terminal."""

import base64
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import Video
from labutils.model import ConditionalVAE, load_model
from labutils.training import fit, read_history
from labutils.widgets import monitor as module
from labutils.widgets.monitor import POINTS, Readings, TrainingMonitor, decimate, means, time_left
from labutils.widgets.page import STILL_BYTES

TINY = dict(
    frame_H=16, frame_W=24, width=8, N_dim=4, train_vi_len=4, batch_size=2, num_epoch=6, per_save=1, per_val=2,
    num_workers=1,
)  # fmt: skip


def video(frames=20, seed=0):
    rng = np.random.default_rng(seed)
    return Video("video", *rng.integers(0, 256, (2, frames, 16, 24, 3), dtype=np.uint8))


def train(tmp_path, *callbacks, val=True, resume=None, **changes):
    cfg = LabConfig(**{**TINY, "save_root": str(tmp_path), **changes})
    torch.manual_seed(0)
    return fit(ConditionalVAE(cfg), video(), video(9, 1) if val else None, cfg, callbacks, resume)


class Events:
    """IPython's events, as far as the monitor uses them."""

    def __init__(self):
        self.callbacks = {"post_run_cell": []}

    def register(self, name, function):
        self.callbacks[name].append(function)

    def unregister(self, name, function):
        self.callbacks[name].remove(function)


@pytest.fixture
def notebook(monkeypatch):
    """As in a notebook whose browser only listens; ``sent`` holds the states that went out, ``shown`` the displays,
    ``updated`` those that were brought up to date, and whether they then had a picture."""
    import IPython
    import IPython.display

    shell = SimpleNamespace(kernel=object(), events=Events(), sent=[], shown=[], updated=[])

    def display(widget, display_id):
        shell.shown.append(widget)
        return SimpleNamespace(update=lambda it: shell.updated.append((it, "image/png" in it._repr_mimebundle_()[0])))

    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", display)
    before = signal.getsignal(signal.SIGINT)
    original = TrainingMonitor._update

    def update(self, event, trainer):
        count = self.messages
        original(self, event, trainer)
        if self.messages > count:
            shell.sent.append((event, self.state, self._now, self._curves, self._predicted))

    monkeypatch.setattr(TrainingMonitor, "_update", update)
    yield shell
    assert signal.getsignal(signal.SIGINT) == before and shell.events.callbacks["post_run_cell"] == []


def numbers(packed):
    return [np.frombuffer(part, "<f4") for part in packed]


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("n", [1, 600, 601, 1199, 5000, 54321])
def test_decimation_keeps_the_ends_and_the_extremes(n):
    rng = np.random.default_rng(n)
    x, y = np.arange(n) + 7.0, rng.normal(size=n)
    low, high = rng.integers(0, n, 2)
    y[low], y[high] = -50, 60
    a, b = decimate(x, y)
    assert len(a) == len(b) <= POINTS and (n <= POINTS or len(a) > POINTS / 2)
    assert (a[0], b[0], a[-1], b[-1]) == (x[0], y[0], x[-1], y[-1])
    assert b.min() == y.min() and b.max() == y.max() and (np.diff(a) > 0).all()
    np.testing.assert_array_equal(b, y[(a - 7).astype(int)])


def test_a_single_spike_survives_wherever_it_is():
    for k in range(0, 3000, 37):
        y = np.zeros(3000)
        y[k] = 1
        x, kept = decimate(np.arange(3000), y)
        assert kept.max() == 1 and x[kept.argmax()] == k


@pytest.mark.parametrize("n", [150, 151, 999, 12345])
def test_means_are_those_of_equal_parts(n):
    x, y = np.arange(n, dtype=float), np.random.default_rng(n).normal(size=n)
    a, b = means(x, y)
    size = -(-n // 100)
    assert len(a) <= 100
    np.testing.assert_allclose(b, [y[k : k + size].mean() for k in range(0, n, size)])
    np.testing.assert_allclose(a, [x[k : k + size].mean() for k in range(0, n, size)])


def test_time_left():
    assert time_left(0, 10, 3) is None
    assert time_left(2, 10, 3) == 12
    assert time_left(10, 10, 3) == 0


def test_readings_grow_with_the_history():
    rows = [dict(step=k, loss=k / 2, mse=1.0, kl=2.0, beta=3.0, tfr=4.0, lr=5.0, val_psnr=None) for k in range(5000)]
    readings = Readings()
    for end in (0, 20, 21, 2047, 2048, 5000, 5000):
        readings.take(rows[:end])
        np.testing.assert_array_equal(readings["loss"], np.arange(end) / 2)
    assert readings["lr"].tolist() == [5.0] * 5000


# ------------------------------------------------------------------------------------------------------- in a notebook


def test_a_run_arrives_whole(notebook, tmp_path):
    monitor = TrainingMonitor()
    history = train(tmp_path, monitor)
    assert monitor.state == "finished" and str(tmp_path / "last.ckpt") in monitor.message
    assert notebook.shown == [monitor] and monitor.history == history
    for key in ("loss", "mse", "kl", "beta", "tfr", "lr"):
        x, y = numbers(monitor._curves[key])
        np.testing.assert_array_equal(x, [row["step"] for row in history])
        np.testing.assert_allclose(y, [row[key] for row in history], rtol=1e-6)
    validated = [(row["step"], row["val_psnr"]) for row in history if row["val_psnr"] is not None]
    assert len(validated) == 3
    np.testing.assert_allclose(np.transpose(numbers(monitor._curves["val_psnr"])), validated, rtol=1e-6)
    now = monitor._now
    assert (now["position"], now["epoch"], now["epochs"], now["step"], now["left"]) == (1, 5, 6, len(history), 0)
    assert now["best"]["psnr"] == max(value for _, value in validated) and now["rate"] > 0


def test_the_strip_is_the_latest_validation(notebook, tmp_path):
    got = []
    monitor = TrainingMonitor()
    history = train(tmp_path, monitor, lambda event, t: got.append(t.prediction) if event == "validate" else None)
    val, frames = video(9, 1), [0, 1, 3, 4, 5, 7, 8]
    assert monitor._given["frames"] == [t + 1 for t in frames]
    for name, expected in (("pose", val.labels), ("truth", val.frames)):
        assert monitor._given[name] == expected[frames].tobytes()
    assert monitor._predicted["pixels"] == got[-1][frames].tobytes()
    assert monitor._predicted["psnr"] == history[-1]["val_psnr"] and monitor._predicted["each"][0] is None


@pytest.mark.parametrize("cost", [0.0, 0.01])
def test_messages_are_few(notebook, tmp_path, monkeypatch, cost):
    """20 events a second for 200 s, a validation every second; each message takes ``cost`` seconds to make."""
    clock = SimpleNamespace(now=0.0)

    def tick():
        clock.now += cost
        return clock.now

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=tick))
    cfg, rows = LabConfig(**TINY), []
    budget = SimpleNamespace(step=0, seconds=0.0, position=0, length=4000, epoch=0, spent=False)
    val = video(9, 1)
    trainer = SimpleNamespace(cfg=cfg, budget=budget, history=rows, val=val, prediction=val.frames, stopping=False,
                              save_root=tmp_path)  # fmt: skip
    monitor = TrainingMonitor()
    monitor("start", trainer)
    for step in range(4000):
        clock.now += 0.05
        rows.append(dict(step=step, epoch=0, loss=1.0, mse=1.0, kl=1.0, beta=1.0, tfr=1.0, lr=1.0, val_psnr=None))
        budget.step = budget.position = step + 1
        budget.seconds = clock.now
        monitor("log", trainer)
        if step % 20 == 19:
            rows[-1]["val_psnr"] = 20.0
            monitor("validate", trainer)
    monitor("end", trainer)
    inner = [s for s in notebook.sent if s[0] not in ("start", "end")]
    pause = max(module.INTERVAL, cost / module.SHARE)
    assert 0.7 * clock.now / pause < len(inner) <= clock.now / pause
    assert notebook.sent[0][0] == "start" and notebook.sent[-1][0] == "end"
    assert monitor._predicted["step"] == 3999 and monitor._now["step"] == 4000


def test_without_validation(notebook, tmp_path):
    monitor = TrainingMonitor()
    train(tmp_path, monitor, val=False)
    assert monitor.state == "finished" and "val_psnr" not in monitor._curves
    assert monitor._given == {} and monitor._now["best"] is None and not monitor._now["validates"]


def test_a_resumed_run_shows_all_of_it(notebook, tmp_path):
    train(tmp_path, lambda event, trainer: trainer.stop() if event == "validate" else None, quiet=True)
    done = len(read_history(tmp_path / "history.csv"))
    monitor = TrainingMonitor()
    history = train(tmp_path, monitor, resume=tmp_path / "last.ckpt")
    assert 0 < done < len(history) and len(numbers(monitor._curves["loss"])[0]) == len(history)
    assert notebook.sent[0][2]["step"] == done and notebook.sent[0][2]["left"] is None


def test_a_second_run_starts_afresh(notebook, tmp_path):
    monitor = TrainingMonitor()
    train(tmp_path / "1", monitor)
    history = train(tmp_path / "2", monitor, val=False, num_epoch=3)
    assert notebook.sent[-1][1] == "finished" and monitor._predicted == {} and monitor.history == history
    assert len(numbers(monitor._curves["loss"])[0]) == len(history)
    assert notebook.shown == [monitor, monitor]


def test_its_output_gets_a_picture_when_there_are_curves(notebook, tmp_path):
    monitor = TrainingMonitor()
    assert "image/png" not in monitor._repr_mimebundle_()[0]
    monitor._shown = False
    train(tmp_path / "1", monitor)
    train(tmp_path / "2", monitor, val=False)
    assert notebook.shown == [monitor, monitor] and notebook.updated == [(monitor, True)] * 2
    picture = base64.b64decode(monitor._repr_mimebundle_()[0]["image/png"])
    assert picture[:4] == b"\x89PNG" and len(picture) <= STILL_BYTES


def test_a_monitor_that_is_shown_already_is_not_shown_again(notebook, tmp_path):
    monitor = TrainingMonitor()
    monitor._repr_mimebundle_()
    train(tmp_path, monitor)
    assert notebook.shown == notebook.updated == []


# -------------------------------------------------------------------------------------------------------- how it ends


def test_stop_ends_with_a_checkpoint(notebook, tmp_path):
    monitor = TrainingMonitor()

    def press(event, trainer):
        if event == "log" and not trainer.stopping:
            monitor._hear(monitor, "nonsense", [])
            assert not trainer.stopping
            monitor._hear(monitor, "stop", [])
            assert trainer.stopping and monitor.state == "running"  # the message comes in another thread

    history = train(tmp_path, press, monitor, num_epoch=1000)
    assert monitor.state == "stopped" and "last.ckpt" in monitor.message
    assert [state for _, state, *_ in notebook.sent] == ["running", "stopping", "stopped"]
    assert len(history) < 30 and history[-1]["val_psnr"] is not None
    assert read_history(tmp_path / "history.csv") == history
    load_model(tmp_path / "last.ckpt")


def test_the_notebooks_interrupt_is_a_stop_and_a_second_one_is_not(notebook, tmp_path):
    def interrupt(event, trainer):
        if event == "log":
            signal.raise_signal(signal.SIGINT)

    monitor = TrainingMonitor()
    history = train(tmp_path / "1", interrupt_once(interrupt), monitor, num_epoch=1000)
    assert monitor.state == "stopped" and history[-1]["val_psnr"] is not None

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "2", lambda event, trainer: [interrupt(event, trainer) for _ in range(2)], monitor)
    cell_ends(notebook, KeyboardInterrupt())
    assert monitor.state == "interrupted" and (tmp_path / "2" / "last.ckpt").is_file()


def interrupt_once(callback):
    done = []

    def once(event, trainer):
        if event == "log" and not done:
            done.append(True)
            callback(event, trainer)

    return once


def cell_ends(notebook, error):
    for callback in list(notebook.events.callbacks["post_run_cell"]):
        callback(SimpleNamespace(error_in_exec=error, error_before_exec=None))


@pytest.mark.parametrize(
    ("error", "message"),
    [(LabError("the loss is nan"), "the loss is nan"), (RuntimeError("no memory"), "RuntimeError: no memory")],
)
def test_an_error_is_shown(notebook, tmp_path, error, message):
    def fail(event, trainer):
        if event == "epoch":
            raise error

    monitor = TrainingMonitor()
    with pytest.raises(type(error)):
        train(tmp_path, fail, monitor)
    assert monitor.state == "running"
    cell_ends(notebook, error)
    assert (monitor.state, monitor.message) == ("failed", message)
    monitor.stop()  # too late, and harmless


def test_an_error_that_the_cell_caught_is_shown_too(notebook, tmp_path):
    def fail(event, trainer):
        raise LabError("no")

    monitor = TrainingMonitor()
    with pytest.raises(LabError):
        train(tmp_path, monitor, fail)
    cell_ends(notebook, None)
    assert monitor.state == "failed"


# ------------------------------------------------------------------------------------------------------- elsewhere


def test_in_a_terminal_it_is_a_progress_bar(tmp_path, capsys):
    monitor = TrainingMonitor()
    before, handlers = signal.getsignal(signal.SIGINT), set()
    history = train(tmp_path, monitor, lambda *_: handlers.add(signal.getsignal(signal.SIGINT)))
    assert handlers == {before}  # Ctrl-C is the terminal's
    text = capsys.readouterr().err
    assert "100%" in text and "mse=" in text and monitor.messages == 0
    assert monitor.history == history and monitor.state == "finished"
    train(tmp_path, monitor, quiet=True)
    assert capsys.readouterr().err == ""


def test_it_changes_nothing_in_the_training(notebook, tmp_path):
    plain, watched = train(tmp_path / "1", quiet=True), train(tmp_path / "2", TrainingMonitor())
    for row in plain + watched:
        row.pop("seconds")
    assert plain == watched


def test_records(notebook, tmp_path):
    monitor = TrainingMonitor()
    with pytest.raises(LabError, match="no training yet"):
        monitor.figure()
    history = train(tmp_path, monitor)
    figure = monitor.figure()
    assert isinstance(figure, Figure) and figure._repr_png_()[:4] == b"\x89PNG"
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [row["loss"] for row in history])
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == [
        "loss, MSE", "KL (nats per frame)", "validation PSNR (dB)",
    ]  # fmt: skip
    assert figure.axes[-1].images[0].get_array().shape[0] == 3 * (3 * 16 + 4) - 4
    train(tmp_path, monitor, val=False)
    assert len(monitor.figure().axes) == 6
    text = monitor.to_html(tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert repr(monitor).startswith("TrainingMonitor(finished, ")
