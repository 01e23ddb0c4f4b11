"""What was found out about a data set, in words."""

import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["ok", "note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "problem")      # from good to bad
WIDTH = 110                                                                 # characters of a line of the report


@dataclass(frozen=True)
class Finding:
    """severity: "problem" is what training stumbles over.  topic: one of a fixed set of names.  advice: what to do."""

    severity: Severity
    topic: str
    text: str
    advice: str = ""


@dataclass
class Findings:
    """title: which set. facts: what was inferred, plain containers. found: in the order in which it was found."""

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)

    def add(self, severity: Severity, topic: str, text: str, advice: str = "") -> None:
        self.found.append(Finding(severity, topic, text, advice))

    @property
    def worst(self) -> Severity:
        return max((finding.severity for finding in self.found), key=SEVERITIES.index, default="ok")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"title": self.title, "worst": self.worst, "facts": self.facts,
                "findings": [vars(finding) for finding in self.found]}


def report(findings: Findings) -> str:
    """The block of text to print: facts, then findings, the worst first."""
    lines = [findings.title]
    for name, fact in findings.facts.items():
        lines += _wrapped(f"  {name:<12}", _words(fact))
    lines.append("")
    for finding in sorted(findings.found, key=lambda finding: -SEVERITIES.index(finding.severity)):
        start = f"  {finding.severity:<9}{finding.topic:<13}"
        lines += _wrapped(start, finding.text)
        if finding.advice:
            lines += _wrapped(" " * len(start) + "-> ", finding.advice)
    return "\n".join(lines)


def shorten(names: list[str], most: int = 3, between: str = ", ") -> str:
    """The first few, and ", ..." if there are more."""
    return between.join(names[:most]) + (f"{between}..." if len(names) > most else "")


def part(count: int, total: int, what: str) -> str:
    """e.g. "12 of 300 images (4 %)"."""
    return f"all {total:,} {what}" if count == total else f"{count:,} of {total:,} {what} ({100 * count / total:.2g} %)"


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start),
                         break_long_words=False, break_on_hyphens=False)


def _words(fact: Any) -> str:
    if isinstance(fact, dict):
        words = {name: f"({_words(value)})" if isinstance(value, dict) else _words(value)
                 for name, value in fact.items()}
        return shorten([f"{name}: {value}" for name, value in words.items()], 12)
    return f"{fact:,}" if isinstance(fact, int) else str(fact)
