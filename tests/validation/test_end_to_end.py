from sweepengine.architecture import load_model
from sweepengine.validation import end_to_end


def test_every_stage_parameter_and_cache_equals_the_modules():
    checks = end_to_end.measure(load_model())
    assert [check for check in checks if check.status != "equal"] == []
    stages = {check.what.split(",")[0].split()[0] for check in checks}
    assert stages == {"vision", "prefill", "decode", "KV", "parameters"}


def test_check_with_another_figure_is_different():
    assert end_to_end.Check("prefill", "FLOP", 1, 2).status == "different"
