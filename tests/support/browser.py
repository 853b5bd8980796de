"""A real browser for tests: JupyterLab on a free loopback port, driven by Playwright in the chromium that is installed.

    from browser import jupyterlab, running_browser, write_notebook  # the second one is the fixture ``browser``

    with jupyterlab(tmp_path) as lab:
        write_notebook(tmp_path / "test.ipynb", ["from labutils.widgets import FrameScrubber", "..."])
        tab = lab.open(browser, "test.ipynb")   # waits for the kernel
        tab.run_all()                           # waits until every cell has run
        tab.page.locator(".lab-scrubber").click()
        assert tab.python("print(scrubber.index)") == "0"
        assert tab.errors == []

Where Playwright, JupyterLab or chromium is missing, importing this module skips the test module and says which.
The browser is $CHROMIUM, or the first of chromium, chromium-browser and google-chrome on the path.
"""

import ast
import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SUPPORT = [str(Path(__file__).resolve().parents[k]) for k in (2, 0)]  # the repository, and this folder
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

playwright = pytest.importorskip("playwright.sync_api", reason="browser tests skipped: Playwright is not installed")
pytest.importorskip("jupyterlab", reason="browser tests skipped: JupyterLab is not installed")
if not CHROMIUM:
    pytest.skip("browser tests skipped: no chromium found; set CHROMIUM to its path", allow_module_level=True)

PATIENCE = 180  # seconds that anything may take: no test is to fail because a machine is slow
# What JupyterLab itself reports as errors when a kernel goes; what is thrown and not caught begins with "uncaught"
GONE = ("Could not send widget sync message", "Failed to load resource", "WebSocket")


def write_notebook(path: Path, cells: Sequence[str]) -> Path:
    """A notebook of code cells, for the python3 kernel."""
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


@contextlib.contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A Playwright browser (chromium without a window)."""
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, **options)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module", name="browser")
def running_browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One browser for the tests of a file, which are marked so that others can be run without a browser."""
    assert request.node.get_closest_marker("browser"), "write `pytestmark = pytest.mark.browser` at the top"
    with chromium() as running:
        yield running


def new_page(browser: Any, **context: Any) -> tuple[Any, list[str]]:
    """An empty page, and a list that collects what it reports as errors: console errors, uncaught exceptions."""
    within = browser.new_context(**context)
    within.set_default_timeout(1000 * PATIENCE)
    page = within.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}\n{error.stack}"))
    return page, errors


def shown_frame(canvas: Any, width: int = 64) -> np.ndarray:
    """The frame (height, width, 3) that a canvas shows; fails unless each of its pixels is one even opaque square."""
    wide, high, data = canvas.evaluate(
        """c => {
          const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          let text = "";
          for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
          return [c.width, c.height, btoa(text)];
        }"""
    )
    pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(high, wide, 4)
    zoom = wide // width
    frame = pixels[::zoom, ::zoom]
    np.testing.assert_array_equal(frame.repeat(zoom, 0).repeat(zoom, 1), pixels)
    assert (frame[..., 3] == 255).all()
    return frame[..., :3]


@contextlib.contextmanager
def opened(browser: Any, path: Path, **context: Any) -> Iterator[Any]:
    """The file of a page, open in a browser without network, where nothing may be reported as an error."""
    page, errors = new_page(browser, **{"offline": True, "viewport": {"width": 1000, "height": 900}, **context})
    page.goto(path.as_uri())
    yield page
    assert errors == []
    page.context.close()


def fits(page: Any, width: int) -> bool:
    """Whether a page comes to fit a screen so wide."""
    page.set_viewport_size({"width": width, "height": 1000})
    return until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@contextlib.contextmanager
