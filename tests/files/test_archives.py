"""Archives from strangers: what is refused, and that nothing is written then."""

from __future__ import annotations

import io
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fssbench.errors import DataError
from fssbench.files import archives
from fssbench.files.archives import check_archive, unpack_archive

Build = Callable[[Path], None]


def zipped(*entries: tuple[str, bytes], **attributes: int) -> Build:
    def build(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                for key, value in attributes.items():
                    setattr(info, key, value)
                archive.writestr(info, content)

    return build


def tarred(*entries: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w") -> Build:
    def build(path: Path) -> None:
        with tarfile.open(path, mode) as archive:
            for entry in entries:
                if isinstance(entry, tarfile.TarInfo):
                    archive.addfile(entry)
                else:
                    info = tarfile.TarInfo(entry[0])
                    info.size = len(entry[1])
                    archive.addfile(info, io.BytesIO(entry[1]))

    return build


def special(kind: bytes, name: str = "images/1.jpg", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def cut(build: Build, share: float = 0.6) -> Build:
    def build_cut(path: Path) -> None:
        build(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return build_cut


GOOD = ("images/1.jpg", b"picture" * 99)
HOSTILE: dict[str, tuple[Build, str]] = {
    "zip traversal": (zipped(GOOD, ("../../evil.jpg", b"x")), "leads out"),
    "zip traversal inside": (zipped(GOOD, ("images/../../evil.jpg", b"x")), "leads out"),
    "zip absolute": (zipped(GOOD, ("/tmp/evil.jpg", b"x")), "absolute"),
    "zip drive": (zipped(GOOD, ("C:/evil.jpg", b"x")), "absolute"),
    "zip backslash": (zipped(GOOD, ("..\\evil.jpg", b"x")), "backslash"),
    "zip link": (zipped(GOOD, ("a.jpg", b"/etc/passwd"), external_attr=(stat.S_IFLNK | 0o777) << 16), "link"),
    "zip pipe": (zipped(("a.jpg", b""), external_attr=(stat.S_IFIFO | 0o644) << 16), "pipe"),
    "zip twice": (zipped(GOOD, GOOD), "twice"),
    "zip case": (zipped(GOOD, ("IMAGES/1.JPG", b"x")), "twice"),
    "zip file and folder": (zipped(("a", b"x"), ("a/b.jpg", b"x")), "below an entry"),
    "zip folder and file": (zipped(("a/b.jpg", b"x"), ("a", b"x")), "a file and a folder"),
    "zip control": (zipped(GOOD, ("a\x1b[31m.jpg", b"x")), "control"),
    "zip direction": (zipped(GOOD, ("a\u202egpj.jpg", b"x")), "control"),
    "zip long": (zipped(GOOD, (f"{'x' * 300}.jpg", b"x")), "too long"),
    "zip bomb": (zipped(GOOD, ("zeros.jpg", bytes(24 << 20))), "unpack to"),
    "zip cut": (cut(zipped(GOOD, ("b.jpg", bytes(range(256)) * 50))), "damaged"),
    "tar traversal": (tarred(GOOD, ("../evil.jpg", b"x")), "leads out"),
    "tar absolute": (tarred(GOOD, ("/evil.jpg", b"x")), "absolute"),
    "tar link": (tarred(GOOD, special(tarfile.SYMTYPE, "out", "/tmp")), "link"),
    "tar hard link": (tarred(GOOD, special(tarfile.LNKTYPE, "out", "/etc/passwd")), "link"),
    "tar device": (tarred(GOOD, special(tarfile.CHRTYPE)), "device"),
    "tar pipe": (tarred(special(tarfile.FIFOTYPE)), "pipe"),
    "tar twice": (tarred(GOOD, GOOD), "twice"),
    "tar no text": (tarred(GOOD, ("a\udcff.jpg", b"x")), "no text"),
    "tgz bomb": (tarred(("zeros.jpg", bytes(24 << 20)), mode="w:gz"), "unpack to"),
    "tgz cut": (cut(tarred(GOOD, ("b.jpg", bytes(range(256)) * 50), mode="w:gz")), "damaged"),
    "tar cut": (cut(tarred(("b.jpg", bytes(range(256)) * 200))), "damaged"),
    "tar cut between entries": (
        lambda path: (tarred(GOOD)(path), path.write_bytes(path.read_bytes()[:1536]))[0],
        "end is missing",
    ),
    "page": (lambda path: path.write_text("<!doctype html>login") and None, "login"),
    "text": (lambda path: path.write_text("hello") and None, "neither"),
    "empty": (lambda path: path.touch(), "neither"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    build, reason = HOSTILE[case]
    archive, target = tmp_path / "archive", tmp_path / "target"
    build(archive)
    target.mkdir()
    with pytest.raises(DataError, match=reason):
        unpack_archive(archive, target, ("*.jpg",))
    assert sorted(p.name for p in tmp_path.rglob("*") if p != archive) == ["target"]


@pytest.mark.parametrize("build", [zipped, tarred])
def test_wanted_files_arrive_and_others_are_left_out(tmp_path: Path, build: Callable[..., Build]) -> None:
    entries = [
        GOOD,
        ("./images/2.jpg", b"two"),
        ("code/run.py", b"evil"),
        ("more.zip", b"PK"),
        ("__MACOSX/._1.jpg", b""),
    ]
    build(*entries)(tmp_path / "archive")
    (tmp_path / "target").mkdir()
    states: list[tuple[int, int]] = []
    listing = unpack_archive(
        tmp_path / "archive", tmp_path / "target", ("*.jpg",), progress=lambda *s: states.append(s)
    )
    files = {
        str(p.relative_to(tmp_path / "target")): p.read_bytes() for p in tmp_path.glob("target/**/*.jpg")
    }
    assert files == {"images/1.jpg": GOOD[1], "images/2.jpg": b"two"}
    assert len([p for p in (tmp_path / "target").rglob("*") if p.is_file()]) == 2
    assert listing.nested == ["more.zip"]
    assert "code/run.py" in listing.left_out
    assert states[-1] == (listing.size, listing.size)


def test_a_strange_entry_of_a_published_archive_is_left_out_if_nobody_wants_it(tmp_path: Path) -> None:
    tarred(GOOD, special(tarfile.SYMTYPE, "code/latest", "v1"))(tmp_path / "a.tar")
    assert list(check_archive(tmp_path / "a.tar", ("*.jpg",), published=True).wanted) == ["images/1.jpg"]
    tarred(GOOD, special(tarfile.SYMTYPE, "images/2.jpg", "1.jpg"))(tmp_path / "b.tar")
    with pytest.raises(DataError, match="link"):
        check_archive(tmp_path / "b.tar", ("*.jpg",), published=True)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    zipped(GOOD)(tmp_path / "a.zip")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        check_archive(tmp_path / "a.zip")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_ENTRIES", 5)
    for build in (zipped, tarred):
        build(*((f"{n}.jpg", b"") for n in range(6)))(tmp_path / "a")
        with pytest.raises(DataError, match="more than 5 entries"):
            check_archive(tmp_path / "a")


def test_headers_that_are_nested_too_deeply_end_in_a_sentence(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    path = tmp_path / "a.tar"
    path.write_bytes((header.tobuf() + b"a".ljust(tarfile.BLOCKSIZE, b"\0")) * 1200)
    with pytest.raises(DataError, match="nested too deeply"):
        check_archive(path)


@pytest.mark.parametrize("kind", ["pax", "zip"])
def test_endless_names_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archives, "_MOST_AT_ONCE", 10_000)
    if kind == "zip":
        zipped(*((f"{n:0200}.jpg", b"") for n in range(100)))(tmp_path / "a")
    else:
        with tarfile.open(tmp_path / "a", "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("a.jpg")
            info.pax_headers = {"comment": "x" * 20_000}
            archive.addfile(info)
    with pytest.raises(DataError, match="names and headers"):
        check_archive(tmp_path / "a")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 2000), value=st.integers(0, 255), tar=st.booleans())
def test_a_changed_byte_gives_the_same_files_or_a_sentence(
    tmp_path: Path, place: int, value: int, tar: bool
) -> None:
    archive = tmp_path / "archive"
    (tarred if tar else zipped)(GOOD, ("images/2.jpg", bytes(range(256))))(archive)
    content = bytearray(archive.read_bytes())
    content[place % len(content)] = value
    archive.write_bytes(content)
    target = Path(tempfile.mkdtemp(dir=tmp_path))
    try:
        listing = unpack_archive(archive, target, ("*.jpg",))
    except DataError:
        return
    assert all((target / name).stat().st_size == entry.size for name, entry in listing.wanted.items())
    assert all(p.resolve().is_relative_to(target.resolve()) for p in target.rglob("*"))
