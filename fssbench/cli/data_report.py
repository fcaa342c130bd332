"""Prints what the check of a data set found, for the verbs of `fssbench data`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.output import escape_text
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.contracts.datasets import Finding, FindingLevel, Verification

SHOWN = 5
"""Number of findings of one kind that are printed; the rest are counted."""
DATA_HAVE_ERRORS = 3
"""Exit code if data have errors."""


def as_record(label: str, report: Verification) -> dict[str, Any]:
    """Return a report as the JSON that `verify` prints."""
    return {
        "dataset": label,
        "root": str(report.root),
        "ok": report.ok,
        "images": report.images,
        "masks": report.masks,
        "histogram": report.histogram,
        "findings": [
            {"level": f.level, "path": f.path, "problem": f.problem, "remedy": f.remedy}
            for f in report.findings
        ],
    }


def print_report(label: str, report: Verification, limit: int | None) -> None:
    """Print a report; of each kind of finding at most `limit`."""
    from fssbench.contracts.datasets import FindingLevel

    errors = sum(f.level == FindingLevel.ERROR for f in report.findings)
    warnings = len(report.findings) - errors
    counts = f"{describe_count(report.images, 'image')}, {describe_count(report.masks, 'mask')}"
    click.echo(escape_text(f"{label}: {counts} at {report.root}"))
    for findings in _group_findings(report.findings):
        level, problem, remedy = findings[0].level, findings[0].problem, findings[0].remedy
        files = describe_count(len(findings), "file")
        same = all(finding.problem == problem for finding in findings)
        many = f" ({files})" if len(findings) > 1 else ""
        click.echo(escape_text(f"  {level}: {problem}{many}" if same else f"  {level}: {files}"))
        for finding in findings[:limit]:
            click.echo(escape_text(f"    {finding.path}" + ("" if same else f": {finding.problem}")))
        if limit is not None and len(findings) > limit:
            click.echo(f"    ... and {len(findings) - limit:,} more (--all shows them)")
        click.echo(escape_text(f"    remedy: {remedy}"))
    if report.histogram:
        click.echo("  images by label:")
        for name, count in sorted(report.histogram.items(), key=lambda row: (-row[1], row[0])):
            click.echo(escape_text(f"    {count:>7,}  {name}"))
    verdict = "sound" if report.ok else "not usable in this state"
    click.echo(f"  {describe_count(errors, 'error')}, {describe_count(warnings, 'warning')}: {verdict}")


def _group_findings(findings: list[Finding]) -> list[list[Finding]]:
    """Group findings that differ only in path and numbers, errors first."""
    groups: dict[tuple[FindingLevel, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda f: f.level):
        kind = re.sub(r"\d+", "N", finding.problem)
        groups.setdefault((finding.level, kind, finding.remedy), []).append(finding)
    return [*groups.values()]
