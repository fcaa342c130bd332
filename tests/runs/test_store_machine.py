"""A machine that does anything to the store in any order: what can be read is always what a model in memory says."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kills import die_before

from fssbench.contracts.run_manifest import RunManifest
from fssbench.errors import DataError
from fssbench.metrics import score
from fssbench.runs.merge import merge
from fssbench.runs.store import EpisodeRecord, StoredRun, compute_shard_range, read_records, read_run
from fssbench.runs.summary import score_run, summarise
from fssbench.runs.writer import RunWriter

EPISODES = 12
PLACES = st.sampled_from([(1, 1), (1, 2), (2, 2)])
"""The whole run, and the two shards of another one."""
COUNTS = st.integers(0, 10**7)
Shard = tuple[int, int]


def make_machine(first: StoredRun, root: Path) -> type[RuleBasedStateMachine]:
    """Make a machine whose runs have the plan and the manifest of a stored run."""
    plan = first.plan

    class Store(RuleBasedStateMachine):
        """Each rule is something that a user, a crash or a disk does; the model is a dictionary of records per run."""

        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(mkdtemp(dir=root))
            self.known: dict[Shard, dict[int, EpisodeRecord]] = {(1, 1): {}, (1, 2): {}, (2, 2): {}}
            self.truth: dict[int, EpisodeRecord] = {}

        def teardown(self) -> None:
            shutil.rmtree(self.folder)

        def path(self, shard: Shard) -> Path:
            return self.folder / ("whole" if shard == (1, 1) else "shards") / f"part{shard[0]}"

        def open(self, shard: Shard) -> RunWriter:
            block = first.manifest.block
            block = block if shard == (1, 1) else block.changed(shard=shard)
            return RunWriter(self.path(shard), RunManifest.of(block, first.manifest.context), plan)

        def compute(self, index: int, numbers: tuple[int, int, int, int]) -> EpisodeRecord:
            """The record of an episode, which is the same whenever it is computed."""
            a, b, c, d = numbers
            made = EpisodeRecord(index, plan[index].class_id, (a, b), (a + c, b + d), b)
            return self.truth.setdefault(index, made)

        def choose(self, shard: Shard, order: list[int], count: int, numbers: Any) -> list[EpisodeRecord]:
            part = compute_shard_range(EPISODES, *shard)
            lacking = [i for i in order if i in part and i not in self.known[shard]][:count]
            return [self.compute(index, numbers) for index in lacking]

        @rule(
            shard=PLACES,
            order=st.permutations(range(EPISODES)),
            count=st.integers(1, 6),
            numbers=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
            sort=st.booleans(),
        )
        def append(self, shard: Shard, order: list[int], count: int, numbers: Any, sort: bool) -> None:
            with self.open(shard) as writer:
                assert dict(writer.done) == self.known[shard]
                for record in self.choose(shard, order, count, numbers):
                    writer.append(record)
                    self.known[shard][record.index] = record
                if sort:
                    writer.sort_records()

        @rule(order=st.permutations(range(EPISODES)))
        def complete_the_shards(self, order: list[int]) -> None:
            for shard in ((1, 2), (2, 2)):
                self.append(shard, order, EPISODES, (5, 4, 3, 2), True)

        @rule(
            shard=PLACES,
            order=st.permutations(range(EPISODES)),
            numbers=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
            step=st.integers(1, 60),
        )
        def kill(self, shard: Shard, order: list[int], numbers: Any, step: int) -> None:
            """A process is killed before one of its file calls, at the beginning or in the middle."""
            records = self.choose(shard, order, 4, numbers)

            def work() -> None:
                die_before(step)
                with self.open(shard) as writer:
                    for record in records:
                        writer.append(record)
                    writer.sort_records()

            assert fork(work) in {0, -signal.SIGKILL}
            stored = read_log(self.path(shard))
            new = [record for record in records if record.index in stored]
            assert new == records[: len(new)]
            self.known[shard] |= {record.index: record for record in new}

        @rule(shard=PLACES, cut=st.integers(1, 300))
        def truncate(self, shard: Shard, cut: int) -> None:
            log = self.path(shard) / "episodes.jsonl"
            if not log.is_file():
                return
            lines = log.read_bytes().splitlines(keepends=True)
            kept = b"".join(lines)[:-cut] if lines else b""
            log.write_bytes(kept)
            whole = [EpisodeRecord.parse(line[:-1]).index for line in lines[: kept.count(b"\n")]]
            self.known[shard] = {index: self.truth[index] for index in whole}

        @rule(shard=PLACES, place=st.integers(0, EPISODES - 1))
        def duplicate(self, shard: Shard, place: int) -> None:
            """A record that is stored twice counts once; with other counts it is refused, and the log stays."""
            path = self.path(shard)
            if not self.known[shard] or not (path / "manifest.json").is_file():
                return
            repair(path)
            log = path / "episodes.jsonl"
            record = [*self.known[shard].values()][place % len(self.known[shard])]
            with log.open("ab") as file:
                file.write(record.line())
            before = log.read_bytes()
            wrong = EpisodeRecord(
                record.index, record.class_id, record.inter, record.union, record.target + 1
            )
            log.write_bytes(before + wrong.line())
            with pytest.raises(DataError, match="stored twice"):
                read_run(path)
            with pytest.raises(DataError, match="stored twice"), self.open(shard):
                pass
            assert log.read_bytes() == before + wrong.line()
            log.write_bytes(before)

        @rule(shard=PLACES)
        def rescore(self, shard: Shard) -> None:
            path, known = self.path(shard), self.known[shard]
            if not known or not (path / "manifest.json").is_file():
                return
            stored = summarise(path)
            rows = [known[index] for index in sorted(known)]
            run = read_run(path)
            expected = score(
                [r.class_id for r in rows],
                [r.inter for r in rows],
                [r.union for r in rows],
                plan.classes,
                absent=run.absent,
                whole=run.whole,
            )
            for made in (stored, score_run(run)):
                assert (made.miou, made.fb_iou) == pytest.approx(
                    (expected.miou, expected.fb_iou), nan_ok=True
                )
                assert made.episodes == len(known)

        @rule()
        def join(self) -> None:
            """Shards that lack nothing give the bytes of a run that was never cut; others are refused."""
            out = self.folder / "merged"
            parts = {**self.known[1, 2], **self.known[2, 2]}
            if len(parts) < EPISODES:
                with pytest.raises(DataError):
                    merge([self.folder / "shards"], out)
                return
            (path,) = merge([self.folder / "shards"], out)
            assert dict(read_run(path).records) == parts == self.truth
            uncut = self.folder / "uncut"
            with RunWriter(uncut, first.manifest, plan) as writer:
                for index in range(EPISODES):
                    writer.append(parts[index])
            summarise(uncut)
            for name in ("episodes.jsonl", "summary.json"):
                assert (path / name).read_bytes() == (uncut / name).read_bytes()
            shutil.rmtree(out)
            shutil.rmtree(uncut)

        @invariant()
        def what_is_stored_is_what_is_known(self) -> None:
            for shard, records in self.known.items():
                path = self.path(shard)
                assert read_log(path) == records
                if (path / "manifest.json").is_file():
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        run = read_run(path)
                    assert dict(run.records) == records
                    part = compute_shard_range(EPISODES, *shard)
                    assert run.status == ("complete" if len(records) == len(part) else "incomplete")

    return Store


def read_log(path: Path) -> dict[int, EpisodeRecord]:
    """Read the records of a run folder, which may not exist yet, and whose last line may be torn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(read_records(path / "episodes.jsonl")[0])


def repair(path: Path) -> None:
    """Remove a torn last line, as the next process does that opens the folder."""
    log = path / "episodes.jsonl"
    data = log.read_bytes()
    log.write_bytes(data[: data.rfind(b"\n") + 1])


def fork(work: Callable[[], None]) -> int:
    """Do something in a forked process; return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            warnings.simplefilter("ignore")
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_machine(null: Any, examples: int, steps: int) -> None:
    (done,) = null.run("first", null.plan(EPISODES))
    machine = make_machine(read_run(done.path), null.folder)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[*HealthCheck],
        ),
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_anything_in_any_order(null: Any) -> None:
    run_machine(null, examples=5, steps=12)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_anything_in_any_order_at_length(null: Any) -> None:
    run_machine(null, examples=200, steps=30)
