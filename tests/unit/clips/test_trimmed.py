"""Landmarks found again on trimmed boxes of a real clip: where they lie, what is kept, and what training reads."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duchenne import video
from duchenne.clips import load, rows, trimmed
from duchenne.clips.cache import Cache
from duchenne.errors import InputError
from duchenne.faces.landmarks import Dlib68, box_of
from duchenne.faces.trimmed import trimmed as trim
from duchenne.features.sequences import SequenceReader
from duchenne.types import Array, Clip, FaceTrack

COPIES, MOST = 2, 0.1


@pytest.fixture(scope="module")
def clip() -> Clip:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    return Clip(str(Path(os.environ["DUCHENNE_DATA"]) / "clips/single_face.mp4"), start=0, end=0.4, reader="paper")


@pytest.fixture(scope="module")
def track(clip: Clip) -> FaceTrack:
    found = load.read(clip)
    assert isinstance(found, FaceTrack)
    return found


class Recording(Dlib68):
    """dlib's points, and the boxes that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[Array] = []

    def fit(self, grey: Array, box: Array) -> Array:
        self.boxes.append(box)
        return super().fit(grey, box)


def test_each_edge_is_cut_by_a_share_of_its_own(clip: Clip, track: FaceTrack) -> None:
    landmarker = Recording()
    found = trim(track, video.frames(clip.path, **clip.stretch), landmarker, COPIES, MOST)
    assert found.shape == (COPIES, *track.points.shape)
    whole = np.array([box_of(points) for points in track.points])
    side = (whole[:, 2] - whole[:, 0])[:, None, None]
    shares = (np.array(landmarker.boxes).reshape(len(track), COPIES, 4) - whole[:, None]) / side * (1, 1, -1, -1)
    assert np.ptp(shares, axis=0).max() < 1e-9  # the same for all frames
    assert shares.min() > 0 and shares.max() < MOST and len(np.unique(shares[0].round(9))) == 4 * COPIES
    moved = np.linalg.norm(found - track.points, axis=3).mean(axis=(1, 2)) / side.mean()
    assert all(0.0005 < each < 0.03 for each in moved), moved  # of the same face, and not the same


def test_copies_are_kept_and_go_to_training(clip: Clip, track: FaceTrack, tmp_path: Path, monkeypatch) -> None:
    reader, cache = SequenceReader(12.5, head=True, trims=(COPIES, MOST)), Cache(tmp_path, math.inf)
    (item,) = rows.table([clip], [track], reader, cache)
    own = replace(reader, trims=(0, 0.0)).table([track])[0]
    assert isinstance(item, tuple) and len(item) == 1 + COPIES
    np.testing.assert_array_equal(item[0], own)
    assert all(each.shape == own.shape and 0 < np.abs(each - own).max() < 0.2 for each in item[1:])
    monkeypatch.setattr(trimmed, "trimmed", None)  # never called again
    (again,) = rows.table([clip], [track], reader, cache)
    assert all(np.array_equal(a, b) for a, b in zip(item, again, strict=True))
    with pytest.raises(InputError, match="holds no images"):
        trimmed.tracks(Clip("a.npz#3"), track, COPIES, MOST, cache)
    meshed = replace(track, coefficients=np.zeros((len(track), 52), np.float32))
    monkeypatch.undo()
    with pytest.raises(InputError, match="reader paper"):
        trimmed.tracks(clip, meshed, COPIES, 0.05, cache)
