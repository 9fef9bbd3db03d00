"""What the app's worker does (`workers.protocol.Work`): a verdict, an overlay video, a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from duchenne import judging, overlay, pipeline, ranking, video
from duchenne.clips.cache import LIMIT, Cache
from duchenne.expression import reading
from duchenne.faces import follow
from duchenne.io import Block, plain
from duchenne.report.signs import disagreement
from duchenne.types import Json, JsonMap
from duchenne.workers.protocol import Heartbeat

_KEYS = [
    "p_genuine",
    "label",
    "abstained",
    "reason",
    "emotion",
    "judged",
    "judged_phase",
    "evidence",
    "signs",
    "record",
    "quality",
    "frames",
    "duration",
]


class Progress:
    """Counts frames over several `passes` (stage, frames or None); a lower count starts the next pass."""

    def __init__(self, heartbeat: Heartbeat, passes: list[tuple[str, int | None]]) -> None:
        self.heartbeat, self.passes = heartbeat, passes
        self.current, self.last = 0, -1

    def __call__(self, done: int) -> None:
        if done <= self.last:
            self.current = min(self.current + 1, len(self.passes) - 1)
        self.last = done
        stage, total = self.passes[self.current]
        if total is not None and done >= total:
            stage = "judging" if stage == "following" else "writing"
        self.report(stage)

    def report(self, stage: str) -> None:
        """Send the progress so far."""
        totals = [total or 0 for _, total in self.passes]
        known = all(totals)
        done = max(self.last, 0) + (sum(totals[: self.current]) if known else 0)
        self.heartbeat(done, stage, max(sum(totals), done) if known else None)


def judge(job: JsonMap, given: JsonMap, heartbeat: Heartbeat) -> Json:
    """Judge a clip as `duchenne analyze` does, write results to `job["out"]`, and return what the page shows."""
    clip = job["clips"][0]
    progress = Progress(heartbeat, [("following", _frames(clip["path"]))])
    progress.report("following")
    options = {**given, "allow_truncated": job["allow_truncated"], "read": _read}
    analyses = pipeline.examine(clip["path"], on_frame=progress, **options)
    progress.report("writing")
    analyses = [replace(each, verdict=replace(each.verdict, source=clip["name"])) for each in analyses]
    card = judging.load_model(given["model"], given["reader"]).card
    pipeline.save(analyses, job["out"], card)
    verdict = plain(analyses[0].verdict.to_dict())
    return {
        **{name: verdict[name] for name in _KEYS},
        "disagreement": disagreement(analyses[0].verdict.signs, verdict["label"]),
        "row": plain(analyses[0].verdict.to_row()),
        "model": verdict["model"].get("id"),
        "band": card.get("abstain_band"),
        "accuracy": card.get("accuracy"),
    }


def write_overlay(job: JsonMap, given: JsonMap, heartbeat: Heartbeat) -> Json:
    """Write the overlay video of a clip."""
    path, out = job["clips"][0]["path"], Path(job["out"]) / "overlay.mp4"
    total = _frames(path)
    progress = Progress(heartbeat, [("following", total), ("drawing", total)])
    progress.report("following")
    options = {**given, "allow_truncated": job["allow_truncated"], "read": _read}
    overlay.overlay(path, out, on_frame=progress, **options)
    return {"bytes": out.stat().st_size}


def compare(job: JsonMap, given: JsonMap, heartbeat: Heartbeat) -> Json:
    """Report which of two clips of one person moves more like a spontaneous expression."""
    paths = [clip["path"] for clip in job["clips"]]
    progress = Progress(heartbeat, [("following", _frames(path)) for path in paths])
    progress.report("following")
    options = {**given, "allow_truncated": job["allow_truncated"], "read": _read}
    result = ranking.rank(*paths, on_frame=progress, **options)
    facts = plain(result.to_dict())
    del facts["clips"]
    alone = [{"p_genuine": plain(each.p_raw), "label": each.verdict.label} for each in result.clips]
    return {**facts, "winner": result.winner, "alone": alone}


KINDS = {"judge": judge, "overlay": write_overlay, "compare": compare}


def load(options: JsonMap, shared: bool) -> None:
    """Load models, detectors and landmarks before the first clip."""
    reader = options["reader"] or judging.load_model(options["model"]).model.face_reader
    reading.of_clips()
    dark = np.zeros((120, 160, 3), np.uint8)
    follow([SimpleNamespace(time=0.0, grey=dark[..., 0], bgr=dark)], reader=reader)


def run(options: JsonMap, job: JsonMap, heartbeat: Heartbeat) -> Json:
    """Run one of `KINDS` on the clips of a job."""
    return KINDS[job["kind"]](job, options, heartbeat)


def _read(path: str | Path, *, on_frame: Callable[[int], None], **options: Any) -> Iterator[Block]:
    """As `faces.reading.read_faces`, cached in the folder of the clip and so deleted with it."""
    on_frame(0)  # cached frames are counted in blocks, so the first count could exceed the last of the previous clip
    return Cache(Path(path).parent / "followed", LIMIT).read_faces(path, on_frame=on_frame, **options)


def _frames(path: str) -> int | None:
    """Frames that a file declares, or None."""
    info = video.info(path)
    return info.declared_frames or (round(info.rate * info.duration) if info.rate and info.duration else None)
