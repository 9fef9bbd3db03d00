"""video: real files made by FFmpeg's own encoders, read back; then the ways in which files are broken."""

from __future__ import annotations

import math
import os
import re
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from duchenne import video
from duchenne.errors import InputError, OutputError, UsageError
from makers import (
    corner_picture,
    cut,
    make_audio,
    make_image,
    make_retimed,
    make_video,
    noise_pictures,
    skip_in_mp4,
    turn_mp4,
)

VFR = [0, 40, 50, 200, 1000]  # milliseconds
FRONT = {"movflags": "faststart"}


def read(path: Path, **options: object) -> list[video.Frame]:
    return list(video.frames(path, **options))  # type: ignore[arg-type]


def corner(picture: np.ndarray) -> str:
    """Which corner of the picture is the bright one."""
    high, wide = picture.shape[0] // 2, picture.shape[1] // 2
    quarters = {
        "top left": picture[:high, :wide],
        "top right": picture[:high, wide:],
        "bottom left": picture[high:, :wide],
        "bottom right": picture[high:, wide:],
    }
    return max(quarters, key=lambda name: float(quarters[name].mean()))


# ---- what can be read ----


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_variable_rate_keeps_its_timestamps(tmp_path: Path, name: str) -> None:
    frames = read(make_video(tmp_path / name, noise_pictures(5), times=VFR))
    np.testing.assert_allclose([f.time for f in frames], np.array(VFR) / 1000, atol=1e-4)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]


