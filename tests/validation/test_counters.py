import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sweepengine.validation import counters
from sweepengine.validation.counters import counted_flops

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(counters._Remembered, "results", {})


def facts(tensor):
    return tensor.shape, tensor.stride(), tensor.dtype


def seen_by_torch(call):
    """What torch makes of a call and counts in it, with nothing remembered."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made = call()
    return facts(made), counter.get_total_flops()


def seen_by_ours(call):
    made = []
    flops = counted_flops(lambda: made.append(call()))
    return facts(made[0]), flops


def layer(rows, width, dtype=torch.float32):
    """A norm, a gate and a GEMM, with views, copies and changes in place among them."""

    def run():
        with torch.device("meta"):
            values = torch.empty(2, rows, width, dtype=dtype)
            weights = torch.empty(3 * width, width, dtype=dtype)
            scaled = values * torch.rsqrt(values.float().pow(2).mean(-1, keepdim=True) + 1e-6)
            joined = torch.cat([scaled.to(dtype), values], -1).view(2, rows, 2, width)
            chosen = joined.transpose(1, 2)[:, 0].add_(1)
            wide = chosen.unsqueeze(1).expand(-1, 3, -1, -1)[:, 1:, ..., ::2].flatten(0, 1)
            mixed = nn.functional.linear(wide, weights[:, ::2]).softmax(-1).transpose(0, 1) * 2
            return mixed.unflatten(-1, (3, -1)).narrow(2, 1, 2).movedim(0, 1)

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_remembered_is_what_torch_says(dtype):
    cases = [layer(5, 8, dtype), layer(7, 8, dtype), layer(5, 16, dtype)]
    expected = [seen_by_torch(case) for case in cases]
    assert len({flops for _, flops in expected}) == 3
    for _ in range(2):
        assert [seen_by_ours(case) for case in cases] == expected


def test_torch_is_asked_once_for_each_shape():
    seen_by_ours(layer(5, 8))
    asked = dict(counters._Remembered.results)
    assert len(asked) >= 8
    seen_by_ours(layer(5, 8))
    assert counters._Remembered.results == asked
    seen_by_ours(layer(6, 8))
    assert len(counters._Remembered.results) > len(asked)


def test_values_and_changes_in_place_are_left_to_torch():
    ones = torch.ones(3, 3)
    counted_flops(lambda: (ones + 1).add_(ones).view(9))
    assert counters._Remembered.results == {}
    assert counted_flops(lambda: ones @ ones) == 2 * 27
