"""Definitions of the ten benchmarks of the PMNet paper (WACV 2024).

Class ids are 0-based and follow the numbering of the reference code of the data set.  `pitfalls` lists what a
reader has to know before comparing two numbers.
"""

from __future__ import annotations

from fssbench.contracts.benchmarks import Benchmark, Folds, Source, Variant

SQUARE_RESIZE = (
    "image: bilinear with antialias to the square, aspect ratio not kept, ImageNet mean and deviation; "
    "mask: nearest (floor index); scored at the square size"
)
SUMMED_METER = (
    "intersection and union are summed per class over the episodes, IoU is their quotient with the union "
    "at least 1, mIoU the mean over the fold's classes; FB-IoU sums over all episodes, for background and "
    "foreground, and takes the mean of the two"
)
SQUARE_PITFALL = (
    "scored on the resized square mask, which is easier than scoring at native size; methods of the PFENet "
    "line (473 px, aspect kept, padded) score natively and draw other episodes"
)
WEIGHTS_PITFALL = (
    "published rows differ in the ImageNet weights of the same backbone name (torchvision V1 or V2, timm "
    "a1h, deep-stem ResNet)"
)

BLOCKS_OF_5: Folds = tuple(tuple(range(5 * f, 5 * f + 5)) for f in range(4))
COCO_INTERLEAVED: Folds = tuple(tuple(range(f, 80, 4)) for f in range(4))
COCO_CONTIGUOUS: Folds = tuple(tuple(range(20 * f, 20 * f + 20)) for f in range(4))
FSS_TEST: tuple[int, ...] = tuple(range(760, 1000))


def _list_training_classes(folds: Folds) -> Folds:
    """For each fold, return the classes of all other folds: the training classes."""
    every = sorted(c for fold in folds for c in fold)
    return tuple(tuple(c for c in every if c not in fold) for fold in folds)


PASCAL = Source(dataset="pascal", folds=(tuple(range(20)),))
PASCAL_5I = Source(dataset="pascal", folds=_list_training_classes(BLOCKS_OF_5))
COCO_20I = Source(dataset="coco", folds=_list_training_classes(COCO_INTERLEAVED))


_BOUDIAF: Folds = ((0, 3, 8, 10, 11, 14), (1, 5, 12, 17), (2, 6, 15, 16, 18, 19), (4, 7, 9, 13))
"""VOC class ids by fold.  The same class of COCO is held out in that fold of COCO-20i, hence unseen in training."""


def _list_seen_classes(tested: Folds) -> Folds:
    """Return the tested VOC class ids by fold whose COCO class is part of the training on that fold."""
    return tuple(tuple(v for v in fold if v not in _BOUDIAF[f]) for f, fold in enumerate(tested))


_HSNET = "released HSNet code (juhongm999/hsnet): data sets, sampler and meter"
_PATNET = "released PATNet code (slei109/PATNet): data sets, sampler and meter"

