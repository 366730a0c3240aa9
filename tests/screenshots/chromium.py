"""A headless Chromium that is told what to do over two pipes: Chrome's DevTools protocol, without a library."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from consumer.errors import SetupError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
REMEDY = "install Chromium (Debian: apt install chromium)"
Scheme = Literal["light", "dark"]
_READ_BYTES = 1 << 16


def find_chromium() -> str:
    """Return the program; SetupError with the remedy if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise SetupError(f"there is no {' or '.join(NAMES)} here: {REMEDY}")
    return found


class Chromium:
    """A browser with one tab. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)
        self._session: str | None = None
        self._unread = b""
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        for descriptor in (self._commands, self._answers):
            self._resources.callback(os.close, descriptor)
        # The browser reads descriptor 3 and writes descriptor 4; a shell is what can give it these.
        line = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", line, find_chromium(), *self._arguments()],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._resources.callback(self._end)
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self._call("Page.enable")
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def picture(
        self, url: str, *, width: int, scale: float, scheme: Scheme, mobile: bool = False, top: int = 0, height: int = 0
    ) -> bytes:
        """Return the page at this address as PNG, `width` CSS pixels wide, times `scale`.

        As high as the page, or as `height` from `top` on.
        """
        self._show(width, 800, scale, mobile=mobile)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)
        loaded = self._call("Page.navigate", url=url)
        if "errorText" in loaded:
            raise SetupError(f"{url}: {loaded['errorText']}")
        self._wait("Page.loadEventFired")
        whole = self.value("document.documentElement.scrollHeight")
        self._show(width, whole, scale, mobile=mobile)
        part = {"x": 0, "y": top, "width": width, "height": height or whole - top, "scale": 1}
        return base64.b64decode(self._call("Page.captureScreenshot", format="png", clip=part)["data"])

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression gives on the page that is shown."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _show(self, width: int, height: int, scale: float, *, mobile: bool) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def _arguments(self) -> Sequence[str]:
        return (
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",  # it refuses to run as root with one, and sees nothing but our own pages
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            f"--user-data-dir={self._directory / 'profile'}",
        )

    def _call(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        number = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        message = {"id": number, "method": method, "params": parameters, **session}
        os.write(self._commands, msgspec.json.encode(message) + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise SetupError(f"Chromium refuses {method}: {answer['error']}")
                result: Mapping[str, Any] = answer["result"]
                return result

    def _wait(self, event: str) -> None:
        while self._read().get("method") != event:
            pass

    def _read(self) -> Mapping[str, Any]:
        while b"\0" not in self._unread:
            part = os.read(self._answers, _READ_BYTES)
            if not part:
                raise SetupError(f"Chromium has ended with status {self._process.wait()}")
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        decoded: Mapping[str, Any] = msgspec.json.decode(message)
        return decoded

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
