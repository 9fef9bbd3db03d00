"""Folders of images: in natural order, hidden files left out; one clip, a listing, or one folder per class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

from duchenne.errors import InputError, UsageError

#: File endings that count as images of a sequence.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pam", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)
#: File endings that count as single images; the format is decided by a file's first bytes.
SUFFIXES = IMAGE_SUFFIXES | {".apng", ".gif"}
#: Most frames that may be missing between the images of a folder.
MAX_UNSEEN = 50_000
_NUMBER = re.compile(r"[0-9]+")


def natural(path: Path) -> tuple[list[str | int], str]:
    """Key of natural order: numbers by value, letters regardless of case; ties by the exact name."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name


def image_files(folder: Path) -> list[Path]:
    """The images of a sequence, `2.png` before `10.png`; InputError where there is none."""
    if files := _images(folder, IMAGE_SUFFIXES):
        return files
    known = " ".join(sorted(IMAGE_SUFFIXES))
    raise InputError(f"{folder} is a folder without images; expected a video file or files in {known}.")


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """(number, image) of a sequence, by number: a number that is missing is a frame that was not kept.

    The number is what differs between the names; names without numbers are counted in natural order. InputError as
    `image_files`, and where two images have one number, a name is not like the others, it is unclear which of several
    numbers counts, or more than `MAX_UNSEEN` are missing.
    """
    files = image_files(folder)
    if len(files) == 1:
        return [(int((_NUMBER.findall(files[0].stem) or ["0"])[-1]), files[0])]
    by_number = sorted(zip(_numbers(folder, files), files, strict=True), key=lambda item: item[0])
    for (number, file), (other, twin) in pairwise(by_number):
        if number == other:
            raise InputError(f"{twin} has the number of {file.name}; keep one of the two.")
    missing = by_number[-1][0] - by_number[0][0] + 1 - len(files)
    if missing > MAX_UNSEEN:
        span = f"between {by_number[0][1].name} and {by_number[-1][1].name}"
        raise InputError(
            f"{folder} lacks {missing} numbers {span}, expected at most {MAX_UNSEEN}; number the images as frames."
        )
    return by_number


def _numbers(folder: Path, files: list[Path]) -> list[int]:
    """What differs between the names of a sequence."""
    forms = [_NUMBER.sub("\0", file.stem.lower()) for file in files]  # which no name holds
    if not any("\0" in form for form in forms):
        order = {stem: k for k, stem in enumerate(dict.fromkeys(forms))}
        return [order[form] for form in forms]
    usual, *others = (form for form, _ in Counter(forms).most_common())
    if others:
        odd, other = files[forms.index(others[-1])], files[forms.index(usual)].name
        raise InputError(f"{odd} is not named as the other images are ({other}); rename it, or move it out.")
    columns = list(zip(*([int(digits) for digits in _NUMBER.findall(file.stem)] for file in files), strict=True))
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    # of several, such as a count and a time of day, one that counts without a gap is the number of the frame
    counting = [column for column in varying if len(set(column)) == max(column) - min(column) + 1 == len(files)]
    if len(varying) > 1 and not counting:
        names = f"{files[0].name}, {files[-1].name}"
        raise InputError(
            f"{folder}: several numbers differ between the names of its images ({names}); keep only the number of the "
            "frame in them."
        )
    return list((counting or varying)[0])


def listing(folder: str | Path) -> list[Path]:
    """The images of a folder in natural order; InputError where there is no folder, or no image in it."""
    folder = Path(folder)
    if files := _images(folder):
        return files
    if inner := [each for each in _folders(folder) if _images(each)]:
        raise InputError(f"{folder} has images only in its subfolders; name one, such as {inner[0]}.")
    raise InputError(f"{folder} is a folder without images; expected files in {' '.join(sorted(SUFFIXES))}.")


def class_folders(
    root: str | Path, words: Mapping[str, str] | None = None, classes: tuple[str, ...] = ()
) -> list[tuple[Path, str]]:
    """(image, class) of a data set with one folder for each class, by class folder and in natural order.

    words    folder names, in lower case → class; None: any name is its own class
    classes  the expected ones; empty: whatever is there. UsageError where `words` has none of that name

    Reads only names, so it can be called before any work. Raises InputError for a missing folder, images beside the
    class folders, a name that is not an expected class, a class folder without images, a single class.
    """
    root = Path(root)
    known = {name: name for name in classes} if words is None else dict(words)
    if unknown := sorted({*classes} - {*known.values()}):
        raise UsageError(f"There is no class '{unknown[0]}'; choose from {', '.join(sorted({*known.values()}))}.")
    folders = _folders(root)
    if not folders:
        raise InputError(f"{root} has no folders; expected one folder of images for each class.")
    if loose := _images(root):
        raise InputError(f"{loose[0]} lies beside the class folders of {root}; move it into the folder of its class.")
    rows: list[tuple[Path, str]] = []
    for folder in folders:
        name = folder.name.strip()
        label = name if words is None and not classes else known.get(name.lower(), known.get(name))
        if label is None or (classes and label not in classes):
            expected = ", ".join(classes or sorted({*known.values()}))
            raise InputError(f"{folder} is not named after a known class; expected {expected}: rename or remove it.")
        files = _images(folder)
        if not files:
            raise InputError(f"{folder} is a class without images; add some, or remove the folder.")
        rows += [(file, label) for file in files]
    if len(present := {label for _, label in rows}) < 2:
        raise InputError(f"{root} has images of one class only, {present.pop()}; training needs at least two.")
    return rows


def _images(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    return [p for p in _visible(folder) if p.suffix.lower() in suffixes and p.is_file()]


def _folders(folder: Path) -> list[Path]:
    return [p for p in _visible(folder) if p.is_dir()]


def _visible(folder: Path) -> list[Path]:
    """What a folder holds in natural order, without hidden files and the unreadable copies in archives from a Mac."""
    try:
        return sorted((p for p in folder.iterdir() if p.name[0] != "." and p.name != "__MACOSX"), key=natural)
    except NotADirectoryError as error:
        raise InputError(f"{folder} is a file; expected a folder.") from error
    except FileNotFoundError as error:
        raise InputError(f"There is no folder {folder}; check the path.") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
