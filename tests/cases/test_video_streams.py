"""Frames have square pixels and one size; the largest stream is read; what a user should know is noted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from duchenne import micro, pipeline, video
from duchenne.faces.reading import no_face, read_faces
from makers import corner_picture, make_video, noise_pictures, turn_mp4


def disc(width: int, height: int, centre: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """RGB: a white disc of a third of the height on black, as stored by a camera of square pixels."""
    x, y = np.arange(width) + 0.5 - centre[0] * width, np.arange(height)[:, None] + 0.5 - centre[1] * height
    inside = np.hypot(x, y) < height / 3
    return np.repeat((255 * inside[..., None]).astype(np.uint8), 3, 2)


def box(picture: np.ndarray) -> tuple[float, float]:
    """(width, height) of what is bright."""
    bright = picture > 128
    return float(bright.any(0).sum()), float(bright.any(1).sum())


def squeezed(path: Path, aspect: Fraction, size: tuple[int, int], codec: str = "libx264") -> Path:
    """Five frames of a disc in 160×120 square pixels, stored at `size` with pixels of `aspect`."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio = aspect
        for _ in range(5):
            image = av.VideoFrame.from_ndarray(disc(160, 120), format="rgb24").reformat(*size, "yuv420p")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mpg", "mpeg2video")])
@pytest.mark.parametrize(
    ("aspect", "stored", "shown"),
    [
        (Fraction(16, 11), (110, 120), (160, 120)),
        (Fraction(3, 4), (160, 90), (160, 120)),
        (Fraction(10, 11), (88, 60), (88, 66)),
    ],
)
def test_pixels_are_square(
    tmp_path: Path, name: str, codec: str, aspect: Fraction, stored: tuple[int, int], shown: tuple[int, int]
) -> None:
    if name == "a.mpg":  # MPEG-2 stores the aspect of the frame, of four kinds
        aspect = Fraction(16, 9) * stored[1] / stored[0]
        shown = (round(stored[1] * 16 / 9), stored[1]) if aspect > 1 else (stored[0], round(stored[0] * 9 / 16))
    path = squeezed(tmp_path / name, aspect, stored, codec)
    about = video.info(path)
    assert (about.width, about.height) == shown and about.notes == ()
    for frame in video.frames(path):
        assert frame.grey.shape == frame.bgr.shape[:2] == shown[::-1]
        wide, high = box(frame.grey)
        assert wide / high == pytest.approx(float(aspect * stored[0] / stored[1]) * 120 / 160, rel=0.06)
        assert box(frame.bgr[..., 0]) == pytest.approx((wide, high), abs=3)


def test_pixels_are_square_before_the_frame_is_turned(tmp_path: Path) -> None:
    path = turn_mp4(squeezed(tmp_path / "a.mp4", Fraction(2), (80, 120)), (0, 1, -1, 0))
    about = video.info(path)
    assert (about.width, about.height, about.rotation) == (120, 160, 270)
    for frame in video.frames(path):
        assert frame.grey.shape == (160, 120) and box(frame.grey) == pytest.approx((80, 80), abs=3)


def test_absurd_pixels_are_taken_as_square_and_noted(tmp_path: Path) -> None:
    path = squeezed(tmp_path / "a.mp4", Fraction(2), (80, 120))
    path.write_bytes(path.read_bytes().replace(b"pasp\0\0\0\2\0\0\0\1", b"pasp\0\0\0\xc8\0\0\0\1"))
    about = video.info(path)
    assert (about.width, about.height) == (80, 120)
    assert about.notes == ("The file declares pixels of 200:1; they were taken as square.",)


@pytest.mark.parametrize("second", [(80, 60), (320, 240), (120, 120), (160, 60)])
def test_a_video_whose_size_changes_keeps_the_first_and_the_aspect(tmp_path: Path, second: tuple[int, int]) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        for number in range(10):
            size = (160, 120) if number < 5 else second
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size, "yuvj420p", Fraction(1, 25)
            image = av.VideoFrame.from_ndarray(disc(*size), format="rgb24").reformat(format="yuvj420p")
            for packet in (*encoder.encode(image), *encoder.encode(None)):
                packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), number, number
                container.mux(packet)
    frames = list(video.frames(path))
    assert len(frames) == 10
    np.testing.assert_allclose([f.time for f in frames], np.arange(10) / 25)
    for frame in frames:
        assert frame.grey.shape == (120, 160) and frame.bgr.shape == (120, 160, 3)
        wide, high = box(frame.grey)
        assert wide == pytest.approx(high, abs=3)
    factor = min(160 / second[0], 120 / second[1])
    assert box(frames[-1].bgr[..., 1])[1] == pytest.approx(2 * second[1] / 3 * factor, abs=4)
    out = video.redraw(path, tmp_path / "out.mp4", lambda frame: frame.bgr[..., ::-1])
    assert [f.grey.shape for f in video.frames(out)] == [(120, 160)] * 10


