"""Times are those that are stored: none are invented, and odd ones are put right only where the answer is certain."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from duchenne import video
from duchenne.errors import InputError, UsageError
from makers import make_retimed, make_video

B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:bframes=3:b-pyramid=2"}


def levels(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frame n is grey of level 10 + 6 n."""
    return [np.full((height, width, 3), 10 + 6 * n, np.uint8) for n in range(count)]


def in_order(frames: list[video.Frame]) -> bool:
    means = [float(frame.grey.mean()) for frame in frames]
    return bool((np.diff(means) > 2).all())


def read(path: Path, **options: object) -> list[video.Frame]:
    return list(video.frames(path, **options))  # type: ignore[arg-type]


# ---- bare streams ----


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mjpg", "mjpeg", "yuvj420p"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv420p"),  # whatever it is called
        ("a.hevc", "hevc", "yuv420p"),
        ("a.m4v", "mpeg4", "yuv420p"),
        ("a.m2v", "mpeg2video", "yuv420p"),
        ("a.obu", "libsvtav1", "yuv420p"),
    ],
)
def test_a_bare_stream_needs_a_rate(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"This PyAV has no encoder {codec}.")
    kinds = {"a.mp4": "h264", "a.m4v": "m4v"}
    options = {"hevc": {"x265-params": "log-level=none"}, "libx264": B_FRAMES}.get(codec, {})
    path = tmp_path / name
    with av.open(str(path), "w", format=kinds.get(name)) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        for picture in levels(12, 64, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"is a bare stream, which stores no times; pass --rate \(frames/s\), or give"):
        read(path)
    frames = read(path, rate=60)
    np.testing.assert_allclose([f.time for f in frames], np.arange(12) / 60)
    assert in_order(frames)
    assert [f.time for f in read(path, rate=60, start=0.1)][:2] == pytest.approx([0, 1 / 60])
    about = video.info(path)
    assert (about.width, about.height, about.rate, about.duration) == (64, 64, None, None)


@pytest.mark.parametrize(("head", "timed"), [(b" F30:1", True), (b" F0:0", False), (b"", False)])
def test_y4m_is_read_and_its_rate_is_in_its_header(tmp_path: Path, head: bytes, timed: bool) -> None:
    # levels that are letters: no byte of it would tell it from a text
    frame = b"FRAME\n" + bytes([65]) * 64 * 48 + bytes([66]) * 2 * 32 * 24
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48" + head + b" Ip A1:1 C420jpeg\n" + frame * 9)
    frames = read(path) if timed else read(path, rate=30)
    np.testing.assert_allclose([f.time for f in frames], np.arange(9) / 30)
    assert (frames[0].grey == 65).all()
    with pytest.raises(UsageError if timed else InputError, match="own timestamps" if timed else "pass --rate"):
        read(path, rate=30) if timed else read(path)


# ---- stamps in the order of decoding ----


@pytest.mark.parametrize(("codec", "options"), [("libx264", B_FRAMES), ("mpeg4", {"bf": "2"})])
def test_b_frames_in_avi_are_shown_in_order_and_evenly(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    frames = read(make_video(tmp_path / "a.avi", levels(40), codec=codec, options=options | {"g": "15"}))
    assert len(frames) == 40 and in_order(frames[::3])  # at its rate two B-frames may be alike
    np.testing.assert_allclose([f.time for f in frames], np.arange(40) / 25)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.flv", "a.ts"])
@pytest.mark.parametrize("counted", [True, False])
def test_b_frames_elsewhere_also_where_packets_were_counted(tmp_path: Path, name: str, counted: bool) -> None:
    """`counted`: by a writer that gave packets their number as time, as of a codec that does not reorder."""
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=B_FRAMES)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for number, picture in enumerate(levels(40)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += stream.encode(frame)
        for number, packet in enumerate([*packets, *stream.encode(None)]):
            if counted:
                packet.time_base, packet.pts, packet.dts = Fraction(1, 25), number, number
            container.mux(packet)
    frames = read(tmp_path / name)
    assert len(frames) == 40 and in_order(frames)
    np.testing.assert_allclose([f.time for f in frames], np.arange(40) / 25, atol=6e-4)


# ---- equal, falling, far apart ----


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 40, 80, 80, 160, 200], [0, 40, 80, 120, 160, 200]),  # the second of two was written too early
        ([0, 40, 80, 80, 81, 120], [0, 40, 80, 80.5, 81, 120]),
        ([0, 40, 40, 40, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 0, 80, 120], [0, 40, 80, 120]),
        ([0, 40, 80, 80], [0, 40, 80, 120]),  # at the end: a step of the stream's rate
        ([0, 40, 40, 20_000, 20_040], [0, 40, 80, 20_000, 20_040]),  # not into a hole
        ([n // 4 for n in range(24)], [n / 4 for n in range(24)]),  # 4,000/s
    ],
)
def test_frames_of_one_time_are_spread(tmp_path: Path, stamps: list[int], times: list[float]) -> None:
    frames = read(make_retimed(tmp_path / "a.mkv", [(n, n) for n in stamps]))
    got = [1000 * frame.time for frame in frames]
    assert len(got) == len(stamps) and (np.diff(got) > 0).all()
    np.testing.assert_allclose(got, times, atol=1e-6)


def test_many_frames_of_one_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"more than 16 frames are at 0\.040 s; re-encode"):
        read(make_retimed(tmp_path / "a.mkv", [(0, 0), *[(40, 40)] * 20]))


def test_a_hole_stays_a_hole(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 20_080, 20_120, 100_020_120]
    frames = read(make_retimed(tmp_path / "a.mkv", [(n, n) for n in stamps]))
    np.testing.assert_allclose([f.time for f in frames], np.array(stamps) / 1000)


@pytest.mark.parametrize(("before", "step"), [(0.4, 0.04), (200.0, 15.0)])
def test_the_33_bits_of_a_transport_stream_wrap_around(tmp_path: Path, before: float, step: float) -> None:
    with av.open(str(tmp_path / "a.ts"), "w", options={"mpegts_copyts": "1"}) as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in levels(20):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")):
                time = 2**33 / 90_000 - before + step * packet.pts
                packet.time_base, packet.pts = Fraction(1, 90_000), round(time * 90_000)
                packet.dts = packet.pts
                container.mux(packet)
    times = [f.time for f in read(tmp_path / "a.ts")]
    assert len(times) == 19
    np.testing.assert_allclose(np.diff(times), step, atol=1e-4)
