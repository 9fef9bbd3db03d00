"""The process in which the app's clips are read, so that none of them can bring the page down.

`python -m duchenne.web.child MODEL SECONDS` reads one JSON job a line on stdin and answers in lines on stdout:
{"ready": true}, {"stage": …, "done": frames, "total": frames or null}, and for each job {"result": …} or
{"failed": sentence}. The line {"cancel": true} makes it give up a job at its next sign of progress. It leaves when
stdin ends, and when a job takes much longer than SECONDS.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np

from duchenne import judging
from duchenne.errors import DuchenneError
from duchenne.expression import reading
from duchenne.faces import follow
from duchenne.web.jobs import KINDS, Say

_SPARE = 30.0  # s over the limit after which a process that hangs ends itself
_CANCEL = threading.Event()


class _Cancelled(BaseException):
    """Nobody wants the answer any more."""


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

    def tick(what: Mapping[str, Any]) -> None:
        if _CANCEL.is_set():
            raise _Cancelled
        say(what)

    try:
        return {"result": named(KINDS[job["kind"]](job, tick))}
    except _Cancelled:
        return {"failed": "Cancelled."}
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
    judging.load_model(model)
    reading.load()
    follow([SimpleNamespace(time=0.0, grey=np.zeros((120, 160), np.uint8))])


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        said = json.loads(line)
        if "cancel" in said:
            _CANCEL.set()
        else:
            _CANCEL.clear()
            jobs.put(said)
    os._exit(0)  # whoever sent jobs is gone


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(sys.argv[1], float(sys.argv[2]))
