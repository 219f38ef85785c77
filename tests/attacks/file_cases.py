"""Attacks by files of grids, models, devices and configs."""

from collections.abc import Iterator
from pathlib import Path

from tests.attacks.attack import CONFIG, MODEL, Attack
from tests.attacks.contents import BIG, DEVICE, LONG, SLO, SMALL, fifo, large, link_to


def grids() -> Iterator[Attack]:
    """Grid files."""
    values = {
        "huge": f"batch_size = [{BIG}]", "long": f"batch_size = [{LONG}]", "hex": f"batch_size = [0x{'f' * 5000}]",
        "long stop": f"batch_size = {{start = 1, stop = {LONG}, step = 1}}",
        "huge stop": f"batch_size = {{start = 1, stop = {BIG}, step = 1}}",
        "huge step": f"batch_size = {{start = 1, stop = 8, step = {BIG}}}",
        "step 2^62": f"batch_size = {{start = 1, stop = 8, step = {2**62}}}",
        "huge factor": f"batch_size = {{geometric = [1, 8], factor = {BIG}}}",
        "factor 2^62": f"batch_size = {{geometric = [1, 8], factor = {2**62}}}",
        "zero step": "batch_size = {start = 1, stop = 8, step = 0}", "nan": "batch_size = [nan]",
        "backwards": "batch_size = {start = 8, stop = 1, step = 1}", "infinity": "batch_size = [inf]",
        "bool": "batch_size = [true]", "text": 'batch_size = ["1"]', "float": "batch_size = [1.0]",
        "zero": "batch_size = [0]", "negative": "batch_size = [-1]", "nothing": "batch_size = []",
        "twice": "batch_size = [1, 1]", "key twice": "batch_size = [1]\nbatch_size = [1]",
        "unknown": "nope = [1]", "nested": "batch_size = [[1]]", "table": "batch_size = {}",
        "date": "batch_size = 2020-01-01", "deep": "batch_size = " + "[" * 5000 + "]" * 5000,
        "dotted": "a" + ".a" * 5000 + " = 1", "crops": 'crops = ["1001x1"]', "crops zero": 'crops = ["0x1"]',
        "crops text": 'crops = ["axb"]', "crops digits": f'crops = ["{LONG}x1"]', "heads": "heads = [[7, 7]]",
        "heads long": f"heads = [[{BIG}, 1]]", "mode": 'mode = ["nope"]', "device": 'device = ["nope"]',
        "device path": 'device = ["../x.toml"]', "device nul": 'device = ["a\\u0000b"]',
        "layout": 'layout = ["tp0"]', "layout text": 'layout = ["' + "tp1-" * 5000 + '"]',
        "layout huge": f'layout = ["tp{LONG}"]', "precision": 'precision = ["nope"]',
        "precision empty": 'precision = [""]', "view": "view_size = [65]", "step of view": "view_size = [4160]",
        "overflow": 'crops = ["1000x1000"]\nbatch_size = [65536]', "vision and text": "prompt_tokens = [1]",
        "endless": "batch_size = {start = 1, stop = 65536, step = 1}\ndecode_steps = {start = 0, stop = 1000000,"
                   " step = 1}\ntext_tokens = {start = 0, stop = 1000000, step = 1}",
    }  # fmt: skip
    for name, text in values.items():
        for command in (["plan", "x.toml"], ["query", "x.toml"]):
            if name == "endless":
                continue
            yield Attack("grids", f"{command[0]} {name}", command, {"x.toml": SMALL + text + "\n"},
                         says="x.toml")  # fmt: skip
    tops = {
        "name control": 'name = "a\\u001b[31mb"', "name nul": 'name = "a\\u0000"', "name empty": 'name = ""',
        "name long": f'name = "{"x" * 100_000}"', "name lines": 'name = "a\\nb"', "name number": "name = 1",
        "name turned": 'name = "a\\u202eb"', "name formula": 'name = "=1+1"', "name at": 'name = "@x"',
        "model": 'name = "x"\nmodel = "nope"', "model nul": 'name = "x"\nmodel = "a\\u0000"',
        "model number": 'name = "x"\nmodel = 1', "report": 'name = "x"\nreport = ["nope"]',
        "times": 'name = "x"\ntimes = "nope"', "times alone": 'name = "x"\ntimes = "silicon"',
        "unknown": 'name = "x"\nnope = 1', "description": f'name = "x"\ndescription = "{"x" * 20_000}"',
        "description control": 'name = "x"\ndescription = "\\u001b]0;x\\u0007"',
        "targets text": 'name = "x"\ntargets = {ttft_s = "1"}', "targets true": 'name = "x"\ntargets = {ttft_s = true}',
        "targets negative": 'name = "x"\ntargets = {ttft_s = -1}', "targets nan": 'name = "x"\ntargets = {tpot_s = nan}',
        "targets huge": 'name = "x"\ntargets = {tpot_s = 1e300}', "targets unknown": 'name = "x"\ntargets = {x = 1}',
        "lengths": 'name = "x"\nlengths = []', "lengths number": 'name = "x"\nlengths = 1',
        "lengths unknown": 'name = "x"\nlengths = [{nope = 1}]', "cost": 'name = "x"\ncost = 1',
    }  # fmt: skip
    for name, text in tops.items():
        yield Attack("grids", name, ["plan", "x.toml"], {"x.toml": f"{text}\n[axes]\nbatch_size = [1]\n"},
                     says="x.toml")  # fmt: skip
    files = {
        "pipe": fifo, "device": link_to("/dev/zero"), "directory": lambda path: path.mkdir(),
        "loop": link_to("x.toml"), "dangling": link_to("nope"), "huge": large(1 << 34), "binary": b"\xff\xfe\x00",
        "nul bytes": b"name = \x00", "empty": "", "json": "{}", "17 MiB": large(17 << 20),
        "comment": "#" * 1_000_000, "no axes": 'name = "x"\n', "axes list": 'name = "x"\naxes = []\n',
    }  # fmt: skip
    for name, content in files.items():
        for command in ("plan", "query"):
            yield Attack("grids", f"{command} file {name}", [command, "x.toml"], {"x.toml": content},
                         says="x.toml")  # fmt: skip
    yield Attack("grids", "nul in a path", ["plan", "a\x01b.toml"], says="a\\x01b.toml")
    yield Attack("grids", "plan of 6e15 points", ["plan", "x.toml"],
                 {"x.toml": SMALL + "batch_size = {start = 1, stop = 6, step = 1}\ndecode_steps = {start = 0,"
                  " stop = 1000000, step = 1}\ntext_tokens = {start = 0, stop = 100000, step = 1}\n"},
                 (0,))  # fmt: skip