def test_variable_rate_avi_repeats_frames_and_is_whole(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", noise_pictures(5), codec="mpeg4", rate=1000, times=VFR)
    np.testing.assert_allclose([f.time for f in read(path)], np.array(VFR) / 1000)


def test_time_counts_from_the_first_frame_of_a_file_that_starts_late(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", noise_pictures(3), times=[5000, 5040, 5080])
    np.testing.assert_allclose([f.time for f in read(path)], [0, 0.04, 0.08])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuvj420p"),
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mp4", "libx264", "nv12"),
        ("a.mov", "hevc", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.mov", "png", "rgba"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mkv", "ffv1", "yuv444p16le"),
        ("a.gif", "gif", "rgb8"),
        ("a.ts", "libx264", "yuv420p"),
    ],
)
def test_containers_codecs_and_pixel_formats(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "hevc" else {}
    pictures = [corner_picture(50, 38)] * 6
    path = make_video(tmp_path / name, pictures, codec=codec, pix_fmt=pix_fmt, options=options)
    frames = read(path)
    assert len(frames) == 6
    for frame in frames:
        assert frame.grey.shape == (38, 50) and frame.grey.dtype == np.uint8
        assert frame.bgr.shape == (38, 50, 3) and frame.bgr.dtype == np.uint8
        assert corner(frame.grey) == corner(frame.bgr) == "top left"
        assert abs(float(frame.bgr[:15, :20].mean()) - 200) < 15 and frame.bgr[22:, 30:].mean() < 15
        assert abs(float(frame.grey[:15, :20].mean()) - 200) < 20 and frame.grey[22:, 30:].mean() < 20
    about = video.info(path)
    assert (about.width, about.height, about.rotation) == (50, 38, 0)
    assert about.rate == pytest.approx(25, rel=0.01)


def test_grey_is_the_luma_plane_itself(tmp_path: Path) -> None:
    planes = np.random.default_rng(1).integers(0, 256, (60 * 3 // 2, 34), np.uint8)  # FFV1 is lossless
    path = make_video(tmp_path / "a.mkv", [planes], codec="ffv1", source="yuv420p")
    (frame,) = read(path)
    np.testing.assert_array_equal(frame.grey, planes[:60])


def test_ten_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    ramp = np.arange(1024, dtype=np.uint16).reshape(16, 64)
    path = make_video(tmp_path / "a.mkv", [ramp], codec="ffv1", pix_fmt="gray10le", source="gray10le")
    (frame,) = read(path)
    np.testing.assert_array_equal(frame.grey, ramp // 4)


def test_colour_order_is_blue_green_red(tmp_path: Path) -> None:
    picture = np.full((8, 8, 3), (10, 100, 250), np.uint8)
    (frame,) = read(make_image(tmp_path / "a.png", picture))
    assert frame.bgr[0, 0].tolist() == [250, 100, 10]
    assert abs(int(frame.grey[0, 0]) - (0.299 * 10 + 0.587 * 100 + 0.114 * 250)) <= 1


@pytest.mark.parametrize(
    ("matrix", "bright", "rotation"),
    [
        ((0, 1, -1, 0), "top right", 270),  # a point on the right goes to the bottom: 90 degrees clockwise
        ((0, -1, 1, 0), "bottom left", 90),
        ((-1, 0, 0, -1), "bottom right", 180),
    ],
)
def test_rotated_video_is_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], bright: str, rotation: int
) -> None:
    path = turn_mp4(make_video(tmp_path / "a.mp4", [corner_picture(64, 48)] * 9), matrix)
    frames = read(path)
    size = (48, 64) if rotation == 180 else (64, 48)
    assert len(frames) == 9
    for frame in frames:  # the last ones leave the decoder when it is flushed
        assert frame.grey.shape == frame.bgr.shape[:2] == size
        assert corner(frame.grey) == corner(frame.bgr) == bright
        assert frame.grey.flags.c_contiguous and frame.bgr.flags.c_contiguous
    about = video.info(path)
    assert (about.height, about.width, about.rotation) == (*size, rotation)


def test_smallest_and_largest_frames(tmp_path: Path) -> None:
    (dot,) = read(make_video(tmp_path / "dot.mov", [corner_picture(1, 1)], codec="png", pix_fmt="rgb24"))
    assert dot.grey.tolist() == [[200]] and dot.bgr.tolist() == [[[200, 200, 200]]]
    path = make_video(tmp_path / "8k.mkv", [corner_picture(7680, 4320)], codec="mpeg4")
    (huge,) = read(path)
    assert huge.grey.shape == (4320, 7680) and corner(huge.bgr) == "top left"


def test_converting_is_done_once_and_gives_the_same_each_time(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", noise_pictures(8))
    once, again = read(path), read(path)
    assert once[0].grey is once[0].grey and once[0].bgr is once[0].bgr
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.bgr, two.bgr)
        np.testing.assert_array_equal(one.grey, two.grey)


def test_edit_list_plays_fewer_frames_than_declared(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", noise_pictures(30))
    with av.open(str(path)) as container:
        ticks = int(container.streams.video[0].duration / 30)
    skip_in_mp4(path, 3 * ticks)
    assert video.info(path).declared_frames == 30
    frames = read(path)
    assert len(frames) == 27
    assert frames[0].time == 0.0 and frames[-1].time == pytest.approx(26 / 25)


@pytest.mark.parametrize("name", ["50%d.png", "two:parts.png", "a b'ü.png", "[1].JPG"])
def test_odd_file_names_are_plain_names(tmp_path: Path, name: str) -> None:
    made = make_image(tmp_path / Path(name).with_suffix(Path(name).suffix.lower()), corner_picture())
    (frame,) = read(made.rename(tmp_path / name))
    assert (frame.index, frame.time) == (0, 0.0) and corner(frame.grey) == "top left"


def test_a_title_in_another_encoding_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "cafXX"
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corner_picture(), format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"cafXX", b"caf\xe9\xe9"))
    assert len(read(path)) == 1


# ---- images ----


def test_a_folder_of_images_in_order_of_number(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        make_image(tmp_path / f"face{number}.png", np.full((6, 8, 3), number * 10, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._face3.png").write_text("left by a file manager")
    frames = read(tmp_path, rate=4)
    assert [int(f.grey[0, 0]) for f in frames] == [10, 20, 90, 100]
    assert [(f.index, f.time) for f in frames] == [(0, 0.0), (1, 0.25), (8, 2.0), (9, 2.25)]
    assert [(f.index, f.time) for f in read(tmp_path, rate=4, start=0.25, end=2.25)] == [(0, 0.0), (7, 1.75)]
    about = video.info(tmp_path)
    assert (about.width, about.height, about.declared_frames, about.rate) == (8, 6, 10, None)


def test_digits_of_other_scripts_are_letters_in_the_order_of_names() -> None:
    names = ["1.png", "1\u0663.png", "1²3.png", "2.png", "A10.png", "a9.png", "10.png", "01.png"]
    ordered = [path.name for path in sorted(map(Path, names), key=video.natural)]
    assert ordered == ["01.png", "1.png", "1²3.png", "1\u0663.png", "2.png", "10.png", "a9.png", "A10.png"]


def test_a_single_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png", corner_picture(), "rgba")
    (frame,) = read(path)
    assert (frame.index, frame.time) == (0, 0.0) and corner(frame.bgr) == "top left"
    about = video.info(path)
    assert (about.rate, about.declared_frames, about.duration) == (None, 1, None)


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    make_image(tmp_path / "1.png", corner_picture(8, 6))
    make_image(tmp_path / "2.png", corner_picture(9, 6))
    with pytest.raises(InputError, match=r"2\.png is 9x6 pixels while the first is 8x6"):
        read(tmp_path, rate=4)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_image_in_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = cut(make_image(tmp_path / name, noise_pictures(1)[0]), 0.5)
    with pytest.raises(InputError, match="cut short or damaged"):
        read(path)
    with pytest.raises(InputError, match="cut short or damaged"):
        read(tmp_path, rate=4)
    (frame,) = read(path, allow_truncated=True)
    assert frame.grey.shape == (48, 64) and frame.bgr[:8].std() > 20


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="a folder without images"):
        read(tmp_path, rate=4)


def test_a_folder_needs_a_rate_and_a_video_refuses_one(tmp_path: Path) -> None:
    make_image(tmp_path / "1.png", corner_picture())
    with pytest.raises(UsageError, match="pass --rate"):
        video.frames(tmp_path)
    with pytest.raises(UsageError, match="own timestamps"):
        video.frames(make_video(tmp_path / "a.mp4", noise_pictures(2)), rate=25)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_is_a_positive_number(tmp_path: Path, rate: float) -> None:
    with pytest.raises(UsageError, match="positive number"):
        video.frames(tmp_path, rate=rate)


# ---- a stretch of a file ----


def test_start_and_end_in_seconds_of_the_file(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (0, 50, 100, 150, 200)]
    path = make_video(tmp_path / "a.mkv", pictures, codec="ffv1", pix_fmt="gray", times=VFR)
    frames = read(path, start=0.04, end=0.2)
    assert [f.index for f in frames] == [0, 1]
    np.testing.assert_allclose([f.time for f in frames], [0, 0.01])
    assert [int(f.grey[0, 0]) for f in frames] == [50, 100]
    assert [int(f.grey[0, 0]) for f in read(path, start=0.1)] == [150, 200]
    assert [int(f.grey[0, 0]) for f in read(path, end=0.04)] == [0]


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (2.0, 1.0), (None, 0.0), (-1.0, 2.0), (0.0, math.nan)])
def test_a_clip_starts_before_it_ends(tmp_path: Path, start: float | None, end: float | None) -> None:
    with pytest.raises(UsageError, match="start"):
        video.frames(tmp_path / "a.mp4", start=start, end=end)


def test_a_stretch_after_the_end_of_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", noise_pictures(5))
    with pytest.raises(InputError, match=r"no frame between 3\.0 s and 4\.0 s"):
        read(path, start=3.0, end=4.0)


# ---- only what is asked for is read ----


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Open files are listed under /proc only.")
def test_frames_come_one_at_a_time_and_closing_closes_the_file(tmp_path: Path) -> None:
    # Cut in the middle: reading on to its end would raise.
    path = cut(make_video(tmp_path / "a.mp4", noise_pictures(200), muxer=FRONT, options={"g": "5"}), 0.5)
    frames = video.frames(path)
    assert len(list(islice(frames, 3))) == 3
    assert str(path.resolve()) in _open_files()
    frames.close()  # type: ignore[attr-defined]
    assert str(path.resolve()) not in _open_files()


def _open_files() -> set[str]:
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


def test_stretch_before_the_missing_part_is_complete(tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "a.mp4", noise_pictures(50), muxer=FRONT), 0.6)
    assert len(read(path, end=0.4)) == 10


