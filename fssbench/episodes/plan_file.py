"""Plans as files: episodes that can be sent to other people, checked and replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from fssbench.benchmarks.definition import collect_content, resolve_carried, restore_benchmark
from fssbench.contracts.benchmarks import Benchmark
from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.marks import Mark
from fssbench.contracts.records import Record, first_problem
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.regular import read_regular
from fssbench.files.text import decode_text
from fssbench.plural import describe_count

_FIELDS = tuple(
    Plan.__dataclass_fields__.keys() - {"episodes", "data", "splits", "definition", "support_sets"}
)


class _Header(Record):
    """A plan file without its episodes; its fields are those of `Plan`, without the folders of one machine."""

    format: Literal["fssbench-plan/1"] = "fssbench-plan/1"
    sha256: str
    benchmark: str
    version: int
    dataset: str
    dataset_variant: str | None
    split: str
    fold: int
    shot: int
    protocol: str
    seed: int
    size: int
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    lists: str
    marks: tuple[Mark, ...]
    definition: dict[str, Any] | None = None
    """Content of a benchmark that a user defined; the key is absent from other plans."""
    support_sets: Annotated[int, Field(ge=1)] = 1
    """Support sets per query; the key is absent from plans with one."""


class _Stored(_Header):
    """A plan file."""

    episodes: tuple[tuple[int, int, str, tuple[str, ...]], ...]
    """Rows of index, class id, query, supports."""


def collect_plan_facts(plan: Plan) -> dict[str, Any]:
    """Return the facts of a plan, without its episodes and the folders of one machine.

    A definition and the number of support sets are among them only if the plan has one, or several, so that seals of
    other plans stay as they are.
    """
    facts = {name: list(v) if isinstance(v := getattr(plan, name), tuple) else v for name in sorted(_FIELDS)}
    if plan.definition is not None:
        facts["definition"] = collect_content(plan.definition)
    if plan.support_sets > 1:
        facts["support_sets"] = plan.support_sets
    return facts


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan with one episode per line; the file appears as a whole.

    Raises:
        DataError: if the file cannot be written.
    """
    header = _Header(
        sha256=plan.sha256,
        definition=None if plan.definition is None else collect_content(plan.definition),
        support_sets=plan.support_sets,
        **{name: getattr(plan, name) for name in _FIELDS},
    )
    try:
        replace_file(path, _format_plan(header, plan))
    except OSError as error:
        raise DataError(
            f"plan {path} cannot be written ({error.strerror or error}). Next: name another file"
        ) from None


def read_plan(path: Path) -> Plan:
    """Read a plan and check its episodes against its hash.

    Raises:
        DataError: if the file is missing, is not a plan, contradicts itself or was changed.
    """
    return parse_plan(read_plan_file(path), path)


def read_plan_file(path: Path) -> bytes:
    """Read the content of a plan's file.

    Raises:
        DataError: if the file is missing or cannot be read.
    """
    try:
        return read_regular(path)
    except OSError as error:
        raise DataError(f"plan {path} cannot be read ({error.strerror})") from None


def parse_plan(content: bytes, path: Path) -> Plan:
    """Make the plan that a file contains, and check its episodes against its hash.

    Args:
        content: the content of the file.
        path: the file, for errors.

    Raises:
        DataError: if it is not a plan, contradicts itself or was changed.
    """
    try:
        stored = _Stored.model_validate_json(decode_text(content, path))
    except DataError as error:
        raise DataError(f"{path} is not a plan of fssbench: {error}") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a plan of fssbench: {first_problem(error)}") from None
    plan = Plan(
        episodes=tuple(Episode(*row) for row in stored.episodes),
        definition=_restore_definition(stored.definition, path),
        support_sets=stored.support_sets,
        **{name: getattr(stored, name) for name in _FIELDS},
    )
    if plan.sha256 != stored.sha256:
        own = plan.definition is not None
        again = "from the file of its benchmark" if own else f"with `fssbench episodes {plan.benchmark}`"
        raise DataError(
            f"plan {path} was changed: the hash of its episodes is {plan.sha256[:12]}, but the file names "
            f"{stored.sha256[:12]}. Next: get the plan again, or draw it {again}"
        )
    _check_plan(plan, path)
    if plan.definition is not None:
        _check_definition(plan, plan.definition, path)
    return plan


