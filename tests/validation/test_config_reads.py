"""Which attributes of its config transformers reads is noted, under the name that they have."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlavaConfig

from sweepengine.data.models import load_model
from tests.validation.config_reads import Seen, attributes_of, attributes_read, changed_attributes
from tests.validation.key_changes import Compared

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 20,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip

WHOLE_READS = (vars, lambda config: config.to_dict(), lambda config: config.to_diff_dict())


@pytest.fixture
def config():
    return LlamaConfig(**SMALL)


def test_what_a_model_is_built_from_is_read_and_nothing_else(config):
    with attributes_read() as read, torch.device("meta"):
        AutoModelForCausalLM.from_config(config)
    assert {Seen("LlamaConfig", key) for key in SMALL} <= read
    assert not {Seen("LlamaConfig", key) for key in ("bos_token_id", "use_cache")} & read


def test_reads_by_another_name_count_for_the_attribute(config):
    config.attribute_map = {"n_embd": "hidden_size"}
    with attributes_read() as read:
        assert config.n_embd == SMALL["hidden_size"]
    assert Seen("LlamaConfig", "hidden_size") in read


@pytest.mark.parametrize("whole", WHOLE_READS)
def test_who_reads_all_attributes_reads_each(config, whole):
    with attributes_read() as read:
        whole(config)
    assert Seen("LlamaConfig", "use_cache") in read


def test_a_copy_reads_none_but_reads_of_it_count(config):
    with attributes_read() as read:
        copied = copy.deepcopy(config)
        assert Seen("LlamaConfig", "vocab_size") not in read
        assert copied.vocab_size == SMALL["vocab_size"]
    assert Seen("LlamaConfig", "vocab_size") in read


def test_attributes_of_parts_are_compared():
    first, second = LlavaConfig(text_config=SMALL), LlavaConfig(text_config=SMALL)
    assert changed_attributes(attributes_of(first), attributes_of(second)) == set()
    second.text_config.vocab_size = 30
    changed = changed_attributes(attributes_of(first), attributes_of(second))
    assert changed == {Seen("LlamaConfig", "vocab_size")}


WIDTH, UNREAD = Seen("LlamaConfig", "hidden_size"), Seen("LlamaConfig", "use_cache")


@pytest.fixture
def measured():
    """A config that was measured, of which a width was read."""
    arch = load_model("llama-3.1-8b").architecture
    return Compared(False, arch, {WIDTH: ["32"], UNREAD: ["True"]}, {WIDTH}, [])


def test_a_measured_config_stands_for_one_of_which_neither_side_reads_the_change(measured):
    assert measured.stands_for(measured._replace(attributes={WIDTH: ["32"], UNREAD: ["0"]}))
    assert measured.stands_for(measured._replace(attributes={WIDTH: ["32"]}))


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {WIDTH: ["64"], UNREAD: ["True"]}},
        {"attributes": {UNREAD: ["True"]}},
        {"of_tower": True},
        {"architecture": load_model("qwen3-8b").architecture},
    ],
)
def test_it_stands_for_none_that_either_side_may_count_otherwise(measured, change):
    assert not measured.stands_for(measured._replace(**change))
