"""No file opens another: playlists, lists of files, image patterns and network streams are refused in any disguise."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import av
import pytest

from duchenne import video
from duchenne.errors import InputError
from duchenne.faces.reading import read_faces
from makers import make_image, make_video, noise_pictures

PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{}'\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
DASH = '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation>'


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("secret") / "secret.ts", noise_pictures(3))


@pytest.mark.parametrize("name", ["a.m3u8", "a.mp4", "a.ts"])
@pytest.mark.parametrize("text", [PLAYLIST, CONCAT, SDP, DASH])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "\0"), ("\ufeff", ""), ("\r\n \0\n", "\0" * 2000)])
def test_a_list_of_files_is_refused(
    tmp_path: Path, secret: Path, name: str, text: str, before: str, after: str
) -> None:
    path = tmp_path / name
    path.write_bytes((before + text.format(secret) + after).encode())
    expected = rf"{re.escape(str(path))} lists other files instead of holding frames; name the video itself\."
    with pytest.raises(InputError, match=expected):
        video.info(path)
    with pytest.raises(InputError, match=expected):
        next(iter(video.frames(path)))


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a.m3u8"])
def test_a_list_after_a_foreign_header_is_not_followed(tmp_path: Path, secret: Path, name: str) -> None:
    for head in (b"\0\0\0\x18ftypisom\0\0\0\0isom", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"G" + b"\xff" * 187):
        (tmp_path / name).write_bytes(head + PLAYLIST.format(secret).encode())
        with pytest.raises(InputError, match=re.escape(name)):
            video.info(tmp_path / name)


def test_an_image_pattern_and_a_device_are_not_opened(tmp_path: Path) -> None:
    make_image(tmp_path / "a1.png", noise_pictures(1)[0])
    with pytest.raises(InputError, match="There is no file"):
        video.info(tmp_path / "a%d.png")
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path} is not a regular file; expected a video"):
            video.info(path)


def referring(path: Path, other: Path) -> Path:
    """A QuickTime movie without frames of its own, whose data reference is an alias (absolute path) of `other`."""
    data = bytearray(other.read_bytes())
    at = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[at:end] = bytes(end - at)
    name = str(other).encode()
    alias = bytes(10) + b"\4disk".ljust(28, b"\0") + bytes(12) + b"\5other".ljust(64, b"\0") + bytes(16)
    alias += struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">hH", 2, len(name)) + name + b"\0" * (len(name) % 2)
    alias = b"alis" + bytes(4) + alias + struct.pack(">hH", -1, 0)
    at = data.index(b"url ", data.index(b"dref")) - 4
    grown = len(alias) + 4 - 12
    data[at : at + 12] = struct.pack(">I", len(alias) + 4) + alias
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.rindex(box, 0, at) - 4
        data[start : start + 4] = struct.pack(">I", int.from_bytes(data[start : start + 4], "big") + grown)
    path.write_bytes(data)
    return path


def test_a_movie_whose_frames_lie_in_another_file_holds_none(tmp_path: Path) -> None:
    other = make_video(tmp_path / "other.mov", noise_pictures(3), codec="png", pix_fmt="rgb24")
    path = referring(tmp_path / "a.mov", other)
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 3  # what FFmpeg could do
    with pytest.raises(InputError, match="holds no complete frame"):
        list(video.frames(path))


def test_every_command_and_the_app_read_through_the_same_door(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "a.mp4").write_text(CONCAT.format(secret) + "\0")
    with pytest.raises(InputError, match=r"a\.mp4 lists other files"):
        next(read_faces(tmp_path / "a.mp4"))
    package = Path(video.__file__).parents[1]
    doors = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for call in re.findall(r"av\.open\(.*|VideoCapture\(.*", file.read_text())
        if '"w"' not in call
    }
    assert doors == {"video/containers.py"}


def test_another_kind_of_media_is_refused(tmp_path: Path) -> None:
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 2084, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 2048)
    (tmp_path / "a.wav").write_bytes(head + bytes(2048))
    with pytest.raises(InputError, match="is not a video or image that can be read"):
        video.info(tmp_path / "a.wav")