def _check_plan(plan: Plan, path: Path) -> None:
    if len(plan.classes) != len(plan.class_names):
        raise DataError(
            f"plan {path} has {describe_count(len(plan.classes), 'class', 'classes')}, but "
            f"{describe_count(len(plan.class_names), 'class name')}"
        )
    sets = plan.support_sets
    if len(plan) % sets:
        raise DataError(
            f"plan {path} has {describe_count(len(plan), 'episode')}, no multiple of its {sets} support sets per query"
        )
    items = {item for episode in plan for item in (episode.query, *episode.supports)}
    outside = {item for item in items if not _is_inside(item)}
    for place, episode in enumerate(plan):
        first = plan[place - place % sets]
        if (episode.class_id, episode.query) != (first.class_id, first.query):
            raise DataError(
                f"plan {path}: episode {place} asks another query than episode {first.index}, but each query has "
                f"{sets} support sets"
            )
        if episode.class_id not in plan.classes:
            raise DataError(
                f"plan {path}: episode {place} has class {episode.class_id}, which is not a class of its fold"
            )
        if not outside.isdisjoint((episode.query, *episode.supports)):
            raise DataError(f"plan {path}: episode {place} names a file outside its data set")
        if len(episode.supports) != plan.shot:
            raise DataError(
                f"plan {path}: episode {place} has {describe_count(len(episode.supports), 'support')}, not {plan.shot}"
            )
        if episode.index != place:
            raise DataError(f"plan {path}: episode {place} is out of order (index {episode.index})")


def _restore_definition(content: dict[str, Any] | None, path: Path) -> Benchmark | None:
    try:
        return None if content is None else restore_benchmark(content)
    except ValueError as error:
        raise DataError(
            f"plan {path} carries no definition of a benchmark: {error}. Next: get the plan again"
        ) from None


def _check_definition(plan: Plan, definition: Benchmark, path: Path) -> None:
    """Refuse a definition that is not the one of the plan's benchmark."""
    try:
        resolved = resolve_carried(definition, plan.benchmark)
    except DataError as error:
        raise DataError(f"plan {path}: {error}. Next: get the plan again") from None
    if not 0 <= plan.fold < len(resolved.folds) or not set(plan.classes) <= set(resolved.folds[plan.fold]):
        raise DataError(f"plan {path}: its classes are not those of fold {plan.fold} of {plan.benchmark}")


def _is_inside(item: str) -> bool:
    """Return whether an item stays below the folder of its data set; a plan may come from a stranger."""
    place = item.replace("\\", "/")  # split by hand: a report checks a million of them
    return bool(item) and not place.startswith("/") and ".." not in place.split("/")


def _format_plan(header: _Header, plan: Plan) -> bytes:
    """Write JSON with one episode per line, so that two plans can be compared with `diff`.

    A row is put together by hand, because a plan may have a million of them.  It equals `json.dumps` of its values.
    """
    left_out = {"definition"} if header.definition is None else set()
    left_out |= {"support_sets"} if header.support_sets == 1 else set()
    facts = json.dumps(header.model_dump(mode="json", exclude=left_out), indent=1, ensure_ascii=False)
    quote = json.encoder.encode_basestring
    content = bytearray(f'{facts[:-2]},\n "episodes": ['.encode())
    for e in plan:
        supports = ", ".join(map(quote, e.supports))
        row = f"\n[{e.index:d}, {e.class_id:d}, {quote(e.query)}, [{supports}]],"
        content += row.encode()
    content[-1:] = b"\n ]\n}\n" if plan.episodes else b"[\n\n ]\n}\n"  # in place of the last comma
    return bytes(content)
