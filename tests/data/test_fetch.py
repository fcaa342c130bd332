"""`data fetch` against servers and archives that misbehave, and after interruptions at every step."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fssbench.datasets.chestxray.miniature import draw_files as draw_radiographs
from fssbench.datasets.isic2018.miniature import draw_files as draw_lesions
from fssbench.datasets.pascal.miniature import write_devkit
from hostile_server import Handler, serve
from messages import error_names
from scipy.io import savemat

from fssbench.benchmarks.catalogue import BENCHMARKS
from fssbench.contracts.downloads import Archive, Downloads
from fssbench.data import fetch as fetching, fetch_log, fetch_places
from fssbench.data.fetch import WORK, fetch, find_present, list_unfinished, read_provenance
from fssbench.data.fetch_files import Reporter
from fssbench.data.location import open_dataset
from fssbench.errors import DataError, LockedError, UsageError
from fssbench.images.opening import read_size
from fssbench.plugins.downloads import find_downloads, list_download_names
from fssbench.plugins.registry import DATASETS
from fssbench.verification.data_set import verify_dataset

FAILURES = ("short", "wrong", "login", "login-page", "redirects", "garbage", "no-number", "long", "nothing")
"""Errors of the server after which nothing may be in place."""


def pack(folder: Path, inside: str = "") -> bytes:
    """Return a zip of a folder's files, below `inside`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{inside}{path.relative_to(folder)}")
    return content.getvalue()


@pytest.fixture(scope="module")
def lungs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The radiographs as the public archive has them."""
    folder = tmp_path_factory.mktemp("lungs")
    draw_radiographs(folder, 0)
    kept = {path.stem for path in sorted(folder.glob("CXR_png/*"))[:6]}
    for path in folder.glob("*/*"):
        if path.stem.removesuffix("_mask") not in kept:
            path.unlink()
    (folder / "README.txt").write_text("about")
    return pack(folder, "Lung Segmentation/")


@pytest.fixture
def server(lungs: bytes) -> Iterator[str]:
    with serve({"lungs.zip": lungs}) as address:
        yield address


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSBENCH_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that puts a record in place of the built-in ones."""

    def publish(*archives: Archive, **values: Any) -> None:
        record = Downloads(archives=archives, **{"licence": "free to all", **values})
        monkeypatch.setattr(fetching, "find_downloads", lambda name: record)

    return publish


def lungs_at(server: str, kind: str, content: bytes | None = None) -> Archive:
    sha256 = hashlib.sha256(content).hexdigest() if content is not None else ""
    return Archive(file="lungs.zip", url=f"{server}/{kind}/lungs.zip", sha256=sha256, keep=("*.png",))


def get(root: Path, name: str = "chestxray", **options: Any) -> Any:
    return fetch(name, root, **{"accept_licence": True, "pause": 0, **options})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_data_set_arrives_whole_and_nothing_else_stays(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(lungs_at(server, "good", lungs))
    root = tmp_path / "data"
    fetched = get(root)
    assert fetched.place == root / "LungSegmentation"
    assert verify_dataset(open_dataset("chestxray", data=root)).ok
    assert sorted(p.name for p in root.iterdir()) == [WORK, "LungSegmentation"]
    assert sorted(p.name for p in (root / WORK).iterdir()) == ["chestxray.json"]
    assert "published" in fetched.files[0]["hash"]
    assert any("README.txt" in note for note in fetched.notes)
    provenance = read_provenance("chestxray", root)
    assert provenance is not None
    assert provenance["files"][0]["sha256"] == hashlib.sha256(lungs).hexdigest()
    assert get(root).there_already
    assert len(Handler.ranges) == 1


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("hashed", [True, False])
def test_a_failing_server_puts_nothing_in_place_and_the_next_try_works(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None], kind: str, hashed: bool
) -> None:
    Handler.elsewhere = "file:///etc/hostname"
    root = tmp_path / "data"
    published(lungs_at(server, kind, lungs if hashed else None))
    if kind == "long" and not hashed:
        return  # bytes after the end of a zip are its comment; only a hash finds them
    with pytest.raises(DataError):
        get(root)
    assert find_present("chestxray", root) is None
    assert [p.name for p in root.iterdir()] == [WORK]
    shutil.rmtree(root / WORK)  # another address: what is here of the file may be of another one
    published(lungs_at(server, "good", lungs))
    get(root)
    assert verify_dataset(open_dataset("chestxray", data=root)).ok


