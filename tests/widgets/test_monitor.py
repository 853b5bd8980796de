"""TrainingMonitor without a browser: numbers, messages, the end of a run, the terminal."""

import base64
import re
import signal
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import tiny
from matplotlib.figure import Figure

from labutils.checkpoint import load_model, read_history
from labutils.errors import LabError
from labutils.show import bold_poses
from labutils.training import Trainer, fit
from labutils.widgets import TrainingMonitor
from labutils.widgets import monitor as module
from labutils.widgets.monitor import POINTS, Readings, decimate, means, time_left
from labutils.widgets.page import STILL_BYTES

VAL = tiny.noise(9, seed=1)


def train(folder, *callbacks, val=True, resume=None, **changes):
    cfg = tiny.config(folder, **{"num_epoch": 6, "per_val": 2, "quiet": False, **changes})
    return fit(tiny.model(cfg), tiny.noise(), VAL if val else None, cfg, callbacks, resume)


@pytest.fixture
def notebook(monkeypatch):
    """As in a notebook whose browser only listens; ``sent`` holds the states that went out, ``shown`` the displays,
    ``updated`` those that were brought up to date, and whether they then had a picture."""
    import IPython
    import IPython.display

    hooks = []  # of post_run_cell
    events = SimpleNamespace(register=lambda _, hook: hooks.append(hook), unregister=lambda _, hook: hooks.remove(hook))
    shell = SimpleNamespace(kernel=object(), events=events, hooks=hooks, sent=[], shown=[], updated=[])

    def display(widget, display_id):
        shell.shown.append(widget)
        return SimpleNamespace(update=lambda it: shell.updated.append((it, "image/png" in it._repr_mimebundle_()[0])))

    original = TrainingMonitor._update

    def update(self, event, trainer):
        count = self.messages
        original(self, event, trainer)
        if self.messages > count:
            shell.sent.append((event, self.state, self._now))

    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(TrainingMonitor, "_update", update)
    before = signal.getsignal(signal.SIGINT)
    yield shell
    assert signal.getsignal(signal.SIGINT) == before and hooks == []


def numbers(packed):
    return [np.frombuffer(part, "<f4") for part in packed]


def once(action):
    """A callback that acts at the first "log" only."""
    done = []

    def callback(event, trainer):
        if event == "log" and not done:
            done.append(True)
            action(trainer)

    return callback


def cell_ends(notebook, error):
    for hook in list(notebook.hooks):
        hook(SimpleNamespace(error_in_exec=error, error_before_exec=None))


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("n", [1, 600, 601, 1199, 5000, 54321])
def test_decimation_keeps_the_ends_and_the_extremes(n):
    rng = np.random.default_rng(n)
    for low, high in rng.integers(0, n, (80, 2)):
        x, y = np.arange(n) + 7.0, rng.normal(size=n)
        y[low], y[high] = -50, 60  # single spikes survive wherever they are
        a, b = decimate(x, y)
        assert len(a) == len(b) <= POINTS and (n <= POINTS or len(a) > POINTS / 2)
        assert (a[0], b[0], a[-1], b[-1]) == (x[0], y[0], x[-1], y[-1])
        assert b.min() == y.min() and b.max() == y.max() and (np.diff(a) > 0).all()
        np.testing.assert_array_equal(b, y[(a - 7).astype(int)])


