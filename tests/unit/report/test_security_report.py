"""What a file name, its metadata or a model's words say is text in every page: nothing of it runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from conftest import RATE
from duchenne import pipeline
from duchenne.expression.filters import excite, views_of
from duchenne.report import batch_page, filters_page
from duchenne.report.page import read_media, render
from duchenne.tables import columns
from duchenne.types import Card
from makers import make_video

#: What pages have been broken by: markup, attributes, templates, entities, marks that turn the reading direction.
WORDS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}",
    "{%set x=1%}${7*7}",
    "</title><svg onload=alert(1)>",
    "]]>--><!--",
    "javascript:alert(1)",
    "&lt;b&gt;&#0;\\x00\\u0000",
    "\u202egpj.exe\u2066\u200f",
    "</style><style>*{display:none}",
    "`${alert(1)}`",
)
VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """The tags with their attributes, and the text, of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and the names of their attributes: what words must not change."""
        return [(tag, tuple(attrs)) for tag, attrs in self.tags]


def assert_inert(html: str, harmless: str, word: str) -> None:
    """The page with the word is that with a harmless word, tag by tag, and shows the word as it is."""
    page, other = Page(html), Page(harmless)
    assert page.shape == other.shape
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert not [
        v for _, attrs in page.tags for v in attrs.values() if v and v.strip().lower().startswith("javascript:")
    ]
    shown = "".join(page.texts) + "".join(v or "" for _, attrs in page.tags for v in attrs.values())
    assert word in shown
    assert "\0" not in html and "49" not in html[html.index("<title") : html.index("</title")]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory, pictures):
    """A clip judged once, with its pictures and evidence."""
    clip = make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, rate=RATE)
    return pipeline.examine(clip)[0]


@pytest.fixture(scope="module")
def media(analysed):
    """What its page shows, read once."""
    return read_media(analysed.verdict, analysed.track)


def page_of(analysis, media, word: str) -> str:
    """The report, with the word wherever a file, a model or a card could bring it in."""
    v = analysis.verdict
    evidence = tuple(replace(each, feature=word, text=word, unit=word) for each in v.evidence)
    verdict = replace(
        v, source=word, reason=word, evidence=evidence, history=(*v.history, word), emotion={word: 0.9, "fear": 0.1},
        quality=replace(v.quality, warnings=(word,)), model={**v.model, "id": word},
    )  # fmt: skip
    card = {"id": word, "data": word, "limits": [word], "per_emotion": {word: 0.6}, "accuracy": 0.7}
    return render(verdict, analysis.track, analysis.curves, media, Card.of(card))


@pytest.fixture(scope="module")
def harmless(analysed, media):
    return page_of(analysed, media, "harmless")


@pytest.mark.parametrize("word", WORDS)
def test_text_in_the_report_is_escaped(word, analysed, media, harmless):
    assert_inert(page_of(analysed, media, word), harmless, word)


def test_files_with_hostile_names_are_reported(duchenne, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = make_video(tmp_path / "plain.mp4", pictures[:5], rate=RATE)
    files = ["plain.mp4", *(f"{word}.mp4" for word in WORDS if "/" not in word)]
    for i, file in enumerate(files):
        if i:
            os.link(plain, file)
        assert duchenne("analyze", "-o", f"out-{i}", "--", file).code == 0
        page = (tmp_path / f"out-{i}" / "report.html").read_text()
        assert_inert(page, (tmp_path / "out-0" / "report.html").read_text(), file)
        assert json.loads((tmp_path / f"out-{i}" / "verdict.json").read_text())["source"] == file


def test_file_metadata_is_not_in_the_report(pictures, tmp_path, duchenne):
    import av

    path = tmp_path / "told.mkv"
    with av.open(str(path), "w") as container:
        names = ("title", "comment", "artist", "album", "genre", "copyright")
        container.metadata.update(dict(zip(names, WORDS, strict=False)))
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.metadata["title"] = "".join(WORDS)
        for picture in pictures[:5]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert duchenne("analyze", path, "-o", tmp_path / "out").code == 0
    texts = "".join(Page((tmp_path / "out" / "report.html").read_text()).texts)
    assert not [word for word in WORDS if word in texts]


@pytest.mark.parametrize("word", WORDS)
def test_text_in_the_filter_page_is_escaped(word):
    import torch
    from torch import nn

    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU())
    images = np.random.default_rng(0).normal(size=(20, 1, 12, 12)).astype(np.float32)
    found = excite(network, "1", [images], n=4)
    part = filters_page.section(found, filters_page.tiles(found, views_of(network, found), None, most=3))
    pages = [filters_page.render([part], model=each, facts={each: each}, notes=[each]) for each in (word, "harmless")]
    assert_inert(*pages, word)


def batch_of(word: str) -> str:
    """The page of a batch, with the word as a clip's name, in what was found of it and in what a manifest tells."""
    row = {"face": 0, "p_genuine": None, "abstained": 1, "verdict": "abstained", "seconds": 2.0, "coverage": 1.0}
    row |= {"reason": word, "code": word, "shows": word, f"p_{word}": 0.5, "warnings": word}
    expected = dict.fromkeys(("subject", "emotion", "label"), word)
    lines = [
        batch_page.Line(f"{word}/{word}", 0.5, None, expected, row),
        batch_page.Line(f"{word}/b", None, None, expected, columns.failed(word)),
    ]
    counts = dict.fromkeys(("clips", "done", "failed", "left", "faces", "frames", "seconds"), 1)
    facts = {"options": {"model": {"id": word}, "emotion": word}, "versions": {word: word}}
    return batch_page.render(lines, counts | facts, {"data": word, "limits": [word], "says": word})


@pytest.mark.parametrize("word", WORDS)
def test_text_in_the_batch_page_is_escaped(word):
    assert_inert(batch_of(word), batch_of("harmless"), word)
