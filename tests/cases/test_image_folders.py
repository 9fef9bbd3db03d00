"""Folders of images: the numbers in the names are time, and what is missing was not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duchenne import video
from duchenne.datasets.coded import casme2
from duchenne.errors import InputError
from duchenne.faces import join
from duchenne.faces.reading import read_faces
from duchenne.types import Array
from duchenne.video import images
from makers import make_image


def folder(path: Path, *names: str) -> Path:
    """Images whose grey level is 10 times their position among the names."""
    path.mkdir(parents=True)
    for k, name in enumerate(names):
        make_image(path / name, np.full((6, 8, 3), 10 * k, np.uint8))
    return path


def timed(path: Path, **stretch: float) -> list[tuple[int, float, int]]:
    return [(f.index, f.time, int(f.grey[0, 0])) for f in video.frames(path, rate=10, **stretch)]


@pytest.mark.parametrize(
    "names",
    [
        ["img3.png", "img4.png", "img7.png"],
        ["IMG_03.png", "img_04.png", "img_007.png"],  # padded in several ways
        ["006_3.png", "006_4.png", "006_7.png"],  # as SAMM: a person's number before
        ["f3_60x40.png", "f4_60x40.png", "f7_60x40.png"],
        ["17000000000003.png", "17000000000004.png", "17000000000007.png"],  # milliseconds
    ],
)
def test_missing_number_is_a_frame_that_was_not_seen(tmp_path: Path, names: list[str]) -> None:
    path = folder(tmp_path / "clip", *names)
    (path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (path / ".img5.png").write_text("hidden")
    assert timed(path) == [(0, 0.0, 0), (1, 0.1, 10), (4, 0.4, 20)]
    assert timed(path, start=0.2) == [(0, 0.0, 20)] and video.info(path).declared_frames == 5


def test_names_without_numbers_and_with_a_second_number_keep_their_order(tmp_path: Path) -> None:
    assert [i for i, *_ in timed(folder(tmp_path / "a", "first.png", "second.png"))] == [0, 1]
    clock = folder(tmp_path / "b", "1_10-59-59.png", "2_11-00-00.png", "3_11-00-02.png")
    assert [(i, level) for i, _, level in timed(clock)] == [(0, 0), (1, 10), (2, 20)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["img1.png", "img1.jpg", "img2.png"], "has the number of img1"),
        (["img1.png", "img01.png"], "has the number of img"),
        (["a.png", "a.jpg", "b.png"], "has the number of a."),
        (["img1.png", "img1 (1).png", "img2.png"], "img1 (1).png is not named as the other images are (img1.png)"),
        (["a#.png", "a1.png", "a2.png"], "a#.png is not named as the other"),
        (["img1.png", "img2.png", "cover.png"], "cover.png is not named as the other"),
        (["s1_1.png", "s1_3.png", "s2_1.png"], "several numbers differ"),
        (["img1.png", "img1000002.png"], "lacks 1000000 numbers between img1.png and img1000002.png"),
    ],
)
def test_names_that_give_no_time_are_one_sentence(tmp_path: Path, names: list[str], words: str) -> None:
    path = folder(tmp_path / "clip", *names)
    with pytest.raises(InputError) as caught:
        timed(path)
    assert words in str(caught.value) and str(caught.value).count(". ") == 0


def test_face_has_a_row_without_points_for_each_missing_image(pictures: list[Array], tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for number in (11, 12, 15):
        make_image(tmp_path / "clip" / f"{number}.png", pictures[number])
    followed = join(read_faces(tmp_path / "clip", rate=10))
    (track,) = followed.tracks
    np.testing.assert_allclose(track.time, [0, 0.1, 0.2, 0.3, 0.4])
    assert track.seen.tolist() == [True, True, False, False, True]
    assert np.isnan(track.points[2:4]).all() and followed.time.tolist() == track.time.tolist()


def test_coding_sheet_reads_the_images_that_it_names(tmp_path: Path) -> None:
    clip = folder(tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f", *(f"img{n}.png" for n in (1, 2, 5, 6, 7, 8, 9)))
    header = "Subject,Filename,Onset Frame,Apex Frame,Offset Frame,Action Units,Estimated Emotion"
    (tmp_path / "CASME2-coding-2014.csv").write_text(f"{header}\n1,EP02_01f,6,7,8,12,happiness\n")
    (entry,) = casme2(tmp_path)
    assert entry.facts["note"] == "2 images between the first and the last are missing"
    shown = list(video.frames(clip, rate=200, start=entry.clip.start, end=entry.clip.end))
    for frame, number in zip(shown, (6, 7, 8), strict=True):
        np.testing.assert_array_equal(frame.grey, images.read(clip / f"img{number}.png").grey)
