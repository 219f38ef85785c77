"""`models`: list the models, or print the spec sheet of one."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say, say_json


@click.command(epilog="Example: sweepengine models gpt-oss-20b")
@click.argument("model", required=False)
@as_json_option
def models(model: str | None, as_json: bool) -> None:
    """List the shipped models by size; or print the spec sheet of MODEL.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.costs.spec_sheet import facts_of, spec_sheet
    from sweepengine.data.files import known
    from sweepengine.data.models import load_model

    if model is not None:
        loaded = load_model(model)
        if as_json:
            say_json(facts_of(loaded))
            return
        for title, rows in spec_sheet(loaded):
            print_table(title, rows, ("", "") if len(rows[0]) == 2 else LAYERS)
            say()
        return
    shipped = sorted(map(load_model, known("models")), key=lambda model: model.parameter_count)
    if as_json:
        say_json([facts_of(loaded) for loaded in shipped])
        return
    rows = [
        (loaded.name, f"{loaded.parameter_count:,}", f"{loaded.active_parameter_count:,}",
         f"{loaded.kv_bytes_per_token:,}", loaded.description)
        for loaded in shipped
    ]  # fmt: skip
    print_table("Models", rows, ("model", "parameters", "active parameters",
                                 "KV cache bytes/token", "description"))  # fmt: skip


LAYERS = ("layers", "attention", "heads", "KV heads", "head width", "window, tokens", "FFN",
          "parameters per layer")  # fmt: skip
