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
    write,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Frame",
    "VideoInfo",
    "frames",
    "image_files",
    "info",
    "natural",
    "write",
]
