import json
import sys

import pytest

from sweepengine import cli
from sweepengine.validation import summary

pytestmark = pytest.mark.slow


@pytest.fixture
def validate(monkeypatch, tmp_path, capsys):
    """The command on what was measured: exit code, what it prints, what it writes."""

    def run(found):
        monkeypatch.setattr(summary, "measure", lambda _: found)
        file = tmp_path / "validation.json"
        monkeypatch.setattr(sys, "argv", ["sweepengine", "validate", "--json", str(file)])
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code
        return code, capsys.readouterr().out, json.loads(file.read_text())

    return run


def test_command_says_that_all_agree(validate, validation):
    code, shown, written = validate(validation)
    assert code == 0
    assert shown.endswith(
        "21 of 21 layers and 50 of 50 end-to-end figures equal, 23 of 23 activation peaks within "
        "tolerance\n"
    )
    assert [len(written[part]) for part in ("layers", "end_to_end", "activation_memory")] == [
        21, 50, 23,
    ]  # fmt: skip
    assert {row["relative_difference"] for row in written["layers"]} == {0}
    assert {check["status"] for check in written["end_to_end"]} == {"equal"}
    for row in written["layers"]:
        assert f"{row['measured_flops'] or row['measured_elementwise']:,}" in shown


@pytest.mark.parametrize("part", ["layers", "end_to_end", "activation_memory"])
def test_one_wrong_figure_fails_the_command(validate, validation, part):
    figures = list(getattr(validation, part))
    field = {"layers": "analytic_flops", "end_to_end": "analytic",
             "activation_memory": "analytic_bytes"}[part]  # fmt: skip
    figures[0] = figures[0]._replace(**{field: 2 * getattr(figures[0], field)})
    code, shown, written = validate(validation._replace(**{part: figures}))
    assert code == 1
    assert f"{len(figures) - 1} of {len(figures)}" in shown.splitlines()[-1]
    assert written[part][0]["status"] in ("different", "outside")