RECORDS: tuple[Benchmark, ...] = (
    Benchmark(
        id="pascal5i",
        version=1,
        title="PASCAL-5i",
        category="cross-category",
        source="PASCAL VOC 2012 with SBD masks: the 15 classes of the other three folds",
        trained_on=PASCAL_5I,
        target="pascal",
        split="val",
        folds=BLOCKS_OF_5,
        shots=(1, 5),
        episodes=1000,
        size=400,
        sampler="walk",
        absent="zero",
        protocol="published/1",
        paper=("table1", "table6"),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + "; pixels marked 255 in the query's mask count nowhere",
        origin=_HSNET,
        pitfalls=(
            "episodes follow the list of image-class pairs (346, 451, 725, 346) and start again at its end, so its "
            "first pairs are used once more than the others; in fold 2, 378 of the 725 pairs are persons",
            "the published checkpoints were chosen on the same 1,000 episodes: they are validation numbers",
            SQUARE_PITFALL,
            WEIGHTS_PITFALL,
            "supports are drawn independently: one image may occur twice among five",
            "the PMNet paper trains and tests at 384 px; here the protocol's 400 px holds for every method",
        ),
    ),
    Benchmark(
        id="coco20i",
        version=1,
        title="COCO-20i",
        category="cross-category",
        source="COCO 2014 train: the 60 classes of the other three folds",
        trained_on=COCO_20I,
        target="coco",
        split="val",
        folds=COCO_INTERLEAVED,
        shots=(1, 5),
        episodes=1000,
        size=400,
        sampler="class",
        absent="zero",
        protocol="published/1",
        variants=(
            Variant(
                name="interleaved", title="fold f tests the classes f, f+4, ..., f+76 (HSNet, PMNet, PFENet)"
            ),
            Variant(
                name="contiguous",
                title="fold f tests the block of classes 20f to 20f+19 (PANet, SSP's own protocol)",
                folds=COCO_CONTIGUOUS,
                trained_on=Source(dataset="coco", folds=_list_training_classes(COCO_CONTIGUOUS)),
            ),
        ),
        paper=("table1",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER,
        origin=_HSNET,
        pitfalls=(
            "two fold definitions share the name; a model trained on one and tested on the other has seen "
            "test classes (the SSP rows of the table may be such a case)",
            "the source of the masks changes the numbers: polygons merged by different scripts give different masks",
            "released lists differ (PMNet's lack files that were missing on the authors' disk), and a list "
            "that differs in length changes every later episode",
            "50 episodes per class: the published figure of one run changes by 2 to 3 points with the seed",
            SQUARE_PITFALL,
            WEIGHTS_PITFALL,
        ),
    ),
    Benchmark(
        id="fss1000",
        version=1,
        title="FSS-1000",
        category="cross-category",
        source="FSS-1000: the 520 training classes",
        trained_on=Source(dataset="fss1000", folds=(tuple(range(520)),)),
        target="fss1000",
        split="test",
        folds=(FSS_TEST,),
        shots=(1, 5),
        episodes=2400,
        size=400,
        sampler="walk-numbered",
        absent="zero",
        protocol="published/1",
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + " (the 240 test classes)",
        origin=_HSNET,
        pitfalls=(
            "five supports come from nine candidates with replacement: only a quarter of the 5-shot episodes "
            "hold five different images",
            "some later papers evaluate on the 240 validation classes under this name",
            "the paper's own figures for this task are in its supplement, not in its tables",
        ),
    ),
    Benchmark(
        id="coco20i-to-pascal5i",
        version=1,
        title="COCO-20i to PASCAL-5i",
        category="cross-dataset",
        source="COCO 2014 train, one model per interleaved fold (60 classes each)",
        trained_on=COCO_20I,
        target="pascal",
        split="val",
        folds=_BOUDIAF,
        shots=(1, 5),
        episodes=1000,
        size=400,
        sampler="walk",
        absent="zero",
        protocol="published/1",
        variants=(
            Variant(
                name="boudiaf",
                title="fold f tests the VOC classes held out of training on COCO fold f (RePRI: 6, 4, 6, 4)",
                folds=_BOUDIAF,
                seen=_list_seen_classes(_BOUDIAF),
            ),
            Variant(
                name="naive5i",
                title="fold f tests fold f of PASCAL-5i; COCO training included most of its classes",
                folds=BLOCKS_OF_5,
                seen=_list_seen_classes(BLOCKS_OF_5),
            ),
        ),
        paper=("table2",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + "; pixels marked 255 in the query's mask count nowhere",
        origin="definition of Boudiaf et al. (RePRI, CVPR 2021), re-derived from the class ids; no code of "
        "the HSNet line was released, so queries walk the four validation lists in fold order",
        pitfalls=(
            "PMNet's row has the fold profile of the folds of PASCAL-5i (naive5i), the other rows that of "
            "boudiaf: the published table probably mixes both",
            "RePRI's released class table swaps cat and car, so its folds 2 and 3 each test one class seen "
            "in training",
            "without a reference stream the episodes are ours; only the class sets are published",
            WEIGHTS_PITFALL,
        ),
    ),
    Benchmark(
        id="coco20i-to-fss1000",
        version=1,
        title="COCO-20i to FSS-1000",
        category="cross-dataset",
        source="COCO 2014 train, one model per fold (60 classes each)",
        trained_on=COCO_20I,
        target="fss1000",
        split="test",
        folds=(FSS_TEST,) * 4,
        shots=(1,),
        episodes=2400,
        size=400,
        sampler="walk-numbered",
        absent="zero",
        protocol="published/1",
        paper=("table4",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + " (the 240 test classes)",
        origin="PMNet paper (Table 4, after RTD); episodes as FSS-1000 in the released HSNet code",
        pitfalls=(
            "the fold names the source model: all four test the same classes in the same episodes",
            "many FSS-1000 classes are COCO classes under another name; none is left out",
            "only 1-shot figures are published, and no reference code",
        ),
    ),
    Benchmark(
        id="pascal-to-fss1000",
        version=1,
        title="PASCAL to FSS-1000",
        category="cross-dataset",
        source="all of PASCAL VOC 2012 with SBD masks (20 classes)",
        trained_on=PASCAL,
        target="fss1000",
        split="test",
        folds=(FSS_TEST,),
        shots=(1, 5),
        episodes=2400,
        size=400,
        sampler="walk-numbered",
        absent="zero",
        protocol="published/1",
        paper=("table3",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + " (the 240 test classes)",
        origin=_PATNET,
        pitfalls=(
            "PATNet chooses its checkpoint on the 240 validation classes; IFA and its followers report those "
            "classes instead of the test classes",
            "five supports come from nine candidates with replacement: most 5-shot episodes repeat an image",
        ),
    ),
    Benchmark(
        id="pascal-to-deepglobe",
        version=1,
        title="PASCAL to DeepGlobe",
        category="cross-domain",
        source="all of PASCAL VOC 2012 with SBD masks (20 classes)",
        trained_on=PASCAL,
        target="deepglobe",
        split="test",
        folds=(tuple(range(6)),),
        shots=(1, 5),
        episodes=600,
        size=400,
        sampler="round-robin",
        absent="zero",
        protocol="published/1",
        paper=("table3",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER,
        origin=_PATNET,
        pitfalls=(
            "no list of the patches was published: the script yields about 9,174 patches, the paper says "
            "5,666, the authors' archive holds another number; no two groups share episodes",
            "patches are JPEG-encoded again by the cutting script, so pixels depend on the encoder",
            "a copy of the script in another repository reads the water colour in the wrong channel order "
            "and loses that class",
            "IFA's and DCDNet's figures here are in effect FB-IoU: one class id is applied to a whole batch "
            "and the background is averaged in",
        ),
    ),
    Benchmark(
        id="pascal-to-isic2018",
        version=1,
        title="PASCAL to ISIC2018",
        category="cross-domain",
        source="all of PASCAL VOC 2012 with SBD masks (20 classes)",
        trained_on=PASCAL,
        target="isic2018",
        split="test",
        folds=((0,),),
        shots=(1, 5),
        episodes=600,
        size=400,
        sampler="round-robin",
        absent="zero",
        protocol="published/1",
        variants=(
            Variant(
                name="isic1",
                title="all lesions are one class (PMNet)",
                dataset_variant="isic1",
                folds=((0,),),
            ),
            Variant(
                name="isic3",
                title="three lesion classes, a third of the episodes each (PATNet and followers)",
                dataset_variant="isic3",
                folds=((0, 1, 2),),
            ),
        ),
        paper=("table3",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER,
        origin=_PATNET + "; the one-class form from the PMNet paper, section 4.1",
        pitfalls=(
            "one class and three classes are different tasks: PMNet's row is isic1, every other row of the "
            "table isic3; they do not belong in one column",
            "which folder is which lesion class was never stated; repositories disagree, mIoU hardly moves, "
            "the episodes do",
            "in isic3, seborrheic keratosis is 8 % of the images and a third of the episodes",
            "some repositories first store the images as 512 px JPEG",
            "IFA's and DCDNet's figures here are in effect FB-IoU",
        ),
    ),
    Benchmark(
        id="pascal-to-chestxray",
        version=1,
        title="PASCAL to Chest X-ray",
        category="cross-domain",
        source="all of PASCAL VOC 2012 with SBD masks (20 classes)",
        trained_on=PASCAL,
        target="chestxray",
        split="test",
        folds=((0,),),
        shots=(1, 5),
        episodes=600,
        size=400,
        sampler="round-robin",
        absent="zero",
        protocol="published/1",
        variants=(
            Variant(
                name="lung566",
                title="the 566 Shenzhen radiographs (PATNet, PMNet)",
                dataset_variant="lung566",
            ),
            Variant(
                name="lung704",
                title="Shenzhen and the 138 Montgomery radiographs (DMTNet, DR-Adapter, INSID3)",
                dataset_variant="lung704",
            ),
        ),
        paper=("table3",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER,
        origin=_PATNET,
        pitfalls=(
            "two populations share the name, and every draw depends on the population's size",
            "one class, so mIoU is the pooled foreground IoU; some report a mean with the background instead",
            "the published description (58 tuberculosis cases, 80 normal) is that of the Montgomery set",
        ),
    ),
    Benchmark(
        id="pascal5i-to-suim",
        version=1,
        title="PASCAL-5i to SUIM",
        category="cross-domain",
        source="PASCAL VOC 2012 with SBD masks, one model per PASCAL-5i fold (15 classes each)",
        trained_on=PASCAL_5I,
        target="suim",
        split="test",
        folds=(tuple(range(7)),) * 4,
        shots=(1,),
        episodes=600,
        size=400,
        sampler="round-robin",
        absent="zero",
        protocol="published/1",
        variants=(
            Variant(
                name="suim7",
                title="seven classes, open water left out (ABCDFSS)",
                dataset_variant="suim7",
                folds=(tuple(range(7)),) * 4,
            ),
            Variant(
                name="suim8",
                title="eight classes, open water included (the data set's own count)",
                dataset_variant="suim8",
                folds=(tuple(range(8)),) * 4,
            ),
        ),
        paper=("table5",),
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER,
        origin="PMNet paper (Table 5, after RTD), which states neither classes, split nor episode count; "
        "listing and class order as in ABCDFSS, 600 episodes as in the other cross-domain sets",
        pitfalls=(
            "the paper's protocol is unpublished: its figures are a rough comparison, not a target",
            "the fold names the source model: all four test the same classes in the same episodes",
            "the 110 official test images alone are easier than all 1,635; all are used here",
            "ABCDFSS, CPS and INSID3 run one source-free model over another number of episodes",
        ),
    ),
)
