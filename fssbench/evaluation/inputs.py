"""Tensors of an episode: the method's input (features or pixels, support masks) and the truth it is scored against.

The resize rules are those of the HSNet family (`docs/protocols.md`).  Images are resized bilinearly to a square, masks
by nearest neighbour.  Pixels marked 255 are ignored in the query and count as background in a support.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.backbones import Backbone
from fssbench.contracts.datasets import IGNORE, Dataset
from fssbench.contracts.encoded import Encoded
from fssbench.contracts.encoding import encodes_once
from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import Method, reads_features
from fssbench.contracts.precision import DTYPES, Precision
from fssbench.data.data_files import DataFiles
from fssbench.data.reader import ImageFacts, Reader, Target
from fssbench.data.resized_images import ResizedImages
from fssbench.errors import DataError, FssbenchError, PluginError
from fssbench.evaluation.apart_maps import ApartMaps, put_apart
from fssbench.evaluation.batches import split_batches
from fssbench.evaluation.buffers import Buffers
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.feature_names import name_features
from fssbench.evaluation.feature_store import Maps
from fssbench.evaluation.read_ahead import EPISODES, ReadAhead
from fssbench.evaluation.side_stream import SideStream
from fssbench.evaluation.sources import PIXELS, RAW_PIXELS, Encoder, Source, feature_key
from fssbench.evaluation.staging import Staging, reads_float32_only
from fssbench.evaluation.transfers import upload
from fssbench.images.reading import normalise, resize_image, resize_mask, scale_pixels
from fssbench.plugins.calls import is_built_in
from fssbench.plugins.source_hash import collect_source

_PIXELS_AHEAD = 256 << 20
"""Budget in bytes for images that are read ahead for a batch, one byte per value."""
_MASKS_KEPT = 128 << 20
"""Budget in bytes for masks at network size, one byte per pixel."""


class Inputs:
    """Reads episodes as tensors.  Each image is decoded and extracted once, as far as the cache has room.

    Args:
        dataset: data set of the images and masks.
        size: side of the square network input in pixels.
        device: device of the tensors.
        cache: cache of features and pixels per image.  Several plans may share it.
        files: the files of the data set as they were hashed.  After each reading, a file is checked against its state
            at the time of hashing.
        workers: number of threads that read images ahead.
        replay: whether the work of backbones may be recorded and replayed, if the device is a CUDA device.
        precision: of the features; methods get them as float32 all the same, unless they read bfloat16.
        encoding: methods that may be called here, so that each image is encoded once for those that encode images.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        device: torch.device,
        cache: FeatureCache,
        files: DataFiles | None = None,
        workers: int = 0,
        replay: bool = False,
        precision: Precision = "float32",
        encoding: Sequence[Method] = (),
    ) -> None:
        self.dataset = dataset
        self.files = files
        self.reader = Reader(dataset, cache.facts, files)
        self._copies = ResizedImages(dataset, files)
        self.size = size
        self.device = device
        self.cache = cache
        self._sources: dict[int, Source] = {}
        self._extractors: dict[Hashable, Extractor] = {}
        self._buffers = Buffers()
        self._place = (dataset.card.name, str(dataset.root), dataset.variant)
        self._workers = workers
        self._replay = replay and device.type == "cuda"
        # a store must hold nothing that is refused later
        self._confirms_later = self._replay and cache.store is None
        self._confirmed_later: set[Hashable] = set()
        """Keys of what was extracted before it was known to be finite."""
        self._beside = SideStream(device, wanted=replay)
        """Features are computed and checked while the device still predicts the episode before."""
        self._precision = precision
        self._encoders = {
            id(method): Encoder(method, precision) for method in encoding if encodes_once(method)
        }
        self._ahead = ReadAhead(self._read_image, 0)
        self._is_told = False
        """Whether the caller says with `read_next` which images are read ahead."""
        self._coming: list[Episode] = []
        """Episodes that were announced last, in the order of their requests."""
        self._places: dict[int, int] = {}
        """Place in that order, by index."""
        self._object_pixels: dict[tuple[str, int], int] = {}
        """Object pixels of the masks that were read at network size, by item and class."""
        self._mask = lru_cache(maxsize=max(1, _MASKS_KEPT // size**2))(self._read_mask)

    def expect(self, methods: Sequence[Method], episodes: Sequence[Episode], batch: int = 1) -> None:
        """Announce which methods will ask for which episodes, so that the cache knows the order.

        Args:
            methods: the methods.
            episodes: in the order of their requests.
            batch: episodes that each method asks for before the next method does, see `fssbench.evaluation.batches`.
        """
        self._add_sources(methods)
        self.cache.plan(self._requests(methods, episodes, batch))
        self._coming = list(episodes)
        self._places = {episode.index: place for place, episode in enumerate(episodes)}
        plugins = (self.dataset, *methods, *(m.backbone for m in methods if m.backbone is not None))
        workers = self._workers if all(map(is_built_in, plugins)) else 0
        if workers != self._ahead.workers:
            self._ahead.close()
            self._ahead = ReadAhead(self._read_image, workers)
        if self.cache.store is not None:
            items = {item: None for episode in episodes for item in (episode.query, *episode.supports)}
            sources = {source.key: source for source in (self._sources[id(method)] for method in methods)}
            names = (self._name_file(source, item) for source in sources.values() for item in items)
            self.cache.store.announce(name for name in names if name is not None)

    def read_next(self, episodes: Iterable[Episode]) -> None:
        """Begin to read the images of these episodes that nothing holds, while the caller computes.

        It is for episodes that are asked for in batches.  From the first call on, no other images are read ahead.
        """
        self._is_told = True
        items = dict.fromkeys(item for each in episodes for item in (each.query, *each.supports))
        self._ahead.announce(filter(self._lacks, items), _PIXELS_AHEAD // (3 * self.size**2))

    def count_images_held(self, methods: Sequence[Method]) -> int:
        """Count the images whose inputs for all these methods the cache can hold together, as their taps promise."""
        self._add_sources(methods)
        sources = {source.key: source for source in (self._sources[id(method)] for method in methods)}
        size = sum(source.count_bytes() for source in sources.values())
        return self.cache.budget // size if size else 0

    def _add_sources(self, methods: Sequence[Method]) -> None:
        groups: dict[tuple[Hashable, int], list[Method]] = {}
        for method in methods:
            groups.setdefault((feature_key(method), self._size_of(method)), []).append(method)
        dtype = DTYPES[self._precision]
        width = getattr(torch, dtype).itemsize
        for (key, size), members in groups.items():
            taps = dict.fromkeys(t for m in members if reads_features(m) for t in m.taps.union)
            extractor = None if key in (PIXELS, RAW_PIXELS) else self._extractor(key, members[0].backbone)
            place = (*self._place, size, key, tuple(taps), dtype if extractor else "")
            source = Source(place, key, extractor, tuple(taps), size, width)
            for method in members:
                encoder = self._encoders.get(id(method))
                self._sources[id(method)] = source if encoder is None else source.encoded_by(encoder)
        self._beside.catch_up()  # it reads the networks that were copied now

    def _size_of(self, method: Method) -> int:
        """Return the side of the method's input: its own, or that of the protocol."""
        return method.card.input_size or self.size

    def _extractor(self, key: Hashable, backbone: Backbone | None) -> Extractor:
        if key not in self._extractors:
            assert backbone is not None  # methods without a backbone have the key of pixels
            self._extractors[key] = Extractor(backbone, self._precision, replay=self._replay)
        return self._extractors[key]

    def _requests(
        self, methods: Sequence[Method], episodes: Sequence[Episode], batch: int
    ) -> Iterator[Hashable]:
        for together in split_batches(episodes, batch):
            for method in methods:
                for episode in together:
                    for item in (episode.query, *episode.supports):
                        yield self._key(self._sources[id(method)], item)

    def _key(self, source: Source, item: str) -> Hashable:
        """Return the cache key of an image.  It contains the file's hash, as a file may change between plans."""
        return ((source.key, self.files.content(item)) if self.files else source.key), item

    def of(
        self,
        method: Method,
        episode: Episode,
        buffers: Buffers | None = None,
        place: str = "",
        *,
        confirmed: bool = True,
    ) -> tuple[Any, Any, Tensor]:
        """Return query, supports and support masks of an episode, in the form that `method` reads.

        A feature method gets a dictionary per role, from tap to features: (1, C, h, w) for the query and
        (1, K, C, h, w) for the supports.  Other methods get pixels: (1, 3, S, S) and (1, K, 3, S, S).
        Of images that were encoded for it, a method gets what it made of them, by name and in the shapes of features.
        Masks are (1, K, S, S).  S is the method's own input size if it has one.

        Args:
            method: the method.
            episode: the episode.
            buffers: where the tensors are, until the next episode with the same buffers; those of all methods of this
                process by default.  Those of a single image are then in the cache itself if the method is built in,
                because the tests of fssbench show that it never writes to them, or if their pages can be renewed.
            place: where the images are needed, for errors; by default the number of the episode in its plan.
            confirmed: whether the features are known to be finite when this returns; else call `confirm` before
                anything is counted.

        Raises:
            DataError: if an image or mask cannot be read, or must not be used.  The error names the place and image.
            DatasetContractError: if the data set returns something other than an image or a mask.  The error names the
                episode.
        """
        try:
            source = self._sources[id(method)]
            self._read_ahead(episode)
            lends, trusted = buffers is None, is_built_in(method)
            query, *supports = (
                self._maps(source, item, apart=lends and not trusted)
                for item in (episode.query, *episode.supports)
            )
            if confirmed and source.extractor is not None:
                source.extractor.confirm()
            size = self._size_of(method)
            masks = [self._mask(item, episode.class_id, size) for item in episode.supports]
        except FssbenchError as error:
            raise type(error)(f"{place or f'episode {episode.index}'}: {error}") from error
        buffers = self._buffers if buffers is None else buffers
        support_mask = self._stage_masks(buffers, masks)

        # what a method encodes is its own, and so are its types
        widens = source.encoder is None and reads_float32_only(method, self._precision)
        staging = Staging(buffers, lends=lends, trusted=trusted, widens=widens)
        stage = staging.stage
        staged: tuple[Any, Any]
        if source.encoder is not None:
            staged = (
                Encoded({name: stage("query", name, [query])[:, 0] for name in query}),
                Encoded({name: stage("support", name, supports) for name in query}),
            )
        elif reads_features(method):
            staged = (
                {tap: stage("query", tap, [query])[:, 0] for tap in method.taps.query},
                {tap: stage("support", tap, supports) for tap in method.taps.support},
            )
        else:
            staged = stage("query", PIXELS, [query])[:, 0], stage("support", PIXELS, supports)
        staging.copy()
        return *staged, support_mask

    def count_begun(self, method: Method) -> int:
        """Count the images whose features were begun for this method and others with the same backbone."""
        extractor = self._sources[id(method)].extractor
        return 0 if extractor is None else extractor.begun

    def confirm(self, method: Method, begun: int) -> None:
        """Refuse features that are not finite.

        Args:
            method: the method.
            begun: number of images that are looked at, from `count_begun`.

        Raises:
            PluginError: naming the backbone and the image.
        """
        extractor = self._sources[id(method)].extractor
        if extractor is not None:
            extractor.confirm(begun)

    def doubts(self, episode: Episode) -> tuple[str, ...]:
        """Return the kinds of doubt about an episode, sorted.  "vanished": an object has no pixel at this size."""
        kinds = self.reader.doubts(episode)
        items = episode.query, *episode.supports
        vanished = not all(self.count_object_pixels(item, episode.class_id) for item in items)
        return tuple(sorted({*kinds, "vanished"})) if vanished else kinds

    def count_object_pixels(self, item: str, class_id: int) -> int:
        """Count the object pixels of a mask at network size; those of a mask that was read before are known."""
        if (item, class_id) not in self._object_pixels:
            self._read_mask(item, class_id, self.size)
        return self._object_pixels[item, class_id]

    def target(self, episode: Episode, *, original: bool) -> Target:
        """Return the truth of the query at network size, or at the size of its file if `original` is true."""
        if original:
            mask = self.reader.mask(episode.query, episode.class_id)
        else:
            mask = self._mask(episode.query, episode.class_id, self.size)
        return Target(mask == 1, mask == IGNORE if mask.max() == IGNORE else None)

    def numbered(
        self, item: str, present: Iterable[int], numbers: Mapping[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the class number of each pixel (S, S), and which pixels are ignored (S, S), at network size.

        Args:
            item: the image.
            present: ids of the classes that lists name in the image; the data set may know of more.
            numbers: number of each class id, from 1 on.  0 is background.  Pixels of a class without a number and
                pixels marked 255 are ignored.
        """
        labels = np.zeros((self.size, self.size), np.int64)
        ignored = np.zeros((self.size, self.size), np.bool_)
        for class_id in sorted({*present, *self.reader.shown_classes(item)}):
            mask = self._mask(item, class_id, self.size)
            labels[mask == 1] = numbers.get(class_id, 0)
            ignored |= (mask == IGNORE) | ((mask == 1) & (class_id not in numbers))
        labels[ignored] = 0
        return labels, ignored

    def _maps(self, source: Source, item: str, *, apart: bool) -> Maps:
        """Return the maps of an image as they were extracted, whatever was written to those that were lent.

        Args:
            source: kind of the maps.
            item: the image.
            apart: whether maps that are extracted now will be lent to methods of others, as far as they recur.
        """
        key = self._key(source, item)

        def extract() -> Maps:
            maps = self._extract(source, item)
            return put_apart(maps) if apart and self.cache.awaits(key) else maps

        maps = self.cache.get(key, extract)
        if isinstance(maps, ApartMaps):
            maps.renew()
        return maps

    def _extract(self, source: Source, item: str) -> Maps:
        """Return the maps of an image from the store of features, or compute and store them."""
        if self._confirms_later:
            self._confirmed_later.add(self._key(source, item))
        if source.encoder is not None and source.plain is not None:
            return source.encoder.encode(self._read_plain(source.plain, item), item)
        store, name = self.cache.store, self._name_file(source, item)
        if store is None or name is None:
            return self._compute(source, item)
        if (stored := store.load(name, item, source.taps)) is not None:
            maps, notes = stored
            self.reader.remember(item, ImageFacts.parse(notes))
            return {tap: features.to(self.device) for tap, features in maps.items()}
        maps = self._compute(source, item)
        store.save(name, item, maps, self.reader.recall(item).as_notes())
        return maps

    def _read_plain(self, source: Source, item: str) -> Maps:
        """Return what is encoded; it stays in the cache only if another method will read it."""
        key = self._key(source, item)
        if self.cache.holds(key):
            maps = self.cache.read(key)
            if isinstance(maps, ApartMaps):
                maps.renew()
            return maps
        maps = self._extract(source, item)
        self.cache.offer(key, maps)
        return maps

    def _name_file(self, source: Source, item: str) -> str | None:
        """Name the file of an image's features; None if it has none: of pixels, or of an image that is no file."""
        source = source.plain or source
        content = self.files.content(item) if self.files else ""
        if source.extractor is None or not content or self.cache.store is None:
            return None
        card, variant = self.dataset.card.name, self.dataset.variant
        # one file for all taps: a backbone gives the same map whatever else it is asked for
        facts = card, variant, self._reader_sha256, item, content, source.size, source.features
        return name_features((facts, source.extractor.distributions, DTYPES[self._precision]), self.device)

    @cached_property
    def _reader_sha256(self) -> str:
        return collect_source(type(self.dataset), base=Dataset).sha256

    def _read_ahead(self, episode: Episode) -> None:
        """Begin to read the images of this episode and the next ones that nothing holds."""
        if not self._ahead.workers or self._is_told:
            return
        start = self._places.get(episode.index, 0)
        coming = (i for e in self._coming[start : start + EPISODES] for i in (e.query, *e.supports))
        self._ahead.announce([item for item in coming if self._lacks(item)])

    def _lacks(self, item: str) -> bool:
        """Return whether an image must be read for any of its sources."""
        store = self.cache.store
        for source in {source.key: source for source in self._sources.values()}.values():
            kinds = [each for each in (source, source.plain) if each is not None]
            if source.size == self.size and not any(
                self.cache.holds(self._key(each, item)) for each in kinds
            ):
                name = self._name_file(source, item)
                if store is None or name is None or not store.holds(name):
                    return True
        return False

    def _read_image(self, item: str) -> NDArray[np.uint8]:
        return self._read_resized(item, self.size)

    def _read_resized(self, item: str, size: int) -> NDArray[np.uint8]:
        """Read an image at a size: its copy if `data prepare --size` made one, which has the same pixels."""
        copy = self._copies.load(item, size)
        if copy is None:
            return resize_image(self.reader.image(item), size)
        pixels, facts = copy
        self.reader.remember(item, facts)
        return pixels

    def close(self) -> None:
        """End the threads that read ahead, and drop features that were refused from the cache."""
        self._ahead.close()
        try:
            for extractor in self._extractors.values():
                extractor.confirm()
        except (PluginError, RuntimeError):  # the latter from a device that broke
            self.cache.forget(self._confirmed_later)
        # these refer to each other, and hold recordings and masks until the next collection of garbage
        self._sources.clear()
        self._extractors.clear()
        self._mask.cache_clear()

    def _compute(self, source: Source, item: str) -> Maps:
        if source.size == self.size:
            image = self._ahead.take(item)
        else:
            image = self._read_resized(item, source.size)
        prepare = scale_pixels if source.features == RAW_PIXELS else normalise
        try:
            with self._beside.working():
                pixels = prepare(upload(torch.from_numpy(image), self.device))[None]
                if source.extractor is not None:
                    extract = source.extractor.begin if self._confirms_later else source.extractor.extract
                    maps = extract(pixels, source.taps, item)
                else:  # a view of (H, W, C) would be transposed again for every episode
                    maps = {PIXELS: pixels.contiguous()}
            self._beside.hand_over(maps.values())
            return maps
        except torch.OutOfMemoryError:
            raise DataError(
                f"the memory of device {str(self.device)!r} ran out at image {item!r} ({source.size} px). "
                "Next: a smaller --cache-mb, --size or (if given) --batch, or --device cpu"
            ) from None

    def _read_mask(self, item: str, class_id: int, size: int) -> NDArray[np.uint8]:
        mask = resize_mask(self.reader.mask(item, class_id), size, size)
        if size == self.size:
            self._object_pixels[item, class_id] = int(np.count_nonzero(mask == 1))
        return mask

    def _stage_masks(self, buffers: Buffers, masks: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Write the objects of K masks (S, S) into a buffer (1, K, S, S) as float32: 1 for the object, 0 elsewhere."""
        shape = 1, len(masks), *masks[0].shape
        place = buffers.get("mask", shape, torch.empty(0, device=self.device))
        on_processor, on_gpu = (self.device.type == kind for kind in ("cpu", "cuda"))
        objects = place if on_processor else torch.empty(shape, dtype=torch.bool, pin_memory=on_gpu)
        for mask, object_cells in zip(masks, objects.numpy()[0], strict=True):
            np.equal(mask, 1, out=object_cells)  # NumPy converts bool to float ten times faster than torch
        return place if on_processor else place.copy_(upload(objects, self.device))
