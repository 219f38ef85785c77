"""`deploy`: search the best way to serve a model on devices."""

from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import (
    OutputFile,
    as_json_option,
    chart_option,
    devices_option,
    options_of,
    searched,
    top_option,
)
from sweepengine.search.options import DeployOptions, RequestOptions
from sweepengine.show.terminal import say_json

SCRIPT = (
    "Write what starts the best plan to FILE.sh (Bash, any number of nodes) or FILE.yml (Docker "
    "Compose, one node)."
)
MANIFEST = "Write a Kubernetes manifest of the best plan, for NVIDIA Dynamo, to FILE.yaml."


@click.command(
    epilog="Example: sweepengine deploy llama-3.1-70b --device h100-sxm --rate 20 "
    "--prompt 4000 --answer 500"
)
@click.argument("model")
@devices_option("kinds", "Device, by name or file; of several the best is chosen.")
@options_of(RequestOptions)
@options_of(DeployOptions)
@top_option("Rows to show.", 8)
@chart_option("the Pareto fronts")
@click.option("--script", type=OutputFile(".sh", ".yml", ".yaml"), help=SCRIPT)
@click.option("--manifest", type=OutputFile(".yml", ".yaml"), help=MANIFEST)
@as_json_option
def deploy(
    model: str,
    kinds: tuple[str, ...],
    top: int,
    chart: Path | None,
    script: Path | None,
    manifest: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Search layouts, precisions, batches and modes for MODEL; print the best and how to start it.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.search.deploy import find_deployment

    deployment = searched("deploy", find_deployment, model, kinds, DeployOptions, given)
    if chart is not None:
        from sweepengine.show.deployment_chart import deployment_chart
        from sweepengine.show.rendering import save_chart

        save_chart(deployment_chart(deployment), chart)
    if script is not None or manifest is not None:
        from sweepengine.show.launch_files import write_launch_files

        write_launch_files(deployment, script, manifest)
    if as_json:
        say_json(deployment.as_dict())
        return
    from sweepengine.show.deployments import show_deployment

    show_deployment(deployment, top)
