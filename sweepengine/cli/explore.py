"""`explore`: a page with controls for one workload."""

from pathlib import Path

import click

from sweepengine.cli.options import OutputFile
from sweepengine.data.machine import TO_DRAW, require_addresses
from sweepengine.show.terminal import say

EXPORTED = {"prompt": ("1000", "4000", "16000"), "answer": ("200", "1000"),
       "batch": ("1", "8", "32", "128")}  # fmt: skip
"""Choices of an export by default, for text models."""
EXPORTED_IMAGES = {
    "crops": ("none", "2x3", "4x5"),
    "image": ("1024x1024", "2339x1654"),
}
"""Instead of prompts, for models that see images: by what a model takes."""


@click.command(epilog="Example: sweepengine explore llama-3.1-8b --device h100-sxm --device l4")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--device", "devices", multiple=True, default=("h100-sxm",), show_default=True,
              help="Name or file; several are shown side by side.")  # fmt: skip
@click.option(
    "--layout", multiple=True, help="Such as tp4 [default: the fewest devices that hold the model]."
)
@click.option("--precision", multiple=True, help="Such as fp8-kv8 [default: the checkpoint's].")
@click.option("--prompt", multiple=True, type=int, help="Tokens of a prompt.")
@click.option("--answer", multiple=True, type=int, help="Tokens of an answer.")
@click.option("--batch", multiple=True, type=int, help="Concurrent requests.")
@click.option("--export", "out", type=OutputFile(".html"),
              help="Write a page that needs no server; its controls offer the values of the "
              "options above, each of which can be repeated.")  # fmt: skip
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the page [default: a free one]."
)
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; any but this machine's own needs a random token, "
              "which the printed address contains.")  # fmt: skip
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
    """Open a page with controls for model, devices and workload, and charts that follow them.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one. The
    page offers all shipped models, and takes a config.json that is dropped on it. It has no
    speculative decoding: fit, map, deploy and explain take drafts.
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
    models: tuple[str, ...], devices: tuple[str, ...], chosen: dict[str, tuple[str, ...]], out: Path
) -> None:
    """Write a page that holds a view of each choice, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from sweepengine.data.models import load_model
    from sweepengine.data.outputs import write_text
    from sweepengine.engine import interrupts
    from sweepengine.show.explorer import exported

    loaded = [load_model(model) for model in models]
    offered = dict(EXPORTED)
    if any(model.has_vision for model in loaded):
        del offered["prompt"]
        taken = {"crops" if model.has["crops"] else "image" for model in loaded if model.has_vision}
        offered |= {name: EXPORTED_IMAGES[name] for name in sorted(taken)}
    offered |= chosen
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("views", total=None)

        def done(count: int, whole: int) -> None:
            interrupts.check()
            bar.update(task, completed=count, total=whole)

        text = exported(models, devices, offered, done)
    write_text(out, text)
