"""Processes that torchrun started: one run, in one directory."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.config.started import started
from gan_lightning.errors import ConfigError
from gan_lightning.launcher import check_processes

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_one_directory_one_set_of_logs_pictures_scores_and_checkpoints(tmp_path):
    """Each process composes the configuration by itself, so each would name the directory after its own clock."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}",
               ROOT / "train.py", "model=mlp", "data.batch_size=8", "max_kimg=0.32", "trainer.accelerator=cpu",
               "trainer.devices=2", "callbacks.losses.every_kimg=0.08", "callbacks.samples.every_kimg=0.16",
               "callbacks.checkpoint.every_kimg=0.16", "metrics=random_conv", "metrics.num_fake=32",
               "metrics.num_real=100", "metrics.every_kimg=0.16", "logger=wandb"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert done.stdout.count("batches of 8 on each of 2 devices, 16 in all") == done.stdout.count("trained") == 1
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["devices"], summary["kimg"], summary["g_steps"]) == (2, 0.32, 20) and summary["scores"]
    assert read_checkpoint(run)["gan_lightning"]["nimg"] == 320
    assert len([path for path in run.glob("wandb/*run-*") if path.is_dir()]) == 1
    assert [path.name for path in sorted(run.glob("samples/*"))] == [
        f"kimg_00000{kimg}.png" for kimg in ("0.000", "0.160", "0.320")]
    with (run / "metrics.csv").open() as file:
        losses = [float(row["kimg"]) for row in csv.DictReader(file) if row["d/loss"]]
    assert losses == [0.08, 0.16, 0.24, 0.32]


@pytest.mark.parametrize("world_size", [1, 4])
@pytest.mark.parametrize("environment", [{"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"},
                                         {"SLURM_STEP_NUM_TASKS": "2"}])
def test_another_number_of_processes_than_devices(monkeypatch, environment, world_size):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"started 2 processes, .* is {world_size}: set trainer.devices"):
        check_processes(world_size)
    check_processes(2)


def test_processes_of_slurm_are_named_after_their_job(monkeypatch):
    from gan_lightning.config import started as module

    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_JOB_START_TIME", "86400")
    module._began.cache_clear()
    assert started("%Y-%m") == "1970-01"
    module._began.cache_clear()
    monkeypatch.delenv("SLURM_JOB_START_TIME")
    with pytest.raises(ConfigError, match="hydra.run.dir=runs/NAME"):
        started("%Y")
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert int(started("%Y")) > 2020
    module._began.cache_clear()
