"""Hashes of the files that a measurement reads, and checks that they stay unchanged while it runs.

The identity of a run holds a hash of all bytes of its data, computed before the first episode.  If a file were
replaced later, the new content would be measured under the hash of the old one.  So the state of a file (size, times,
number) is compared after each reading and at the end; if it differs, the file is hashed again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fssbench.contracts.datasets import Dataset
from fssbench.errors import DataError
from fssbench.files.hashing import State, hash_file, read_file_state
from fssbench.files.kept_log import write_whole
from fssbench.files.links import check_links
from fssbench.files.regular import read_regular
from fssbench.plugins.calls import plugin_call
from fssbench.plural import describe_count

FILE = "data.json"
"""In a run folder: the first digits of the hashes of its data files."""
PREFIX = 8
"""Digits that are stored of each hash."""


@dataclass(frozen=True, slots=True)
class _Known:
    path: Path
    state: State
    sha256: str


class DataFiles:
    """The files of some items in their present state.

    Args:
        dataset: the data set of the items.
        items: item ids; repeated ids count once.
        what: the purpose of the files, for errors, such as "training for pascal5i".

    Attributes:
        sha256: hash over the bytes of every file, by item.

    Raises:
        DataError: if files are missing, with their number; if one is not a regular file, or leads out of the data
            folder.
    """

    def __init__(self, dataset: Dataset, items: Iterable[str], what: str) -> None:
        self._what = what
        self._files: dict[str, list[_Known]] = {}
        total = hashlib.sha256()
        missing: list[Path] = []
        for item in sorted(set(items)):
            files = self._files[item] = []
            with plugin_call(f"data set {dataset.card.name!r}: files({item!r}) fails:"):
                paths = [*dataset.files(item)]
            for path in paths:
                check_links(path, dataset.places)  # a plugin may name files that `Dataset.path` never saw
                try:
                    state = read_file_state(path)
                    known = _Known(path, state, hash_file(path, state))
                except OSError:
                    missing.append(path)
                    continue
                files.append(known)
                total.update(f"{item}\0{path.name}\0{known.sha256}\n".encode())
        if missing:
            raise DataError(
                f"{what}: {describe_count(len(missing), 'file is', 'files are')} missing or unreadable. The "
                f"first is {missing[0]}. Next: `fssbench data verify {dataset.card.name}`"
            )
        self.sha256 = total.hexdigest()

    @property
    def hashes(self) -> list[str]:
        """Hash of each file, in the order of items and, within an item, of its files."""
        return [known.sha256 for files in self._files.values() for known in files]

    @property
    def paths(self) -> list[Path]:
        """Each file, in the order of `hashes`."""
        return [known.path for files in self._files.values() for known in files]

    def content(self, item: str) -> str:
        """Return the hash over the files of one item; empty for an item that is not among them."""
        return ",".join(known.sha256 for known in self._files.get(item, ()))

    def write_prefixes(self, folder: Path) -> None:
        """Store the beginning of each file's hash in a run folder, unless it is stored already.

        A reader can then find out which files differ; the full hash in the identity shows only whether any differs.

        Raises:
            DataError: if it cannot be written.
        """
        path = folder / FILE
        if not path.is_file():
            digits = "".join(known[:PREFIX] for known in self.hashes)
            text = base64.b64encode(bytes.fromhex(digits)).decode()
            write_whole(path, [json.dumps({"data_sha256": self.sha256, "prefixes": text}).encode() + b"\n"])

    def list_differing(self, folder: Path) -> list[Path] | None:
        """Return the files whose hash begins differently from the stored one; None if none is stored.

        Args:
            folder: the run folder.

        Raises:
            DataError: if a pipe, a device or a folder has the name of the file.
        """
        try:
            stored = json.loads(read_regular(folder / FILE))
            digits = base64.b64decode(stored["prefixes"], validate=True).hex()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        before = [digits[i : i + PREFIX] for i in range(0, len(digits), PREFIX)]
        if len(before) != len(self.hashes):
            return None
        return [
            p for p, old, new in zip(self.paths, before, self.hashes, strict=True) if not new.startswith(old)
        ]

    def check(self, item: str) -> None:
        """Compare the files of one item with their first state; call it after reading them.

        Raises:
            DataError: if one holds other bytes, naming it.
        """
        for place, known in enumerate(files := self._files.get(item, [])):
            try:
                state = read_file_state(known.path)
                if state == known.state:
                    continue
                same = hash_file(known.path, state) == known.sha256
            except OSError as error:
                raise DataError(
                    self._changed(known.path, f"can no longer be read ({error.strerror})")
                ) from None
            if not same:
                raise DataError(self._changed(known.path, "has changed"))
            files[place] = _Known(known.path, state, known.sha256)

    def check_all(self) -> None:
        """Compare all files with their first state.

        Raises:
            DataError: if one holds other bytes, naming it.
        """
        for item in self._files:
            self.check(item)

    def _changed(self, path: Path, how: str) -> str:
        return (
            f"{path} {how} since the measurement of {self._what} began, but the identity of the run holds the hash of "
            "the earlier content. The stored episodes are kept. Next: restore the file and run the same command "
            "again, or keep the new file and run the command, which then starts a new run"
        )


def hash_item_files(dataset: Dataset, items: Iterable[str], what: str) -> str:
    """Return the sha256 over the bytes of every file of some items, by item; errors name their purpose, `what`.

    Raises:
        DataError: if files are missing, with their number.
    """
    return DataFiles(dataset, items, what).sha256
