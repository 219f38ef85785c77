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
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.layer_times import EndTimes
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import times_of
from sweepengine.formulas.seconds import at_keys
from sweepengine.formulas.tokens import Pass
from sweepengine.grid.points import checked_point

STEPS_TABLE = "steps"
FRAMEWORK = "vllm"
MODELS = {
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "qwen3-32b": "Qwen/Qwen3-32B",
}
DEVICES = ("h100-sxm", "h200", "a100-80gb", "b200", "l40s")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CASE_TOKENS = (128, 512, 1024, 4096, 8192, 16384)
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
        for tokens in CASE_TOKENS:
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
    """Our sum of the same operators, us.

    Parameters
    ----------
    device, model : str
        Shipped ones.
    phase : str
        "prefill" of so many tokens, or "decode" of one that meets so many keys.
    sequences, tokens : int
        Of the case.
    """
    loaded = load_model(model)
    point = checked_point(loaded, {})
    speeds = speeds_of(loaded.architecture, point, timing_target(load_device(device), FRAMEWORK))
    decode = phase == "decode"
    one = Pass(float(sequences), 1 if decode else tokens, 0, decode=int(decode))
    found = 0.0
    for part in times_of(share_of(loaded.architecture, 0, 0), one, speeds):
        if isinstance(part.operators, EndTimes):
            found += part.operators.head - speeds.host.head
            continue
        layer = part.operators.projections + part.operators.attention + part.operators.mlp
        layer += sum(at_keys(line, tokens) for name, line, _ in part.lines if name == "attention")
        found += part.layers * layer
    return found
