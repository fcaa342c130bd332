"""The reader of images and masks of a data set plugin, which run, train, check and panels all use.

A plugin may return anything.  A value that its contract does not allow is an error that names the data set and the
item, and never the method.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.datasets import IGNORE, Dataset
from fssbench.contracts.episodes import Episode
from fssbench.data.data_files import DataFiles
from fssbench.errors import DataError, DatasetContractError
from fssbench.images.judgements import (
    JudgementLevel,
    gather_doubts,
    judge_orientation,
    judge_pair,
    note_doubt,
    read_orientation,
)
from fssbench.images.reading import open_image
from fssbench.plugins.calls import plugin_call, shorten_message

_NEXT = "Next: `fssbench check` on the data set's plugin"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts that the reader remembers about an image after reading it."""

    size: tuple[int, int]
    """Width and height as stored."""
    doubts: frozenset[str]

    def as_notes(self) -> dict[str, str]:
        """Return the facts as texts, to be stored beside the features of the image."""
        width, height = self.size
        return {"size": f"{width} {height}", "doubts": " ".join(sorted(self.doubts))}

    @classmethod
    def parse(cls, notes: Mapping[str, str]) -> ImageFacts:
        """Read what `as_notes` returned."""
        width, height = map(int, notes["size"].split())
        return cls((width, height), frozenset(notes["doubts"].split()))


def judges_files(dataset: Dataset) -> bool:
    """Return whether a data set states that it judges its files itself.  A subclass must state it again."""
    return vars(type(dataset)).get("judges_files") is True


