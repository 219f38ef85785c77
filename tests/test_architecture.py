import pytest

from sweepengine.architecture import load_model
from sweepengine.datafiles import known
from sweepengine.errors import InputError

ORIGINAL = known("models")["deepseek-ocr-3b"].read_text()


def model_file(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_every_section_names_its_source(model):
    assert set(model.sources) == set(model.architecture._fields)


def test_own_file_may_hold_only_what_differs(tmp_path):
    path = model_file(
        tmp_path,
        'extends = "deepseek-ocr-3b"\nname = "wide"\n'
        '[decoder]\nexperts = { value = 128, unit = "experts" }\n',
    )
    own, base = load_model(path), load_model()
    assert own.architecture.decoder == base.architecture.decoder._replace(experts=128)
    assert own.architecture.sam == base.architecture.sam
    assert own.name == "wide"


BAD = {
    "unknown key": (("[sam]", "[sam]\nwidht = 1"), "sam.widht: unknown key"),
    "missing": (("window = {", "# {"), "sam.window: required key is missing"),
    "zero": (("{ value = 768,", "{ value = 0,"), "sam.width.value: "),
    "float": (("{ value = 768,", "{ value = 768.5,"), "sam.width.value: "),
    "text": (("{ value = 768,", '{ value = "768",'), "sam.width.value: "),
    "no unit": (('{ value = 768, unit = "channels" }', "{ value = 768 }"), "sam.width.unit: "),
    "switch": (("gelu = false", "gelu = 0"), "projector.gelu: "),
    "heads": (
        ("attention_heads = { value = 10, unit", "attention_heads = { value = 7, unit"),
        "decoder.attention_heads = 7 does not divide decoder.hidden = 1280",
    ),
    "experts": (
        ("experts_per_token = { value = 6,", "experts_per_token = { value = 65,"),
        "decoder.experts_per_token = 65 is more than decoder.experts = 64",
    ),
    "version": (("schema_version = 1", "schema_version = 2"), "schema_version: "),
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
    with pytest.raises(InputError, match="leads back to itself"):
        load_model(path)


def test_unknown_model_names_the_known_ones():
    with pytest.raises(InputError, match="one of deepseek-ocr-3b, deepseek-ocr-3b-modelmeter"):
        load_model("nope")


def test_file_that_extends_what_is_not_there_is_named(tmp_path):
    path = model_file(tmp_path, 'extends = "nope"\n')
    with pytest.raises(InputError, match=r"own\.toml: extends: model \"nope\" does not exist"):
        load_model(path)
