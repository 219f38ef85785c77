"""Times of layers and their ends with sizes of one, worked by hand from the docstrings' formulas.

Work takes 1 us a FLOP, or traffic 1 us a byte; all else is free but for launches that are named.
"""

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import GATED_DELTA_NET, Recurrent
from sweepengine.formulas.expert_times import image_experts_us, routed_us
from sweepengine.formulas.layer_times import (
    end_times,
    exchange_us,
    handed_on_us,
    layer_times,
    reduce_us,
    residual_us,
)
from sweepengine.formulas.layout import WHOLE, EndsHeld, Layout
from sweepengine.formulas.operator_rates import (
    AllReduceRates,
    ConvolutionRates,
    DecodeRates,
    ExchangeRates,
    PrefillRates,
    StateRates,
)
from sweepengine.formulas.recurrent_times import measured_mixer_us
from sweepengine.formulas.speeds import Wires
from sweepengine.formulas.tokens import Pass
from tests.speeds import COUNTING, FREE, ONE_HEAD, rates

HIDDEN, ROWS = 5, 3.0
QWEN = load_model("qwen3-8b").architecture
BACKBONE = QWEN.backbone._replace(hidden=HIDDEN)
EXPERTS = load_model("qwen3-30b-a3b").architecture.groups[0].feed_forward._replace(
    experts=2, experts_held=2, experts_per_token=1, expert_width=3, matrices=3
)  # fmt: skip
"""Two experts, of which a token takes one: three matrices of 3 x h."""
SEVEN = COUNTING._replace(host=COUNTING.host._replace(moved=1.0, pass_launch=7.0, step_launch=11.0))
"""Element-wise kernels start in 7 us in a prefill and in 11 in a step, and move 1 byte a us."""
PREFILL = Pass(sequences=1.0, tokens=3, cached=0, decode=0)
STEP = Pass(sequences=1.0, tokens=1, cached=2, decode=1)


def layer(one, speeds=COUNTING, attention=ONE_HEAD, forward=EXPERTS, **backbone):
    group = QWEN.groups[0]._replace(attention=attention, feed_forward=forward)
    return layer_times(group, BACKBONE._replace(**backbone), WHOLE, one, speeds)


def test_experts_in_a_latent_of_one_channel():
    # 3 pairs of a token and an expert
    assert routed_us(EXPERTS, 3, HIDDEN, ROWS, WHOLE, COUNTING) == 2 * 3 * (3 * 3 * 5)
    # matrices of 3 x 1, and a projection of 5 channels to one and back
    latent = EXPERTS._replace(expert_latent=1)
    assert routed_us(latent, 3, HIDDEN, ROWS, WHOLE, COUNTING) == 2 * 3 * (3 * 3 + 5 + 5)


def test_experts_of_one_channel_that_tokens_of_images_take():
    images = EXPERTS._replace(image_width=1)
    # three matrices of 1 x 5, and a router of 2 x 5
    assert image_experts_us(images, HIDDEN, ROWS, WHOLE, COUNTING) == 2 * 3 * (3 * 5 + 2 * 5)
    assert image_experts_us(EXPERTS, HIDDEN, ROWS, WHOLE, COUNTING) == 0


def test_a_step_of_a_mixer_takes_rates_of_steps():
    mixer = Recurrent(2, 1, 3, 4, 4, 1, GATED_DELTA_NET, 0, 0, 1)
    speeds = COUNTING._replace(
        convolution=rates(ConvolutionRates, launch=1000.0),
        convolution_step=rates(ConvolutionRates, launch=7.0),
        state_step=rates(StateRates, launch=11.0),
    )
    assert measured_mixer_us(mixer, STEP, 13.0, speeds) == 7 + 11 + 13


def test_two_devices_add_up():
    speeds = COUNTING._replace(reduce=rates(AllReduceRates, launch=3.0, device=2.0, two=1.0))
    assert reduce_us(8.0, 1, speeds) == 0
    assert reduce_us(8.0, 2, speeds) == 3 + 2 * 2 + 2 * 8 * 1 / 2
    # of four, two on a node: an empty one there, the network's start, and 3 parts of 4 twice
    wires = Wires(node=2, link=FREE, network=1.0, latency=0.0, network_latency=11.0)
    beyond = speeds._replace(wires=wires)
    assert reduce_us(8.0, 4, beyond) == (3 + 2 * 2) + 11 + 2 * 8 * 3 / 4


