"""Ten plans of every serving engine: dense and MoE, one node and several, both serving modes."""

from functools import cache
from typing import NamedTuple

from sweepengine.data.models import load_model
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.deploy import find_deployment
from sweepengine.search.options import DeployOptions, LatencyTargets


class Asked(NamedTuple):
    """A question whose answer is a plan of one kind."""

    model: str
    device: str
    engine: str
    mode: str
    layout: str
    precision: str = "checkpoint"
    devices: int = 8


PLANS = (
    Asked("llama-3.1-8b", "h100-sxm", "vllm", "aggregated", "tp1", devices=1),
    Asked("llama-3.1-70b", "h100-sxm", "vllm", "disaggregated", "tp2", "fp8-kv8"),
    Asked("llama-3.1-70b", "h200", "sglang", "aggregated", "tp4", "fp8"),
    Asked("llama-3.1-70b", "h200", "sglang", "disaggregated", "tp2", "fp8-kv8"),
    Asked("llama-3.1-70b", "h100-sxm", "trtllm", "aggregated", "tp4"),
    Asked("qwen3-32b", "h200", "trtllm", "disaggregated", "tp2", "checkpoint-kv8"),
    Asked("qwen3-30b-a3b", "h100-sxm", "vllm", "aggregated", "tp2-ep8-dp4", "fp8-kv8"),
    Asked("qwen3-30b-a3b", "h100-sxm", "trtllm", "aggregated", "tp1-ep8-dp8"),
    Asked("deepseek-v3", "h100-sxm", "vllm", "aggregated", "tp16", devices=16),
    Asked("deepseek-v3", "h100-sxm", "sglang", "disaggregated", "tp16", devices=32),
)


@cache
def answered(asked):
    """The deployment of a plan."""
    model = load_model(asked.model)
    lengths = lengths_of("test", model, {"prompt": [4000], "answer": [500]})
    options = DeployOptions(
        LatencyTargets(60, 1), asked.devices, frameworks=(asked.engine,), modes=(asked.mode,),
        precisions=(asked.precision,), layouts=(asked.layout,), most_batch=16, margin=0.0,
    )  # fmt: skip
    found = find_deployment(model, [asked.device], lengths, options)
    assert found.best is not None, found.reason
    return found
