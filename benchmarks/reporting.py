"""How benchmarks say what they measured: figures, the machine, one JSON file for `table.py`."""

import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any


def figure(what: str, values: list[float], unit: str, target: str = "") -> dict[str, Any]:
    """One line of the table: the median of `values` and their spread. `target`: for the median, such as "<= 0.87"."""
    return {"figure": what, "median": statistics.median(values), "min": min(values), "max": max(values),
            "rounds": len(values), "unit": unit, "target": target}


def shown(line: dict[str, Any]) -> str:
    """`line`, a `figure`, for the terminal."""
    target = f"   target {line['target']}" if line["target"] else ""
    return (f"{line['figure']:58} {line['median']:9.4g} {line['unit']:9} (min {line['min']:.4g}, "
            f"max {line['max']:.4g}, {line['rounds']} rounds){target}")


def write(path: Path | None, figures: list[dict[str, Any]], **facts: Any) -> None:
    """The figures, the command that measured them and the machine, as JSON; nothing if there is no `path`."""
    if path is None:
        return
    script, *arguments = sys.argv
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": _without_json(["python", f"benchmarks/{Path(script).name}", *arguments]),
                                "machine": machine(), **facts, "figures": figures}, indent=2) + "\n")


def _without_json(words: list[str]) -> str:
    if "--json" in words:
        at = words.index("--json")
        del words[at:at + 2]
    return " ".join(words)


def machine() -> dict[str, Any]:
    """Processor, its cores, and versions; a GPU where there is one. Nothing that identifies this machine."""
    import torch

    facts = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version(),
             "torch": torch.__version__.split("+")[0]}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.processor() or platform.machine())
