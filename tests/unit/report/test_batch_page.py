"""The page of a batch in a real browser: made by a real run, and with ten thousand rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from PIL import Image

from browser import CONTRAST, NAMELESS, Browser
from conftest import RATE
from duchenne import batch
from duchenne.report import batch_page
from duchenne.tables import columns
from makers import here, make_video

pytestmark = pytest.mark.usefixtures("read_once")
HOSTILE = "<img src=x onerror=alert(1)>&amp;"
ROWS = "[...document.querySelectorAll('.clips tbody tr')]"
NAMES = f"{ROWS}.map(r => r.querySelector('th bdi').textContent)"
SHOWN = f"{ROWS}.map(r => r.querySelector('.c-verdict').textContent.trim())"


def tree(out: Path) -> dict[str, bytes]:
    files = [p for p in out.rglob("*") if p.is_file() and ".duchenne" not in p.relative_to(out).parts]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def made(pictures: list[Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A manifest of a smile, one too short to judge, one in a folder of an evil name, and a text; and its results."""
    top = tmp_path_factory.mktemp("batch")
    (top / HOSTILE).mkdir()
    make_video(top / "smile.mp4", pictures, rate=RATE)
    for name in ("short.mp4", f"{HOSTILE}/évil #1?.mp4"):
        make_video(top / name, pictures[:5], rate=RATE)
    (top / "text.mp4").write_text("This is no video.\n")
    rows = (("smile.mp4", "ann", "happiness", "genuine"), (f"{HOSTILE}/évil #1?.mp4", "bob", "", "posed"))
    rows += (("short.mp4", "bob", "sadness", "posed"), ("text.mp4", "cy", "", ""))
    with (top / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "subject", "emotion", "label"), *rows])
    out = tmp_path_factory.mktemp("results") / "out"
    task = batch.analyze_task()
    batch.process([], out, task, manifest=top / "clips.csv", runner=here(task))
    return top / "clips.csv", out


def line(i: int, **other: Any) -> batch_page.Line:
    p = (i * 7919 % 1000) / 1000
    silent = abs(p - 0.5) < 0.1
    row = {
        "face": 0, "seconds": 2.0 + i % 50, "coverage": 1.0, "p_genuine": None if silent else p, "abstained": silent,
        "verdict": "abstained" if silent else ("genuine" if p >= 0.5 else "posed"),
        "code": "too_close" if silent else None,
        "reason": f"Too close to call: it is {p:.2f}." if silent else None, "shows": "fear", "p_fear": 0.5,
        "onset": 0.5, "apex": 0.9, "warnings": "",
    }  # fmt: skip
    row = columns.failed(f"clip {i} cannot be read.") if i % 100 == 99 else row | other
    return batch_page.Line(f"day{i % 3}/clip{i}.mp4", None, None, {}, row)


