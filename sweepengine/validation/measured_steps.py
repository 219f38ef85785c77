"""Compares predicted passes with the sum of their measured operators, as aiconfigurator sums them.

Both sums include projections, attention, MLP and head. Operators that aiconfigurator estimates
(norms, activations) are left out of both.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from sweepengine.data.devices import load_device
from sweepengine.data.models import load_model
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.layer_times import EndTimes
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import times_of
from sweepengine.formulas.seconds import at_keys
from sweepengine.formulas.tokens import Pass
from sweepengine.grid.points import checked_point
from sweepengine.validation.measured_operators import silicon_folder

STEPS_TABLE = "steps"
FRAMEWORK = "vllm"
MODELS = {
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "qwen3-32b": "Qwen/Qwen3-32B",
}
DEVICES = ("h100-sxm", "h200", "a100-80gb", "b200", "l40s")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CASE_TOKENS = (128, 512, 1024, 4096, 8192, 16384)
MAX_CACHED = 1 << 20
"""Largest number of cached tokens of all sequences together."""
MAX_PREFILLED = 1 << 16
"""Largest number of tokens in a prefill."""
MEASURED = ("qkv_gemm", "proj_gemm", "attention", "gate_ffn1_gemm", "ffn2_gemm", "logits_gemm")
"""Measured operators by their name in aiconfigurator."""


class StepCase(NamedTuple):
    """One prefill or decode step; times in ms."""

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
    """Compare all cases of devices, models, batches and lengths.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    silicon_folder("systems")  # fails where the extra is not installed
    from aiconfigurator_core.sdk.engine import EngineHandle

    logging.getLogger().setLevel(logging.CRITICAL)
    cases: list[StepCase] = []
    for name in DEVICES:
        for model, path in MODELS.items():
            with contextlib.redirect_stderr(io.StringIO()):
                system = str(load_device(name).measured)
                handle = EngineHandle.compile(path, system, FRAMEWORK, tp_size=1)
                cases += _cases(name, model, handle)
    return cases


def _cases(device: str, model: str, handle: Any) -> Iterator[StepCase]:
    for sequences in BATCHES:
        for tokens in CASE_TOKENS:
            if sequences * tokens > MAX_CACHED:
                continue
            prefill, decode = handle.run_static_per_op(batch_size=sequences, isl=tokens, osl=2)
            for phase, operators in (("prefill", prefill), ("decode", decode)):
                if phase == "prefill" and sequences * tokens > MAX_PREFILLED:
                    continue
                times = {name.split("_", 1)[1]: value for name, value, *_ in operators}
                measured = sum(times[name] for name in MEASURED)
                predicted = _predicted_us(device, model, phase, sequences, tokens) / 1e3
                yield StepCase(device, model, phase, sequences, tokens, predicted, measured)


def _predicted_us(device: str, model: str, phase: str, sequences: int, tokens: int) -> float:
    """Predicted sum of the same operators, us; `tokens` are keys in a decode step."""
    loaded = load_model(model)
    point = checked_point(loaded, {})
    speeds = speeds_of(loaded.architecture, point, timing_target(load_device(device), FRAMEWORK))
    decode = phase == "decode"
    run = Pass(float(sequences), 1 if decode else tokens, 0, decode=int(decode))
    total = 0.0
    for part in times_of(share_of(loaded.architecture, 0, 0), run, speeds):
        if isinstance(part.operators, EndTimes):
            total += part.operators.head - speeds.host.head
            continue
        layer = part.operators.projections + part.operators.attention + part.operators.mlp
        layer += sum(at_keys(line, tokens) for name, line, _ in part.lines if name == "attention")
        total += part.layers * layer
    return total
