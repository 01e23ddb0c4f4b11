"""The command, the environment and the GPUs of a job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.command import environment, flags, gpu_slices, job_command, program, shown
from gan_lightning.sweeps.composing import check_devices, refuse_torchrun
from gan_lightning.sweeps.following import PARENT


@pytest.fixture
def started(monkeypatch):
    """As if this process had been started so."""

    def start(*words: str):
        first = words.index("-m") + 1 if "-m" in words else next(i for i, w in enumerate(words) if not w.startswith("-"))
        monkeypatch.setattr(sys, "orig_argv", ["python", *words])
        monkeypatch.setattr(sys, "argv", list(words[first:]))

    return start


def test_the_plain_command_without_what_is_the_sweeps_own(started):
    started("-O", "train.py", "--config-dir=mine", "--multirun", "seed=1,2", "hydra.sweep.dir=x")
    assert program() == [sys.executable, "-O", "train.py"]
    assert flags() == ["--config-dir=mine"]
    hydra = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "hydra/launcher=process", "hydra.launcher.n_jobs=2",
             "hydra/sweeper=grid", "+hydra.sweeper.params={}", "hydra.run.dir=y", "hydra.searchpath=[file://z]"]
    assert job_command(hydra, ["seed=1"], Path("/a b/0")) == [
        sys.executable, "-O", "train.py", "--config-dir=mine", "seed=1", "hydra.searchpath=[file://z]", "hydra.mode=RUN",
        "hydra.run.dir='/a b/0'"]
    assert shown(["a=[x, y]"]) == "python train.py --config-dir=mine 'a=[x, y]'"


def test_console_scripts_and_modules(started):
    started("/usr/bin/gan-train", "--multirun", "seed=1")
    assert program() == [sys.executable, "/usr/bin/gan-train"] and shown(["seed=1"]) == "gan-train seed=1"
    started("-m", "my.module", "seed=1")
    assert program() == [sys.executable, "-m", "my.module"] and shown(["seed=1"]) == "python -m my.module seed=1"


def test_a_job_starts_its_own_processes(monkeypatch):
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # ours, not the user's
    monkeypatch.setenv("KEPT", "yes")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ours = environment(None, 1, None)
    assert ours["KEPT"] == "yes" and ours[PARENT] == str(os.getpid())
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "HYDRA_FULL_ERROR",
                "OMP_NUM_THREADS"} & set(ours)
    two = environment("1", 2, ["4", "7"])
    assert (two["HYDRA_FULL_ERROR"], two["CUDA_VISIBLE_DEVICES"]) == ("1", "4,7")
    assert int(two["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // 2)


def test_gpus_are_dealt_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,GPU-a,6")
    assert gpu_slices(2, 2) == [["3", "5"], ["GPU-a", "6"]]
    assert gpu_slices(3, None) == [None] * 3
    with pytest.raises(ConfigError, match="gpus_per_job=2 hydra.launcher.n_jobs=3: need 6 GPUs, and 4 are visible"):
        gpu_slices(3, 2)


@pytest.mark.parametrize("trainer, launcher, message", [
    ({"devices": 4}, "ProcessLauncher", None),
    ({"devices": 2, "num_nodes": 2}, "ProcessLauncher", "trainer.num_nodes=2: hydra/launcher=process"),
    ({"devices": 1}, "JoblibLauncher", None),
    ({"devices": [3]}, "LocalLauncher", None),
    ({"devices": 2}, "JoblibLauncher", "trainer.devices=2: JoblibLauncher runs jobs of one device; hydra/launcher=process"),
    ({"devices": "auto"}, "JoblibLauncher", "trainer.devices=auto"),
    ({"devices": 2}, "SlurmLauncher", "hydra.launcher.tasks_per_node=2 hydra.launcher.nodes=1"),
])
def test_devices_that_a_launcher_can_give(trainer, launcher, message):
    run, conf = OmegaConf.create({"trainer": trainer}), OmegaConf.create({"_target_": f"plugins.{launcher}"})
    if message is None:
        check_devices(run, conf)
    else:
        with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
            check_devices(run, conf)


def test_slurm_tasks_are_devices():
    run = OmegaConf.create({"trainer": {"devices": 4, "num_nodes": 2}})
    check_devices(run, OmegaConf.create({"_target_": "plugins.SlurmLauncher", "tasks_per_node": 4, "nodes": 2}))


def test_no_sweep_in_torchrun(monkeypatch):
    refuse_torchrun()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ConfigError, match="torchrun"):
        refuse_torchrun()


FOLLOWER = """
import signal, sys, time
from gan_lightning.sweeps import following
following.EVERY_SECONDS = 0.05
signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), sys.exit()))
following.follow()
print("ready", flush=True)
time.sleep(30)
"""
SWEEP = """
import os, subprocess, sys, time
from gan_lightning.sweeps.following import PARENT
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {PARENT: str(os.getpid())})
time.sleep(30)
"""


def test_a_job_does_not_outlive_its_sweep():
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, FOLLOWER], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout.readline() == "ready\n"
    time.sleep(0.3)
    sweep.send_signal(signal.SIGKILL)
    assert sweep.stdout.read() == "told\n"  # and then it has ended, else its output would not
    sweep.wait()