def models() -> Iterator[Attack]:
    """Model and device files."""
    keys = [("sam", "width"), ("sam", "heads"), ("sam", "blocks"), ("clip", "layers"), ("clip", "width"),
            ("decoder", "hidden"), ("decoder", "vocabulary"), ("sam", "position_edge"), ("clip", "patch_size")]  # fmt: skip
    for section, key in keys:
        for value in (2**31, 2**63, 2**64, 2**200, -1, 0, "true", '"1"', "1.5", LONG):
            yield Attack("models", f"{section}.{key} = {str(value)[:12]}",
                         ["plan", "m.toml"], {"o.toml": f"{MODEL}[{section}]\n{key} = {value}\n",
                         "m.toml": SMALL.replace("[axes]", 'model = "o.toml"\n[axes]') + "batch_size = [1]\n"},
                         (0, 2) if (key, value) in (("vocabulary", 0), ("position_edge", 0)) else (2,),
                         says="" if value == 0 else "o.toml")  # fmt: skip
    texts = {
        "no name of its own": MODEL.replace('name = "own"\n', ""),
        "the name of another": MODEL.replace('"own"', '"deepseek-ocr-3b"'),
        "name control": MODEL.replace('"own"', '"a\\u001bb"'), "name long": MODEL.replace('"own"', f'"{"x" * 100_000}"'),
        "extends itself": MODEL.replace("deepseek-ocr-3b", "o.toml"), "extends number": 'extends = 1\nname = "x"\n',
        "extends nothing": MODEL.replace("deepseek-ocr-3b", "nope"), "extends nul": 'extends = "a\\u0000"\nname = "x"\n',
        "extends a folder": MODEL.replace("deepseek-ocr-3b", "data"), "unknown": MODEL + "nope = 1\n",
        "unknown section": MODEL + "[nope]\nx = 1\n", "why": MODEL + '[why]\n"sam.width" = 1\n',
        "not whole": "name = 'x'\n", "empty": "", "operators": MODEL + "[accounting.counts.nope]\noperators = []\n",
        "hidden 1": MODEL + "[decoder]\nhidden = 1\n", "heads 7": MODEL + "[sam]\nheads = 7\n",
        "patch": MODEL + "[clip]\npatch_size = 100000\n", "modes": MODEL + '[modes."\\u001b"]\nview_size = 640\n',
        "layers": MODEL + "[decoder]\nlayers = []\n", "layer names": MODEL + '[decoder]\nlayers = [[1, "nope", "nope"]]\n',
        "schema": MODEL + "schema_version = 1\n", "deep": MODEL + "x = " + "[" * 3000 + "]" * 3000 + "\n",
    }  # fmt: skip
    for name, text in texts.items():
        for command in (["models", "o.toml"], ["explain", "--model", "o.toml"]):
            yield Attack("models", f"{command[0]} {name}", command, {"o.toml": text},
                         (0, 1, 2) if name == "hidden 1" else (2,), says="" if name == "hidden 1" else "o.toml")  # fmt: skip

    def chain(path: Path) -> None:
        for i in range(1200):
            (path.parent / f"c{i}.toml").write_text(f'extends = "c{i + 1}.toml"\nname = "c{i}"\n')
        path.write_text("")

    yield Attack(
        "models",
        "1,200 that extend each other",
        ["models", "c0.toml"],
        {"x": chain},
        says="extends",
    )
    for name, make in {"pipe": fifo, "device": link_to("/dev/urandom"), "folder": lambda path: path.mkdir(),
                       "huge": large(1 << 34)}.items():  # fmt: skip
        yield Attack(
            "models", f"file {name}", ["models", "o.toml"], {"o.toml": make}, says="o.toml"
        )
        yield Attack("models", f"device file {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                     "--tpot", "1"], {"d.toml": make}, says="d.toml")  # fmt: skip
    figures = {"1e290": "1e290", "infinite": "inf", "nan": "nan", "5,000 digits": LONG, "zero": "0.0",
               "negative": "-1.0", "tiny": "1e-300", "text": '"1"', "true": "true", "2^64": str(2**64)}  # fmt: skip
    for name, figure in figures.items():
        for key in ("tensor_bf16", "bandwidth", "memory"):
            lines = [f'{key} = {{value = {figure}, unit = "{"GB" if key == "memory" else "GB/s" if key == "bandwidth" else "TFLOP/s"}", source = "s"}}'
                     if line.startswith(key) else line for line in DEVICE.splitlines()]  # fmt: skip
            yield Attack("models", f"device {key} {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                         "--tpot", "1"], {"d.toml": "\n".join(lines) + "\n"}, says="d.toml")  # fmt: skip
    names = {
        "control": "a\\u001b[2J",
        "formula": "=cmd",
        "long": "x" * 100_000,
        "empty": "",
        "turned": "a\\u202eb",
    }
    for name, text in names.items():
        yield Attack("models", f"device name {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                     "--tpot", "1"], {"d.toml": DEVICE.replace('"own"', f'"{text}"')}, says="d.toml")  # fmt: skip
    for text in (
        "link = 1",
        "nope = 1",
        "watts = {value = 1}",
        'rates = {like = "nope"}',
        "schema_version = 2",
    ):
        yield Attack("models", f"device {text}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1", "--tpot",
                     "1"], {"d.toml": text + "\n" + DEVICE}, says="")  # fmt: skip
    yield Attack("models", "device unknown", ["slo", "g.toml", "--device", "nope", "--ttft", "1", "--tpot", "1"],
                 says="nope")  # fmt: skip
    for sink in ("compute", "bandwidth"):
        for value in ("0", "2", "nan", "-1", "inf"):
            yield Attack("models", f"{sink} fraction {value}", ["slo", "g.toml", *SLO, "--times", "roofline",
                         f"--{sink}-fraction", value])  # fmt: skip


def configs() -> Iterator[Attack]:
    """A config.json of anybody."""
    changes = {
        "huge": ('"hidden_size": 1024', f'"hidden_size": {BIG}'), "long": ('"hidden_size": 1024', f'"hidden_size": {LONG}'),
        "2^31": ('"hidden_size": 1024', f'"hidden_size": {2**31}'), "zero": ('"hidden_size": 1024', '"hidden_size": 0'),
        "negative": ('"hidden_size": 1024', '"hidden_size": -1'), "text": ('"hidden_size": 1024', '"hidden_size": "x"'),
        "null": ('"hidden_size": 1024', '"hidden_size": null'), "nan": ('"hidden_size": 1024', '"hidden_size": NaN'),
        "list": ('"hidden_size": 1024', '"hidden_size": [1]'), "true": ('"hidden_size": 1024', '"hidden_size": true'),
        "infinite": ('"hidden_size": 1024', '"hidden_size": 1e999'), "family": ('"qwen3"', '"nope"'),
        "family control": ('"qwen3"', '"\\u001b[31m"'), "family number": ('"qwen3"', "1"), "family list": ('"qwen3"', "[]"),
        "layers": ('"num_hidden_layers": 2', '"num_hidden_layers": 100001'),
        "layers huge": ('"num_hidden_layers": 2', '"num_hidden_layers": 2000000000'),
        "unknown key": ('"head_dim"', '"nope": 1, "head_dim"'), "key twice": ('"head_dim"', '"head_dim": 64, "head_dim"'),
        "key control": ('"head_dim"', '"\\u001b[2J": 1, "head_dim"'), "activation": ('"silu"', '"nope"'),
        "activation list": ('"silu"', "[]"), "dtype": ('"bfloat16"', '"nope"'), "dtype list": ('"bfloat16"', "[1]"),
        "heads": ('"num_attention_heads": 8', '"num_attention_heads": 7'), "tied": ("false", '"x"'),
        "quantized": ("false", 'false, "quantization_config": 1'), "quantized list": ("false", 'false, "quantization_config": [1]'),
        "quantized method": ("false", 'false, "quantization_config": {"quant_method": "nope"}'),
        "quantized deep": ("false", 'false, "quantization_config": ' + '{"a":' * 500 + "1" + "}" * 500),
        "quantized number": ("false", 'false, "quantization_config": {"quant_method": 1}'),
        "text part": ('{"model_type"', '{"text_config": 1, "model_type"'), "types": ("false", 'false, "layer_types": ["x"]'),
        "types number": ("false", 'false, "layer_types": [1, 2]'), "window": ("false", 'false, "sliding_window": "x"'),
        "rope": ("false", 'false, "rope_scaling": {"a": {"b": []}}'),
    }  # fmt: skip
    for name, (old, new) in changes.items():
        assert old in CONFIG, old
        status = (
            (0, 2)
            if name in ("rope", "null", "text part", "tied", "window", "types", "quantized number")
            else (2,)
        )
        says = "c.json" if status == (2,) else ""
        yield Attack(
            "configs",
            name,
            ["models", "c.json"],
            {"c.json": CONFIG.replace(old, new, 1)},
            status,
            says,
        )
    files = {"empty": "", "null": "null", "list": "[]", "number": "1", "deep": "[" * 100_000,
             "deep table": '{"a":' * 50_000, "not utf-8": b"\xff", "bom": b"\xef\xbb\xbf{}", "pipe": fifo,
             "device": link_to("/dev/zero"), "huge": large(1 << 34), "cut": CONFIG[:100], "nothing": "{}"}  # fmt: skip
    for name, content in files.items():
        for command in (["models", "c.json"], ["fit", "c.json", "--device", "h100-sxm"]):
            yield Attack(
                "configs", f"{command[0]} file {name}", command, {"c.json": content}, says="c.json"
            )
    yield Attack(
        "configs",
        "name of a folder",
        ["models", "a\x1bb"],
        {"a\x1bb/config.json": CONFIG},
        says="U+001B",
    )
    yield Attack("configs", "sidecar pipe", ["models", "m"], {"m/config.json": CONFIG, "m/hf_quant_config.json": fifo},
                 says="hf_quant")  # fmt: skip
    yield Attack("configs", "sidecar text", ["models", "m"], {"m/config.json": CONFIG, "m/hf_quant_config.json": "x"},
                 says="hf_quant")  # fmt: skip
    yield Attack(
        "configs", "validate nothing", ["validate", "--config", "nope.json"], says="nope.json"
    )
