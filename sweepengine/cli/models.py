"""`models`: what is known of models."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say, say_json


@click.command(epilog="Example: sweepengine models gpt-oss-20b")
@click.argument("model", required=False)
@as_json_option
def models(model: str | None, as_json: bool) -> None:
    """List the models that are known, by size; or say what was read of MODEL.

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
    found = sorted(map(load_model, known("models")), key=lambda one: one.parameter_count)
    if as_json:
        say_json([facts_of(one) for one in found])
        return
    rows = [
        (
            one.name,
            f"{one.parameter_count:,}",
            f"{one.active_parameter_count:,}",
            f"{one.kv_bytes_per_token:,}",
            one.description,
        )
        for one in found
    ]
    print_table("Models", rows, ("model", "parameters", "a token", "KV bytes a token", ""))


LAYERS = ("layers", "attention", "heads", "KV heads", "head width", "window", "feed-forward",
          "parameters a layer")  # fmt: skip