class Reader:
    """Checked images and masks of a data set, and the doubts about them.

    Args:
        dataset: the plugin.
        facts: facts about images that were read before, by data set and item; readers may share them.
        files: the data as they were hashed; the state of each file is compared after it was read.
    """

    def __init__(
        self,
        dataset: Dataset,
        facts: dict[Hashable, ImageFacts] | None = None,
        files: DataFiles | None = None,
    ) -> None:
        self.dataset = dataset
        self._facts = {} if facts is None else facts
        self._files = files
        self._place = (dataset.card.name, str(dataset.root), dataset.variant)
        self._mask_doubts: dict[tuple[str, int], frozenset[str]] = {}

    def image(self, item: str) -> Image.Image:
        """Read the image of an item, RGB.

        Raises:
            DataError: if it is damaged or must not be used.
            DatasetContractError: if the plugin returns anything but an RGB image.
        """
        with gather_doubts() as doubts:
            image = self._call(self.dataset.image, item)
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            got = f"mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            raise self._contract_error(
                item, f"`image` returned {got}, but must return a PIL image of mode RGB"
            )
        if (orientation := read_orientation(image)) != 1:
            judgement = judge_orientation(orientation, "image")
            raise DataError(f"{self._name_item(item)}: {judgement}{self._next}")
        self._facts[self._memory_key(item)] = ImageFacts(image.size, frozenset(doubts))
        return image

    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Read the mask (H, W) of an item for one of its classes: 0, 1 and 255, at its stored size.

        Raises:
            DataError: if the file is damaged, does not fit its image, or shows no pixel of the class.
            DatasetContractError: if the plugin returns anything but such a mask.
        """
        with gather_doubts() as doubts:
            mask = self._call(self.dataset.mask, item, class_id)
            self._check_form(item, class_id, mask)
            self._check_size(item, (mask.shape[1], mask.shape[0]))
            if not judges_files(self.dataset) and (mask == 1).all():
                note_doubt("full")  # a data set that judges its files knows whether a class may fill an image
        if not (mask == 1).any():
            raise DataError(self._explain_absent_class(item, class_id, mask))
        self._mask_doubts[item, class_id] = frozenset(doubts)
        return mask

    def shown_classes(self, item: str) -> frozenset[int]:
        """Return the ids of the classes that an item's label shows, as far as the data set can tell.

        Raises:
            DataError: if the file is damaged.
            DatasetContractError: if the plugin names something that is no class.
        """
        shown = frozenset(self._call(self.dataset.shown_classes, item))
        if strange := sorted(shown - self.dataset.classes().keys(), key=str):
            raise self._contract_error(
                item, f"`shown_classes` names {strange[0]!r}, which is no class of the data set"
            )
        return shown

    def doubts(self, episode: Episode) -> tuple[str, ...]:
        """Return the sorted kinds of doubt about the images and masks of an episode; they depend on the files alone."""
        kinds: set[str] = set()
        for item in (episode.query, *episode.supports):
            if (item, episode.class_id) not in self._mask_doubts:
                self.mask(item, episode.class_id)
            kinds |= self.recall(item).doubts | self._mask_doubts[item, episode.class_id]
        return tuple(sorted(kinds))

    def remember(self, item: str, facts: ImageFacts) -> None:
        """Note what an earlier reading of an image told, so that it need not be read again."""
        self._facts[self._memory_key(item)] = facts

    def recall(self, item: str) -> ImageFacts:
        """Return the facts about an image; read the image if its features came from a file."""
        if self._memory_key(item) not in self._facts:
            self.image(item)
        return self._facts[self._memory_key(item)]

    def _memory_key(self, item: str) -> Hashable:
        """Return the key of a remembered image.  The content is part of it: a file may change between two plans."""
        return self._place, item, self._files.content(item) if self._files else None

    def _check_form(self, item: str, class_id: int, mask: Any) -> None:
        expected = "but must be uint8 (H, W) with values 0, 1 and 255 (ignored)"
        # not `isinstance`: a masked array or a matrix computes by other rules
        if type(mask) is not np.ndarray or mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size:
            got = f"{mask.dtype} {mask.shape}" if type(mask) is np.ndarray else type(mask).__name__
            raise self._contract_error(
                item, f"the result of `mask` for class {class_id} is {got}, {expected}"
            )
        if int((mask + np.uint8(1)).max()) > 2:  # 255 becomes 0
            bad_values = [v for v in np.unique(mask).tolist() if v not in {0, 1, IGNORE}]
            shown = ", ".join(map(str, bad_values[:6])) + (" ..." if len(bad_values) > 6 else "")
            raise self._contract_error(
                item, f"the result of `mask` for class {class_id} has the values {shown}, {expected}"
            )

    def _check_size(self, item: str, size: tuple[int, int]) -> None:
        """Compare the size of a mask with that of its image.  The stored files show which of the two is wrong."""
        expected = self.recall(item).size
        if size == expected:
            return
        as_released = self._call(self.dataset.resizes_mask, item) is True
        judgement = judge_pair(expected, size, as_released=as_released)[0]
        if judgement.level == JudgementLevel.DOUBT:
            note_doubt(judgement.kind)
            return
        stored = self._stored_sizes(item)
        name = next((name for name, stored_size in stored[1:] if stored_size == size), None)
        if name is None or stored[0][1] == size:
            raise self._contract_error(
                item, f"{judgement.problem}, and no file of the item has the size of the mask"
            )
        raise DataError(f"{name}: {judgement}{self._next}")

    def _stored_sizes(self, item: str) -> list[tuple[str, tuple[int, int]]]:
        """Return names and sizes of those files of an item that are pictures."""
        sizes = []
        for path in self._call(self.dataset.files, item):
            try:
                sizes.append((str(path), open_image(path).size))
            except DataError:
                continue
        return sizes or [("", (0, 0))]

    def _explain_absent_class(self, item: str, class_id: int, mask: NDArray[np.uint8]) -> str:
        """Return the error text for a mask without its class."""
        try:
            stored = f"the highest value of its label map is {int(np.max(self.dataset.label(item)))}"
        except Exception:  # a plugin may raise anything, and need not have a label map
            stored = f"the highest value of its mask is {int(mask.max())}"
        with plugin_call(f"data set {self.dataset.card.name!r} cannot name its classes:"):
            name = self.dataset.classes().get(class_id, "unknown")
        return (
            f"{self._name_item(item)} is listed for class {class_id} ({name}), but no pixel of its mask has that "
            f"class: {stored}. In a mask, 1 is the class, 0 is background and {IGNORE} is ignored{self._next}"
        )

    def _call(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """Call the plugin; an exception of the plugin becomes an error that names the item."""
        try:
            with plugin_call(
                f"{self._name_place(arguments[0])}:",
                kind=DatasetContractError,
                passes=(MemoryError, OSError),
                hint=_NEXT,
            ):
                value = read(*arguments)
            if self._files is not None:
                self._files.check(arguments[0])
            return value
        except (MemoryError, OSError) as error:
            raise DataError(
                f"{self._name_item(arguments[0])}: {shorten_message(error)}{self._next}"
            ) from error
        except DataError as error:
            if Path(arguments[0]).stem in str(error):
                raise
            raise type(error)(f"{self._name_item(arguments[0])}: {error}") from error

    def _contract_error(self, item: str, problem: str) -> DatasetContractError:
        return DatasetContractError(f"{self._name_place(item)}: {problem}. {_NEXT}")

    def _name_place(self, item: str) -> str:
        return f"data set {self.dataset.card.name!r}, item {item!r}"

    def _name_item(self, item: str) -> str:
        return f"item {item!r} of {self.dataset.card.name}"

    @property
    def _next(self) -> str:
        return f". Next: `fssbench data verify {self.dataset.card.name}`"


@dataclass(frozen=True)
class Target:
    """The ground truth of a query, at the size at which it is scored."""

    foreground: NDArray[np.bool_]
    """(H, W)"""
    ignored: NDArray[np.bool_] | None
    """(H, W), or None if no pixel is ignored."""

    @property
    def pixels(self) -> int:
        """Number of foreground pixels."""
        return int(np.count_nonzero(self.foreground))
