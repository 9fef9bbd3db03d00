"""The clips of a batch, found in folders or listed in a manifest, in the same order on every machine."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duchenne.datasets import manifest as manifests
from duchenne.errors import InputError, UsageError, printable
from duchenne.video import IMAGE_SUFFIXES, STREAM_SUFFIXES, natural

#: File extensions of videos when a folder is searched; a file named by the user may have any.
_VIDEO = """
    3g2 3gp asf avi divx dv f4v flv m2p m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb
    ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO.split())
#: Folder of a run's state; a folder that contains it contains results, not clips.
STATE = ".duchenne"
_RESERVED = (".csv", ".json", ".parquet", ".html")  # written beside the folders of clips
_LONGEST = 200  # bytes of a file name, which leaves room for suffixes (most file systems allow 255)


@dataclass(frozen=True, slots=True)
class Item:
    """One clip.

    path    below the plan's root, as in the file system
    name    the path as it is written in tables
    key     identifies its recorded state
    place   of its results, below the folder of results
    stamp   size in bytes and modification time in ns; None if there is no file
    rate    frames per second of a folder of images or a stream without times
    listed  subject, emotion and label of the manifest
    """

    path: str
    name: str
    key: str
    place: str
    stamp: tuple[int, int] | None
    start: float | None = None
    end: float | None = None
    rate: float | None = None
    listed: tuple[str | None, str | None, str | None] = (None, None, None)


@dataclass(frozen=True)
class Plan:
    """The root folder, the clips of a batch in order, and notes on what was skipped."""

    root: Path
    items: list[Item]
    notes: list[str]

    def share(self, shard: tuple[int, int] | None) -> list[Item]:
        """Every n-th clip from the i-th on, of shard (i, n), i from 1; all clips if None."""
        return self.items if shard is None else self.items[shard[0] - 1 :: shard[1]]


def find(sources: Sequence[str | Path], out: Path, manifest: Path | None = None) -> Plan:
    """The clips of files and folders in natural order, or of a manifest in its own; InputError if there are none.

    Folders are searched recursively, following each link once. Hidden files and folders of results are skipped.
    """
    if bool(sources) == (manifest is not None):
        raise UsageError("Give either video files and folders or --manifest, not both.")
    if manifest is not None:
        return _checked(_listed(manifest), f"{manifest} lists no clips.")
    paths = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100  keeps links and ".."
    tops = [path if path.is_dir() else path.parent for path in paths]
    root = Path(os.path.commonpath(tops))
    if any(_same(top, out) for top in {root, *tops}):
        raise UsageError(f"{out} is the folder of the clips; choose another folder for the results.")
    notes: list[str] = []
    files = [file for path in paths for file in (_search(path, notes) if path.is_dir() else [path])]
    relative = sorted(
        {os.path.relpath(file, root) for file in files},
        key=lambda path: [natural(Path(part)) for part in Path(path).parts],
    )
    plan = Plan(root, [_item(root, path) for path in relative], notes)
    names = ", ".join(map(str, sources[:3]))
    return _checked(plan, f"{names} holds no video; expected files such as .mp4, .mov, .avi or .mkv.")


def holds_images(folder: Path) -> bool:
    """Whether a folder contains images and no video, and so may be one clip."""
    endings = {entry.suffix.lower() for entry in folder.iterdir()}
    return bool(endings & IMAGE_SUFFIXES) and not _search(folder, [])


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _search(top: Path, notes: list[str]) -> list[Path]:
    """Videos below a folder. Linked folders come last and no folder twice, so that cycles end and names are stable."""
    found: list[Path] = []
    waiting, links, known = deque([top]), deque[Path](), set[tuple[int, int]]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        try:
            state = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: natural(Path(entry.name)))
        except OSError as error:
            notes.append(f"{printable(str(folder))} cannot be read ({error.strerror}); its clips are left out.")
            continue
        if (state.st_dev, state.st_ino) in known or (folder / STATE).exists():
            continue
        known.add((state.st_dev, state.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in VIDEO_SUFFIXES:
                found.append(Path(entry.path))
    return found


def _listed(manifest: Path) -> Plan:
    root = Path(os.path.abspath(manifest)).parent  # noqa: PTH100
    items = []
    for _, entry in manifests.read_entries(manifest, persons=False):
        clip = entry.clip
        path = os.path.relpath(clip.path, root)
        untimed = (root / path).is_dir() or Path(path).suffix.lower() in STREAM_SUFFIXES | IMAGE_SUFFIXES
        item = _item(root, path, clip.start, clip.end, manifests.rate_of(entry) if untimed else None)
        items.append(replace(item, listed=(clip.subject, clip.emotion, clip.label)))
    return Plan(root, items, [])


def _item(
    root: Path, path: str, start: float | None = None, end: float | None = None, rate: float | None = None
) -> Item:
    path = path.replace(os.sep, "/")
    name = printable(path.replace("\\", "\\\\"))
    name = f"./{name}" if name[0] in "=+-@" else name  # the same path, but not a formula in a spreadsheet
    key = hashlib.sha256(os.fsencode(path) + f"\0{start}\0{end}\0{rate}".encode()).hexdigest()[:32]
    try:
        stat = (root / path).stat()
        stamp = (stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError):
        stamp = None
    return Item(path, name, key, _place(path, key, start, end), stamp, start, end, rate)


def _place(path: str, key: str, start: float | None, end: float | None) -> str:
    """Where results of a clip go: its path, kept inside the folder of results and apart from its tables."""
    *folders, last = path.split("/")
    folders = [f"{part}~" if part == ".." or part.endswith(_RESERVED) else part for part in folders]
    last = f"{last}~" if last.endswith(_RESERVED) else last
    if start is not None or end is not None:
        last += f"@{start or 0.0}-{'' if end is None else end}"
    if len(os.fsencode(last)) > _LONGEST:
        last = f"{os.fsencode(last)[: _LONGEST - 50].decode(errors='ignore')}~{key}"
    return "/".join([*filter(None, folders), f"{last}~" if last == ".." else last])


def _checked(plan: Plan, empty: str) -> Plan:
    if not plan.items:
        raise InputError(" ".join([empty, *plan.notes]))
    if twice := next((place for place, n in Counter(item.place for item in plan.items).items() if n > 1), None):
        raise InputError(f"The results of two clips have the same path {printable(twice)}; rename one of the clips.")
    return plan
