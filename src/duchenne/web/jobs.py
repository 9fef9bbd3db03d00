"""What the app asks of its process: a verdict, an overlay video, a comparison, each with word of how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from duchenne import judging, overlay, pipeline, ranking, video
from duchenne.clips.cache import LIMIT, Cache
from duchenne.io import Block, plain

_TICK = 0.15  # s between two signs of progress
_REASONS = 3
_SHOWN = ["p_genuine", "label", "abstained", "reason", "emotion", "phases", "evidence", "quality", "frames", "duration"]
Say = Callable[[Mapping[str, Any]], None]


class Progress:
    """Tells of frames done; no more than before means that the next of the `passes` over a clip has begun."""

    def __init__(self, say: Say, passes: list[tuple[str, int | None]]) -> None:
        self.say, self.passes = say, passes
        self.at, self.last, self.told = 0, -1, 0.0

    def __call__(self, done: int) -> None:
        if done <= self.last:
            self.at = min(self.at + 1, len(self.passes) - 1)
        self.last = done
        stage, total = self.passes[self.at]
        if total is not None and done >= total:
            self.tell("judging" if stage == "following" else "writing")
        elif time.monotonic() - self.told >= _TICK:
            self.tell(stage)

    def tell(self, stage: str) -> None:
        """Say where the work stands."""
        totals = [total or 0 for _, total in self.passes]
        known = all(totals)
        done = max(self.last, 0) + (sum(totals[: self.at]) if known else 0)
        self.say({"stage": stage, "done": done, "total": max(sum(totals), done) if known else None})
        self.told = time.monotonic()


def judge(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Judge a clip into `job["out"]` as `duchenne analyze` does, and return what the page shows of it."""
    clip = job["clips"][0]
    progress = Progress(say, [("following", _frames(clip["path"]))])
    progress.tell("following")
    found = pipeline.examine(
        clip["path"], model=job["model"], allow_truncated=job["allow_truncated"], on_frame=progress, read=_read
    )
    progress.tell("writing")
    named = [replace(each, verdict=replace(each.verdict, source=clip["name"])) for each in found]
    card = judging.load_model(job["model"]).card
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


def film(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Write a clip with what was seen drawn in."""
    path = job["clips"][0]["path"]
    total = _frames(path)
    progress = Progress(say, [("following", total), ("drawing", total)])
    progress.tell("following")
    out = Path(job["out"]) / "overlay.mp4"
    options = {"model": job["model"], "allow_truncated": job["allow_truncated"], "read": _read}
    overlay.overlay(path, out, on_frame=progress, **options)
    return {"bytes": out.stat().st_size}


def compare(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Which of two clips of one person moves the more like a spontaneous expression."""
    paths = [clip["path"] for clip in job["clips"]]
    progress = Progress(say, [("following", _frames(path)) for path in paths])
    progress.tell("following")
    options = {"model": job["model"], "allow_truncated": job["allow_truncated"], "read": _read}
    found = ranking.rank(*paths, on_frame=progress, **options)
    said = plain(found.to_dict())
    del said["clips"]
    alone = [{"p_genuine": plain(each.p_raw), "label": each.verdict.label} for each in found.clips]
    return {**said, "winner": found.winner, "alone": alone}


KINDS = {"judge": judge, "film": film, "compare": compare}


def _read(path: str | Path, *, on_frame: Callable[[int], None], **options: Any) -> Iterator[Block]:
    """As `faces.reading.read_faces`; what it gave is kept in the clip's own folder, and goes with the clip."""
    on_frame(0)  # what is kept is told of in strides, which may begin beyond the last clip's end
    return Cache(Path(path).parent / "followed", LIMIT).read_faces(path, on_frame=on_frame, **options)


def _frames(path: str) -> int | None:
    """Frames that a file says it has."""
    about = video.info(path)
    told = about.declared_frames
    return told or (round(about.rate * about.duration) if about.rate and about.duration else None)
