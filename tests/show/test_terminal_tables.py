import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.show.front_picture import front_picture
from sweepengine.show.table_widths import column_widths
from sweepengine.show.terminal import print_table
from tests.search.launched_plans import PLANS, answered

STYLE = re.compile("\x1b\\[[0-9;]*m")
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
    if widths is None:
        assert sum(words) > width - (len(columns) - 1)
        return
    assert sum(widths) + len(columns) - 1 <= max(width, sum(words))
    for have, word, most in zip(widths, words, whole, strict=True):
        assert word <= have <= most


@pytest.mark.parametrize("asked", [PLANS[1], PLANS[6]], ids=["disaggregated", "experts"])
def test_tables_of_deploy_break_no_word_at_80_columns(asked, monkeypatch, capsys):
    from sweepengine.show.deployments import show_deployment

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    show_deployment(answered(asked), 8)
    printed = STYLE.sub("", capsys.readouterr().out)
    for word in ("requests/s", "tokens/s/device", "TTFT", f"{asked.mode}:", asked.layout):
        assert word in printed
    start = printed.index("Best plan of each")
    table = printed[start:].split("\n\n")[0].splitlines()
    assert len(table) > 2
    assert all(len(line.rstrip()) <= 80 for line in table)
    assert "USD" not in printed
    assert "1 replicas" not in printed


def test_tables_of_slo_break_no_word_at_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    titles = ("device", "points", "fit memory", "meet targets", "largest batch", "tokens/s/device",
              "highest throughput at", "USD/1M tokens")  # fmt: skip
    row = ("h100-sxm", "10", "10", "7", "64", "11,311", "2x3, K 1000, B 64, heads 10/10, flash",
           "0.0614")  # fmt: skip
    print_table("slo", [row], titles)
    printed = STYLE.sub("", capsys.readouterr().out)
    for word in " ".join((*titles, *row)).split():
        assert word in printed


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
