"""Errors for users: one sentence with what was expected, what was found and what to do."""


class DuchenneError(Exception):
    """Base of all errors of duchenne; the command line prints them without a traceback.

    `exit_code` is 1 when an input failed and 2 when the command itself was used wrongly.
    """

    exit_code = 1


class InputError(DuchenneError):
    """A clip, table or folder cannot be read or holds something unexpected."""


class UsageError(DuchenneError):
    """An option or argument is invalid (unknown name, contradictory options)."""

    exit_code = 2


class ModelError(DuchenneError):
    """A model folder is missing, damaged, or of another kind."""


class OutputError(DuchenneError):
    """A result cannot be written (folder not writable, disk full)."""
