"""The errors a user can cause. The command line prints them without a traceback and exits 1.

A message says what is wrong, what was got, what was expected, and the remedy.
"""


class UserError(ValueError):
    """Something the user can mend: a path, a key, a date, a store."""


class ConfigError(UserError):
    """A configuration file or an override is wrong."""


class StoreError(UserError):
    """A store is missing, incomplete, or does not hold what is asked of it."""
