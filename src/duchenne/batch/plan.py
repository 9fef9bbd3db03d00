"""Which clips a batch has: found in folders or listed by a manifest, in an order that is the same everywhere."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duchenne.datasets import manifest as manifests
from duchenne.errors import InputError, UsageError
from duchenne.video import IMAGE_SUFFIXES, natural

#: File endings that count as videos when a folder is searched; a file that is named itself may have any.
_VIDEO = """
    3g2 3gp asf avi divx dv f4v flv m2p m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb
    ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO.split())
#: The folder in which a run keeps its state; a folder that holds one holds results and no clips.
STATE = ".duchenne"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OURS = (".csv", ".json", ".parquet", ".html")  # what is written beside the clips' own results
_LONGEST = 200  # bytes of a file name that leave room for what is added to it (most file systems end at 255)


@dataclass(frozen=True, slots=True)
class Item:
    """One clip: `path` below the plan's root as the file system has it, `name` as a table can hold it.

    `key` names its state, `place` (below the folder of results) what is made of it. `stamp` is size in bytes and
    time of change in ns, None where there is no file. `start`, `end` in seconds; `rate` of a folder of images.
    `listed`: subject, emotion and label as a manifest has them.
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
    """All clips of a batch in their order, the folder that their paths begin at, and sentences about what was left."""

    root: Path
    items: list[Item]
    notes: list[str]

    def share(self, shard: tuple[int, int] | None) -> list[Item]:
        """The clips of shard (i, n), i from 1: every n-th; all without one."""
        return self.items if shard is None else self.items[shard[0] - 1 :: shard[1]]


def find(sources: Sequence[str | Path], out: Path, manifest: Path | None = None) -> Plan:
    """The clips of files and folders in natural order, or of a manifest in its own; InputError where there is none.

    Folders are searched with all below them, links followed once. Hidden files and folders of results are no clips.
    """
    if bool(sources) == (manifest is not None):
        raise UsageError("Give either video files and folders or --manifest, one of the two.")
    if manifest is not None:
        return _checked(_listed(manifest), f"{manifest} lists no clip.")
    places = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100  links and ".." stay as they are named
    tops = [place if place.is_dir() else place.parent for place in places]
    root = Path(os.path.commonpath(tops))
    if any(_same(top, out) for top in {root, *tops}):
        raise UsageError(f"{out} is the folder of clips itself; choose another folder for the results.")
    paths: list[str] = []
    notes: list[str] = []
    for place in places:
        found = _search(place, notes) if place.is_dir() else [place]
        paths += [os.path.relpath(file, root) for file in found]
    paths = sorted(set(paths), key=lambda path: [natural(Path(part)) for part in Path(path).parts])
    items = [_item(root, path) for path in paths]
    named = ", ".join(map(str, sources[:3]))
    return _checked(
        Plan(root, items, notes), f"{named} holds no video; expected files such as .mp4, .mov, .avi or .mkv."
    )


def holds_images(folder: Path) -> bool:
    """Whether a folder holds images and no video, and so may be one clip."""
    endings = {entry.suffix.lower() for entry in folder.iterdir()}
    return bool(endings & IMAGE_SUFFIXES) and not _search(folder, [])


def readable(text: str) -> str:
    r"""`text` in one printable line: what is no text, as bytes of a file name may be, becomes \xe9, a new line \n."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode().replace("\\udc", "\\x"), text)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _search(top: Path, notes: list[str]) -> list[Path]:
    """Videos below a folder. Linked folders come last and no folder twice, so that loops end and names stay."""
    found: list[Path] = []
    waiting, links, known = deque([top]), deque[Path](), set[tuple[int, int]]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        try:
            state = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: natural(Path(entry.name)))
        except OSError as error:
            notes.append(f"{readable(str(folder))} cannot be read ({error.strerror}), so its clips are left out.")
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
        folder = (root / path).is_dir()
        item = _item(root, path, clip.start, clip.end, manifests.rate_of(entry) if folder else None)
        items.append(replace(item, listed=(clip.subject, clip.emotion, clip.label)))
    return Plan(root, items, [])


def _item(
    root: Path, path: str, start: float | None = None, end: float | None = None, rate: float | None = None
) -> Item:
    path = path.replace(os.sep, "/")
    shown = readable(path.replace("\\", "\\\\"))
    shown = f"./{shown}" if shown[0] in "=+-@" else shown  # the same path, and no formula in a spreadsheet
    key = hashlib.sha256(os.fsencode(path) + f"\0{start}\0{end}\0{rate}".encode()).hexdigest()[:32]
    try:
        found = (root / path).stat()
        stamp = (found.st_size, found.st_mtime_ns)
    except (OSError, ValueError):
        stamp = None
    return Item(path, shown, key, _place(path, key, start, end), stamp, start, end, rate)


def _place(path: str, key: str, start: float | None, end: float | None) -> str:
    """Where results of a clip go: its own path, made safe from leading out of the folder and into its tables."""
    *folders, last = path.split("/")
    folders = [f"{part}~" if part == ".." or part.endswith(_OURS) else part for part in folders]
    last = f"{last}~" if last.endswith(_OURS) else last
    if start is not None or end is not None:
        last += f"@{start or 0.0}-{'' if end is None else end}"
    if len(os.fsencode(last)) > _LONGEST:
        last = f"{os.fsencode(last)[: _LONGEST - 50].decode(errors='ignore')}~{key}"
    return "/".join([*filter(None, folders), f"{last}~" if last == ".." else last])


def _checked(plan: Plan, empty: str) -> Plan:
    if not plan.items:
        raise InputError(" ".join([empty, *plan.notes]))
    if twice := _twice(item.place for item in plan.items):
        raise InputError(f"Results of two clips would both lie at {readable(twice)}; rename one of the clips.")
    return plan


def _twice(names: Iterable[str]) -> str | None:
    known: set[str] = set()
    for name in names:
        if name in known:
            return name
        known.add(name)
    return None
