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
    assert facts["columns"] == 66
    assert "numba" not in done.stderr
    assert "10,108,800" in command("plan", "grids/capacity.toml").stdout


def test_run_ends_with_points_seconds_and_rate(process, command, grid_file, tmp_path):
    done = process("run", grid_file(TINY), "--out", tmp_path / "d")
    assert done.returncode == 0
    assert done.stderr == ""
    points, seconds, rate = done.stdout.splitlines()[-1].split(", ")
    assert points == "2 points"
    assert seconds.endswith(" seconds")
    assert rate.endswith(" points/s")
    again = command("run", grid_file(TINY), "--out", tmp_path / "d")
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
        (["fit", "llama-3.1-8b", "--device", "H100-SXM"], "(did you mean h100-sxm?)"),
        (["fit", "LLAMA-3.1-8B", "--device", "l4"], "(did you mean llama-3.1-8b?)"),
        (["fit", "llama-3.1-8b", "--device", "l4", "--batch", "8"], "--batch-size"),
        (["explain", "--prompts", "8"], "--prompt-tokens"),
        (["fit", "llama-3.1-8b", "--device", "l4", "--precision", "FP8"], "(did you mean fp8?)"),
        (["explain", "--mode", "Gundam:2x3"], "(did you mean gundam?)"),
        (
            ["fit", "meta-llama/Llama-3.1-8B-Instruct", "--device", "l4"],
            "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct/raw/main/config.json",
        ),
        (["plan", "zzz"], 'grid "zzz" does not exist: expected'),
    ],
)
def test_errors_suggest_the_nearest_name(command, words, said):
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_config_of_the_hub_cache_is_found_by_its_repository(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "models--some--Tiny-Llama"
    for revision, layers in (("0a", 2), ("0b", 4)):
        (folder / "snapshots" / revision).mkdir(parents=True)
        config = {"model_type": "llama", "vocab_size": 320, "hidden_size": 64,
                  "intermediate_size": 96, "num_hidden_layers": layers,
                  "num_attention_heads": 4}  # fmt: skip
        (folder / "snapshots" / revision / "config.json").write_text(json.dumps(config))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0a\n")

    def sheet():
        return " ".join(command("models", "some/Tiny-Llama").stdout.split())

    assert sheet().startswith("Tiny-Llama: llama decoder")
    assert " layers 2 " in sheet()
    done = command("deploy", "some/Tiny-Llama", "--device", "l4", "--prompt", "100")
    assert "vllm serve some/Tiny-Llama " in done.stdout
    (folder / "refs" / "main").write_text("0c\n")
    (folder / "snapshots" / "0b" / "config.json").touch()
    assert " layers 4 " in sheet()
    assert str(tmp_path) in command("models", "some/Other").stderr


def test_file_of_lengths_and_a_single_length_contradict_by_the_name_of_the_option(
    command, tmp_path
):
    (tmp_path / "l.csv").write_text("prompt,answer\n300,70\n")
    words = ("fit", "llama-3.1-8b", "--device", "l4", "--lengths", tmp_path / "l.csv")
    done = command(*words, "--shared-prefix", "64")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sweepengine: fit: --shared-prefix: remove it, or --lengths\n"


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (["--prompt", "4k"], ["--prompt", "4000"]),
        (["--prompt", "1,500", "--answer", "0.2k"], ["--prompt", "1500", "--answer", "200"]),
        (["--ttft", "200ms", "--tpot", "0.5 s"], ["--ttft", "0.2", "--tpot", "0.5"]),
        (["--share", "90%"], ["--share", "0.9"]),
        (["--framework", "SGLang"], ["--framework", "sglang"]),
    ],
)
def test_units_are_read_where_they_are_clear(command, written, plain):
    asked = ("fit", "llama-3.1-8b", "--device", "l4", "--json")
    assert command(*asked, *written).stdout == command(*asked, *plain).stdout != ""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["--prompt", "1.2345k"], "not an integer: expected such as 4000 or 4k"),
        (["--prompt", "4ms"], "not an integer"),
        (["--ttft", "4k"], "not a float: expected such as 0.2 or 200ms"),
        (["--share", "90ms"], "expected such as 0.95 or 95%"),
        (["--ttft", "-1s"], "not a float"),
    ],
)
def test_other_units_are_refused_in_one_line(command, written, said):
    done = command("fit", "llama-3.1-8b", "--device", "l4", *written)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_pipeline_is_explained_whatever_ends_its_stages(command):
    done = command("explain", "--model", "gemma-3-27b", "--layout", "pp8", "--device", "h200")
    assert done.returncode == 0, done.stderr
    assert "lower bound at the peaks" in done.stdout


def test_explain_says_which_inputs_change_no_times(command):
    asked = ("explain", "--model", "deepseek-v3", "--layout", "tp8", "--device", "h200")
    assert "fused kernels" not in command(*asked).stdout
    said = command(*asked, "--attention", "eager", "--latent", "expanded").stdout
    assert "attention eager, latent expanded: of counts alone" in said
    alone = command("explain", "--model", "llama-3.1-8b", "--attention", "eager").stdout
    assert "fused kernels" not in alone


def test_fit_names_a_check_against_torch_for_a_config_alone(command, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('extends = "llama-3.1-8b"\nname = "own"\n')
    assert "validate --config" not in command("fit", own, "--device", "l4").stdout
    done = command("validate", "--config", own)
    assert done.returncode == 2
    assert done.stderr == f"sweepengine: --config {own}: expected a config.json or its folder\n"


def test_misspelled_keys_of_a_grid_are_named_with_the_nearest(grid_file):
    for text, said in (
        ('name = "x"\nmodle = "y"\n[axes]\n', "modle: unknown key (did you mean model?)"),
        ('name = "x"\n[axes]\nbatch_sizes = [1]\n', "unknown key (did you mean batch_size?)"),
    ):
        with pytest.raises(InputError) as raised:
            load_grid(grid_file(text))
        assert said in str(raised.value)
