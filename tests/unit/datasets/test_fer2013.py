"""FER2013 is read from all its forms, with the same images and labels from each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from duchenne.datasets import fer2013
from duchenne.datasets.entry import Entry
from duchenne.datasets.fer2013 import CLASSES, duplicates, images
from duchenne.errors import InputError
from duchenne.types import Clip

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (7, 48, 48)).astype(np.uint8)
LABELS = (0, 3, 6, 1, 2, 5, 4)
USAGES = ("Training", "Training", "PublicTest", "Training", "PrivateTest", "PublicTest", "Training")
FOLDS = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}


def table(root: Path, header: str = "emotion,pixels,Usage", name: str = "fer2013.csv") -> Path:
    lines = [header]
    for label, picture, usage in zip(LABELS, PICTURES, USAGES, strict=True):
        lines.append(f"{label},{' '.join(map(str, picture.ravel()))},{usage}")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "name"),
    [("emotion,pixels,Usage", "fer2013.csv"), ("emotion, pixels, Usage", "fer2013/icml_face_data.csv")],
)
def test_table_is_read(tmp_path: Path, header: str, name: str) -> None:
    path = table(tmp_path, header, name)
    entries = fer2013.table(tmp_path)
    assert entries == [Entry(Clip(f"{path}#{i}", emotion=CLASSES[LABELS[i]], fold=FOLDS[USAGES[i]])) for i in range(7)]
    order = [5, 0, 5, 2]  # any order, and the same row twice
    np.testing.assert_array_equal(images([entries[i] for i in order]), PICTURES[order])


def test_columns_may_be_in_any_order(tmp_path: Path) -> None:
    rows = "\n".join(
        f"{use},{label},{' '.join(map(str, p.ravel()))}" for use, label, p in zip(USAGES, LABELS, PICTURES, strict=True)
    )
    (tmp_path / "icml_face_data.csv").write_text("Usage,emotion, pixels\n" + rows)
    entries = fer2013.table(tmp_path)
    assert [entry.clip.emotion for entry in entries] == [CLASSES[label] for label in LABELS]
    np.testing.assert_array_equal(images(entries), PICTURES)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("emotion,pixels,Usage", "emotion,pixels,Use", "lacks the column usage"),
        ("\n6,", "\n7,", "line 4, has the emotion '7'; expected a number from 0 to 6"),
        ("PrivateTest", "Test", "line 6, has the Usage 'Test'"),
        (",PrivateTest", " 7,PrivateTest", "line 6, has 2305 pixels; expected 2304"),
        (",PrivateTest", "", "line 6, has 2 cells for 3 columns"),
    ],
)
def test_invalid_table_raises(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = table(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        fer2013.table(tmp_path)
    assert fault in str(caught.value)


@pytest.mark.parametrize("level", ["256", "-1", "x", "1.5"])
def test_invalid_grey_levels_raise(tmp_path: Path, level: str) -> None:
    path = table(tmp_path)
    lines = path.read_text().splitlines()
    lines[3] = f"6,{level} {lines[3].split(' ', 1)[1]}"
    path.write_text("\n".join(lines))
    entries = fer2013.table(tmp_path)
    with pytest.raises(InputError, match=r"line 4, does not have 2304 pixels from 0 to 255"):
        images(entries)
    np.testing.assert_array_equal(images(entries[:2]), PICTURES[:2])
    with pytest.raises(InputError, match=r"fer2013\.csv has no row 7"):
        images([entries[0], Entry(Clip(f"{path}#7"))])


def test_class_folders_are_read(tmp_path: Path) -> None:
    expected = {}
    words = dict(zip(CLASSES, ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), strict=True))
    for i, (label, usage) in enumerate(zip(LABELS, USAGES, strict=True)):
        folder = tmp_path / "archive" / ("train" if usage == "Training" else "test") / words[CLASSES[label]]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{usage}_{i}.png"
        cv2.imwrite(str(path), PICTURES[i])
        expected[str(path)] = (CLASSES[label], FOLDS[usage], i)
    entries = fer2013.folders(tmp_path)
    assert [entry.clip.path for entry in entries] == sorted(expected)
    assert all((e.clip.emotion, e.clip.fold) == expected[e.clip.path][:2] for e in entries)
    np.testing.assert_array_equal(images(entries), PICTURES[[expected[e.clip.path][2] for e in entries]])

    cv2.imwrite(str(tmp_path / "archive" / "test" / "fear" / "im0.png"), PICTURES[0][:40])
    by_folder = next(e for e in fer2013.folders(tmp_path) if e.clip.path.endswith("im0.png"))
    assert by_folder.clip.fold == "test"
    with pytest.raises(InputError, match=r"im0\.png is 48×40 pixels; expected 48×48"):
        images([by_folder])
    (tmp_path / "archive" / "test" / "bored").mkdir()
    assert fer2013.folders(tmp_path)  # without images it is nothing
    (tmp_path / "archive" / "test" / "bored" / "a.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match="bored is not a class of FER2013"):
        fer2013.folders(tmp_path)
    with pytest.raises(InputError, match=r"a\.jpg is not an image that can be read"):
        images([Entry(Clip(str(tmp_path / "archive/test/bored/a.jpg")))])
    with pytest.raises(InputError, match=r"There is no file .*gone\.jpg"):
        images([Entry(Clip(str(tmp_path / "gone.jpg")))])


def test_packed_is_read(tmp_path: Path) -> None:
    labels = np.array(LABELS, np.int8)
    np.savez(tmp_path / "train.npz", images=PICTURES[:4], labels=labels[:4])
    np.savez(tmp_path / "public_test.npz", images=PICTURES[4:], labels=labels[4:])
    entries = fer2013.packed(tmp_path)
    assert [e.clip.fold for e in entries] == ["train"] * 4 + ["public_test"] * 3
    assert [e.clip.emotion for e in entries] == [CLASSES[label] for label in LABELS]
    assert entries[5].clip.path == str(tmp_path / "public_test.npz") + "#1"
    np.testing.assert_array_equal(images(entries[::-1]), PICTURES[::-1])
    with pytest.raises(InputError, match=r"train\.npz has no row 4"):
        images([Entry(Clip(f"{tmp_path / 'train.npz'}#4"))])


@pytest.mark.parametrize(
    ("arrays", "call", "fault"),
    [
        ({"images": PICTURES}, fer2013.packed, "must hold the arrays images and labels"),
        ({"images": PICTURES, "labels": np.arange(7) + 1}, fer2013.packed, "not whole numbers from 0 to 6"),
        ({"images": PICTURES, "labels": np.zeros(7)}, fer2013.packed, "not whole numbers from 0 to 6"),
        (
            {"images": PICTURES / 255, "labels": np.zeros(7, int)},
            lambda root: images(fer2013.packed(root)),
            "has images float64",
        ),
    ],
)
def test_invalid_packed_raises(
    tmp_path: Path, arrays: dict[str, np.ndarray], call: Callable[[Path], object], fault: str
) -> None:
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(InputError, match=fault):
        call(tmp_path)


def test_truncated_packed_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    np.savez(path, images=PICTURES, labels=np.array(LABELS))
    whole = path.read_bytes()
    for content in (whole[:3000], b"text", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"train\.npz cannot be read as \.npz"):
            fer2013.packed(tmp_path)
    np.save(tmp_path / "one.npy", PICTURES)
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(InputError, match="not a valid archive of arrays"):
        fer2013.packed(tmp_path)
    np.savez(path, images=PICTURES)
    with pytest.raises(InputError, match="must hold the arrays images and labels"):
        fer2013.packed(tmp_path)


def test_loaders_find_nothing_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for load in (fer2013.table, fer2013.folders, fer2013.packed):
        assert load(tmp_path) == load(tmp_path / "nowhere") == []


def test_duplicates_agree_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 2, (n, 2, 2)).astype(np.uint8) for n in (30, 20))  # 16 pictures exist, so many repeat
    brute = [(i, j) for j in range(20) for i in range(30) if (a[i] == b[j]).all()]
    assert len(brute) > 20
    assert duplicates(a, b).tolist() == [list(pair) for pair in brute]
    assert duplicates(a, a[:0]).shape == (0, 2)


def test_the_real_public_test_shares_280_images_with_training() -> None:
    root = Path(os.environ.get("DUCHENNE_DATA", "")) / "data" / "fer2013"
    if "DUCHENNE_DATA" not in os.environ or not root.is_dir():
        pytest.skip("needs FER2013 in the folder data/fer2013 of DUCHENNE_DATA")
    entries = fer2013.packed(root)
    by_fold = {fold: [e for e in entries if e.clip.fold == fold] for fold in ("train", "public_test")}
    assert {fold: len(found) for fold, found in by_fold.items()} == {"train": 28709, "public_test": 3589}
    pairs = duplicates(images(by_fold["train"]), images(by_fold["public_test"]))
    assert len(np.unique(pairs[:, 1])) == 280  # counted apart, by other code, when the data were handed over
    other = [j for i, j in pairs if by_fold["train"][i].clip.emotion != by_fold["public_test"][j].clip.emotion]
    assert len(set(other)) == 13
