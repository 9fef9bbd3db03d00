"""Images that were made to take memory or time are refused in one sentence; so is all that is not on the list."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duchenne import video
from duchenne.errors import InputError
from duchenne.video import images

GREY = (np.arange(30)[:, None] * 3 + np.arange(40) * 4).astype(np.uint8)


def encoded(kind: str, levels: np.ndarray = GREY, **options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(levels).save(out, kind, **options)
    return out.getvalue()


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        images.read(path)
    with pytest.raises(InputError) as again:
        list(video.frames(path))
    for message in (str(caught.value), str(again.value)):
        assert message.startswith(str(path)) and message.endswith(".") and message.count(". ") == 0, message
    return str(caught.value)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(chunks: bytes) -> bytes:
    data = encoded("PNG")
    return data[:33] + chunks + data[33:]  # after the header


def text_bombs() -> dict[str, bytes]:
    """4 GB of text in 4 MB: a kilobyte that unpacks to a megabyte, as often as needed."""
    one, small = zlib.compress(bytes(1 << 27), 9), zlib.compress(bytes(1_000_000), 9)
    return {
        "one.png": with_chunks(chunk(b"zTXt", b"Comment\0\0" + one)),
        "international.png": with_chunks(chunk(b"iTXt", b"Comment\0\1\0\0\0" + one)),
        "profile.png": with_chunks(chunk(b"iCCP", b"Comment\0\0" + one)),
        "many.png": with_chunks(b"".join(chunk(b"zTXt", b"C%d\0\0" % k + small) for k in range(4000))),
    }


def test_of_a_long_stream_of_jpegs_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "camera.mjpg"
    with path.open("wb") as file:
        file.write(encoded("JPEG") * 2)
        file.truncate(4_000_000_000)  # of which the disk stores nothing
    tracemalloc.start()
    try:
        assert not images.is_image(path) and tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_jpeg_that_begins_like_a_stream_but_ends_late_is_an_image(tmp_path: Path) -> None:
    data = encoded("JPEG")
    padded = data[:2] + (b"\xff\xe1\xff\xff" + bytes(65533)) * 255 + data[2:]  # 16.7 MB of metadata
    (tmp_path / "a.jpg").write_bytes(padded)
    (tmp_path / "b.jpg").write_bytes(padded * 2)
    assert images.is_image(tmp_path / "a.jpg") and not images.is_image(tmp_path / "b.jpg")


def test_text_that_unpacks_to_gigabytes_is_refused_in_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    for name, data in text_bombs().items():
        (tmp_path / name).write_bytes(data)
        assert "more text than an image needs" in refusal(tmp_path / name)
    code = (
        "import resource, sys; from duchenne import video\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most()\n"
        "for path in sys.argv[1:]:\n"
        "    try: list(video.frames(path))\n"
        "    except video.reader.InputError: pass\n"
        "print(most() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, *tmp_path.iterdir()], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000 * (1024 if sys.platform == "darwin" else 1)  # kB


def test_excess_of_metadata_and_scans_is_refused(tmp_path: Path) -> None:
    jpeg = encoded("JPEG")
    block = b"\xff\xe1" + struct.pack(">H", 65002) + b"Exif\0\0MM\0*" + bytes(64990)
    progressive = encoded("JPEG", progressive=True)
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    for name, data, words in (
        ("small.jpg", jpeg[:2] + b"\xff\xe1\0\x08Exif\0\0" * 2000 + jpeg[2:], "1000 blocks of metadata"),
        ("large.jpg", jpeg[:2] + block * 400 + jpeg[2:], "20 MB of metadata"),
        ("scans.jpg", progressive[:-2] + last * 200 + b"\xff\xd9", "100 scans"),
        ("chunks.png", with_chunks(chunk(b"tEXt", b"a\0b") * 100_001), "100000 chunks"),
    ):
        (tmp_path / name).write_bytes(data)
        assert f"more than {words}, which no image needs" in refusal(tmp_path / name)


def tiff(*pages: dict[int, int], chain: tuple[int, ...]) -> bytes:
    """4×4 grey pages of the given further tags; `chain` are the pages that follow each, -1 none."""
    parts, places, end = [], [], 24
    for more in pages:
        tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16} | more
        places.append(end)
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        parts.append(struct.pack("<H", len(tags)) + entries + bytes(4))
        end += len(parts[-1])
    parts = [part[:-4] + struct.pack("<I", places[k] if k >= 0 else 0) for part, k in zip(parts, chain, strict=True)]
    return b"II*\0" + struct.pack("<I", 24) + bytes(range(0, 160, 10)) + b"".join(parts)


def test_pages_without_end_and_beyond_all_sizes(tmp_path: Path) -> None:
    count = images.MAX_FRAMES + 10
    (tmp_path / "pages.tif").write_bytes(tiff(*[{}] * count, chain=(*range(1, count), -1)))
    assert "holds 20000 or more images of 4×4 pixels, too many to read" in refusal(tmp_path / "pages.tif")
    (tmp_path / "tile.tif").write_bytes(tiff({322: 1 << 20, 323: 1 << 20, 324: 8, 325: 16, 259: 8}, chain=(-1,)))
    assert "expected at most" in refusal(tmp_path / "tile.tif")
    (tmp_path / "loop.tif").write_bytes(tiff({}, {}, chain=(1, 0)))
    assert len(list(video.frames(tmp_path / "loop.tif", rate=5))) == 2
    (tmp_path / "self.tif").write_bytes(tiff({}, chain=(0,)))
    assert [f.grey[0].tolist() for f in video.frames(tmp_path / "self.tif")] == [[0, 10, 20, 30]]


def test_animations_without_end(tmp_path: Path) -> None:
    gif = encoded("GIF", GREY[:4, :4])
    at = gif.index(b",")
    (tmp_path / "many.gif").write_bytes(gif[:at] + gif[at:-1] * 100_000 + b";")
    huge = gif[:6] + struct.pack("<HH", 7000, 7000) + gif[10:]
    (tmp_path / "huge.gif").write_bytes(huge[:at] + gif[at:-1] * 2000 + b";")
    control = struct.pack(">IIIIIHHBB", 0, 40, 30, 0, 0, 1, 25, 0, 0)
    declared = chunk(b"acTL", struct.pack(">II", 1 << 31, 0)) + chunk(b"fcTL", control)
    (tmp_path / "declared.png").write_bytes(with_chunks(declared))
    first, *rest = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (0, 90, 180)]
    out = BytesIO()
    first.save(out, "WEBP", save_all=True, append_images=rest, lossless=True, duration=10)
    webp = out.getvalue()
    body = webp[12 : webp.index(b"ANMF")] + webp[webp.index(b"ANMF") :] * 20_000
    (tmp_path / "many.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)
    for path in sorted(tmp_path.iterdir()):
        assert "too many to read" in refusal(path)


def test_formats_that_are_not_on_the_list_are_refused_by_content(tmp_path: Path) -> None:
    photo = Image.fromarray(np.stack([GREY] * 3, axis=-1))
    for kind in ("ICO", "PCX", "TGA", "SGI", "EPS", "ICNS", "DDS", "PDF", "JPEG2000", "AVIF"):
        try:
            photo.save(tmp_path / f"{kind}.png", kind)
        except (KeyError, OSError):
            continue  # this PIL was built without it
        assert f"expected {images.KINDS}" in refusal(tmp_path / f"{kind}.png")
    (tmp_path / "psd.jpg").write_bytes(b"8BPS\0\1" + bytes(100))
    assert "not an image" in refusal(tmp_path / "psd.jpg")


def test_headers_of_netpbm_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "comment.pgm").write_bytes(b"P5\n#" + b"a" * 5_000_000)
    (tmp_path / "few.pgm").write_bytes(b"P2\n7000 7000\n255\n" + b"1 " * 1000)
    (tmp_path / "number.pgm").write_bytes(b"P2\n9 9\n255\n" + b"1" * 5_000_000)
    (tmp_path / "large.pam").write_bytes(b"P7\nWIDTH 100000\nHEIGHT 100000\nDEPTH 4\nMAXVAL 255\nENDHDR\n")
    for path in tmp_path.iterdir():
        refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="There are no named pipes here.")
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "pipe or a device" in refusal(tmp_path / "a.png")


def test_jpeg_that_ends_in_zeros_is_cut_short_unless_that_is_allowed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    whole = encoded("JPEG", noise)
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    assert "cut short or damaged" in refusal(tmp_path / "a.jpg")
    (frame,) = video.frames(tmp_path / "a.jpg", allow_truncated=True)
    assert frame.grey[:40].std() > 30
