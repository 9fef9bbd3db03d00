"""Detect and track faces, with 68 points on every frame."""

from duchenne.faces.follow import follow, follow_blocks
from duchenne.faces.joined import Followed, join, protagonist

__all__ = ["Followed", "follow", "follow_blocks", "join", "protagonist"]
