"""What a browser says to a widget, without a browser."""

from collections.abc import Sequence
from typing import Any


def ask(widget: Any, buffers: Sequence[bytes] = (), **question: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Ask a widget a question as a ``Line`` of shared.js does; its reply and the reply's buffers."""
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    data = {"method": "custom", "content": {"ask": "a 1", **question}}
    widget.comm.handle_msg({"content": {"data": data}, "buffers": [memoryview(b) for b in buffers]})
    (reply,) = sent
    assert reply[0]["answer"] == "a 1" and reply[0]["what"] == question.get("what") and reply[0]["ms"] > 0
    return reply
