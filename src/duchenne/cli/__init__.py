"""The command line: each command is one library call; results on stdout, everything else on stderr."""

from duchenne.cli import (
    batch,
    cache,
    clipnets,
    clips,
    data,
    emotions,
    evaluation,
    expression,
    filters,
    generate,
    micro,
    models,
    overlay,
    rank,
    web,
)
from duchenne.cli.app import app, main

__all__ = [
    "app",
    "batch",
    "cache",
    "clipnets",
    "clips",
    "data",
    "emotions",
    "evaluation",
    "expression",
    "filters",
    "generate",
    "main",
    "micro",
    "models",
    "overlay",
    "rank",
    "web",
]
