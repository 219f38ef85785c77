"""What must be at least as much: measured times beyond the roofline, more work, better devices."""

from hypothesis import assume, given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.data.files import shipped_table
from tests.fuzz import examples
from tests.laws.drawn import answer, points

SECONDS = ("vision_seconds", "prefill_seconds", "decode_seconds", "ttft_seconds", "tpot_seconds",
           "step_seconds")  # fmt: skip
ALONE = ("vision_seconds", "prefill_seconds", "decode_seconds", "step_seconds")
"""Times of a request or a batch, whatever others do."""
COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "weight_io_bytes", "kv_io_bytes",
          "kv_cache_bytes", "link_bytes", "context_tokens")  # fmt: skip
ROUNDED = 1 + 1e-9


def compresses(name):
    """Whether a model replaces tokens by fewer entries, so that one token more may hold less."""
    return any(kind.stride for kind in se.load_model(name).architecture.attentions)


def both(name, point, changed):
    """The answers to two points that are valid; a draw of others counts for nothing."""
    one, other = answer(se.cost, name, **point), answer(se.cost, name, **point | changed)
    assume(one is not None and other is not None)
    return one, other


@examples(8)
@given(points())
def test_law_roofline_is_never_above_measured_kernels(drawn):
    """But for what fitted factors of a serving engine shorten: its overlap, its activated experts.

    Factors of families, which `times = "model"` leaves out, shorten times likewise. Under load TTFT
    has a wait, too: for a whole step at the roofline, for 0.56 of one under SGLang.
    """
    name, point = drawn
    fitted = answer(se.cost, name, times="model", **point)
    assume(fitted is not None)
    least = se.cost(name, times="roofline", **point)
    versions = shipped_table("serving_engines", f"{point['framework']}.toml")["versions"]
    engine = next(iter(versions.values()))
    routed = bool(se.load_model(name).architecture.routings)
    shortened = min(engine["overlap"], 1) * (engine["effective_experts"] if routed else 1)
    most = ROUNDED / shortened
    left_out = {"ttft_seconds"} if point["serving"] == "continuous" else set()
    compared = [column for column in SECONDS if column not in left_out]
    above = {column: (least[column], fitted[column]) for column in compared
             if column in fitted and least[column] > fitted[column] * most}  # fmt: skip
    assert above == {}


@examples(6)
@given(points(), st.sampled_from(["batch_size", "decode_steps", "prompt_tokens", "text_tokens"]),
       st.sampled_from([1, 2, 16, 333]))  # fmt: skip
def test_law_more_work_costs_no_less(drawn, grown, more):
    name, point = drawn
    assume(grown in point)
    one, other = both(name, point, {grown: point[grown] + more})
    kept = ("kv_cache_bytes",) if compresses(name) else ()
    less = {column: (value, other[column]) for column, value in one.items()
            if column.endswith(COUNTS) and not column.endswith(kept)
            and value > other[column] * ROUNDED}  # fmt: skip
    assert less == {}
    if grown != "batch_size":
        assert one["largest_batch"] >= other["largest_batch"]
    assert one["fits"] >= other["fits"]
    assert one["fits"] == (point["batch_size"] <= one["largest_batch"])


@examples(6)
@given(points(), st.sampled_from(["batch_size", "prompt_tokens", "text_tokens", "decode_steps"]),
       st.sampled_from([1, 2, 16, 333]))  # fmt: skip
def test_law_more_work_takes_no_less_time(drawn, grown, more):
    """Longer answers come with fewer prefills of other requests a token, which shortens a TPOT.

    Engines switch the kernel of routed experts at a number of tokens, where a time may fall.
    """
    name, point = drawn
    assume(grown in point and not se.load_model(name).architecture.routings)
    one, other = both(name, point, {grown: point[grown] + more})
    timed = ALONE if grown == "decode_steps" else SECONDS
    less = {column: (one[column], other[column]) for column in timed
            if column in one and one[column] > other[column] * ROUNDED}  # fmt: skip
    assert less == {}


@examples(6)
@given(points(rare={}), st.sampled_from(["tensor_tflops", "bandwidth_gbs", "memory_gb"]))
def test_law_better_device_is_no_slower(drawn, figure):
    """More memory holds no less; engines choose other chunks for it, which decide times too."""
    name, point = drawn
    kind = se.load_device(point["device"])
    peaks = {"tensor_tflops": kind.tensor_flops_per_s / 1e12,
             "bandwidth_gbs": kind.bytes_per_s / 1e9,
             "memory_gb": kind.memory_bytes / 1e9}  # fmt: skip
    values = [{f"device_{figure}": round(peaks[figure] * times, 3)} for times in (1, 1.5)]
    one, other = both(name, point | values[0], values[1])
    timed = () if figure == "memory_gb" else SECONDS
    slower = {column: (one[column], other[column]) for column in timed
              if column in one and one[column] * ROUNDED < other[column]}  # fmt: skip
    assert slower == {}
    assert one["largest_batch"] <= other["largest_batch"]


@examples(4)
@given(points(rare={}))
def test_law_more_devices_hold_no_more_each(drawn):
    name, point = drawn
    del point["layout"]
    one = answer(se.cost, name, **point)
    assume(one is not None)
    for layout in ("tp2", "pp2", "dp2", "tp2-pp2"):
        share = answer(se.cost, name, **point, layout=layout)
        if share is not None:
            assert share["weight_bytes"] <= one["weight_bytes"], layout
            assert share["decode_tensor_flops"] <= one["decode_tensor_flops"], layout
            assert share["devices"] > 1
