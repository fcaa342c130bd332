"""Writes a run folder as its only owner: locks it, appends episodes, and restores files that others change.

See `fssbench.runs.store` for what the folder holds and how it is read.
"""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fssbench.contracts.episodes import Plan
from fssbench.contracts.run_manifest import RunManifest
from fssbench.episodes.plan_file import write_plan
from fssbench.errors import DataError, FssbenchError, LockedError, RunFolderError
from fssbench.files.append_log import write_all
from fssbench.files.kept_log import KeptLog, set_aside, write_whole
from fssbench.files.regular import read_regular
from fssbench.plural import describe_count
from fssbench.runs.checksums import find_changed_files, remove_checksums, write_checksums
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.sessions import FILE, Session
from fssbench.runs.store import (
    SCHEMA,
    check_records,
    compute_seal,
    list_planned_episodes,
    read_json,
    read_records,
    write_json,
)


class RunWriter:
    """Writes one run folder, of which it is the only owner.

    Use it as a context manager; `done` holds the records that are already stored.  Changes by other programs are
    detected at the next record.  The records are then restored from memory, and `losses` describes the
    changes.

    Args:
        path: the run folder.  It is made if it does not exist.
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
        self._changed: dict[str, str] = {}
        """Checksums of the files that differed from them when the folder was opened."""
        self.done: dict[int, EpisodeRecord] = {}
        self.losses: list[str] = []

    def __enter__(self) -> RunWriter:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"folder {self.path} cannot be made ({error}). Next: choose another --out"
            ) from error
        self._acquire()
        try:
            self._open()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        try:
            self._opened.close()
            if _identify_file(self.path / ".lock") == self._locked:
                with suppress(DataError) if kind else nullcontext():  # an error that is on its way says more
                    write_checksums(self.path, self._list_changed_before())
        finally:
            self._release()

    def _list_changed_before(self) -> dict[str, str]:
        """List the checksums of the files that somebody changed before this process came, and that it did not write."""
        # a log that changed stays changed when episodes are added: its earlier records may be those of another run
        return {name: value for name, value in self._changed.items() if name != "summary.json"}

    @property
    def _opened(self) -> KeptLog:
        assert self._log is not None  # used as a context manager
        return self._log

    def _open(self) -> None:
        existing = self.path / "manifest.json"
        if existing.is_file():
            stored_identity = str(read_json(existing).get("identity"))
            if stored_identity != self._manifest.identity:
                raise DataError(
                    f"{self.path} holds another run (identity {stored_identity[:12]}..., not "
                    f"{self._manifest.identity[:12]}...). Next: choose another --out"
                )
        for partial in self.path.glob(".*.partial"):  # of a process that was killed while it wrote
            partial.unlink(missing_ok=True)
        # plan first: a folder counts as a run as soon as its manifest is there
        if not (self.path / "plan.json").is_file():
            write_plan(self._plan, self.path / "plan.json")
        if not existing.is_file():
            sealed = compute_seal(self._manifest, self._plan)
            write_json(existing, {"schema": SCHEMA, **self._manifest.as_stored(), "sealed": sealed})
        log = self.path / "episodes.jsonl"
        records, good = read_records(log)
        self.done = dict(records)
        check_records(
            self.path, self.done, self._plan, list_planned_episodes(self._manifest.block, self._plan)
        )
        self._changed = find_changed_files(self.path)
        self._warn_of_changed_records()
        remove_checksums(self.path)
        self._log = KeptLog(log, log.read_bytes()[:good] if good else b"")
        self._fixed = {name: (self.path / name).read_bytes() for name in ("manifest.json", "plan.json")}

    def _warn_of_changed_records(self) -> None:
        """Warn if stored episodes, which this run goes on from, come from a log that somebody changed."""
        if "episodes.jsonl" in self._changed and self.done:
            warnings.warn(
                f"{self.path / 'episodes.jsonl'} was changed after it was written; this run goes on "
                f"with its {describe_count(len(self.done), 'episode')}. Next: `fssbench verify {self.path}`, or "
                "delete this run folder and run again",
                stacklevel=2,
            )

    def append(self, record: EpisodeRecord) -> None:
        """Store one episode immediately.

        Raises:
            DataError: if it cannot be written; what was stored before stays intact.
            RunFolderError: if this process no longer owns the folder.
        """
        self.restore(record)
        stored = describe_count(len(self.done), "episode is", "episodes are")
        hint = f"{stored} stored. Next: free space, then run the same command again"
        self._order.append((record.index, self._opened.size))
        self._opened.append(record.line(), hint)
        self.done[record.index] = record

    def restore(self, last: EpisodeRecord | None = None) -> None:
        """Restore the folder if another program has taken away or changed the log, so that files can be added to it.

        Args:
            last: the record that will be written next; a folder that was moved away receives it.

        Raises:
            DataError: if it cannot be written.
            RunFolderError: if this process no longer owns the folder.
        """
        if self._opened.find_harm():
            self._mend(last)

    def take_back(self, count: int) -> None:
        """Remove the last `count` records that this process appended.

        Raises:
            DataError: if the log cannot be shortened.
        """
        if not count:
            return
        self.restore()
        self._opened.cut(self._order[-count][1])
        for index, _ in self._order[-count:]:
            del self.done[index]
        del self._order[-count:]

    def settle(self) -> None:
        """Compare the folder byte by byte with what this process wrote, and restore what differs.

        Raises:
            DataError: if it cannot be written.
            RunFolderError: if this process no longer owns the folder.
        """
        if self._opened.find_harm(whole=True) or any(
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
        self._opened.sort(lambda line: EpisodeRecord.parse(line).index)

    def report_losses(self) -> None:
        """Report the changes that other programs made to the folder.  Call it after the run was restored.

        Raises:
            RunFolderError: if there were changes.
        """
        if self.losses:
            raise RunFolderError(
                f"another program changed {self.path} while the run was being written: {'; '.join(self.losses)}. "
                f"Nothing is lost: {describe_count(len(self.done), 'episode was', 'episodes were')} written "
                "again from memory. Next: find out what changes files there (a cleaner of temporary folders, a "
                "tool that synchronises, another person), then "
                "run the same command again, which reads the stored run"
            )

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def _mend(self, last: EpisodeRecord | None = None) -> None:
        """Restore the folder to its state after the last write.  `last` is the record that will be written next."""
        log = self._opened
        if not self.path.is_dir() and log.moved:
            if last is not None:
                log.append(last.line())
            raise RunFolderError(
                f"{self.path} was moved while it was being written. The moved folder holds its "
                f"{describe_count(len(self.done) + (last is not None), 'episode')}. Next: move it back, then "
                "run the same command again"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock_again()
        except (OSError, FssbenchError) as error:
            beside = self.path.with_name(f"{self.path.name}.episodes-{os.getpid()}.jsonl")
            log.copy_to(beside)
            raise RunFolderError(
                f"{self.path} was removed while it was being written and cannot be restored ({error}). "
                f"{describe_count(len(self.done), 'computed episode is', 'computed episodes are')} stored in {beside}"
            ) from error
        if harm := log.find_harm(whole=True):
            log.put_back()
            self.losses.append(f"episodes.jsonl {log.losses[-1] or harm}")
        for name, data in self._fixed.items():
            content = self._read(name)
            if content != data:
                aside = set_aside(self.path / name)
                write_whole(self.path / name, [data])
                renamed = f" (the file there was renamed to {aside.name})" if aside else ""
                self.losses.append(f"{name} was {'deleted' if content is None else 'changed'}{renamed}")

    def _lock_again(self) -> None:
        """Lock the folder that is at the path now, which may differ from the one that was locked before."""
        if _identify_file(self.path / ".lock") != self._locked:
            self._lock.release()
            self._lock = FileLock(self.path / ".lock")
            self._acquire()

    def record_session(self, session: Session) -> None:
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
            raise DataError(
                f"{len(line)} bytes cannot be written to {path} ({error}). Next: free space"
            ) from error

    def _acquire(self) -> None:
        owner = self.path / ".owner.json"
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"{self.path} is in use by {_describe_owner(_wait_for_owner(owner))}. Next: wait until it has ended, "
                "or choose another --out"
            ) from None
        except OSError as error:
            raise DataError(f"{self.path} cannot be locked ({error}). Next: choose another --out") from error
        self._locked = _identify_file(self.path / ".lock")
        # On some network file systems other hosts do not see a lock, but they see the owner file.
        try:
            held = _read_owner(owner)
        except DataError:
            self._lock.release()
            raise
        if held and held["host"] != socket.gethostname():
            self._lock.release()
            raise LockedError(
                f"{self.path} is in use by {_describe_owner(held)}. Next: wait until it has ended; if the process no "
                f"longer exists, delete {owner}"
            )
        try:
            held = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
            owner.write_bytes(json.dumps(held).encode())
        except OSError as error:
            self._release()
            raise DataError(
                f"{owner} cannot be written ({error}). Next: free space, or choose another --out"
            ) from error

    def _release(self) -> None:
        # otherwise another process has made a new folder
        if _identify_file(self.path / ".lock") == self._locked:
            with suppress(OSError):  # an old owner file of this host is replaced later
                (self.path / ".owner.json").unlink(missing_ok=True)
        self._lock.release()


def _identify_file(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path, or None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _read_owner(path: Path) -> dict[str, Any]:
    """Read who owns a run; empty if nobody does, or if the file is damaged.

    Raises:
        DataError: if it cannot be read, or is no regular file, such as a pipe, for whose writer `open` would wait.
    """
    try:
        data = json.loads(read_regular(path))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    except OSError as error:
        raise DataError(
            f"{path} names the process that uses this run, and cannot be read ({error}). Next: make it readable, or "
            "delete it if no process uses the run"
        ) from error
    return data if isinstance(data, dict) and {"pid", "host"} <= set(data) else {}


def _wait_for_owner(path: Path) -> dict[str, Any]:
    """Read the name of the lock's owner.  The owner writes it just after locking, so several attempts may be needed."""
    owner: dict[str, Any] = {}
    for _ in range(20):
        owner = _read_owner(path)
        if owner and (owner["host"] != socket.gethostname() or _is_alive(owner["pid"])):
            return owner
        time.sleep(0.05)
    return owner


def _is_alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError, TypeError):
        return False
    return True


def _describe_owner(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on host {owner['host']}" if owner else "another process"