# ---- broken files: one sentence each, and FFmpeg is silent ----


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("a.mp4", "libx264", FRONT),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
@pytest.mark.parametrize("part", [0.55, 0.8])
def test_a_file_that_is_cut_short(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    codec: str,
    muxer: dict[str, str],
    part: float,
) -> None:
    path = make_video(tmp_path / name, noise_pictures(72), codec=codec, muxer=muxer, options={"g": "12"})
    assert len(read(path)) == 72
    capfd.readouterr()
    cut(path, part)
    got = []
    with pytest.raises(InputError, match=r"is cut short: \d+ .*frames.* could be decoded.*--allow-tr") as caught:
        got.extend(frame.index for frame in video.frames(path))
    (told,) = re.findall(r"cut short: (\d+) ", str(caught.value))
    assert 0 < len(got) == int(told) < 72
    assert len(read(path, allow_truncated=True)) == len(got)
    assert capfd.readouterr().err == ""


def test_an_mp4_that_lost_its_index(tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "a.mp4", noise_pictures(30)), 0.7)
    with pytest.raises(InputError, match=r"is cut short: .*moov"):
        read(path, allow_truncated=True)


def test_one_damaged_packet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_video(tmp_path / "a.mov", noise_pictures(10), codec="png", pix_fmt="rgb24")
    with av.open(str(path)) as container:
        spots = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    data = bytearray(path.read_bytes())
    data[spots[4][0] : sum(spots[4])] = bytes(spots[4][1])
    path.write_bytes(data)
    capfd.readouterr()
    with pytest.raises(InputError, match="is damaged: 9 of 10 frames could be decoded"):
        read(path)
    times = [f.time for f in read(path, allow_truncated=True)]
    np.testing.assert_allclose(times, np.delete(np.arange(10), 4) / 25)
    assert capfd.readouterr().err == ""


