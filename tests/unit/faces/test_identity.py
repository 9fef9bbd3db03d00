"""One person is found under two names, two people are not taken for one."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from duchenne import video
from duchenne.datasets import simulate
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.faces import follow, identity, protagonist
from duchenne.faces.identity import embed, embed_clip, same_person
from duchenne.types import Array, FaceTrack
from makers import cut, make_video


def followed(path: Path) -> FaceTrack:
    track = protagonist(follow(video.frames(path), source=str(path)).tracks)
    assert track is not None
    return track


def only(track: FaceTrack, frames: slice) -> FaceTrack:
    points = np.full_like(track.points, np.nan)
    points[frames] = track.points[frames]
    return replace(track, points=points)


@pytest.fixture(scope="module")
def portrait(smile: Path) -> FaceTrack:
    return followed(smile)


@pytest.fixture
def shared() -> Path:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared clips")
    return Path(os.environ["DUCHENNE_DATA"], "clips")


def test_the_portrait_rendered_twice_is_one_person(smile: Path, portrait: FaceTrack, tmp_path: Path) -> None:
    frames = simulate.frames(replace(simulate.POSED, neutral_after=0.3), rate=10, size=(480, 360), seed=9)
    other = make_video(tmp_path / "other.mp4", frames, rate=10)
    one, two = embed_clip(smile, portrait), embed_clip(other, followed(other))
    assert one.shape == (128,) and one.dtype == np.float64
    ((a, b, apart),) = same_person({"ann": one[None], "bea": two[None]})
    assert (a, b) == ("ann", "bea") and apart == pytest.approx(np.linalg.norm(one - two)) and apart > 0


def test_a_clip_is_the_mean_over_its_seen_frames(smile: Path, portrait: FaceTrack, pictures: list[Array]) -> None:
    whole = embed_clip(smile, portrait, count=2)
    frames = {f.index: f.bgr[:, :, ::-1] for f in video.frames(smile)}
    quarter, rest = len(portrait) // 4, 3 * len(portrait) // 4  # the middles of two halves
    each = [embed(frames[k], portrait.points[k]) for k in (quarter, rest)]
    assert np.allclose(whole, np.mean(each, axis=0), atol=1e-6)
    assert np.linalg.norm(embed(pictures[quarter], portrait.points[quarter]) - each[0]) < 0.15  # before encoding


def test_colours_are_red_green_blue(pictures: list[Array], portrait: FaceTrack) -> None:
    """The network has learnt faces in RGB: turned to BGR it is another picture."""
    right, points = embed(pictures[0], portrait.points[0]), portrait.points[0]
    assert np.array_equal(right, embed(np.asfortranarray(pictures[0]), points))
    assert np.linalg.norm(right - embed(pictures[0][:, :, ::-1], points)) > 0.05


def test_only_what_is_needed_is_decoded(portrait: FaceTrack, pictures: list[Array], tmp_path: Path) -> None:
    """A file that is cut short raises at its end, which is not reached."""
    path = cut(make_video(tmp_path / "short.mkv", pictures, options={"g": "5"}), 0.7)
    with pytest.raises(InputError, match="cut short"):
        list(video.frames(path))
    assert embed_clip(path, only(portrait, slice(0, 10))).shape == (128,)


def test_the_start_of_a_stretch_moves_the_frames(smile: Path, portrait: FaceTrack) -> None:
    late = replace(
        portrait,
        **{n: getattr(portrait, n)[20:] for n in ("points", "confidence", "box")},
        time=portrait.time[:-20],
        change=None,
    )
    assert np.allclose(
        embed_clip(smile, late, count=1, start=float(portrait.time[20])),
        embed_clip(smile, only(portrait, slice(20, None)), count=1),
    )


@pytest.mark.slow
def test_halves_of_two_videos_are_two_people(shared: Path) -> None:
    people = {}
    for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4"):
        track = followed(shared / name)
        half = len(track) // 2
        for part in (slice(0, half), slice(half, None)):
            people[f"{name} {part.start}"] = embed_clip(shared / name, only(track, part))[None]
    first, second, third, fourth = people
    assert {(a, b) for a, b, _ in same_person(people)} == {(first, second), (third, fourth)}


def test_people_side_by_side_in_one_picture_are_not_one(shared: Path) -> None:
    frame = next(iter(video.frames(shared / "multi_face.jpg")))
    tracks = follow([frame], all_faces=True).tracks
    people = {str(k): embed(frame.bgr[:, :, ::-1], t.points[0])[None] for k, t in enumerate(tracks)}
    assert len(people) >= 4 and same_person(people) == []
    # the threshold for single pairs would have taken two of them for one
    assert len(same_person(people, threshold=0.6)) >= 1


def test_means_are_compared_and_the_nearest_come_first() -> None:
    rng = np.random.default_rng(0)
    people = {name: rng.normal(size=(3, 128)) for name in "abcd"}
    want = {pair: np.linalg.norm(people[pair[0]].mean(0) - people[pair[1]].mean(0)) for pair in combinations("abcd", 2)}
    found = same_person(people, threshold=99.0)
    assert [(a, b) for a, b, _ in found] == sorted(want, key=lambda pair: want[pair])
    assert [d for *_, d in found] == pytest.approx(sorted(want.values()))
    assert same_person({}) == same_person({"a": people["a"]}) == []


def test_bad_input_is_reported_in_one_sentence(
    smile: Path, portrait: FaceTrack, pictures: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = portrait.points[0]
    with pytest.raises(InputError, match=r"uint8 \(H, W, 3\), found uint8 \(240, 320\)"):
        embed(pictures[0][..., 0], points)
    with pytest.raises(InputError, match=r"68 known points \(68, 2\), found float32 \(68, 2\) with missing"):
        embed(pictures[0], np.where(np.arange(68)[:, None] == 3, np.nan, points).astype(np.float32))
    with pytest.raises(InputError, match="no face is seen"):
        embed_clip(smile, only(portrait, slice(0, 0)))
    with pytest.raises(InputError, match="no face is seen in its track in pixels"):
        embed_clip(smile, replace(portrait, unit="iod"))
    with pytest.raises(InputError, match="no frame at"):
        embed_clip(smile, replace(portrait, time=portrait.time + 0.011))
    with pytest.raises(UsageError, match="at least 1 frame"):
        embed_clip(smile, portrait, count=0)
    with pytest.raises(UsageError, match=r"Person 'a' needs finite embeddings \(n, 128\), found float64 \(128,\)"):
        same_person({"a": np.zeros(128)})
    monkeypatch.setattr(identity, "MODEL_NAME", "missing.dat")
    with pytest.raises(ModelError, match=r"missing\.dat"):
        embed(pictures[0], points)