def test_sound_that_begins_late_does_not_end_the_video(tmp_path: Path) -> None:
    fine = {"preset": "ultrafast", "crf": "1"}
    path = make_video(tmp_path / "a.flv", noise_pictures(50, 320, 240), options=fine)
    data, at = path.read_bytes(), 13
    assert len(data) > 5_000_000  # bytes that FFmpeg looks at beforehand
    tags = []  # kind, length of the body, time, stream; body; length of the tag
    while at < len(data):
        tags.append(at)
        at += int.from_bytes(data[at + 1 : at + 4]) + 15
    body = b"\x3e" + bytes(320)  # stereo, 16 bits
    sound = b"\x08" + len(body).to_bytes(3) + data[tags[-5] + 4 : tags[-5] + 8] + bytes(3) + body
    path.write_bytes(data[: tags[-5]] + sound + len(sound).to_bytes(4) + data[tags[-5] :])
    assert len(list(video.frames(path))) == 50
    video.redraw(path, tmp_path / "out.mp4", lambda frame: frame.bgr[..., ::-1])
    assert len(list(video.frames(tmp_path / "out.mp4"))) == 50


def two_streams(path: Path, first: np.ndarray, second: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream, picture in zip(streams, (first, second), strict=True):
            stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        for _ in range(5):
            for stream, picture in zip(streams, (first, second), strict=True):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
                )
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi"])
@pytest.mark.parametrize("largest", [0, 1])
def test_the_largest_stream_is_read_and_named(tmp_path: Path, name: str, largest: int) -> None:
    pictures = [np.full((48, 64, 3), 90, np.uint8), disc(160, 120)][:: 1 if largest else -1]
    path = two_streams(tmp_path / name, *pictures)
    frames = list(video.frames(path))
    assert len(frames) == 5 and frames[-1].grey.shape == (120, 160)
    assert box(frames[-1].grey) == pytest.approx((80, 80), abs=4)
    (note,) = video.notes(path)
    if largest == 0 and name == "a.mkv":  # the face may be in the other
        assert f"(note: {note.rstrip('.')})" in str(no_face(path, 5))
    assert "2 video streams" in note and f"; stream {largest}, the largest, was read." in note


def tagged(path: Path, tag: str, value: str, rate: int = 30) -> Path:
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata[tag] = value
        stream: Any = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corner_picture(), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "tag", "value", "factor"),
    [
        ("a.mp4", "com.android.capture.fps", "120.000000", "4 times slower"),
        ("a.mov", "com.android.capture.fps", "240", "8 times slower"),
        ("a.mkv", "COM.ANDROID.CAPTURE.FPS", "60000/1001", "2 times slower"),
        ("a.mp4", "com.example.captureFrameRate", "6", "5 times faster"),
        ("a.mp4", "com.android.capture.fps", "30.0", None),
        ("a.mp4", "com.android.capture.fps", "29.97", None),
        ("a.mp4", "com.android.capture.fps", "0", None),
        ("a.mp4", "com.android.capture.fps", "fast", None),
        ("a.mp4", "title", "120", None),
    ],
)
def test_slow_motion_is_noted(tmp_path: Path, name: str, tag: str, value: str, factor: str | None) -> None:
    notes = video.notes(tagged(tmp_path / name, tag, value))
    assert len(notes) == (factor is not None)
    if factor:
        assert factor in notes[0] and "frames/s and plays at 30" in notes[0]


def test_notes_are_warnings_of_a_verdict_and_of_micro_expressions(smile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = "The video was recorded at 100 frames/s."
    monkeypatch.setattr(video, "notes", lambda _: (note,))
    blocks = list(read_faces(smile))
    (found,) = pipeline.examine(smile, read=lambda *_, **__: iter(blocks))
    assert found.verdict.quality.warnings[0] == note and note in found.verdict.to_row()["warnings"]
    assert micro.examine(smile, read=lambda *_, **__: iter(blocks)).warnings[0] == note
