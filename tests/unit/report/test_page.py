"""The report is one safe, well-formed, self-contained page, whatever strings and gaps it is given."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from duchenne.errors import OutputError
from duchenne.io import write_text
from duchenne.plots.text import clamp, measured, number, percent
from duchenne.report import page
from duchenne.report.drawing import PLOT_HEIGHT, classify_gaps, table, timeline
from duchenne.report.page import KeyFrame, render
from duchenne.types import Card, Evidence, FaceTrack, Familiarity, Phase, Quality, Sign, Signals, Verdict

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "img", "input", "link", "br", "hr"}
CARD: dict[str, Any] = {
    "id": "tiny",
    "accuracy": 0.72,
    "auc": 0.79,
    "accuracy_interval": [0.69, 0.75],
    "human": 0.62,
    "people": 56,
    "data": "a data set",
    "abstain_band": [0.4, 0.6],
    "per_emotion": {"happiness": {"accuracy": 0.8, "auc": 0.85}, "fear": 0.6},
    "risk_coverage": [{"coverage": 0.5, "accuracy": 0.81}],
    "limits": ["Ages above 40 were not tested."],
}


class Page(HTMLParser):
    """Reads a page, holds every tag with its attributes and text, and fails on tags closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is given twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def _track(n: int = 60, rate: float = 30.0) -> FaceTrack:
    points = np.full((n, 68, 2), 50.0)
    points[20:26] = np.nan
    return FaceTrack(np.arange(n) / rate, points, np.ones(n), np.ones((n, 4)), (640, 480), source="v.mp4")


def _curves(n: int = 60, rate: float = 30.0) -> Signals:
    time = np.arange(n) / rate
    values = np.column_stack([np.sin(time), np.cos(time), np.full(n, np.nan)])
    values[20:26, :2] = np.nan
    return Signals(time, values, ("lip_corner_pull", "nose_width", "eye_aperture"), ("iod", "iod", "iod"))


def _keyframe(title: str = "apex") -> KeyFrame:
    astronaut = data.astronaut()
    angle = np.linspace(0, 2 * np.pi, 68)
    points = np.column_stack([220 + 50 * np.cos(angle), 120 + 60 * np.sin(angle)])
    return KeyFrame(0.5, title, astronaut[..., ::-1], points)


def _verdict(**changes: Any) -> Verdict:
    evidence = (
        Evidence(
            feature="onset_mean_speed",
            value=0.147,
            unit="iod/s",
            text="The lip corners rose slowly.",
            contribution=0.9,
            posed_range=(0.19, 0.33),
            genuine_range=(0.1, 0.19),
        ),
        Evidence(feature="apex_duration", value=float("nan"), text="No plateau.", contribution=-0.3),
    )
    base = Verdict(
        p_genuine=0.83,
        label="genuine",
        abstained=False,
        reason=None,
        emotion={"fear": 0.1, "happiness": 0.9},
        phases=(Phase(0.1, 0.5, 1.0, 1.5, "lip_corner_pull"),),
        evidence=evidence,
        quality=Quality(
            coverage=0.9,
            lost=((0.67, 0.87),),
            longest_gap=0.2,
            rate=29.97,
            face_size=80.0,
            blur=90.0,
            warnings=("Face turned.",),
            yaw=9.3,
            roll=0.1,
        ),
        familiarity=Familiarity(0.01, 63.0, True, "Seen before."),
        model={"id": "tiny", "sha256": "ab" * 32},
        frames=1060,
        duration=2.0,
        source="v.mp4",
        history=("decode", "align"),
    )
    return replace(base, **changes)


def _page(verdict: Verdict | None = None, card: dict[str, Any] | None = None, **changes: Any) -> Page:
    parts = {"track": _track(), "curves": _curves(), "shown": [_keyframe()], **changes}
    return Page(render(verdict or _verdict(), card=Card.of(CARD if card is None else card), **parts))


