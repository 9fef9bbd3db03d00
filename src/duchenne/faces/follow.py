"""Tracking the faces in frames: complete tracks, or blocks of finished rows in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import cv2

from duchenne.faces.follower import Follower, Frame
from duchenne.faces.joined import Followed, join
from duchenne.faces.meshed import READINGS, MeshFollower
from duchenne.faces.paper import PaperFollower
from duchenne.io.followed import Block
from duchenne.progress import Tick
from duchenne.registry import check_reader
from duchenne.types import Array


def follow(frames: Iterable[Frame], *, source: str = "", **options: Any) -> Followed:
    """Track the most prominent face (or all) through `frames`, which are read once; every track has one row per frame.

    Options as for `follow_blocks`; `source` is the tracks' name.
    """
    return join(follow_blocks(frames, **options), source)


def follow_blocks(
    frames: Iterable[Frame],
    *,
    reader: str = "paper",
    detector: str = "haar",
    fallback: str | None = "hog",
    tracker: str = "mosse",
    landmarker: str = "dlib68",
    all_faces: bool = False,
    mesh: bool = False,
    most: float = READINGS,
    on_frame: Tick | None = None,
    look: Callable[[Array, Array], Array] | None = None,
    every: float = 0.0,
    rows: int = 1000,
) -> Iterator[Block]:
    """The same in blocks, each as soon as its rows are final, in constant memory.

    reader     "paper": Haar, MOSSE and dlib's points; or "mesh", whose frames need `.bgr` uint8 (H, W, 3), and whose
               tracks have coefficients, the head's pose and, with `mesh`, all 478 points
    most       readings of a face a second by the mesh, between which its rows are interpolated; inf: of every frame
    frames     objects with `.time` (s, increasing) and `.grey` uint8 (H, W); read once; where `.index` jumps, the rows
               between are of frames that were not kept
    detector, tracker, landmarker   of the paper's reader
    fallback   detector for frames where the first finds nothing (at most once a second); None: no other
    on_frame   called with the number of frames done, for progress bars
    look       makes a grey crop uint8 (S, S) of a frame and points (68, 2), as `faces.crops.crop`, of each seen face at
               most once in `every` seconds, for `Followed.looks`; None makes none
    rows       least frames of a block; only the last, which has the `end`, may have fewer, even none
    """
    cv2.setNumThreads(1)  # the same results on every machine; clips, not frames, run in parallel
    follower: Follower[Any, Any]
    if check_reader(reader) == "mesh":
        follower = MeshFollower(all_faces, mesh, most)
    else:
        follower = PaperFollower(detector, fallback, tracker, landmarker, all_faces)
    times: list[float] = []  # of the frames that are not yielded, which begin at `first`
    first, size, n, before = 0, (0, 0), -1, 0.0
    for frame in frames:
        grey, time = frame.grey, float(frame.time)
        step = getattr(frame, "index", n + 1) - n
        times += [before + (time - before) * k / step for k in range(1, step)]  # of frames that were not kept
        times.append(time)
        n, before = n + step, time
        size = (grey.shape[1], grey.shape[0])
        follower.step(n, time, frame)
        if look is not None:
            follower.look(n, time, grey, look, every)
        if on_frame is not None:
            on_frame(n + 1)
        if (done := follower.settled(n) + 1 - first) >= rows:
            yield follower.take(first, times[:done])
            del times[:done]
            first += done
    last = follower.take(first, times)
    yield replace(last, end=follower.end(first + len(times), size, look is not None))
