"""The work of a prediction: finds what is missing in the folder, segments it, and writes table and contact sheet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from fssbench import __version__
from fssbench.errors import DataError, FssbenchError, PluginError
from fssbench.evaluation.read_ahead import ReadAhead
from fssbench.evaluation.support_effect import measure_effect
from fssbench.files.hashing import hash_present_file, read_file_state
from fssbench.plugins.calls import is_built_in
from fssbench.plural import describe_count
from fssbench.prediction.contact_sheet import SheetFacts, write_sheet
from fssbench.prediction.differences import Look, find_differences
from fssbench.prediction.folder import PredictionFolder, find_place
from fssbench.prediction.image_files import ImageFile, Listing
from fssbench.prediction.layout import TABLE, OutputNames, list_output_files
from fssbench.prediction.pictures import (
    OVERLAY_SIDE,
    THUMBNAIL_SIDE,
    draw_overlay,
    encode_jpeg,
    encode_mask,
)
from fssbench.prediction.reading import Picture, read_picture
from fssbench.prediction.records import ImageRecord
from fssbench.prediction.request import CheckedExamples, PredictSettings, make_manifest
from fssbench.prediction.results import Prediction, Predictions
from fssbench.prediction.segmenter import Answer, Query, Segmenter
from fssbench.prediction.support_effect import CHECKED, describe_effect
from fssbench.prediction.table import make_failed_row, make_row, write_csv
from fssbench.progress import Progress

_KEPT_STATE = 2
"""Number of entries of a file's state that a copy or a move of its folder keeps: size and time of writing."""


@dataclass(frozen=True)
class Task:
    """One image that is to be segmented."""

    file: ImageFile
    place: str
    name: str
    """Output name."""

    @property
    def key(self) -> str:
        """Key of the image in `ReadAhead`."""
        return str(self.file.path)


