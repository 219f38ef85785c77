"""What `slo` and `explain` say on devices, and the uses that they refuse."""

import json

import pytest

import sweepengine as se
from tests.manifests import facts_of, write_facts
from tests.search.test_slo import GRID


def test_command_answers_in_words_and_json(command, grid_file, tmp_path):
    path = grid_file(GRID)
    arguments = ["slo", path, "--device", "h100-sxm", "--device", "h20", "--price", "h20=1"]
    shown = command(*arguments, "--chart", tmp_path / "fronts.svg").stdout
    assert "TTFT 0.1 s, TPOT 3 ms" in shown
    assert "cheapest: h20" in shown
    assert "\nA h100-sxm\nB h20\n* best within the targets" in shown
    assert (tmp_path / "fronts.svg").read_text().count('aria-roledescription="point"') > 5
    facts = json.loads(command(*arguments, "--json", "--tpot", "0.01").stdout)
    assert facts["targets"] == {"ttft_s": 0.1, "tpot_s": 0.01}
    assert [answer["device"] for answer in facts["answers"]] == ["h100-sxm", "h20"]
    assert facts["answers"][0]["usd_per_million_tokens"] is None


def test_nothing_meets_impossible_targets(command, grid_file, tmp_path):
    chart = tmp_path / "none.png"
    done = command("slo", grid_file(GRID), "--device", "h20", "--ttft", "1e-9", "--chart", chart)
    assert done.returncode == 0
    assert "none in targets" in done.stdout
    assert chart.stat().st_size > 0


H100 = ["--device", "h100-sxm"]
BAD = {
    "unknown device": (["--device", "abacus"], "one of a10, a100-40gb, a100-80gb"),
    "price of another device": (
        [*H100, "--price", "l40s=1"],
        "price of l40s: expected one of h100-sxm",
    ),
    "price that is none": ([*H100, "--price", "h100-sxm=cheap"], "expected DEVICE=USD an hour"),
    "price of 0": ([*H100, "--price", "h100-sxm=0"], "expected USD an hour above 0"),
    "TTFT of 0": ([*H100, "--ttft", "0"], "ttft_s = 0: expected seconds above 0"),
    "negative TPOT": ([*H100, "--tpot", "-1"], "tpot_s = -1: expected seconds above 0"),
    "fraction": (
        [*H100, "--times", "roofline", "--compute-fraction", "2"],
        "achievable compute = 2.0: expected",
    ),
    "fraction of silicon": (
        [*H100, "--compute-fraction", "0.5"],
        "fractions of peaks do not apply to measured kernels of h100-sxm: "
        "expected --times roofline",
    ),
    "silicon of a device without rates": (
        ["--device", "gaudi-3", "--times", "silicon"],
        'gaudi-3: has no rates: expected times = "roofline", a device of',
    ),
    "no such points": (
        [*H100, "--where", "batch_size = 7"],
        "no points match: expected at least one",
    ),
    "SQL": ([*H100, "--where", "batch_size = = 7"], "--where: unable to parse"),
    "chart": ([*H100, "--chart", "x.gif"], "x.gif: expected a file name that ends in .svg"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_use_is_one_line(command, grid_file, case):
    arguments, expected = BAD[case]
    done = command("slo", grid_file(GRID), *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_datasets_are_refused(command, grid_file, tmp_path):
    se.run(grid_file(GRID), tmp_path / "d")
    good = facts_of(tmp_path / "d")
    (tmp_path / "other").mkdir()
    cases = {
        tmp_path / "other": ({}, "is not a dataset"),
        tmp_path / "d": (good | {"schema_version": 9}, "expected 3 or 4"),
    }
    for folder, (facts, expected) in cases.items():
        if facts:
            write_facts(folder, facts)
        done = command("slo", folder, *H100)
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr
    write_facts(tmp_path / "d", good | {"points": 0})
    assert "points: Input should be greater" in command("slo", tmp_path / "d", *H100).stderr


def test_explain_tells_what_fits_a_device(command):
    asked = [
        "explain",
        "--model",
        "llama-3.1-70b",
        "--prompt-tokens",
        "1000",
        "--device",
        "h100-sxm",
    ]
    assert "the batch does not fit, largest batch 0" in command(*asked).stdout
    shown = command(*asked, "--layout", "tp8", "--precision", "fp8-kv8").stdout
    assert "h100-sxm x 8: lower bound at the peaks of the data sheet, ms" in shown
    assert "of 85.0 usable" in shown
    assert "the batch fits, largest batch" in shown
    facts = json.loads(command(*asked, "--layout", "tp8", "--json").stdout)
    (place,) = facts["devices"]
    assert place["device"] == "h100-sxm"
    assert (place["devices"], place["memory"]["fits"]) == (8, True)
    assert {stage["stage"]: stage["bound"] for stage in place["stages"]} == {
        "prefill": "compute", "decode": "memory",
    }  # fmt: skip
