import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.formulas.architecture import Span
from sweepengine.formulas.attention_times import steps_us
from sweepengine.formulas.operator_rates import (
    AllReduceRates,
    DecodeRates,
    EncoderRates,
    GemmRates,
    LatentDecodeRates,
    MoeRates,
    PrefillRates,
)
from sweepengine.formulas.seconds import (
    Line,
    all_reduce,
    at_keys,
    balanced_experts,
    decode_line,
    element_wise,
    encoder_attention,
    expected_experts,
    filled_width,
    gemm,
    latent_decode_line,
    moe,
    prefill_attention,
    up_to,
    warmth,
)
from sweepengine.formulas.serving import (
    CONTINUOUS,
    SERVING,
    Batch,
    Passes,
    ServingEngine,
    chunk_requests,
    disaggregated,
    disaggregated_ttft,
    queued,
    scheduled_steps,
    seconds_of,
)

GEMM = GemmRates(
    launch=2, depth=0.001, depth_cap=1000, quantise=0, quantise_pad=0, flops=1e6, pad=100, droop=0,
    activations=1, bytes=1e4, overlap=0.5, warm=0, warm_bytes=1e6, weight_bytes=2,
)  # fmt: skip
DECODE = DecodeRates(launch=10, latency=0.01, latency_keys=100, latency_single=1000, block=2,
                query=0.5, flops=1e6, bytes=1e4, warm=0, warm_bytes=1e6)  # fmt: skip


def test_gemm_by_hand():
    # work 2*10*20*(400 + 100)/1e6 = 0.2; traffic (2*20*400 + 2*10*400 + 2*10*20)/1e4 = 2.44
    assert gemm(10, 20, 400, GEMM) == pytest.approx(2 + 0.4 + 2.44 + 0.5 * 0.2)
    # the pipeline is full after 1,000 channels
    deep = gemm(10, 20, 2000, GEMM)
    assert deep == pytest.approx(2 + 1 + (80_000 + 40_000 + 400) / 1e4 + 0.5 * 0.84)
    assert gemm(0, 20, 400, GEMM) == 0


def test_gemm_quantises_and_droops():
    quantised = GEMM._replace(quantise=0.001, quantise_pad=50)
    assert gemm(10, 20, 400, quantised) - gemm(10, 20, 400, GEMM) == pytest.approx(4.5)
    bound = GEMM._replace(bytes=1e12, overlap=0, depth=0, pad=0)
    work = gemm(1000, 1000, 1000, bound) - 2
    assert work == pytest.approx(2000)
    assert gemm(1000, 1000, 1000, bound._replace(droop=0.1)) - 2 == pytest.approx(
        2000 * (1 + 0.1 * 2000 / 2500)
    )


def test_decode_by_hand():
    # blocks (2*4 + 0.5*8)*3*64/128 = 18; at 50 keys latency 0.5; traffic
    # (2*3*4*64*2*50 + 4*3*8*64)/1e4 = 15.9744; work 4*3*8*50*64/1e6 = 0.3072
    line = decode_line(3, 8, 4, 64, 2, DECODE)
    assert at_keys(line, 50) == pytest.approx(10 + 18 + 0.5 + 15.9744)
    assert at_keys(line, 200) - at_keys(line, 100) == pytest.approx(30.72)
    own = decode_line(3, 8, 8, 64, 2, DECODE)
    assert at_keys(own, 200) - at_keys(own, 100) == pytest.approx(61.44 + 1.0)
    assert decode_line(3, 0, 0, 64, 2, DECODE) == Line(0, 0, 0, 0, 0, 0)


def test_latent_decode_takes_the_longer_of_work_and_traffic():
    rates = LatentDecodeRates(launch=5, latency=0, latency_keys=0, query=0.1, flops=1e6, bytes=1e4)
    line = latent_decode_line(2, 16, 512, 64, 2, rates)
    # traffic 0.1*2*16 + 2*576*2*10/1e4 = 5.504; work 2*2*16*1088*10/1e6 = 0.69632
    assert at_keys(line, 10) == pytest.approx(5 + 5.504)
    assert at_keys(line._replace(work=1.0), 10) == pytest.approx(5 + 10)


