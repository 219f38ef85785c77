import pytest
import torch
from torch import nn

from sweepengine.validation import activation_memory
from sweepengine.validation.counters import live_peak

pytestmark = pytest.mark.slow


def test_analytic_peaks_are_near_what_torch_holds_alive(validation):
    peaks = validation.activation_memory
    assert [peak for peak in peaks if peak.status != "within"] == []
    assert {"SAM encoder", "CLIP transformer", "prefill", "decode step"} <= {p.what for p in peaks}
    assert {peak.attention for peak in peaks} == {"eager", "flash"}


def test_peak_beyond_its_tolerance_is_outside():
    assert activation_memory.Peak("prefill", "eager", 100, 113, 0.12).status == "outside"
    assert activation_memory.Peak("prefill", "eager", 100, 89, 0.12).status == "within"


def test_live_storage_counts_views_once_and_forgets_what_is_freed():
    layer = nn.Linear(10, 10, bias=False)
    values = torch.randn(5, 10)

    def twice():
        kept = layer(values).view(50).view(10, 5).T
        for _ in range(3):
            torch.exp(kept)

    assert live_peak([layer], twice, values) == 3 * 50 * 4
