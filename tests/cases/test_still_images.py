"""Still images: every command reads the same pixels, of every allowed format, upright, with all pages and bits."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duchenne import video
from duchenne.errors import InputError
from duchenne.expression.emotions import table
from duchenne.faces import crops
from duchenne.faces.reading import no_face
from duchenne.types import Array
from duchenne.video import images
from makers import make_video

GREY = (np.arange(30)[:, None] * 3 + np.arange(40) * 4).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def save(path: Path, array: Array, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def plain(path: Path, magic: str, levels: Array, most: int) -> Path:
    """Netpbm in digits."""
    height, width = levels.shape[:2]
    path.write_text(f"{magic}\n# a comment\n{width} {height}\n{most}\n{' '.join(map(str, levels.ravel()))}\n")
    return path


def pam(path: Path, levels: Array, most: int) -> Path:
    height, width, depth = levels.shape
    head = f"P7\nWIDTH {width}\n# a comment\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {most}\nTUPLTYPE ANY\nENDHDR\n"
    path.write_bytes(head.encode() + levels.astype(">u2" if most > 255 else "u1").tobytes())
    return path


def every_format(folder: Path) -> list[Path]:
    """RGB in every allowed format, losslessly (JPEG aside)."""
    made = [save(folder / f"a.{ending}", RGB) for ending in ("png", "bmp", "ppm", "tif")]
    made += [
        save(folder / f"{coder}.tif", RGB, compression=coder)
        for coder in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    ]
    made += [save(folder / "big.tif", RGB, big_tiff=True), save(folder / "a.webp", RGB, lossless=True)]
    made += [save(folder / "a.jpg", RGB, quality=98, subsampling=0), plain(folder / "b.ppm", "P3", RGB, 255)]
    opaque = np.dstack([RGB, np.full_like(GREY, 255)])
    return [*made, pam(folder / "a.pam", RGB, 255), pam(folder / "b.pam", opaque * np.uint16(257), 65535)]


def test_commands_read_the_same_pixels_of_every_format(tmp_path: Path) -> None:
    for path in every_format(tmp_path):
        (frame,) = video.frames(path)  # analyze, extract, overlay, micro-expressions, batch
        still = images.read(path)  # emotions, filters, training
        np.testing.assert_array_equal(frame.grey, still.grey, err_msg=str(path))
        loss = 4 if path.suffix == ".jpg" else 1
        np.testing.assert_allclose(frame.grey, RGB @ [0.299, 0.587, 0.114], atol=loss, err_msg=str(path))
        np.testing.assert_allclose(frame.bgr[..., ::-1].astype(int), RGB, atol=2 * loss, err_msg=str(path))


def test_grey_formats_and_bit_maps(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16)
    for path in (
        plain(tmp_path / "a.pgm", "P2", GREY, 255),
        plain(tmp_path / "twelve.pgm", "P2", deep * 16, 4095),
        pam(tmp_path / "ten.pam", deep[..., None] * 4, 1023),
        save(tmp_path / "unit.tif", GREY.astype(np.float32) / 255),
    ):
        np.testing.assert_allclose(images.read(path).grey.astype(int), GREY, atol=1, err_msg=str(path))
    (tmp_path / "a.pbm").write_text("P1\n3 2\n0 1 0\n1 1 0\n")
    assert images.read(tmp_path / "a.pbm").grey.tolist() == [[255, 0, 255], [0, 0, 255]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_levels_in_the_lower_bits_are_read_and_noted(tmp_path: Path, bits: int) -> None:
    deep = GREY.astype(np.uint16) << (bits - 8)
    for name in ("a.png", "a.tif", "a.pgm"):
        still = images.read(save(tmp_path / name, deep))
        np.testing.assert_array_equal(still.grey, GREY)
        assert still.notes == (f"{tmp_path / name} uses only {bits} of 16 bits, and was read so.",)
        assert video.info(tmp_path / name).notes == still.notes
    assert images.read(pam(tmp_path / "stated.pam", deep[..., None] << (16 - bits), 65535)).notes == ()


def test_bits_of_a_sequence_do_not_change_with_a_dark_image(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) << 4
    for number, levels in enumerate((deep, deep // 16, deep)):
        save(tmp_path / f"{number}.png", levels)
    bright, dark, _ = video.frames(tmp_path, rate=5)
    np.testing.assert_array_equal(dark.grey, bright.grey // 16)


def sixteen_bit_png(path: Path, rgb: Array) -> Path:
    """PNG of 16-bit colours, which PIL cannot write."""
    save(path, np.zeros((*rgb.shape[:2], 3), np.uint8))
    data = path.read_bytes()
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    path.write_bytes(
        data[:8] + chunk(b"IHDR", data[16:24] + b"\x10" + data[25:29]) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    return path


def test_sixteen_bit_colours_are_read_from_the_bits_in_use(tmp_path: Path) -> None:
    for name, levels in (("full.png", RGB.astype(np.uint16) * 257), ("twelve.png", RGB.astype(np.uint16) * 16)):
        (frame,) = video.frames(sixteen_bit_png(tmp_path / name, levels))
        np.testing.assert_array_equal(frame.bgr[..., ::-1], RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_are_upright_for_every_orientation(tmp_path: Path, orientation: int) -> None:
    across = RGB.swapaxes(0, 1)
    stored = {2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: across, 7: across[::-1, ::-1]}  # by EXIF's words
    stored |= {1: RGB, 6: np.rot90(RGB, 1), 8: np.rot90(RGB, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.webp", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {"quality": 100, "subsampling": 0} if ".j" in name else {}
        path = save(tmp_path / name, np.ascontiguousarray(stored[orientation]), exif=exif, **options)
        (frame,) = video.frames(path)
        np.testing.assert_allclose(frame.bgr[..., ::-1].astype(int), RGB, atol=10, err_msg=name)
        assert (video.info(path).width, video.info(path).height) == (40, 30)


# ---- several images in one file


def animation(path: Path, count: int = 5, **options: object) -> Path:
    first, *rest = [Image.fromarray(np.full((8, 12, 3), 40 * k, np.uint8)) for k in range(count)]
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animation_has_the_times_that_it_stores_or_those_of_a_given_rate(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    path = animation(tmp_path / name, duration=[40, 80, 40, 200, 40], **options)
    shown = list(video.frames(path))
    np.testing.assert_allclose([f.time for f in shown], [0, 0.04, 0.12, 0.16, 0.36])
    np.testing.assert_allclose([int(f.grey[4, 4]) for f in shown], [0, 40, 80, 120, 160], atol=3)
    assert [f.time for f in video.frames(path, rate=10, start=0.2)] == pytest.approx([0, 0.1, 0.2])
    assert (video.info(path).declared_frames, video.info(path).rate) == (5, 25)


def test_emotions_of_an_animation_are_a_table_over_time(pictures: list[Array], tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(picture) for picture in pictures[::8]]
    for name, options in (("a.webp", {"duration": 200}), ("a.tif", {})):
        first.save(tmp_path / name, save_all=True, append_images=rest, **options)
    found = table(tmp_path / "a.webp", every=0.2)
    assert found["time"].tolist() == pytest.approx([0.2 * k for k in range(len(rest) + 1)]) and "problem" in found
    paged = table(tmp_path / "a.tif", every=0.2, rate=5)
    assert paged["time"].tolist() == pytest.approx(found["time"].tolist()) and paged["happiness"].notna().all()
    assert "time" not in table(tmp_path / "a.tif")  # its first page, with a note


def test_pages_and_images_without_times_need_a_rate(tmp_path: Path) -> None:
    for path in (animation(tmp_path / "a.tif"), animation(tmp_path / "a.gif", duration=0)):
        with pytest.raises(InputError, match=r"holds 5 images, whose times are not stored; pass --rate"):
            list(video.frames(path))
        shown = list(video.frames(path, rate=20))
        assert [(f.index, f.time) for f in shown][-1] == (4, 0.2) and int(shown[4].bgr[4, 4, 0]) == 160
        drawn = video.redraw(path, tmp_path / "drawn.mp4", lambda frame: frame.bgr, rate=20)
        assert [f.time for f in video.frames(drawn)] == pytest.approx([f.time for f in shown])


def test_reduced_pages_are_not_images_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    small = Image.fromarray(RGB[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(RGB).save(path, save_all=True, append_images=[small])
    (frame,) = video.frames(path)
    assert frame.grey.shape == (30, 40) and images.read(path).notes == ()


def test_image_of_several_within_a_folder_is_refused(tmp_path: Path) -> None:
    animation(tmp_path / "1.tif")
    with pytest.raises(InputError, match=r"1\.tif holds several images; split it, or analyze it alone"):
        list(video.frames(tmp_path, rate=5))


# ---- pictures that lie on their side


@pytest.mark.parametrize(("turns", "said"), [(1, "90° clockwise"), (2, "180°"), (3, "90° counter-clockwise")])
def test_lying_face_is_named_with_its_cure(pictures: list[Array], tmp_path: Path, turns: int, said: str) -> None:
    lying = np.ascontiguousarray(np.rot90(pictures[0], turns))
    with pytest.raises(InputError, match=f"but one when it is turned by {said}; turn it"):
        crops.faces(save(tmp_path / "a.png", lying))
    if turns == 1:
        clip = make_video(tmp_path / "a.mp4", [lying] * 3)
        assert f"turned by {said}: turn it (ffmpeg -i INPUT -vf transpose=1 OUTPUT.mp4)" in str(no_face(clip, 3))


def test_clip_without_a_face_in_any_direction_has_no_such_hint(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "a.mp4", [np.full((80, 100, 3), 100, np.uint8)] * 2)
    assert str(no_face(clip, 2)).endswith(
        "none was found in 2 frames; record it from the front, ideally over 80 px high."
    )
