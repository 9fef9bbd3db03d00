"""Tracking the faces of a video file, the same for every command, so that results can be cached."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import cv2
import dlib
import numpy as np

from duchenne import video
from duchenne.faces.crops import crop
from duchenne.faces.follow import follow_blocks
from duchenne.faces.landmarks import find_model
from duchenne.io.followed import Block
from duchenne.progress import Tick

LOOK = 0.1  # s between two crops for the expression network: an expression's phases take longer


def read_faces(
    path: str | Path,
    *,
    detector: str = "haar",
    all_faces: bool = False,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    on_frame: Tick | None = None,
) -> Iterator[Block]:
    """The most prominent face of a video (or all) in finished blocks, with a crop of each every `LOOK` seconds.

    `detector` is "haar" or "hog", and the other is the fallback; `rate`, `start`, `end` and `allow_truncated` as for
    `video.frames`, whose errors are raised; otherwise see `follow_blocks`.
    """
    return follow_blocks(
        video.frames(path, rate=rate, start=start, end=end, allow_truncated=allow_truncated),
        detector=detector,
        fallback="haar" if detector == "hog" else "hog",
        all_faces=all_faces,
        on_frame=on_frame,
        look=crop,
        every=LOOK,
    )


@cache
def chain() -> dict[str, str]:
    """Everything that decides the results of `read_faces` besides file and options: packages, model, machine, code."""
    landmarks = find_model()
    code = hashlib.sha256()
    for file in sorted([*Path(__file__).parent.glob("*.py"), Path(video.__file__)]):
        code.update(file.read_bytes())
    return {
        "av": f"{av.__version__} {sorted(av.library_versions.items())}",
        "opencv": cv2.__version__,
        "dlib": dlib.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "landmarks": f"{landmarks.name} {landmarks.stat().st_size}",
        "code": code.hexdigest(),
    }
