"""The clips of a batch, found in folders or listed in a manifest, in the same order on every machine."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

from duchenne.datasets import manifest as manifests
from duchenne.errors import InputError, UsageError, printable
from duchenne.video import IMAGE_SUFFIXES, image_files, is_untimed, natural

#: File extensions of videos when a folder is searched; a file named by the user may have any.
_VIDEO = """
    264 265 3g2 3gp asf avi divx dv f4v flv h264 h265 hevc m2p m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf
    nut ogm ogv qt rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO.split())
#: Folder of a run's state; a folder that contains it contains results, not clips.
STATE = ".duchenne"
_RESERVED = (".csv", ".json", ".parquet", ".html", ".jpg")  # written in or beside the folders of clips
_LONGEST = 200  # bytes of a file name, which leaves room for suffixes (most file systems allow 255)
_OTHERS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One clip.

    path    below the plan's root, as in the file system
    name    the path as it is written in tables
    key     identifies its recorded state
    place   of its results, below the folder of results
    stamp   size in bytes and modification time in ns, of a folder of images those of its files; None if there is none
    rate    frames per second of a folder of images or a stream without times
    listed  the cells of the manifest's row, as text, but for path, start and end
    fault   why it cannot be opened, in a sentence
    """

    path: str
    name: str
    key: str
    place: str
    stamp: tuple[int, int] | None
    start: float | None = None
    end: float | None = None
    rate: float | None = None
    listed: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Plan:
    """The root folder, and the clips of a batch in order."""

    root: Path
    items: list[Item]

    def share(self, shard: tuple[int, int] | None) -> list[Item]:
        """Every n-th clip from the i-th on, of shard (i, n), i from 1; all clips if None."""
        return self.items if shard is None else self.items[shard[0] - 1 :: shard[1]]


def find(sources: Sequence[str | Path], out: Path, manifest: Path | None = None, rate: float | None = None) -> Plan:
    """The clips of files and folders in natural order, or of a manifest in its own; InputError if there are none.

    Folders are searched recursively, following each link once. Hidden files and folders of results are skipped; what
    cannot be opened is a clip with a fault. `rate` (frames/s) is for clips that store no times and have none in the
    manifest; with it, a folder with images is one clip.
    """
    if bool(sources) == (manifest is not None):
        raise UsageError("Give either video files and folders or --manifest, not both.")
    if manifest is not None:
        root = Path(os.path.abspath(manifest)).parent  # noqa: PTH100  keeps links and ".."
        _check_apart(out, [root])
        return _checked(_listed(manifest, root, rate), f"{manifest} lists no clips.")
    paths = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100
    searched = [_is_folder(path) and not (rate and holds_images(path, rate)) for path in paths]
    tops = [path if search else path.parent for path, search in zip(paths, searched, strict=True)]
    root = Path(os.path.commonpath(tops))
    _check_apart(out, [root, *tops])
    files = [f for path, search in zip(paths, searched, strict=True) for f in (_search(path) if search else [path])]
    relative = sorted(
        {os.path.relpath(file, root) for file in files},
        key=lambda path: [natural(Path(part)) for part in Path(path).parts],
    )
    names = ", ".join(map(str, sources[:3]))
    empty = f"{names} holds no video; expected files such as .mp4, .mov, .avi or .mkv."
    items = [_item(root, path, rate=rate if is_untimed(root / path) else None) for path in relative]
    return _checked(Plan(root, items), empty)


def holds_images(folder: Path, rate: float | None = None) -> bool:
    """Whether a folder contains images and no video, and so may be one clip; with a rate, videos beside them do not
    count."""
    with suppress(OSError):  # a folder that is locked is searched, and reported
        endings = {entry.suffix.lower() for entry in folder.iterdir()}
        return bool(endings & IMAGE_SUFFIXES) and not (rate is None and any(map(_is_video, _search(folder))))
    return False


def holds_videos(folder: Path) -> bool:
    """Whether a folder contains videos, at any depth, and no images itself: so it is many clips."""
    with suppress(OSError):
        endings = {entry.suffix.lower() for entry in folder.iterdir()}
        return not endings & IMAGE_SUFFIXES and any(map(_is_video, _search(folder)))
    return False


def _check_apart(out: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            if folder.samefile(out):
                raise UsageError(f"{out} is the folder of the clips; choose another folder for the results.")


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises for some names


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _search(top: Path) -> list[Path]:
    """Videos below a folder, and entries that cannot be opened.

    Linked folders come last and no folder twice, so that cycles end and names are stable.
    """
    found: list[Path] = []
    waiting, links, known = deque([top]), deque[Path](), set[tuple[int, int]]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        try:
            state = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: natural(Path(entry.name)))
        except OSError:
            found.append(folder)
            continue
        if (state.st_dev, state.st_ino) in known or os.path.lexists(folder / STATE):
            continue
        known.add((state.st_dev, state.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link to itself, or into a locked folder
                found.append(Path(entry.path))
                continue
            if is_folder:
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
            elif _is_video(Path(entry.name)):
                found.append(Path(entry.path))
    return found


def _listed(manifest: Path, root: Path, rate: float | None) -> Plan:
    items = []
    for _, entry in manifests.read_entries(manifest, persons=False):
        clip = entry.clip
        path = os.path.relpath(clip.path, root)
        item = _item(root, path, clip.start, clip.end, manifests.rate_of(entry, rate))
        known = {name: getattr(clip, name) or "" for name in ("subject", "emotion", "label", "fold")}
        items.append(replace(item, listed={**known, **entry.facts}))
    return Plan(root, items)


def _item(
    root: Path, path: str, start: float | None = None, end: float | None = None, rate: float | None = None
) -> Item:
    path = path.replace(os.sep, "/")
    name = printable(path.replace("\\", "\\\\"))
    name = f"./{name}" if name[0] in "=+-@" else name  # the same path, but not a formula in a spreadsheet
    key = hashlib.sha256(os.fsencode(path) + f"\0{start}\0{end}\0{rate}".encode()).hexdigest()[:32]
    stamp, fault, shown = None, None, root.name if path == "." else path
    try:
        stamp = _stamp(root / path)
    except InputError as error:
        fault = f"{shown} {error}"
    except FileNotFoundError:
        fault = f"There is no file {shown}; check the path, and where a link leads."
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        fault = f"{shown} cannot be opened ({reason}); check its name, link and permissions."
    return Item(path, name, key, _place(path, start, end), stamp, start, end, rate, fault=fault)


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does, or a file of a folder of images; InputError for what is neither."""
    state = path.stat()
    for is_kind, kind in _OTHERS.items():
        if is_kind(state.st_mode):
            raise InputError(f"is {kind}; expected a video file, or a folder of images.")
    if not stat.S_ISDIR(state.st_mode):
        return state.st_size, state.st_mtime_ns
    os.scandir(path).close()  # OSError where it is locked
    size, digest = 0, hashlib.sha256()
    with suppress(InputError):  # no images, which the reader reports
        for file in image_files(path):
            each = file.stat()
            size += each.st_size
            digest.update(os.fsencode(f"{file.name}\0{each.st_size} {each.st_mtime_ns}\0"))
    return size, int(digest.hexdigest()[:15], 16)


