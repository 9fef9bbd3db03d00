"""The process in which the app's clips are read, so that none of them can bring the page down.

`python -m duchenne.web.child MODEL SECONDS` reads one JSON job a line on stdin and answers in lines on stdout:
{"ready": true}, {"stage": …, "done": frames, "total": frames or null}, and for each job {"result": …} or
{"failed": sentence}. It leaves when stdin ends, and when a job takes much longer than SECONDS.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from duchenne import expressions, judges, overlay, pipeline, ranking, video
from duchenne.errors import DuchenneError
from duchenne.faces import follow
from duchenne.io import plain

_TICK = 0.15  # s between two signs of progress
_SPARE = 30.0  # s over the limit after which a process that hangs ends itself
_REASONS = 3
_SHOWN = ["p_genuine", "label", "abstained", "reason", "emotion", "phases", "evidence", "quality", "frames", "duration"]
Say = Callable[[Mapping[str, Any]], None]


class Progress:
    """Tells of frames done; frame 1 again means that the next of the `passes` over a clip has begun."""

    def __init__(self, say: Say, passes: list[tuple[str, int | None]]) -> None:
        self.say, self.passes = say, passes
        self.at, self.last, self.told = 0, 0, 0.0

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
        done = self.last + sum(totals[: self.at]) if known else self.last
        self.say({"stage": stage, "done": done, "total": max(sum(totals), done) if known else None})
        self.told = time.monotonic()


def judge(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Judge a clip into `job["out"]` as `duchenne analyze` does, and return what the page shows of it."""
    clip = job["clips"][0]
    progress = Progress(say, [("following", _frames(clip["path"]))])
    progress.tell("following")
    found = pipeline.examine(
        clip["path"], model=job["model"], allow_truncated=job["allow_truncated"], on_frame=progress
    )
    progress.tell("writing")
    named = [replace(each, verdict=replace(each.verdict, source=clip["name"])) for each in found]
    card = judges.load_model(job["model"]).card
    pipeline.save(named, job["out"], card)
    verdict = plain(named[0].verdict.to_dict())
    verdict["evidence"] = verdict["evidence"][:_REASONS]
    kept = {name: verdict[name] for name in _SHOWN}
    return {**kept, "model": verdict["model"].get("id"), "band": card.get("abstain_band"), "accuracy": card.get("accuracy")}


def film(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Write a clip with what was seen drawn in."""
    path = job["clips"][0]["path"]
    total = _frames(path)
    progress = Progress(say, [("following", total), ("drawing", total)])
    progress.tell("following")
    out = Path(job["out"]) / "overlay.mp4"
    overlay.overlay(path, out, model=job["model"], allow_truncated=job["allow_truncated"], on_frame=progress)
    return {"bytes": out.stat().st_size}


def compare(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Which of two clips of one person moves the more like a spontaneous expression."""
    paths = [clip["path"] for clip in job["clips"]]
    progress = Progress(say, [("following", _frames(path)) for path in paths])
    progress.tell("following")
    found = ranking.rank(*paths, model=job["model"], allow_truncated=job["allow_truncated"], on_frame=progress)
    said = plain(found.to_dict())
    del said["clips"]
    alone = [{"p_genuine": plain(each.p_raw), "label": each.verdict.label} for each in found.clips]
    return {**said, "winner": found.winner, "alone": alone}


KINDS = {"judge": judge, "film": film, "compare": compare}


def _frames(path: str) -> int | None:
    """Frames that a file says it has."""
    about = video.info(path)
    told = about.declared_frames
    return told or (round(about.rate * about.duration) if about.rate and about.duration else None)


def _answer(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """What became of a job; a stored file goes by its own name in every sentence."""

    def named(value: Any) -> Any:
        if isinstance(value, str):
            for clip in job["clips"]:
                value = value.replace(clip["path"], clip["name"])
            return value
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        return [named(item) for item in value] if isinstance(value, list) else value

    try:
        return {"result": named(KINDS[job["kind"]](job, say))}
    except DuchenneError as error:
        return {"failed": named(str(error))}
    except Exception as error:  # the page goes on, whatever a clip does
        text = f"{type(error).__name__}: {error}".rstrip(".")
        return {"failed": named(f"{job['clips'][0]['name']} met a fault of duchenne ({text}); please report it.")}


def main(model: str, seconds: float) -> None:
    """Do jobs until stdin ends."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()

    def say(what: Mapping[str, Any]) -> None:
        print(json.dumps(what), file=stream, flush=True)

    _warm(model)
    say({"ready": True})
    while True:
        job = jobs.get()
        # outside Python's own lock, as an orphan that hangs in foreign code must end too
        faulthandler.dump_traceback_later(seconds + _SPARE, exit=True)
        say(_answer({**job, "model": model}, say))
        faulthandler.cancel_dump_traceback_later()


def _warm(model: str) -> None:
    """Load what the first clip would wait for: the models, detectors and landmarks included."""
    judges.load_model(model)
    expressions.load()
    follow([SimpleNamespace(time=0.0, grey=np.zeros((120, 160), np.uint8))])


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)  # whoever sent jobs is gone


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(sys.argv[1], float(sys.argv[2]))
