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
        MEAN_COLUMNS as MEAN_COLUMNS,
        RUN_COLUMNS as RUN_COLUMNS,
        Column as Column,
        column_names as column_names,
    )
    from fssbench.analysis.comparisons import (
        Pair as Pair,
        turn_pair as turn_pair,
        verdicts as verdicts,
    )
    from fssbench.analysis.frames import (
        list_episode_columns as list_episode_columns,
        make_episode_table as make_episode_table,
        make_mean_table as make_mean_table,
        make_run_table as make_run_table,
        make_sensitivity_table as make_sensitivity_table,
        make_support_choice_table as make_support_choice_table,
        name_runs as name_runs,
    )
    from fssbench.analysis.matching import (
        comparable as comparable,
        differs as differs,
        restrict_to as restrict_to,
    )
    from fssbench.analysis.results_file import RESULTS_FILE as RESULTS_FILE, write_results as write_results
    from fssbench.analysis.rivals import (
        explain_pretraining as explain_pretraining,
        group_rivals as group_rivals,
        name_weights as name_weights,
        stands_apart as stands_apart,
    )
    from fssbench.analysis.row_keys import (
        column_key as column_key,
        first_run as first_run,
        method_marks as method_marks,
        program_key as program_key,
        training_of as training_of,
    )
    from fssbench.analysis.row_names import (
        full_name as full_name,
        row_title as row_title,
        with_names as with_names,
    )
    from fssbench.analysis.sensitivity import (
        Dependence as Dependence,
        Sensitivity as Sensitivity,
        compute_sensitivity as compute_sensitivity,
    )
    from fssbench.analysis.statistics import (
        estimate_miou_of_runs as estimate_miou_of_runs,
        estimate_of_runs as estimate_of_runs,
        mean_sample as mean_sample,
    )
    from fssbench.analysis.strata import (
        Split as Split,
        Stratum as Stratum,
        compute_episode_ious as compute_episode_ious,
        count_unknown_support_sizes as count_unknown_support_sizes,
        name_strata as name_strata,
        split_cells as split_cells,
    )
    from fssbench.analysis.support_choice import (
        SupportChoice as SupportChoice,
        compute_support_choices as compute_support_choices,
    )
    from fssbench.benchmarks.catalogue import (
        BENCHMARKS as BENCHMARKS,
        find_benchmark as find_benchmark,
        find_plan_benchmark as find_plan_benchmark,
    )
    from fssbench.contracts.ablations import Ablation as Ablation
    from fssbench.contracts.backbones import (
        STANDARD as STANDARD,
        Backbone as Backbone,
        BackboneCard as BackboneCard,
        PublishedWeights as PublishedWeights,
        Tap as Tap,
    )
    from fssbench.contracts.companions import Companion as Companion
    from fssbench.contracts.datasets import (
        IGNORE as IGNORE,
        Dataset as Dataset,
        DatasetCard as DatasetCard,
        Entry as Entry,
        Finding as Finding,
        FindingLevel as FindingLevel,
        OtherList as OtherList,
        Pool as Pool,
        Population as Population,
        Verification as Verification,
    )
    from fssbench.contracts.downloads import Archive as Archive, Downloads as Downloads
    from fssbench.contracts.efficiency import (
        Efficiency as Efficiency,
        Timing as Timing,
    )
    from fssbench.contracts.encoding import EncodingMethod as EncodingMethod
    from fssbench.contracts.episodes import (
        Episode as Episode,
        Plan as Plan,
    )
    from fssbench.contracts.lists import ListFormat as ListFormat, PublishedList as PublishedList
    from fssbench.contracts.marks import Mark as Mark, MarkKind as MarkKind, parse_mark as parse_mark
    from fssbench.contracts.method_card import (
        NO_REFERENCE as NO_REFERENCE,
        Information as Information,
        MethodCard as MethodCard,
    )
    from fssbench.contracts.methods import (
        AT_INFERENCE as AT_INFERENCE,
        AtInference as AtInference,
        FeatureMethod as FeatureMethod,
        Features as Features,
        ImageMethod as ImageMethod,
        Method as Method,
        MethodConfig as MethodConfig,
        Taps as Taps,
    )
    from fssbench.contracts.notes import Note as Note
    from fssbench.contracts.pixel_loss import pixel_loss as pixel_loss
    from fssbench.contracts.prediction import Predictor as Predictor, select_support as select_support
    from fssbench.contracts.records import (
        Record as Record,
    )
    from fssbench.contracts.resamples import PAIR_RESAMPLES as PAIR_RESAMPLES
    from fssbench.contracts.results import (
        Cell as Cell,
        Change as Change,
        Changes as Changes,
        Departure as Departure,
        Estimate as Estimate,
        Panel as Panel,
        Pictures as Pictures,
        Reporter as Reporter,
        Results as Results,
        RunResult as RunResult,
    )
    from fssbench.contracts.run_manifest import (
        Context as Context,
        Identity as Identity,
        RunManifest as RunManifest,
    )
    from fssbench.contracts.training import (
        PartRecipe as PartRecipe,
        Recipe as Recipe,
        Stage as Stage,
        Supervision as Supervision,
    )
    from fssbench.contracts.wrapping import wrap as wrap
    from fssbench.data.list_files import (
        load_plain_json as load_plain_json,
        load_plain_pickle as load_plain_pickle,
        read_list_lines as read_list_lines,
        shorten_line as shorten_line,
    )
    from fssbench.data.list_formats import describe_line as describe_line
    from fssbench.data.list_judgement import ListJudgement as ListJudgement, judge_list as judge_list
    from fssbench.data.populations import find_size_marks as find_size_marks
    from fssbench.errors import (
        DataError as DataError,
        FssbenchError as FssbenchError,
        LackingError as LackingError,
        ListError as ListError,
        PluginError as PluginError,
        UsageError as UsageError,
        make_unknown_error as make_unknown_error,
        unknown as unknown,
    )
    from fssbench.evidence import (
        LEAST_FREEDOM as LEAST_FREEDOM,
        LEAST_IN_CLASS as LEAST_IN_CLASS,
        MORE_QUERIES as MORE_QUERIES,
        TOO_FEW as TOO_FEW,
        distinct_episodes as distinct_episodes,
        format_p as format_p,
    )
    from fssbench.files.atomic import replace_file as replace_file
    from fssbench.files.cache import cache_folder as cache_folder
    from fssbench.files.clean_text import clean_line as clean_line, guard_formula as guard_formula
    from fssbench.files.hashing import (
        State as State,
        hash_present_file as hash_present_file,
        read_file_state as read_file_state,
    )
    from fssbench.files.links import check_links as check_links
    from fssbench.files.listing import (
        find_file as find_file,
        list_files as list_files,
        list_folder as list_folder,
    )
    from fssbench.files.plain_names import make_plain_name as make_plain_name
    from fssbench.files.text import read_lines as read_lines, read_text as read_text
    from fssbench.forks import Fork as Fork
    from fssbench.images.coco_regions import (
        check_segmentation as check_segmentation,
        decode_region as decode_region,
        has_region as has_region,
    )
    from fssbench.images.jpeg_damage import find_jpeg_damage as find_jpeg_damage
    from fssbench.images.judgements import (
        Judgement as Judgement,
        JudgementLevel as JudgementLevel,
        Kind as Kind,
        act_on_judgements as act_on_judgements,
        admit_released as admit_released,
        judge_file as judge_file,
        judge_image as judge_image,
        judge_pair as judge_pair,
        note_doubt as note_doubt,
    )
    from fssbench.images.mask_values import (
        THRESHOLD as THRESHOLD,
        judge_binary as judge_binary,
        judge_coded as judge_coded,
        judge_index as judge_index,
    )
    from fssbench.images.opening import FORMATS as FORMATS, read_size as read_size
    from fssbench.images.reading import (
        MEAN as MEAN,
        STD as STD,
        open_image as open_image,
        read_binary as read_binary,
        read_codes as read_codes,
        read_grey as read_grey,
        read_index as read_index,
        read_rgb as read_rgb,
    )
    from fssbench.plugins.method_cards import read_method_card as read_method_card
    from fssbench.plugins.registry import METHODS as METHODS, name_data_folder as name_data_folder
    from fssbench.plural import describe_count as describe_count
    from fssbench.runs.mark_legend import (
        MARK_MEANINGS as MARK_MEANINGS,
        LegendMark as LegendMark,
        build_legend as build_legend,
        mark_kind as mark_kind,
        mark_letters as mark_letters,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