def _place(path: str, start: float | None, end: float | None) -> str:
    """Where results of a clip go: its path, kept inside the folder of results and apart from its tables."""
    *folders, last = map(_safe, path.split("/"))
    if start is not None or end is not None:
        last += f"@{start or 0.0}-{'' if end is None else end}"
    return "/".join(map(_short, filter(None, [*folders, last])))


def _safe(part: str) -> str:
    """A part of a path that names neither a folder above, nor a file that duchenne writes, nor its state."""
    plain = re.sub("[^!-\x7f]", "", part).lower()  # some file systems ignore case, spaces and invisible letters
    if plain.startswith(STATE):
        return f"~{part}"
    return f"{part}~" if part in (".", "..") or plain.endswith(_RESERVED) else part


def _short(part: str) -> str:
    encoded = os.fsencode(part)
    if len(encoded) <= _LONGEST:
        return part
    return f"{encoded[: _LONGEST - 50].decode(errors='ignore')}~{hashlib.sha256(encoded).hexdigest()[:32]}"


def _checked(plan: Plan, empty: str) -> Plan:
    """The plan, in which places that differ only in case, which some file systems ignore, are told apart."""
    if not plan.items:
        raise InputError(empty)
    opened = [item for item in plan.items if item.fault is None]
    if twice := next((place for place, n in Counter(item.place for item in opened).items() if n > 1), None):
        raise InputError(f"The results of two clips have the same path {printable(twice)}; rename one of the clips.")
    many = Counter(_folded(item.place) for item in plan.items)
    items = [
        replace(item, place=f"{item.place}~{item.key[:8]}")
        if many[_folded(item.place)] > 1 and item.place != _folded(item.place)
        else item
        for item in plan.items
    ]
    return replace(plan, items=items)


def _folded(place: str) -> str:
    return normalize("NFC", place).casefold()
