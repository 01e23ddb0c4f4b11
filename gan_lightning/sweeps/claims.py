"""Who runs a job: no two sweeps run the same one, and one that a killed sweep left is found again.

On a network disk without locks that machines share, two that start within the same moment may both take a job.
"""

import os
import socket
import threading
import time
from pathlib import Path

from gan_lightning.sweeps.jobs import LOCK, RECORD, load

TOUCH_SECONDS = 30.0
SILENT_SECONDS = 180.0
"""Another machine that has not touched a job's lock for so long is taken for dead. Network disks are minutes behind."""


class Claim:
    """A lock on a job's folder. It ends with the processes that hold it.

    A job inherits it: while an orphan of a killed sweep still runs, its folder stays claimed.
    """

    def __init__(self, fd: int | None = None):
        self.fd = fd

    def release(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Claims:
    """The claims of one sweep, and what it has seen of other machines."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self._held: list[Claim] = []
        self._seen: dict[Path, tuple[float, float]] = {}  # when a lock was touched, and when we first saw that
        self._alive: set[Path] = set()
        self._toucher: threading.Thread | None = None

    def take(self, folder: Path) -> Claim | None:
        """A claim on the job in `folder`, which is made if need be; None if somebody else may be running it."""
        folder.mkdir(parents=True, exist_ok=True)
        claim, noted = _lock(folder / LOCK), load(folder / RECORD)
        foreign = noted.get("state") == "running" and noted.get("host") != self.host
        if foreign and not self._silent(folder) and claim is not None:
            claim.release()  # not every network disk tells machines of one another's locks
            return None
        if claim is None:
            return None
        self._hold(claim)
        return claim

    def elsewhere(self, folder: Path) -> bool:
        """Whether another machine is known to run the job."""
        return folder in self._alive

    def _silent(self, folder: Path) -> bool:
        touched, now = (folder / LOCK).stat().st_mtime, time.monotonic()
        before, since = self._seen.setdefault(folder, (touched, now))
        if touched != before:
            self._alive.add(folder)
            self._seen[folder] = touched, now
            return False
        silent = now - since > SILENT_SECONDS
        if silent:
            self._alive.discard(folder)
        return silent

    def _hold(self, claim: Claim) -> None:
        self._held.append(claim)
        if self._toucher is None:
            self._toucher = threading.Thread(target=self._touch, daemon=True)
            self._toucher.start()

    def _touch(self) -> None:
        while True:
            for claim in list(self._held):
                try:
                    os.utime(claim.fd)
                except (OSError, TypeError):  # released, or a disk that is away for a moment
                    if claim.fd is None:
                        self._held.remove(claim)
            time.sleep(TOUCH_SECONDS)


def _lock(path: Path) -> Claim | None:
    try:
        import fcntl
    except ImportError:  # Windows
        path.touch()
        return Claim()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:  # a disk without locks
        pass
    return Claim(fd)
