"""`compare`: compare measured runs with predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepengine.cli.options import as_json_option, chart_option, options_of, top_option
from sweepengine.search.declarations import record_of
from sweepengine.search.options import CompareOptions
from sweepengine.show.terminal import say, say_json

if TYPE_CHECKING:
    from sweepengine.measured.log_comparison import ComparedLog


@click.command(
    epilog="Example: sweepengine compare runs.csv --device h100-sxm --model llama-3.1-8b "
    "--calibrate"
)
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Device of the runs or the log: name or file.")
@click.option(
    "--model", help="Model of the runs [default: the one that the benchmark's JSON names]."
)
@options_of(CompareOptions)
@top_option("Runs to show.", 20)
@chart_option()
@as_json_option
def compare(
    runs: Path,
    device: str,
    model: str | None,
    top: int,
    chart: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Compare measured RUNS with predictions: times, MFU, MBU, and which operators make the gap.

    RUNS is a CSV or Parquet file with input columns and ttft_ms, tpot_ms, seconds or tokens_per_s,
    or the JSON of a serving benchmark: vLLM, SGLang, GuideLLM, AIPerf, genai-perf, inference-perf;
    or a CSV of InferenceX rows; or a start-up log of vLLM or SGLang, whose weights, CUDA graphs,
    pool and tokens are compared with ours.
    """
    from sweepengine.measured.log_comparison import ComparedLog, compare_file

    comparison = compare_file(runs, device, model, record_of(CompareOptions, given))
    if isinstance(comparison, ComparedLog):
        _show_log(comparison, chart, as_json)
        return
    if chart is not None:
        from sweepengine.show.comparison_chart import comparison_chart
        from sweepengine.show.rendering import save_chart

        save_chart(comparison_chart(comparison), chart)
    if as_json:
        say_json(comparison.as_dict())
        return
    from sweepengine.show.comparisons import show_comparison

    show_comparison(comparison, top)
    if chart is not None:
        say(f"{chart}: written")


def _show_log(comparison: "ComparedLog", chart: Path | None, as_json: bool) -> None:
    """Print a log beside ours."""
    from sweepengine.data.errors import InputError
    from sweepengine.show.engine_logs import show_log

    if chart is not None:
        raise InputError("--chart: remove it, a log has no times")
    if as_json:
        say_json(comparison.as_dict())
    else:
        show_log(comparison)
