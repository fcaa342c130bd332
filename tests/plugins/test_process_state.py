"""Code of a plugin that runs in the process of fssbench does not change the numbers of other methods without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from messages import error_names
from PIL import Image

import fssbench.metrics
from fssbench.errors import PluginError
from fssbench.plugins.process_state import ProcessState, numbers_kept
from fssbench.plugins.registry import load_plugin

POISONS = {
    "autocast": ("torch.set_autocast_enabled('cpu', True)", "autocast"),
    "dtype": ("torch.set_default_dtype(torch.float64)", "default dtype"),
    "hook": (
        "torch.nn.modules.module.register_module_forward_hook(lambda *_: None)",
        "forward hooks of all modules",
    ),
    "class": ("torch.nn.Conv2d.forward = lambda self, x: x", "Conv2d.forward"),
    "function": ("torch.relu = torch.sigmoid", "torch.relu"),
    "function of the same library": (
        "torch.nn.functional.relu = torch.nn.functional.silu",
        "torch.nn.functional.relu",
    ),
    "class of the same library": ("torch.nn.Conv2d.forward = torch.nn.ReLU.forward", "Conv2d.forward"),
    "counting": ("import fssbench.metrics\nfssbench.metrics.count = print", "fssbench.metrics.count"),
    "numpy": ("import numpy\nnumpy.count_nonzero = print", "numpy.count_nonzero"),
    "pictures": ("from PIL import Image\nImage.Image.resize = lambda self, *a: self", "Image.resize"),
    "mode": (
        "from torch.utils._device import DeviceContext\nDeviceContext('cpu').__enter__()",
        "function modes",
    ),
}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the poisons after a test."""
    import numpy

    for holder, name in (
        (torch.nn.Conv2d, "forward"),
        (torch, "relu"),
        (torch.nn.functional, "relu"),
        (fssbench.metrics, "count"),
        (numpy, "count_nonzero"),
        (Image.Image, "resize"),
    ):
        monkeypatch.setattr(holder, name, getattr(holder, name))


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", POISONS)
def test_a_file_that_changes_the_numbers_of_others_at_its_import_is_refused(
    name: str, tmp_path: Path
) -> None:
    code, said = POISONS[name]
    file = tmp_path / f"poison_{name.replace(' ', '_')}.py"
    file.write_text(f"import torch\n{code}\n")
    depth = torch.overrides._len_torch_function_stack()
    try:
        with pytest.raises(PluginError) as caught:
            load_plugin(file)
    finally:
        torch.set_autocast_enabled("cpu", False)
        torch.set_default_dtype(torch.float32)
        torch.nn.modules.module._global_forward_hooks.clear()
        while torch.overrides._len_torch_function_stack() > depth:
            torch.overrides._pop_mode()
    error_names(caught.value, file.name, said)


def test_folder_and_grad_mode_are_as_before_a_plugin(tmp_path: Path) -> None:
    before = os.getcwd()  # noqa: PTH109
    with numbers_kept("plugin"):
        os.chdir(tmp_path)
        torch.set_grad_enabled(False)
    assert os.getcwd() == before  # noqa: PTH109
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("kept")
def test_what_torch_changes_as_it_imports_its_compiler_is_no_change_by_a_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An optimiser imports it at its first step, and timm with its networks; it is imitated here, as it is slow."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    state = ProcessState()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "folder")
    monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.manual_seed))
    assert state.list_other_changes() == []
    torch.relu = torch.sigmoid
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seed)
    monkeypatch.setenv("OTHER_VARIABLE", "1")
    assert set(state.list_other_changes()) == {
        "environment variable OTHER_VARIABLE",
        "function torch.relu",
        "function torch.manual_seed",
    }
