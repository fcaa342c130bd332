"""`fssbench merge`: join the shards of a run."""

from __future__ import annotations

from pathlib import Path

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import PATH, json_option, out_option


@click.command(cls=Verb)
@click.argument("shards", nargs=-1, required=True, type=PATH)
@out_option("runs", "Folder of the joined runs.")
@json_option("One JSON line per joined run.")
def command(shards: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Join SHARDS (run folders made by `run --shard i/n`, or folders of them) into complete runs.

    Identity and counts of the joined run equal those of a run without shards.
    """
    from fssbench.cli.output import emit_json
    from fssbench.runs.merge import merge

    joined = merge(shards, out)
    if as_json:
        emit_json([{"run": str(path)} for path in joined])
        return
    for path in joined:
        click.echo(f"The shards were joined in {path}")
