"""What happens, by arrangement, inside of a run that a test has started: see `zygote.py`."""

import os
import resource
import threading
import time
from functools import wraps

from gan_lightning import module as engine
from gan_lightning import resume
from gan_lightning.callbacks.interrupt import StopOnSignal
from gan_lightning.journal import Journal
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.module import GANModule
from gan_lightning.tasks.generation import Generation
from gan_lightning.training import TrainData


def _after(owner, name, then) -> None:
    """`then(result, *arguments)` is called after each call of `owner.name`."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args, **kwargs):
        result = original(*args, **kwargs)
        then(result, *args)
        return result

    setattr(owner, name, wrapped)


def _rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))


# Signals, from within, so that the moment is known

def signal_after_step(step: int, number: int, times: int = 1, rank: int = 0) -> None:
    def send(_, module, *__):
        if module.steps == step and _rank() == rank:
            for _ in range(times):
                os.kill(os.getpid(), number)

    _after(GANModule, "_count", send)


def signal_in_evaluation(nth: int, number: int) -> None:
    left = [nth]

    def send(*_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)

    _after(Evaluation, "measure", send)


def signal_before_the_first_step(number: int, swallow: bool) -> None:
    def send(*_):
        try:
            os.kill(os.getpid(), number)
            time.sleep(0.1)
        except SystemExit:  # as a library may that calls back
            if not swallow:
                raise

    _after(TrainData, "train_dataloader", send)


def two_in_a_step_without_end(number: int) -> None:
    def hang(_, module, *__):
        if module.steps == 3:
            pid = os.getpid()
            threading.Thread(target=lambda: [(time.sleep(0.3), os.kill(pid, number)) for _ in range(2)]).start()
            time.sleep(60)

    _after(GANModule, "_count", hang)


def stuck_before_the_first_step(number: int) -> None:
    """As in a wait for a process that has gone: the handlers are never come to."""
    lock = threading.Lock()
    lock.acquire()

    def hang(*_):
        os.kill(os.getpid(), number)
        while True:
            try:
                lock.acquire(timeout=60)
            except SystemExit:
                pass

    _after(TrainData, "train_dataloader", hang)


def count_agreements(file: str, step: int, number: int, rank: int) -> None:
    def note(_, __, ___, module):
        with open(f"{file}{_rank()}", "a") as notes:
            notes.write(f"{module.steps}\n")

    _after(StopOnSignal, "_agree", note)
    signal_after_step(step, number, rank=rank)


def another_folder(rank: int) -> None:
    """That process sees no checkpoint."""
    if _rank() == rank:
        resume.checkpoints_in = lambda folder: []


# A disk that is full for a while: the system refuses files of more than `size` bytes

def full_disk(first: int, last: int, size: int, number: int = 0) -> None:
    def limit(_, module, *__):
        if module.steps == first:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        if module.steps == last:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if number:
                os.kill(os.getpid(), number)

    _after(GANModule, "_count", limit)


def full_disk_and_signal(first: int, size: int, then: int, number: int | None) -> None:
    full_disk(first, -1, size)
    if number:
        signal_after_step(then, number)


def broken_at(step: int, then: int, number: int | None) -> None:
    """D's loss is not a number in that step."""
    original = Generation.d_loss
    Generation.d_loss = lambda self, batch, clock: {
        name: loss * (float("nan") if clock.step == step else 1.0) for name, loss in original(self, batch, clock).items()}
    if number:
        signal_after_step(then, number)


# What a resume could forget

def forget_position() -> None:
    def rewind(loader, *_):
        loader.start = 0

    _after(TrainData, "train_dataloader", rewind)


def forget_moments() -> None:
    def forget(_, module, checkpoint):
        for optimizer in checkpoint["optimizer_states"]:
            optimizer["state"] = {}

    _after(GANModule, "on_load_checkpoint", forget)


def forget_sums() -> None:
    def forget(_, journal, *__):
        journal._sums, journal._steps = {}, {"d": 0, "g": 0}

    _after(Journal, "load_state_dict", forget)


def forget_steps() -> None:
    """Random numbers are those of other steps."""
    seed_step = engine.seed_step
    engine.seed_step = lambda seed, step, *rest: seed_step(seed, step + 1, *rest)


def forget_average() -> None:
    def forget(_, module, checkpoint):
        state = checkpoint["state_dict"]
        for name in state:
            if name.startswith("ema.network."):
                state[name] = state[name.replace("ema.network.", "task.g.")]

    _after(GANModule, "on_load_checkpoint", forget)