class PredictionJob:
    """Segments the listed images into a folder.

    Args:
        ready: method and examples.
        listing: the images.
        settings: how they are segmented.
    """

    def __init__(
        self, ready: CheckedExamples, listing: Listing, settings: PredictSettings, device: str
    ) -> None:
        self.ready = ready
        self.listing = listing
        self.settings = settings
        self.device = device
        self._failed: list[tuple[str, str]] = []
        self._computed = 0
        self._effects = 0
        """Images on which the effect of the examples is known."""
        self._looks = [example.look for example in ready.examples]
        self._example_hashes = {example.sha256 for example in ready.examples}

    def run(self, progress: Progress) -> Predictions:
        """Segment what is missing.

        Raises:
            DataError: if the folder cannot be written, or memory runs out.
            PluginError: if the method breaks its contract, naming the image.
            UsageError: if the folder was begun with other settings.
            LockedError: if another process predicts into it.
        """
        settings = self.settings
        manifest = make_manifest(self.ready, settings, self.device)
        with PredictionFolder(settings.out, manifest, force=settings.force) as folder:
            for text in (*self.ready.loaded.notes, *self.listing.notes):
                progress.say(f"note: {text}")
            for mark in self.ready.loaded.marks:
                progress.say(f"weights: {mark}")
            tasks = self._find_missing(folder, progress)
            self._effects = sum(r.support_effect is not None for r in folder.records.values())
            total = len(self.listing.files)
            examples = len(self.ready.examples)
            progress.say(
                f"{len(tasks)} of {total} images to segment by {describe_count(examples, 'example')} at "
                f"{self.ready.size} px, device {self.device}, into {settings.out}"
            )
            try:
                with progress.over(total):
                    if total > len(tasks):
                        progress.skip("finished before", total - len(tasks))
                    self._segment_all(tasks, folder, progress)
            except BaseException:  # Ctrl-C, a full disk: what is finished can be looked at
                with suppress(FssbenchError):
                    self._write_overview(folder)
                raise
            return self._write_overview(folder)

    def _find_missing(self, folder: PredictionFolder, progress: Progress) -> list[Task]:
        """Find the images that are not finished, and give them output names."""
        names = OutputNames(record.name for record in folder.records.values())
        moved = {r.sha256: r for r in folder.records.values() if not (folder.path / r.place).exists()}
        tasks = []
        edited = changed = 0
        for file in self.listing.files:
            place = find_place(file.path, folder.path)
            record = folder.records.get(place) or _adopt_moved(file, place, moved, folder)
            if record is None:
                tasks.append(Task(file, place, names.give(file.name, file.folder)))
            elif not _is_same_image(file.path, record):
                changed += 1
                tasks.append(Task(file, place, record.name))
            elif not folder.is_finished(record):
                tasks.append(Task(file, place, record.name))
            else:
                edited += folder.is_changed(record)
        if changed:
            progress.say(
                f"note: {describe_count(changed, 'image has', 'images have')} changed since segmentation and "
                f"{'is' if changed == 1 else 'are'} segmented again"
            )
        if edited:
            progress.say(
                f"note: {describe_count(edited, 'mask was', 'masks were')} edited after writing; the edits are "
                "kept, and the table describes what was written"
            )
        return tasks

    def _segment_all(self, tasks: Sequence[Task], folder: PredictionFolder, progress: Progress) -> None:
        if not tasks:
            return
        ready, settings = self.ready, self.settings
        method = ready.loaded.method
        segmenter = Segmenter(
            method,
            [example.pixels for example in ready.examples],
            [example.small_mask for example in ready.examples],
            threshold=settings.threshold,
        )
        plugins = [method, *([method.backbone] if method.backbone is not None else [])]
        paths = {task.key: task.file.path for task in tasks}
        ahead: ReadAhead[Picture] = ReadAhead(
            lambda key: read_picture(paths[key], ready.size, settings.orientation),
            settings.workers if all(map(is_built_in, plugins)) else 0,
        )
        try:
            for start in range(0, len(tasks), settings.batch):
                group = tasks[start : start + settings.batch]
                ahead.announce(task.key for task in tasks[start : start + 2 * settings.batch + 2])
                self._segment_group(group, ahead.take, segmenter, folder)
                progress.advance("images", start + len(group), str(group[-1].file.path))
        finally:
            ahead.close()
        segmenter.check_weights()

    def _segment_group(
        self,
        group: Sequence[Task],
        read: Callable[[str], Picture],
        segmenter: Segmenter,
        folder: PredictionFolder,
    ) -> None:
        pictures: list[tuple[Task, Picture]] = []
        for task in group:
            try:
                pictures.append((task, read(task.key)))
            # the other images are segmented all the same; the exit code reports this one
            except DataError as error:
                self._failed.append((str(task.file.path), str(error)))
        if not pictures:
            return
        queries = [Query(task.key, picture.pixels, picture.image.size) for task, picture in pictures]
        answers = segmenter.segment(queries)
        for (task, picture), query, answer in zip(pictures, queries, answers, strict=True):
            effect = _measure_effect(segmenter, query, answer) if self._effects < CHECKED else None
            self._effects += effect is not None
            self._store(task, picture, answer, effect, folder)

    def _store(
        self, task: Task, picture: Picture, answer: Answer, effect: float | None, folder: PredictionFolder
    ) -> None:
        mask_file, overlay_file, thumbnail_file = list_output_files(task.name)
        encoded = encode_mask(answer.mask)
        folder.write(mask_file, encoded)
        for file, side in ((overlay_file, OVERLAY_SIDE), (thumbnail_file, THUMBNAIL_SIDE)):
            folder.write(file, encode_jpeg(draw_overlay(picture.image, answer.mask, side)))
        folder.add(
            ImageRecord(
                place=task.place,
                file=str(task.file.path),
                name=task.name,
                sha256=picture.sha256,
                state=picture.state,
                mask_sha256=hashlib.sha256(encoded).hexdigest(),
                width=picture.image.width,
                height=picture.image.height,
                foreground=answer.foreground,
                confidence=answer.confidence,
                object_confidence=answer.object_confidence,
                seconds=answer.seconds,
                is_example=picture.sha256 in self._example_hashes,
                differences=find_differences(Look.of(picture.image.size, picture.pixels), self._looks),
                support_effect=effect,
            )
        )
        self._computed += 1

    def _write_overview(self, folder: PredictionFolder) -> Predictions:
        """Write the table and the contact sheet of all images that are finished."""
        places = [find_place(file.path, folder.path) for file in self.listing.files]
        listed = [folder.records[place] for place in places if place in folder.records]
        named = set(places)
        others = [record for place, record in folder.records.items() if place not in named]
        records = [*listed, *others]
        warnings = tuple(self._collect_warnings(records))
        rows = [*map(make_row, records), *(make_failed_row(*each) for each in self._failed)]
        folder.write(TABLE, write_csv(rows))
        pages = 0
        for name, content in write_sheet(
            self._make_head(warnings), self.ready.examples, records, self._failed
        ):
            folder.write(name, content)
            pages += 1
        folder.remove_pages(pages + 1)
        return Predictions(
            folder=folder.path,
            items=tuple(Prediction(folder.path, record) for record in listed),
            failed=tuple(self._failed),
            marks=self.ready.loaded.marks,
            warnings=warnings,
            computed=self._computed,
        )

    def _make_head(self, warnings: tuple[str, ...]) -> SheetFacts:
        method, provenance = self.ready.loaded.method, self.ready.loaded.method.provenance
        backbone = f" on {provenance.backbone} ({provenance.weights})" if provenance.backbone else ""
        weights = PurePath(provenance.checkpoint).name if provenance.checkpoint else "none of its own"
        return SheetFacts(
            title=method.card.title,
            facts={
                "method": f"{method.card.name}{backbone}",
                "trained weights": weights,
                "network input": f"{self.ready.size} x {self.ready.size} pixels; every image is squeezed to it",
                "threshold": f"{self.settings.threshold:g}",
                "written by": f"fssbench {__version__}",
            },
            marks=tuple(self.ready.loaded.marks),
            warnings=warnings,
        )

    def _collect_warnings(self, records: Sequence[ImageRecord]) -> Iterator[str]:
        """Yield what the user should look at, once per kind."""
        for example in self.ready.examples:
            yield from example.doubts
        for kind in dict.fromkeys(kind for record in records for kind in record.differences):
            differing = [record for record in records if kind in record.differences]
            yield (
                f"{len(differing)} of {len(records)} images differ grossly from every example in {kind}, such as "
                f"{differing[0].file}: {differing[0].differences[kind]}"
            )
        if records and not any(record.foreground for record in records):
            yield "every mask is empty: the method finds the object of the examples in no image"
        if records and all(record.foreground == 1 for record in records):
            yield "every mask is full: the method takes all pixels of all images for the object"
        effects = [record.support_effect for record in records if record.support_effect is not None]
        if (text := describe_effect(effects)) is not None:
            yield text