def test_prefill_by_hand():
    rates = PrefillRates(launch=4, latency=0.01, block=0.5, pad=0, width_pad=0, outside=0,
                         flops=1e6, bytes=1e4, overlap=0.5, resident=0,
                         resident_bytes=1e6)  # fmt: skip
    # pairs 100*100/2; work 4*2*8*5000*128/1e6 = 40.96; traffic 2*128*(4*8 + 12*4)*100/1e4 = 204.8
    assert prefill_attention(2, 8, 4, 128, 100, 0, 0, 2, rates) == pytest.approx(
        4 + 1 + 8 + 204.8 + 0.5 * 40.96
    )
    # behind 50 cached ones each token meets 50 more, whose keys and values are read
    more = prefill_attention(2, 8, 4, 128, 100, 50, 0, 2, rates)
    assert more - prefill_attention(2, 8, 4, 128, 100, 0, 0, 2, rates) == pytest.approx(
        0.5 * 4 * 2 * 8 * 5000 * 128 / 1e6 + 2 * 128 * 2 * 2 * 4 * 50 / 1e4
    )
    # a window of 20: 20*20/2 pairs, then 80 tokens of 20
    banded = prefill_attention(2, 8, 4, 128, 100, 0, 20, 2, rates)
    assert banded == pytest.approx(4 + 1 + 8 + 0.5 * 4 * 2 * 8 * 1800 * 128 / 1e6 + 204.8)
    # a quarter of the work on pairs before the window: 80 tokens, (100 + 20)/2 - 20 of them each
    masked = prefill_attention(2, 8, 4, 128, 100, 0, 20, 2, rates._replace(outside=0.25))
    assert masked - banded == pytest.approx(0.5 * 4 * 2 * 8 * 0.25 * 80 * 40 * 128 / 1e6)
    # 30 cached tokens fill the window, so every token has pairs before it: 30 + 100/2 - 20
    behind = [prefill_attention(2, 8, 4, 128, 100, 30, 20, 2, rates._replace(outside=x))
              for x in (0, 0.25)]  # fmt: skip
    assert behind[1] - behind[0] == pytest.approx(0.5 * 4 * 2 * 8 * 0.25 * 100 * 60 * 128 / 1e6)
    # 10 cached ones leave 10 tokens that the window does not cut: (100 + 10)/2 + 10 - 20 of 90
    behind = [prefill_attention(2, 8, 4, 128, 100, 10, 20, 2, rates._replace(outside=x))
              for x in (0, 0.25)]  # fmt: skip
    assert behind[1] - behind[0] == pytest.approx(0.5 * 4 * 2 * 8 * 0.25 * 90 * 45 * 128 / 1e6)
    # a kernel that does all of them works as hard as without a window
    all_of_them = rates._replace(outside=1)
    assert prefill_attention(2, 8, 4, 128, 100, 10, 20, 2, all_of_them) == pytest.approx(
        prefill_attention(2, 8, 4, 128, 100, 10, 0, 2, all_of_them)
    )
    # the traffic is half of what the cache holds, which keeps 0.8*(1 - 1/16) of it
    cached = rates._replace(resident=0.8, resident_bytes=2 * 2.048e6)
    saved = banded - prefill_attention(2, 8, 4, 128, 100, 0, 20, 2, cached)
    assert saved == pytest.approx(204.8 * 0.8 * (1 - 1 / 16))


def test_no_head_costs_less_than_its_channels():
    rates = PrefillRates(launch=0, latency=0, block=0, pad=0, width_pad=3000, outside=0,
                         flops=1e6, bytes=1e4, overlap=0, resident=0,
                         resident_bytes=1e6)  # fmt: skip
    # padded to the tiles of 128 channels below, and never below the channels of a wide head
    assert filled_width(64, rates) == pytest.approx(128 * 3064 / 3128)
    assert filled_width(512, rates) == 512


def test_encoder_by_hand():
    rates = EncoderRates(launch=4, latency=0, block=0, pad=0, flops=1e6, bytes=1e5, overlap=0.5,
                         resident=0, resident_bytes=1e6, wide=1.5, wider=2)  # fmt: skip
    narrow = 256 * 2 * 8 * 100 * 100 / 1e6
    moved = 8 * 2 * 8 * 100 / 1e5
    for width, times in ((64, 1), (72, 1.5), (80, 2), (160, 4)):
        found = encoder_attention(2, 8, width, 100, rates)
        assert found == pytest.approx(4 + times * narrow + 0.5 * moved * width)


