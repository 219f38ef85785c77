"""What a running engine makes of requests, asked of `se.cost` one length at a time."""

import math
from collections import defaultdict
from statistics import NormalDist
from typing import NamedTuple

import sweepengine as se
from sweepengine.data.serving_engines import ENGINES
from sweepengine.grid.files import parse_grid
from sweepengine.grid.points import checked_point
from sweepengine.search.steady_state import ASSUMED

US = 1e-6


class Requests(NamedTuple):
    """One request of a mix."""

    prompt: int
    answer: int
    weight: float


def formats_of(model, precision, layout):
    """Input columns of a precision and a layout."""
    data = {"name": "x", "model": model, "axes": {"precision": [precision], "layout": [layout]}}
    point, loaded = parse_grid(data, "x").point, se.load_model(model)
    from sweepengine.formulas.points import INPUTS

    names = ("weight_format", "activation_format", "cache_format", "tensor_parallel",
             "expert_parallel", "pipeline_parallel", "data_parallel")  # fmt: skip
    assert checked_point(loaded, {}).decode_steps
    return {name: INPUTS[name].shown(getattr(point, name)) for name in names}


SHARE = 0.92
"""Share of the memory that vLLM takes by default."""


def room_of(device, gigabytes=0):
    """Bytes of a device that vLLM takes by default."""
    usable = int(gigabytes * 1e9) or se.load_device(device).usable_bytes
    return usable * int(SHARE * 1000) // 1000


def at_share(values, weights, share):
    """The least value that a share of the requests does not exceed."""
    reached = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        reached += weight
        if reached >= share - 1e-12:
            return value
    return max(values)


def served(model, device, mix, batch, inputs, framework="vllm", setting=ASSUMED):
    """Measures of a candidate without factors, by the formulas of formulas/serving.py on costs."""
    weights = [one.weight / sum(m.weight for m in mix) for one in mix]
    costs = [
        se.cost(model, device=device, framework=framework, serving="continuous",
                prompt_tokens=one.prompt, decode_steps=one.answer, batch_size=batch, **inputs)
        for one in mix
    ]  # fmt: skip
    engine, data = ENGINES[framework], inputs["data_parallel"]
    load = defaultdict(float, engine["steady"])
    sequences = -(-batch // data)
    alone = [cost["prefill_seconds"] for cost in costs]
    prefill = sum(w * p for w, p in zip(weights, alone, strict=True))
    refill = sum(w * cost["refill_seconds"] for w, cost in zip(weights, costs, strict=True))
    output = sum(w * one.answer for w, one in zip(weights, mix, strict=True))
    step = sum(
        w * one.answer * c["step_seconds"] for w, one, c in zip(weights, mix, costs, strict=True)
    ) / output  # fmt: skip
    tpot = step + refill / output
    steps = load["steps"] + load["look"] * engine.get("look_interval", 0)
    steps += load["ranks"] if data > 1 else 0
    base = load["first_ms"] / 1000 + steps * step + load["burst"] * refill
    base += load["sequence_ms"] / 1000 * sequences
    own = [p + load["prompt_ms"] * one.prompt * US for p, one in zip(alone, mix, strict=True)]
    longest_own = at_share(own, weights, setting.share)
    longest = at_share(alone, weights, setting.share)
    taken_in = sum(w * p for w, p in zip(weights, own, strict=True))
    requests = batch / (base + taken_in + output * tpot)
    charged = sum(
        costs[0][f"{part}_bytes"] for part in ("weight", "runtime", "activation", "graph")
    )
    kept = [c["sequence_kv_bytes"] for c in costs]
    under_way = [w * one.answer for w, one in zip(weights, mix, strict=True)]
    under_way = [part / sum(under_way) for part in under_way]
    mean = sum(k * u for k, u in zip(kept, under_way, strict=True))
    spread = math.sqrt(sum(u * (k - mean) ** 2 for k, u in zip(kept, under_way, strict=True)))
    held = sequences * mean + NormalDist().inv_cdf(setting.share) * math.sqrt(sequences) * spread
    return {
        "ttft_s": base + longest_own,
        "ttft_mean_s": base + taken_in,
        "tpot_s": tpot,
        "step_s": step,
        "prefill_s": prefill,
        "prefill_square_s2": sum(w * p * p for w, p in zip(weights, alone, strict=True)),
        "prefill_share_s": longest,
        "requests_per_s": requests,
        "tokens_per_s": requests * output,
        "device_tokens_per_s": requests * output / costs[0]["devices"],
        "memory_bytes": charged + math.ceil(held),
        "weight_bytes": costs[0]["weight_bytes"],
        "devices": costs[0]["devices"],
        "output": output,
    }
