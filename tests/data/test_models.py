import os

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.data.schema import SECTIONS

ORIGINAL = known("models")["deepseek-ocr-3b"].read_text()


def model_file(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_every_section_names_its_source(model):
    assert set(model.sources) == set(SECTIONS) - {"encoder", "vision"}
    second = load_model("deepseek-ocr-2")
    assert set(second.sources) == set(SECTIONS) - {"clip", "vision"}


def test_own_file_may_hold_only_what_differs(tmp_path):
    path = model_file(
        tmp_path,
        'extends = "deepseek-ocr-3b"\nname = "wide"\n'
        "[decoder.feed_forward.experts]\nexperts = 128\n",
    )
    own, base = load_model(path), load_model()
    dense, mixture = (group.feed_forward for group in base.architecture.groups)
    changed = mixture._replace(experts=128, experts_held=128)
    assert [g.feed_forward for g in own.architecture.groups] == [dense, changed]
    assert own.architecture.towers == base.architecture.towers
    assert own.name == "wide"


BAD = {
    "unknown key": (("[sam]", "[sam]\nwidht = 1"), "sam.widht: unknown key"),
    "missing": (("window = 14", ""), "sam.window: required key is missing"),
    "zero": (("width = 768", "width = 0"), "sam.width: "),
    "float": (("width = 768", "width = 768.5"), "sam.width: "),
    "text": (("width = 768", 'width = "768"'), "sam.width: "),
    "beyond 32 bits": (("width = 768", "width = 2147483648"), "sam.width: "),
    "switch": (("layers = 1\n", "layers = 1\ngelu = 0\n"), "projector.gelu: "),
    "heads": (
        ("key_value_heads = 10", "key_value_heads = 7"),
        "decoder.attention.grouped.key_value_heads = 7 does not divide "
        "decoder.attention.grouped.heads = 10",
    ),
    "experts": (
        ("experts_per_token = 6", "experts_per_token = 65"),
        "experts_per_token = 65 is more than decoder.feed_forward.experts.experts = 64",
    ),
    "no experts a token": (
        ("experts_per_token = 6\n", ""),
        "least allowed decoder.feed_forward.experts.experts_per_token = 1 is more",
    ),
    "part": (('"grouped", "dense"]', '"grouped", "dens"]'), 'feed_forward "dens" is not defined'),
    "section": (("[image]", "[picture]"), "picture: unknown key"),
    "operator": (
        ("dtype_bytes = 2", 'dtype_bytes = 2\n[accounting.counts.x]\noperators = ["sam.norm"]'),
        'operator "sam.norm" is unknown: expected some of decoder.norms',
    ),
    "version": (("schema_version = 2", "schema_version = 1"), "schema_version: "),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_model_file_is_one_line_with_file_and_key(tmp_path, case):
    (old, new), expected = BAD[case]
    assert old in ORIGINAL
    path = model_file(tmp_path, ORIGINAL.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_model_that_extends_itself_is_refused(tmp_path):
    path = model_file(tmp_path, 'extends = "own.toml"\n')
    with pytest.raises(InputError, match="extends itself"):
        load_model(path)


def test_unknown_model_names_the_known_ones():
    with pytest.raises(InputError, match="one of deepseek-ocr-2, deepseek-ocr-3b, deepseek-ocr"):
        load_model("nope")


def test_gguf_file_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(InputError, match=r"Q4\.GGUF: is a GGUF file.*expected the config\.json"):
        load_model(tmp_path / "llama-Q4.GGUF")


def test_file_that_extends_what_is_not_there_is_named(tmp_path):
    path = model_file(tmp_path, 'extends = "nope"\n')
    with pytest.raises(InputError, match=r"own\.toml: extends: model \"nope\" does not exist"):
        load_model(path)


def test_model_without_some_towers_is_refused(tmp_path):
    text = ORIGINAL[: ORIGINAL.index("[projector]")] + ORIGINAL[ORIGINAL.index("[decoder]") :]
    path = model_file(tmp_path, text)
    with pytest.raises(InputError, match="projector: required key is missing, as image is given"):
        load_model(path)


def test_edited_file_is_read_again(tmp_path):
    path = model_file(tmp_path, 'extends = "deepseek-ocr-3b"\nname = "a"\n')
    assert load_model(path).name == "a"
    model_file(tmp_path, 'extends = "deepseek-ocr-3b"\nname = "other"\n')
    assert load_model(path).name == "other"


def test_file_edited_to_the_same_size_in_the_same_instant_is_read_again(tmp_path):
    path = model_file(tmp_path, 'extends = "deepseek-ocr-3b"\nname = "a"\n')
    state = path.stat()
    assert load_model(path).name == "a"
    path.write_text(path.read_text().replace('"a"', '"b"'))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load_model(path).name == "b"


def test_same_name_elsewhere_is_another_file(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.toml").write_text(f'extends = "deepseek-ocr-3b"\nname = "{name}"\n')
    for name in ("one", "two", "one"):
        monkeypatch.chdir(tmp_path / name)
        assert load_model("m.toml").name == name


def test_extended_file_that_changes_is_read_again(tmp_path):
    base = tmp_path / "base.toml"
    base.write_text('extends = "deepseek-ocr-3b"\nname = "base"\n')
    path = model_file(tmp_path, 'extends = "base.toml"\nname = "a"\n')
    before = load_model(path).parameter_count
    base.write_text(base.read_text() + "[decoder]\nvocabulary = 1000\n")
    assert load_model(path).parameter_count < before


@pytest.mark.parametrize("name", ["", 'name = "deepseek-ocr-3b"\n'])
def test_model_that_extends_another_needs_a_name_of_its_own(tmp_path, name):
    path = model_file(tmp_path, f'extends = "deepseek-ocr-3b"\n{name}')
    with pytest.raises(InputError, match="name: expected a new name, as the file extends"):
        load_model(path)


def split_model(tmp_path, name, layers):
    text = known("models")["llama-3.1-8b"].read_text(encoding="utf-8")
    text = text.replace('"llama-3.1-8b"', f'"{name}"', 1).replace('[[32, "full", "dense"]]', layers)
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "layers", ['[[1, "full", "dense"], [31, "full", "dense"]]', str([[1, "full", "dense"]] * 32)]
)
def test_a_model_whose_groups_are_split_is_the_same_model(tmp_path, layers):
    split = load_model(split_model(tmp_path, "split", layers.replace("'", '"')))
    assert split.architecture == load_model("llama-3.1-8b").architecture


def test_more_groups_than_can_be_costed_in_time_are_one_line(tmp_path):
    """Groups of one layer that are all alike are one group, whatever their number."""
    alike = split_model(tmp_path, "alike", str([[1, "full", "dense"]] * 20_000).replace("'", '"'))
    assert len(load_model(alike).architecture.groups) == 1
    layers = str([[1, "full", "dense"], [1, "full", "none"]] * 80).replace("'", '"')
    path = split_model(tmp_path, "many", layers)
    with pytest.raises(InputError, match="160 groups of layers: expected at most 128"):
        load_model(path)


def test_folder_named_like_a_shipped_model_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "llama-3.1-8b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model("llama-3.1-8b")
    (tmp_path / "llama-3.1-8b" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"expected \./llama-3\.1-8b for the folder"):
        load_model("llama-3.1-8b")