def test_page_is_self_contained_and_trusts_only_its_own_script_and_style() -> None:
    html = render(_verdict(), _track(), _curves(), [_keyframe()], Card.of(CARD))
    page = Page(html)
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert re.match(r"data:(image|video)/|#|$", attrs.get(name) or ""), attrs
        assert "style" not in attrs and not any(name.startswith("on") for name in attrs)
    assert not re.search(r"@import|url\(\s*[\"']?(?!#)", html)
    assert not page.all("link")
    policy = next(str(meta["content"]) for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert len(html) < 3_000_000


def _luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of "#rrggbb" or "#rgb"."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * d for d in digits)
    rgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def test_text_and_graphics_stand_out_in_light_dark_and_print() -> None:
    css = (files("duchenne") / "report" / "templates" / "page.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(schemes) == 3
    text = {"ink", "soft", "posed-ink", "genuine-ink", "warn"}
    graphics = {"posed", "genuine", "edge"}
    for scheme in schemes:
        for name in text | graphics:
            for ground in ("paper", "panel"):
                a, b = sorted((_luminance(scheme[name]), _luminance(scheme[ground])))
                assert (b + 0.05) / (a + 0.05) >= (4.5 if name in text else 3.0), (name, ground, scheme[name])


def test_every_image_and_graphic_has_a_text_and_headings_do_not_skip() -> None:
    page = _page()
    assert all(image["alt"] for image in page.all("img"))
    for graphic in page.all("svg"):
        if graphic.get("role") == "img":
            assert graphic["aria-label"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(head.get("scope") for head in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for target in re.findall(r"url\(#(\w+)\)", " ".join(str(value) for value in attrs.values())):
            assert target in ids


def test_hostile_strings_are_escaped() -> None:
    evil = HOSTILE + "' onload='x"
    verdict = _verdict(
        source=evil,
        reason=evil,
        abstained=True,
        p_genuine=None,
        emotion={evil: 1.0},
        phases=(Phase(0.1, 0.2, 0.3, 0.4, evil),),
        evidence=(Evidence(feature=evil, value=0.1, unit=evil, text=evil, contribution=1.0),),
        quality=Quality(warnings=(evil,)),
        familiarity=Familiarity(0.1, 99.0, False, evil),
        model={evil: evil},
        limits=evil,
        device=evil,
        history=(evil,),
    )
    card = {"data": evil, "human": evil, "limits": [evil], "per_emotion": {evil: {evil: evil}}, evil: [evil]}
    curves = Signals(np.arange(3.0), np.ones((3, 1)), (evil,), (evil,))
    page = _page(verdict, card, curves=curves, shown=[_keyframe(evil)])
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text.count(HOSTILE) > 12


@pytest.mark.parametrize("name", ["smile \udcff.mp4", "\u202egpj.mp4", "a&b <i>.mp4"])
def test_odd_file_names_can_be_written(name: str, tmp_path: Any) -> None:
    target = write_text(tmp_path / "r.html", render(_verdict(source=name), _track(), _curves(), [], Card()))
    assert name.replace("\udcff", "?") in Page(target.read_text("utf-8")).text


def test_verdict_is_shown_with_accuracy() -> None:
    genuine, posed = _page().text, _page(_verdict(label="posed", p_genuine=0.1)).text
    assert "Moves like the spontaneous expressions of the training set" in genuine
    assert "Moves like the posed expressions of the training set" in posed
    assert "P(genuine) = 0.83" in genuine and "P(genuine) = 0.10" in posed
    for fact in ("72%", "62%", "69% to 75%", "56 people", "1,060", "0.4 to 0.6", "30.0\u00a0frames/s"):
        assert fact in genuine
    assert "Clips cut like this one" not in genuine
    like = {"cut": "late", "accuracy": 0.61, "accuracy_interval": [0.5, 0.7], "text": "Already under way: <61>."}
    late = _page(_verdict(record=like)).text
    assert "Clips cut like this one" in late and "61%" in late and "Already under way: <61>." in late


def test_abstained_verdict_names_its_reason_and_shows_no_probability() -> None:
    reason = "The face was seen in 41% of the frames."
    page = _page(_verdict(abstained=True, label=None, p_genuine=None, reason=reason, evidence=()))
    assert reason in page.text and "No verdict" in page.text and "Moves like the" not in page.text
    assert "P(genuine)" not in page.text
    assert "Lip corner pull" in page.text


def test_limits_of_use_are_always_there() -> None:
    text = " ".join(_page(card={}).text.split())
    for word in ("told to act", "not lying", "hiring", "border", "medical", "Art. 5(1)(f)", "palsy"):
        assert word in text
    assert "Ages above 40 were not tested." in _page().text


@pytest.mark.parametrize("missing", [*CARD, "all"])
def test_card_may_lack_any_fact(missing: str) -> None:
    card = {} if missing == "all" else {key: value for key, value in CARD.items() if key != missing}
    page = _page(card=card)
    assert not re.search(r"\b(None|nan|undefined)\b", page.text.split("</style>")[-1])
    assert ("Missing on its card" in page.text) == (missing in ("data", "people", "accuracy", "limits", "all"))


def test_page_needs_only_a_verdict() -> None:
    bare = Verdict(None, None, True, None, {}, (), (), Quality(), None, {}, 0, 0.0)
    track = FaceTrack([], np.empty((0, 68, 2)), [], np.empty((0, 4)), (1, 1))
    page = Page(render(bare, track, Signals(np.empty(0), np.empty((0, 0)), (), ()), [], Card()))
    assert "unnamed clip" in page.text and "No verdict" in page.text


def test_nan_breaks_the_curve_and_is_never_printed() -> None:
    page = _page()
    paths = [attrs["d"] or "" for attrs in page.all("path")]
    assert not any("nan" in d.lower() or "inf" in d.lower() for d in paths)
    lip = timeline(_track(), _curves(), (), [])["main"][0]["path"]
    assert lip.count("M") == 2 and lip in paths
    assert [len(run.split()) for run in lip.split("M")[1:]] == [2 * 20, 2 * 34]
    assert "not measured in this clip" in page.text  # the eye curve, which is NaN throughout


def test_single_sample_is_a_dot_and_flat_curve_has_a_scale() -> None:
    time = np.arange(3.0)
    curves = Signals(time, np.array([[np.nan, 7.0], [1.0, 7.0], [np.nan, 7.0]]), ("dot", "flat"), ("", ""))
    dot, flat = timeline(_track(), curves, (), [])["others"]
    assert dot["path"].endswith("h0") and dot["path"].count("M") == 1
    assert any(tick["text"].startswith("7") for tick in flat["ticks"])


def test_long_curves_are_thinned_without_losing_a_peak() -> None:
    n = 60_000
    values = np.zeros((n, 1))
    values[31_234] = 5.0
    track = _track(n)
    thin = timeline(track, Signals(track.time, values, ("x",), ("",)), (), [])["others"][0]["path"]
    heights = np.array(thin[1:].split(), float)[1::2]
    assert len(heights) < 4_000
    # Frame 31,234 is drawn 12 % of the range below the panel's top, where only the peak can be.
    assert heights.min() < 0.2 * PLOT_HEIGHT and (heights < PLOT_HEIGHT / 2).sum() == 1


def test_the_judged_span_is_named_and_drawn_and_its_phase_is_marked() -> None:
    phases = (Phase(0.1, 0.2, 0.3, 0.4, "lip_corner_pull"), Phase(0.6, 0.8, 1.2, 1.4, "lip_corner_pull"))
    page = _page(
        _verdict(phases=phases, judged=(0.5, 1.5), judged_phase=phases[1]), track=_track(61), curves=_curves(61)
    )
    assert "0.50\xa0s to 1.50\xa0s" in page.text
    (bar,) = (attrs for attrs in page.all("line") if attrs.get("stroke-width") == "5")
    assert (bar["x1"], bar["x2"]) == ("25.0%", "75.0%")
    assert page.text.count("(judged)") == 1
    assert not [attrs for attrs in _page().all("line") if attrs.get("stroke-width") == "5"]


def test_phases_are_drawn_at_their_times() -> None:
    drawn = timeline(_track(61), _curves(61), _verdict().phases, [])  # 0 s to 2 s
    assert [(b["kind"], b["x"], b["width"]) for b in drawn["bands"]] == [
        ("rise", 5.0, 20.0),
        ("plateau", 25.0, 25.0),
        ("fall", 50.0, 25.0),
    ]
    assert [(m["text"], m["x"]) for m in drawn["marks"]] == [
        ("onset", 5.0),
        ("apex", 25.0),
        ("offset", 50.0),
        ("end", 75.0),
    ]
    text = _page().text
    assert all(word in text for word in ("0.40\u00a0s", "onset", "plateau (apex to offset)", "face lost"))


@pytest.mark.parametrize(
    ("phase", "kinds", "moments"),
    [
        (Phase(None, None, 1.0, 1.5), ["plateau", "fall"], ["before the clip", "before the clip"]),
        (Phase(0.5, 1.0, None, None), ["rise", "plateau"], ["0.50\u00a0s", "1.00\u00a0s", "after the clip"]),
        (Phase(0.5, None, 1.0, 1.5), ["fall"], ["0.50\u00a0s", "not found"]),
        (Phase(None, None, None, None), [], ["not found"] * 4),
    ],
)
def test_missing_moments_are_drawn_at_the_edges(phase: Phase, kinds: list[str], moments: list[str]) -> None:
    drawn = timeline(_track(), _curves(), (phase,), [])
    assert [band["kind"] for band in drawn["bands"]] == kinds
    assert drawn["phases"][0]["moments"][: len(moments)] == moments
    assert _page(_verdict(phases=(phase,))).all("h1")


def test_bands_of_two_expressions_do_not_overlap_and_end_at_gaps() -> None:
    phases = (Phase(0.2, 0.4, None, None), Phase(None, None, 1.4, 1.6))
    drawn = timeline(_track(61), _curves(61), phases, [(0.6, 0.8, "lost")])  # 0 s to 2 s
    assert [(band["kind"], band["start"], band["end"]) for band in drawn["bands"]] == [
        ("rise", 0.2, 0.4),
        ("plateau", 0.4, 0.6),
        ("plateau", 0.8, 1.4),
        ("fall", 1.4, 1.6),
    ]
    assert drawn["phases"][0]["moments"][2:] == ["not seen"] * 2 == drawn["phases"][1]["moments"][:2]


def test_overlapping_labels_go_to_different_rows() -> None:
    phases = tuple(Phase(t, t + 0.01, t + 0.02, t + 0.03) for t in (0.2, 1.2, 1.95))
    marks = timeline(_track(), _curves(), phases, [])["marks"]
    spans = [
        (
            m["row"],
            m["x"] - 13 if m["anchor"] == "end" else m["x"],
            m["x"] if m["anchor"] == "end" else m["x"] + 13,
        )
        for m in marks
    ]
    for i, (row, left, right) in enumerate(spans):
        for other, start, stop in spans[i + 1 :]:
            assert row != other or right <= start or stop <= left


def test_lost_stretches_are_those_assessed() -> None:
    assert "0.25\u00a0s to 1.50\u00a0s" in _page(_verdict(quality=Quality(lost=((0.25, 1.5),)))).text


def test_key_frame_is_cropped_around_the_face_with_points() -> None:
    page = _page()
    image = page.all("img")[0]
    picture = Image.open(io.BytesIO(base64.b64decode(str(image["src"]).split(",")[1])))
    assert picture.size == (int(str(image["width"])), int(str(image["height"])))
    # The astronaut's skin, in the middle of the cut: red above green above blue, so no channel was swapped.
    red, green, blue = np.asarray(picture)[80:130, 80:130].reshape(-1, 3).mean(axis=0)
    assert red > green > blue
    dots = next(str(p["d"]) for p in page.all("path") if p.get("class") == "dots")
    places = np.array(re.findall(r"M([\d.]+) ([\d.]+)h0", dots), float)
    assert places.shape == (68, 2)
    assert (places > 0).all() and (places < picture.size).all()
    assert np.ptp(places[:, 1]) == pytest.approx(120, abs=0.5)


def test_key_frame_without_points_is_not_cropped() -> None:
    keyframe = replace(_keyframe(), points=np.full((68, 2), np.nan), image=data.astronaut()[:256])
    page = _page(shown=[keyframe])
    image = page.all("img")[0]
    assert (image["width"], image["height"]) == ("360", "180")
    assert "No points were found" in str(image["alt"])


def test_ten_seconds_stay_small() -> None:
    n = 1000
    rng = np.random.default_rng(0)
    names = tuple(f"c{i}" for i in range(24))
    curves = Signals(np.arange(n) / 100, rng.normal(size=(n, 24)), names, ("iod",) * 24)
    noise = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    frames = [replace(_keyframe(), image=noise) for _ in range(6)]
    assert len(render(_verdict(), _track(n, 100), curves, frames, Card.of(CARD))) < 3_000_000


def test_groups_stand_for_and_against_the_verdict_and_single_descriptors_are_folded() -> None:
    single = Evidence(feature="nose, speed", descriptor="nose.speed", value=0.1, contribution=0.2, text="Fast.")
    unknown = Evidence(feature="brows", value=float("nan"), contribution=float("nan"), text="Unseen.")
    page = _page(_verdict(evidence=(*_verdict().evidence, single, unknown)))
    bars = [a for a in page.all("rect") if a.get("height") == "12" and "fill" in a]
    assert [(b["width"], b["fill"]) for b in bars[:2]] == [
        ("100.0%", "var(--genuine)"),
        (f"{clamp(100 / 3)}%", "var(--posed)"),
    ]
    assert "For spontaneous" in page.text and "Against the verdict: for posed" in page.text
    assert page.text.index("Single descriptors") < page.text.index("Nose, speed") and "Unseen." not in page.text
    assert "because" not in page.text
    posed = _page(_verdict(label="posed", p_genuine=0.1)).text
    assert posed.index("For posed") < posed.index("Against the verdict: for spontaneous")


def test_signs_come_before_what_the_model_went_by() -> None:
    signs = (
        Sign(name="rise", title="How long it rose", value=0.3, unit="s", text="It rose.", leans="posed",
             posed_range=(0.2, 0.4), genuine_range=(0.5, 0.9)),
        Sign(name="fall", title="How it fell", value=None, unit="s", text="Unknown: the whole fall is not seen."),
    )  # fmt: skip
    page = _page(_verdict(signs=signs, judged_phase=_verdict().phases[0]))
    assert page.text.index("It rose.") < page.text.index("Unknown: the whole fall") < page.text.index("For spontaneous")
    assert page.text.count("leans to posed") == 1
    titles = [attrs["title"] for attrs in page.all("abbr")]
    assert any("From onset to apex" in str(title) for title in titles)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567, "px", "1,234,567\u00a0px"),
        (1234.5, "", "1,234"),
        (29.97, "frames/s", "30.0\u00a0frames/s"),
        (-3.26, "°", "−3°"),
        (0.6, "s", "0.60\u00a0s"),
        (0.0421, "", "0.042"),
        (float("nan"), "s", "not measured"),
        (None, "", "not measured"),
        (np.float32(2.5), "s", "2.50\u00a0s"),
    ],
)
def test_numbers_are_written_for_readers(value: Any, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.765, "eye distances", "76% of the eye distance"),
        (-0.0025, "iod", "−0.2% of the eye distance"),
        (-0.0001, "iod", "0.0% of the eye distance"),
        (0.5, "iod/s", "50% of the eye distance per second"),
        (1.94, "°", "1.9°"),
        (0.58, "s", "0.58\u00a0s"),
        (None, "iod", "not measured"),
    ],
)
def test_measurements_have_readable_units(value: Any, unit: str, text: str) -> None:
    assert measured(value, unit) == text


