"""Errors that a user can mend: shown as one line, without a stack trace."""


class UserError(Exception):
    """Something outside the program is wrong; the message says what, and what to change."""


class ConfigError(UserError, ValueError):
    """A setting has a value it cannot have: names the setting, the value, and what is allowed."""


class DataError(UserError):
    """A data set is missing, empty or damaged: names the file or folder."""


class CheckpointError(UserError):
    """A checkpoint is missing, cut short, or not one of ours."""


class TrainingDiverged(UserError):
    """A loss stopped being a finite number: names the step and the term."""
