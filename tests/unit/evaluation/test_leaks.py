"""Copies of a clip are found whatever was done to them, other takes are not; what is said names the pair."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from duchenne import io
from duchenne.datasets import simulate, splits
from duchenne.errors import UsageError
from duchenne.evaluation import leaks
from duchenne.evaluation.leaks import fingerprint, near_duplicates, standardised_before_split
from duchenne.features.takes import SAME_TAKE, _smoothed, apart, course
from duchenne.types import Array, FaceTrack, Features

RATE = 25.0
#: dlib's 68 points as a mirror names them (iBUG 300-W's numbering, from 0).
MIRROR = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38]
MIRROR += [37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]


def made(points: Array, time: Array) -> FaceTrack:
    n = len(time)
    return FaceTrack(time, points, np.full(n, np.nan), np.full((n, 4), np.nan), (640, 480))


def resampled(track: FaceTrack, rate: float) -> FaceTrack:
    grid = np.arange(track.time[0], track.time[-1], 1 / rate)
    flat = [np.interp(grid, track.time, column) for column in track.points.reshape(len(track), -1).T]
    return made(np.stack(flat, axis=1).reshape(-1, 68, 2), grid)


def noisy(track: FaceTrack, pixels: float, seed: int = 5) -> FaceTrack:
    return made(track.points + np.random.default_rng(seed).normal(0, pixels, track.points.shape), track.time)


def trimmed(track: FaceTrack, start: float, end: float) -> FaceTrack:
    a, b = round(start * len(track)), len(track) - round(end * len(track))
    return made(track.points[a:b], track.time[a:b] - track.time[a])


COPIES: dict[str, Callable[[FaceTrack], FaceTrack]] = {
    "jitter": lambda t: noisy(t, 1.0),
    "size": lambda t: made(np.round(0.5 * t.points + 20), t.time),
    "start": lambda t: trimmed(t, 0.05, 0),
    "ends": lambda t: trimmed(t, 0.07, 0.1),
    "rate": lambda t: resampled(t, 30),
    "slow": lambda t: resampled(t, 12),
    "speed": lambda t: made(t.points, t.time / 1.3),
    "mirror": lambda t: made((t.points * [-1, 1])[:, MIRROR] + [640, 0], t.time),
    "all": lambda t: noisy(resampled(trimmed(t, 0.05, 0), 30), 0.5),
}


@pytest.fixture(scope="module")
def takes() -> list[FaceTrack]:
    """Twelve clips of one face: six spontaneous, six posed smiles. Real takes differ by far more than the
    simulator's usual unrest: they are all one smile, so its unrest is raised and its timing varied."""
    rng = np.random.default_rng(0)
    kins = [
        replace(kin, onset=kin.onset * rng.uniform(0.6, 1.5), apex=kin.apex * rng.uniform(0.3, 1.5), unrest=5.0)
        for kin in simulate.KINDS.values()
        for _ in range(6)
    ]
    return [simulate.track(kin, RATE, seed) for seed, kin in enumerate(kins)]


def test_a_fingerprint_depends_on_the_content_alone(takes: list[FaceTrack]) -> None:
    track = takes[0]
    same = replace(track, source="other.mp4", history=("renamed",), confidence=np.ones(len(track)))
    assert fingerprint(same) == fingerprint(track)
    assert len(fingerprint(track)) == 16 and int(fingerprint(track), 16) >= 0
    later = replace(track, time=track.time + 1e-9)
    moved = replace(track, points=track.points + np.float32(1e-3))
    assert len({fingerprint(t) for t in (*takes, later, moved)}) == len(takes) + 2
    row = Features(np.array([0.0, np.nan]), ("a", "b"))
    negative = np.array([-0.0, -np.nan])
    assert fingerprint(row) == fingerprint(Features(negative, ("x", "y"), "other.csv"))
    assert fingerprint(row) != fingerprint(Features(np.array([np.nan, 0.0]), ("a", "b")))


