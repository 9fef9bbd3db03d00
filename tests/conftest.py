"""Clips that all tests share, and the command line as a user calls it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from duchenne import cli
from duchenne.datasets import simulate
from duchenne.types import Array
from makers import make_video

# the same examples on every run and machine
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

os.environ["DUCHENNE_CACHE_LIMIT"] = "0"  # no cache: clips are read, nothing is written to the user's home

RATE = 25
#: A smile of 2.4 s in small frames: about the shortest that gets a verdict.
BRIEF = replace(simulate.POSED, neutral_before=0.6, onset=0.5, apex=0.4, offset=0.5, neutral_after=0.4)


@dataclass(frozen=True)
class Completed:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The message of a failed command; asserts that stderr is one line, and not a traceback."""
        assert self.code in (1, 2), (self.code, self.err)
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("duchenne: ") and lines[0].endswith("."), self.err
        return lines[0].removeprefix("duchenne: ")


def command(*words: object) -> Completed:
    """Call the command line in this process, for fixtures that several tests share."""
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["duchenne", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Completed(code, out.getvalue(), err.getvalue())


@pytest.fixture
def duchenne(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Completed]:
    """Call the command line in this process: `duchenne("analyze", path)`."""

    def call(*words: object) -> Completed:
        monkeypatch.setattr(sys, "argv", ["duchenne", *map(str, words)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return Completed(code, out, err)

    return call


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this session's clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the files that use `read_once`."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def read_once(cache_folder: Path) -> Iterator[None]:
    """Faces are read from the cache that all such files share; for files in which it does not matter how they are read:
    `pytestmark = pytest.mark.usefixtures("read_once")`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUCHENNE_CACHE", str(cache_folder))
        patch.setenv("DUCHENNE_CACHE_LIMIT", "2 GB")
        yield


@pytest.fixture(scope="session")
def pictures() -> list[Array]:
    """The frames of one brief smile, uint8 (240, 320, 3) RGB; with this seed it is far from every threshold."""
    return list(simulate.frames(BRIEF, rate=RATE, size=(320, 240), seed=4))


@pytest.fixture(scope="session")
def smile(clips: Path, pictures: list[Array]) -> Path:
    """An intact clip of that smile."""
    return make_video(clips / "smile.mp4", pictures, rate=RATE)


@pytest.fixture(scope="session")
def empty_room(clips: Path) -> Path:
    """An intact clip without a face."""
    shade = np.linspace(40, 160, 160).astype(np.uint8)
    picture = np.repeat(np.tile(shade, (120, 1))[..., None], 3, axis=2)
    return make_video(clips / "empty_room.mp4", [picture] * 10, rate=RATE)
