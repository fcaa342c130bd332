from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

from fssbench import compat
from fssbench.errors import UsageError


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


TORCHVISION = (
    "import fssbench, torchvision, torch\n"
    "from fssbench import compat\n"
    "from torchvision import models, transforms\n"
    "print(tuple(models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape))\n"
    "print(hasattr(torch.ops.torchvision, 'nms'), len(compat._kept) <= 1)\n"
    "import sys; print([name for name in sys.modules if name.startswith('torch._dynamo')])\n"
)


def test_torchvision_imports_after_fssbench_with_schemas_declared_once_and_works() -> None:
    assert _python(TORCHVISION).splitlines() == ["(1, 1000)", "True True", "[]"]


@pytest.mark.slow
def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    """A module that is imported faster stands for it in the next test."""
    code = (
        TORCHVISION + "from torchvision.ops import roi_align\n"
        "asked = sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu')\n"
        "import torch._dynamo.utils as compiler\n"
        "print(asked is compiler.is_compile_supported('cpu'), compiler.__file__ is not None)\n"
    )
    assert _python(code).splitlines()[-1] == "True True"


def test_another_name_of_the_compiler_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown on a module that is imported faster."""
    later = compat._CompilerLater("colorsys")
    monkeypatch.setattr(compat, "_COMPILER", "colorsys")
    monkeypatch.setitem(sys.modules, "colorsys", later)
    assert importlib.import_module("colorsys").is_compile_supported == later.is_compile_supported
    assert not hasattr(later, "__file__")
    assert sys.modules["colorsys"] is later
    assert later.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert sys.modules["colorsys"] is not later


def test_importing_fssbench_imports_neither() -> None:
    assert _python("import sys, fssbench; print({'torch', 'torchvision'} & set(sys.modules))") == "set()"


def test_armed_once_and_not_at_all_after_torchvision() -> None:
    count = "sum(type(f).__name__ == '_BeforeTorchvision' for f in sys.meta_path)"
    code = (
        f"import sys, fssbench\nfrom fssbench import compat as t\n"
        f"t.install_torchvision_hook(); t.install_torchvision_hook()\nprint({count})"
    )
    assert _python(code) == "1"
    code = (
        "import sys, types\nsys.modules['torchvision'] = types.ModuleType('torchvision')\n"
        f"import fssbench\nprint({count})"
    )
    assert _python(code) == "0"


@pytest.mark.parametrize("version", ["2.9.1", "1.13", "2.9.0+cpu", "2"])
def test_old_torch_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(UsageError, match=r"too old.*Next: `pip install"):
        compat.require_torch()


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cpu", "3.0", "2.11.0a0+git12"])
def test_new_torch_is_accepted(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    compat.require_torch()


def test_missing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(UsageError, match="not installed"):
        compat.require_torch()
