"""No kernel is timed faster than the data sheet allows, at measured shapes and far beyond them."""

import numpy as np
import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.rates import (
    FORMS,
    fields_of,
    ideal,
    load_rates,
    operands,
    resolved,
    scales_of,
    shipped_rates,
    weight_bytes,
)
from sweepengine.engine.operator_times import operator_times
from sweepengine.formulas.operator_rates import AllReduceRates

COLD = {"warm": 0.0, "resident": 0.0}
"""Of rates that say what caches hold."""
LEAST = {"activations": 0.0}
"""Traffic that a kernel before or after may keep; weights, keys and states are always read."""
SWITCHED = 2
"""A switch that adds up halves what a ring sends."""
SHAPES = 400
ATTENTION = [(1, 512), (1, 128), (1, 128), (16, 512), (1, 2e5), (0, 0), (1, 2)]
RANGES = {
    "GemmRates": [(1, 1e5), (16, 2e5), (16, 6e4)],
    "DecodeRates": ATTENTION,
    "PrefillRates": ATTENTION,
    "EncoderRates": [(1, 256), (1, 32), (16, 160), (16, 2e4)],
    "MoeRates": [(1, 1e5), (256, 2e4), (64, 2e4), (1, 16), (16, 512), (1, 1), (1, 1), (2, 3),
                 (0, 0)],
    "LatentDecodeRates": [(1, 512), (1, 128), (1, 2e5), (1, 2)],
    "LatentPrefillRates": [(1, 64), (1, 128), (1, 2e5)],
    "IndexRates": [(1, 16), (1, 2e4), (1, 2e5), (8, 64), (64, 128)],
    "IndexStepRates": [(1, 512), (1, 4), (1, 2e5), (8, 64), (64, 128)],
    "TopKRates": [(1, 16), (1, 2e4), (1, 2e5), (512, 2048)],
    "SparseRates": [(1, 64), (1, 2e4), (1, 128), (512, 2048), (512, 512), (64, 64)],
    "ConvolutionRates": [(1, 512), (1, 2e4), (512, 2e4), (4, 4)],
    "ChunkRates": [(1, 64), (1, 2e4), (1e6, 1e13), (1e3, 5e4), (1e4, 2e6)],
    "StateRates": [(1, 1024), (1, 8), (1e4, 2e6)],
    "ExchangeRates": [(1, 1e5), (1024, 8192), (1, 8), (2, 8)],
    "AllReduceRates": [(1e3, 1e9), (2, 8)],
}  # fmt: skip
"""Least and most of each number of a shape, by the record of rates."""


def shapes_of(form):
    """Shapes spread evenly over orders of magnitude, the same in every run."""
    draw = np.random.default_rng(0)
    spans = [np.log(np.maximum(span, 1e-9)) for span in RANGES[form.__name__]]
    columns = [np.exp(draw.uniform(low, high, SHAPES)) for low, high in spans]
    shapes = np.floor(np.column_stack(columns) + 1e-6)
    if form.__name__ in ("DecodeRates", "PrefillRates"):
        shapes[:, 1] *= shapes[:, 2]  # whole groups of query heads
    return shapes


@pytest.mark.parametrize("kind", FORMS)
def test_no_kernel_takes_less_than_its_work_and_what_it_must_read(kind):
    form = FORMS[kind]
    shapes, fields, count = shapes_of(form), set(fields_of(form)), 0
    cold, least = ({k: v for k, v in zero.items() if k in fields} for zero in (COLD, LEAST))
    switched = SWITCHED if form is AllReduceRates else 1
    for (device, framework), path in shipped_rates().items():
        for name, fit in load_rates(path).fits.get(kind, {}).items():
            weights, activations = operands(name)
            scales, size = scales_of(load_device(device), activations), weight_bytes(weights)
            sheet = operator_times(shapes, resolved(form, ideal(form) | least, scales, size))
            for kernel in fit.kernels:
                for rates in kernel.all_rates:
                    times = operator_times(shapes, resolved(form, rates | cold, scales, size))
                    faster = shapes[times * (1 + 1e-9) < sheet / switched]
                    assert not len(faster), (device, framework, name, kernel.name, faster[0])
                    count += 1
    assert count >= 6
