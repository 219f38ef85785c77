"""Forms of recurrent mixers, checked by hand."""

import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.models import load_model
from sweepengine.data.rates import FORMS, fields_of
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas import recurrent_times
from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    MAMBA_2,
    SHORT_CONVOLUTION,
)
from sweepengine.formulas.operator_rates import ChunkRates, ConvolutionRates, StateRates
from sweepengine.formulas.tokens import Pass
from sweepengine.grid.points import checked_point

H100 = load_device("h100-sxm")
COLD = {"resident": 0.0, "resident_bytes": 1e9}
CONVOLUTION = ConvolutionRates(
    launch=2.0, latency=0.1, latency_tokens=10.0, block=1e-5, bytes=1000.0, **COLD
)
CHUNKS = ChunkRates(
    launch=20.0, latency=0.5, flops=1e6, activations=3.0, bytes=1000.0, overlap=0.25, **COLD
)
STATE = StateRates(launch=4.0, bytes=1000.0, warm=0.0, warm_bytes=1e9)


def test_a_convolution_moves_its_channels_and_its_state():
    moved = 4 * 2 * 3000 * (100 + 4)
    assert recurrent_times.convolution(2, 100, 3000, 4, CONVOLUTION) == pytest.approx(
        2 + 0.1 * 10 + 1e-5 * 6000 + moved / 1000
    )
    assert recurrent_times.convolution(2, 5, 3000, 4, CONVOLUTION) == pytest.approx(
        2 + 0.1 * 5 + 1e-5 * 6000 + 4 * 2 * 3000 * 9 / 1000
    )


def test_chunks_walk_along_a_sequence_or_work_on_all_of_them():
    done = 8 * 1e6 / 1e6 + 2 * 8 * (3 * 100 * 10 + 2 * 500) / 1000
    assert done > 0.5 * 100
    assert recurrent_times.chunked_scan(8, 100, 1e6, 10, 500, CHUNKS) == pytest.approx(
        20 + done + 0.25 * 50
    )
    one = done / 8
    assert recurrent_times.chunked_scan(1, 100, 1e6, 10, 500, CHUNKS) == pytest.approx(
        20 + 50 + 0.25 * one
    )


def test_a_step_reads_its_state_once_and_writes_it_for_each_token():
    assert recurrent_times.state_step(8, 1, 500, STATE) == pytest.approx(4 + 2 * 8 * 500 * 2 / 1000)
    assert recurrent_times.state_step(8, 4, 500, STATE) == pytest.approx(4 + 2 * 8 * 500 * 5 / 1000)


@pytest.mark.parametrize(("form", "resident"), [("convolution", True), ("delta-chunks", True),
                                            ("state-step", False)])  # fmt: skip
def test_what_a_kernel_before_wrote_stays_in_cache_and_states_do_not(form, resident):
    """States of all layers are read between two uses of one; activations are used at once."""
    model = load_model("qwen3.5-9b")
    speeds = speeds_of(model.architecture, checked_point(model, {}), timing_target(H100))
    rates = getattr(speeds, form.replace("-", "_"))
    share = rates.resident if resident else rates.warm
    assert (share > 0) == resident
    assert set(rates._fields) == set(fields_of(FORMS[form]))


CHUNK_RATES = {KIMI_DELTA_ATTENTION: "kimi_chunks", GATED_DELTA_NET: "delta_chunks",
               MAMBA_2: "delta_chunks", SHORT_CONVOLUTION: ""}  # fmt: skip


@pytest.mark.parametrize("kind", CHUNK_RATES)
def test_chunks_take_the_rates_of_their_kind(kind):
    model = load_model("qwen3.5-9b")
    speeds = speeds_of(model.architecture, checked_point(model, {}), timing_target(H100))
    mixer = next(g.recurrent for g in model.architecture.groups if g.recurrent.heads)
    one = Pass(sequences=4.0, tokens=2048, cached=0, decode=0)
    mixer = mixer._replace(kind=kind)

    def time(speeds):
        return recurrent_times.recurrent_us(mixer, 4096, one, 2.5, speeds)

    for name in ("kimi_chunks", "delta_chunks"):
        slower = getattr(speeds, name)._replace(launch=1e6)
        changed = time(speeds._replace(**{name: slower})) - time(speeds)
        assert (changed > 9e5) == (name == CHUNK_RATES[kind]), name
