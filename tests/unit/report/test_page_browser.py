"""The report in a real browser, from a real clip: film, points and curves go together, by hand and by key."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import CONTRAST, NAMELESS, Browser
from conftest import RATE, Completed
from duchenne import judging, pipeline
from duchenne.types import Array
from makers import make_video

pytestmark = pytest.mark.usefixtures("read_once")
MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def made(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pipeline.Analysis]:
    """A rendered smile's reports, with faces and without, and what they tell of."""
    out = tmp_path_factory.mktemp("report")
    loaded = judging.load_model("default")
    card, margin = loaded.card, loaded.model.margin
    loaded.model.margin = 0.0  # the page of a verdict, however close the model calls this face
    try:
        found = pipeline.examine(smile)
    finally:
        loaded.model.margin = margin
    pipeline.save(found, out / "faces", card)
    pipeline.save(found, out / "points", card, faces=False)
    return out, found[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as tab:
        yield tab


@pytest.fixture
def page(made: tuple[Path, Any], browser: Browser) -> Browser:
    browser.look(1000, 900)
    browser.errors.clear()
    browser.asked.clear()
    browser.open(made[0] / "faces" / "report.html")
    return browser


def now(page: Browser) -> float:
    return float(page.ask("document.body.dataset.time"))


def data(html: str) -> dict[str, Any]:
    return dict(json.loads(re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)[0]))


def test_page_makes_no_request_and_logs_no_error(page: Browser) -> None:
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith(("data:", "file:", "about:"))] == []
    assert page.ask("document.querySelector('video').error") is None


def test_video_shows_every_frame_at_its_time(page: Browser, made: tuple[Path, Any]) -> None:
    html, track = (made[0] / "faces" / "report.html").read_text(encoding="utf-8"), made[1].track
    times = data(html)["times"]
    assert len(times) == len(track) and times == pytest.approx(track.time.tolist(), abs=1e-4)
    assert page.ask("document.querySelector('video').duration") == pytest.approx(track.duration, abs=0.1)
    assert len(html) < MOST_BYTES


@pytest.mark.slow
def test_ten_seconds_of_movement_stay_small(pictures: list[Array], tmp_path: Path) -> None:
    """Noise is the most that a film can be asked to keep: as many bits as it may have."""
    rng = np.random.default_rng(0)
    noisy = [(p + rng.integers(-25, 26, (240, 320, 1))).clip(0, 255) for p in (pictures * 5)[: 10 * RATE]]
    clip = make_video(tmp_path / "noisy.mp4", [picture.astype(np.uint8) for picture in noisy], rate=RATE)
    found = pipeline.examine(clip)
    assert found[0].track.duration == pytest.approx(10, abs=0.1)
    pipeline.save(found, tmp_path / "out", judging.load_model("default").card)
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    (film,) = re.findall(r"data:video/mp4;base64,([\w+/=]*)", html)
    assert 500_000 < len(film) < len(html.encode()) < MOST_BYTES


def test_page_opens_at_apex_or_given_time(page: Browser, made: tuple[Path, Any]) -> None:
    apex = made[1].verdict.phases[0].apex
    assert now(page) == pytest.approx(apex, abs=1e-3)
    page.open(made[0] / "faces" / "report.html", "#t=1.2")
    assert now(page) == 1.2
    page.until("Math.abs(document.querySelector('video').currentTime - 1.2) < 0.05")
    assert page.ask("document.querySelector('#r-time').textContent").startswith("1.20")


def test_keys_step_and_jump_and_can_be_switched_off(page: Browser, made: tuple[Path, Any]) -> None:
    phase, times = made[1].verdict.phases[0], made[1].track.time
    for key, moment in (("o", phase.onset), ("a", phase.apex), ("f", phase.offset), ("e", phase.end)):
        page.press(key)
        assert now(page) == pytest.approx(moment, abs=1e-3)
    page.press("o")
    frame = int(page.ask("document.body.dataset.frame"))
    page.press("ArrowRight")
    assert int(page.ask("document.body.dataset.frame")) == frame + 1 and now(page) == pytest.approx(
        times[frame + 1], abs=2e-3
    )
    page.press("ArrowLeft", shift=True)
    assert int(page.ask("document.body.dataset.frame")) == frame - 9
    page.click("#keys")
    page.press("a")
    assert int(page.ask("document.body.dataset.frame")) == frame - 9


