"""An evaluation computes in float32 whatever the process was told, and gives the settings back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from fssbench.evaluation.isolation import isolated
from fssbench.evaluation.precision import exact_float32

OPERATORS = ("matmul", "conv", "rnn")


def precisions() -> dict[str, str]:
    backends = torch.backends
    return {
        "default": backends.fp32_precision,
        "cuda.matmul": backends.cuda.matmul.fp32_precision,
        **{f"cudnn.{name}": getattr(backends.cudnn, name).fp32_precision for name in ("conv", "rnn")},
        **{f"mkldnn.{name}": getattr(backends.mkldnn, name).fp32_precision for name in OPERATORS},
    }


def legacy_everywhere() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True


def modern_everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


def modern_in_part() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"


def tuned() -> None:
    torch.backends.cudnn.benchmark = True


@pytest.fixture(autouse=True)
def _settings_restored() -> Iterator[None]:
    with exact_float32():
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.allow_tf32 = True
        yield


@pytest.mark.parametrize("loosen", [legacy_everywhere, modern_everywhere, modern_in_part, tuned])
def test_float32_is_exact_inside_and_as_before_outside(loosen: Callable[[], None]) -> None:
    loosen()
    before = precisions(), torch.backends.cudnn.benchmark
    with exact_float32():
        assert set(precisions().values()) == {"ieee"}
        assert not torch.backends.cudnn.allow_tf32  # the old way of asking agrees, for code that uses it
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    assert (precisions(), torch.backends.cudnn.benchmark) == before


def test_settings_come_back_after_an_error() -> None:
    modern_everywhere()
    before = precisions()
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert precisions() == before


@pytest.mark.parametrize("loosen", [legacy_everywhere, modern_everywhere])
def test_a_method_that_loosens_the_arithmetic_does_so_for_itself_alone(loosen: Callable[[], None]) -> None:
    with exact_float32():
        with isolated(0):
            loosen()
        assert set(precisions().values()) == {"ieee"}
