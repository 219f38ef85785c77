"""Decoders that attend to features of images equal torch, and so do their towers."""

import pytest

from sweepengine.validation.configs import measure
from tests.data.configs import write
from tests.data.test_cross_attention import CONFIGS, ENCODED

pytestmark = pytest.mark.slow
COUNTS = 15
"""Figures of a decoder that cross attention is compared by."""


@pytest.mark.parametrize("kind", CONFIGS)
def test_decoder_and_tower_equal_torch_in_every_figure(kind, tmp_path):
    found = measure(write(tmp_path, CONFIGS[kind]))
    assert [figure for figure in found.figures if figure.difference] == []
    assert len(found.text) == COUNTS
    assert [figure.what.split(",")[0] for figure in found.vision] == [
        "parameters",
        "tower and projector",
        "features",
    ]
    assert not [note for note in found.notes if note.startswith("the tower")]


@pytest.mark.parametrize("tied", [False, True])
def test_decoder_says_whether_its_head_is_tied_not_the_outer_config(tied, tmp_path):
    decoder = {**ENCODED["decoder"], "tie_word_embeddings": tied, "dtype": "bfloat16"}
    config = {**ENCODED, "decoder": decoder, "tie_word_embeddings": not tied}
    found = measure(write(tmp_path, config)).text[0]
    assert (found.what, found.difference) == ("parameters", 0)