def test_space_plays_video_points_and_playhead(page: Browser, made: tuple[Path, Any]) -> None:
    page.press(" ")
    page.until("document.body.dataset.playing === 'true' && +document.body.dataset.time > 0.4")
    page.press(" ")
    assert page.ask("document.body.dataset.playing") == "false"
    at, lo = now(page), data((made[0] / "faces" / "report.html").read_text(encoding="utf-8"))
    assert page.ask("document.querySelector('video').currentTime") == pytest.approx(at, abs=0.06)
    heads = page.ask("[...document.querySelectorAll('.playhead')].map(e => parseFloat(e.getAttribute('x1')))")
    assert len(heads) > 20 and heads == pytest.approx(
        [100 * (at - lo["lo"]) / lo["span"]] * len(heads), abs=0.05
    )  # % of the width; times in the page are rounded
    page.press("End")  # only within the player: a page is scrolled by it otherwise
    assert now(page) == at
    page.click("#play")
    page.until("document.body.dataset.playing === 'false' && +document.body.dataset.time > 2")


def test_click_in_a_curve_seeks_and_shows_its_value(page: Browser, made: tuple[Path, Any]) -> None:
    curves = made[1].curves
    page.click('.plot[aria-label^="Lip corner pull"]', 0.5)
    middle = (curves.time[0] + curves.time[-1]) / 2
    assert now(page) == pytest.approx(middle, abs=0.03)
    result = float(page.ask("document.querySelector('.curve .now').textContent"))
    value = curves["lip_corner_pull"][abs(curves.time - now(page)).argmin()]
    assert result == pytest.approx(value, abs=0.02)


def test_points_match_the_video(page: Browser) -> None:
    drawn = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 400, 400).data.some((v) => v > 0)"
    assert page.ask(drawn)
    page.press("p")
    assert not page.ask(drawn)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_every_text_has_contrast(page: Browser, scheme: str, media: str) -> None:
    page.look(1000, 900, scheme=scheme, media=media)
    weak = [each for each in page.ask(CONTRAST) if each[0] < each[1]]
    assert weak == []


def test_focusable_elements_have_names_in_reading_order(page: Browser) -> None:
    assert page.ask(NAMELESS) == []
    page.ask("document.activeElement.blur()")
    tops, ids = [], []
    for _ in range(14):
        page.press("Tab")
        tops.append(page.ask("document.activeElement.getBoundingClientRect().top + scrollY"))
        ids.append(page.ask("document.activeElement.id || document.activeElement.textContent"))
    assert ids[0] == "Skip to the verdict" and {"play", "back", "forth", "time", "speed", "points"} <= set(ids)
    assert ids.index("play") < ids.index("forth") < ids.index("time")


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_nothing_is_wider_than_the_screen(page: Browser, width: int) -> None:
    page.look(width, 800)
    assert page.ask("document.documentElement.scrollWidth") == width


def test_print_has_few_pages_with_key_frames_and_no_buttons(page: Browser, tmp_path: Path) -> None:
    page.look(1000, 900, media="print")
    assert not page.ask("document.querySelector('#play').checkVisibility()")
    assert page.ask("document.querySelector('.frames img').checkVisibility()")
    pdf = page.print(tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10


def test_without_faces_only_points_move(made: tuple[Path, Any], browser: Browser) -> None:
    file = made[0] / "points" / "report.html"
    html = file.read_text(encoding="utf-8")
    assert not re.search(r"<(img|video|image|picture)\b|data:(image|video)", html)
    assert "no image of the person" in html and len(html) < MOST_BYTES / 10
    browser.open(file)
    browser.press(" ")
    browser.until("+document.body.dataset.time > 0.4")
    browser.press(" ")
    assert browser.ask("document.querySelector('#r-frame').textContent") != ""


def test_browser_without_the_codec_shows_points(made: tuple[Path, Any], browser: Browser, tmp_path: Path) -> None:
    html = (made[0] / "faces" / "report.html").read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    other = base64.b64encode(b"not a film " * 100).decode()
    broken.write_text(re.sub(r'(data:video/mp4;base64,)[^"]+', rf"\g<1>{other}", html), encoding="utf-8")
    browser.open(broken)
    browser.until("document.querySelector('.player').classList.contains('bare')")
    assert browser.ask("document.querySelector('.fails').checkVisibility()")
    browser.press("ArrowRight")
    assert browser.ask("document.body.dataset.frame") > "0"


def test_page_is_readable_without_scripts(made: tuple[Path, Any]) -> None:
    html = (made[0] / "faces" / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)
    side = "spontaneous" if made[1].p_raw >= 0.5 else "posed"
    for part in (f"Further to the {side} side", "The lip corners rose in", "What the model went by"):
        assert part in text
    assert " controls " in text


def test_command_leaves_faces_out(duchenne: Callable[..., Completed], smile: Path, tmp_path: Path) -> None:
    """The option reaches the page: a report without a film is the smaller one, and holds no picture at all."""
    for name, words in (("with", ()), ("without", ("--no-faces",))):
        assert duchenne("analyze", smile, "-o", tmp_path / name, *words).code == 0
    shown, hidden = ((tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("with", "without"))
    assert "data:video/" in shown
    assert not re.search(r"data:(video|image)/", hidden)
