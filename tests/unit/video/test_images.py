"""Still pictures: every kind that is read, what they hide, and what is refused in one sentence."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from duchenne.datasets.manifest import EMOTION_WORDS
from duchenne.errors import InputError, UsageError
from duchenne.types import Array
from duchenne.video import images
from duchenne.video.folders import class_folders, listing
from duchenne.video.images import read

#: 40×30, different in every corner and in every row and column.
GREY = (np.arange(30)[:, None] * 3 + np.arange(40) * 4).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def save(path: Path, array: Array | Image.Image, **options: object) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and said.count(". ") == 0 and path.name in said, said
    return said


def png(width: int, height: int) -> bytes:
    """A PNG that claims to be that large and holds one row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(width, 50_000) + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def resized_jpeg(width: int, height: int, **options: object) -> bytes:
    """A JPEG of 40×30 whose header claims another size."""
    out = BytesIO()
    Image.fromarray(RGB).save(out, "JPEG", **options)
    data = bytearray(out.getvalue())
    at = next(data.index(mark) for mark in (b"\xff\xc0\0\x11", b"\xff\xc2\0\x11") if mark in data)
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


# ---- what is read


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "gif", "webp", "pgm"])
def test_grey_levels_are_unchanged(tmp_path: Path, ending: str) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    picture = read(save(tmp_path / f"a.{ending}", GREY, **options))
    # WebP keeps colours only: a grey level makes the way to colour and back
    np.testing.assert_allclose(picture.grey.astype(int), GREY, atol=1 if ending == "webp" else 0)
    assert picture.grey.dtype == np.uint8 and picture.notes == () and picture.path.endswith(f"a.{ending}")


def test_colours_become_luma(tmp_path: Path) -> None:
    expected = RGB @ [0.299, 0.587, 0.114]
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm"):
        np.testing.assert_allclose(read(save(tmp_path / name, RGB)).grey, expected, atol=1)
    jpeg = read(save(tmp_path / "a.jpg", RGB, quality=98, subsampling=0))
    np.testing.assert_allclose(jpeg.grey, expected, atol=5)


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_upright_for_every_exif_orientation(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{ending}", np.repeat(GREY[..., None], 3, 2), exif=exif, quality=100)
    turned = Image.fromarray(GREY)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned)).astype(int)  # PIL's own way
    assert expected.shape == ((40, 30) if orientation > 4 else (30, 40))
    np.testing.assert_allclose(read(path).grey, expected, atol=4)


def test_invalid_exif_is_ignored(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"
    np.testing.assert_allclose(read(save(tmp_path / "a.jpg", GREY, exif=exif, quality=100)).grey, GREY, atol=3)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:, 20:30], alpha[:, 30:] = 51, 255  # 0, a fifth, all
    colour = np.full((30, 40, 3), 100, np.uint8)
    colour[:, :20] = 0, 255, 0  # hidden, and of no account
    for name in ("a.png", "a.webp", "a.tiff"):
        options = {"lossless": True, "exact": True} if name == "a.webp" else {}
        grey = read(save(tmp_path / name, np.dstack([colour, alpha]), **options)).grey
        assert (grey[:, :20] == 255).all() and (grey[:, 30:] == 100).all()
        np.testing.assert_allclose(grey[:, 20:30], 255 - 155 / 5, atol=1)
    two = read(save(tmp_path / "two.png", np.dstack([colour[..., 0], alpha]))).grey
    np.testing.assert_array_equal(two, grey)


def test_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray((GREY > 100).astype(np.uint8), "L").convert("P")
    image.putpalette([10, 10, 10, 90, 90, 90])
    for name in ("a.gif", "a.png"):
        grey = read(save(tmp_path / name, image, transparency=0)).grey
        np.testing.assert_array_equal(grey, np.where(GREY > 100, 90, 255))


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 256 + 200
    for name in ("a.png", "a.tiff"):
        np.testing.assert_array_equal(read(save(tmp_path / name, deep)).grey, GREY)
    np.testing.assert_array_equal(read(save(tmp_path / "signed.tiff", deep.astype(np.int32))).grey, GREY)
    assert "beyond 16 bits" in refusal(save(tmp_path / "large.tiff", deep.astype(np.int32) * 9))
    assert "fractional" in refusal(save(tmp_path / "float.tiff", deep.astype(np.float32)))


