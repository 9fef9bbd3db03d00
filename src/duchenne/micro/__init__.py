"""Micro-expressions: spotting them in a clip, recognising their class, and training the recogniser."""

from duchenne.micro.data import CLASSES, Example, examples
from duchenne.micro.spotting import Found, examine, save, spotting_scores
from duchenne.micro.training import train

__all__ = ["CLASSES", "Example", "Found", "examine", "examples", "save", "spotting_scores", "train"]
