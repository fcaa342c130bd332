"""Weights of an ONNX file, written here byte by byte, and damage to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor

from fssbench.api import DataError
from fssbench.backbones.vit.imgfocus import ImgFocusSmall14
from fssbench.backbones.vit.onnx_weights import read_onnx_weights
from fssbench.loading.backbone_weights import explain_missing_weights
from fssbench.loading.backbones import build_backbone


def write_integer(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def write_field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return write_integer(number << 3) + write_integer(content)
    return write_integer(number << 3 | 2) + write_integer(len(content)) + content


def write_constant(name: str, value: Tensor) -> bytes:
    shape = b"".join(write_field(1, side) for side in value.shape)
    content = value.contiguous().numpy().tobytes()
    return write_field(5, shape + write_field(2, 1) + write_field(8, name.encode()) + write_field(9, content))


def write_node(operator: str, inputs: list[str], output: str) -> bytes:
    content = b"".join(write_field(1, each.encode()) for each in inputs)
    return write_field(1, content + write_field(2, output.encode()) + write_field(4, operator.encode()))


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, Tensor, Tensor]:
    bias, matrix = torch.randn(5), torch.randn(3, 5)
    graph = write_constant("a.fc.bias", bias) + write_constant("onnx::MatMul_7", matrix)
    graph += write_node("MatMul", ["x", "onnx::MatMul_7"], "/a/fc/MatMul_output_0")
    graph += write_node("Add", ["a.fc.bias", "/a/fc/MatMul_output_0"], "/a/fc/Add_output_0")
    path = tmp_path / "w.onnx"
    path.write_bytes(write_field(1, 8) + write_field(2, b"pytorch") + write_field(7, graph))
    return path, bias, matrix


def test_products_are_named_after_their_layer_and_transposed(file: tuple[Path, Tensor, Tensor]) -> None:
    path, bias, matrix = file
    weights = read_onnx_weights(path)
    assert weights.keys() == {"a.fc.bias", "a.fc.weight"}
    assert torch.equal(weights["a.fc.bias"], bias)
    assert torch.equal(weights["a.fc.weight"], matrix.T)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.99), byte=st.integers(0, 255))
def test_damage_is_an_error_or_other_weights_and_never_a_traceback(
    file: tuple[Path, Tensor, Tensor], share: float, byte: int
) -> None:
    path, *_ = file
    whole = path.read_bytes()
    place = int(share * len(whole))
    for content in (whole[:place], whole[:place] + bytes([byte]) + whole[place + 1 :]):
        damaged = path.with_name("damaged.onnx")
        damaged.write_bytes(content)
        try:
            read_onnx_weights(damaged)
        except DataError as error:
            assert damaged.name in str(error)


def test_a_cut_file_is_refused(file: tuple[Path, Tensor, Tensor]) -> None:
    path, *_ = file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a complete ONNX file"):
        read_onnx_weights(path)


def test_a_file_without_a_position_table_is_refused(file: tuple[Path, Tensor, Tensor]) -> None:
    with pytest.raises(DataError, match="position table"):
        ImgFocusSmall14.read_weights(file[0])


def test_the_encoder_of_the_package_is_complete() -> None:
    if reason := explain_missing_weights("imgfocus-vits14", "0.1.1"):
        pytest.skip(reason)
    pytest.importorskip("timm")
    backbone = build_backbone("imgfocus-vits14", weights="0.1.1")
    maps = backbone(torch.randn(1, 3, 56, 56), ["block11.norm"])["block11.norm"]
    assert maps.shape == (1, 384, 4, 4)
    assert 0.5 < float(maps.std()) < 10
    assert "DINOv2" not in backbone.card.title
