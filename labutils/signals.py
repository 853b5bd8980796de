"""What a terminal, a batch system and Ctrl-C send: all end a command alike, and none tears a step of training apart."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM", "SIGINT") if hasattr(signal, name)]


def end_like_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread; what is ignored (nohup) stays so."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not in the main thread: then nobody sends signals either
        for number in SIGNALS:
            if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, stop)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that come in this block are acted on at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, lambda *what: came.append(what))
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for number, frame in came[:1]:
            handler = before[signal.Signals(number)]
            assert callable(handler)
            handler(number, frame)