def test_mixture_by_hand():
    rates = MoeRates(launch=20, depth=0.001, expert=0.5, token=0.01, flops=1e6, token_pad=2,
                    width_pad=0, activations=1, bytes=1e5, overlap=0, token_moves=0, pair_moves=0,
                    inner_moves=0, warm=0, warm_bytes=1e6, weight_bytes=1)  # fmt: skip
    # work 6*64*32*(40 + 2*8)/1e6 = 0.688128
    # traffic (3*64*32*8 + 2*(2*10*64 + 40*(128 + 128)))/1e5 = 0.721920
    found = moe(10, 64, 32, 40, 8, 3, rates)
    assert found == pytest.approx(20 + 0.096 + 4 + 0.1 + 0.72192)
    assert moe(10, 64, 32, 0, 8, 3, rates) == 0
    # moved outside: 2*(2*2*10*64 + 40*(2*3*64 + 4*5*32))
    outside = rates._replace(token_moves=2e-5, pair_moves=3e-5, inner_moves=5e-5)
    assert moe(10, 64, 32, 40, 8, 3, outside) - found == pytest.approx(0.8704)


def test_experts_that_copies_touch():
    assert balanced_experts(8, 5) == 5
    assert balanced_experts(8, 50) == 8
    assert expected_experts(8, 8) == pytest.approx(8 * (1 - math.exp(-1)))


def test_all_reduce_by_hand():
    rates = AllReduceRates(
        launch=5, device=1, two=1e4, four=2e4, more=4e4, ramp=1e-4, ramp_bytes=1e5
    )
    assert all_reduce(1e6, 2, rates) == pytest.approx(5 + 2 + 100 + 10)
    assert all_reduce(1e6, 4, rates) == pytest.approx(5 + 4 + 2e6 * 0.75 / 2e4 + 10)
    assert all_reduce(1e6, 8, rates) == pytest.approx(5 + 8 + 2e6 * 0.875 / 4e4 + 10)
    assert all_reduce(1e6, 1, rates) == 0


def test_element_wise_and_warmth():
    assert element_wise(1e4, 2, 1e3) == 12
    assert element_wise(0, 2, 1e3) == 0
    assert warmth(0.5, 1e6, 0) == 0.5
    assert warmth(0.5, 1e6, 1e6) == warmth(0.5, 1e6, 1e9) == 1
    assert warmth(0.5, 1e6, 5e5) == pytest.approx(1 - 0.5 * (1 - 0.5**4))


LINES = st.builds(
    Line,
    st.floats(0, 50),
    st.floats(0, 0.1),
    st.floats(0, 3000),
    st.floats(0, 100),
    st.floats(0, 1),
    st.floats(0, 1),
)


@given(LINES, st.integers(0, 2000))
def test_sum_of_steps_is_exact(line, keys):
    whole = math.fsum(at_keys(line, key) for key in range(1, keys + 1))
    assert up_to(line, keys) == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(LINES, st.integers(0, 500), st.integers(0, 700), st.sampled_from([0, 1, 64, 300]))
def test_steps_within_a_window_are_exact(line, cached, steps, window):
    met = range(cached + 1, cached + steps + 1)
    whole = math.fsum(at_keys(line, min(key, window) if window else key) for key in met)
    found = steps_us(line, cached, steps, Span(window, 0, 1))
    assert found == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_queue_by_hand():
    """All prefills alike and half busy: half a prefill; of two lengths more, as long ones block."""
    assert queued(2.0, 4.0, 0.5) == 1.0
    assert queued(2.0, (1.0 + 9.0) / 2, 0.8) == pytest.approx(5.0)
    assert queued(2.0, 4.0, 0.0) == 0


ENGINE = ServingEngine(overlap=0.9, sequence=10, chunk=8192, first=1000, burst=0.1, steps=3,
                       ranks=0, prompt=5, queue=400, least=0, tpot_factor=1.1,
                       ttft_factor=0.8)  # fmt: skip
PASSES = Passes(vision=2000, prefill=20_000, refill=120_000, decode=200 * 5000)