def test_nothing_can_be_decoded(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mov", noise_pictures(3), codec="png", pix_fmt="rgb24")
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"XXXX"))
    for allow in (False, True):
        with pytest.raises(InputError, match="holds no complete frame"):
            read(path, allow_truncated=allow)
    with pytest.raises(InputError, match="holds no complete frame"):
        video.info(path)


def test_timestamps_that_jump_back(tmp_path: Path) -> None:
    path = make_retimed(tmp_path / "a.mkv", [(0, 0), (10, 80), (20, 60), (30, 90)])
    with pytest.raises(InputError, match=r"frame 2 is at 0\.060 s, but the frame before it is at 0\.080 s.*re-enc"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"frame, AU12_r\n1, 0.5\n" * 200, "is a text file"),
        ("a.mp4", b"frame, AU12_r\n1, 0.5\n" * 200, "is a text file"),
        ("a.txt", b"Smile.\n" * 200, "is a text file"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\nSmile.\n\n", "is a text file"),
        ("noise.mp4", np.random.default_rng(0).bytes(20_000), "not a video or image"),
        ("noise", np.random.default_rng(1).bytes(20_000), "not a video or image"),
        ("a.mp4", b"", "is empty"),
    ],
)
def test_other_files_are_not_video(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for reader in (read, video.info):
        with pytest.raises(InputError, match=sentence):
            reader(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_a_missing_file_and_a_sound_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*gone\.mp4"):
        read(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="holds audio but no video"):
        read(make_audio(tmp_path / "a.m4a"))


def test_a_codec_that_is_not_known(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", noise_pictures(3))
    path.write_bytes(path.read_bytes().replace(b"avc1\x00\x00\x00\x00", b"zzzz\x00\x00\x00\x00"))
    with pytest.raises(InputError, match="cannot be decoded"):
        read(path)


# ---- writing ----


def test_write_and_read_back(tmp_path: Path) -> None:
    pictures = [corner_picture(64, 48, level) for level in (50, 100, 150, 200)]
    path = video.write(tmp_path / "out.mp4", iter(pictures), 29.97)
    frames = read(path)
    np.testing.assert_allclose([f.time for f in frames], np.arange(4) / 29.97, atol=1e-4)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.bgr[..., ::-1].astype(int) - picture).mean() < 4
    about = video.info(path)
    assert (about.codec, about.width, about.height) == ("h264", 64, 48)


@pytest.mark.parametrize(("width", "height"), [(63, 47), (1, 1), (64, 47)])
def test_odd_sizes_gain_a_repeated_row_or_column(tmp_path: Path, width: int, height: int) -> None:
    path = video.write(tmp_path / "out.mp4", [np.full((height, width, 3), 200, np.uint8)] * 2, 25)
    frame = read(path)[0]
    assert frame.grey.shape == (height + height % 2, width + width % 2)
    assert np.abs(frame.bgr.astype(int) - 200).max() < 8


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")

    def breaking() -> object:
        yield from noise_pictures(3)
        raise RuntimeError("the maker of the pictures failed")

    with pytest.raises(RuntimeError, match="failed"):
        video.write(path, breaking(), 25)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="there is no frame to write"):
        video.write(path, [], 25)
    with pytest.raises(OutputError, match="frame 1 is float64"):
        video.write(path, [corner_picture(), corner_picture().astype(float)], 25)
    with pytest.raises(OutputError, match=r"frame 0 is uint8 \(48, 64\)"):
        video.write(path, [corner_picture()[..., 0]], 25)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_write_refuses_invalid_arguments(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        (tmp_path / "file").write_bytes(b"no folder")
        video.write(tmp_path / "file" / "out.mp4", [corner_picture()], 25)
    with pytest.raises(UsageError, match=r"ends in \.mp4"):
        video.write(tmp_path / "out.avi", [corner_picture()], 25)
    with pytest.raises(UsageError, match=r"0\.001 to 1000 frames"):
        video.write(tmp_path / "out.mp4", [corner_picture()], 0)


# ---- recordings of people ----


@pytest.mark.parametrize(
    ("name", "count", "declared"),
    [("no_face.mp4", 95, 98), ("single_face.mp4", 72, 72), ("noface_face.mov", 169, 169)],
)
def test_real_recordings(name: str, count: int, declared: int) -> None:
    folder = os.environ.get("DUCHENNE_DATA")
    if not folder:
        pytest.skip("Set DUCHENNE_DATA to the folder that holds the shared clips.")
    path = Path(folder) / "clips" / name
    assert video.info(path).declared_frames == declared
    times = [f.time for f in video.frames(path)]
    assert len(times) == count and times[0] == 0.0 and (np.diff(times) > 0).all()
