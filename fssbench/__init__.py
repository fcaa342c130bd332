"""fssbench: one harness for cross-domain few-shot segmentation.

The public names are loaded at their first use, so that `import fssbench` and `fssbench --help` load neither torch
nor pandas.

Example:
    >>> import fssbench
    >>> plan = fssbench.plan("pascal-to-chestxray", shot=1, data="mini", episodes=2, size=96)
    >>> method = fssbench.load_method("panet", plan=plan)
    >>> evaluation = fssbench.evaluate(method, plan, out="runs")
    >>> fssbench.results("runs").means[["name", "episodes", "marks"]].values.tolist()
    [['panet', 2, 'miniature; resized (96 px, published: 400); capped (2 of 600 episodes)']]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fssbench import clone, compat
from fssbench.lazy import lazy_names
from fssbench.plugins import execution
from fssbench.plugins.announced_folders import VARIABLE

if TYPE_CHECKING:
    from fssbench.analysis.compare import compare as compare
    from fssbench.analysis.frames import results as results
    from fssbench.episodes.sampling import plan as plan
    from fssbench.evaluation.engine import evaluate as evaluate
    from fssbench.evaluation.request import run as run
    from fssbench.loading.load import load_method as load_method
    from fssbench.metrics import count as count, score as score
    from fssbench.prediction.predict import predict as predict
    from fssbench.reporting import report as report
    from fssbench.runs.merge import merge as merge
    from fssbench.training.request import train as train
    from fssbench.verification.verify import verify as verify

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_names(__name__, __file__)
__all__ = ["__version__", *_names]

clone.enter_clone(Path(__file__).parent)
compat.install_torchvision_hook()
execution.install()
if VARIABLE in os.environ:  # this is a child process of one that has loaded plugins from files
    from fssbench.plugins.import_files import enter_announced_folders

    enter_announced_folders()