def test_unreliable_points_are_separated_from_a_lost_face() -> None:
    track = _track()  # unseen from frame 20 to 25 of 30 per second
    assert classify_gaps(track, [(20 / 30, 26 / 30), (1.0, 1.5)]) == [(20 / 30, 26 / 30, "lost"), (1.0, 1.5, "doubted")]
    text = _page(_verdict(quality=Quality(lost=((0.66, 0.87), (1.0, 1.5))))).text
    assert "face lost" in text and "points not reliable" in text


def test_curves_have_a_short_table() -> None:
    time = np.arange(0, 100, 0.02)
    curves = Signals(time, np.column_stack([time, np.full(len(time), np.nan)]), ("a", "b"), ("s", "iod"))
    found = table(curves, ["a", "b"])
    assert found["header"] == ["Time", "A", "B"] and len(found["rows"]) == 20
    assert found["rows"][3] == ["15.0\u00a0s", "15.0\u00a0s", "not measured"]
    assert table(curves, [])["rows"] == []


def test_shares_are_whole_percent() -> None:
    assert [percent(v) for v in (0.917, 1, None, "n/a")] == ["92%", "100%", "not measured", "n/a"]


def test_write_replaces_in_one_step(tmp_path: Any) -> None:
    target = tmp_path / "new" / "report.html"
    assert write_text(target, "old") == target
    write_text(target, "é")
    assert target.read_bytes() == "é".encode()
    assert [entry.name for entry in target.parent.iterdir()] == ["report.html"]