@pytest.mark.parametrize("kind", ["cut", "busy", "ignores-range", "other-part", "changed"])
def test_a_server_that_recovers_is_asked_until_the_file_is_whole(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None], kind: str
) -> None:
    published(lungs_at(server, kind, lungs))
    get(tmp_path / "data")
    assert len(tree(tmp_path / "data" / "LungSegmentation")) > 0
    assert verify_dataset(open_dataset("chestxray", data=tmp_path / "data")).ok


class _Stops(Reporter):
    """Interrupts the fetch at one of its events."""

    def __init__(self, at: int) -> None:
        self.left = at

    def say(self, text: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    @contextmanager
    def transfer(self, what: str) -> Iterator[Any]:
        self.say(what)
        yield lambda done, total: self.say(what)
        self.say(what)


def test_a_fetch_that_is_stopped_at_any_event_goes_on_and_ends_equal(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(lungs_at(server, "good", lungs))
    whole = get(tmp_path / "whole").place
    at, stopped = 0, 0
    while True:
        root = tmp_path / f"data{at}"
        try:
            get(root, reporter=_Stops(at))
            break
        except KeyboardInterrupt:
            stopped += 1
        assert find_present("chestxray", root) is None
        get(root)
        assert tree(root / "LungSegmentation") == tree(whole)
        shutil.rmtree(root)
        at += 1 if at < 8 else 5
    assert stopped > 8


def test_steps_that_ended_are_not_done_again(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    published(lungs_at(server, "good", lungs))
    root = tmp_path / "data"

    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "place_unpacked", full)
        with pytest.raises(DataError, match="No space left") as caught:
            get(root)
    assert error_names(caught.value, "goes on from here")
    assert list_unfinished("chestxray", root)[0].startswith("lungs.zip: ")
    monkeypatch.setattr(fetching, "unpack_all", full)
    get(root)
    assert len(Handler.ranges) == 1


def test_the_disk_is_asked_before_the_download(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    published(lungs_at(server, "good", lungs).changed(size=len(lungs)))
    monkeypatch.setattr(
        fetch_places.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 5_000_000)
    )
    with pytest.raises(DataError, match=r"5\.0 MB free") as caught:
        get(tmp_path / "data")
    assert error_names(caught.value, "needed", "--data DIR")
    assert Handler.ranges == []


def test_a_licence_is_accepted_once_and_again_if_its_words_change(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(lungs_at(server, "good", lungs), licence="research alone")
    with pytest.raises(UsageError) as caught:
        fetch("chestxray", tmp_path / "data")
    assert error_names(caught.value, "research alone", "--accept-licence")
    assert not (tmp_path / "data").exists()
    assert Handler.ranges == []
    get(tmp_path / "data")
    fetch("chestxray", tmp_path / "again")
    published(lungs_at(server, "good", lungs), licence="nobody")
    with pytest.raises(UsageError, match="nobody"):
        fetch("chestxray", tmp_path / "third")


@pytest.fixture
def lesions(tmp_path: Path) -> dict[str, bytes]:
    """The three files of ISIC 2018."""
    raw = tmp_path / "raw"
    raw.mkdir()
    draw_lesions(raw, 0)
    parts = ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")
    return {
        "class_id.csv": (raw / "class_id.csv").read_bytes(),
        **{f"{part}.zip": pack(raw / part, f"{part}/") for part in parts},
    }


def test_files_without_a_published_hash_are_compared_with_their_first_download(
    lesions: dict[str, bytes], tmp_path: Path, published: Callable[..., None]
) -> None:
    with serve(lesions) as server:
        published(*(Archive(file=file, url=f"{server}/good/{file}") for file in lesions), prepared=True)
        first = get(tmp_path / "one", "isic2018")
        assert sum("no hash" in note for note in first.notes) == 3
        assert {file["hash"] for file in first.files} == {"not published; noted at the first download"}
        for variant in ("isic1", "isic3"):
            assert verify_dataset(open_dataset("isic2018", data=tmp_path / "one", variant=variant)).ok
        second = get(tmp_path / "two", "isic2018")
        assert all("equal to the first" in file["hash"] for file in second.files)
        assert second.notes == []
        Handler.files = {**lesions, "class_id.csv": lesions["class_id.csv"] + b"\n"}
        with pytest.raises(DataError) as caught:
            get(tmp_path / "three", "isic2018")
    log = fetch_log.find_fetch_log()
    assert error_names(
        caught.value, "class_id.csv", hashlib.sha256(lesions["class_id.csv"]).hexdigest(), str(log)
    )
    assert find_present("isic2018", tmp_path / "three") is None


@pytest.mark.parametrize("damage", ["cut", "other", "hostile", "table"])
def test_a_damaged_download_without_hash_is_not_noted_and_is_downloaded_again(
    lesions: dict[str, bytes], tmp_path: Path, published: Callable[..., None], damage: str
) -> None:
    masks = "ISIC2018_Task1_Training_GroundTruth.zip"
    hostile = io.BytesIO(lesions[masks])
    with zipfile.ZipFile(hostile, "a") as archive:
        archive.writestr("../evil.png", b"x")
    damaged = {
        "cut": {masks: lesions[masks][:-3000]},
        "other": {masks: pack(tmp_path / "raw" / "ISIC2018_Task1-2_Training_Input", "cats/")},
        "hostile": {masks: hostile.getvalue()},
        "table": {"class_id.csv": b"ISIC_0000007,measles"},
    }[damage]
    with serve({**lesions, **damaged}) as server:
        published(*(Archive(file=file, url=f"{server}/good/{file}") for file in lesions), prepared=True)
        with pytest.raises(DataError):
            get(tmp_path / "data", "isic2018")
        assert find_present("isic2018", tmp_path / "data") is None
        Handler.files = lesions
        get(tmp_path / "data", "isic2018")
        again = get(tmp_path / "again", "isic2018")
    assert all("equal to the first" in file["hash"] for file in again.files)
    assert verify_dataset(open_dataset("isic2018", data=tmp_path / "data")).ok


def test_a_file_without_hash_must_not_come_over_an_open_line(
    tmp_path: Path, published: Callable[..., None]
) -> None:
    published(Archive(file="lungs.zip", url="http://data.invalid/lungs.zip"))
    with pytest.raises(DataError, match="neither a published hash nor an encrypted address"):
        get(tmp_path / "data")


def test_a_set_behind_a_login_says_how_and_takes_the_archive(lungs: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch("chestxray", tmp_path / "data")
    record = find_downloads("chestxray")
    assert record is not None
    assert error_names(caught.value, *record.steps, record.licence, "--from ARCHIVE")
    archive = tmp_path / "my download (1).zip"
    archive.write_bytes(lungs)
    fetched = get(tmp_path / "data", given=[archive])
    assert verify_dataset(open_dataset("chestxray", data=tmp_path / "data")).ok
    assert archive.read_bytes() == lungs
    assert fetched.files[0]["sha256"] == hashlib.sha256(lungs).hexdigest()


def test_given_files_replace_downloads_and_must_have_the_published_hash(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(lungs_at(server, "nothing", lungs), Archive(file="more.zip", url=f"{server}/nothing"))
    for name, content in (("lungs.zip", b"PK"), ("strange.zip", lungs)):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=r"lungs\.zip, more\.zip"):
        get(tmp_path / "data", given=[tmp_path / "strange.zip"])
    with pytest.raises(DataError, match="not the published"):
        get(tmp_path / "data", given=[tmp_path / "lungs.zip"])
    with pytest.raises(UsageError, match="data prepare chestxray"):
        get(tmp_path / "data", given=[tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        get(tmp_path / "data", given=[tmp_path / "absent.zip"])


@pytest.mark.parametrize("inner", ["archive.zip", "notes.txt"])
def test_an_archive_without_the_data_set_is_refused_and_says_what_it_holds(
    tmp_path: Path, inner: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(inner, b"x")
    with pytest.raises(DataError) as caught:
        get(tmp_path / "data", given=[tmp_path / "a.zip"])
    assert error_names(caught.value, "none of the files", *([inner] if inner.endswith(".zip") else []))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("cats/1.png", b"x")
    with pytest.raises(DataError, match="does not hold Chest X-ray"):
        get(tmp_path / "data", given=[tmp_path / "b.zip"])
    assert [p.name for p in (tmp_path / "data").iterdir() if p.name != WORK] == []


def test_a_hostile_archive_leaves_the_data_folder_as_it_was(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Lung Segmentation/CXR_png/1.png", b"x")
        archive.writestr("../../../evil.png", b"x")
    with pytest.raises(DataError, match="leads out"):
        get(tmp_path / "data", given=[tmp_path / "a.zip"])
    assert not list(tmp_path.rglob("*.png"))


def test_the_release_of_voc_and_that_of_sbd_become_one_data_set(
    tmp_path: Path, published: Callable[..., None]
) -> None:
    release = tmp_path / "release"
    devkit, cls = release / "VOCdevkit" / "VOC2012", release / "benchmark_RELEASE" / "dataset" / "cls"
    cls.mkdir(parents=True)
    write_devkit(devkit, 0, 20, {"train": 6, "val": 14})
    first = min(devkit.glob("JPEGImages/*.jpg"))
    shutil.copy(first, first.with_name("2008_000999.jpg"))
    label = np.zeros(read_size(first)[::-1], np.uint8)
    label[5:60, 5:60] = 3
    savemat(cls / "2008_000999.mat", {"GTcls": {"Segmentation": label}})
    record = find_downloads("pascal")
    assert record is not None
    files = {}
    for archive, folder in zip(record.archives, ("VOCdevkit", "benchmark_RELEASE"), strict=True):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz" if archive.file.endswith("gz") else "w") as packed:
            packed.add(release / folder, folder)
        files[archive.file] = content.getvalue()
    with serve(files) as server:
        archives = [
            archive.changed(
                url=f"{server}/cut/{archive.file}",
                size=len(files[archive.file]),
                sha256=hashlib.sha256(files[archive.file]).hexdigest(),
            )
            for archive in record.archives
        ]
        published(*archives, prepared=True)
        get(tmp_path / "data", "pascal")
    place = tmp_path / "data" / "VOC2012"
    assert len(list(place.glob("SegmentationClassAug/*.png"))) == 21
    assert "2008_000999" in (place / "ImageSets/Segmentation/trainaug.txt").read_text()
    assert not list(place.glob("SegmentationClass/*"))


_CHILD = """
import sys
from pathlib import Path
from fssbench.contracts.downloads import Archive, Downloads
from fssbench.data import fetch as fetching
archive = Archive(file="lungs.zip", url=sys.argv[1], sha256=sys.argv[2], keep=("*.png",))
fetching.find_downloads = lambda name: Downloads(archives=(archive,), licence="free to all")
print("ready", flush=True)
fetching.fetch("chestxray", Path(sys.argv[3]), accept_licence=True)
"""


@pytest.mark.slow
def test_a_fetch_that_is_killed_goes_on(server: str, lungs: bytes, tmp_path: Path) -> None:
    root = tmp_path / "data"
    sha256 = hashlib.sha256(lungs).hexdigest()
    command = [sys.executable, "-c", _CHILD, f"{server}/slow/lungs.zip", sha256, str(root)]
    killed = 0
    for number in range(40):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(0.04 * (number + 1))
                break
            except subprocess.TimeoutExpired:
                child.kill()
                killed += 1
        assert (
            find_present("chestxray", root) is None or verify_dataset(open_dataset("chestxray", data=root)).ok
        )
    assert killed > 2
    assert verify_dataset(open_dataset("chestxray", data=root)).ok
    assert len(tree(root / "LungSegmentation")) == 12


def test_two_fetches_of_one_set_do_not_meet(
    server: str, lungs: bytes, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(lungs_at(server, "good", lungs))
    root = tmp_path / "data"

    class Second(Reporter):
        def say(self, text: str) -> None:
            with pytest.raises(LockedError, match="another process"):
                get(root)

    get(root, reporter=Second())


def test_the_reference_lists_are_imported_and_judged(shared: Path, tmp_path: Path) -> None:
    content = pack(shared / "golden" / "splits", "hsnet-0cc481c/data/splits/")
    (tmp_path / "hsnet-main.zip").write_bytes(content)
    root = tmp_path / "data"
    fetched = get(root, "splits", given=[tmp_path / "hsnet-main.zip"])
    assert fetched.place == root / "splits"
    assert (root / "splits" / "pascal").is_dir()
    assert get(root, "splits").there_already


def test_unknown_names_and_miniatures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean pascal"):
        fetch("pascall", tmp_path)
    (tmp_path / "MINIATURE.json").write_text("{}")
    with pytest.raises(UsageError, match="drawings"):
        fetch("pascal", tmp_path)


def test_every_benchmark_has_a_record_whose_addresses_are_safe() -> None:
    targets = {benchmark.target for benchmark in BENCHMARKS.values()}
    targets |= {benchmark.trained_on.dataset for benchmark in BENCHMARKS.values()}
    assert targets | {"splits"} == set(list_download_names())
    for name in list_download_names():
        record = find_downloads(name)
        assert record is not None
        assert record.open or record.steps
        assert name in DATASETS.names() or record.folder
        for archive in record.archives:
            assert not archive.url or archive.sha256 or archive.url.startswith("https://")
            assert bool(archive.sha256) == bool(archive.published_by)


def test_a_damaged_log_is_a_sentence(tmp_path: Path, lungs: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(lungs)
    (tmp_path / "config").mkdir()
    for text in ("[", "[]", '{"licences": 1}'):
        fetch_log.find_fetch_log().write_text(text)
        with pytest.raises(DataError, match="log of downloads"):
            fetch("chestxray", tmp_path / "data", given=[tmp_path / "a.zip"])