def test_two_groups_exchange_tokens_with_experts_elsewhere():
    speeds = COUNTING._replace(
        exchange=rates(ExchangeRates, launch=7.0, link=1.0),
        exchange_step=rates(ExchangeRates, launch=11.0, link=1.0),
        reduce=rates(AllReduceRates, launch=1000.0),
    )
    # 3 tokens of 5 channels in 1 + 2 bytes, to one group beside their own
    for experts in (1, 2):
        forward = EXPERTS._replace(experts=experts)
        for decode, launch in ((0, 7), (1, 11)):
            found = exchange_us(forward, HIDDEN, ROWS, Layout(1, 2, 1, 2), decode, speeds)
            assert found == launch + 3 * 5 * 3
    assert exchange_us(EXPERTS, HIDDEN, ROWS, WHOLE, 0, speeds) == 0
    none = EXPERTS._replace(experts=0)
    assert exchange_us(none, HIDDEN, ROWS, Layout(1, 2, 1, 2), 0, speeds) == 0


def test_parts_beside_the_residual_stream():
    """Matrices in 1 us a FLOP, values of 2 bytes in 1 us a byte; an element-wise kernel in 7."""

    def found(**parts):
        return residual_us(BACKBONE._replace(**parts), ROWS, 7.0, SEVEN)

    assert found() == 0
    # AltUp of 2 streams: two GEMMs of 2 x 5; 4*2 + 1 values a channel, in two launches
    altup = 2 * (2 * 3 * 2 * 5) + 2 * 3 * 5 * 9 + 2 * 7
    assert found(alternatives=2) == altup
    # LAuReL of rank 2: 2 x 5 and back; a norm and an addition, 4 values a channel
    laurel = 2 * (2 * 3 * 2 * 5) + 2 * 4 * 3 * 5 + 7
    assert found(laurel_rank=2) == laurel
    layer_input = 2 * (2 * 3 * 3 * 5) + 2 * 4 * 3 * 5 + 7
    assert found(input_width=3) == layer_input
    assert found(alternatives=2, laurel_rank=2, input_width=3) == altup + laurel + layer_input


def test_hyper_connections_around_two_branches():
    # of 2 streams: 2*(2 + 2) numbers out of 2*5 channels; 3*2 + 2 values of 2 bytes a channel
    assert layer(PREFILL, SEVEN, streams=2).streams == 2 * (2 * 3 * 8 * 10 + 2 * 3 * 8 * 5 + 7)
    assert layer(PREFILL, SEVEN, streams=0).streams == 0


def test_a_layer_of_cross_attention_makes_keys_in_a_prefill_and_meets_them_in_all_steps():
    """Two features: keys and values of 3 + 2 rows, 5 columns."""
    crossed = ONE_HEAD._replace(crossed=1)
    speeds = COUNTING._replace(
        prefill=rates(PrefillRates, launch=7.0), decode=rates(DecodeRates, launch=11.0)
    )
    first = layer(PREFILL._replace(features=2), speeds, crossed)
    assert (first.feature_keys, first.attention) == (2 * 2 * 5 * 5, 7 + 4 * 3 * 2 * 3)
    step = layer(STEP._replace(features=2), speeds, crossed)
    assert (step.feature_keys, step.attention) == (0, 11 + 4 * 2 * 3)


def test_a_step_absorbs_what_a_prefill_expands():
    """Queries of 3 rows and a latent of 1 + 1 from 5 channels, and 2 channels out to 5."""
    latent = ONE_HEAD._replace(latent=1)
    around = 5 * (3 + 2) + 2 * 5
    # queries of 2 channels and values of 2, from and to a latent of one
    assert layer(STEP, attention=latent).projections == 2 * (around + 2 + 2)
    # the same for a token and for the two before it
    chunk = STEP._replace(decode=0)
    assert layer(chunk, attention=latent).projections == 2 * (around + 3 * (2 + 2))


def test_a_gate_of_shared_experts_is_one_number():
    assert layer(PREFILL, forward=EXPERTS._replace(shared_gate=1)).shared_gate == 2 * 3 * 5


def test_one_of_two_sends_leaves_the_node():
    """30 bytes; three stages, two of which a node holds."""
    wires = Wires(node=2, link=1.0, network=0.5, latency=20.0, network_latency=11.0)
    speeds = COUNTING._replace(wires=wires)
    near, far = 20 + 30, 20 + 11 + 60
    for stages, sent in ((1, 0), (2, near), (3, near + far)):
        assert handed_on_us(BACKBONE, Layout(1, 1, stages, 1), ROWS, speeds) == sent


def test_the_ends_of_a_draft():
    """A row and a hidden state together, to one of 5 channels; each token of a step has logits."""
    backbone = BACKBONE._replace(fused=1, vocabulary=11)
    for decode, positions in ((0, 1), (1, 2)):
        one = Pass(sequences=1.0, tokens=2, cached=0, decode=decode)
        found = end_times(backbone, WHOLE, EndsHeld(1, 1, 1), one, COUNTING)
        assert found.embedding == 2 * 2 * 5 * (2 * 5)
        assert found.head == 2 * positions * 5 * 11
