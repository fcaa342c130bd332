"""The contracts a plugin author reads, and nothing else.

A method is one file with a `FeatureMethod` or `ImageMethod`; a data set one file with a `Dataset`;
a report one file with a `Reporter`.  See `docs/plugins.md` for a worked example of each.
"""

from fssbench.api.datasets import (
    IGNORE,
    Dataset,
    DatasetCard,
    Entry,
    Finding,
    OtherList,
    Pool,
    Population,
    Verification,
)
from fssbench.api.efficiency import Efficiency, Timing
from fssbench.api.episodes import Episode, Plan
from fssbench.api.methods import (
    AT_INFERENCE,
    AtInference,
    FeatureMethod,
    Features,
    ImageMethod,
    Method,
    MethodCard,
    MethodConfig,
    Predictor,
    Taps,
)
from fssbench.api.records import Record
from fssbench.api.results import (
    Cell,
    Change,
    Changes,
    Departure,
    Estimate,
    Panel,
    Pictures,
    Reporter,
    Results,
    RunResult,
)
from fssbench.api.training import Recipe
from fssbench.errors import DataError, FssbenchError, ListError, PluginError, UsageError

API_VERSION = 1

__all__ = [
    "API_VERSION",
    "AT_INFERENCE",
    "IGNORE",
    "AtInference",
    "Cell",
    "Change",
    "Changes",
    "DataError",
    "Dataset",
    "DatasetCard",
    "Departure",
    "Efficiency",
    "Entry",
    "Episode",
    "Estimate",
    "FeatureMethod",
    "Features",
    "Finding",
    "FssbenchError",
    "ImageMethod",
    "ListError",
    "Method",
    "MethodCard",
    "MethodConfig",
    "OtherList",
    "Panel",
    "Pictures",
    "Plan",
    "PluginError",
    "Pool",
    "Population",
    "Predictor",
    "Recipe",
    "Record",
    "Reporter",
    "Results",
    "RunResult",
    "Taps",
    "Timing",
    "UsageError",
    "Verification",
]
