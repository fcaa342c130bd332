"""A log read at once equals the log read line by line, and anything unusual is left to the line by line reader."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fssbench.errors import DataError
from fssbench.runs.records import EpisodeRecord, RecordTable, parse_canonical
from fssbench.runs.store import read_records

NUMBERS = st.integers(0, 10**18 - 1)
PAIRS = st.tuples(NUMBERS, NUMBERS)
RECORDS = st.lists(
    st.builds(
        EpisodeRecord,
        NUMBERS,
        NUMBERS,
        PAIRS,
        PAIRS,
        NUMBERS,
        st.sampled_from([(), ("one",), ("one", "two")]),
    ),
    max_size=5,
    unique_by=lambda record: record.index,
)


def seal_text(body: str) -> bytes:
    """Return a line with the right checksum, whatever is in it."""
    return f'{body},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_a_log_read_at_once_holds_the_records_in_their_order(records: list[EpisodeRecord]) -> None:
    table = parse_canonical(b"".join(record.line() for record in records))
    assert table is not None
    assert list(table.values()) == records
    assert list(table) == [record.index for record in records]
    assert list(table.by_index) == sorted(table)
    assert RecordTable.of({record.index: record for record in records}) == table


@settings(max_examples=100, deadline=None)
@given(RECORDS.filter(bool), st.data())
def test_one_changed_byte_is_never_read_at_once(records: list[EpisodeRecord], data: st.DataObject) -> None:
    log = bytearray(b"".join(record.line() for record in records))
    place = data.draw(st.integers(0, len(log) - 1))
    log[place] ^= data.draw(st.integers(1, 255))
    assert parse_canonical(bytes(log)) is None


@pytest.mark.parametrize(
    "body",
    [
        '{"i1":0,"c":1,"inter":[1,2],"union":[3,4],"target":5',
        '4{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":5',
        '{"i":0,"c":1,"in7ter":[1,2],"union":[3,4],"target":5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":05',
        '{"i":,"c":10,"inter":[1,2],"union":[3,4],"target":5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":',
        '{"i":0,"c":1,"inter":[1,2],"union":[34],"target":5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":-5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":5.5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":99999999999999999999',
        '{"c":1,"i":0,"inter":[1,2],"union":[3,4],"target":5',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":5,"doubts":[]',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":5,"doubts":7',
        '{"i":0,"c":1,"inter":[1,2],"union":[3,4],"target":5,"sup9port":[7]',
        '{"i":0, "c":1,"inter":[1,2],"union":[3,4],"target":5',
    ],
)
def test_a_sealed_line_of_another_form_is_left_to_the_other_reader(body: str, tmp_path: Path) -> None:
    sound = EpisodeRecord(3, 1, (1, 2), (3, 4), 5)
    log = tmp_path / "episodes.jsonl"
    for lines in ([seal_text(body), sound.line()], [sound.line(), seal_text(body)]):
        assert parse_canonical(b"".join(lines)) is None
        log.write_bytes(b"".join(lines))
        try:
            json.loads(body + "}")
            expected = EpisodeRecord.parse(seal_text(body)[:-1])
        except (ValueError, KeyError, IndexError, TypeError):
            with pytest.raises(DataError, match="is damaged"):
                read_records(log)
        else:
            assert read_records(log)[0] == {0: expected, 3: sound}


def test_an_index_that_comes_twice_is_left_to_the_other_reader() -> None:
    line = EpisodeRecord(3, 1, (1, 2), (3, 4), 5).line()
    assert parse_canonical(line * 2) is None
    assert parse_canonical(line[:-1]) is None
    assert parse_canonical(b"\n" + line) is None
    assert len(parse_canonical(b"") or ()) == 0
