"""The app in headless Chromium, with a real server and a real clip."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app_server import Server, end, start
from conftest import RATE
from duchenne import checkpoints, video
from duchenne.types import Array

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found; install one to test the page")
LONG = 120_000  # ms to wait for a verdict on a busy machine
SETTLED = re.compile("^(spontaneous|posed|no verdict|could not be judged|cancelled)$")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = start(tmp_path_factory.mktemp("app"))
    yield found
    end(found)
    assert found.folders() == []


@pytest.fixture(scope="module")
def webcam(tmp_path_factory: pytest.TempPathFactory, pictures: list[Array]) -> Path:
    """The smile as what a webcam sees, in a format that Chromium takes for one (YUV4MPEG2, 4:2:0)."""
    path = tmp_path_factory.mktemp("webcam") / "face.y4m"
    height, width = pictures[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode())
        for picture in pictures:
            r, g, b = np.moveaxis(picture.astype(float), 2, 0)
            y = 0.299 * r + 0.587 * g + 0.114 * b
            half = [128 + c[::2, ::2] for c in (0.564 * (b - y), 0.713 * (r - y))]
            file.write(b"FRAME\n" + b"".join(np.clip(p, 0, 255).astype(np.uint8).tobytes() for p in (y, *half)))
    return path


@pytest.fixture(scope="module")
def browser(webcam: Path) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as drive:
        found = drive.chromium.launch(
            executable_path=CHROMIUM, args=[*flags, f"--use-file-for-fake-video-capture={webcam}"]
        )
        yield found
        found.close()


class MonitoredPage:
    """A page in a new browser context, with its errors and its requests."""

    def __init__(self, server: Server, browser: Browser) -> None:
        self.context = browser.new_context(viewport={"width": 1180, "height": 900}, accept_downloads=True)
        self.page, self.errors, self.urls = self.context.new_page(), [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type != "log" else None)
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.goto(server.url)

    def close(self, server: Server) -> None:
        self.context.close()
        for clip in json.loads(server.ask("GET", "state")[2])["clips"]:
            server.ask("DELETE", f"clips/{clip['id']}")
        local = (server.url, "data:", "blob:", "about:")
        assert self.errors == [] and [url for url in self.urls if not url.startswith(local)] == []


@pytest.fixture
def page(server: Server, browser: Browser) -> Iterator[Page]:
    """The page, without clips."""
    found = MonitoredPage(server, browser)
    yield found.page
    found.close(server)


@pytest.fixture(scope="module")
def judged(server: Server, browser: Browser, smile: Path) -> Iterator[Page]:
    """The page with one clip that was judged."""
    found = MonitoredPage(server, browser)
    upload(found.page, smile)
    expect(status(found.page, "smile.mp4")).to_have_text(SETTLED, timeout=LONG)
    yield found.page
    found.close(server)


def upload(page: Page, *files: Path) -> None:
    page.set_input_files("#file", [str(file) for file in files])


def status(page: Page, name: str) -> Locator:
    """The status cell of a clip in the table."""
    return page.locator("#clips tbody tr").filter(has_text=name).locator(".mark")


#: Records all announcements to screen readers, as the next may follow at once.
RECORD_STATUS = """() => { window.announced = []; const status = document.getElementById("status");
  new MutationObserver(() => window.announced.push(status.textContent)).observe(status, { childList: true }); }"""


def test_two_clips_show_progress_and_can_be_cancelled(page: Page, pictures: list[Array], tmp_path: Path) -> None:
    smile = video.write(tmp_path / "smile.mp4", pictures * 8, RATE)  # long enough to be seen at work
    bad = tmp_path / "notes.mp4"
    bad.write_text("this is a text file\n" * 50, encoding="utf-8")
    expect(page.locator("h1")).to_be_visible()
    page.evaluate(RECORD_STATUS)
    upload(page, smile, bad)
    expect(status(page, "smile.mp4")).to_have_text(re.compile(r"^following the face \d+%$"), timeout=LONG)
    expect(status(page, "notes.mp4")).to_have_text("waiting")
    expect(page.locator(".steps [aria-current=step]")).to_have_text("Following the face")
    expect(page.locator("[data-count]")).to_have_text(re.compile(rf"^\d+ of {8 * len(pictures)} frames$"))
    bar = page.get_by_role("progressbar", name="Progress of smile.mp4")
    assert 0 <= float(bar.evaluate("bar => bar.value")) <= 1
    assert any("smile.mp4: following the face" in each for each in page.evaluate("window.announced"))
    page.get_by_role("button", name="Cancel").click()
    expect(status(page, "smile.mp4")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Judge it again")).to_be_visible()
    expect(status(page, "notes.mp4")).to_have_text("could not be judged", timeout=LONG)
    page.get_by_role("button", name="notes.mp4", exact=True).click()
    expect(page.locator("#clip-title")).to_contain_text("notes.mp4 is a text file; expected a video")
    expect(page.get_by_label("Compare notes.mp4")).to_be_disabled()
    for name in ("smile.mp4", "notes.mp4"):
        page.get_by_role("button", name=f"Remove {name}").click()
    expect(page.locator("#clips")).to_be_hidden()


#: A drag of a file, or of text where there is none, over the page and its drop there: what the page made of each step.
DRAG = """([content, name]) => {
  const dataTransfer = new DataTransfer();
  if (content === null) dataTransfer.setData("text/plain", name);
  else dataTransfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
  return ["dragenter", "dragover", "drop"].map((kind) => {
    const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true });
    document.getElementById("add").dispatchEvent(event);
    return [event.defaultPrevented, document.body.classList.contains("dragging")];
  });
}"""


def test_file_dropped_on_page_is_judged(page: Page, server: Server, smile: Path) -> None:
    steps = page.evaluate(DRAG, [base64.b64encode(smile.read_bytes()).decode(), "dropped.mp4"])
    assert [shown for _, shown in steps] == [True, True, False]
    assert steps[1][0] and steps[2][0]  # else the browser would leave the page and show the file
    expect(status(page, "dropped.mp4")).to_have_text(re.compile("."), timeout=LONG)
    assert [path.read_bytes() == smile.read_bytes() for path in server.stored()] == [True]
    page.evaluate(DRAG, [None, "words"])
    expect(status(page, "dropped.mp4")).to_have_text(SETTLED, timeout=LONG)
    assert page.locator("#clips tbody tr").count() == 1 and page.locator("#notes .note").count() == 0


def test_file_name_is_shown_as_text(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    bad.write_text("text", encoding="utf-8")
    upload(page, bad)
    expect(status(page, "<img src=x")).to_have_text("could not be judged", timeout=LONG)
    expect(page.locator("#clip-title")).to_contain_text("<img src=x onerror=alert(1)>.mp4 is a text file")
    assert page.locator("img").count() == 0


def test_clip_gets_verdict_report_and_overlay(judged: Page) -> None:
    shown = status(judged, "smile.mp4").inner_text()
    assert shown in ("spontaneous", "posed", "no verdict")
    title = judged.locator("#clip-title")
    expect(title).to_contain_text("No verdict" if shown == "no verdict" else f"Moves like the {shown} expressions")
    expect(judged.locator("#verdict .facts")).to_contain_text("2.40 s, 60 frames")
    expect(judged.locator("#verdict .facts")).to_contain_text("Judged0.")
    expect(judged.locator("#verdict .record")).to_contain_text(checkpoints.card("default")["elsewhere"])
    expect(judged.locator(".limits")).to_contain_text("Not for lie detection, hiring, schooling, policing")
    expect(judged.locator(".limits")).to_be_in_viewport()
    report = judged.frame_locator("#report iframe")
    expect(report.locator("h1")).to_be_visible()
    assert report.locator("svg path").count() > 3  # the curves
    with judged.expect_download() as saved:
        judged.get_by_role("link", name="Save the report").click()
    assert saved.value.suggested_filename == "smile-report.html"
    assert "smile.mp4" in Path(saved.value.path()).read_text(encoding="utf-8")
    with judged.expect_download() as saved:
        judged.get_by_role("link", name="Save as CSV").click()
    (row,) = csv.DictReader(Path(saved.value.path()).read_text(encoding="utf-8").splitlines())
    assert row["file"] == "smile.mp4" and row["frames"] == "60"
    assert row["verdict"] == {"spontaneous": "genuine", "no verdict": "abstained"}.get(shown, shown)
    judged.get_by_role("button", name="Make the overlay video").click()
    overlay = judged.locator("#overlay video")
    expect(overlay).to_be_visible(timeout=LONG)
    wide = "v => v.readyState ? v.videoWidth : new Promise(f => v.onloadedmetadata = () => f(v.videoWidth))"
    assert overlay.evaluate(wide) == 320


def test_report_is_sandboxed(judged: Page, server: Server) -> None:
    clip = json.loads(server.ask("GET", "state")[2])["clips"][0]["id"]
    status, headers, _ = server.ask("GET", f"clips/{clip}/report.html")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert "sandbox" in headers["content-security-policy"] and "connect-src" not in headers["content-security-policy"]
    assert "allow-same-origin" not in headers["content-security-policy"]
    frame = judged.locator("#report iframe").element_handle()
    assert frame is not None and "allow-same-origin" not in (frame.get_attribute("sandbox") or "allow-same-origin")
    inside = frame.content_frame()
    assert inside is not None and inside.evaluate("window.origin") == "null"
    status, headers, part = server.ask("GET", f"clips/{clip}/overlay.mp4", headers={"Range": "bytes=4-7"})
    assert (status, part, headers["content-type"]) == (206, "ftyp", "video/mp4")  # so that players can seek


def test_webcam_is_recorded_judged_and_compared(judged: Page) -> None:
    judged.get_by_role("button", name="Record with the webcam").click()
    judged.get_by_role("button", name="Start recording").click()
    expect(judged.get_by_role("timer")).to_have_text(re.compile(r"^2\.[4-9] s$|^[3-9]"), timeout=LONG)
    judged.get_by_role("button", name="Stop and judge").click()
    expect(judged.get_by_role("dialog")).to_be_hidden()
    for _ in range(100):  # the page's own policy forbids to wait inside it
        if judged.evaluate("document.getElementById('preview').srcObject === null"):
            break
        judged.wait_for_timeout(100)
    else:
        pytest.fail("The camera is still on.")
    expect(status(judged, "webcam")).to_have_text(SETTLED, timeout=LONG)
    assert status(judged, "webcam").inner_text() in ("spontaneous", "posed", "no verdict")  # a face was seen
    ask = judged.get_by_role("button", name="Compare two")
    expect(ask).to_be_disabled()
    for box in judged.get_by_role("checkbox").all():
        box.check()
    ask.click()
    expect(judged.get_by_role("progressbar", name="Progress of the comparison")).to_be_visible()
    expect(judged.locator("#comparison")).to_contain_text("Assumes, as in the studies", timeout=LONG)
    expect(judged.locator("#comparison .pair li")).to_have_count(2)
    judged.get_by_role("button", name="Close the comparison").click()
    expect(judged.locator("#comparison")).to_be_hidden()
    judged.get_by_role("button", name=re.compile("^Remove webcam")).click()
    expect(judged.locator("#clips tbody tr")).to_have_count(1)


#: The contrast of every text with what lies under it (WCAG 2.2, 1.4.3), disabled controls left out.
CONTRAST = """() => {
  const rgb = (text) => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return [r, g, b, a]; };
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const under = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.matches(":disabled, script, .unseen, .skip"))
      continue;
    const [a, b] = [light(rgb(style.color)), light(under(e))].sort((x, y) => y - x), size = parseFloat(style.fontSize);
    found.push([(a + 0.05) / (b + 0.05), size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5,
      walk.currentNode.textContent]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(judged: Page, scheme: str) -> None:
    judged.emulate_media(color_scheme=scheme)
    found = judged.evaluate(CONTRAST)
    assert len(found) > 30
    assert [each for each in found if each[0] < each[1]] == []
    paper = judged.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(252, 251, 248)", "dark": "rgb(20, 22, 26)"}[scheme]
    judged.emulate_media(color_scheme="light")


def test_page_fits_a_phone(judged: Page) -> None:
    judged.set_viewport_size({"width": 390, "height": 844})
    assert judged.evaluate("document.documentElement.scrollWidth") == 390
    for part in ("#choose", "#record", "#clip-title", ".facts", "#report iframe"):
        box = judged.locator(part).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, part
    small = "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().height).filter(h => h < 24)"
    assert judged.locator("button, a.button, summary").evaluate_all(small) == []  # WCAG 2.2, 2.5.8
    expect(judged.locator(".limits")).to_be_in_viewport()
    judged.set_viewport_size({"width": 1180, "height": 900})


def test_keyboard_reaches_everything_in_order_with_names(judged: Page) -> None:
    judged.reload()
    expect(judged.locator("#report iframe")).to_be_visible()
    names = []
    for _ in range(11):
        judged.keyboard.press("Tab")
        names.append(judged.evaluate("(e => e.getAttribute('aria-label') || e.textContent)(document.activeElement)"))
        outline = judged.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", names[-1]
    assert names[:4] == ["Skip to the clips", "Choose clips", "Record with the webcam", "Save as CSV"]
    assert names[4:7] == ["Compare smile.mp4", "smile.mp4", "Remove smile.mp4"]
    assert names[7:10] == ["Save the report", "Open it in a tab", "Data"] and "overlay video" in names[10].lower()
    nameless = """all => all.filter(e => e.checkVisibility() && !(e.getAttribute("aria-label") || e.labels?.length
      || e.getAttribute("title") || e.textContent.trim())).map(e => e.outerHTML)"""
    assert judged.locator("button, a, input, iframe, video, progress, summary").evaluate_all(nameless) == []
    heads = judged.locator("h1, h2, h3").evaluate_all("all => all.filter(e => e.checkVisibility()).map(e => e.tagName)")
    assert heads[0] == "H1" and heads.count("H1") == 1
    judged.get_by_role("button", name="Record with the webcam").press("Enter")
    expect(judged.get_by_role("button", name="Start recording")).to_be_focused()
    judged.keyboard.press("Escape")
    expect(judged.get_by_role("dialog")).to_be_hidden()
    expect(judged.get_by_role("button", name="Record with the webcam")).to_be_focused()


def test_page_reports_that_the_app_has_ended(browser: Browser, tmp_path: Path) -> None:
    server = start(tmp_path)
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    end(server)
    expect(page.get_by_role("alert").first).to_contain_text("The app has ended", timeout=LONG)
    context.close()


FACE = Path(os.environ.get("DUCHENNE_DATA", "none")) / "clips" / "single_face.mp4"


@pytest.mark.skipif(not FACE.exists(), reason="DUCHENNE_DATA names no folder with the shared clips")
def test_real_face_gets_a_verdict(page: Page) -> None:
    upload(page, FACE)
    expect(status(page, "single_face.mp4")).to_have_text(SETTLED, timeout=LONG)
    assert status(page, "single_face.mp4").inner_text() in ("spontaneous", "posed", "no verdict")
    expect(page.frame_locator("#report iframe").locator("h1")).to_be_visible()
