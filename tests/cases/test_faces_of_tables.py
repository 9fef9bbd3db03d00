"""Faces in tables of other programs are followed by their place: phantoms, crossings and numbers that pass on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from duchenne import io
from duchenne.types import Array

POINTS = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
SHAPE = np.random.default_rng(0).uniform(0, 100, (68, 2))


def detections(path: Path, rows: list[tuple[int, float, float, Any]]) -> Path:
    """A py-feat table: (frame, left, score, Identity) of faces 100 px wide."""
    table = [
        {"frame": frame, "FaceRectX": left, "FaceRectY": 50, "FaceRectWidth": 100, "FaceRectHeight": 100}
        | {"FaceScore": score, "Identity": name}
        | dict(zip(POINTS, (SHAPE + np.array([left, 50])).T.ravel(), strict=True))
        for frame, left, score, name in rows
    ]
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def left(track: Any) -> Array:
    return np.asarray(track.box[:, 0])


def test_a_phantom_does_not_take_over_a_track(tmp_path: Path) -> None:
    person = [(k, 200 + k, 0.99, "Person_0") for k in range(30) if k != 11]  # unseen where only the phantom is
    phantom = [(k, 20, 0.31, "Person_0") for k in (10, 11, 12)]
    main, other = io.load_tracks(detections(tmp_path / "a.csv", sorted(person + phantom)), rate=25)
    assert main.seen.sum() == 29 and other.seen.sum() == 3 and len(main) == len(other) == 30
    np.testing.assert_allclose(left(main)[main.seen], [200 + k for k in range(30) if k != 11])


def test_people_who_cross_keep_their_tracks(tmp_path: Path) -> None:
    for names in ((None, None), ("A", "A")):
        rows = [row for k in range(40) for row in ((k, 10.0 * k, 0.9, names[0]), (k, 400 - 10.0 * k, 0.9, names[1]))]
        right, back = io.load_tracks(detections(tmp_path / "a.csv", rows), rate=25)
        np.testing.assert_allclose(left(right), 10.0 * np.arange(40))
        np.testing.assert_allclose(left(back), 400 - 10.0 * np.arange(40))


def test_a_second_face_from_the_left_is_a_track_of_its_own(tmp_path: Path) -> None:
    rows = [(k, 300.0, 0.9, None) for k in range(20)] + [(k, 5.0 * k, 0.95, None) for k in range(8, 20)]
    first, second = io.load_tracks(detections(tmp_path / "a.csv", sorted(rows, key=lambda row: row[:2])), rate=25)
    assert (left(first) == 300).all() and second.seen.sum() == 12


def test_an_openface_id_that_passes_to_another_person_is_noticed(tmp_path: Path) -> None:
    rows = []
    for k in range(20):
        for person, place in ((0, 0), (1, 300)):
            if person == 0 and k >= 10:
                continue  # lost, and its number is given to the other
            rows.append(
                {
                    "frame": k + 1,
                    "face_id": 0 if k >= 10 else person,
                    "timestamp": k / 25,
                    "confidence": 1,
                    "success": 1,
                }
                | dict(zip(POINTS, (SHAPE + np.array([place, 50])).T.ravel(), strict=True))
            )
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    a, b = io.load_tracks(tmp_path / "a.csv")
    assert (a.seen.sum(), b.seen.sum()) == (10, 20)
    assert np.nanmax(a.points[..., 0]) < 101 and np.nanmin(b.points[..., 0]) >= 300


def test_reliable_numbers_are_kept(tmp_path: Path) -> None:
    rows = [(k, 100.0, 0.9, "B") for k in range(5)] + [(k, 400.0, 0.9, "A") for k in range(5)]
    rows += [(k, 600.0, 0.9, "B") for k in range(60, 70)]  # B left and came back elsewhere
    a, b = io.load_tracks(detections(tmp_path / "a.csv", sorted(rows, key=lambda row: row[:2])), rate=25)
    assert a.seen.sum() == 5 and b.seen.sum() == 15
