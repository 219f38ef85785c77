"""Models compared on the same requests: counts by hand, rates as those of `fit`."""

import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.query.sources import open_sources
from sweepengine.search.model_costs import compare_models

PAGES = """name = "pages"
[axes]
model = ["granite-docling-258m", "got-ocr2", "mineru2.5"]
device = ["l40s"]
page = ["a4@200dpi", "a4@144dpi"]
decode_steps = [1000]
batch_size = [8, 1]
"""
PROMPTS = """name = "prompts"
[axes]
model = ["llama-3.1-8b", "llama-3.1-70b"]
device = ["rtx-4090"]
prompt_tokens = [1000, 2000]
decode_steps = [100]
batch_size = [1, 2]
"""


def compared(grid_file, text=PAGES, prices=None):
    return compare_models(open_sources(grid_file(text)), prices or {})


@pytest.fixture
def pages(grid_file):
    return compared(grid_file)


def decoder(context, steps, layers, hidden, key_value, mlp, vocabulary):
    """FLOPs of prefill and of all steps; a step attends to the context, answers and itself."""
    linear = 2 * layers * (2 * hidden * hidden + 2 * hidden * key_value + 3 * hidden * mlp)
    head = 2 * hidden * vocabulary
    attended = sum(context + step for step in range(1, steps + 1))
    return (
        context * (linear + head) + layers * 4 * context * context * hidden,
        steps * (linear + head) + layers * 4 * attended * hidden,
    )


def test_granite_docling_by_hand(pages):
    cost = pages.workloads[0].costs[0]
    # 2339 x 1654 becomes 2048 x 1448, up to whole tiles of 512: 4 x 3, and the whole page once.
    views, patches, width = 4 * 3 + 1, (512 // 16) ** 2, 768
    features = (512 // 16 // 4) ** 2
    # Each tile between a row and a column token; a line break a row; the global view and 3 more.
    assert cost.tokens == 4 * (3 * (features + 2) + 1) + features + 3 == 863
    block = 2 * patches * 4 * width**2 + 4 * patches**2 * width + 2 * patches * 2 * width * 3072
    embedding, projector = 2 * patches * (16 * 16 * 3) * width, 2 * features * (16 * width) * 576
    prefill, decode = decoder(863 + 10, 1000, 30, 576, 192, 1536, 100352)
    assert cost.flops == {
        "vision": views * (embedding + 12 * block + projector),
        "prefill": prefill,
        "decode": decode,
    }
    assert cost.weight_bytes == 2 * 257_517_120
    assert cost.kv_cache_bytes == (863 + 10 + 1000) * 30 * 2 * 192 * 2


def test_mineru_by_hand(pages):
    cost = pages.workloads[0].costs[2]
    # 2339 x 1654 / s, s = sqrt(2339 * 1654 / (2048 * 28 * 28)) = 1.5522: 53 x 38 whole 28 pixels.
    features = 53 * 38
    patches, width = 4 * features, 1280
    assert cost.tokens == features + 2 == 2016
    block = 2 * patches * 4 * width**2 + 4 * patches**2 * width + 2 * patches * 2 * width * 5120
    embedding = 2 * patches * (14 * 14 * 3 * 2) * width
    merger = 2 * features * (5120 * 5120 + 5120 * 896)
    prefill, decode = decoder(2016 + 10, 1000, 24, 896, 128, 4864, 151936)
    assert cost.flops == {
        "vision": embedding + 32 * block + merger,
        "prefill": prefill,
        "decode": decode,
    }


def test_rate_is_that_of_fit(pages):
    for workload, page in zip(pages.workloads, ("a4@200dpi", "a4@144dpi"), strict=True):
        cost = workload.costs[2]
        fitted = se.fit("mineru2.5", "l40s", {"page": page, "answer": 1000})
        (row,) = fitted.filter(batch_size=8).to_dicts()
        assert cost.rates["l40s"].batch_size == 8
        assert cost.rates["l40s"].requests_per_day == pytest.approx(row["requests_per_s"] * 86_400)


def test_model_of_one_image_size_stands_with_every_page(pages):
    assert [workload.inputs for workload in pages.workloads] == [
        {"image_height": 2339, "image_width": 1654},
        {"image_height": 1684, "image_width": 1191},
    ]
    first, second = (workload.costs[1] for workload in pages.workloads)
    assert first == second
    assert first.tokens == 258


def test_price_gives_requests_a_usd(grid_file):
    comparison = compared(grid_file, prices={"l40s": 0.5})
    cost = comparison.workloads[0].costs[0]
    paid = comparison.requests_per_usd(cost, "l40s")
    assert paid == pytest.approx(cost.rates["l40s"].requests_per_day / 12)
    assert compared(grid_file).requests_per_usd(cost, "l40s") is None


def test_model_that_does_not_fit_has_no_rate(grid_file):
    comparison = compared(grid_file, PROMPTS)
    small, large = comparison.workloads[1].costs
    assert comparison.workloads[1].inputs == {"prompt_tokens": 2000}
    assert small.tokens == 2000
    assert "vision" not in small.flops
    assert small.rates["rtx-4090"].requests_per_day > 0
    assert large.rates["rtx-4090"] == (0.0, 0)


@pytest.mark.parametrize(
    ("old", "new", "prices", "expected"),
    [
        ('device = ["l40s"]\n', "", {}, "axes.device: expected at least one device"),
        ("batch_size", 'framework = ["vllm", "sglang"]\nbatch_size', {},
         "axes.framework: expected one serving engine, found vllm, sglang"),
        ('"got-ocr2"', '"llama-3.1-8b"', {"l4": 1.0}, "report: price of l4: expected one of l40s"),
        ('"got-ocr2"', '"llama-3.1-8b"',
         {}, "requests differ in image_height, image_width, prompt_tokens"),
    ],
)  # fmt: skip
def test_grids_that_cannot_be_compared_are_refused(grid_file, old, new, prices, expected):
    text = PAGES.replace(old, new)
    if "prompt_tokens" in expected:
        text = text.replace("decode_steps", "prompt_tokens = [1, 2]\ndecode_steps")
    with pytest.raises(InputError, match=expected):
        compared(grid_file, text, prices)
