"""A headless Chromium driven as a person would, over its own debugging pipe: real keys and clicks, no packages."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe"),
)
KEYS = {
    " ": ("Space", 32),
    "Tab": ("Tab", 9),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowRight": ("ArrowRight", 39),
    "Enter": ("Enter", 13),
}


class Browser:
    """One tab. `errors`: what its console and its content policy complained of; `asked`: every address it asked for."""

    def __init__(self, width: int = 1000, height: int = 900) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            import pytest  # which who builds the pages or measures may lack

            pytest.skip(f"No browser to look with: none of {', '.join(NAMES)} is installed.")
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._number, self._rest = 0, b""
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()

        def wire() -> None:  # Chromium reads commands on 3 and answers on 4
            spare = os.dup(ours)
            os.dup2(theirs, 3)
            os.dup2(spare, 4)
            for end in (3, 4):  # which they were already, perhaps: then nothing was copied
                os.set_inheritable(end, True)

        words = [
            program,
            *_FLAGS,
            f"--user-data-dir={self._folder.name}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=wire, close_fds=False
        )
        os.close(theirs)
        os.close(ours)
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol to the tab."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return dict(message["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], 60)[0]:
                raise AssertionError("The browser says nothing any more.")
            read = os.read(self._from, 1 << 20)
            assert read, "The browser has gone."
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return dict(message)

    def _note(self, method: str | None, facts: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(facts["exceptionDetails"].get("exception", facts["exceptionDetails"])))
        if method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.errors.append(facts["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.asked.append(facts["request"]["url"][:200])

    def open(self, page: Path, part: str = "") -> None:
        """Load a file and wait until its script has run and its film, if any, shows a frame."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=page.resolve().as_uri() + part)
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")
        self.until("(v => !v || Boolean(v.error) || v.readyState > 1)(document.querySelector('video'))")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, most: float = 30.0) -> Any:
        """Wait until an expression holds; fails after `most` seconds."""
        end = time.monotonic() + most
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"never came true: {expression}"
            time.sleep(0.02)
        return value

    def press(self, key: str, shift: bool = False) -> None:
        """One key, down and up."""
        code, number = KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        facts = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **facts)
        self.send("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, selector: str, across: float = 0.5) -> None:
        """Click into an element, at a share of its width."""
        place = self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const b = e.getBoundingClientRect();"
            f" return [b.left + b.width * {across}, b.top + b.height / 2]; }})(document.querySelector({selector!r}))"
        )
        facts = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, buttons=1 if kind == "mousePressed" else 0, **facts)

    def look(self, width: int, height: int, *, scheme: str = "light", media: str = "screen") -> None:
        """As on a screen of this size, "light" or "dark", or as in print."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def shoot(self, target: Path, *, whole: bool = True) -> Path:
        """A PNG of the page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        target.write_bytes(base64.b64decode(shot["data"]))
        return target

    def print(self, target: Path) -> Path:
        """The page as PDF, by its own rules for print."""
        self.send("Emulation.setEmulatedMedia", media="", features=[])
        target.write_bytes(base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"]))
        return target


#: Ratio of every text's color to what lies behind it, smallest first: [ratio, needed, text]. WCAG 2.2, 1.4.3.
CONTRAST = r"""
(() => {
  const parse = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const even = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((v) => even(v / 255))
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!text || !e.checkVisibility({visibilityProperty: true}) || /^(script|style|title)$/i.test(e.tagName)) continue;
    if (e.closest(".unseen, .skip")) continue;
    const ink = parse(e instanceof SVGElement ? style.fill : style.color), a = light(ink), b = light(behind(e));
    const size = parseFloat(style.fontSize), bold = +style.fontWeight >= 700;
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    found.push([ratio, size >= 24 || (bold && size >= 18.66) ? 3 : 4.5, text.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
})()
"""
#: Whatever can be focused and has no name that a screen reader could say.
NAMELESS = r"""
[...document.querySelectorAll("a, button, input, select, summary, video, [tabindex], [role=img], [role=group]")]
  .filter((e) => !(e.getAttribute("aria-label") || e.labels?.[0]?.textContent.trim() || e.textContent.trim()))
  .map((e) => e.outerHTML.slice(0, 120))
"""
