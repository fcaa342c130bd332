"""`fssbench data adopt` and `forget`: a folder of images and masks becomes a data set with a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.data_report import DATA_HAVE_ERRORS, SHOWN, as_record, print_report
from fssbench.cli.hints import Verb, compose_next_command
from fssbench.cli.numbers import Whole
from fssbench.cli.options import PATH, json_option
from fssbench.cli.output import emit_json, escape_text, print_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from fssbench.contracts.datasets import Dataset, Verification


@click.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--name", help="Name on the command line. Default: that of the folder.")
@click.option("--title", help="Name in tables. Default: NAME.")
@click.option("--domain", help="What the images show, such as `microscopy`.")
@click.option("--images", metavar="FOLDER", help="Folder of the images, inside DIR.")
@click.option("--masks", metavar="FOLDER", help="Folder of the masks, inside DIR.")
@click.option("--annotations", metavar="FILE", multiple=True, help="COCO JSON file inside DIR; repeatable.")
@click.option(
    "--encoding", type=click.Choice(["binary", "index", "colours"]), help="How masks store classes."
)
@click.option("--foreground", type=click.Choice(["1", "255"]), help="Value of the class in binary masks.")
@click.option("--ignored", type=Whole(0, 255), metavar="VALUE", help="Mask value that is not scored.")
@click.option(
    "--tolerance",
    type=Whole(0, 127),
    help="Largest difference of a channel from a colour of palette.csv.",
)
@click.option(
    "--void", type=click.Choice(["ignored", "background"]), help="Pixels of panoptic masks without a segment."
)
@click.option("--class-name", metavar="NAME", help="All masks show one class of this name.")
@click.option("--classes", metavar="NAME,NAME", help="Use these classes only; the others are left out.")
@click.option(
    "--split",
    metavar="RULE",
    help="`all` (every image is tested), `folder`, `list` (test.txt, train.txt), `hash:PERCENT`.",
)
@click.option(
    "--leave-out-faulty", is_flag=True, help="Leave out images with errors; dataset.toml names them."
)
@click.option("--again", is_flag=True, help="Update dataset.toml to what DIR holds now; edits are kept.")
@click.option("--from-scratch", is_flag=True, help="Replace dataset.toml.")
@click.option("--no-register", is_flag=True, help="Do not remember DIR; commands then need --data-folder.")
@json_option("One JSON object.")
@click.pass_context
def adopt(
    ctx: click.Context,
    /,
    folder: Path,
    again: bool,
    from_scratch: bool,
    leave_out_faulty: bool,
    no_register: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Describe your own images and masks in DIR, so that they are a data set and a benchmark.

    DIR holds images/ and masks/ of the same names, CLASS/images and CLASS/masks, or COCO JSON. What it holds is
    recognised, every file is checked, and DIR/dataset.toml is written. You may edit this file. What can be read in two
    ways is refused, and the message names the option that decides. The name is then known to all commands of this
    user on this machine. The exit code is 3 if the files have errors; then nothing is written.
    """
    from fssbench.plugins.data_folders import call, change_register

    root = _require_folder(folder)
    cls = call("prepare", root, _read_choices(given), again=again, from_scratch=from_scratch)
    report = _verify(cls)
    if not report.ok:
        draft = call("leave-out-faulty", cls, report) if leave_out_faulty else cls
        draft = call("leave-out-small-classes", draft)
        if draft is not cls:
            cls, report = draft, _verify(draft)
    name = cls.card.name
    if not report.ok:
        if as_json:
            emit_json([as_record(name, report)])
        else:
            print_report(name, report, SHOWN)
        click.echo(
            "Nothing was written. Next: mend the files, or leave images with errors out with --leave-out-faulty",
            err=True,
        )
        ctx.exit(DATA_HAVE_ERRORS)
    path = call("finish", cls)
    before = None if no_register else change_register(name, root)
    facts = {**call("summarise", cls), "images by class": report.histogram, "description": str(path)}
    if as_json:
        emit_json([{**facts, "findings": as_record(name, report)["findings"]}])
    else:
        print_fields(facts)
        if report.findings:
            print_report(name, report, SHOWN)
    if before not in {None, root}:
        click.echo(escape_text(f"note: {name} was {before} until now"), err=True)
    place = ("--data-folder", f"{name}={root}") if no_register else ()
    following = compose_next_command("run", "-m", "pmnet", "-b", name, *place)
    click.echo(escape_text(f"Next: `{following}`"), err=True)


def _require_folder(folder: Path) -> Path:
    import os

    from fssbench.errors import UsageError
    from fssbench.files.home import expand_home

    root = Path(os.path.abspath(expand_home(folder)))  # noqa: PTH100 - a link stays a link
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder. Next: give the folder that holds your images and masks")
    return root


def _read_choices(given: dict[str, Any]) -> dict[str, Any]:
    """Return the choices that were made, as the adoption understands them."""
    choices = {key: value for key, value in given.items() if value not in (None, ())}
    if "classes" in choices:
        choices["kept_classes"] = tuple(
            name.strip() for name in choices.pop("classes").split(",") if name.strip()
        )
    if "foreground" in choices:
        choices["foreground"] = int(choices["foreground"])
    return choices


def _verify(cls: type[Dataset]) -> Verification:
    """Check the folder by the draft of its description."""
    from fssbench.plugins.data_folders import ORIGIN
    from fssbench.plugins.registry import DATASETS
    from fssbench.verification.data_set import verify_dataset

    load: Callable[[], type[Dataset]] = lambda: cls  # noqa: E731
    DATASETS.offer(cls.card.name, f"{ORIGIN}{cls.home}", load)
    click.echo(escape_text(f"checking {cls.home} ..."), err=True)
    return verify_dataset(cls(cls.home))


@click.command(cls=Verb)
@click.argument("name")
def forget(name: str) -> None:
    """Forget where the data set NAME lies. Its folder and its dataset.toml stay as they are."""
    from fssbench.errors import make_unknown_error
    from fssbench.plugins.data_folders import change_register, read_register

    known = read_register()
    if name not in known:
        raise make_unknown_error("adopted data set", name, known, hint="Next: `fssbench list datasets`")
    before = change_register(name, None)
    click.echo(escape_text(f"{name} is no longer known; its folder {before} is unchanged"), err=True)
