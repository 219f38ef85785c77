"""Two tools' own answers to the same points; run by the Python of an environment that has them.

Reads `{"points": [...], "runs": N}` from standard input, and writes to standard output for each
tool the seconds of each run and the milliseconds that it says a batch takes, prompt and answer.
It imports nothing of ours, as what they need and what we need cannot be installed together.
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

LAYERS, HEADS, KEY_VALUE_HEADS, HIDDEN, INTERMEDIATE, VOCABULARY = 32, 32, 8, 4096, 14336, 128256
"""Of Llama-3.1-8B, for the tool that does not ship it."""


def genz() -> Callable[[dict[str, int]], float]:
    """GenZ: a prefill, and a step at half the answer's length for each token of it."""
    from GenZ import decode_moddeling, prefill_moddeling

    place = {"model": "meta-llama/Llama-3.1-8B", "system_name": "H100_GPU", "bits": "bf16"}

    def milliseconds(point: dict[str, int]) -> float:
        asked = {"batch_size": point["batch_size"], "input_tokens": point["prompt_tokens"], **place}
        steps = point["decode_steps"]
        step = decode_moddeling(**asked, output_tokens=steps // 2, Bb=1)["Latency"]
        return float(prefill_moddeling(**asked)["Latency"] + steps * step)

    return milliseconds


def llm_analysis() -> Callable[[dict[str, int]], float]:
    """llm-analysis: its inference of a batch, at the full peaks of the data sheet."""
    from llm_analysis.analysis import LLMAnalysis
    from llm_analysis.config import (
        ModelConfig,
        ParallelismConfig,
        get_dtype_config_by_name,
        get_gpu_config_by_name,
    )

    model = ModelConfig(
        "llama-3.1-8b", LAYERS, HEADS, HIDDEN, VOCABULARY, num_key_value_heads=KEY_VALUE_HEADS,
        ffn_embed_dim=INTERMEDIATE, expansion_ratio=INTERMEDIATE / HIDDEN, model_type="llama",
    )  # fmt: skip
    analysis = LLMAnalysis(
        model, get_gpu_config_by_name("h100-sxm-80gb"), get_dtype_config_by_name("w16a16e16"),
        ParallelismConfig(), flops_efficiency=1.0, hbm_memory_efficiency=1.0,
    )  # fmt: skip

    def milliseconds(point: dict[str, int]) -> float:
        found = analysis.inference(
            point["batch_size"], point["prompt_tokens"], point["decode_steps"]
        )
        return 1e3 * float(found["total_latency"])

    return milliseconds


TOOLS = {"genz-llm": genz, "llm-analysis": llm_analysis}


def main() -> None:
    """Ask each tool all points, several times."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    asked = json.load(sys.stdin)
    found: dict[str, dict[str, Any]] = {}
    for name, tool in TOOLS.items():
        with contextlib.redirect_stdout(io.StringIO()):
            milliseconds = tool()
            said = [milliseconds(point) for point in asked["points"]]
            seconds = []
            for _ in range(asked["runs"]):
                began = time.perf_counter()
                for point in asked["points"]:
                    milliseconds(point)
                seconds.append(time.perf_counter() - began)
        version = importlib.metadata.version(name)
        found[name] = {"version": version, "seconds": seconds, "milliseconds": said}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
