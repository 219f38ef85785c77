import pytest

from sweepengine.data.models import load_model
from sweepengine.validation import end_to_end
from sweepengine.validation.counters import Figure

pytestmark = pytest.mark.slow


def test_every_stage_parameter_and_cache_equals_the_modules(validation):
    checks = validation.end_to_end
    assert [check for check in checks if check.status != "equal"] == []
    measured = {check.what: check.measured for check in checks}
    for mode in ("tiny", "small", "base", "large", "gundam 2x3", "gundam-m 2x3"):
        assert measured[f"vision + prefill, {mode}"] > measured[f"vision, {mode}"] > 0
    assert measured["parameters, all"] == 3_336_106_240
    assert measured["weights in bf16"] == 6_672_212_480
    assert sum(what.startswith("decode 3 steps") for what in measured) == 5


def test_second_model_equals_its_modules_from_pixels_to_parameters():
    model = load_model("deepseek-ocr-2")
    checks = [*end_to_end.vision_checks(model), *end_to_end.parameter_checks(model)]
    assert [check for check in checks if check.status != "equal"] == []
    measured = {check.what: check.measured for check in checks}
    assert measured["parameters, all"] == 3_389_119_360
    assert measured["vision, gundam 0x0"] == 1_366_157_361_152
    assert measured["vision, gundam 2x3"] == 5_734_290_096_128


def test_check_with_another_figure_is_different():
    assert Figure("prefill", "FLOP", 1, 2).status == "different"
