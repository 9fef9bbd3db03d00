"""What the app's worker does (`workers.protocol.Work`): a verdict, an overlay video, a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from duchenne.workers.protocol import Heartbeat

_REASONS = 3
_SHOWN = ["p_genuine", "label", "abstained", "reason", "emotion", "phases", "evidence", "quality", "frames", "duration"]


class Progress:
    """Counts frames; no more than before means that the next of the `passes` over a clip has begun."""

    def __init__(self, heartbeat: Heartbeat, passes: list[tuple[str, int | None]]) -> None:
        self.heartbeat, self.passes = heartbeat, passes
        self.at, self.last = 0, -1

    def __call__(self, done: int) -> None:
        if done <= self.last:
            self.at = min(self.at + 1, len(self.passes) - 1)
        self.last = done
        stage, total = self.passes[self.at]
        if total is not None and done >= total:
            stage = "judging" if stage == "following" else "writing"
        self.report(stage)

    def report(self, stage: str) -> None:
        """Send how far the work is."""
        totals = [total or 0 for _, total in self.passes]
        known = all(totals)
        done = max(self.last, 0) + (sum(totals[: self.at]) if known else 0)
        self.heartbeat(done, stage, max(sum(totals), done) if known else None)


def judge(job: Mapping[str, Any], model: str, heartbeat: Heartbeat) -> dict[str, Any]:
    """Judge a clip into `job["out"]` as `duchenne analyze` does, and return what the page shows of it."""
    clip = job["clips"][0]
    progress = Progress(heartbeat, [("following", _frames(clip["path"]))])
    progress.report("following")
    found = pipeline.examine(
        clip["path"], model=model, allow_truncated=job["allow_truncated"], on_frame=progress, read=_read
    )
    progress.report("writing")
    named = [replace(each, verdict=replace(each.verdict, source=clip["name"])) for each in found]
    card = judging.load_model(model).card
    pipeline.save(named, job["out"], card)
    verdict = plain(named[0].verdict.to_dict())
    verdict["evidence"] = verdict["evidence"][:_REASONS]
    kept = {name: verdict[name] for name in _SHOWN}
    return {
        **kept,
        "row": plain(named[0].verdict.to_row()),
        "model": verdict["model"].get("id"),
        "band": card.get("abstain_band"),
        "accuracy": card.get("accuracy"),
    }


def write_overlay(job: Mapping[str, Any], model: str, heartbeat: Heartbeat) -> dict[str, Any]:
    """Write a clip with what was seen drawn in."""
    path = job["clips"][0]["path"]
    total = _frames(path)
    progress = Progress(heartbeat, [("following", total), ("drawing", total)])
    progress.report("following")
    out = Path(job["out"]) / "overlay.mp4"
    options = {"model": model, "allow_truncated": job["allow_truncated"], "read": _read}
    overlay.overlay(path, out, on_frame=progress, **options)
    return {"bytes": out.stat().st_size}


def compare(job: Mapping[str, Any], model: str, heartbeat: Heartbeat) -> dict[str, Any]:
    """Which of two clips of one person moves the more like a spontaneous expression."""
    paths = [clip["path"] for clip in job["clips"]]
    progress = Progress(heartbeat, [("following", _frames(path)) for path in paths])
    progress.report("following")
    options = {"model": model, "allow_truncated": job["allow_truncated"], "read": _read}
    found = ranking.rank(*paths, on_frame=progress, **options)
    said = plain(found.to_dict())
    del said["clips"]
    alone = [{"p_genuine": plain(each.p_raw), "label": each.verdict.label} for each in found.clips]
    return {**said, "winner": found.winner, "alone": alone}


KINDS = {"judge": judge, "overlay": write_overlay, "compare": compare}


def load(options: Mapping[str, Any], shared: bool) -> None:
    """Load what the first clip would wait for: the models, detectors and landmarks included."""
    judging.load_model(options["model"])
    reading.load()
    follow([SimpleNamespace(time=0.0, grey=np.zeros((120, 160), np.uint8))])


def run(options: Mapping[str, Any], job: Mapping[str, Any], heartbeat: Heartbeat) -> dict[str, Any]:
    """Do one of `KINDS` with the clips of a job."""
    return KINDS[job["kind"]](job, options["model"], heartbeat)


def _read(path: str | Path, *, on_frame: Callable[[int], None], **options: Any) -> Iterator[Block]:
    """As `faces.reading.read_faces`; what it gave is kept in the clip's own folder, and goes with the clip."""
    on_frame(0)  # what is kept is counted in strides, which may begin beyond the last clip's end
    return Cache(Path(path).parent / "followed", LIMIT).read_faces(path, on_frame=on_frame, **options)


def _frames(path: str) -> int | None:
    """Frames that a file says it has."""
    about = video.info(path)
    return about.declared_frames or (round(about.rate * about.duration) if about.rate and about.duration else None)
