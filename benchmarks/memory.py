"""Peak memory of commands over ten and a hundred million points: it is not to grow with them."""

import tempfile
from pathlib import Path

from benchmarks.deployments import LARGE
from benchmarks.end_to_end import sized_grid
from benchmarks.measure import Measurement, run_command

GROUP = "memory"
SIZES = (10_000_000, 100_000_000)
H100 = ("--device", "h100-sxm", "--ttft", "1", "--tpot", "0.05", "--json")
FEW = ("--select", "batch_size, decode_steps, decode_tensor_flops")
SORTED = ("--sort", "decode_tensor_flops")
MILLION = ("map", "llama-3.1-8b", "--device", "h100-sxm", "--cells", "1000000")


def measurements(sizes: tuple[int, ...] = SIZES) -> list[Measurement]:
    """Seconds and peak memory of each command as a process; points are those that it computes."""
    found = []
    with tempfile.TemporaryDirectory() as home:
        grid, folder = Path(home) / "sized.toml", Path(home)
        for points in sizes:
            grid.write_text(sized_grid(points), encoding="utf-8")
            commands = {
                "run": ("run", grid, "--out", folder / "data", "--overwrite"),
                "slo": ("slo", grid, *H100),
                "slo of the dataset": ("slo", folder / "data", *H100),
                "report": ("report", grid, "--out", folder / "page"),
                "query, largest 20": ("query", grid, *FEW, *SORTED, "--top", "20"),
            }  # fmt: skip
            if points == sizes[0]:
                commands |= {
                    "query, all rows as JSON": ("query", grid, *FEW, "--out", folder / "x.json"),
                    "query, all rows sorted": ("query", grid, *FEW, *SORTED, "--out",
                                               folder / "x.parquet"),
                }  # fmt: skip
            for way, arguments in commands.items():
                done = run_command(*arguments)
                found.append(Measurement(GROUP, way, points, [done.seconds], done.megabytes))
    for way, arguments, points in (("deploy", LARGE, 1_233_444), ("map", MILLION, 1_000_000)):
        done = run_command(*arguments)
        found.append(Measurement(GROUP, way, points, [done.seconds], done.megabytes))
    return found
