"""The answers of `Segmenter`: those of `Method.segment`, at the size of each image, with the method's K-shot rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from colour_method import ColourMatch, ColourVote
from drawn_data import draw_pair

from fssbench.api import PluginError
from fssbench.images.reading import normalise, resize_image
from fssbench.loading.load import load_method
from fssbench.prediction.segmenter import Query, Segmenter

SIZE = 64


def make_examples(count: int):
    from PIL import Image

    pixels, masks = [], []
    for number in range(count):
        image, mask = draw_pair(number, SIZE)
        pixels.append(resize_image(Image.fromarray(image), SIZE))
        masks.append(mask > 0)
    return pixels, masks


@pytest.mark.parametrize("cls", [ColourMatch, ColourVote])
@pytest.mark.parametrize("shots", [1, 3])
def test_mask_is_that_of_segment_at_the_size_of_the_image(cls, shots):
    method = load_method(cls)
    pixels, masks = make_examples(shots)
    query = draw_pair(9, SIZE)[0]
    (answer,) = Segmenter(method, pixels, masks).segment([Query("q", query, (90, 70))])
    support = torch.stack([normalise(each) for each in pixels])[None]
    support_mask = torch.from_numpy(np.stack(masks).astype(np.float32))[None]
    expected = method.segment(normalise(query)[None], support, support_mask, size=(70, 90))
    assert answer.mask.shape == (70, 90)
    np.testing.assert_array_equal(answer.mask, expected[0].numpy())
    assert 0.01 < answer.foreground < 0.9


@pytest.mark.parametrize("name", ["pmnet", "hsnet"])
def test_feature_method_answers_as_segment_does(name):
    """The features come from the harness here, and from the method's own backbone there."""
    method = load_method(name, backbone="efficientnet-lite0", weights="random", untrained=True)
    pixels, masks = make_examples(2)
    query = draw_pair(9, SIZE)[0]
    (answer,) = Segmenter(method, pixels, masks).segment([Query("q", query, (80, 50))])
    support = torch.stack([normalise(each) for each in pixels])[None]
    support_mask = torch.from_numpy(np.stack(masks).astype(np.float32))[None]
    with torch.no_grad():
        expected = method.segment(normalise(query)[None], support, support_mask, size=(50, 80))[0].numpy()
    assert (answer.mask != expected).mean() < 0.001


def test_batch_gives_the_answers_of_single_images_of_different_sizes():
    segmenter = Segmenter(load_method(ColourMatch), *make_examples(2))
    queries = [Query(str(n), draw_pair(n, SIZE)[0], (40 + n, 60 - n)) for n in range(3, 6)]
    for query, together in zip(queries, segmenter.segment(queries), strict=True):
        (alone,) = segmenter.segment([query])
        np.testing.assert_array_equal(together.mask, alone.mask)
        np.testing.assert_allclose(together.probability, alone.probability, atol=1e-5)


def test_threshold_cuts_the_probability():
    pixels, masks = make_examples(1)
    query = Query("q", draw_pair(9, SIZE)[0], (SIZE, SIZE))
    method = load_method(ColourMatch, sharpness=0.05)
    low, middle, high = (
        Segmenter(method, pixels, masks, threshold=t).segment([query])[0] for t in (0.2, 0.5, 0.8)
    )
    np.testing.assert_array_equal(low.probability, high.probability)
    for answer, threshold in ((low, 0.2), (middle, 0.5), (high, 0.8)):
        far = np.abs(answer.probability - threshold) > 1e-5
        np.testing.assert_array_equal(answer.mask[far], (answer.probability > threshold)[far])
    assert low.foreground > middle.foreground > high.foreground


def test_confidence_is_the_mean_probability_of_the_answer():
    (answer,) = Segmenter(load_method(ColourMatch, sharpness=0.05), *make_examples(1)).segment(
        [Query("q", draw_pair(9, SIZE)[0], (SIZE, SIZE))]
    )
    expected = np.maximum(answer.probability, 1 - answer.probability).mean()
    assert answer.confidence == pytest.approx(expected, abs=1e-6)
    assert answer.object_confidence == pytest.approx(answer.probability[answer.mask].mean(), abs=1e-6)


def test_inverted_examples_give_the_background():
    segmenter = Segmenter(load_method(ColourMatch), *make_examples(1))
    query = Query("q", draw_pair(9, SIZE)[0], (SIZE, SIZE))
    answer, inverted = segmenter.segment([query])[0], segmenter.segment_inverted(query)
    np.testing.assert_array_equal(answer.mask, ~inverted.mask)
    pixels, masks = make_examples(1)
    assert (
        Segmenter(load_method(ColourMatch), pixels, [np.ones_like(masks[0])]).segment_inverted(query) is None
    )


def test_method_that_writes_to_its_examples_is_refused():
    class Spoils(ColourMatch):
        card = ColourMatch.card.changed(name="spoils")

        def logits(self, query, support, support_mask):
            support.mul_(0.5)
            return super().logits(query, support, support_mask)

    segmenter = Segmenter(load_method(Spoils), *make_examples(1))
    with pytest.raises(PluginError, match="in place"):
        segmenter.segment([Query("q", draw_pair(9, SIZE)[0], (SIZE, SIZE))])
