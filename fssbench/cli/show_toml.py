"""`fssbench show NAME --toml`: print a benchmark or a suite as a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fssbench.cli.show_files import PLAN, RUN
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from fssbench.contracts.benchmarks import Benchmark


def compose_toml(name: str, kind: str) -> str:
    """Compose the file of a benchmark or suite, or of the benchmark that a run or plan measures.

    Args:
        name: what is shown.
        kind: what it is: `benchmark`, `suite`, `run` or `plan`.

    Raises:
        UsageError: for another kind.
        FssbenchError: if it cannot be found or read.
    """
    from fssbench.benchmarks.benchmark_text import format_benchmark, format_suite
    from fssbench.benchmarks.catalogue import find_benchmark, find_plan_benchmark
    from fssbench.benchmarks.suites import find_suite
    from fssbench.episodes.plan_file import read_plan

    if kind == "suite":
        return format_suite(find_suite(name))
    if kind == "benchmark":
        return format_benchmark(_add_source(find_benchmark(name).benchmark))
    if kind in {RUN, PLAN}:
        path = Path(name)
        folder = path if path.is_dir() else path.parent
        plan = read_plan(folder / "plan.json" if kind == RUN else path)
        return format_benchmark(_add_source(find_plan_benchmark(plan).benchmark))
    raise UsageError(
        f"--toml prints a benchmark or a suite, but {name} is a {kind}. Next: `fssbench list benchmarks`"
    )


def _add_source(benchmark: Benchmark) -> Benchmark:
    """Give a source to the benchmark of a data set, which states none; a file must name one.

    It is the source of the cross-domain benchmarks of the paper.
    """
    from fssbench.contracts.benchmarks import Source
    from fssbench.files.plain_names import make_plain_name

    source = benchmark.trained_on
    if source.dataset != benchmark.target or source.folds is not None:
        return benchmark
    return benchmark.changed(
        id=make_plain_name(f"my-{benchmark.id}".lower(), keep="._-"),
        source="all of PASCAL VOC 2012 with SBD masks (20 classes)",
        trained_on=Source(dataset="pascal", folds=None),
    )
