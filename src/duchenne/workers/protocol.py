"""What a parent and its worker exchange, one JSON object a line; `child` lists the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol


class Heartbeat(Protocol):
    """A sign of life of the job under way: how much is done (frames), of how much, and in which stage."""

    def __call__(self, done: int, stage: str = "", total: int | None = None) -> None: ...


@dataclass(frozen=True)
class Work:
    """What a worker is for; both functions are named "module:object".

    load  load(options, shared) loads code and models before the first job; `shared`: for processes forked from it too
    run   run(options, arguments, heartbeat) does a job and returns its result, ready for JSON
    """

    load: str
    run: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """`name` of its clip in sentences; `lead`: seconds of video that are skipped before there is a sign of life."""

    number: int
    name: str
    arguments: Mapping[str, Any]
    lead: float = 0.0


@dataclass(frozen=True)
class Result:
    """What became of a job: the value that its function returned, or a sentence why there is none."""

    number: int
    value: Any = None
    failure: str | None = None


@dataclass(frozen=True)
class Limits:
    """Of a process: seconds without a sign of life, bytes of memory, seconds for one job."""

    stall: float = 120.0
    memory: int = 4 << 30
    seconds: float = float("inf")


def resolve(name: str) -> Any:
    """The object behind "module:object"."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