def _measure_effect(segmenter: Segmenter, query: Query, answer: Answer) -> float | None:
    """Measure the effect of the examples on an image; None if it cannot be measured."""
    try:
        inverted = segmenter.segment_inverted(query)
    except PluginError:  # a method may refuse the inverted masks only
        return None
    return None if inverted is None else measure_effect(answer.mask, inverted.mask)


def _adopt_moved(
    file: ImageFile, place: str, moved: dict[str, ImageRecord], folder: PredictionFolder
) -> ImageRecord | None:
    """Return the record of an image that was segmented at another path and moved here since, else None."""
    if not moved:
        return None
    with suppress(OSError, DataError):
        record = moved.pop(hash_present_file(file.path), None)
        if record is not None and PurePath(record.place).name == file.path.name:
            del folder.records[record.place]
            record = record.changed(place=place, file=str(file.path), state=read_file_state(file.path))
            folder.add(record)
            return record
    return None


def _is_same_image(path: Path, record: ImageRecord) -> bool:
    """Return whether an image is the one that was segmented; it is hashed only if its size or time differ."""
    try:
        if read_file_state(path)[:_KEPT_STATE] == tuple(record.state[:_KEPT_STATE]):
            return True
        return os.path.isfile(path) and hash_present_file(path) == record.sha256  # noqa: PTH113
    except (OSError, DataError):
        return False
