"""Pixels in and out: frames with their true timestamps, still images, and videos written.

Only this room imports PyAV; it knows no faces.
"""

from duchenne.video.reader import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    Frame,
    VideoInfo,
    frames,
    image_files,
    info,
    natural,
)
from duchenne.video.writer import check_target, encode, redraw, write

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Frame",
    "VideoInfo",
    "check_target",
    "encode",
    "frames",
    "image_files",
    "info",
    "natural",
    "redraw",
    "write",
]
