"""Addresses, hashes and terms of the built-in data sets.

The owners publish no hashes.  Those below were published by others who had downloaded the files: torchvision,
TensorFlow Datasets and torch-em.  A file without a published hash has none here.
"""

from __future__ import annotations

from fssbench.api import Archive, Downloads

_TFDS = "TensorFlow Datasets, url_checksums"
_TORCHVISION = "torchvision, prototype.datasets"
_TORCH_EM = "torch-em, isic.py"
_PICTURES = ("*.jpg", "*.jpeg", "*.png", "*.bmp", "*.JPG", "*.JPEG", "*.PNG", "*.BMP")

PASCAL = Downloads(
    archives=(
        Archive(
            file="VOCtrainval_11-May-2012.tar",
            url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            size=1_999_639_040,
            sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
            published_by=_TFDS,
            keep=("*/JPEGImages/*.jpg", "*/SegmentationClass/*.png", "*/ImageSets/Segmentation/*.txt"),
        ),
        Archive(
            file="benchmark.tgz",
            url=(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
            ),
            sha256="6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
            published_by=_TORCHVISION,
            keep=("*/dataset/cls/*.mat",),
        ),
    ),
    licence=(
        "VOC 2012: the images are from Flickr, under Flickr's terms of use; see "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/. SBD: no licence is stated; its authors ask for a citation of "
        "Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011"
    ),
    prepared=True,
)

COCO = Downloads(
    archives=(
        Archive(
            file="annotations_trainval2014.zip",
            url="http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
            size=252_872_794,
            sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
            published_by=_TFDS,
            keep=("annotations/instances_*.json",),
        ),
        Archive(
            file="val2014.zip",
            url="http://images.cocodataset.org/zips/val2014.zip",
            size=6_645_013_297,
            sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
            published_by=_TFDS,
            keep=("val2014/*.jpg",),
        ),
        Archive(
            file="train2014.zip",
            url="http://images.cocodataset.org/zips/train2014.zip",
            size=13_510_573_713,
            sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
            published_by=_TFDS,
            keep=("train2014/*.jpg",),
        ),
    ),
    licence=(
        "Annotations: CC BY 4.0. The images belong to their photographers and are under Flickr's terms of use; see "
        "https://cocodataset.org/#termsofuse"
    ),
    prepared=True,
    modules=("pycocotools",),
    extra="coco",
)

ISIC2018 = Downloads(
    archives=(
        Archive(
            file="class_id.csv",
            url=(
                "https://raw.githubusercontent.com/slei109/PATNet/0df31d02629e82b650964fbb99000ec5f1223308/"
                "data/isic/class_id.csv"
            ),
        ),
        Archive(
            file="ISIC2018_Task1_Training_GroundTruth.zip",
            url="https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1_Training_GroundTruth.zip",
            sha256="99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
            published_by=_TORCH_EM,
            keep=_PICTURES,
        ),
        Archive(
            file="ISIC2018_Task1-2_Training_Input.zip",
            url="https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1-2_Training_Input.zip",
            size=11_165_358_566,
            sha256="80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
            published_by=_TORCH_EM,
            keep=_PICTURES,
        ),
    ),
    licence=(
        "CC-0 or CC BY-NC by file, as the ISIC archive states on https://challenge.isic-archive.com/data/#2018; cite "
        "Codella et al., arXiv:1902.03368, and Tschandl et al., Scientific Data 2018. The table of classes is from the "
        "repository of PATNet, which states no licence"
    ),
    prepared=True,
)

SUIM = Downloads(
    archives=(Archive(file="SUIM.zip", keep=_PICTURES),),
    licence="MIT, as stated in xahidbuffon/SUIM; cite Islam et al., IROS 2020",
    steps=(
        "open https://irvlab.cs.umn.edu/resources/suim-dataset, which links to a folder of Google Drive",
        "download SUIM.zip, or train_val.zip and TEST.zip: Google Drive has no address for programs",
    ),
)

FSS1000 = Downloads(
    archives=(Archive(file="fewshot_data.zip", keep=_PICTURES),),
    licence="the owners state none; see https://github.com/HKUSTCV/FSS-1000; cite Li et al., CVPR 2020",
    steps=(
        "open https://github.com/HKUSTCV/FSS-1000, which links to a file of Google Drive",
        "download the zip: Google Drive has no address for programs",
    ),
)

DEEPGLOBE = Downloads(
    archives=(Archive(file="archive.zip", keep=("*_sat.jpg", "*_mask.png")),),
    licence=(
        "DigitalGlobe Internal Use License (research and education); see the rules at https://deepglobe.org; "
        "cite Demir et al., CVPR Workshops 2018"
    ),
    steps=(
        "log in to Kaggle and accept the terms of "
        "https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset",
        "download the zip; its folder `train` has the 803 labelled tiles",
    ),
    prepared=True,
)

CHESTXRAY = Downloads(
    archives=(Archive(file="archive.zip", keep=("*.png",)),),
    licence=(
        "public release of the U.S. National Library of Medicine; cite Jaeger et al., Quant. Imaging Med. Surg. 2014, "
        "and Candemir et al., IEEE TMI 2014"
    ),
    steps=(
        "log in to Kaggle and open https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
        "download the zip; its folder `Lung Segmentation` has CXR_png and masks",
    ),
)

SPLITS = Downloads(
    archives=(
        Archive(
            file="hsnet.zip",
            url="https://codeload.github.com/juhongm999/hsnet/zip/0cc481c9c6392a81112c2e1b41773daa6837d66b",
            keep=("*/data/splits/*.txt", "*/data/splits/*.pkl"),
        ),
    ),
    licence=(
        "lists of images from the repository of HSNet (https://github.com/juhongm999/hsnet); cite Min et al., ICCV 2021"
    ),
    folder="splits",
)
