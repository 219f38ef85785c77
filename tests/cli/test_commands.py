import json
import shlex
import subprocess
import sys

import pytest

from sweepengine.cli import commands
from sweepengine.data.errors import InputError
from sweepengine.grid.files import load_grid

TINY = 'name = "t"\n[axes]\nbatch_size = [1, 2]\n'


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['sweepengine', '--help']\n"
        "from sweepengine.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[0:0] + "
        "['numba', 'numpy', 'polars', 'pyarrow', 'pydantic', 'altair', 'torch', 'ray'])))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Check:" in done.stdout


def test_plan_counts_and_computes_nothing(command):
    done = command("plan", "capacity", "--json")
    facts = json.loads(done.stdout)
    assert facts["points"] == 10_108_800
    assert facts["columns"] == 63
    assert "numba" not in done.stderr
    assert "10,108,800" in command("plan", "grids/capacity.toml").stdout


def test_run_ends_with_points_seconds_and_rate(process, grid_file, tmp_path):
    done = process("run", grid_file(TINY), "--out", tmp_path / "d")
    assert done.returncode == 0
    assert done.stderr == ""
    points, seconds, rate = done.stdout.splitlines()[-1].split(", ")
    assert points == "2 points"
    assert seconds.endswith(" seconds")
    assert rate.endswith(" points/s")
    again = process("run", grid_file(TINY), "--out", tmp_path / "d")
    assert "2 of them from before" in again.stdout


def test_models_lists_sources_and_parameters(command):
    shown = command("models").stdout
    facts = json.loads(command("models", "--json").stdout)
    parameters = {model["name"]: model["parameter_count"] for model in facts}
    assert parameters["deepseek-ocr-3b"] == 3_336_106_240
    assert parameters["deepseek-ocr-3b-modelmeter"] == 1_167_654_912
    assert parameters["llama-3.1-8b"] == 8_030_261_248
    assert len(parameters) == 43
    assert all(f"{count:,}" in shown for count in parameters.values())
    assert all(model["sources"] for model in facts)


def test_report_exits_1_when_a_cell_differs(command, root, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.report.KINDS", ())  # tables alone
    reference = tmp_path / "reference"
    reference.mkdir()
    text = (root / "tests/data/reference/vision.csv").read_text()
    (reference / "vision.csv").write_text(text.replace("1438.851", "1438.852"))
    done = command(
        "report", "published-vision", "--out", tmp_path / "out", "--reference", reference
    )
    assert done.returncode == 1
    assert "158 cells equal, 1 different" in done.stdout
    assert "tensor_cuda_ratio: 1438.851, published 1438.852" in done.stdout


BAD_GRIDS = {
    "unknown key": 'name = "t"\nfoo = 1\n[axes]\n',
    "empty axis": 'name = "t"\n[axes]\ncrops = []\n',
    "no toml": "name = ",
    "overflow": 'name = "t"\n[axes]\nbatch_size = [65536]\ndecode_steps = [1000000]\n'
    "text_tokens = [1000000]\n",
    "markup": 'name = "t"\n[axes]\ncrops = ["[red]3by2[/red]"]\n',
}


@pytest.mark.parametrize("case", BAD_GRIDS)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_bad_grid_is_one_line_on_stderr_and_exit_2(command, grid_file, tmp_path, case, verb):
    path = grid_file(BAD_GRIDS[case])
    out = ["--out", tmp_path / "d"] if verb == "run" else []
    done = command(verb, path, *out)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"sweepengine: {path}: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()


BAD_USES = {
    "unknown command": (["fly"], "No such command 'fly'"),
    "unknown option": (["plan", "capacity", "--fast"], "No such option"),
    "no grid": (["plan"], "Missing argument 'GRID'"),
    "no out": (["run", "capacity"], "Missing option '--out'"),
    "engine": (["run", "modes", "--out", "x", "--engine", "abacus"], "'abacus' is not"),
    "workers": (["run", "modes", "--out", "x", "--workers", "0"], "--workers"),
    "grid": (["plan", "nope"], "one of accelerators, capacity, layouts, modes, ocr-models"),
    "directory": (["report", "tests", "--out", "x"], "tests: is not a dataset"),
}


@pytest.mark.parametrize("case", BAD_USES)
def test_wrong_use_is_one_line_on_stderr_and_exit_2(command, root, case):
    arguments, expected = BAD_USES[case]
    done = command(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (root / "x").exists()


def test_help_lists_every_command_once_by_its_question():
    from sweepengine.cli import QUESTIONS

    listed = [name for names in QUESTIONS.values() for name in names]
    assert sorted(listed) == sorted(commands.commands)


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_of_a_command_has_an_example_that_parses(name):
    command = commands.commands[name]
    words = shlex.split(command.epilog.removeprefix("Example: "))
    assert words[:2] == ["sweepengine", name]
    command.make_context(name, words[2:])


def test_without_a_command_there_is_a_card(process):
    done = process()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("deepseek-ocr-3b: 3.34 billion parameters")
    assert "sweepengine --help" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "llama-3.1-8b", "--device", "h100"], "(did you mean h100-pcie or h100-sxm?)"),
        (["fit", "llama3-8b", "--device", "l4"], "(did you mean llama-3.1-8b?)"),
        (["plan", "capcity"], "(did you mean capacity?)"),
        (["query", "modes", "--where", "batchsize = 3"], "(did you mean batch_size?)"),
        (["repot"], "Did you mean 'report'?"),
        (["plan", "zzz"], 'grid "zzz" does not exist: expected'),
    ],
)
def test_errors_suggest_the_nearest_name(command, words, said):
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_misspelled_keys_of_a_grid_are_named_with_the_nearest(grid_file):
    for text, said in (
        ('name = "x"\nmodle = "y"\n[axes]\n', "modle: unknown key (did you mean model?)"),
        ('name = "x"\n[axes]\nbatch_sizes = [1]\n', "unknown key (did you mean batch_size?)"),
    ):
        with pytest.raises(InputError) as raised:
            load_grid(grid_file(text))
        assert said in str(raised.value)
