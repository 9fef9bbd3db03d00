"""Micro-expressions: when they happen in a clip, what they are, and learning to tell what they are."""

from duchenne.micro.data import CLASSES, Example, examples
from duchenne.micro.spotting import Found, examine, save, spotting_scores
from duchenne.micro.training import train

__all__ = ["CLASSES", "Example", "Found", "examine", "examples", "save", "spotting_scores", "train"]
