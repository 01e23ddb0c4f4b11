"""Each benchmark runs, at a size that measures nothing, and says what it measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(script, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / script, *arguments], env=environment, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script, arguments, figures", [
    ("step.py", ["--cases", "mlp", "wgan_gp32_resnet", "--precisions", "bf16-mixed", "--rounds", "1", "--chunk", "1",
                 "data.batch_size=4", "loss.n_critic=1"], ["engine / plain loop", "ms/round"]),
    ("step.py", ["--memory", "--rounds", "1", "data.batch_size=4"], ["peak memory, engine / plain loop, lightning imported"]),
    ("startup.py", ["--repeats", "1", "--groups", "config"], ["train.py --help", "train.py with a wrong key"]),
])
def test_runs_and_writes_figures(tmp_path, script, arguments, figures):
    file = tmp_path / "results" / "figures.json"
    printed = run(script, *arguments, "--json", str(file))
    assert all(figure in printed for figure in figures)
    result = json.loads(file.read_text())
    assert result["command"] == " ".join(["python", f"benchmarks/{script}", *arguments])
    assert all(line["min"] <= line["median"] <= line["max"] for line in result["figures"])
    assert str(ROOT) not in file.read_text()


@pytest.mark.slow
def test_two_processes_send_what_they_should(tmp_path):
    """Ours sends each network's gradients once a round; Lightning's sends both after each backward pass."""
    printed = run("ddp.py", "--cases", "mlp", "--rounds", "1", "--length", "2", "--json", str(tmp_path / "ddp.json"))
    assert "wall clock: ddp_find_unused_parameters_true / ours" in printed
    figures = {line["figure"]: line["median"] for line in json.loads((tmp_path / "ddp.json").read_text())["figures"]}
    ours, theirs = (next(value for name, value in figures.items() if name.startswith("mlp, sent") and who in name)
                    for who in ("our strategy", "unused"))
    assert 1.9 < theirs / ours < 2.1


def test_table_shows_what_the_files_hold(tmp_path):
    lines = [{"figure": "a / b", "median": 0.874, "min": 0.8, "max": 0.9, "rounds": 3, "unit": "x", "target": "<= 0.87"},
             {"figure": "c", "median": 1234.5, "min": 1, "max": 2345, "rounds": 3, "unit": "ms", "target": "<= 1.3"},
             {"figure": "d", "median": 2.5, "min": 2, "max": 3, "rounds": 1, "unit": "x", "target": ">= 3"}]
    machine = {"processor": "Some CPU", "cores": 2, "torch": "2.15.0"}
    (tmp_path / "one.json").write_text(json.dumps({"command": "python benchmarks/x.py", "machine": machine,
                                                   "threads": 1, "figures": lines}))
    readme = tmp_path / "README.md"
    text = (ROOT / "benchmarks" / "README.md").read_text()
    readme.write_text(text)
    where = ["--results", str(tmp_path), "--readme", str(readme)]
    run("table.py", *where)
    shown = readme.read_text()
    assert "| a / b | 0.874 x | 0.8 to 0.9 | 3 | <= 0.87 |" in shown
    assert "| c | 1,234 ms | 1 to 2,345 | 3 | <= 1.3 **missed** |" in shown
    assert "| d | 2.5 x | 2 to 3 | 1 | >= 3 **missed** |" in shown
    assert "Some CPU, 2 cores, torch 2.15.0, threads: 1" in shown and shown.split("## Figures")[0] in text
    run("table.py", *where, "--check")
    readme.write_text(shown.replace("0.874", "0.774"))
    with pytest.raises(AssertionError, match="README.md is not what the results hold"):
        run("table.py", *where, "--check")


def test_readme_shows_the_committed_results():
    run("table.py", "--check")


@pytest.mark.slow
def test_combinations_that_hold_each_choice_play_or_are_refused():
    """Models, losses, conditionings, augmentations and terms: `docs/matrix.md` has every pair, this is a sample of all five."""
    assert ", 0 failed" in run("matrix.py", "--sample", "2")
