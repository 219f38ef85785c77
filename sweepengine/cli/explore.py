"""`explore`: an interactive page."""

from pathlib import Path

import click

from sweepengine.cli.options import OutputFile
from sweepengine.data.machine import TO_DRAW, require_addresses
from sweepengine.show.terminal import say

EXPORTED = {"prompt": ("1000", "4000", "16000"), "answer": ("200", "1000"),
       "batch": ("1", "8", "32", "128")}  # fmt: skip
"""What an export offers where nobody says; of models that see images one prompt, and crops."""
FEW_OF_PAGES = {
    "crops": ("none", "2x3", "4x5"),
    "answer": ("200", "1000"),
    "batch": EXPORTED["batch"],
}


@click.command(epilog="Example: sweepengine explore llama-3.1-8b --device h100-sxm --device l4")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--device", "devices", multiple=True, default=("h100-sxm",), show_default=True,
              help="Name or file; several stand side by side.")  # fmt: skip
@click.option("--layout", multiple=True, help="Such as tp4 [default: fewest devices that hold it].")
@click.option("--precision", multiple=True, help="Such as fp8-kv8 [default: the checkpoint's].")
@click.option("--prompt", multiple=True, type=int, help="Tokens.")
@click.option("--answer", multiple=True, type=int, help="Tokens.")
@click.option("--batch", multiple=True, type=int, help="Requests at once.")
@click.option("--export", "out", type=OutputFile(".html"),
              help="Write a page that needs no server: the controls offer what the options "
              "above say, several each.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), help="Of the page [default: a free one].")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; beyond this machine a page asks for a random token.",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def explore(
    models: tuple[str, ...],
    devices: tuple[str, ...],
    out: Path | None,
    port: int | None,
    host: str,
    headless: bool,
    **offered: tuple[int | str, ...],
) -> None:
    """Open a page to choose a model, devices and a workload, and watch what follows.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one; on
    the page any that ships can be chosen, and a config.json dropped.
    """
    from sweepengine.data.devices import load_device
    from sweepengine.data.models import load_model

    require_addresses(TO_DRAW)
    models, devices = models or ("deepseek-ocr-3b",), tuple(dict.fromkeys(devices))
    for device in devices:
        load_device(device)
    chosen = {name: tuple(map(str, values)) for name, values in offered.items() if values}
    if out is not None:
        _export(models, devices, chosen, out)
        say(f"{out}: written")
        return
    from sweepengine.show.explorer import choices
    from sweepengine.show.server import serve

    first = {name: values[0] for name, values in chosen.items()}
    choices(load_model(models[0]), {name: [value] for name, value in first.items()})
    start = {"model": models[0], "device": list(devices), **first}
    serve(host, port or 0, models, devices, start, not headless)


def _export(
    models: tuple[str, ...],
    devices: tuple[str, ...],
    chosen: dict[str, tuple[str, ...]],
    out: Path,
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from sweepengine.data.models import load_model
    from sweepengine.data.outputs import write_text
    from sweepengine.engine import interrupts
    from sweepengine.show.explorer import exported

    pages = any(load_model(model).has_vision for model in models)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("views", total=None)

        def done(count: int, whole: int) -> None:
            interrupts.check()
            bar.update(task, completed=count, total=whole)

        text = exported(models, devices, (FEW_OF_PAGES if pages else EXPORTED) | chosen, done)
    write_text(out, text)
