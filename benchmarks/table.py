"""Writes the table of `benchmarks/README.md` from `benchmarks/results/*.json`.

    python benchmarks/table.py           rewrites the part of the README between its marks
    python benchmarks/table.py --check   fails if the README does not show what the files hold
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- table: made by benchmarks/table.py -->", "<!-- /table -->"


def table(results: Path) -> str:
    """Markdown: a section for each file, in the order of their names."""
    return "\n\n".join(section(json.loads(path.read_text())) for path in sorted(results.glob("*.json"))) or "None yet."


def section(result: dict[str, Any]) -> str:
    machine = result["machine"]
    where = [machine["processor"], f"{machine['cores']} cores", machine.get("gpu"), f"torch {machine['torch']}",
             f"threads: {result['threads']}" if "threads" in result else None]
    lines = [f"`{result['command']}`  ", ", ".join(part for part in where if part), "",
             "| figure | median | min to max | rounds | target |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(row(figure) for figure in result["figures"])])


def row(figure: dict[str, Any]) -> str:
    median, low, high = (f"{figure[name]:.3g}" if abs(figure[name]) < 1000 else f"{figure[name]:,.0f}"
                         for name in ("median", "min", "max"))
    target = f"{figure['target']} {'' if met(figure) else '**missed**'}".strip() if figure["target"] else ""
    return f"| {figure['figure']} | {median} {figure['unit']} | {low} to {high} | {figure['rounds']} | {target} |"


def met(figure: dict[str, Any]) -> bool:
    relation, bound = figure["target"].split()
    median = round(figure["median"], 2)
    return {"<": median < float(bound), "<=": median <= float(bound), ">=": median >= float(bound)}[relation]


def filled(readme: str, content: str, begin: str = BEGIN, end: str = END) -> str:
    """`readme` with `content` between the marks."""
    before, rest = readme.split(begin)
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    args = parser.parse_args()
    before = args.readme.read_text()
    after = filled(before, table(args.results))
    if args.check:
        if after != before:
            print(f"{args.readme.name} is not what the results hold: run python benchmarks/table.py", file=sys.stderr)
        return int(after != before)
    args.readme.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
