"""Reads the weights of an ONNX file without the onnx package: its constants, and the paths of its matrix products.

An exporter keeps the names of most weights, but it transposes the matrix of a linear layer and gives it a number as its
name.  The output of the product, such as `/encoder/layer.0/mlp/fc1/MatMul_output_0`, says which layer it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fssbench.api import DataError

_GRAPH, _NODE, _CONSTANT = 7, 1, 5
_DIMENSIONS, _TYPE, _NAME, _BYTES = 1, 2, 8, 9
_INPUT, _OUTPUT, _OPERATOR = 1, 2, 4
_FLOAT = 1
_PRODUCT = re.compile(r"/(.+)/MatMul_output_0")


def read_onnx_weights(path: Path) -> dict[str, Tensor]:
    """Read the constants of an ONNX file that are 32-bit floats, by name.

    The matrix of a product is transposed, and named after the layer: `encoder.layer.0.mlp.fc1.weight`.

    Raises:
        DataError: if the file is damaged or no ONNX file.
    """
    data = memoryview(path.read_bytes())
    try:
        constants: dict[str, Tensor] = {}
        products: dict[str, str] = {}
        for number, graph in _read_fields(data):
            if number != _GRAPH or isinstance(graph, int):
                continue
            for part, value in _read_fields(graph):
                if part == _CONSTANT and not isinstance(value, int):
                    constants |= _read_constant(value)
                elif part == _NODE and not isinstance(value, int):
                    products |= _read_product(value)
    except (IndexError, ValueError, UnicodeDecodeError, RuntimeError):
        raise DataError(f"{path} is not a complete ONNX file. Next: install its package again") from None
    if not constants:
        raise DataError(f"{path} holds no weights. Next: install its package again")
    return {
        products.get(name, name): value.T.contiguous() if name in products else value
        for name, value in constants.items()
    }


def _read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a protobuf message: number, and integer or bytes.

    Raises:
        IndexError: if the message ends inside a field.
        ValueError: for a kind of field that does not exist.
    """
    place = 0
    while place < len(data):
        key, place = _read_integer(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _read_integer(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _read_integer(data, place)
        elif kind in {1, 5}:
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"kind {kind}")
        if place + length > len(data):
            raise IndexError(place)
        yield key >> 3, data[place : place + length]
        place += length


def _read_integer(data: memoryview, place: int) -> tuple[int, int]:
    """Read an integer of variable length; return it with the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place


def _read_constant(message: memoryview) -> dict[str, Tensor]:
    """Read a constant: one entry, or none if it is not of 32-bit floats in one block of bytes."""
    shape: list[int] = []
    name, kind, content = "", 0, None
    for number, value in _read_fields(message):
        if number == _DIMENSIONS:
            shape += [value] if isinstance(value, int) else _read_integers(value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _NAME and not isinstance(value, int):
            name = bytes(value).decode()
        elif number == _BYTES and not isinstance(value, int):
            content = value
    if kind != _FLOAT or not content:
        return {}
    return {name: torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(shape)}


def _read_integers(data: memoryview) -> list[int]:
    """Read integers that are packed one after another."""
    values, place = [], 0
    while place < len(data):
        value, place = _read_integer(data, place)
        values.append(value)
    return values


def _read_product(message: memoryview) -> dict[str, str]:
    """Return the name of a product's constant with the name of its layer's weight; nothing for other operators."""
    texts: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _OPERATOR: []}
    for number, value in _read_fields(message):
        if number in texts and not isinstance(value, int):
            texts[number].append(bytes(value).decode())
    if texts[_OPERATOR] != ["MatMul"] or len(texts[_INPUT]) != 2 or len(texts[_OUTPUT]) != 1:
        return {}
    layer = _PRODUCT.fullmatch(texts[_OUTPUT][0])
    return {texts[_INPUT][1]: f"{layer[1].replace('/', '.')}.weight"} if layer else {}