def test_unwritable_place_says_what_to_do(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "report.html", tmp_path / "folder"):
        with pytest.raises(OutputError, match=r"cannot be written .* choose a (file in a )?writable folder"):
            write_text(target, "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_emotions_have_a_lane_each_with_gaps_left_open():
    time = np.r_[np.arange(0, 1, 0.1), np.arange(1.5, 2, 0.1)]
    happy = np.where(time < 1, 0.9, 0.2)
    seen = Signals(time, np.stack([1 - happy, happy], 1), ("neutral", "happiness"), ("1", "1"))
    first, second = timeline(_track(61), _curves(61), (), [], seen)["lanes"]  # 0 s to 2 s
    assert (first["name"], second["name"]) == ("happiness", "neutral")
    assert (first["mean"], first["most"], first["peak"]) == (pytest.approx((9 + 1) / 15), 0.9, 0.0)
    assert len(first["cells"]) == 15 and {cell["p"] for cell in first["cells"]} == {0.9, 0.2}
    before, after = first["cells"][9], first["cells"][10]
    assert before["x"] + before["width"] < 60 and after["x"] == 75
    page = render(_verdict(), _track(61), _curves(61), [], Card(), seen)
    assert page.count('class="lane-plot"') == 2
    assert "Happiness over time: 67% on average, most at 0.00\u00a0s with 90%" in page
    assert 'class="lane-plot"' not in render(_verdict(), _track(61), _curves(61), [], Card())


def test_long_clip_has_few_cells_and_no_faint_ones():
    time = np.arange(5000) / 10
    seen = Signals(time, np.tile([0.99, 0.01], (5000, 1)), ("neutral", "happiness"), ("1", "1"))
    curves = Signals(time, np.zeros((5000, 1)), ("x",), ("",))
    track = _track(5000)
    first, second = timeline(track, curves, (), [], seen)["lanes"]
    assert len(first["cells"]) == 240 and second["cells"] == []


def test_a_mesh_is_drawn_where_all_of_the_face_is_seen() -> None:
    mesh = np.dstack([*np.meshgrid(np.linspace(170, 270, 24), np.linspace(60, 180, 20))]).reshape(-1, 2)[:478]
    frame = _keyframe()
    both = (frame, replace(frame, mesh=mesh))
    plain, meshed = (render(_verdict(), _track(), _curves(), [each], Card()) for each in both)
    (path,) = re.findall('<path class="mesh" d="([^"]*)"', meshed)
    edges = re.findall(r"M([-.0-9]+) ([-.0-9]+)L([-.0-9]+) ([-.0-9]+)", path)
    assert len(edges) > 1000 and 'class="mesh"' not in plain
    track = _track().evolve("meshed", mesh=np.zeros((60, 478, 3), np.float32))
    assert page._key_frame("apex", frame.image, track, 3).mesh is not None
    assert page._key_frame("apex", frame.image, track, 22).mesh is None  # whose points are not seen
