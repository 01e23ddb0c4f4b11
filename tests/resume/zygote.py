"""Starts training runs cheaply: everything slow is imported once, and each run is a fork of this process.

A line of JSON on standard input describes a run; when it has ended, a line on standard output says how. The run is the
real command line, in a session of its own, and signals that end it are real ones too.

{"argv": [...], "cwd": "...",
 "env": {...},
 "processes": 2,                     of one run, as torchrun would start them (default: one, without a process group)
 "signal": 9, "after": 0.5,          is sent to all of them, so many seconds after training began ("to": to that one only;
                                     "group": to their data workers as well, as terminals and schedulers do)
 "die": {"at": "replace", "nth": 3}, kills itself with SIGKILL at that moment: see `die_at`
 "patch": ["name", ...]}             calls that function of `patches.py` in the run first, with the rest
"""

import builtins
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from PIL import Image

import gan_lightning.training  # noqa: F401 - this is what takes seconds
from gan_lightning import checkpoint, cli

BEGUN = b"training for"


def die_at(at: str, nth: int = 1, size: int = 0, name: str = "") -> None:
    """Kills the run with SIGKILL: `at` "write", when `size` bytes of a file are written; "fsync", before its bytes are
    sure; "replace" or "link", before a file gets its name; "replaced" or "linked", right after. The `nth` time, among
    files in whose names `name` occurs."""
    left = [nth]

    def now(path) -> bool:
        left[0] -= name in str(path)
        return name in str(path) and left[0] == 0

    def kill() -> None:
        os.killpg(0, signal.SIGKILL)
        time.sleep(60)

    def around(function, before: bool):
        def wrapped(*args, **kwargs):
            due = now(args[-1])
            if due and before:
                kill()
            result = function(*args, **kwargs)
            if due:
                kill()
            return result
        return wrapped

    if at in ("replace", "replaced"):
        os.replace = around(os.replace, at == "replace")
    elif at in ("link", "linked"):
        os.link = around(os.link, at == "link")
    else:
        checkpoint.open = lambda path, mode="r": _Dying(path, mode, kill, size if at == "write" else None, now)


class _Dying:
    """A file that kills the process when it has taken `size` bytes, or (None) when it is about to be synced."""

    def __init__(self, path, mode, kill, size, now):
        self.file = builtins.open(path, mode)
        self.kill, self.size = kill, size
        self.due = "w" in mode and now(path)

    def write(self, data) -> int:
        data = memoryview(data).cast("B")
        if self.due and self.size is not None and self.size <= len(data):
            self.file.write(data[:self.size])
            self.file.flush()
            self.kill()
        self.size = None if self.size is None else self.size - len(data)
        return self.file.write(data)

    def fileno(self) -> int:
        if self.due and self.size is None:
            self.kill()
        return self.file.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def child(request: dict, rank: int, port: int, output: int) -> None:
    """The forked process, to its end."""
    code = 1
    try:
        os.setsid()
        os.chdir(request["cwd"])
        os.dup2(output, 1), os.dup2(output, 2)
        sys.stdin.close()
        os.environ |= request.get("env", {})
        if request.get("processes", 1) > 1:
            os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(request["processes"]),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        sys.argv = ["train.py", *request["argv"]]
        if request.get("die") and rank == 0:
            die_at(**request["die"])
        if request.get("patch"):
            spec = importlib.util.spec_from_file_location("patches", Path(__file__).with_name("patches.py"))
            patches = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(patches)
            patch, *arguments = request["patch"]
            getattr(patches, patch)(*arguments)
        cli.train()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(request: dict) -> dict:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    read, write = os.pipe()
    os.set_blocking(read, False)
    began, children = time.monotonic(), []
    for rank in range(request.get("processes", 1)):
        pid = os.fork()
        if pid == 0:
            child(request, rank, port, write)
        children.append(pid)
    codes, started, sent, output = {}, None, False, b""
    while len(codes) < len(children):
        time.sleep(0.002)
        if time.monotonic() - began > request.get("limit", 100):  # it hangs
            for pid in children:
                os.kill(pid, signal.SIGKILL) if pid not in codes else None
        for pid in children:
            if pid not in codes and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(ended[1])
        with suppress(BlockingIOError):
            output += os.read(read, 2**20)
        if started is None and BEGUN in output:
            started = time.monotonic()
        due = "after" in request and started is not None and time.monotonic() - started >= request["after"]
        if due and not sent:
            sent = True
            for rank, pid in enumerate(children):
                if pid not in codes and request.get("to", rank) == rank:
                    (os.killpg if request.get("group") else os.kill)(pid, request["signal"])
    for pid in children:  # data workers
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    with suppress(BlockingIOError):
        output += os.read(read, 2**20)
    os.close(read), os.close(write)
    now = time.monotonic()
    return {"codes": [codes[pid] for pid in children], "sent": sent, "seconds": now - began,
            "trained": now - started if started else 0.0, "output": output.decode()}


def main() -> None:
    assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1, "a thread would not be forked"
    Image.init()
    cli.check = lambda *_: None  # the tests' settings are right, and checking them takes a third of a start
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
