"""A device's parameters against transformers' own tensor-parallel plan, on the meta device."""

import re

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sweepengine.data.models import load_model
from sweepengine.formulas.layout import Layout, share_of
from sweepengine.formulas.parameters import parameter_parts
from tests.data.configs import all_configs, part_of, shortened, write

pytestmark = pytest.mark.slow
SPLIT = {"colwise", "colwise_gather_output", "rowwise", "packed_colwise", "embedding_rowwise"}
NAMES = {"llama": "Llama-2-70b-hf", "qwen3_moe": "Qwen3-30B-A3B", "deepseek_v3": "DeepSeek-V3"}


def planned_parameters(config, tensor):
    """Parameters of one device under the plan: a split matrix's part, all else whole.

    DeepSeek-V3's own plan leaves attention whole; engines split it, as DeepSeek-V2's plan does.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    plan = dict(model.tp_plan)
    if config.model_type == "deepseek_v3":
        second = CONFIG_MAPPING["deepseek_v2"].base_model_tp_plan
        plan |= {f"model.{key}": how for key, how in second.items() if "self_attn" in key}
    split = [
        re.compile(re.escape(key).replace(r"\*", r"\d+") + r"(\.weight)?")
        for key, how in plan.items()
        if how in SPLIT
    ]
    found = 0
    for name, parameter in model.named_parameters():
        whole = not any(pattern.fullmatch(name) for pattern in split)
        found += parameter.numel() // (1 if whole else tensor)
    return found


@pytest.mark.parametrize("tensor", [2, 4])
@pytest.mark.parametrize("kind", NAMES)
def test_shards_are_those_of_the_plan(kind, tensor, tmp_path):
    described = shortened(all_configs()[NAMES[kind]])
    arch = load_model(write(tmp_path, described)).architecture
    part = {k: v for k, v in part_of(described).items()
            if k not in ("model_type", "quantization_config")}  # fmt: skip
    share = share_of(arch, 0, 0, Layout(tensor, 1, 1, 1))
    of_device = arch._replace(backbone=share.backbone, groups=share.groups)
    ours = sum(parameter_parts(of_device).values())
    assert ours == planned_parameters(CONFIG_MAPPING[kind](**part), tensor)
