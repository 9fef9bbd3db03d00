"""From a file to a verdict: the same each time, blind to what surrounds the expression, silent when unsure."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import BRIEF, RATE
from duchenne import analyze, checkpoints, gates, io, pipeline
from duchenne.batch.apply import apply
from duchenne.clips.cache import Cache
from duchenne.datasets import simulate
from duchenne.errors import InputError, UsageError
from duchenne.faces.reading import LOOK
from duchenne.features.descriptors import prepare
from duchenne.judging import POINTS, record, spread, suited
from duchenne.tables import columns
from duchenne.types import EMOTIONS, Phase, Signals
from makers import make_video

MODEL = pipeline.load_model(POINTS)  # of simulated tracks, which have no coefficients
TIMES = ("onset", "apex", "offset", "end")


def track(kin=simulate.SPONTANEOUS, rate=30.0, seed=0, **options):
    return simulate.track(kin, rate, seed, **options)


def part(face, keep):
    """The frames `keep` (slice or indices) of a track."""
    rows = {name: getattr(face, name)[keep] for name in ("time", "points", "confidence", "box")}
    return replace(face, **rows)


def unseen(face, *frames):
    """The track with slices of frames in which no face was found."""
    points = face.points.copy()
    for stretch in frames:
        points[stretch] = np.nan
    return replace(face, points=points)


def judged(face, **options):
    return pipeline.judge(face, MODEL, **options).verdict


@pytest.mark.parametrize(
    ("onset", "begins", "cut", "words"),
    [
        (0.4, 0.0, "whole", "begins at rest"),
        (None, 0.0, "late", "already under way"),
        (3.0, 1.0, "rest", "rests for 2.0 s"),
        (3.0, 2.0, "whole", "begins at rest"),
    ],
)
def test_record_is_that_of_clips_cut_like_this_one(onset, begins, cut, words):
    card = checkpoints.card("default")
    found = record(card, Phase(onset, 3.2, 3.4, 3.6), begins)
    assert found["cut"] == cut and found["accuracy"] == card["cuts"][cut]["accuracy"] and words in found["text"]
    assert f"{found['accuracy']:.0%}" in found["text"] and found["text"].endswith(card["elsewhere"])
    assert record(card, None, 0.0) == record(card | {"cuts": None}, Phase(onset, 3.2, 3.4, 3.6), begins) == {}


def test_spread_is_as_wide_as_measured():
    low, high = spread({"spread": 0.5}, 0.5)
    assert (low, high) == (pytest.approx(0.3775, abs=1e-4), pytest.approx(0.6225, abs=1e-4))
    assert spread({}, 0.5) is None


# --- a whole video ------------------------------------------------------------------------------------------


def test_a_verdict_is_summed_on_one_thread(smile):
    from threadpoolctl import threadpool_info, threadpool_limits

    from duchenne.faces.reading import read_faces

    def threads():
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    seen = []

    def read(*args, **options):
        for block in read_faces(*args, **options):
            seen.append(threads())
            yield block

    with threadpool_limits(2, "blas"):
        before = threads()
        pipeline.examine(smile, read=read)
        assert threads() == before
    assert seen and set.union(*seen) == {1}


@pytest.fixture(scope="module")
def examined(smile):
    (found,) = pipeline.examine(smile)
    return found


def test_a_verdict_is_complete_and_consistent(smile, examined):
    analysis = examined
    v, p = analysis.verdict, analysis.p_raw
    assert 0 <= p <= 1
    assert (v.p_genuine, v.label) == ((None, None) if v.abstained else (p, "genuine" if p >= 0.5 else "posed"))
    assert v.abstained == (v.reason is not None)
    assert set(v.emotion) == {*EMOTIONS, "neutral"} and sum(v.emotion.values()) == pytest.approx(1)
    assert v.emotion["happiness"] == max(v.emotion.values())
    (phase,) = v.phases
    start, apex = BRIEF.neutral_before, BRIEF.neutral_before + BRIEF.onset
    offset, end = apex + BRIEF.apex, apex + BRIEF.apex + BRIEF.offset
    np.testing.assert_allclose([getattr(phase, t) for t in TIMES], (start, apex, offset, end), atol=0.3)
    assert (v.frames, v.duration, v.device) == (60, pytest.approx(2.4), "cpu")
    assert v.source == str(smile) and v.model["id"] == "default" and len(v.model["sha256"]) == 64
    assert v.quality.coverage == 1 and v.quality.rate == pytest.approx(25)
    assert 0 <= v.familiarity.outside <= 1 and 0 <= v.familiarity.distance_percentile <= 100
    pulls = [abs(item.contribution) for item in v.evidence]
    assert pulls == sorted(pulls, reverse=True) and "Look of the face" in {item.feature for item in v.evidence}
    assert all(item.text and np.isfinite(item.value) and item.descriptor is None for item in v.evidence)
    rise = next(sign for sign in v.signs if sign.name == "rise")
    assert rise.value == pytest.approx(phase.apex - phase.onset) and "smiles" in rise.text
    assert next(sign for sign in v.signs if sign.name == "eyes").value is not None  # units were read
    assert v.judged_phase == phase and 0 <= v.judged[0] < phase.apex < phase.offset < v.judged[1] <= v.duration
    assert v.history[0].startswith("faces.follow") and "not lying" in v.limits


def test_the_same_clip_gets_the_same_answer_to_the_last_bit(smile, examined):
    first, second = (json.dumps(io.plain(found.to_dict())) for found in (examined.verdict, analyze(smile)))
    assert first == second


def test_start_and_end_choose_a_part(smile, examined):
    v = analyze(smile, start=0.4, end=2.0)
    assert (v.frames, v.duration) == (40, pytest.approx(1.6))
    assert v.phases[0].apex == pytest.approx(examined.verdict.phases[0].apex - 0.4, abs=0.1)


def test_a_variable_frame_rate_keeps_its_times(clips, pictures, examined):
    keep = [i for i in range(60) if i < 10 or i % 3]  # every third frame dropped, as phones do in the dark
    path = make_video(clips / "variable.mp4", [pictures[i] for i in keep], times=[40 * i for i in keep])
    (one,), other = pipeline.examine(path), examined
    v, whole = one.verdict, other.verdict
    assert v.frames == len(keep) < whole.frames and v.duration == pytest.approx(whole.duration, abs=0.1)
    for name in TIMES:
        # an edge of a plateau lies where a slope is small, so machines differ in it by a few frames; frames taken
        # for evenly spaced would be 0.68 s short of the end
        assert getattr(v.phases[0], name) == pytest.approx(getattr(whole.phases[0], name), abs=0.3)
    assert one.p_raw == pytest.approx(other.p_raw, abs=0.25)


def test_every_face_is_judged_on_request(clips, pictures, cache_folder):
    two = make_video(clips / "two.mp4", [np.hstack([p, p[:, ::-1]]) for p in pictures[:30]], rate=RATE)
    read = Cache(cache_folder, 2e9).read_faces
    found = pipeline.examine(two, all_faces=True, read=read)
    assert [a.verdict.face for a in found] == [0, 1]
    left, right = sorted(found, key=lambda a: np.nanmedian(a.track.box[:, 0]))
    assert np.nanmax(left.track.box[:, 2]) < 330 and np.nanmin(right.track.box[:, 0]) > 310
    assert all(len(a.track) == 30 and a.verdict.quality.coverage > 0.9 for a in found)
    assert len(pipeline.examine(two, read=read)) == 1


def test_saving_writes_files_that_agree(examined, tmp_path):
    found = [examined]
    path = pipeline.save(found, tmp_path / "deep" / "out", MODEL.card)
    assert path == tmp_path / "deep" / "out" / "verdict.json"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "curves.csv",
        "emotions.csv",
        "frames.csv",
        "report.html",
        "verdict.json",
    ]
    said = json.loads(path.read_text())
    assert said == io.plain(found[0].to_dict())
    frames = pd.read_csv(path.parent / "frames.csv")
    assert list(said["units"])[:2] == ["AU06", "AU12"] and list(frames)[-len(said["units"]) :] == list(said["units"])
    for name, unit in said["units"].items():
        assert frames[name].max() == pytest.approx(unit["peak"], abs=1e-3) and frames[name].min() >= 0
        at = (frames["time"] - unit["time"]).abs().idxmin()
        assert frames[name][at] == pytest.approx(unit["peak"], abs=1e-3)
    page = (path.parent / "report.html").read_text(encoding="utf-8")
    (low, high), row = found[0].verdict.judged, found[0].verdict.to_row()
    assert said["judged"] == [low, high] == pytest.approx([row["judged_start"], row["judged_end"]], abs=1e-3)
    assert said["judged_phase"]["apex"] == pytest.approx(row["apex"], abs=1e-3)
    assert (
        f"<dt>Judged</dt><dd>{low:.2f}\xa0s to {high:.2f}\xa0s</dd>" in page and f'"Judged: {low:.2f}\xa0s to' in page
    )
    assert page.index(">AU06</h3>") < page.index(">AU12</h3>") < page.index("lip corner puller</td>")
    (again,) = io.load_tracks(path.parent / "frames.csv")
    p, own = (pipeline.judge(each, pipeline.load_model("default")).p_raw for each in (again, found[0].track))
    assert p == pytest.approx(own, abs=0.1)  # the table is rounded to a hundredth of a pixel, and has no images


def test_counterfactuals_follow_the_evidence():
    decided = next(
        a for seed in range(20) if not (a := pipeline.judge(track(seed=seed), MODEL, details=True)).verdict.abstained
    )
    said = decided.to_dict()
    assert {name: said[name] for name in said if name not in ("turning", "units")} == decided.verdict.to_dict()
    assert said["units"] is None  # no mesh read this track
    assert list(said)[list(said).index("evidence") + 1] == "turning"
    assert said["turning"]["one"]["text"] and said["turning"]["together"]["curves"]
    assert any(item.descriptor for item in decided.verdict.evidence)
    silent = pipeline.judge(part(track(), slice(12)), MODEL, details=True)
    assert silent.verdict.abstained and silent.to_dict()["turning"] is None
    unasked = pipeline.judge(decided.track, MODEL, explain=False)
    assert not unasked.verdict.abstained and unasked.to_dict()["turning"] is None and unasked.verdict.signs == ()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"emotion": "joyous"}, UsageError, "happiness"),
        ({"device": "cuda"}, UsageError, "cpu"),
        ({"reader": "paper", "detector": "magic"}, UsageError, "haar"),
        ({"reader": "mesh", "detector": "hog"}, UsageError, "leave out hog"),
        ({"reader": "dlib"}, UsageError, "choose mesh or paper"),
        ({"model": "no such"}, UsageError, "default"),
        ({"rate": 25.0}, UsageError, "own timestamps"),
        ({"start": 9.0}, InputError, "no frame"),
        ({"start": 2.0, "end": 1.0}, UsageError, "end must be later"),
    ],
)
def test_options_that_make_no_sense_are_refused(smile, options, error, words):
    with pytest.raises(error, match=words):
        pipeline.examine(smile, **options)


@pytest.mark.parametrize("model", ("default", pytest.param("descriptors", marks=pytest.mark.slow)))
def test_faces_are_read_as_for_the_models_training_unless_told_otherwise(smile, examined, model):
    own = pipeline.load_model(model).model.face_reader
    found = {reader: analyze(smile, model=model, reader=reader) for reader in ("mesh", "paper")}
    assert (examined.verdict if model == "default" else analyze(smile, model=model)) == found[own]
    for reader in ("mesh", "paper"):
        assert found[reader].reader["name"] == reader and len(found[reader].reader["sha256"]) == 64
        warned = [each for each in found[reader].quality.warnings if "learned from faces that the reader" in each]
        assert len(warned) == (model != "default" and reader != own)
        assert found[reader].model["id"] == ("default-0.1" if model == "default" and reader == "paper" else model)
    assert found["mesh"].reader["sha256"] != found["paper"].reader["sha256"]


def test_a_clip_without_a_face_is_refused(empty_room):
    with pytest.raises(InputError, match="shows no face: none was found in 10 frames"):
        analyze(empty_room)


def test_faces_of_which_only_points_are_known_have_a_model_of_their_own(examined, tmp_path):
    loaded, read = pipeline.load_model("default"), examined
    assert read.verdict.model["id"] == "default" and suited(loaded, read.track) is loaded
    points = replace(read.track, coefficients=None, pose=None, doubt=None)
    (alone,) = apply("default", io.save_tracks(tmp_path / "t.npz", [points])).itertuples()
    again = pipeline.judge(points, loaded)
    assert again.verdict.model["id"] == POINTS and alone.p_raw == pytest.approx(again.p_raw, abs=1e-6)
    (both,) = apply("default", io.save_tracks(tmp_path / "t.npz", [read.track])).itertuples()
    assert both.p_raw == pytest.approx(pipeline.judge(read.track, loaded).p_raw, abs=1e-6)
    assert both.p_raw != pytest.approx(read.p_raw, abs=0.01)  # a video also shows the look of the face
    with pytest.raises(InputError, match="was read without the face mesh; read it with the reader mesh"):
        pipeline.judge(points, pipeline.load_model(checkpoints.locate("default") / "whole" / "descriptors"))


# --- one track ----------------------------------------------------------------------------------------------


def test_neutral_seconds_around_a_smile_change_nothing_but_its_times():
    kin = replace(simulate.SPONTANEOUS, neutral_before=1.0, neutral_after=1.0, unrest=0.0)
    alone, framed = (judged(t, emotion="happiness") for t in (track(kin), track(kin, before=3.0, after=2.0)))
    assert len(alone.phases) == len(framed.phases) == 1
    for name in TIMES:
        assert getattr(framed.phases[0], name) == pytest.approx(getattr(alone.phases[0], name) + 3.0, abs=0.021)


@pytest.mark.parametrize("before", [0.0, 12.0, 40.0])
def test_of_a_long_clip_the_seconds_around_the_smile_are_judged(before):
    kin = simulate.POSED
    face = track(kin, before=before, after=40.0 - before)
    curves = prepare(face, gates.FPS)[1]
    (window,) = gates.stretches(face, curves)
    assert window.duration <= gates.LONG + 0.05 < face.duration
    assert window.time[0] <= before + kin.neutral_before
    assert window.time[-1] >= before + kin.duration - kin.neutral_after
    assert "focus" in window.history[-1]
    long, short = (pipeline.judge(t, MODEL) for t in (face, track(kin, before=5.0, after=5.0)))
    assert "Nothing moves" not in (long.verdict.reason or "")  # in spite of 40 resting seconds
    assert long.verdict.frames == len(face)
    assert long.p_raw == pytest.approx(short.p_raw, abs=0.25)
    alone = track()
    assert gates.stretches(alone, prepare(alone, gates.FPS)[1]) == [alone]


def test_gaps_are_bridged_or_left_out_with_a_warning():
    face, whole = track(), pipeline.judge(track(), MODEL)
    bridged = pipeline.judge(unseen(face, slice(20, 24), slice(90, 92)), MODEL)
    assert bridged.p_raw == pytest.approx(whole.p_raw, abs=0.1)
    assert bridged.verdict.quality.seen_frames == len(face) - 6
    lost = judged(unseen(face, slice(0, 10), slice(130, None)))
    assert len(lost.quality.lost) == 2 and lost.quality.warnings
    assert lost.phases and lost.phases[0].apex == pytest.approx(whole.verdict.phases[0].apex, abs=0.1)


def joined(*faces, gap=1.0):
    """One track of several, one after the other, with `gap` seconds without a face between them."""
    parts, start = [], 0.0
    for face in faces:
        lost = unseen(part(face, slice(round(30 * gap))), slice(None))
        parts += [replace(face, time=face.time + start), replace(lost, time=lost.time + start + face.duration)]
        start += face.duration + lost.duration
    names = ("time", "points", "confidence", "box")
    return replace(faces[0], **{name: np.concatenate([getattr(each, name) for each in parts[:-1]]) for name in names})


def test_the_stretch_with_the_expression_is_judged_as_if_it_were_alone():
    smile, rest = track(), still(after=6.0, seed=1)
    alone, clip = pipeline.judge(smile, MODEL), pipeline.judge(joined(smile, rest), MODEL)
    assert clip.verdict.judged == alone.verdict.judged and clip.verdict.judged_phase == alone.verdict.judged_phase
    assert clip.p_raw == alone.p_raw and clip.verdict.reason == alone.verdict.reason
    assert clip.verdict.frames > 2 * alone.verdict.frames and "focus: 0.00 s" in " ".join(clip.verdict.history)
    later = pipeline.judge(joined(rest, smile), MODEL).verdict
    start = rest.duration + 1.0
    assert [t - start for t in later.judged] == pytest.approx(alone.verdict.judged, abs=0.04)
    assert later.judged_phase in later.phases
    assert later.judged_phase.apex - start == pytest.approx(alone.verdict.judged_phase.apex, abs=0.04)


def test_a_stretch_that_is_refused_alone_is_refused_beside_others():
    small, jumping = track(size=(80, 60), jitter=0.05), track(jitter=1.0, seed=2)
    assert "jitter" in judged(jumping).reason
    of_both = judged(joined(jumping, jumping))
    assert "jitter" in of_both.reason and of_both.judged is not None
    longer = track(replace(simulate.POSED, neutral_after=6.0), jitter=1.0, seed=3)
    chosen = judged(joined(longer, track()))
    assert chosen.judged[0] > longer.duration and "jitter" not in (chosen.reason or "")
    assert "too small" in judged(joined(small, small)).reason


def still(**changes):
    return track(replace(simulate.POSED, amplitude=0.0, lid=0.0, head_motion=0.0), jitter=0.05, **changes)


@pytest.mark.parametrize(
    ("face", "words"),
    [
        (part(track(), slice(0, 3)), "Too short: the face is seen for 0.08 s"),
        (part(track(), slice(0, 1)), "A single frame"),
        (part(track(), slice(0, 0)), "Too short"),
        (unseen(track(), slice(None)), "Too short: the face is seen for 0.00 s"),
        (unseen(track(), slice(2, None)), "Too short"),
        (unseen(track(), slice(30, None)), "lost in 8[0-9] % of the frames"),
        (track(rate=1.0), "Too few frames: 1 per second"),
        (track(rate=9.0), "Too few frames: 9 per second"),
        (track(size=(80, 60), jitter=0.05), "too small: 1[0-9] px"),
        (still(), "Nothing moves"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reasons_to_abstain(face, words):
    analysis = pipeline.judge(face, MODEL)
    v = analysis.verdict
    assert v.abstained and v.p_genuine is None and v.label is None
    assert v.reason is not None and v.reason.endswith(".") and "\n" not in v.reason
    assert re.search(words, v.reason), v.reason
    assert 0 <= analysis.p_raw <= 1
    json.dumps(io.plain(v.to_dict()), allow_nan=False)


def test_a_clip_at_the_limits_is_judged():
    assert "Too few" not in (judged(track(rate=10.0)).reason or "")
    assert "Too short" not in (judged(part(track(), slice(24, 45))).reason or "")


def test_a_face_unlike_all_training_faces_is_not_judged():
    face = track()
    odd = face.points.copy()
    odd[:, 48:, 1] += 3.0 * (odd[:, 48:, 1] - odd[:, 33:34, 1])  # a mouth far below the chin
    v = judged(replace(face, points=odd))
    assert v.abstained and "Unlike anything" in v.reason and not v.familiarity.familiar
    assert v.familiarity.outside > MODEL.descriptors.familiar_limit


def test_a_probability_within_the_margin_abstains():
    cautious = replace(MODEL, model=replace(MODEL.model, mix=replace(MODEL.model.mix, margin=0.499)))
    v = pipeline.judge(track(), cautious).verdict
    assert v.abstained and v.reason.startswith("Too close to call") and v.evidence
    bold = pipeline.judge(
        track(), replace(MODEL, model=replace(MODEL.model, mix=replace(MODEL.model.mix, margin=0.0)))
    ).verdict
    assert "Too close" not in (bold.reason or "")


def test_the_emotion_is_seen_over_time_and_rises_with_the_smile(examined):
    analysis = examined
    seen, curves = analysis.emotions, analysis.curves
    assert set(seen.names) == set(analysis.verdict.emotion)
    assert np.diff(seen.time) == pytest.approx(LOOK, abs=1 / RATE)
    np.testing.assert_allclose(seen.values.sum(axis=1), 1)
    lip = np.interp(seen.time, curves.time, curves["lip_corner_pull"])
    assert np.corrcoef(seen["happiness"], lip)[0, 1] > 0.7
    assert "network 'expression'" in analysis.verdict.history[-1]


def emotions(time, **shares):
    """Curves of emotions that stay the same."""
    values = np.tile(list(shares.values()), (len(time), 1))
    return Signals(np.asarray(time), values, tuple(shares), ("1",) * len(shares))


def test_seen_emotions_replace_those_estimated_from_movement():
    face = track()
    guessed, told = judged(face), pipeline.judge(face, MODEL, emotion="fear")
    afraid = pipeline.judge(face, MODEL, emotions=emotions(face.time, fear=0.8, neutral=0.2))
    assert afraid.verdict.emotion == pytest.approx({"fear": 0.8, "neutral": 0.2})
    assert afraid.p_raw == pytest.approx(told.p_raw)  # at rest a face says nothing of the rest
    resting = pipeline.judge(face, MODEL, emotions=emotions(face.time, fear=0.2, neutral=0.8))
    smiling = pipeline.judge(face, MODEL, emotions=emotions(face.time, happiness=0.9, neutral=0.1))
    assert smiling.p_raw != afraid.p_raw and smiling.p_raw == pipeline.judge(face, MODEL, emotion="happiness").p_raw
    assert resting.verdict.emotion["neutral"] == pytest.approx(0.8)
    nothing = pipeline.judge(face, MODEL, emotions=emotions([99.0], fear=1.0))  # outside the clip
    assert nothing.verdict.emotion == guessed.emotion


def test_a_given_emotion_is_used():
    v = judged(track(), emotion="fear")
    assert v.emotion["fear"] == 1 and sum(v.emotion.values()) == 1
    assert v.phases[0].curve == "activity"
    assert judged(track(), emotion="happiness").phases[0].curve == "lip_corner_pull"
    assert judged(track(), emotion="contempt").emotion["contempt"] == 1


@pytest.mark.slow
def test_behind_two_hands_nothing_is_judged():
    """A woman rubs her face, laughs and is seen for 2.7, 1.0 and 12.2 s: the last stretch, as if it were alone."""
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared clips.")
    clip = Path(folder) / "clips" / "WolfgangLanger_Pexels.mp4"
    whole = pipeline.examine(clip)[0]
    alone = pipeline.examine(clip, start=7.48)[0]
    assert whole.verdict.judged[0] > 7.4 and whole.verdict.judged_phase.apex == pytest.approx(12.54, abs=0.3)
    assert whole.p_raw == pytest.approx(alone.p_raw, abs=0.05)


# --- without video ------------------------------------------------------------------------------------------


def test_a_model_is_applied_to_tracks_row_for_row(tmp_path):
    faces = [replace(track(kin, seed=i), source=f"clip{i}") for i, kin in enumerate(simulate.KINDS.values())]
    table = apply("default", io.save_tracks(tmp_path / "t.npz", [*faces, unseen(faces[0], slice(None))]))
    assert list(table.columns) == list(columns.APPLIED)
    assert list(table["file"]) == ["clip0", "clip1", "clip0"] and table["abstained"][2] == 1
    expected = [pipeline.judge(face, MODEL) for face in faces]
    np.testing.assert_allclose(table["p_raw"][:2], [a.p_raw for a in expected], atol=1e-6)
    assert list(table["abstained"][:2]) == [int(a.verdict.abstained) for a in expected]
    given = table[table["p_genuine"].notna()]
    assert list(given["row"]) == [i for i, a in enumerate(expected) if not a.verdict.abstained]
    assert ((given["p_genuine"] >= 0.5) == (given["verdict"] == "genuine")).all()
    assert list(table["code"][2:]) == ["too_short"] and table["verdict"][2] == "abstained"


def test_a_model_is_applied_to_descriptors_row_for_row(tmp_path):
    faces = [track(kin, seed=i) for i, kin in enumerate(simulate.KINDS.values())]
    x = MODEL.descriptors.table(faces)
    csv = io.write_table(tmp_path / "d.csv", pd.DataFrame(x, columns=list(MODEL.descriptors.names)))
    found = apply(POINTS, csv)
    np.testing.assert_allclose(found["p_raw"], MODEL.descriptors.predict_table(x)[:, 1], atol=1e-6)
    io.write_table(csv, pd.DataFrame(x[:, 1:], columns=list(MODEL.descriptors.names[1:])))
    with pytest.raises(InputError, match=f"lacks 1 of the .* .{MODEL.descriptors.names[0]}"):
        apply(POINTS, csv)