def summary(lines: list[batch_page.Line]) -> dict[str, Any]:
    failed = sum(each.kind == "failed" for each in lines)
    counts = {"clips": len(lines), "done": len(lines) - failed, "failed": failed, "left": 0}
    return {**counts, "faces": len(lines) - failed, "frames": 50 * len(lines), "seconds": 2.0 * len(lines)}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of ten thousand synthetic rows."""
    lines = [line(i) for i in range(10_000)]
    path = tmp_path_factory.mktemp("many") / "index.html"
    path.write_text(batch_page.render(lines, summary(lines), {"abstain_band": (0.4, 0.6)}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(1240, 900) as tab:
        yield tab


@pytest.fixture
def page(made: tuple[Path, Path], browser: Browser) -> Browser:
    browser.look(1240, 900)
    browser.errors.clear()
    browser.asked.clear()
    browser.open(made[1] / "index.html")
    return browser


# --- a real run ---------------------------------------------------------------------------------------------


def test_every_link_and_image_exists(page: Browser, made: tuple[Path, Path]) -> None:
    links = page.ask("[...document.querySelectorAll('.clips a, .facts a')].map(a => a.href)")
    assert len(links) == 3 + 4 and all(Path(unquote(urlparse(link).path)).is_file() for link in links)
    page.until("[...document.images].every(i => i.complete)")
    assert page.ask("[...document.images].map(i => i.naturalHeight)") == [120] * 3
    assert [url for url in page.asked if not url.startswith(("file:", "about:"))] == []
    page.click(".clips tbody tr:nth-child(2) a")  # the one of the evil name
    page.until("document.readyState === 'complete' && document.title === 'évil #1?.mp4 · duchenne report'")
    assert page.errors == []


def test_rows_agree_with_the_tables(page: Browser, made: tuple[Path, Path]) -> None:
    with (made[1] / "clips.csv").open(newline="", encoding="utf-8") as file:
        table = {row["file"]: row for row in csv.DictReader(file)}
    names = page.ask(NAMES)
    assert names == ["smile.mp4", f"{HOSTILE}/évil #1?.mp4", "short.mp4", "text.mp4"]
    assert page.ask(SHOWN)[1:] == ["– no verdict", "– no verdict", "× failed"]
    smile = page.ask(f"{ROWS}[0].innerText")
    p = table["smile.mp4"]["p_genuine"]
    assert (f"{float(p):.2f}" if p else "no verdict") in smile and "genuine, happiness, ann" in smile
    assert page.ask(f"{ROWS}[3].querySelector('.c-fails').textContent").startswith("text.mp4")
    assert page.ask("document.querySelectorAll('img[src=\"x\"]').length") == 0


def test_groups_follow_the_manifest(page: Browser, made: tuple[Path, Path]) -> None:
    with (made[1] / "clips.csv").open(newline="", encoding="utf-8") as file:
        shown = {row["shows"] for row in csv.DictReader(file)} - {""}
    keys = page.ask("[...document.querySelectorAll('#group option')].map(o => o.value)")
    assert keys == ["label", "all", "folder", "subject", "emotion", *(["shows"] if len(shown) > 1 else [])]
    visible = "[...document.querySelectorAll('.way')].filter(w => w.checkVisibility()).map(w => w.dataset.key)"
    assert page.ask(visible) == ["label"] and "Not a test" in page.ask("document.querySelector('#groups').innerText")
    pick = "(s => { s.value = 'subject'; s.dispatchEvent(new Event('change', {bubbles: true})); })"
    page.ask(f"{pick}(document.querySelector('#group'))")
    heads = "[...document.querySelectorAll('.way.first tbody th')].map(t => t.textContent)"
    assert page.ask(visible) == ["subject"] and page.ask(heads) == ["ann", "bob", "cy"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_every_text_is_readable(page: Browser, scheme: str, media: str) -> None:
    page.look(1240, 900, scheme=scheme, media=media)
    assert [each for each in page.ask(CONTRAST) if each[0] < each[1]] == []
    assert page.ask(NAMELESS) == []


def test_shards_give_the_same_bytes_without_local_paths(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (manifest, out), task = made, batch.analyze_task()
    first = batch.process([], tmp_path / "o", task, manifest=manifest, shard=(2, 2), runner=here(task))
    assert first.summary["left"] == 2 and "2 clips are not done" in (tmp_path / "o" / "index.html").read_text("utf-8")
    batch.process([], tmp_path / "o", task, manifest=manifest, shard=(1, 2), runner=here(task))
    assert tree(tmp_path / "o") == tree(out)
    assert str(manifest.parent) not in (out / "index.html").read_text("utf-8")
    with Image.open(out / "smile.mp4" / "thumb.jpg") as image:
        assert image.format == "JPEG" and image.size == (120, 120)


@pytest.mark.parametrize("options", [{"faces": False}, {"report": False}])
def test_without_faces_or_reports_there_are_no_images_or_links(
    options: dict[str, bool], made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = batch.analyze_task(**options)
    batch.process([made[0].parent / "short.mp4"], tmp_path / "o", task, runner=here(task))
    html = (tmp_path / "o" / "index.html").read_text(encoding="utf-8")
    assert "<img" not in html and not list(tmp_path.rglob("*.jpg"))
    assert ('href="short.mp4/report.html"' in html) == ("faces" in options)


# --- ten thousand rows --------------------------------------------------------------------------------------


def test_ten_thousand_rows_are_sorted_searched_and_drawn_on_demand(many: Path, browser: Browser) -> None:
    browser.look(1240, 900)
    browser.errors.clear()
    browser.open(many)
    assert browser.ask(f"{ROWS}.length") == 100 and "10,000 lines" in browser.ask(
        "document.querySelector('#shown').textContent"
    )
    sort = "document.querySelector('.clips [aria-sort]')?.dataset.key + document.querySelector('[aria-sort]')?.ariaSort"
    values = f"{ROWS}.map(r => +(r.querySelector('.c-p')?.textContent))"
    browser.click('th[data-key="p"] button')
    assert browser.ask(sort) == "pdescending"
    found = browser.ask(values)
    assert found == sorted(found, reverse=True) and found[0] > 0.99
    browser.ask("document.querySelector('th[data-key=\"p\"] button').focus()")
    browser.press("Enter")
    assert browser.ask(sort) == "pascending" and browser.ask(values)[0] == 0
    browser.click('th[data-key="clip"] button')
    assert browser.ask(NAMES)[:4] == ["day0/clip0.mp4", "day0/clip3.mp4", "day0/clip6.mp4", "day0/clip9.mp4"]
    browser.click("#find")
    for key in "clip77":
        browser.press(key)
    browser.until("document.querySelector('#shown').textContent.startsWith('111 of 10,000')")  # clip77, 77x, 77xx
    assert all("clip77" in name for name in browser.ask(NAMES))
    browser.ask("document.querySelector('#find').value = ''")
    browser.click("[data-kind=genuine]")
    browser.click("[data-kind=posed]")
    browser.click("[data-kind=abstained]")
    assert set(browser.ask(SHOWN)) == {"× failed"} and browser.ask(f"{ROWS}.length") == 100
    assert browser.errors == []


def test_each_column_sorts_missing_values_last(many: Path, browser: Browser) -> None:
    browser.look(1240, 900)
    browser.open(many)
    for key in browser.ask("[...document.querySelectorAll('th[data-key]')].map(h => h.dataset.key)"):
        browser.click(f'th[data-key="{key}"] button')
        assert browser.ask("document.querySelector('[aria-sort]').dataset.key") == key
    browser.ask("document.querySelector('#find').value = 'clip77'")
    for _ in range(2):
        browser.click('th[data-key="p"] button')
        browser.ask("document.querySelector('#more').click()")
        assert browser.ask(f"{ROWS}.length") == 111
        values = browser.ask(f"{ROWS}.map(r => r.querySelector('.c-p')?.textContent ?? '–')")
        known = [float(value) for value in values if value != "–"]
        assert 50 < len(known) < 111 and "–" not in values[: len(known)]
        assert known in (sorted(known), sorted(known, reverse=True)) and known[0] != known[-1]


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1161, 1240])
def test_nothing_is_wider_than_the_screen(many: Path, page: Browser, width: int) -> None:
    for shown in (None, many):
        if shown:
            page.open(shown)
        page.look(width, 800)
        assert page.ask("document.documentElement.scrollWidth") == width


def test_page_without_scripts_has_table_and_figures(many: Path) -> None:
    html = re.sub(r"<script.*?</script>|<style.*?</style>", "", many.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert html.count('<tr role="row">') == 1 + batch_page.PLAIN_ROWS
    assert 'href="clips.csv"' in html and "The first 300 of 10,000 lines" in html


# --- what is counted ----------------------------------------------------------------------------------------


def test_counts_medians_and_dots_follow_the_rows() -> None:
    lines = [line(0, p_genuine=p, abstained=False, verdict="genuine" if p > 0.5 else "posed") for p in (0.1, 0.2, 0.8)]
    lines += [
        line(
            1, p_genuine=None, abstained=1, verdict="abstained", code="lost", reason="The face is lost in 60 % of it."
        ),
        line(99),
    ]
    html = batch_page.render(lines, summary(lines), {})
    assert html.count('<circle class="dot-genuine"') == 2 + 1  # by folder, all together; and in the table
    assert "3 faces with a P(genuine), median 0.20" in html
    assert "the face is lost in most frames" in html and "1 clip failed." in html
    assert re.search(r"of 4 faces move like the posed, <span[^>]*>1</span> like the spontaneous", html)


def test_batch_of_failures_has_a_page() -> None:
    html = batch_page.render([line(99)], summary([line(99)]), {})
    assert "No face was judged" in html and "clip 99 cannot be read." in html


def test_further_columns_of_a_manifest_make_groups() -> None:
    lines = [replace(line(i), listed={"condition": "ab"[i % 2], "take": str(i), "site": "here"}) for i in range(6)]
    html = batch_page.render(lines, summary(lines), {})
    assert "condition in the manifest" in html and html.count('data-key="manifest condition"') == 1
    assert "take in the manifest" not in html and "site in the manifest" not in html  # one a clip; one for all
    assert "duchenne summary" in html and "The same people" not in html


def test_people_in_two_groups_are_joined_by_a_line() -> None:
    known = [("ann", "a", 0.2), ("ann", "a", 0.4), ("ann", "b", 0.8), ("bob", "a", 0.1), ("cy", "b", 0.9)]
    lines = [
        replace(line(0, p_genuine=p, abstained=0, verdict="posed"), listed={"subject": who, "condition": group})
        for who, group, p in known
    ]
    html = batch_page.render(lines, summary(lines), {})
    (drawn,) = re.findall(r'<line class="person" x1="([\d.]+)%" x2="([\d.]+)%" y1="([\d.]+)" y2="([\d.]+)"/>', html)
    assert [float(each) for each in drawn] == pytest.approx([25, 75, 8 + 104 * 0.7, 8 + 104 * 0.2])  # of ann alone