@pytest.mark.parametrize("n", [150, 151, 999, 12345])
def test_means_are_those_of_equal_parts(n):
    x, y = np.arange(n, dtype=float), np.random.default_rng(n).normal(size=n)
    a, b = means(x, y)
    parts = [slice(k, k + -(-n // 100)) for k in range(0, n, -(-n // 100))]
    assert len(a) <= 100
    np.testing.assert_allclose(b, [y[part].mean() for part in parts])
    np.testing.assert_allclose(a, [x[part].mean() for part in parts])


def test_time_left():
    assert [time_left(done, 10, 3) for done in (0, 2, 10)] == [None, 12, 0]


def test_readings_grow_with_the_history():
    rows = [dict(step=k, loss=k / 2, mse=1.0, kl=2.0, beta=3.0, tfr=4.0, lr=5.0, val_psnr=None) for k in range(5000)]
    readings = Readings()
    for end in (0, 20, 21, 2047, 2048, 5000, 5000):
        readings.take(rows[:end])
        np.testing.assert_array_equal(readings["loss"], np.arange(end) / 2)
    assert readings["lr"].tolist() == [5.0] * 5000


# ------------------------------------------------------------------------------------------------------- in a notebook


def test_a_run_arrives_whole(notebook, tmp_path):
    monitor, predictions = TrainingMonitor(), []
    history = train(tmp_path, monitor, tiny.on("validate", lambda trainer: predictions.append(trainer.prediction)))
    assert monitor.state == "finished" and str(tmp_path / "out" / "last.ckpt") in monitor.message
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

    frames = [0, 1, 3, 4, 5, 7, 8]  # of 9: the strip shows the latest validation
    assert monitor._given["frames"] == [t + 1 for t in frames]
    assert monitor._given["pose"] == bold_poses(VAL.labels[frames]).tobytes()
    assert monitor._given["truth"] == VAL.frames[frames].tobytes()
    assert monitor._predicted["pixels"] == predictions[-1][frames].tobytes()
    assert monitor._predicted["psnr"] == history[-1]["val_psnr"] and monitor._predicted["each"][0] is None


@pytest.mark.parametrize("cost", [0.0, 0.01])
def test_messages_are_few(notebook, tmp_path, monkeypatch, cost):
    """20 events a second for 200 s, a validation every second; each message takes ``cost`` seconds to make."""
    clock = SimpleNamespace(now=0.0)

    def tick():
        clock.now += cost
        return clock.now

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=tick))
    budget = SimpleNamespace(step=0, seconds=0.0, position=0, length=4000, epoch=0, spent=False)
    trainer = SimpleNamespace(cfg=tiny.config(), budget=budget, history=[], val=VAL, prediction=VAL.frames,
                              stopping=False, save_root=tmp_path)  # fmt: skip
    monitor = TrainingMonitor()
    monitor("start", trainer)
    for step in range(4000):
        clock.now += 0.05
        row = dict(step=step, epoch=0, loss=1.0, mse=1.0, kl=1.0, beta=1.0, tfr=1.0, lr=1.0, val_psnr=None)
        trainer.history.append(row)
        budget.step = budget.position = step + 1
        budget.seconds = clock.now
        monitor("log", trainer)
        if step % 20 == 19:
            row["val_psnr"] = 20.0
            monitor("validate", trainer)
    monitor("end", trainer)
    inner = [event for event, *_ in notebook.sent if event not in ("start", "end")]
    pause = max(module.INTERVAL, cost / module.SHARE)
    assert 0.7 * clock.now / pause < len(inner) <= clock.now / pause
    assert notebook.sent[0][0] == "start" and notebook.sent[-1][0] == "end"
    assert monitor._predicted["step"] == 3999 and monitor._now["step"] == 4000


@pytest.mark.slow
def test_without_validation(notebook, tmp_path):
    monitor = TrainingMonitor()
    train(tmp_path, monitor, val=False)
    assert monitor.state == "finished" and "val_psnr" not in monitor._curves
    assert monitor._given == {} and monitor._now["best"] is None and not monitor._now["validates"]


def test_a_resumed_run_shows_all_of_it(notebook, tmp_path):
    train(tmp_path, tiny.on("validate", Trainer.stop), quiet=True)
    done = len(read_history(tmp_path / "out" / "history.csv"))
    monitor = TrainingMonitor()
    history = train(tmp_path, monitor, resume=tmp_path / "out" / "last.ckpt")
    assert 0 < done < len(history) and len(numbers(monitor._curves["loss"])[0]) == len(history)
    now = notebook.sent[0][2]
    assert now["step"] == done and now["left"] is None


def test_a_second_run_starts_afresh_and_outputs_get_a_picture(notebook, tmp_path):
    monitor = TrainingMonitor()
    assert "image/png" not in monitor._repr_mimebundle_()[0]  # shown in a cell before, so not by the first run
    train(tmp_path / "0", monitor, num_epoch=1)
    assert notebook.shown == notebook.updated == []
    monitor = TrainingMonitor()
    train(tmp_path / "1", monitor)
    history = train(tmp_path / "2", monitor, val=False, num_epoch=3)
    assert notebook.sent[-1][1] == "finished" and monitor._predicted == {} and monitor.history == history
    assert len(numbers(monitor._curves["loss"])[0]) == len(history)
    assert notebook.shown == [monitor, monitor] and notebook.updated == [(monitor, True)] * 2
    picture = base64.b64decode(monitor._repr_mimebundle_()[0]["image/png"])
    assert picture[:4] == b"\x89PNG" and len(picture) <= STILL_BYTES


# -------------------------------------------------------------------------------------------------------- how it ends


def test_stop_ends_with_a_checkpoint(notebook, tmp_path):
    monitor = TrainingMonitor()

    def press(trainer):
        monitor._hear(monitor, "nonsense", [])
        assert not trainer.stopping
        monitor._hear(monitor, "stop", [])
        assert trainer.stopping and monitor.state == "running"  # the message comes in another thread

    history = train(tmp_path, once(press), monitor, num_epoch=1000)
    assert monitor.state == "stopped" and "last.ckpt" in monitor.message
    assert [state for _, state, _ in notebook.sent] == ["running", "stopping", "stopped"]
    assert len(history) < 30 and history[-1]["val_psnr"] is not None
    assert read_history(tmp_path / "out" / "history.csv") == history
    load_model(tmp_path / "out" / "last.ckpt")


def test_the_notebooks_interrupt_is_a_stop_and_a_second_one_is_not(notebook, tmp_path):
    monitor = TrainingMonitor()
    history = train(tmp_path / "1", once(lambda _: signal.raise_signal(signal.SIGINT)), monitor, num_epoch=1000)
    assert monitor.state == "stopped" and history[-1]["val_psnr"] is not None
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "2", once(lambda _: [signal.raise_signal(signal.SIGINT) for _ in range(2)]), monitor)
    cell_ends(notebook, KeyboardInterrupt())
    assert monitor.state == "interrupted" and (tmp_path / "2" / "out" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("error", "caught", "message"),
    [
        (LabError("the loss is nan"), False, "the loss is nan"),
        (RuntimeError("no memory"), False, "RuntimeError: no memory"),
        (LabError("no"), True, "an error ended it, which the cell caught"),
    ],
)
def test_an_error_is_shown(notebook, tmp_path, error, caught, message):
    monitor = TrainingMonitor()
    with pytest.raises(type(error)):
        train(tmp_path, monitor, tiny.on("epoch", Mock(side_effect=error)))
    assert monitor.state == "running"
    cell_ends(notebook, None if caught else error)
    assert (monitor.state, monitor.message) == ("failed", message)
    monitor.stop()  # too late, and harmless


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
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles == ["loss, MSE", "KL (nats per frame)", "validation PSNR (dB)"]
    assert figure.axes[-1].images[0].get_array().shape[0] == 3 * (3 * 16 + 4) - 4
    train(tmp_path, monitor, val=False)
    assert len(monitor.figure().axes) == 6
    text = monitor.to_html(tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert repr(monitor).startswith("TrainingMonitor(finished, ")
