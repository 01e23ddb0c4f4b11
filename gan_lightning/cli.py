"""The command line: composes the config, checks it, and only then imports what is slow.

A wrong setting ends in one line, `error: ...`, and exit code 2, before anything is read or written.
`HYDRA_FULL_ERROR=1` shows the stack trace instead.
"""

import logging
import os
import select
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gan_lightning.config import conf_dir, schema
from gan_lightning.config.check import check
from gan_lightning.config.explain import (
    explain_building,
    explain_composing,
    key_of,
    one_line,
    unlisted_setting,
)
from gan_lightning.config.started import know_local_rank
from gan_lightning.config.tree import VERSION_BASE, Tree
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.stopping import INTERRUPTED, Signals
from gan_lightning.sweeps.following import PARENT, follow

FULL_ERROR = "HYDRA_FULL_ERROR"
FAILED, BAD_CONFIG = 1, 2  # exit codes; 2 is argparse's too
COMPOSING = (UserError, HydraException, OmegaConfBaseException, YAMLError)
RUNNING = (UserError, HydraException, OmegaConfBaseException)

Task = Callable[[DictConfig], Any]


class _Stop(BaseException):
    """Carries a job's error past Hydra, which would print lines of its own."""


def train() -> None:
    """`python train.py ...`: trains what the command line describes."""
    run(_train, "config")


def sample() -> None:
    """`python sample.py ckpt=... n=64`: draws images from a checkpoint."""
    run(_sample, "sample")


def evaluate() -> None:
    """`python evaluate.py ckpt=...`: scores samples of a checkpoint, a folder of images, or a data set."""
    given = sys.argv[1:]
    if any(arg.startswith("ckpt=") for arg in given) and not any(arg.startswith("metrics=") for arg in given):
        for arg in given:
            if arg.lstrip("+~").startswith(("metrics.", "metrics/", "score=")):
                _fail(ConfigError(f"{arg}: changes which metrics? Name them as well, such as metrics=classifier; "
                                  "without, ckpt is measured as it was in training, but for num_fake= and seed="))
    run(_evaluate, "evaluate")


def run(task: Task, config_name: str, folder: Path | None = None) -> None:
    """Runs `task` on the config that `sys.argv` describes, or on several with `-m`.

    Args:
        folder: of the YAML files; ours if not given.

    Exits with 2 if the config is wrong, with 1 after any other UserError, with 130 after Ctrl-C, and with 75 after
    SIGTERM or SIGUSR1 to a training: saved, run it again. All other exceptions pass, with their trace.
    """
    schema.register()
    know_local_rank()
    _make_folder_importable()
    if PARENT in os.environ:
        follow()
    users_choice = os.environ.get(FULL_ERROR)
    try:
        folder = folder or conf_dir()
        _put_flags_first()
        tree = _tree(folder, config_name)
        with _environment(FULL_ERROR, "1"):  # Hydra then raises what it would print
            _launch(hydra.main(str(folder), config_name, VERSION_BASE)(_job(task, users_choice)), tree)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:    # of --help
        _leave_if_nobody_reads()
        raise
    except _Stop as stop:
        _fail(stop.__cause__)
    except COMPOSING as error:
        if users_choice == "1":
            raise
        if getattr(error, "reported", False):
            sys.exit(_exit_code(error))
        if not isinstance(error, UserError):
            error = explain_composing(error, _arguments().overrides, tree)
        _fail(error)
    except ValueError as error:
        if users_choice == "1" or "group override must be a string" not in str(error):
            raise
        groups = [o for o in _arguments().overrides if o.endswith("=null") and "." not in o]
        _fail(ConfigError(f"{' '.join(groups)}: a group takes the name of a choice, such as none; null switches off "
                          "what has a name of its own, such as callbacks.samples=null"))


