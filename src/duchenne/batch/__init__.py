"""Processes a batch of clips: finds them, distributes them over workers, resumes after a kill, and writes tables."""

from duchenne.batch.measures import emotions_task, micro_task, units_task
from duchenne.batch.run import Meter, Summary, Task, analyze_task, extract_task, process

__all__ = [
    "Meter",
    "Summary",
    "Task",
    "analyze_task",
    "emotions_task",
    "extract_task",
    "micro_task",
    "process",
    "units_task",
]