def test_different_takes_of_one_face_are_not_one_clip(takes: list[FaceTrack]) -> None:
    assert near_duplicates(takes) == []


@pytest.mark.parametrize("change", COPIES)
def test_a_changed_copy_is_found_and_nothing_else(takes: list[FaceTrack], change: str) -> None:
    copies = [COPIES[change](takes[k]) for k in (1, 8)]
    found = near_duplicates([*takes, *copies])
    assert {(p.i, p.j) for p in found} == {(1, 12), (8, 13)}
    assert all(not p.exact and p.mirrored == (change == "mirror") for p in found)


def test_a_copy_cut_by_more_than_a_fifth_is_another_clip(takes: list[FaceTrack]) -> None:
    # 0.65 of the clip cannot cover the 0.8 of it that two must share
    assert near_duplicates([takes[1], trimmed(takes[1], 0.35, 0)]) == []


def test_equal_content_is_reported_first(takes: list[FaceTrack]) -> None:
    samples = [takes[0], takes[1], noisy(takes[0], 0.3), replace(takes[1], source="renamed.mp4")]
    found = near_duplicates(samples)
    assert [(p.i, p.j, p.exact) for p in found] == [(1, 3, True), (0, 2, False)]
    assert found[0].distance == 0 < found[1].distance


def test_still_faces_are_not_alike_unless_equal(takes: list[FaceTrack]) -> None:
    rest = made(np.repeat(takes[0].points[:1], 60, axis=0), np.arange(60) / RATE)
    still = [noisy(rest, 0.5, seed) for seed in range(6)]
    assert near_duplicates(still) == []
    assert near_duplicates([rest, noisy(rest, 0.5), made(rest.points, rest.time)]) == [leaks.Pair(0, 2, 0.0, True)]


def test_the_distance_is_that_of_the_definition(takes: list[FaceTrack]) -> None:
    """Shift by shift and number by number, instead of by sums and products over all shifts."""
    one, other = takes[2], noisy(trimmed(takes[2], 0.1, 0), 0.5)
    long, short = course(one), course(other)
    assert long is not None and short is not None
    (a, noise_a), (b, noise_b) = _smoothed(long, RATE), _smoothed(short, RATE)
    best = np.inf
    for shift in range(-len(b), len(a)):
        pairs = [(a[t], b[t - shift]) for t in range(len(a)) if 0 <= t - shift < len(b)]
        if len(pairs) >= 0.8 * len(a):
            x, y = (np.array(rows) for rows in zip(*pairs, strict=True))
            differs = np.var(x - y, axis=0).sum() - noise_a - noise_b
            moves = min(np.var(x, axis=0).sum() - noise_a, np.var(y, axis=0).sum() - noise_b)
            shape = 0.25 * (np.mean(x - y, axis=0) ** 2).sum()
            best = min(best, np.sqrt((max(differs, 0) + shape) / moves))
    assert apart(long, short) == pytest.approx(best, rel=1e-6)
    assert 0 < best < SAME_TAKE


def test_a_short_or_invisible_track_has_no_duplicates(takes: list[FaceTrack]) -> None:
    unseen = made(np.full((30, 68, 2), np.nan), np.arange(30) / RATE)
    single = made(takes[0].points[:1], np.zeros(1))
    flat = made(np.zeros((30, 68, 2)), np.arange(30) / RATE)
    assert near_duplicates([unseen, single, flat, *takes[:2]]) == []
    assert [(p.i, p.j) for p in near_duplicates([single, takes[0], single])] == [(0, 2)]
    assert near_duplicates([]) == []


