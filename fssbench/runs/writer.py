"""Writes a run folder as its only owner: locks it, appends episodes, and restores what others remove.

See `fssbench.runs.store` for what the folder holds and how it is read.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fssbench.contracts.episodes import Plan
from fssbench.contracts.run_manifest import RunManifest
from fssbench.episodes.plan_file import write_plan
from fssbench.errors import DataError, FssbenchError, LockedError, RunFolderError
from fssbench.files.append_log import write_all
from fssbench.files.kept_log import KeptLog, set_aside, write_whole
from fssbench.runs.sessions import FILE, Session
from fssbench.runs.store import (
    SCHEMA,
    Record,
    check_records,
    manifest_seal,
    read_json,
    read_records,
    wanted_episodes,
    write_json,
)


class RunWriter:
    """Writes one run folder, of which it is the only owner.

    Use as a context manager; `done` holds the records already stored.  Whatever somebody else does to the
    folder meanwhile is noticed at the next record, and what was computed is put back from memory; `losses`
    says what happened.

    Args:
        path: the run's folder.  It is made if it does not exist.
        manifest: identity and context; written only if the folder has none yet.
        plan: the full plan.

    Raises:
        LockedError: if another process owns the folder.
        DataError: if the folder holds another identity or is damaged or cannot be written.
    """

    def __init__(self, path: Path, manifest: RunManifest, plan: Plan) -> None:
        self.path = path
        self._manifest = manifest
        self._plan = plan
        self._lock = FileLock(path / ".lock")
        self._locked: tuple[int, int] | None = None
        self._log: KeptLog | None = None
        self._fixed: dict[str, bytes] = {}
        self._order: list[tuple[int, int]] = []
        self.done: dict[int, Record] = {}
        self.losses: list[str] = []

    def __enter__(self) -> RunWriter:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make {self.path}: {error}. Choose another --out") from error
        self._acquire()
        try:
            self._open()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._opened.close()
        finally:
            self._release()

    @property
    def _opened(self) -> KeptLog:
        assert self._log is not None  # used as a context manager
        return self._log

    def _open(self) -> None:
        existing = self.path / "manifest.json"
        if existing.is_file():
            there = str(read_json(existing).get("identity"))
            if there != self._manifest.identity:
                raise DataError(f"{self.path} holds another run (identity {there[:12]}...)")
        for left in self.path.glob(".*.partial"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        # plan first: a folder counts as a run as soon as its manifest is there
        if not (self.path / "plan.json").is_file():
            write_plan(self._plan, self.path / "plan.json")
        if not existing.is_file():
            sealed = manifest_seal(self._manifest, self._plan)
            write_json(existing, {"schema": SCHEMA, **self._manifest.as_stored(), "sealed": sealed})
        log = self.path / "episodes.jsonl"
        self.done, good = read_records(log)
        check_records(self.path, self.done, self._plan, wanted_episodes(self._manifest.block, self._plan))
        self._log = KeptLog(log, log.read_bytes()[:good] if good else b"")
        self._fixed = {name: (self.path / name).read_bytes() for name in ("manifest.json", "plan.json")}

    def append(self, record: Record) -> None:
        """Store one episode immediately.

        Raises:
            DataError: if it cannot be written; what was stored before stays intact.
            RunFolderError: if the folder is no longer this process's.
        """
        if self._opened.harm():
            self._mend(record)
        stored = f"{len(self.done)} episodes are stored; free space and run the same command again"
        self._order.append((record.index, self._opened.size))
        self._opened.append(record.line(), stored)
        self.done[record.index] = record

    def take_back(self, count: int) -> None:
        """Remove the last `count` records that this process appended.

        Raises:
            DataError: if the log cannot be shortened.
        """
        if not count:
            return
        if self._opened.harm():
            self._mend()
        self._opened.cut(self._order[-count][1])
        for index, _ in self._order[-count:]:
            del self.done[index]
        del self._order[-count:]

    def settle(self) -> None:
        """Compare the folder byte by byte with what this process wrote, and restore what is missing.

        Raises:
            DataError: if it cannot be written.
            RunFolderError: if the folder is no longer this process's.
        """
        if self._opened.harm(whole=True) or any(
            self._read(name) != data for name, data in self._fixed.items()
        ):
            self._mend()

    def sort_records(self) -> None:
        """Put the records in the order of their episodes, so that equal runs hold equal bytes.

        Call it when no record will be taken back.

        Raises:
            DataError: if the log cannot be written; it is unchanged then, and every record is kept.
        """
        self._order.clear()
        self._opened.sort(lambda line: Record.parse(line).index)

    def report_losses(self) -> None:
        """Report what another process did to the folder.  Call it after the run is whole again.

        Raises:
            RunFolderError: if anything happened.
        """
        if self.losses:
            raise RunFolderError(
                f"{self.path}: {'; '.join(self.losses)} while the run was being written. Nothing is lost: all "
                f"{len(self.done)} episodes were written back from memory. Find out what changes files there (a "
                "cleaner of temporary folders, a tool that synchronises, another person), then run the same "
                "command again, which reads the run as it is now"
            )

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def _mend(self, last: Record | None = None) -> None:
        """Restore the folder as this process left it.  `last` is the record that is about to be written."""
        log = self._opened
        if not self.path.is_dir() and log.moved:
            if last is not None:
                log.append(last.line())
            raise RunFolderError(
                f"{self.path} was moved away while it was being written; the "
                f"{len(self.done) + (last is not None)} episodes that it holds are kept in it. "
                "Next: move it back and run the same command again"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock_again()
        except (OSError, FssbenchError) as error:
            beside = self.path.with_name(f"{self.path.name}.episodes-{os.getpid()}.jsonl")
            log.copy_to(beside)
            raise RunFolderError(
                f"{self.path} was taken away while it was being written, and cannot be put back ({error}); the "
                f"{len(self.done)} episodes that were computed are kept in {beside}"
            ) from error
        if harm := log.harm(whole=True):
            log.put_back()
            self.losses.append(f"episodes.jsonl {log.losses[-1] or harm}")
        for name, data in self._fixed.items():
            there = self._read(name)
            if there != data:
                aside = set_aside(self.path / name)
                write_whole(self.path / name, [data])
                kept = f" (what lay there is kept as {aside.name})" if aside else ""
                self.losses.append(f"{name} was {'deleted' if there is None else 'changed'}{kept}")

    def _lock_again(self) -> None:
        """Lock the folder that is at the path now.  It may be another than the one that was locked before."""
        if _identify_file(self.path / ".lock") != self._locked:
            self._lock.release()
            self._lock = FileLock(self.path / ".lock")
            self._acquire()

    def session(self, session: Session) -> None:
        """Record what a process did.  It is never part of a result.

        Raises:
            DataError: if it cannot be written.
        """
        path, line = self.path / FILE, session.as_line()
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                write_all(handle, line)
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(f"cannot write {len(line)} bytes to {path}: {error}. Free space") from error

    def _acquire(self) -> None:
        owner = self.path / ".owner.json"
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(f"{self.path} is in use by {_describe_owner(_wait_for_owner(owner))}") from None
        except OSError as error:
            raise DataError(f"cannot lock {self.path}: {error}. Choose another --out") from error
        self._locked = _identify_file(self.path / ".lock")
        # On some network file systems a lock is not seen by other hosts: the owner file is.
        held = _read_owner(owner)
        if held and held["host"] != socket.gethostname():
            self._lock.release()
            raise LockedError(
                f"{self.path} is in use by {_describe_owner(held)}. If that process is gone, delete {owner}"
            )
        try:
            held = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
            owner.write_bytes(json.dumps(held).encode())
        except OSError as error:
            self._release()
            raise DataError(f"cannot write {owner}: {error}. Free space or choose another --out") from error

    def _release(self) -> None:
        if (
            _identify_file(self.path / ".lock") == self._locked
        ):  # else another process has made the folder anew
            with suppress(OSError):  # a stale owner file of this host is taken over anyway
                (self.path / ".owner.json").unlink(missing_ok=True)
        self._lock.release()


def _identify_file(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path, or None if there is none."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _read_owner(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and {"pid", "host"} <= set(data) else {}


def _wait_for_owner(path: Path) -> dict[str, Any]:
    """Read the name of the lock's owner.  The owner writes it just after locking, so several looks may be needed."""
    held: dict[str, Any] = {}
    for _ in range(20):
        held = _read_owner(path)
        if held and (held["host"] != socket.gethostname() or _is_alive(held["pid"])):
            return held
        time.sleep(0.05)
    return held


def _is_alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError, TypeError):
        return False
    return True


def _describe_owner(held: dict[str, Any]) -> str:
    return f"process {held['pid']} on host {held['host']}" if held else "another process"
