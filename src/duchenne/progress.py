"""Callbacks for progress, which `cli` turns into bars."""

from collections.abc import Callable

Log = Callable[[str], None]  # a line for a person
Tick = Callable[[int], None]  # how many are done
TickOf = Callable[[int, int], None]  # how many are done, of how many
StepTick = Callable[[str, int, int], None]  # of what step how many are done, of how many
