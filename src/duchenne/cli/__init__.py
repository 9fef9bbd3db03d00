"""The command line: each command is one library call; results on stdout, everything else on stderr."""

from duchenne.cli import clips, data, evaluation, generate, models
from duchenne.cli.app import app, main

__all__ = ["app", "clips", "data", "evaluation", "generate", "main", "models"]