def test_serving_by_hand():
    found = seconds_of(PASSES, Batch(8, 1000, 200), CONTINUOUS, ENGINE)
    step = 0.9 * 5000 + 10 * 8
    assert found.step == pytest.approx(1.1 * step / 1e6)
    assert found.tpot == pytest.approx(1.1 * (step + 120_000 / 200) / 1e6)
    assert found.decode == pytest.approx(200 * found.tpot)
    waited = 1000 + 0.1 * 120_000 + 3 * step + 400 * 8
    assert found.ttft == pytest.approx(0.8 * (waited + 22_000 + 5 * 1000) / 1e6)


@pytest.mark.parametrize(("sequences", "steps"), [(0.5, 3), (1, 3), (1.25, 8), (2, 23), (64, 23)])
def test_ranks_wait_while_each_has_a_sequence_to_decode(sequences, steps):
    """A rank that runs one request has none when the next one arrives, so nobody waits."""
    engine = ENGINE._replace(ranks=20)
    assert scheduled_steps(sequences, engine) == steps
    found = seconds_of(PASSES, Batch(sequences, 1000, 200), CONTINUOUS, engine)
    alone = seconds_of(PASSES, Batch(sequences, 1000, 200), CONTINUOUS, ENGINE)
    step = found.step / 1.1
    assert found.ttft - alone.ttft == pytest.approx(0.8 * (steps - 3) * step, abs=1e-12)


def test_serving_that_decodes_nothing_waits_for_no_step():
    found = seconds_of(PASSES._replace(decode=0), Batch(8, 1000, 0), CONTINUOUS, ENGINE)
    assert (found.tpot, found.step, found.decode) == (0, 0, 0)
    waited = 1000 + 0.1 * 120_000 + 400 * 8
    assert found.ttft == pytest.approx(0.8 * (waited + 22_000 + 5 * 1000) / 1e6)


def test_a_batch_that_is_filled_at_once_takes_its_passes_alone():
    found = seconds_of(PASSES, Batch(8, 1000, 200), SERVING.index("static"), ENGINE)
    assert (found.ttft, found.tpot, found.step) == (0.022, 0.005, 0.005)


def test_a_pass_takes_no_less_than_its_launches():
    """A host that launches kernels one by one fills at most one pass a step."""
    slow = ENGINE._replace(least=30_000)
    found = seconds_of(PASSES, Batch(8, 1000, 200), CONTINUOUS, slow)
    usual = seconds_of(PASSES, Batch(8, 1000, 200), CONTINUOUS, ENGINE)
    assert found.refill == pytest.approx(8 * 30_000 / 1e6)
    assert found.tpot - usual.tpot == pytest.approx(1.1 * (8 * 30_000 - 120_000) / 200 / 1e6)
    more = 0.8 * (0.1 * (8 * 30_000 - 120_000) + 30_000 - 22_000)
    assert found.ttft - usual.ttft == pytest.approx(more / 1e6)
    many = seconds_of(PASSES, Batch(500, 1000, 200), CONTINUOUS, slow)
    assert many.refill == pytest.approx(200 * 30_000 / 1e6)


def test_disaggregated_first_tokens_by_hand():
    engine = ENGINE._replace(first=1000, burst=0.1, steps=20)
    assert disaggregated_ttft(500, 8000, 10, engine) == 1000 + 500 + 800 + 200


def test_requests_share_a_pass_as_far_as_a_chunk_holds_them():
    assert chunk_requests(64, 1000, 8192) == 8
    assert chunk_requests(3, 1000, 8192) == 3
    assert chunk_requests(64, 10_000, 8192) == 1
    assert chunk_requests(64, 1000, 0) == 1


def test_fillers_that_keep_up_leave_decoders_busy():
    step, waited, batch = disaggregated(lambda b: 10 + b, 50, 64, 100, 64, 2)
    assert waited == pytest.approx(50 + step)
    assert step == pytest.approx(10 + batch)
    assert batch == pytest.approx(64 * 100 * step / (100 * step + 50) / 2, rel=1e-6)
    # one filler for all of them: requests queue, and few decode at once
    slow, queued, few = disaggregated(lambda b: 10 + b, 500, 64, 100, 1, 2)
    assert few < batch
    assert queued > 10 * waited
    assert slow < step
