"""The app's work on a clip, in this process: faces are tracked once, and progress only grows."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import RATE
from duchenne.clips import cache
from duchenne.types import Array
from duchenne.web import jobs
from makers import make_video


@pytest.fixture(scope="module")
def two(smile: Path, pictures: list[Array], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """A clip of 45 frames and one of 60, each in a folder of its own, as uploads are; both were judged."""
    folder = tmp_path_factory.mktemp("session")
    paths = [folder / name / "clip.mp4" for name in ("short", "whole")]
    for path in paths:
        path.parent.mkdir()
    make_video(paths[0], pictures[:45], rate=RATE)
    shutil.copy(smile, paths[1])
    clips = [{"path": str(path), "name": f"{path.parent.name}.mp4"} for path in paths]
    for clip in clips:
        run(jobs.judge, [clip])
    return clips


def run(kind: Any, clips: list[dict[str, str]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a job, and all its progress reports."""
    reports: list[Any] = []
    out = Path(clips[0]["path"]).parent / "out"
    job = {"clips": clips, "out": str(out), "allow_truncated": False}

    def heartbeat(done: int, stage: str = "", total: int | None = None) -> None:
        reports.append({"done": done, "stage": stage, "total": total})

    return kind(job, {"model": "default", "reader": None}, heartbeat), reports


def test_overlay_and_comparison_use_cached_tracks(two: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "read_faces", lambda *_, **__: pytest.fail("tracked again"))
    overlay, reports = run(jobs.write_overlay, two[1:])
    assert overlay["bytes"] == (Path(two[1]["path"]).parent / "out" / "overlay.mp4").stat().st_size > 10_000
    assert {each["stage"] for each in reports} >= {"following", "drawing", "writing"}
    assert {each["total"] for each in reports} == {120} and reports[-1]["done"] == 120
    result, reports = run(jobs.compare, two)
    assert len(result["alone"]) == 2 and all(0 <= each["p_genuine"] <= 1 for each in result["alone"])
    assert {each["total"] for each in reports} == {105} and reports[-1]["done"] == 105
    assert all(a["done"] <= b["done"] for a, b in pairwise(reports)) and {0, 45} <= {each["done"] for each in reports}


def test_cache_of_a_clip_is_in_its_folder(two: list[dict[str, str]]) -> None:
    for clip in two:
        own = Path(clip["path"]).parent
        assert sorted(path.name for path in own.iterdir()) == ["clip.mp4", "followed", "out"]
        assert [path.suffix for path in (own / "followed").iterdir()] == [".followed"]
