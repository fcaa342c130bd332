"""`fssbench cache`: show and clear the cache folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fssbench.cli.options import PATH, json_option
from fssbench.cli.output import emit_json, escape_text, print_table
from fssbench.errors import UsageError
from fssbench.files.cache_contents import KINDS, CacheKind, clear_kind, list_cache
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.files.cache_contents import CacheEntry

_CLEARABLE = {kind.name: kind for kind in KINDS if kind.is_clearable}


@click.command(
    epilog="\b\n" + "\n".join(f"{kind.name + ':':<12} {kind.meaning}" for kind in KINDS if kind.is_clearable)
)
@click.option(
    "--clear",
    "kinds",
    multiple=True,
    metavar="KIND",
    type=click.Choice(list(_CLEARABLE)),
    help="Remove everything of a kind; repeatable.",
)
@click.option("--feature-cache", type=PATH, metavar="DIR", help="Folder of features, to be shown or cleared.")
@click.option("--yes", "-y", is_flag=True, help="Clear without a question.")
@json_option("One JSON object per entry, or per removed entry.")
def command(kinds: tuple[str, ...], feature_cache: Path | None, yes: bool, as_json: bool) -> None:
    """Show what lies in the cache folder: kinds, sizes, dates. With --clear KIND, remove what can be made again.

    Nothing that a running process uses is removed, nothing that fssbench has not written, and nothing behind a link.
    """
    from fssbench.files.cache import cache_folder

    folder = cache_folder()
    if "features" in kinds and feature_cache is None:
        raise UsageError("--clear features needs the folder of the features. Next: add --feature-cache DIR")
    if not kinds:
        _print_entries(list_cache(folder, feature_cache), folder, as_json=as_json)
        return
    selected = [_CLEARABLE[name] for name in dict.fromkeys(kinds)]
    entries = [entry for entry in list_cache(folder, feature_cache) if entry.kind in selected and entry.files]
    if entries and not yes:
        _confirm(entries)
    removed = [entry for kind in selected for entry in clear_kind(folder, kind, feature_cache)]
    if as_json:
        emit_json(_as_record(entry) for entry in removed)
    else:
        _print_removed(selected, removed)


def _confirm(entries: Sequence[CacheEntry]) -> None:
    """Ask before a removal; without a terminal there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UsageError(
            "--clear asks before it removes, but standard input is not a terminal. Next: add --yes"
        )
    for entry in entries:
        click.echo(escape_text(f"{entry.kind.name}: {entry.path} ({_format_size(entry.bytes)})"), err=True)
    click.confirm(f"Remove {_format_size(sum(e.bytes for e in entries))}?", abort=True, err=True)


def _print_entries(entries: Sequence[CacheEntry], folder: Path, *, as_json: bool) -> None:
    if as_json:
        emit_json(map(_as_record, entries))
        return
    columns = ("kind", "entry", "files", "size", "last change", "what it is")
    print_table(columns, [_format_entry(entry, folder) for entry in entries])
    total = _format_size(sum(entry.bytes for entry in entries))
    hint = "Next: `fssbench cache --clear KIND` removes a kind" if entries else "It is empty"
    click.echo(escape_text(f"{folder}: {total}. {hint}"), err=True)


def _print_removed(kinds: Sequence[CacheKind], removed: Sequence[CacheEntry]) -> None:
    for kind in kinds:
        mine = [entry for entry in removed if entry.kind == kind]
        files, size = sum(entry.files for entry in mine), _format_size(sum(entry.bytes for entry in mine))
        click.echo(
            f"{kind.name}: {describe_count(files, 'file')} removed, {size}"
            if files
            else f"{kind.name}: nothing to remove"
        )


def _format_entry(entry: CacheEntry, folder: Path) -> tuple[str, ...]:
    name = entry.path.relative_to(folder) if entry.path.is_relative_to(folder) else entry.path
    meaning = f"a link to {entry.link}, not followed" if entry.link else entry.kind.meaning
    users = f"; in use by process {', '.join(entry.users)}" if entry.users else ""
    return (
        *(entry.kind.name, str(name), f"{entry.files:,}", _format_size(entry.bytes)),
        *(_format_time(entry.changed), f"{meaning}{users}"),
    )


def _as_record(entry: CacheEntry) -> dict[str, object]:
    return {
        "kind": entry.kind.name,
        "path": entry.path,
        "files": entry.files,
        "bytes": entry.bytes,
        "changed_utc": None
        if entry.changed is None
        else datetime.fromtimestamp(entry.changed, UTC).isoformat(),
        "link": entry.link or None,
        "used_by": list(entry.users),
        "clearable": entry.kind.is_clearable and not entry.link,
        "meaning": entry.kind.meaning,
    }


def _format_size(size: int) -> str:
    """Write a number of bytes in the largest unit in which it is at least one."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _format_time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
