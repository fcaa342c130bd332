"""Measures the harness against a plain evaluation in the reference order, on a CPU, for docs/performance.md.

    python tests/performance/measure.py --data DATA --splits SPLITS --out measured.json
    python tests/performance/measure.py --data DATA --splits SPLITS --out measured.json --pairs 7

`DATA` contains PASCAL VOC; a sample is enough.  Each method and shot has a process of its own, pinned to two cores;
`--pairs N` runs N of them at a time.  A plan has as many episodes per image as 1,000 episodes of a fold with 346
images; `--thin K` keeps one of K images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from fssbench.threads import let_threads_sleep

EPISODES = 1000
IMAGES = 346
"""Images of the fold that the claims of the documentation speak of."""
FEWEST_IMAGES = 8
"""Images that each class keeps at least: one query and more supports than any plan has."""
COSTS = {
    "vat": 12.0,
    "pfenet": 4.0,
    "ssp": 3.0,
    "dcama": 2.0,
    "hsnet": 1.6,
    "patnet": 1.6,
    "pmnet": 1.0,
    "panet": 0.5,
}
"""Rough seconds per support, to begin with the longest and to give the slowest fewer episodes."""
CHEAP = 2.0
COLUMNS = ("method", "shot", "episodes / images", "plain s", "harness s", "ratio", "ratio of CPU time")
COLUMNS += ("times floor", "different pixels", "plain MiB", "harness MiB", "busy CPUs of others")


def main() -> None:
    """Measure in child processes, print a table and write all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--out", type=Path, default=Path("measured.json"))
    parser.add_argument("--methods", default=",".join(COSTS))
    parser.add_argument("--shots", default="1,5")
    parser.add_argument("--thin", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="share of the episodes that is evaluated")
    parser.add_argument("--plain-episodes", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=1, help="processes of two cores at a time")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        method, shot = given.job.split(":")
        print(json.dumps(measure(given, method, int(shot))))
        return
    let_threads_sleep()
    jobs = [(name, int(shot)) for name in given.methods.split(",") for shot in given.shots.split(",")]
    rows = run_jobs(sorted(jobs, key=lambda job: -COSTS.get(job[0], 1.0) * job[1]), given.pairs)
    rows.sort(key=lambda row: jobs.index((row["name"], row["shot"])))
    given.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(format_row(row))} |")


def run_jobs(jobs: Sequence[tuple[str, int]], pairs: int) -> list[dict[str, Any]]:
    """Run the jobs, `pairs` at a time, each on two cores of its own."""
    waiting: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
    for job in (*jobs, *[None] * pairs):
        waiting.put(job)
    cores = sorted(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []

    def work(place: int) -> None:
        mine = cores[2 * place : 2 * place + 2] or cores
        while (job := waiting.get()) is not None:
            command = [sys.executable, *sys.argv, "--job", f"{job[0]}:{job[1]}"]
            variables = {**os.environ, "OMP_NUM_THREADS": str(len(mine))}
            command = ["taskset", "-c", ",".join(map(str, mine)), *command]
            answer = subprocess.run(command, capture_output=True, text=True, env=variables)
            if answer.returncode:
                print(
                    f"{job[0]}, {job[1]}-shot, failed:\n{answer.stderr[-2000:]}", file=sys.stderr, flush=True
                )
                continue
            rows.append(json.loads(answer.stdout.splitlines()[-1]))
            print(f"{' | '.join(format_row(rows[-1]))}", file=sys.stderr, flush=True)

    threads = [Thread(target=work, args=(place,)) for place in range(pairs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def measure(given: argparse.Namespace, name: str, shot: int) -> dict[str, Any]:
    """Compare both loops for one method and shot."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from reference_order import in_reference_order

    import fssbench
    from fssbench.efficiency.loops import compare_loops
    from fssbench.efficiency.measure import BenchRequest, load_for_measuring
    from fssbench.evaluation.settings import Settings

    method = load_for_measuring(BenchRequest(method=name, shot=shot, backbone="resnet50")).eval()
    slowness = max(1.0, COSTS.get(name, 1.0) * shot / CHEAP / 5)
    with TemporaryDirectory() as folder:
        draw = {"fold": 2, "shot": shot, "splits": given.splits, "size": method.card.size}
        whole = fssbench.plan("pascal5i", data=given.data, episodes=EPISODES, **draw)
        images = copy_part(given.thin, whole, given.data, Path(folder))
        episodes = max(6, round(images * EPISODES / IMAGES * given.share / slowness))
        plan = fssbench.plan("pascal5i", data=folder, episodes=episodes, **draw)
        plain = max(4, round(given.plain_episodes / slowness))
        each = compare_loops(
            method, plan, Settings(), plain_episodes=plain, around_plain=in_reference_order()
        )
    figures = {"ratio": each.ratio, "cpu_ratio": each.cpu_ratio, "times_floor": each.times_floor}
    return {"name": name, **asdict(each), **figures}


def copy_part(thin: int, plan: Any, data: Path, folder: Path) -> int:
    """Copy one of `thin` images of each class of a plan, and its mask, into another folder; return their number."""
    by_class: dict[int, dict[str, None]] = {}
    for episode in plan:
        by_class.setdefault(episode.class_id, {}).update(dict.fromkeys((episode.query, *episode.supports)))
    kept = {i for items in by_class.values() for i in sorted(items)[: max(FEWEST_IMAGES, len(items) // thin)]}
    for source in (data / "VOC2012").glob("*/*"):
        if source.stem in kept:
            target = folder / source.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return len(kept)


def format_row(row: dict[str, Any]) -> list[str]:
    """Write the figures of one method and shot."""
    memory = [f"{row[name]:.0f}" for name in ("plain_memory_mb", "harness_memory_mb")]
    return [
        row["method"],
        str(row["shot"]),
        f"{row['episodes']} / {row['images']}",
        f"{row['plain_seconds']:.2f}",
        f"{row['harness_seconds']:.2f}",
        f"{row['ratio']:.2f}",
        f"{row['cpu_ratio']:.2f}",
        f"{row['times_floor']:.2f}",
        f"{row['different_pixels']} of {row['pixels']}",
        *memory,
        "-" if row["others"] is None else f"{row['others']:.1f}",
    ]


if __name__ == "__main__":
    main()
