"""A batch of clips: found, shared among workers, done once each whatever happens, and put in tables.

What is done to one clip is `pipeline`'s; how processes are kept alive is `workers`'."""

from duchenne.batch.run import Meter, Summary, Task, analyze_task, extract_task, process

__all__ = ["Meter", "Summary", "Task", "analyze_task", "extract_task", "process"]
