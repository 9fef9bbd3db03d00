"""The blocks of a clip as complete tracks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from duchenne.io.followed import Block, spread
from duchenne.types import Array, FaceTrack, Light


@dataclass(frozen=True, eq=False)
class Followed:
    """Every face that was seen, in order of appearance, the most prominent first.

    time float64 (T,) seconds of every decoded frame; frame_size (width, height). sharpness has one number per track:
    the median, over samples of the face, of the Laplacian's standard deviation in grey levels, on a crop of 128 px.
    light: per track, None where it could not be measured. cuts: seconds at which the scene or a person changes.
    looks: if requested, each track's frames that were cropped, with crops.
    """

    tracks: list[FaceTrack]
    time: Array
    frame_size: tuple[int, int]
    sharpness: list[float]
    light: list[Light | None]
    cuts: tuple[float, ...] = ()
    looks: list[FaceTrack] = field(default_factory=list)


def join(blocks: Iterable[Block], source: str = "") -> Followed:
    """All blocks of one clip, in order, as complete tracks; `looks` has no crops where the blocks have none."""
    parts = list(blocks)
    end = parts[-1].end if parts else None
    if end is None:
        raise ValueError("The blocks of a clip must include the last one, which has its end.")
    tracks = spread(parts, len(end.history), end.frame_size, [(line,) for line in end.history], source)
    time = np.concatenate([part.time for part in parts])
    looks = [_look(track, k, parts) for k, track in enumerate(tracks)] if end.looks else []
    return Followed(tracks, time, end.frame_size, list(end.sharpness), list(end.light), end.cuts, looks)


def protagonist(tracks: list[FaceTrack]) -> FaceTrack | None:
    """The track with the largest sum of box areas; None where there is none."""
    areas = [float(np.nansum((track.box[:, 2:] - track.box[:, :2]).prod(axis=1))) for track in tracks]
    return tracks[int(np.argmax(areas))] if tracks else None


def _look(track: FaceTrack, face: int, parts: list[Block]) -> FaceTrack:
    """The rows of a track in which its face was cropped, with crops where the blocks still have them."""
    rows, crops = [np.empty(0, np.int64)], []
    for part in parts:
        own = part.face[part.looked] == face
        rows.append(part.frame[part.looked[own]])
        if part.crops is not None and own.any():
            crops.append(part.crops[own])
    at, cut = np.concatenate(rows), np.concatenate(crops)[..., None] if crops else None
    return track.take(f"faces.follow: looked at {len(at)} frames", at, cut)
