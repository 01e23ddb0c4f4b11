"""Writing what a run can do without: a full disk costs the picture, not the training."""

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gan_lightning")


class Writing:
    """Attempts to write one kind of file; the first failure, and the first after a success, is told in one line.

    Args:
        what: is written.
    """

    def __init__(self, what: str):
        self.what = what
        self.failing = False

    def attempt(self, write: Callable[[], Any]) -> bool:
        """Whether `write()` went well; False if the system did not let it write."""
        try:
            write()
        except OSError as error:
            self.failed(error.strerror or str(error))
            return False
        self.failing = False
        return True

    def failed(self, reason: str) -> None:
        """Notes a failure that somebody else found."""
        if not self.failing:
            log.warning("%s cannot be written (%s); the training goes on", self.what, reason)
        self.failing = True
