"""A folder for faces is its owner's alone, or is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from duchenne import io
from duchenne.clips.cache import Cache
from duchenne.errors import OutputError

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="a profile's folders are private on Windows")


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    new, old = tmp_path / "a" / "new", tmp_path / "old"
    old.mkdir()
    old.chmod(0o777)
    for folder in (new, old, old):
        assert stat.S_IMODE(io.private_folder(folder).stat().st_mode) == 0o700


def test_the_cache_is_private_or_refused(tmp_path: Path) -> None:
    folder, link, shared = tmp_path / "cache", tmp_path / "link", tmp_path / "shared"
    for each in (folder, shared):
        each.mkdir()
        each.chmod(0o777 if each == folder else 0o1777)
    link.symlink_to(folder)
    assert stat.S_IMODE(Cache(folder).folder.stat().st_mode) == 0o777  # nothing is stored with the limit 0
    assert stat.S_IMODE(Cache(folder, 1e9).folder.stat().st_mode) == 0o700
    for refused in (link, shared):
        with pytest.raises(OutputError, match=r"choose a folder of your own\.|name the folder itself\."):
            Cache(refused, 1e9)


def test_links_files_and_folders_of_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir(mode=0o755)
    shared.mkdir()
    shared.chmod(0o1777)
    (tmp_path / "link").symlink_to(own)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "file").write_text("x")
    refused = {"link": "is a link", "nowhere": "is a link", "shared": "is shared", "file": "cannot be written"}
    for name, reason in refused.items():
        with pytest.raises(OutputError, match=rf"{name} {reason}[^;]*; [^;]*\.$"):
            io.private_folder(tmp_path / name)
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    with pytest.raises(OutputError, match=r"own belongs to another user; choose a folder of your own\.$"):
        io.private_folder(own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o755 and not (tmp_path / "missing").exists()
