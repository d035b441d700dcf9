"""Drives Debian's chromium through its debugging pipe: the standard library is all it needs."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Failed(AssertionError):
    """The page threw, or did not become what was waited for."""


class Browser:
    """One headless chromium with one page. Commands go to file descriptor 3, answers come from 4, each ended by a NUL."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="moegemm-browser-")
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--hide-scrollbars", "--disable-background-networking", "--force-color-profile=srgb",
                 f"--user-data-dir={self.folder}", "about:blank"]
        # through a shell, which puts the pipes where chromium looks for them
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(["bash", "-c", command, shutil.which("chromium") or "chromium", *flags],
                                        pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env={**os.environ, "HOME": self.folder})
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (Failed, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def receive(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.into], [], [], left)[0]:
                raise Failed(f"chromium did not answer within {seconds} s")
            data = os.read(self.into, 1 << 20)
            if not data:
                raise Failed("chromium ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive(60)
            if "method" in answer:
                self.events.append(answer)
            elif answer["id"] == self.number:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def js(self, expression):
        """The value of a JavaScript expression (a promise is awaited)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failed(result["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return result["result"].get("value")

    def wait(self, expression, seconds=10):
        end = time.monotonic() + seconds
        while not self.js(expression):
            if time.monotonic() > end:
                raise Failed(f"never became true: {expression}")
            time.sleep(0.02)

    def open(self, path, fragment=""):
        """Loads a file; returns the milliseconds from the start of the navigation until the page has been drawn."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=f"file://{os.path.abspath(path)}{fragment}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'", 30)
        self.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return self.js("performance.now()") if not self.problems() else None

    def problems(self):
        """Uncaught exceptions, errors in the log, and requests for anything but the page."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent" and not params["request"]["url"].startswith("file://"):
                if params["request"]["url"] != "about:blank":
                    found.append("request for " + params["request"]["url"])
            elif event["method"] == "Page.javascriptDialogOpening":
                found.append("dialog: " + params["message"])
        return found

    def key(self, key):
        named = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38}
        text = {} if key in named and key != "Enter" else {"text": "\r" if key == "Enter" else key}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=named.get(key, ord(key[0])),
                      **(text if kind == "keyDown" else {}))

    def mouse(self, kind, x, y):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="none" if kind == "mouseMoved" else "left", clickCount=1)

    def view(self, width, height, dark=False, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        with open(path, "wb") as out:
            out.write(data)
        try:  # where Pillow is installed the picture becomes three times smaller
            from PIL import Image
        except ImportError:
            return
        Image.open(path).convert("RGB").quantize(200, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
