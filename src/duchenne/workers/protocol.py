"""What a parent process and its workers exchange; `child` lists the messages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from duchenne.types import JsonMap


class Heartbeat(Protocol):
    """Reports progress of the current job: how much is done (frames), in which stage, of what total."""

    def __call__(self, done: int, stage: str = "", total: int | None = None) -> None: ...


@dataclass(frozen=True)
class Work:
    """What a worker runs; both functions are named "module:object".

    load  load(options, shared) loads code and models before the first job; `shared`: before workers are forked from it
    run   run(options, arguments, heartbeat) does a job and returns its result, ready for JSON
    """

    load: str
    run: str
    options: JsonMap


@dataclass(frozen=True)
class Job:
    """`name` of its clip in messages; `lead`: seconds of video to decode before the first heartbeat."""

    number: int
    name: str
    arguments: JsonMap
    lead: float = 0.0


@dataclass(frozen=True)
class Result:
    """Outcome of a job: the value that its function returned, or the reason of its failure in a sentence."""

    number: int
    value: Any = None
    failure: str | None = None


@dataclass(frozen=True)
class Limits:
    """Limits of a process: seconds without a heartbeat, bytes of memory, seconds for one job."""

    stall: float = 120.0
    memory: int = 4 << 30
    seconds: float = float("inf")


def resolve(name: str) -> Any:
    """The object behind "module:object"."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
