"""Frames are read as players show them: turned and mirrored as the file says."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from duchenne import video
from makers import make_video, turn_mp4

#: x' = ax + cy, y' = bx + dy, y down; what numpy does for the same.
SHOWN = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, 1, 0): lambda p: p.T,
    (0, -1, -1, 0): lambda p: p[::-1, ::-1].T,
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
}


def gradient(width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 (H, W): no two of its eight orientations look alike."""
    return (np.arange(width) * 2 + np.arange(height)[:, None]).astype(np.uint8)


@pytest.mark.parametrize("matrix", SHOWN)
def test_every_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    picture = np.repeat(gradient()[..., None], 3, 2)
    path = turn_mp4(make_video(tmp_path / "a.mp4", [picture] * 3, options={"crf": "1"}), matrix)
    expected = SHOWN[matrix](gradient()).astype(int)
    frames = list(video.frames(path))
    assert len(frames) == 3
    for frame in frames:
        assert np.abs(frame.bgr[..., 1] - expected).max() < 8
        assert np.abs(frame.grey * (255 / 219) - 16 * 255 / 219 - expected).max() < 8
    about = video.info(path)
    assert (about.height, about.width) == expected.shape
    turned = np.rot90(gradient()[:, ::-1] if about.mirrored else gradient(), about.rotation // 90)
    np.testing.assert_array_equal(turned, expected)


def test_images_with_colour_profiles_and_exif_are_freed_once(tmp_path: Path) -> None:
    """PyAV frees the name of a PNG's colour profile twice and does not know EXIF: the process crashed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 3
    for ending in ("png", "jpg", "webp"):
        path = tmp_path / f"a.{ending}"
        Image.fromarray(np.repeat(gradient()[..., None], 3, 2)).save(path, icc_profile=profile, exif=exif, quality=95)
        for _ in range(9):
            (frame,) = video.frames(path)
            del frame
        gc.collect()


def test_a_frame_of_an_array() -> None:
    grey = gradient()
    frame = video.Frame(0, 0.0, grey, video.View(mirrored=True, turns=1))
    np.testing.assert_array_equal(frame.grey, grey.T)
    np.testing.assert_array_equal(frame.bgr, np.repeat(grey.T[..., None], 3, 2))
    colours = np.stack([grey, grey // 2, grey // 3], 2)
    np.testing.assert_array_equal(video.Frame(0, 0.0, colours).bgr, colours)