def test_blocks_do_not_change_the_answer(takes: list[FaceTrack], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [*takes, COPIES["all"](takes[3]), COPIES["mirror"](takes[11])]
    rows = [Features(np.random.default_rng(k % 7).normal(size=9), tuple("abcdefghi")) for k in range(12)]
    before = near_duplicates(samples), near_duplicates(rows)
    monkeypatch.setattr(leaks, "_BLOCK", 5)
    assert (near_duplicates(samples), near_duplicates(rows)) == before
    assert len(before[0]) == 2 and len(before[1]) == 5


def test_rows_of_a_table_against_every_pair_one_by_one() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 12)) * 10.0 ** rng.integers(-3, 4, 12)
    x[7], x[20] = x[3], x[9] * (1 + 3e-8 * rng.normal(size=12))
    x[30], x[31, 2] = x[12] * (1 + 1e-5), np.nan
    x[32] = x[31]
    x[33] = np.where(np.isnan(x[31]), 0.0, x[31])
    rows = [Features(row, tuple("abcdefghijkl")) for row in x]
    size = np.sqrt(np.nanmean(x**2, axis=0))
    want = set()
    for i in range(40):
        for j in range(i + 1, 40):
            gone = np.isnan(x[i]) | np.isnan(x[j])
            gap = ((x[i] - x[j]) / size)[~gone]
            if (np.isnan(x[i]) == np.isnan(x[j])).all() and np.sqrt((gap**2).sum() / 12) < 1e-6:
                want.add((i, j))
    found = near_duplicates(rows)
    assert {(p.i, p.j) for p in found} == want == {(3, 7), (9, 20), (31, 32)}
    assert {(p.i, p.j) for p in found if p.exact} == {(3, 7), (31, 32)}


def test_rows_of_few_numbers_are_not_compared() -> None:
    rows = [Features(np.array([k % 2, k % 3, 5.0]), ("a", "b", "c")) for k in range(30)]
    assert near_duplicates(rows) == []


def test_invalid_arguments_raise(takes: list[FaceTrack]) -> None:
    with pytest.raises(UsageError, match="same number of values, found 1 and 2"):
        near_duplicates([Features(np.ones(1), ("a",)), Features(np.ones(2), ("a", "b"))])
    with pytest.raises(UsageError, match="threshold"):
        near_duplicates(takes, threshold=1.5)
    with pytest.raises(UsageError, match="found 1 for 2 samples"):
        leaks.warnings(takes[:2], ["a"], [1, 2], ["posed"] * 2, ["fear"] * 2)
    with pytest.raises(UsageError, match="rows and columns"):
        standardised_before_split(np.zeros(4))


def test_warnings_name_the_pair_and_what_is_wrong(takes: list[FaceTrack]) -> None:
    samples = [takes[0], takes[1], takes[2], COPIES["jitter"](takes[0]), takes[1], takes[2]]
    names = [f"{name}.mp4" for name in "abcdef"]
    subjects, emotions = [3, 5, 6, 7, 5, 6], ["happiness"] * 5 + [None]
    labels = ["posed", "posed", "genuine", "posed", "genuine", "genuine"]
    folds = [(np.array([2, 5]), np.array([0, 1, 3, 4])), (np.array([1, 2, 3, 4, 5]), np.array([0]))]
    first, second = leaks.warnings(samples, names, subjects, labels, emotions, folds)
    assert first.startswith("a.mp4 (person 3) and d.mp4 (person 7) are the same clip (distance ")
    assert first.endswith(
        ": they are on both sides of the split in fold 2; one person has two names; remove one or correct its row."
    )
    assert second == (
        "b.mp4 (person 5) and e.mp4 (person 5) have the same content: "
        "their labels differ (posed and genuine); remove one or correct its row."
    )
    # the third pair, of one person, label and side, contradicts nothing
    assert leaks.warnings(samples[2:3] + samples[5:], ["c", "f"], [6, "6 "], ["genuine"] * 2, ["fear", np.nan]) == []


def test_person_disjoint_folds_over_two_names_still_leak(takes: list[FaceTrack]) -> None:
    """What splits cannot see: by person, a copy under another name comes to the other side."""
    samples = [*takes[:6], COPIES["rate"](takes[0])]
    told = leaks.warnings(
        samples, list("abcdefg"), list(range(7)), [None] * 7, [None] * 7, list(splits.leave_one_person_out(range(7)))
    )
    assert len(told) == 1 and "both sides of the split in folds 1, 7; one person has two names" in told[0]


