"""Rates that are easy to follow, one FLOP a microsecond and all else free; a small attention."""

from sweepengine.data.models import load_model
from sweepengine.formulas.operator_rates import (
    AllReduceRates,
    ChunkRates,
    ConvolutionRates,
    DecodeRates,
    EncoderRates,
    ExchangeRates,
    GemmRates,
    IndexRates,
    IndexStepRates,
    LatentDecodeRates,
    LatentPrefillRates,
    MoeRates,
    PrefillRates,
    SparseRates,
    StateRates,
    TopKRates,
)
from sweepengine.formulas.speeds import Host, Speeds, Wires

FREE = 1e300
"""Byte/us of what is to cost nothing."""

ONES = ("warm_bytes", "resident_bytes", "wide", "wider")


def rates(form, **figures):
    """Rates that count FLOPs alone."""
    plain = dict.fromkeys(form._fields, 0.0)
    plain |= {name: FREE for name in ("bytes", "two", "four", "more", "link") if name in plain}
    plain |= {"flops": 1.0} if "flops" in plain else {}
    plain |= {name: 1.0 for name in ONES if name in plain}
    return form(**(plain | figures))


COUNTING = Speeds(
    **{name: rates(GemmRates) for name in ("attention", "mlp", "plain")},
    **{name: rates(DecodeRates) for name in ("decode", "decode_wide", "decode_window")},
    **{name: rates(PrefillRates) for name in ("prefill", "prefill_wide", "prefill_window")},
    encoder=rates(EncoderRates),
    experts=rates(MoeRates),
    experts_many=rates(MoeRates),
    latent_decode=rates(LatentDecodeRates),
    latent_prefill=rates(LatentPrefillRates),
    **{name: rates(ConvolutionRates) for name in ("convolution", "convolution_step")},
    **{name: rates(ChunkRates) for name in ("delta_chunks", "kimi_chunks")},
    state_step=rates(StateRates),
    index_logits=rates(IndexRates),
    index_step=rates(IndexStepRates),
    top_k=rates(TopKRates),
    sparse_prefill=rates(SparseRates),
    exchange=rates(ExchangeRates),
    exchange_step=rates(ExchangeRates),
    reduce=rates(AllReduceRates),
    nccl=rates(AllReduceRates),
    host=Host(
        step_launch=0.0,
        pass_launch=0.0,
        head=0.0,
        moved=FREE,
        effective_experts=1.0,
        dense_prefills=0,
    ),
    wires=Wires(node=8, link=FREE, network=FREE, latency=0.0, network_latency=0.0),
    cached=2.0,
)

ONE_HEAD = load_model("qwen3-8b").architecture.groups[0].attention._replace(
    heads=1, key_value_heads=1, key_width=3, value_width=2, rotary_width=1
)  # fmt: skip
"""Keys of 3 channels, one of them rotated, and values of 2."""