def jupyterlab(folder: Path, theme: str = "JupyterLab Light") -> Iterator["Lab"]:
    """A JupyterLab server over ``folder``, with settings and runtime files of its own, gone at the end.

    Args:
        folder: its notebooks; the repository and tests/support are on the kernels' Python path.
        theme: ``JupyterLab Light`` or ``JupyterLab Dark``.
    """
    home = Path(folder) / ".jupyter-test"
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), Path(folder), home / "runtime")
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(lab.runtime),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_TOKEN": lab.token,  # not on the command line, which every user of the machine can read
        "PYTHONPATH": os.pathsep.join(filter(None, [*SUPPORT, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]  # fmt: skip
    with open(home / "server.log", "w+") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            if not until(lambda: server.poll() is not None or lab.answers()) or server.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"JupyterLab did not start:\n{log.read()[-3000:]}")
            yield lab
        finally:
            for client in lab.clients:
                client.stop_channels()
            with contextlib.suppress(OSError):
                for kernel in lab.get("api/kernels"):
                    lab.request("DELETE", f"api/kernels/{kernel['id']}")
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextlib.contextmanager
def running_notebook(
    browser: Any, folder: Path, cells: str, height: int = 1300, wait: bool = True, **variables: str
) -> Iterator["Tab"]:
    """A notebook, all its cells run, in a JupyterLab of its own; at the end the page has reported no error.

    Args:
        folder: an empty one.
        cells: separated by lines of ``====``.
        wait: whether until all cells have run; else they have only been started.
        variables: what the first cell finds set.
    """
    texts = cells.split("====\n")
    texts[0] = "".join(f"{name} = {value!r}\n" for name, value in variables.items()) + texts[0]
    write_notebook(folder / "test.ipynb", texts)
    with jupyterlab(folder) as lab:
        tab = lab.open(browser, "test.ipynb", height=height)
        if wait:
            tab.run_all()
        else:
            tab.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        yield tab
        told = [error for error in tab.errors if tab.alive or not error.startswith(GONE)]
        assert told == [], told


class Lab:
    """A running server."""

    def __init__(self, url: str, token: str, folder: Path, runtime: Path) -> None:
        self.url, self.token, self.folder, self.runtime = url, token, folder, runtime
        self.clients: list[Any] = []

    def request(self, method: str, path: str) -> bytes:
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return reply.read()

    def answers(self) -> bool:
        """Whether the server can be asked."""
        with contextlib.suppress(OSError):
            self.get("api/status")
            return True
        return False

    def kernel(self, notebook: str) -> str | None:
        """The id of a notebook's kernel, once that waits for the browser's messages."""
        kernels = [s["kernel"] for s in self.get("api/sessions") if s["path"] == notebook]
        return next((k["id"] for k in kernels if k["execution_state"] == "idle" and k["connections"]), None)

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path))

    def open(self, browser: Any, notebook: str, width: int = 1400, height: int = 1000, **context: Any) -> "Tab":
        """Open a notebook of the server's folder and wait until its kernel is ready."""
        page, errors = new_page(browser, viewport={"width": width, "height": height}, **context)
        page.goto(f"{self.url}/lab/tree/{notebook}?reset&token={self.token}")
        page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
        ready: list[str] = []  # asked again, a kernel that was idle a moment ago may be busy

        def is_ready() -> bool:
            ready.extend(filter(None, [self.kernel(notebook)]))
            return bool(ready)

        assert until(is_ready), f"the kernel of {notebook} is not ready"
        return Tab(self, page, errors, ready[0])


class Tab:
    """One notebook in one browser page; ``errors`` collects what the page reports."""

    def __init__(self, lab: Lab, page: Any, errors: list[str], kernel: str) -> None:
        from jupyter_client import BlockingKernelClient

        self.lab, self.page, self.errors, self.kernel, self.alive = lab, page, errors, kernel, True
        # One client for all calls, made while the kernel is quiet: making one waits for a silence that a widget that
        # plays would not grant.
        self.client = BlockingKernelClient(connection_file=str(lab.runtime / f"kernel-{kernel}.json"))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(PATIENCE)
        lab.clients.append(self.client)

    def run_all(self, timeout: float = PATIENCE) -> None:
        """Run all cells and wait for the last one.

        Raises:
            AssertionError: a cell ended in an error; its text is the message.
        """
        ended = self.page.evaluate(
            """limit => Promise.race([
                 window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => "ended"),
                 new Promise(resolve => setTimeout(resolve, limit, "late"))])""",
            timeout * 1000,
        )
        failed = self.page.evaluate(  # from the notebook itself: cells that are out of sight are not in the page
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
                 .flatMap(cell => cell.toJSON().outputs ?? [])
                 .filter(output => output.output_type === "error")
                 .map(output => [`${output.ename}: ${output.evalue}`, ...output.traceback].join("\\n"))"""
        )
        assert not failed, failed[0]
        assert ended == "ended", f"the cells still run after {timeout} s"

    def python(self, code: str) -> str:
        """Run code in the notebook's kernel, beside the browser; what it prints, without spaces at the ends."""
        text: list[str] = []

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                text.append(content["text"])
            elif message["msg_type"] == "error":
                text.append("\n".join(content["traceback"]))

        for _ in range(5):  # a kernel drops what waits while a cell ends in an error
            reply = self.client.execute_interactive(code, timeout=PATIENCE, output_hook=collect, allow_stdin=False)
            if reply["content"]["status"] != "aborted":
                break
        assert reply["content"]["status"] == "ok", "".join(text)
        return "".join(text).strip()

    def value(self, expression: str) -> Any:
        """The value of an expression in the notebook's kernel: numbers, texts, and lists of these."""
        return ast.literal_eval(self.python(f"print(repr({expression}))"))

    def frame(self, expression: str) -> np.ndarray:
        """The value of an expression in the notebook's kernel that is a uint8 frame (32, 64, 3)."""
        code = f"import base64, numpy; print(base64.b64encode(numpy.ascontiguousarray({expression})).decode())"
        return np.frombuffer(base64.b64decode(self.python(code)), np.uint8).reshape(32, 64, 3)

    def shut_down_kernel(self) -> None:
        """End the kernel, as "Shut Down Kernel" does, and wait until it is gone; until then no error was reported."""
        assert self.errors == [], self.errors
        self.alive = False
        self.lab.request("DELETE", f"api/kernels/{self.kernel}")
        assert until(lambda: all(k["id"] != self.kernel for k in self.lab.get("api/kernels"))), (
            "the kernel does not end"
        )


def until(condition: Any, seconds: float = PATIENCE) -> bool:
    """Call ``condition`` until it is true; False when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
