"""Make small real videos, images and tables for tests; each function returns the path."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from duchenne.batch import Task, work
from duchenne.errors import InputError
from duchenne.types import Array
from duchenne.workers.pool import Runner
from duchenne.workers.protocol import Job, Result


def corner_picture(width: int = 64, height: int = 48, level: int = 200) -> Array:
    """uint8 (H, W, 3) RGB: black, with the top left quarter at `level`, to detect rotation."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: (height + 1) // 2, : (width + 1) // 2] = level
    return picture


def noise_pictures(count: int, width: int = 64, height: int = 48, seed: int = 0) -> list[Array]:
    """`count` uint8 (H, W, 3) RGB images of noise: every frame is different and large."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def make_video(
    path: Path,
    pictures: Iterable[Array],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    source: str = "rgb24",
) -> Path:
    """Encode `pictures` (pixel format `source`) at `rate` frames/s, or at `times` in milliseconds each."""
    if codec == "libx264":  # what else it has of assembly writes other bytes from run to run
        options = {"x264-params": "asm=SSE2"} | (options or {})
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        base = Fraction(1, rate) if times is None else Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format=source)
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.codec_context.time_base = base
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_image(path: Path, picture: Array, pix_fmt: str = "rgb24") -> Path:
    """One image in the format of the file extension (.png or .jpg)."""
    codec, pix_fmt = ("png", pix_fmt) if path.suffix == ".png" else ("mjpeg", "yuvj420p")
    context = av.CodecContext.create(codec, "w")
    height, width = picture.shape[:2]
    context.width, context.height, context.pix_fmt, context.time_base = (
        width,
        height,
        pix_fmt,
        Fraction(1, 25),
    )
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
    path.write_bytes(b"".join(bytes(packet) for part in (frame, None) for packet in context.encode(part)))
    return path


def make_audio(path: Path, seconds: float = 0.2) -> Path:
    """A silent sound file (AAC in the container of the file extension)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, int(44100 * seconds)), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def make_retimed(path: Path, stamps: Sequence[tuple[int, int]]) -> Path:
    """FFV1 in Matroska whose packets carry `stamps` (dts, pts) in milliseconds, valid or not."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, (dts, pts) in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(corner_picture(), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in stream.encode(frame):
                packet.time_base, packet.dts, packet.pts = Fraction(1, 1000), dts, pts
                container.mux(packet)
    return path


def turn_mp4(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix (a, b, c, d) into an MP4's track header: x' = ax + cy, y' = bx + dy, y down."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # type 4, version and flags 4, times and ids 20, reserved and layer 16
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def skip_in_mp4(path: Path, ticks: int) -> Path:
    """Start an MP4's edit list `ticks` (of the track's timescale) later, so that the first frames are not shown."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 16  # type 4, version and flags 4, count 4, duration 4
    (begin,) = struct.unpack(">i", data[at : at + 4])
    data[at : at + 4] = struct.pack(">i", begin + ticks)
    path.write_bytes(data)
    return path


def cut(path: Path, part: float) -> Path:
    """Keep only the first `part` (0 to 1) of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


#: Classes of `class_folders`, in everyday words.
WORDS = ("angry", "happy", "sad")


def pattern(kind: int, rng: np.random.Generator) -> Array:
    """uint8 (48, 48): horizontal, vertical or no stripes, in noise."""
    wave = (np.sin(np.arange(48))[:, None] + np.zeros(48)) * 60
    return np.clip((wave, wave.T, 0 * wave)[kind % 3] + rng.normal(128, 20, (48, 48)), 0, 255).astype(np.uint8)


def class_folders(root: Path, count: int = 6, words: Sequence[str] = WORDS, seed: int = 0) -> Path:
    """One folder of patterns per word; returns root."""
    rng = np.random.default_rng(seed)
    for kind, word in enumerate(words):
        (root / word).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / word / f"p{i % 3}_{i}.png"), pattern(kind, rng))
    return root


def unit_table(path: Path, rows: Sequence[str], header: str = "file,subject,AU1,AU12") -> Path:
    """A table, and a pattern image for each of its files."""
    rng = np.random.default_rng(1)
    for row in rows:
        cells = row.split(",")
        cv2.imwrite(str(path.parent / cells[0]), pattern(float(cells[-1] or 0) > 0, rng))
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def here(task: Task) -> Runner:
    """Jobs done in this process, which has read the models already."""

    def run(jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]:
        for job in jobs:
            try:
                yield Result(job.number, work.run(task.work.options, job.arguments, lambda *_: None))
            except InputError as error:
                yield Result(job.number, failure=str(error))

    return run