def test_cmyk_is_read(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    expected = np.asarray(image.convert("RGB")) @ [0.299, 0.587, 0.114]
    for name in ("a.jpg", "a.tiff"):
        np.testing.assert_allclose(read(save(tmp_path / name, image, quality=98)).grey, expected, atol=6)


def test_one_bit_and_colours_of_a_palette_are_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", GREY > 100)).grey, np.where(GREY > 100, 255, 0))
    image = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(image.convert("RGB").convert("L"))
    np.testing.assert_array_equal(read(save(tmp_path / "p.png", image)).grey, expected)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_first_of_several_images_is_used_and_noted(tmp_path: Path, ending: str) -> None:
    later = [Image.fromarray(255 - GREY), Image.fromarray(GREY.T.copy().reshape(30, 40))]
    options = {"lossless": True} if ending == "webp" else {}
    path = save(tmp_path / f"a.{ending}", GREY, save_all=True, append_images=later, **options)
    picture = read(path)
    np.testing.assert_allclose(picture.grey.astype(int), GREY, atol=1)
    assert picture.notes == (f"{path} holds several images; the first was used.",)


def test_format_follows_from_bytes_not_ending(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    np.testing.assert_array_equal(read(path.rename(tmp_path / "a.jpg")).grey, GREY)


def test_shared_images_are_read() -> None:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    for path in listing(Path(os.environ["DUCHENNE_DATA"], "clips")):
        with Image.open(path) as image:
            assert read(path).grey.shape == image.size[::-1]


# ---- how large


def test_a_large_jpeg_is_decoded_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 150_000)
    wide = np.tile(np.linspace(0, 250, 1600).astype(np.uint8), (400, 1))  # 640,000: a half, 160,000, is too many
    for mode in ("L", "RGB", "CMYK"):
        image = Image.fromarray(wide).convert(mode)
        picture = read(save(tmp_path / f"{mode}.jpg", image))
        assert picture.grey.shape == (100, 400) and "1600×400 pixels and was read at 400×100" in picture.notes[0]
        np.testing.assert_allclose(picture.grey, np.tile(wide[0].reshape(400, 4).mean(1), (100, 1)), atol=4)
        # libjpeg holds all of one that comes in several scans
        assert "1600×400 pixels, expected at most" in refusal(save(tmp_path / f"{mode}.jpg", image, progressive=True))


def test_huge_image_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(20_000, 20_000))
    assert refusal(tmp_path / "a.png").endswith(
        "has 20000×20000 pixels, expected at most 50 million in this format; save it smaller."
    )
    (tmp_path / "several_scans.jpg").write_bytes(resized_jpeg(20_000, 20_000, progressive=True))
    assert any(word in refusal(tmp_path / "several_scans.jpg") for word in ("20000×20000", "scans"))
    (tmp_path / "largest.png").write_bytes(png(2**31 - 1, 2**31 - 1))
    refusal(tmp_path / "largest.png")
    for kind, at in (("gif", 6), ("bmp", 18)):
        data = bytearray(save(tmp_path / f"a.{kind}", GREY).read_bytes())
        data[at : at + 8 if kind == "bmp" else at + 4] = struct.pack("<ii" if kind == "bmp" else "<HH", 20_000, 20_000)
        (tmp_path / f"a.{kind}").write_bytes(data)
        assert "20000×20000" in refusal(tmp_path / f"a.{kind}")


def test_twenty_thousand_pixels_each_way_are_read_in_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "a.jpg"
    path.write_bytes(resized_jpeg(20_000, 20_000))  # libjpeg makes grey of what is not there
    code = (
        "import resource, sys; from duchenne.video.images import read\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most(); p = read(sys.argv[1]); print(*p.grey.shape, most() - before, *p.notes)"
    )
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    height, width, more, note = said.stdout.split(maxsplit=3)
    assert (height, width) == ("5000", "5000") and "20000×20000 pixels and was read at 5000×5000" in note
    assert int(more) < 120_000 * (1024 if sys.platform == "darwin" else 1)  # kB; decoded whole it has 400 MB


def test_file_too_large_for_an_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.webp", GREY)
    os.truncate(path, 2**29 + 1)  # a hole, which takes no room on the disk
    assert "more than an image needs" in refusal(path)


