"""The errors a user can cause. The command line prints them without a traceback and exits 1.

A message says what is wrong, what was got, what was expected, and the remedy.
"""

from enum import IntEnum


class UserError(ValueError):
    """Something the user can mend: a path, a key, a date, a store."""


class ConfigError(UserError):
    """A configuration file or an override is wrong."""


class StoreError(UserError):
    """A store is missing, incomplete, or does not hold what is asked of it."""


class ExitCode(IntEnum):
    """How a command ends; batch scripts decide by it whether a job goes back into the queue."""

    DONE = 0
    USER_ERROR = 1
    """Something the user must change: starting again would end the same way."""
    UNEXPECTED = 70
    """A defect, or a failure of the machine; starting again may help."""
    STOPPED = 75
    """Stopped on a signal with everything saved: start again to go on."""


class Stopped(Exception):
    """Work ended early on a signal, with everything saved; the same command goes on from there."""
