"""Answers that cannot be given end in one line, and JSON holds finite numbers alone."""

import json

import pytest

from sweepengine.show.terminal import say_json

BEYOND = ("rtx-4090: network: required key is missing, as a layout of 16 devices needs more than a "
          "node of 8")  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "llama-3.1-70b", "--layout", "tp16", "--prompt", 100, "--answer", 10),
        ("explain", "--model", "llama-3.1-70b", "--layout", "tp16"),
        ("explain", "--model", "llama-3.1-70b", "--layout", "tp8-pp2", "--json"),
        ("map", "llama-3.1-70b", "--layout", "tp16", "--cells", 100),
    ],
)
def test_layout_beyond_a_node_without_a_network_is_refused(command, words):
    done = command(*words, "--device", "rtx-4090")
    assert (done.returncode, done.stdout) == (2, "")
    assert BEYOND in done.stderr


def test_point_beyond_64_bits_is_explained_on_a_device_and_refused_by_searches(command):
    long = ("--model", "llama-3.1-8b", "--prompt-tokens", 10_000_000, "--device", "h100-sxm")
    facts = json.loads(command("explain", *long, "--json").stdout)
    assert facts["cost"]["tensor_flops"] > 1 << 63
    assert not facts["devices"][0]["memory"]["fits"]
    done = command("deploy", "llama-3.1-8b", "--device", "h200", "--prompt", 10_000_000)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a prefill of 10,000,000 tokens overflows 64-bit counts" in done.stderr


def test_numbers_that_are_not_finite_are_null(capsys):
    say_json({"a": [float("inf"), 1.5], "b": (float("nan"), {"c": -float("inf")})})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None, {"c": None}]}


def test_devices_over_several_nodes_are_said(command):
    shown = command("fit", "deepseek-v3", "--device", "l4").stdout
    assert "l4: 64 devices are 8 nodes, joined by their network: is that what you would" in shown
    assert "64, tp" in shown
    assert "tp64" not in shown


def test_card_without_a_command_meets_its_targets(command):
    shown = command().stdout
    assert "within the targets?" in shown
    assert "yes, " in shown