def test_only_the_ten_worst_are_listed() -> None:
    rng = np.random.default_rng(2)
    rows = [Features(row, tuple("abcdefghi")) for row in rng.normal(size=(14, 9))]
    count, many = 28, list(range(28))
    told = leaks.warnings([*rows, *rows], [str(k) for k in many], many, ["posed"] * count, ["fear"] * count)
    assert len(told) == 11 and told[-1] == "4 more pairs of the same clip are not listed."


def test_scaling_and_components_fitted_to_all_rows_are_detected() -> None:
    rng = np.random.default_rng(3)
    raw = rng.normal(2, 3, (80, 20)) @ rng.normal(size=(20, 20)) + rng.normal(size=20)
    scaled = StandardScaler().fit_transform(raw)
    assert "20 of 20 columns have mean 0" in str(standardised_before_split(scaled))
    assert standardised_before_split(scaled.astype(np.float32)) is not None
    assert standardised_before_split((raw - raw.mean(axis=0)) / raw.std(axis=0, ddof=1)) is not None
    assert "PCA" in str(standardised_before_split(PCA(8).fit_transform(raw)))
    gappy = np.where(rng.random(raw.shape) < 0.1, np.nan, raw)
    assert "mean 0" in str(standardised_before_split(StandardScaler().fit_transform(gappy)))
    for sound in (raw, gappy, rng.normal(size=(80, 20)), np.ones((80, 5)), scaled[:8], np.empty((0, 4))):
        assert standardised_before_split(sound) is None
    parts = [StandardScaler().fit(raw[:60]).transform(part) for part in (raw[:60], raw[60:])]
    assert standardised_before_split(np.concatenate(parts)) is None
    balanced = np.array([[a, b, a * b] for a in (-1, 1) for b in (-2, 2) for _ in range(5)], float)
    assert standardised_before_split(balanced) is None


@pytest.fixture
def data() -> Path:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared data sets")
    return Path(os.environ["DUCHENNE_DATA"], "data")


def test_sase_fe_features_hold_one_persons_clips_twice_with_both_labels(data: Path) -> None:
    """Published of SASE-FE: three of one person's files are bitwise identical, though named genuine and fake."""
    with np.load(data / "sase_fe_features" / "train.npz") as z:
        x, subject, genuine, emotion = z["features"], z["subject"], z["genuine"], z["emotion"]
    pairs = near_duplicates([Features(row, tuple(map(str, range(512)))) for row in x])
    assert len(pairs) == 3 and len({subject[k] for p in pairs for k in (p.i, p.j)}) == 1
    assert all(genuine[p.i] != genuine[p.j] and emotion[p.i] == emotion[p.j] for p in pairs)
    assert {str(emotion[p.i]) for p in pairs} == {"anger", "contentment", "disgust"}
    assert standardised_before_split(x) is None


@pytest.mark.slow
def test_pedfe_holds_one_clip_twice_and_no_two_takes_are_one(data: Path) -> None:
    tracks = io.load_tracks(data / "pedfe" / "points.npz")
    assert [(tracks[p.i].source, tracks[p.j].source, p.exact) for p in near_duplicates(tracks)] == [
        ("36_ss_2", "36_ss_3", True)
    ]


@pytest.mark.parametrize("part", ["lip", "eye"])
def test_uva_nemo_tables_hold_no_row_twice_and_are_raw(data: Path, part: str) -> None:
    table = np.genfromtxt(data / "uva_nemo" / f"{part}.csv", delimiter=",", skip_header=1)[:, 4:]
    assert len(table) == 963 and standardised_before_split(table) is None
    assert near_duplicates([Features(row, tuple(map(str, range(table.shape[1])))) for row in table]) == []
