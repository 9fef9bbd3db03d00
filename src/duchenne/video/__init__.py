"""Read and write pixels: frames with their true timestamps, still images, and videos."""

from duchenne.video.containers import MAX_PIXELS, STREAM_SUFFIXES
from duchenne.video.folders import IMAGE_SUFFIXES, image_files, natural, numbered
from duchenne.video.frame import Frame, View
from duchenne.video.reader import VideoInfo, frames, info, is_untimed, notes
from duchenne.video.writer import check_target, encode, redraw, write

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "STREAM_SUFFIXES",
    "Frame",
    "VideoInfo",
    "View",
    "check_target",
    "encode",
    "frames",
    "image_files",
    "info",
    "is_untimed",
    "natural",
    "notes",
    "numbered",
    "redraw",
    "write",
]
