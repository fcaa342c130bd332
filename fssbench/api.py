"""All that a plugin author imports: the contracts, and what the harness offers to plugins.

A method is one file with a `FeatureMethod` or an `ImageMethod`, a data set one file with a `Dataset`, a report
one file with a `Reporter`.  `docs/plugins.md` has a worked example of each.  The built-in plugins import this
module alone, as a stranger's do; no other part of fssbench imports it.  Each name is loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fssbench.lazy import lazy_names

if TYPE_CHECKING:
    from fssbench.analysis.changes import change_titles as change_titles
    from fssbench.analysis.columns import (
        EPISODE_COLUMNS as EPISODE_COLUMNS,
    )
    from fssbench.analysis.columns import (
        MEAN_COLUMNS as MEAN_COLUMNS,
    )
    from fssbench.analysis.columns import (
        RUN_COLUMNS as RUN_COLUMNS,
    )
    from fssbench.analysis.columns import (
        Column as Column,
    )
    from fssbench.analysis.columns import (
        column_names as column_names,
    )
    from fssbench.analysis.comparisons import RESAMPLES as RESAMPLES
    from fssbench.analysis.comparisons import Pair as Pair
    from fssbench.analysis.comparisons import turn_pair as turn_pair
    from fssbench.analysis.comparisons import verdicts as verdicts
    from fssbench.analysis.frames import (
        make_episode_table as make_episode_table,
    )
    from fssbench.analysis.frames import (
        make_mean_table as make_mean_table,
    )
    from fssbench.analysis.frames import (
        make_run_table as make_run_table,
    )
    from fssbench.analysis.frames import (
        name_runs as name_runs,
    )
    from fssbench.analysis.matching import comparable as comparable
    from fssbench.analysis.matching import differs as differs
    from fssbench.analysis.matching import restrict_to as restrict_to
    from fssbench.analysis.results_file import RESULTS_FILE as RESULTS_FILE
    from fssbench.analysis.results_file import write_results as write_results
    from fssbench.analysis.row_keys import block_of as block_of
    from fssbench.analysis.row_keys import column_key as column_key
    from fssbench.analysis.row_keys import first_run as first_run
    from fssbench.analysis.row_keys import method_marks as method_marks
    from fssbench.analysis.row_keys import program_key as program_key
    from fssbench.analysis.row_keys import training_of as training_of
    from fssbench.analysis.row_names import full_name as full_name
    from fssbench.analysis.row_names import row_title as row_title
    from fssbench.analysis.row_names import with_names as with_names
    from fssbench.analysis.statistics import estimate_of_runs as estimate_of_runs
    from fssbench.analysis.statistics import mean_sample as mean_sample
    from fssbench.benchmarks.catalogue import BENCHMARKS as BENCHMARKS
    from fssbench.benchmarks.catalogue import find_benchmark as find_benchmark
    from fssbench.contracts.backbones import (
        Backbone as Backbone,
    )
    from fssbench.contracts.backbones import (
        Tap as Tap,
    )
    from fssbench.contracts.datasets import (
        IGNORE as IGNORE,
    )
    from fssbench.contracts.datasets import (
        Dataset as Dataset,
    )
    from fssbench.contracts.datasets import (
        DatasetCard as DatasetCard,
    )
    from fssbench.contracts.datasets import (
        Entry as Entry,
    )
    from fssbench.contracts.datasets import (
        Finding as Finding,
    )
    from fssbench.contracts.datasets import (
        OtherList as OtherList,
    )
    from fssbench.contracts.datasets import (
        Pool as Pool,
    )
    from fssbench.contracts.datasets import (
        Population as Population,
    )
    from fssbench.contracts.datasets import (
        Verification as Verification,
    )
    from fssbench.contracts.efficiency import (
        Efficiency as Efficiency,
    )
    from fssbench.contracts.efficiency import (
        Timing as Timing,
    )
    from fssbench.contracts.episodes import (
        Episode as Episode,
    )
    from fssbench.contracts.episodes import (
        Plan as Plan,
    )
    from fssbench.contracts.methods import (
        AT_INFERENCE as AT_INFERENCE,
    )
    from fssbench.contracts.methods import (
        AtInference as AtInference,
    )
    from fssbench.contracts.methods import (
        FeatureMethod as FeatureMethod,
    )
    from fssbench.contracts.methods import (
        Features as Features,
    )
    from fssbench.contracts.methods import (
        ImageMethod as ImageMethod,
    )
    from fssbench.contracts.methods import (
        Method as Method,
    )
    from fssbench.contracts.methods import (
        MethodCard as MethodCard,
    )
    from fssbench.contracts.methods import (
        MethodConfig as MethodConfig,
    )
    from fssbench.contracts.methods import (
        Predictor as Predictor,
    )
    from fssbench.contracts.methods import (
        Taps as Taps,
    )
    from fssbench.contracts.records import (
        Record as Record,
    )
    from fssbench.contracts.results import (
        Cell as Cell,
    )
    from fssbench.contracts.results import (
        Change as Change,
    )
    from fssbench.contracts.results import (
        Changes as Changes,
    )
    from fssbench.contracts.results import (
        Departure as Departure,
    )
    from fssbench.contracts.results import (
        Estimate as Estimate,
    )
    from fssbench.contracts.results import (
        Panel as Panel,
    )
    from fssbench.contracts.results import (
        Pictures as Pictures,
    )
    from fssbench.contracts.results import (
        Reporter as Reporter,
    )
    from fssbench.contracts.results import (
        Results as Results,
    )
    from fssbench.contracts.results import (
        RunResult as RunResult,
    )
    from fssbench.contracts.training import (
        Recipe as Recipe,
    )
    from fssbench.data.known_lists import ListJudgement as ListJudgement
    from fssbench.data.known_lists import coco_lines as coco_lines
    from fssbench.data.known_lists import fss_lines as fss_lines
    from fssbench.data.known_lists import judge_list as judge_list
    from fssbench.data.known_lists import pascal_lines as pascal_lines
    from fssbench.data.list_forms import describe_line as describe_line
    from fssbench.data.populations import size_marks as size_marks
    from fssbench.data.reference_lists import FOLDS as FOLDS
    from fssbench.data.reference_lists import cache_folder as cache_folder
    from fssbench.data.reference_lists import coco_file as coco_file
    from fssbench.data.reference_lists import read_coco as read_coco
    from fssbench.data.reference_lists import read_fss as read_fss
    from fssbench.data.reference_lists import read_pascal as read_pascal
    from fssbench.errors import (
        DataError as DataError,
    )
    from fssbench.errors import (
        FssbenchError as FssbenchError,
    )
    from fssbench.errors import (
        ListError as ListError,
    )
    from fssbench.errors import (
        PluginError as PluginError,
    )
    from fssbench.errors import (
        UsageError as UsageError,
    )
    from fssbench.errors import (
        unknown as unknown,
    )
    from fssbench.evidence import (
        LEAST_FREEDOM as LEAST_FREEDOM,
    )
    from fssbench.evidence import (
        LEAST_IN_CLASS as LEAST_IN_CLASS,
    )
    from fssbench.evidence import (
        MORE_QUERIES as MORE_QUERIES,
    )
    from fssbench.evidence import (
        TOO_FEW as TOO_FEW,
    )
    from fssbench.evidence import (
        distinct_episodes as distinct_episodes,
    )
    from fssbench.files.links import check_links as check_links
    from fssbench.files.listing import find_file as find_file
    from fssbench.files.listing import list_files as list_files
    from fssbench.files.listing import list_folder as list_folder
    from fssbench.files.text import read_lines as read_lines
    from fssbench.files.text import read_text as read_text
    from fssbench.images.gate import Judgement as Judgement
    from fssbench.images.gate import Kind as Kind
    from fssbench.images.gate import admit as admit
    from fssbench.images.gate import judge_file as judge_file
    from fssbench.images.gate import judge_image as judge_image
    from fssbench.images.gate import judge_pair as judge_pair
    from fssbench.images.jpeg_damage import find_jpeg_damage as find_jpeg_damage
    from fssbench.images.mask_values import THRESHOLD as THRESHOLD
    from fssbench.images.mask_values import judge_binary as judge_binary
    from fssbench.images.mask_values import judge_coded as judge_coded
    from fssbench.images.mask_values import judge_index as judge_index
    from fssbench.images.opening import read_size as read_size
    from fssbench.images.reading import open_image as open_image
    from fssbench.images.reading import read_binary as read_binary
    from fssbench.images.reading import read_codes as read_codes
    from fssbench.images.reading import read_grey as read_grey
    from fssbench.images.reading import read_index as read_index
    from fssbench.images.reading import read_rgb as read_rgb
    from fssbench.plugins.registry import METHODS as METHODS

API_VERSION = 1

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
