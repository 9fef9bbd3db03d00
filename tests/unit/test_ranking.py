"""Two clips of one person: what decides, what is said beside it, and when nothing is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from duchenne import gates, pipeline, ranking, video
from duchenne.checkpoints import pairs
from duchenne.datasets import simulate
from duchenne.errors import UsageError
from duchenne.features import takes
from duchenne.judging import load_model
from makers import make_video

pytestmark = pytest.mark.usefixtures("read_once")


@pytest.fixture(scope="module")
def judged():
    """A quick smile and a slow one, each judged by the shipped default; given that they are smiles."""
    loaded = load_model("default")
    kinds = (simulate.KINDS["genuine"], simulate.KINDS["posed"])
    return tuple(
        pipeline.judge(simulate.track(kind, 25.0, seed=i), loaded, emotion="happiness", explain=False)
        for i, kind in enumerate(kinds)
    )


def with_p(analysis, p, **verdict):
    return replace(analysis, p_raw=p, verdict=replace(analysis.verdict, reason=None, **verdict))


def test_the_difference_of_log_odds_decides_by_the_scale_that_was_measured(judged):
    one, other = with_p(judged[0], 0.8), with_p(judged[1], 0.3)
    scale = pairs.scale("default", "one_emotion")
    found = ranking.compare((one, other), "default", 0.2)
    gap = np.log(0.8 / 0.2) - np.log(0.3 / 0.7)
    assert found.p == pytest.approx(1 / (1 + np.exp(-scale.slope * gap)))
    assert (found.winner, found.kind, found.reason) == (0, "one_emotion", None)
    turned = ranking.compare((other, one), "default", 0.2)
    assert turned.p == pytest.approx(1 - found.p) and turned.winner == 1
    assert json.loads(json.dumps(pipeline.io.plain(found.to_dict())))["measured"]["pairs"] == scale.pairs


def test_clips_too_close_to_call_can_still_be_ranked(judged):
    text = gates.too_close(0.5, 0.2)
    one, other = with_p(judged[0], 0.9), with_p(judged[1], 0.5)
    other = replace(other, verdict=replace(other.verdict, abstained=True, reason=text))
    assert ranking.compare((one, other), "default", 0.2).winner == 0


def test_a_difference_within_the_margin_abstains(judged):
    scale = pairs.scale("default", "one_emotion")
    edge = np.log((0.5 + scale.margin) / (0.5 - scale.margin)) / scale.slope
    for factor, winner in ((0.99, None), (1.01, 0)):
        one = with_p(judged[0], 1 / (1 + np.exp(-factor * edge)))
        found = ranking.compare((one, with_p(judged[1], 0.5)), "default", 0.2)
        assert found.winner == winner and (found.p is None) == (winner is None)
    assert (
        "Too close to call" in ranking.compare((with_p(judged[0], 0.5), with_p(judged[1], 0.5)), "default", 0.2).reason
    )


def test_two_people_and_two_emotions_have_warnings_and_scales(judged):
    one, other = with_p(judged[0], 0.95), with_p(judged[1], 0.05)
    strangers = ranking.compare((one, other), "default", ranking.STRANGERS + 0.01)
    assert strangers.kind == "two_people" and "two people's" in strangers.warnings[0]
    assert strangers.scale == pairs.scale("default", "two_people")
    angry = with_p(judged[1], 0.05, emotion={"anger": 0.9, "happiness": 0.1})
    differ = ranking.compare((one, angry), "default", 0.2)
    assert differ.kind == "two_emotions" and "happiness and anger" in differ.warnings[0]
    vague = with_p(judged[1], 0.05, emotion={"anger": 0.4, "happiness": 0.3, "fear": 0.3})
    assert ranking.compare((one, vague), "default", 0.2).kind == "one_emotion"
    assert "could not be determined" in ranking.compare((one, other), "default", None).warnings[0]


def test_two_encodings_of_one_take_are_a_draw(judged):
    one, other = with_p(judged[0], 0.9), with_p(judged[1], 0.2)
    noise = np.random.default_rng(0).normal(0, 0.3, one.track.points.shape)
    half = one.track.evolve("half", points=(one.track.points + noise) / 2)
    slow = half.take("every second", np.arange(0, len(half), 2))
    for copy in (half, slow):
        found = ranking.compare((one, replace(other, track=copy)), "default", 0.2)
        assert found.draw and found.winner is None and found.p is None
        assert found.reason.startswith("Draw: the same take.") and 0 < found.apart < takes.SAME_TAKE
        assert found.to_dict()["draw"] and found.to_dict()["take_distance"] == found.apart
    found = ranking.compare((one, other), "default", 0.2)
    assert not found.draw and found.winner == 0 and found.apart > takes.SAME_TAKE
    too_slow = half.take("every third", np.arange(0, len(half), 3))
    found = ranking.compare((one, replace(other, track=too_slow)), "default", 0.2)
    assert not found.draw and found.apart is None  # 8 frames per second: movement would count as jitter


def test_a_clip_that_cannot_be_judged_leaves_the_pair_unjudged(judged):
    short = pipeline.judge(simulate.track(simulate.KINDS["posed"], 25.0, seed=3), load_model("default"), explain=False)
    short = replace(
        short, verdict=replace(short.verdict, reason="Too short: the face is seen for 0.2 s.", source="b.mp4")
    )
    found = ranking.compare((with_p(judged[0], 0.9), short), "default", 0.2)
    assert found.winner is None and found.reason.startswith("Clip 2 (b.mp4) cannot be judged: Too short")
    blind = ranking.compare((with_p(judged[0], np.nan), with_p(judged[1], 0.4)), "default", 0.2)
    assert blind.winner is None and "got no prediction" in blind.reason
    assert blind.to_dict()["more_genuine"] is None


def test_a_model_without_pair_scale_warns(judged):
    found = ranking.compare((with_p(judged[0], 0.8), with_p(judged[1], 0.5)), "smile", 0.2)
    assert found.p == pytest.approx(0.8) and "never calibrated" in found.warnings[0]


def test_the_command_ranks_two_videos(duchenne, smile, pictures, clips):
    held = make_video(clips / "held.mp4", [*pictures[:20], *pictures[20:21] * 40], rate=25)
    said = duchenne("rank", smile, held, "--json", "--emotion", "happiness")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["face_distance"] < 0.3 and found["kind"] == "one_emotion"
    assert [clip["source"] for clip in found["clips"]] == [str(smile), str(held)]
    p = found["p_first_more_genuine"]
    assert (p is None) == found["abstained"] and (p is None) == (found["more_genuine"] is None)
    gap = found["log_odds"][0] - found["log_odds"][1]
    if p is not None:
        assert p == pytest.approx(1 / (1 + np.exp(-found["measured"]["slope"] * gap)))
    assert not found["draw"] and found["take_distance"] > takes.SAME_TAKE
    text = duchenne("rank", smile, held)
    assert text.code == 0 and "one of the two clips is posed" in text.out and "not lying" in text.out


def test_the_command_calls_a_copy_of_the_clip_a_draw(duchenne, smile, pictures, clips):
    # without loss: x264 writes other bytes from run to run, and so small a face moves with them
    frames = [np.ascontiguousarray(frame.bgr[..., ::-1]) for frame in video.frames(smile)]
    sent = make_video(clips / "sent.mkv", frames, rate=25, codec="ffv1", pix_fmt="bgr0")
    said = duchenne("rank", smile, sent, "--emotion", "happiness")
    assert said.code == 0 and said.out.startswith("Draw: the same take. The face moves alike but for")
    assert ", judged from 0." in said.out


def test_clips_that_cannot_be_ranked_are_refused_in_a_sentence(duchenne, smile, empty_room):
    assert "given twice" in duchenne("rank", smile, smile).sentence
    assert "shows no face" in duchenne("rank", empty_room, smile).sentence
    assert "no model" in duchenne("rank", smile, empty_room, "--model", "nobody").sentence
    with pytest.raises(UsageError, match="given twice"):
        ranking.rank(smile, smile)
