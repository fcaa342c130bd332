"""`fssbench merge`: join the shards of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line a joined run.")
def command(shards: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Join SHARDS (folders made by `run --shard i/n`, or a folder of them) into whole runs.

    The joined run has the identity and the bytes of counts of an unsharded one.
    """
    from fssbench.cli.output import emit_json
    from fssbench.runs.merge import merge

    joined = merge(shards, out)
    if as_json:
        emit_json([{"run": str(path)} for path in joined])
        return
    for path in joined:
        click.echo(f"merged into {path}")
