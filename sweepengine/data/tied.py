"""Whether the head of a config is its token table: `tie_word_embeddings` of both parts."""

from typing import Any

from sweepengine.data.configs import Config, ConfigValues, families

KEY = "tie_word_embeddings"


def tied_head(reader: ConfigValues) -> tuple[bool, tuple[str, ...]]:
    """Whether the head is the token table, and a note where the parts of a config disagree.

    In a config of several parts transformers obeys the outer key, or the default of the outer
    class; some classes obey either part.

    Raises
    ------
    InputError
        When a value is neither true, false nor null, or the head has other rows than the table.
    """
    types = families()["outer_tied"]
    names = reader.family.get("tied", [KEY])
    outer, inner_key = (_stated(part, names) for part in (reader.outer, reader.part))
    kind = reader.outer.get("model_type")
    default = {True: kind in types["tied"], False: kind in types["untied"]}
    by_part = (
        reader.family.get("tied_by_part") or kind in types["by_part"] or "decoder" in reader.outer
    )
    stated = outer in reader.outer and not by_part
    if stated or (any(default.values()) and not by_part):
        reader.read.update(names)
        tied = _checked(reader, outer, reader.outer[outer]) if stated else default[True]
        own = reader.nested and inner_key in reader.part
        inner = _checked(reader, inner_key, reader.part[inner_key]) if own else None
        if kind in types["either"]:
            tied = tied or bool(inner)
        if not stated and inner is None:
            reader.assumed[KEY] = tied
        if not tied and kind in types["outer_rows"]:
            _check_rows(reader, types["outer_rows"][kind])
        says = "tied" if tied else "not tied"
        if not stated and inner not in (None, tied):
            return tied, (f"{KEY}: {says} is the default of {kind}, which goes first",)
        by_default = kind in types["either"] and inner is None and reader.defaults.get(KEY)
        if not tied and by_default:
            note = f"{KEY}: {says}, as stated; transformers ties it, as its text part's default is"
            return tied, (note,)
        return tied, ()
    reader.read.update(names)
    return _checked(reader, inner_key, reader.value(inner_key)), ()


def _stated(part: Config, names: list[str]) -> str:
    """The first of the names that a part has; the usual one where it has none."""
    return next((name for name in names if name in part), KEY)


def _check_rows(reader: ConfigValues, default: int) -> None:
    """Refuse a head of another number of rows than the token table."""
    rows, vocabulary = reader.outer.get("vocab_size", default), reader.size("vocabulary")
    if rows != vocabulary:
        problem = f"= {rows}: expected {vocabulary}, as of the text part, for a head of its own"
        raise reader.fail("vocab_size", problem)


def _checked(reader: ConfigValues, key: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise reader.fail(key, f"= {value!r}: expected true or false")
    return bool(value)