def _launch(start: Callable[[], None], tree: Tree) -> None:
    try:
        start()
    except ConfigCompositionException as error:
        path = unlisted_setting(error, _arguments().overrides, tree)
        if path is None or not any(arg.startswith(f"{path}=") for arg in sys.argv[1:]):
            raise
        # The class takes it, its YAML only does not list it: that is no reason to refuse it.
        sys.argv[1:] = [f"+{arg}" if arg.startswith(f"{path}=") else arg for arg in sys.argv[1:]]
        _launch(start, tree)


def _job(task: Task, users_choice: str | None) -> Task:
    def job(cfg: DictConfig) -> Any:
        try:
            check(cfg, HydraConfig.get().overrides.task)
            with _environment(FULL_ERROR, users_choice):
                result = task(cfg)
                sys.stdout.flush()    # or a reader that has gone would only be noticed at exit
                return result
        except BrokenPipeError:
            _leave_if_nobody_reads()
            raise
        except RUNNING as error:
            _remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
            fault = _built(error)
            if users_choice == "1" or fault is None:
                raise
            if HydraConfig.get().mode == RunMode.MULTIRUN:  # the other jobs still run
                _report(fault)
                fault.reported = True
                raise fault from error
            raise _Stop from fault

    job.__module__ = task.__name__.lstrip("_")  # Hydra names the job and its log file after this
    job.users_choice = users_choice  # a sweep's jobs get it too
    return job


def _leave_if_nobody_reads() -> None:
    """Ends quietly, as programs do in `evaluate.py ... | head`, if it is standard output whose reader has gone."""
    if not hasattr(select, "poll"):  # Windows
        return
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if any(event & select.POLLERR for _, event in output.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at exit goes there
        sys.exit(128 + signal.SIGPIPE)


def _built(error: Exception) -> Exception | None:
    return explain_building(error) if isinstance(error, InstantiationException) else error


def _tree(folder: Path, config_name: str) -> Tree:
    args = _arguments()
    searchpath = [override for override in args.overrides if key_of(override) == "hydra.searchpath"]
    if args.config_dir and not searchpath:
        searchpath = [f"hydra.searchpath=['file://{Path(args.config_dir).absolute()}']"]
    return Tree(args.config_path or folder, args.config_name or config_name, searchpath)


def _arguments() -> Namespace:
    return get_args_parser().parse_intermixed_args()


def _fail(error: BaseException) -> NoReturn:
    _report(error)
    sys.exit(_exit_code(error))


def _report(error: BaseException) -> None:
    print(f"error: {one_line(str(error))}", file=sys.stderr, flush=True)


def _exit_code(error: BaseException) -> int:
    return FAILED if isinstance(error, UserError) and not isinstance(error, ConfigError) else BAD_CONFIG


def _make_folder_importable() -> None:
    """A class in a file of the current folder is a `_target_`, also for an installed command."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def _put_flags_first() -> None:
    """Hydra takes no flag after an override, and Lightning appends overrides for its further processes."""
    overrides = _arguments().overrides
    flags = list(sys.argv[1:])
    for override in overrides:
        flags.remove(override)
    sys.argv[1:] = [*flags, *overrides]


def _remove_if_empty(folder: Path) -> None:
    """Removes a run's folder, and the empty ones above it, if the run left nothing but an empty log."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # the folder is the first process's
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder:
            handler.close()
            if Path(handler.baseFilename).stat().st_size == 0:
                Path(handler.baseFilename).unlink()
    here = Path.cwd()
    if folder == here or folder in here.parents:
        return
    inside = here in folder.parents  # elsewhere the folders above are none of ours
    above = [parent for parent in folder.parents if here in parent.parents] if inside else []
    with suppress(OSError):  # not empty
        for empty in (folder, *above):
            empty.rmdir()


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _train(cfg: DictConfig) -> Any:
    with Signals():  # which may come while all this is imported
        from gan_lightning import training

        return training.train(cfg)


def _sample(cfg: DictConfig) -> Any:
    from gan_lightning import sampling

    return sampling.main(cfg)


def _evaluate(cfg: DictConfig) -> Any:
    from gan_lightning import evaluating

    return evaluating.main(cfg)
