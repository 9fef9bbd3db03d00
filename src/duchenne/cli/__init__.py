"""The command line: each command is one library call; results on stdout, everything else on stderr."""

from importlib import import_module

from duchenne.cli.app import PANELS, app, main, program

__all__ = ["app", "main", "program"]
_COMMANDS = (
    *("clips", "rank", "overlay", "web", "batch", "emotions", "micro", "tables", "data"),
    *("models", "expression", "clipnets", "generate", "filters", "evaluation", "cache"),
)

for _name in _COMMANDS:
    import_module(f"duchenne.cli.{_name}")
app.registered_commands.sort(key=lambda command: PANELS.index(str(command.rich_help_panel)))
