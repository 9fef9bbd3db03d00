"""Many clips: found, shared among processes, done once each whatever happens, and told in tables."""

from duchenne.batch.run import Meter, Result, Task, analyze_task, extract_task, process

__all__ = ["Meter", "Result", "Task", "analyze_task", "extract_task", "process"]
