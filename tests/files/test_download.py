"""Tests of the downloader with a local server that makes every known error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import CONTENT, SHA, Handler, serve
from messages import error_names

from fssbench.errors import DataError
from fssbench.files.download import Limits, download


@pytest.fixture
def server() -> Iterator[str]:
    with serve() as address:
        yield address


def left(folder: Path) -> list[str]:
    """Files in the folder, the lock aside."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_whole_file_arrives_and_leaves_nothing_else(server: str, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "weights.pth"
    assert download(f"{server}/good", target, sha256=SHA) == target
    assert target.read_bytes() == CONTENT
    assert left(target.parent) == ["weights.pth"]


def test_what_is_here_already_is_not_asked_for(server: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    download(f"{server}/good", tmp_path / "w", sha256=SHA)
    assert Handler.ranges == []


def test_two_at_once_fetch_once(server: str, tmp_path: Path) -> None:
    pair = [
        threading.Thread(target=download, args=(f"{server}/good", tmp_path / "w"), kwargs={"sha256": SHA})
        for _ in range(2)
    ]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert Handler.ranges == [None]


def test_the_first_digits_of_the_hash_suffice(server: str, tmp_path: Path) -> None:
    assert download(f"{server}/good", tmp_path / "w", sha256=SHA[:8]).stat().st_size == len(CONTENT)


@pytest.mark.parametrize("path", ["wrong", "long", "understated"])
def test_other_content_is_never_promoted_nor_kept(server: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError) as caught:
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    assert error_names(
        caught.value, "w", "not the published file", f"expected {SHA[:16]}", "deleted", "Next:"
    )
    assert left(tmp_path) == []


def test_a_login_page_is_called_one(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sent a web page, perhaps a login"):
        download(f"{server}/login", tmp_path / "w", sha256=SHA)
    assert left(tmp_path) == []


def test_a_short_body_is_an_error_and_never_promoted(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        download(f"{server}/short", tmp_path / "w", sha256=SHA)
    assert error_names(caught.value, f"1000 of {len(CONTENT)} bytes", "Next:", "resumes the download")
    assert not (tmp_path / "w").exists()


def test_after_a_cut_only_the_rest_is_fetched(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="and stopped"):
        download(f"{server}/cut", tmp_path / "w", sha256=SHA)
    download(f"{server}/cut", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert Handler.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_server_without_ranges_starts_over(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"old beginning")
    download(f"{server}/ignores-range", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_complete_part_is_promoted_without_a_byte_more(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT)
    download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_damaged_part_is_thrown_away_and_the_next_try_works(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"z" * 500)
    with pytest.raises(DataError, match="not the published file"):
        download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"), [("nothing", "Not Found"), ("loop", "redirect"), ("garbage", "failed")]
)
def test_a_failing_server_is_a_sentence(server: str, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    assert "Next:" in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_stalled_server_ends_in_time_and_the_beginning_is_kept(server: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="timed out"):
        download(f"{server}/stall", tmp_path / "w", sha256=SHA, timeout=0.3)
    assert time.monotonic() - began < 1.4
    assert (tmp_path / "w.part").read_bytes() == CONTENT[:100]
    assert not (tmp_path / "w").exists()


def test_no_server_at_all_is_said_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="refused"):
        download("http://127.0.0.1:9/x", tmp_path / "w", sha256=SHA, attempts=5, pause=2)
    assert time.monotonic() - began < 2


def test_only_http_is_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DataError, match="http"):
        download(secret.as_uri(), tmp_path / "w", sha256=SHA)


@pytest.mark.parametrize("path", ["other-part", "changed"])
def test_another_part_or_another_file_is_never_joined_to_the_first(
    server: str, tmp_path: Path, path: str
) -> None:
    with pytest.raises(DataError, match="and stopped"):
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert Handler.ranges == [None, f"bytes={len(CONTENT) // 2}-", None]
    assert left(tmp_path) == ["w"]


def test_a_busy_server_is_asked_again_and_no_oftener_than_allowed(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="500"):
        download(f"{server}/busy/twice", tmp_path / "w", sha256=SHA, attempts=2, pause=0)
    download(f"{server}/busy/thrice", tmp_path / "w", sha256=SHA, attempts=3, pause=0)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_cut_is_resumed_within_one_call_if_attempts_are_left(server: str, tmp_path: Path) -> None:
    states: list[tuple[int, int | None]] = []
    download(
        f"{server}/cut", tmp_path / "w", sha256=SHA, attempts=2, pause=0, progress=lambda *s: states.append(s)
    )
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert states[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "http://", "gopher://127.0.0.1/"]
)
def test_redirects_to_other_schemes_are_refused(server: str, tmp_path: Path, target: str) -> None:
    Handler.elsewhere = target
    with pytest.raises(DataError, match=r"redirect|failed"):
        download(f"{server}/redirects", tmp_path / "w", sha256=SHA)
    assert not (tmp_path / "w").exists()


def test_redirects_to_another_host_need_a_permission(server: str, tmp_path: Path) -> None:
    Handler.elsewhere = server.replace("127.0.0.1", "localhost") + "/good"
    with pytest.raises(DataError, match=r"another host \(localhost\)"):
        download(f"{server}/redirects", tmp_path / "w", sha256=None, limits=Limits(hosts=frozenset()))
    download(
        f"{server}/redirects", tmp_path / "v", sha256=None, limits=Limits(hosts=frozenset({"localhost"}))
    )
    assert (tmp_path / "v").read_bytes() == CONTENT


def test_a_login_page_does_not_destroy_what_is_here(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT[:5000])
    with pytest.raises(DataError, match="login"):
        download(f"{server}/login-page", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w.part").read_bytes() == CONTENT[:5000]


def test_a_length_that_is_no_number_is_a_sentence(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no number"):
        download(f"{server}/no-number", tmp_path / "w", sha256=SHA)


def test_a_drip_ends_although_the_server_is_never_silent(server: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="timed out"):
        download(f"{server}/drip", tmp_path / "w", sha256=SHA, timeout=0.2)
    assert time.monotonic() - began < 1.2


def test_the_whole_time_is_limited(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="longer than"):
        download(f"{server}/drip", tmp_path / "w", sha256=SHA, limits=Limits(longest=0.1))


@pytest.mark.parametrize(
    ("path", "limits"),
    [
        ("endless", Limits(most_bytes=100_000)),
        ("good", Limits(most_bytes=100_000)),
        ("good", Limits(size=5)),
        ("endless", Limits(size=5)),
    ],
)
def test_no_more_is_taken_than_the_file_may_have(
    server: str, tmp_path: Path, path: str, limits: Limits
) -> None:
    with pytest.raises(DataError, match="bytes"):
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA, limits=limits)
    assert (tmp_path / "w.part").stat().st_size <= 100_000


def test_a_link_in_place_of_the_part_is_not_followed(server: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    for name in ("w.part", "v.part.tag"):
        (tmp_path / name).symlink_to("victim")
    with pytest.raises(DataError, match="link"):
        download(f"{server}/good", tmp_path / "w", sha256=SHA)
    with pytest.raises(DataError, match="and stopped"):
        download(f"{server}/changed", tmp_path / "v", sha256=SHA)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_folder_that_is_a_file_is_a_sentence(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        download(f"{server}/good", tmp_path / "file" / "w", sha256=SHA)


def test_a_full_disk_is_not_taken_for_a_failing_server(server: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limits of file sizes on this system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written.*disk space"):
            download(f"{server}/good", tmp_path / "w", sha256=SHA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
