"""Steps and prefills beside the sum of their measured operators, as the tables' own tool looks up.

Both sum the same operators: projections, attention, MLP and head. What the tool estimates itself
(norms, activations) is left out on both sides.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import place_of, speeds_of
from sweepengine.formulas.attention_times import step_lines
from sweepengine.formulas.layer_times import end_times, layer_times
from sweepengine.formulas.layout import WHOLE
from sweepengine.formulas.seconds import at_keys
from sweepengine.grid.points import checked_point

STEPS = "steps"
FRAMEWORK = "vllm"
MODELS = {
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "qwen3-32b": "Qwen/Qwen3-32B",
}
DEVICES = ("h100-sxm", "h200", "a100-80gb", "b200", "l40s")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LENGTHS = (128, 512, 1024, 4096, 8192, 16384)
MOST_CACHED = 1 << 20
"""Tokens of all sequences together that a case decodes at."""
MOST_FILLED = 1 << 16
"""That a case fills in one pass."""
MEASURED = ("qkv_gemm", "proj_gemm", "attention", "gate_ffn1_gemm", "ffn2_gemm", "logits_gemm")
"""What the tool calls operators that were measured."""


class StepCase(NamedTuple):
    """One step or prefill; ms."""

    device: str
    model: str
    phase: str
    sequences: int
    tokens: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1|, %."""
        return 100 * abs(self.predicted / self.measured - 1)


def measured_steps() -> list[StepCase]:
    """Every case of models, devices, batches and lengths.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    try:
        from aiconfigurator_core.sdk.engine import EngineHandle
    except ModuleNotFoundError:
        raise InputError(
            "aiconfigurator-core is not installed: expected the extra, "
            "pip install 'sweepengine[silicon]'"
        ) from None
    logging.getLogger().setLevel(logging.CRITICAL)
    found: list[StepCase] = []
    for name in DEVICES:
        for model, path in MODELS.items():
            with contextlib.redirect_stderr(io.StringIO()):
                system = str(load_device(name).measured)
                handle = EngineHandle.compile(path, system, FRAMEWORK, tp_size=1)
                found += _cases(name, model, handle)
    return found


def _cases(device: str, model: str, handle: Any) -> Iterator[StepCase]:
    for sequences in BATCHES:
        for tokens in LENGTHS:
            if sequences * tokens > MOST_CACHED:
                continue
            filled, stepped = handle.run_static_per_op(batch_size=sequences, isl=tokens, osl=2)
            for phase, operators in (("prefill", filled), ("decode", stepped)):
                if phase == "prefill" and sequences * tokens > MOST_FILLED:
                    continue
                named = {name.split("_", 1)[1]: value for name, value, *_ in operators}
                measured = sum(named[name] for name in MEASURED)
                predicted = predicted_us(device, model, phase, sequences, tokens) / 1e3
                yield StepCase(device, model, phase, sequences, tokens, predicted, measured)


def predicted_us(device: str, model: str, phase: str, sequences: int, tokens: int) -> float:
    """Our sum of the same operators, us."""
    loaded = load_model(model)
    arch = loaded.architecture
    point = checked_point(loaded, {})
    speeds = speeds_of(arch, point, place_of(load_device(device), FRAMEWORK))
    (group,) = arch.groups
    stepping = int(phase == "decode")
    rows = 1 if stepping else tokens
    times = layer_times(group, arch.trunk, WHOLE, float(sequences), rows, 0, stepping, speeds)
    attended = times.attention
    if stepping:
        attended = at_keys(step_lines(group.attention, float(sequences), speeds).attended, tokens)
    layer = times.projections + attended + times.mlp
    ends = end_times(arch.trunk, WHOLE, float(sequences), rows, 1, 1, 1, stepping, speeds)
    return group.layers * layer + ends.head - speeds.host.head
