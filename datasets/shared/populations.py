"""Published sizes of the seven data sets, by data set, variant and split."""

from __future__ import annotations

from fssbench.api import Population

_HSNET = "lists of juhongm999/hsnet, counted"
_FSS = "HKUSTCV/FSS-1000: 1,000 classes of ten images, split 520, 240, 240"
_NLM = "National Library of Medicine: 566 Shenzhen masks, 138 Montgomery masks"
_SUIM = "xahidbuffon/SUIM: 1,525 images for training and validation, 110 for test"

FSS_CLASSES = {"trn": (0, 520), "val": (520, 240), "test": (760, 240)}
"""First class id and number of classes of each split of FSS-1000, in the reference numbering."""
FSS_IMAGES = 10
"""Images of each class of FSS-1000."""


def _fss(split: str) -> Population:
    classes = FSS_CLASSES[split][1]
    total = classes * FSS_IMAGES
    return Population(total, total, images_by_class=(FSS_IMAGES,) * classes, source=_FSS)


POPULATIONS: dict[tuple[str, str | None, str], Population] = {
    ("pascal", None, "trn"): Population(entries=13_680, images=10_092, source=_HSNET),
    ("pascal", None, "val"): Population(entries=1_868, images=1_381, source=_HSNET),
    # a class of a trn list stands in three of the four folds: a third of their lengths together
    ("coco", None, "trn"): Population(entries=170_491, source=_HSNET),
    ("coco", None, "val"): Population(entries=82_573, images=39_059, source=_HSNET),
    **{("fss1000", None, split): _fss(split) for split in FSS_CLASSES},
    # the published script gives about 9,174 patches, and no list of either number exists
    ("deepglobe", None, "test"): Population(entries=5_666, least=True, source="the PATNet paper"),
    ("isic2018", "isic1", "test"): Population(
        entries=2_594, images=2_594, source="training images of ISIC 2018, task 1"
    ),
    ("isic2018", "isic3", "test"): Population(
        entries=2_594,
        images=2_594,
        images_by_class=(1_867, 519, 208),
        source="slei109/PATNet, data/isic/class_id.csv: nevus, melanoma, seborrheic keratosis",
    ),
    ("chestxray", "lung566", "test"): Population(entries=566, images=566, source=_NLM),
    ("chestxray", "lung704", "test"): Population(entries=704, images=704, source=_NLM),
    ("suim", "suim7", "test"): Population(entries=3_859, source="Vision-Kek/ABCDFSS, merged form, counted"),
    # with open water every image shows a class; nobody states how many entries that makes
    ("suim", "suim8", "test"): Population(images=1_635, source=_SUIM),
}


def population(dataset: str, variant: str | None, split: str) -> Population:
    """The published size of a split of a data set."""
    return POPULATIONS[dataset, variant, split]