# ---- what is refused


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tiff", "gif", "webp", "pgm"])
@pytest.mark.parametrize("part", [0.15, 0.6])
def test_truncated_image_is_refused(tmp_path: Path, ending: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    whole = save(tmp_path / f"a.{ending}", noise).read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: int(len(whole) * part)])
    assert "cut short or damaged" in refusal(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tiff", "gif", "webp", "pgm"])
def test_damaged_image_is_read_or_refused_in_one_sentence(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(save(tmp_path / f"a.{ending}", RGB).read_bytes(), np.uint8)
    path = tmp_path / f"b.{ending}"
    refused = 0
    for k in range(60):
        data = whole.copy()
        reach = len(data) if k % 2 else 64  # half of them in the header
        data[rng.integers(8, min(reach, len(data)), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(data.tobytes())
        try:
            picture = read(path)
        except InputError as error:
            refused += 1
            assert str(error).endswith(".") and "\n" not in str(error)
        else:
            assert picture.grey.dtype == np.uint8 and picture.grey.ndim == 2
    assert refused > 0


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert "empty (0 bytes)" in refusal(tmp_path / "empty.png")
    (tmp_path / "notes.jpg").write_text("no picture")
    assert "expected PNG, JPEG, WebP, GIF, BMP, TIFF or PNM" in refusal(tmp_path / "notes.jpg")
    # PIL would hand a PostScript file to another program
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert "not an image" in refusal(tmp_path / "a.eps")
    assert "no file" in refusal(tmp_path / "none.png")
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.png")


def test_pillow_warning_about_large_images_is_hidden(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "a.png").write_bytes(png(12_000, 10_000))  # above PIL's own limit for a warning
    assert "12000×10000" in refusal(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS and not list(recwarn)


# ---- folders


def test_folder_is_listed_in_natural_order(tmp_path: Path) -> None:
    names = ["1.png", "2.JPG", "10.gif", "a1²3.webp", "a2.bmp", "A10.tif", "b.jpeg"]
    for name in [*reversed(names), ".hidden.png", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in listing(tmp_path)] == names


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder without images; expected files in \.apng \.bmp \.gif"):
        listing(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.png").touch()
    with pytest.raises(InputError, match=r"name one, such as .*inner"):
        listing(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        listing(tmp_path / "none")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        listing(tmp_path / "inner" / "a.png")


def make(root: Path, **files: str) -> Path:
    for name, inside in files.items():
        (root / name).mkdir(parents=True)
        for file in inside.split():
            (root / name / file).touch()
    return root


def test_class_folders_give_rows(tmp_path: Path) -> None:
    root = make(tmp_path, Happy="10.png 2.png", happiness="1.png", angry="x.jpg notes.txt", __MACOSX="._x.jpg")
    rows = class_folders(root, EMOTION_WORDS)
    assert [(str(path.relative_to(root)).replace(os.sep, "/"), name) for path, name in rows] == [
        ("angry/x.jpg", "anger"),
        ("happiness/1.png", "happiness"),
        ("Happy/2.png", "happiness"),
        ("Happy/10.png", "happiness"),
    ]
    assert {name for _, name in class_folders(root)} == {"Happy", "happiness", "angry"}
    assert {n for _, n in class_folders(root, classes=("Happy", "happiness", "angry"))} == {
        n for _, n in class_folders(root)
    }


def test_unusable_class_folders_are_refused_by_name(tmp_path: Path) -> None:
    def told(root: Path, classes: tuple[str, ...] = ()) -> str:
        with pytest.raises(InputError) as caught:
            class_folders(root, EMOTION_WORDS, classes)
        assert str(caught.value).endswith(".") and str(caught.value).count(". ") == 0
        return str(caught.value)

    strange = told(make(tmp_path / "a", happy="1.png", bored="1.png"))
    assert "bored is not named after a known class; expected anger, contempt, disgust" in strange
    beyond = told(make(tmp_path / "b", happy="1.png", contempt="1.png"), ("happiness", "anger"))
    assert "contempt is not named after a known class; expected happiness, anger:" in beyond
    assert "one class only, happiness" in told(make(tmp_path / "c", happy="1.png", joy="2.png"))
    assert "sad is a class without images" in told(make(tmp_path / "d", happy="1.png", sad="notes.txt"))
    (tmp_path / "f").mkdir()
    assert "has no folders" in told(tmp_path / "f")
    root = make(tmp_path / "g", happy="1.png", sad="1.png")
    (root / "loose.png").touch()
    assert "loose.png lies beside the class folders" in told(root)
    assert "There is no folder" in told(tmp_path / "none")
    with pytest.raises(UsageError, match="There is no class 'glee'; choose from anger"):
        class_folders(root, EMOTION_WORDS, ("happiness", "glee"))
