"""Take the screenshots of docs/app.md: `python docs/app/pictures.py [FOLDER]` (needs playwright and Chromium)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from duchenne.datasets import simulate

LONG = 300_000  # ms
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


def shoot(page: Page, path: Path) -> None:
    """A small PNG of the viewport."""
    page.wait_for_timeout(400)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def take(page: Page, folder: Path, clips: list[Path]) -> None:
    shoot(page, folder / "start.png")
    page.set_input_files("#file", [str(clip) for clip in clips])
    expect(page.locator("[data-count]")).to_have_text(re.compile(r"^[3-9]\d of "), timeout=LONG)
    shoot(page, folder / "working.png")
    expect(page.locator("#clips .mark:is(.is-genuine, .is-posed, .is-open)")).to_have_count(2, timeout=LONG)
    expect(page.frame_locator("#report iframe").locator("h1")).to_be_visible()
    shoot(page, folder / "verdict.png")
    page.emulate_media(color_scheme="dark")
    shoot(page, folder / "dark.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#verdict").evaluate("part => part.scrollIntoView()")
    shoot(page, folder / "phone-dark.png")
    page.emulate_media(color_scheme="light")
    page.evaluate("scrollTo(0, 0)")
    shoot(page, folder / "phone.png")
    page.set_viewport_size({"width": 1120, "height": 900})
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Compare two").click()
    expect(page.locator("#comparison .pair")).to_be_visible(timeout=LONG)
    shoot(page, folder / "compare.png")
    page.get_by_role("button", name="Record with the webcam").click()
    page.get_by_role("button", name="Start recording").click()
    page.wait_for_timeout(1500)
    shoot(page, folder / "webcam.png")
    page.get_by_role("button", name="Discard", exact=True).click()


def webcam(clip: Path, target: Path) -> Path:
    """A clip as Motion JPEG, which Chromium reads as a webcam."""
    from duchenne import video

    with target.open("wb") as file:
        for frame in video.frames(clip):
            Image.fromarray(frame.bgr[..., ::-1]).save(file, "JPEG", quality=90)
    return target


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        kinds = {"ann-film.mp4": "genuine", "ann-told.mp4": "posed"}
        clips = [simulate.smile_clip(Path(work) / name, kind) for name, kind in kinds.items()]
        camera = webcam(clips[0], Path(work) / "face.mjpeg")
        words = [sys.executable, "-m", "duchenne", "app", "--no-browser", "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as app:
            assert app.stdout is not None
            url = app.stdout.readline().strip()
            try:
                with sync_playwright() as drive:
                    browser = drive.chromium.launch(
                        executable_path=shutil.which("chromium"),
                        args=["--no-sandbox", *CAMERA, f"--use-file-for-fake-video-capture={camera}"],
                    )
                    page = browser.new_page(viewport={"width": 1120, "height": 900})
                    page.goto(url)
                    take(page, folder, clips)
                    browser.close()
            finally:
                app.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
