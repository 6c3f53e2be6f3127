"""
A headless Chromium for tests of pages, over its DevTools protocol on two pipes: nothing to install but Chromium.

Messages are JSON with a zero byte behind each; the browser reads file descriptor 3 and writes file descriptor 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CODES = {" ": ("Space", 32), "Tab": ("Tab", 9), "Home": ("Home", 36), "End": ("End", 35), "Enter": ("Enter", 13)}
CODES |= {"ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39)}
CODES |= {"ArrowUp": ("ArrowUp", 38), "ArrowDown": ("ArrowDown", 40), "Delete": ("Delete", 46)}
CODES |= {letter: (f"Key{letter.upper()}", ord(letter.upper())) for letter in "abcdefghijklmnopqrstuvwxyz"}
CONTROL = 2  # DevTools' number of the key that is held down


class Browser:
    """
    One page. Every call ends within ``timeout`` seconds, with `TimeoutError` if need be.

    :param pid: of the browser
    :param to_browser: file descriptor that it reads
    :param from_browser: file descriptor that it writes
    :param timeout: in seconds
    """

    def __init__(self, pid: int, to_browser: int, from_browser: int, timeout: float) -> None:
        self.pid = pid
        self.errors: list[str] = []
        """on the console, and exceptions that nobody caught"""
        self.requests: list[str] = []
        """addresses of all that the page asked for, data: ones too"""
        self._to, self._from, self._timeout = to_browser, from_browser, timeout
        self._received = b""
        self._n_sent = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, path: Path, width: int, height: int, dark: bool = False, link: str = "") -> None:
        """
        :param path: of an HTML file
        :param width: of the window, in CSS pixels
        :param height: of the window
        :param dark: what the page is told that the user prefers
        :param link: behind the file's name, from "#" on
        """
        self._go(path.resolve().as_uri() + link, width, height, dark)
        self.wait_for("location.protocol === 'file:' && document.readyState === 'complete'")

    def visit(self, url: str, width: int = 1280, height: int = 900) -> None:
        """
        :param url: of a page that a server gives
        :param width: of the window, in CSS pixels
        :param height: of the window
        """
        self._go(url, width, height, dark=False)
        self.wait_for("location.protocol === 'http:' && document.readyState === 'complete'")

    def _go(self, url: str, width: int, height: int, dark: bool) -> None:
        self.errors.clear()
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url="about:blank")
        self.requests.clear()
        self._call("Page.navigate", url=url)

    def resize(self, width: int, height: int) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def evaluate(self, script: str) -> Any:
        """
        :param script: an expression; a promise is waited for
        :return: its value
        :raises RuntimeError: where it throws
        """
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """:param script: an expression that becomes true"""
        end = time.monotonic() + self._timeout
        while not self.evaluate(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} is not true after {self._timeout} s")
            time.sleep(0.02)

    def press(self, key: str, held: int = 0) -> None:
        """
        :param key: as a page names it: "Tab", " ", "ArrowLeft", "x"
        :param held: with it: `CONTROL`
        """
        code, number = CODES[key]
        names = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": held}
        text = {"text": key} if len(key) == 1 and not held else {}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **names, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **names)

    def click(self, selector: str, at: float = 0.5) -> None:
        """
        :param selector: of the element, which is scrolled to
        :param at: where along its width
        """
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.evaluate(f"{found}.getBoundingClientRect().toJSON()")
        x, y = box["left"] + at * box["width"], box["top"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            buttons = 1 if kind == "mousePressed" else 0
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def drag(self, selectors: list[str], touch: bool = False) -> None:
        """
        :param selectors: of elements in the window: down on the middle of the first, over the others, up
        :param touch: by a finger, not the mouse
        """
        boxes = [
            self.evaluate(f"document.querySelector({json.dumps(x)}).getBoundingClientRect().toJSON()")
            for x in selectors
        ]
        points = [{"x": box["left"] + box["width"] / 2, "y": box["top"] + box["height"] / 2} for box in boxes]
        if touch:
            for kind, point in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
                self._call("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
            self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, point in zip(kinds, [*points, points[-1]], strict=True):
            buttons = 0 if kind == "mouseReleased" else 1
            self._call("Input.dispatchMouseEvent", type=kind, **point, button="left", buttons=buttons, clickCount=1)

    def controls(self) -> list[tuple[str, str]]:
        """:return: role and name of each control, as a screen reader is told them"""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "slider", "combobox", "link", "textbox", "checkbox", "radio", "spinbutton"}
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in roles
        ]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """
        :param path: of a PNG
        :param whole: the page, not the window alone
        """
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._n_sent += 1
        message: dict[str, Any] = {"id": self._n_sent, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._timeout
        while True:
            answer = self._receive(method, end)
            if answer.get("id") == self._n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method"), answer.get("params", {}))

    def _receive(self, method: str, end: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"{method}: no answer of the browser")
            new = os.read(self._from, 1 << 20)
            if not new:
                raise RuntimeError(f"{method}: the browser has ended")
            self._received += new
        first, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(x.get("value", x.get("description"))) for x in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])


@contextmanager
def running(timeout: float = 60.0) -> Iterator[Browser]:
    """
    :param timeout: of each call, in seconds
    :return: a browser with a profile of its own, until the block ends
    """
    assert CHROMIUM is not None
    their_in, our_out = map(_moved, os.pipe())
    our_in, their_out = map(_moved, os.pipe())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        command += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, their_in, 3), (os.POSIX_SPAWN_DUP2, their_out, 4)]
        pid = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=[*null, *pipes], setpgroup=0)
        os.close(their_in)
        os.close(their_out)
        try:
            yield Browser(pid, our_out, our_in, timeout)
        finally:
            os.killpg(pid, signal.SIGKILL)  # its helpers are of its group
            os.waitpid(pid, 0)
            os.close(our_out)
            os.close(our_in)


def _moved(descriptor: int) -> int:
    """:return: the same above 3 and 4, which are given away"""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
