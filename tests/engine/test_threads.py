"""Processes forked after use say so; the threads they lost would keep them waiting."""

import subprocess
import sys

CODE = """
import multiprocessing, polars as pl, sweepengine as se

def child(way):
    try:
        if way == "cost":
            return se.cost(batch_size=2)["devices"]
        if way == "scan":
            return se.scan("modes").collect().height
        return se.evaluate(pl.DataFrame({"batch_size": [1, 2]})).height
    except se.InputError as error:
        return str(error)

if __name__ == "__main__":
    print(child("evaluate"), child("scan"))
    for start in ("fork", "spawn"):
        with multiprocessing.get_context(start).Pool(1) as pool:
            print(start, [pool.apply(child, [way]) for way in ("evaluate", "scan", "cost")])
"""


def test_forked_process_says_so_and_a_spawned_one_works(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CODE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    first, forked, spawned = done.stdout.splitlines()
    assert first == "2 56"
    assert "evaluate: this process was forked" in forked
    assert "scan: this process was forked" in forked
    assert forked.endswith("1]")
    assert spawned == "spawn [2, 56, 1]"
