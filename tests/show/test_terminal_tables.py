import shlex

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.show.front_picture import front_picture
from sweepengine.show.terminal import say_command, say_text, three_digits
from sweepengine.show.text_tables import blocks, column_widths, table_lines
from tests.search.launched_plans import PLANS, answered

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=12), max_size=6).map(" ".join)
TABLES = st.integers(1, 6).flatmap(
    lambda columns: st.lists(st.lists(WORDS, min_size=columns, max_size=columns), min_size=1,
                             max_size=5))  # fmt: skip


@given(TABLES, st.integers(20, 120))
def test_columns_fit_and_no_word_is_wider_than_its_column(cells, width):
    widths = column_widths(cells, width, 1)
    columns = list(zip(*cells, strict=True))
    words = [max((len(w) for text in c for w in text.split()), default=0) for c in columns]
    whole = [max(map(len, column)) for column in columns]
    words[0] = max(words[0], min(whole[0], width // 2))  # which names the rows
    if widths is None:
        assert sum(words) > width - (len(columns) - 1)
        return
    assert sum(widths) + len(columns) - 1 <= max(width, sum(words))
    for have, word, most in zip(widths, words, whole, strict=True):
        assert word <= have <= most


@given(TABLES, st.integers(20, 120))
def test_tables_fit_the_width_and_show_every_word(cells, width):
    columns = list(zip(*cells, strict=True))
    words = [max((len(w) for text in c for w in text.split()), default=0) for c in columns]
    positions = blocks(cells, width, 1)
    assert all(block[0] == 0 for block in positions)
    assert [0, *(i for block in positions for i in block[1:])] == list(range(len(columns)))
    printed = table_lines(cells, width, 1)
    first = max(words[0], min(max(map(len, columns[0])), width // 2))
    if first + 1 + max(words[1:], default=0) <= width:
        assert all(len(line) <= width for line in printed)
    rows = [row for i, row in enumerate(cells) if i or any(row)]
    shown = set(" ".join(printed).split())
    assert shown >= {word for row in rows for text in row for word in text.split()}


def test_long_texts_stand_below_their_rows_and_wide_tables_fold():
    row = ("h100-sxm", "10", "64", "11,300", "2x3, K 1000, B 64, heads 10/10, flash", "0.0614")
    titles = ("device", "points", "batch", "tokens/s/device", "point", "USD/1M tokens")
    assert table_lines([titles, row], 100, 2)[1].split() == " ".join(row).split()
    assert table_lines([titles, row], 60, 1) == [
        "device   points batch tokens/s/device USD/1M tokens",
        "  point",
        "h100-sxm     10    64          11,300        0.0614",
        "  2x3, K 1000, B 64, heads 10/10, flash",
    ]
    assert table_lines([("a", "b", "c"), ("x" * 8, "y" * 9, "z" * 9)], 20, 1) == [
        "a        b",
        "xxxxxxxx yyyyyyyyy",
        "",
        "a        c",
        "xxxxxxxx zzzzzzzzz",
    ]


@pytest.mark.parametrize("asked", [PLANS[1], PLANS[6]], ids=["disaggregated", "experts"])
def test_answers_of_deploy_fit_80_columns(asked, monkeypatch, capsys):
    from sweepengine.show.deployments import show_deployment

    monkeypatch.setenv("COLUMNS", "80")
    show_deployment(answered(asked), 8)
    printed = capsys.readouterr().out
    for word in ("requests/s", "tokens/s/device", "TTFT", f"{asked.mode}:", asked.layout):
        assert word in printed
    start = printed.index("Best plan of each")
    table = printed[start:].split("\n\n")[0].splitlines()
    assert len(table) > 2
    wide = [line for line in printed.splitlines() if len(line) > 80]
    assert [line for line in wide if " " in line.strip().removesuffix(" \\")] == []
    assert "USD" not in printed
    assert "1 replicas" not in printed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (49.97, "50.0"), (0.0144, "0.0144"), (0.00001234, "0.0000123"), (2348.7, "2,350"),
     (999.6, "1,000"), (1e9, "1,000,000,000"), (-1.5, "-1.50"), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert three_digits(value) == text


def test_prose_and_commands_break_where_the_width_is_known(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    say_text("one two three four five six seven eight", "# ")
    command = 'serve --config \'{"a": 1, "b": 2}\' --port 8001 --host 0.0.0.0'
    say_command(command)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["# one two three four five six", "# seven eight"]
    assert all(len(line) <= 30 for line in printed)
    assert shlex.split("\n".join(printed[2:]).replace("\\\n", " ")) == shlex.split(command)
    monkeypatch.delenv("COLUMNS")
    say_text("word " * 50)
    say_command(f"{command} {command}")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_picture_marks_fronts_target_and_the_best_apart():
    def front(*points):
        return pl.DataFrame(points, schema=["user_tokens_per_s", "device_tokens_per_s"],
                            orient="row")  # fmt: skip

    one, two = front((10.0, 400.0), (40.0, 100.0)), front((20.0, 200.0))
    best = {"user_tokens_per_s": 40.0, "device_tokens_per_s": 100.0}
    text = front_picture({"aggregated": one, "disaggregated": two}, 0.05, [best])
    field = "\n".join(line.partition("|")[2] for line in text.splitlines()[1:19])
    assert field.count("A") == 1
    assert field.count("B") == 1
    assert field.count("*") == 1
    assert field.count(":") == 17
    assert text.endswith("* best within the targets\n: TPOT 50 ms")
    assert all(len(line) <= 80 for line in text.splitlines())
