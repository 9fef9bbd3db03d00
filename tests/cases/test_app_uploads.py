"""Uploads that are not clips: one sentence each, no file of this computer is read, and the app works after each."""

from __future__ import annotations

import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app_server import Server, end, start

NUL = b"\0"


def playlist(clip: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n".encode()


def concat(clip: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{clip}'\nfile '{clip}'\n".encode()


def dash(clip: Path) -> bytes:
    parts = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    return f'{parts}<Representation id="0" mimeType="video/mp4"><BaseURL>{clip}</BaseURL></Representation>'.encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    squeezed = zlib.compress(b"x" * 50_000_000, 9)
    return png(8, 8, *[chunk(b"zTXt", b"a\0\0" + squeezed)] * 8)


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("time.npy", b"\0" * 50_000_000)
    return target.getvalue()


#: Name of the upload, and its bytes; the clip that some of them name holds a face and would be judged. More of their
#: kind are in test_video_opening.py and test_image_bombs.py.
UPLOADS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "playlist as video": ("a.mp4", playlist),
    "concat with NUL": ("a.mkv", lambda clip: concat(clip) + b"# " + NUL),
    "dash": ("a.mpd", lambda clip: dash(clip) + NUL),
    "an image too large": ("a.png", lambda _: png(60_000, 60_000)),
    "text in a video": ("a.mp4", lambda _: text_bomb()),
    "archive as video": ("a.mp4", lambda _: archive()),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = start(tmp_path_factory.mktemp("app"), "--memory", 4)
    yield found
    end(found)


@pytest.mark.parametrize("what", UPLOADS)
def test_an_upload_that_is_no_clip_ends_in_one_sentence(what: str, server: Server, smile: Path) -> None:
    name, make = UPLOADS[what]
    status, _, text = server.ask("POST", f"clips?name={name}", make(smile))
    assert status == 201
    clip = json.loads(text)["id"]
    for _ in range(600):
        (found,) = json.loads(server.ask("GET", "state")[2])["clips"]
        if found["task"]["state"] not in ("waiting", "working"):
            break
        time.sleep(0.1)
    task = found["task"]
    assert task["state"] == "failed" and task["result"] is None
    error = task["error"]
    assert error.startswith(name) and error.endswith(".") and "\n" not in error and str(smile) not in error
    assert "worker process" not in error and "please report" not in error
    assert server.ask("DELETE", f"clips/{clip}")[0] == 204 and not server.stored()
