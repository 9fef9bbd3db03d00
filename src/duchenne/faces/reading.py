"""Tracking the faces of a video file, the same for every command, so that results can be cached."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
import cv2
import dlib
import numpy as np

from duchenne import io, registry, video
from duchenne.errors import DuchenneError, InputError
from duchenne.faces import crops
from duchenne.faces.crops import TURNS, crop, lying
from duchenne.faces.detect import CASCADE
from duchenne.faces.follow import follow_blocks
from duchenne.faces.identity import MODEL_NAME
from duchenne.faces.landmarks import find_model, packaged
from duchenne.faces.meshed import READINGS
from duchenne.io import followed
from duchenne.io.followed import Block
from duchenne.mesh import model as mesh_model
from duchenne.progress import Tick
from duchenne.registry import READERS
from duchenne.types import data

_TURNED = (0, 13, 26, 39)  # frames that are searched for a face that lies on its side, a third of a second each
LOOK = 0.1  # s between two crops for the expression network: an expression's phases take longer


def read_faces(
    path: str | Path,
    *,
    reader: str = "mesh",
    detector: str = "haar",
    all_faces: bool = False,
    mesh: bool = False,
    most: float = READINGS,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    on_frame: Tick | None = None,
) -> Iterator[Block]:
    """The most prominent face of a video (or all) in finished blocks, with a crop of each every `LOOK` seconds.

    `reader`, `mesh`, `most` as for `follow_blocks`. `detector` is "haar" or "hog", and the other is the fallback;
    `rate`, `start`, `end` and `allow_truncated` as for `video.frames`, whose errors are raised; otherwise see
    `follow_blocks`.
    """
    return follow_blocks(
        video.frames(path, rate=rate, start=start, end=end, allow_truncated=allow_truncated),
        reader=reader,
        mesh=mesh,
        most=most,
        detector=detector,
        fallback="haar" if detector == "hog" else "hog",
        all_faces=all_faces,
        on_frame=on_frame,
        look=crop,
        every=LOOK,
    )


def no_face(path: str | Path, count: int, **stretch: Any) -> InputError:
    """That none was found in `count` frames of a clip, and what to do if its picture lies on its side or upside down.

    Some of the first 40 frames of the `stretch` (as for `video.frames`) are searched again, turned.
    """
    advice = "record it from the front, ideally over 80 px high"
    try:
        with closing(video.frames(path, **{**stretch, "allow_truncated": True})) as frames:
            for frame in takewhile(lambda frame: frame.index <= _TURNED[-1], frames):
                if frame.index in _TURNED and (turn := lying(frame.grey)):
                    cure = f"ffmpeg -i INPUT -vf {TURNS[turn][1]} OUTPUT.mp4"
                    advice = f"one shows when the picture is turned by {turn}: turn it ({cure})"
                    break
        advice += "".join(f" (note: {note.rstrip('.')})" for note in video.notes(path))  # it may be in another stream
    except DuchenneError:
        pass  # reported by those who read all of the file
    return InputError(f"{path} shows no face: none was found in {count} frames; {advice}.")


def chain(reader: str = READERS[0]) -> dict[str, str]:
    """Everything that decides the results of `read_faces` besides file and options: packages, machine, `parts`."""
    return {
        "av": f"{av.__version__} {sorted(av.library_versions.items())}",
        "opencv": cv2.__version__,
        "dlib": dlib.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        **parts(reader),
    }


def about_reader(reader: str) -> dict[str, str]:
    """What read the faces, for results: the reader's name, and the sha256 of the model that places its points."""
    model = mesh_model.find_model() if reader == "mesh" else find_model()
    return {"name": reader, "points": model.name, "sha256": _sha256(model)}


def parts(reader: str = READERS[0]) -> dict[str, str]:
    """sha256 of the models that a reader uses, and of the code between a file and its tracks."""
    person = packaged(MODEL_NAME)
    rooms = [Path(str(module.__file__)).parent for module in (crops, mesh_model, video)]
    code = [*(file for room in rooms for file in sorted(room.glob("*.py"))), *_SHARED]
    if reader == "mesh":
        own = {"mesh": _sha256(mesh_model.find_model())}
    else:
        own = {
            "landmarks": f"{find_model().name} {_sha256(find_model())}",
            "detector": _sha256(Path(cv2.data.haarcascades, CASCADE)),  # type: ignore[attr-defined]
        }
    return {
        **own,
        "person": _sha256(person) if person.is_file() else "none",
        "code": hashlib.sha256("".join(map(_sha256, code)).encode()).hexdigest(),
    }


#: Code of other rooms that decides tracks.
_SHARED = [Path(str(module.__file__)) for module in (followed, registry, data)]


def _sha256(file: Path) -> str:
    stat = file.stat()
    return _hashed(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(1024)
def _hashed(file: Path, *_: int) -> str:
    return io.sha256(file)
