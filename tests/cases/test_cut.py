"""Another person at the same place is another track; a cut within one person's track is a break, not a movement."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from duchenne import micro
from duchenne.faces import follow, person, protagonist
from duchenne.pipeline import examine
from makers import make_video

RATE, COUNT = 25, 14


@pytest.fixture(scope="module")
def people(pictures):
    """Frames of two people at the same place, uint8 (240, 320, 3)."""
    cbook = pytest.importorskip("matplotlib.cbook")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = cv2.cvtColor(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    ours = follow([SimpleNamespace(time=0.0, grey=grey(pictures[0]))]).tracks[0].box[0]
    theirs = follow([SimpleNamespace(time=0.0, grey=grey(photo))]).tracks[0].box[0]
    scale = (ours[2] - ours[0]) / (theirs[2] - theirs[0])
    rng = np.random.default_rng(0)
    others = []
    for i in range(COUNT):
        x, y = (ours[:2] + ours[2:]) / 2 - scale * (theirs[:2] + theirs[2:]) / 2
        matrix = np.array([[scale, 0, x + 0.3 * np.sin(i)], [0, scale, y + 0.2 * i]])
        moved = cv2.warpAffine(photo, matrix, (320, 240), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        others.append(np.clip(moved + rng.normal(0, 1, moved.shape), 0, 255).astype(np.uint8))
    return pictures[:COUNT], others


def grey(picture):
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def followed(pictures, **options):
    frames = [SimpleNamespace(time=i / RATE, grey=grey(p), bgr=p[..., ::-1]) for i, p in enumerate(pictures)]
    return follow(frames, **options)


@pytest.fixture(params=["paper", "mesh"])
def reader(request):
    return request.param


def rows(track):
    return np.flatnonzero(track.seen).tolist()


def test_another_person_at_the_same_place_is_another_track(people, reader):
    ours, theirs = people
    found = followed(ours + theirs + ours, reader=reader)
    assert found.cuts == pytest.approx((COUNT / RATE, 2 * COUNT / RATE))
    first, second = found.tracks
    assert rows(second) == list(range(COUNT, 2 * COUNT))
    # the first person's track goes on, with a gap that nothing is read across
    assert rows(first)[:COUNT] == list(range(COUNT)) and rows(first)[COUNT] >= 2 * COUNT


def test_cut_to_the_same_person_is_a_gap_and_said(people, clips, reader):
    ours, _ = people
    zoomed = [np.ascontiguousarray(cv2.resize(p[30:210, 40:280], (320, 240))) for p in ours]
    found = followed(ours + zoomed, reader=reader)
    (track,) = found.tracks
    assert found.cuts == pytest.approx((COUNT / RATE,))
    begin, end = rows(track)[COUNT - 1], rows(track)[COUNT]
    assert (begin, end) == (COUNT - 1, COUNT + 5)  # more than the 0.2 s that are interpolated
    clip = make_video(clips / "zoomed.mp4", ours + zoomed, rate=RATE)
    (analysis,) = examine(clip, reader=reader)
    said = f"The scene or the person changes at {COUNT / RATE:.2f} s; no movement is read across it."
    assert said in analysis.verdict.quality.warnings and said in micro.examine(clip).warnings


def test_one_face_is_judged_and_the_other_said(people, clips):
    ours, theirs = people
    clip = make_video(clips / "two.mp4", ours[:8] + theirs, rate=RATE)
    (analysis,) = examine(clip)
    assert rows(analysis.track) == list(range(8, 8 + COUNT))
    assert any("Another face is seen from 0.00 s to 0.28 s" in w for w in analysis.verdict.quality.warnings)
    assert [a.verdict.face for a in examine(clip, all_faces=True)] == [0, 1]


def test_dissolve_between_people_ends_the_track(people, reader):
    ours, theirs = people
    shares = np.clip((np.arange(48) - 16) / 12, 0, 1)
    mixed = [cv2.addWeighted(ours[i % COUNT], 1 - share, theirs[i % COUNT], share, 0) for i, share in enumerate(shares)]
    first, second = followed(mixed, reader=reader).tracks
    assert max(rows(first)) < 24 and min(rows(second)) > 24


def test_people_who_change_places_keep_their_tracks(people, reader):
    ours, theirs = people
    left = [np.hstack([a, b]) for a, b in zip(ours, theirs, strict=True)]
    right = [np.hstack([b, a]) for a, b in zip(ours, theirs, strict=True)]
    found = followed(left + right, reader=reader, all_faces=True)
    assert len(found.tracks) == 2
    for track in found.tracks:
        at = rows(track)
        assert at[0] == 0 and at[-1] == 2 * COUNT - 1
        assert (track.box[0, 0] < 320) != (track.box[-1, 0] < 320)


def test_without_the_network_a_cut_is_a_new_track(people, monkeypatch):
    ours, theirs = people
    monkeypatch.setattr(person.Sight, "embedding", None)
    assert len(followed(ours + theirs).tracks) == 2


def test_ordinary_clip_and_a_flash_have_no_cut(people, reader):
    ours, _ = people
    flash = [np.clip(p * 0.8 + 50, 0, 255).astype(np.uint8) for p in ours]
    bright = [*ours[:5], *flash[5:7], *ours[7:]]
    for each in (ours, bright):
        found = followed(each, reader=reader)
        assert not found.cuts and protagonist(found.tracks).seen.all() and len(found.tracks) == 1
