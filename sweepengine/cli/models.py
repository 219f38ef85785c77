"""`models`: what is known of models."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say, say_json


@click.command()
@as_json_option
def models(as_json: bool) -> None:
    """List the models that are known, with their sources."""
    from sweepengine.data.files import known
    from sweepengine.data.models import load_model

    found = [load_model(name) for name in known("models")]
    if as_json:
        facts = [
            {
                "name": model.name,
                "description": model.description,
                "parameter_count": model.parameter_count,
                "weight_bytes": model.weight_bytes,
                "sources": model.sources,
            }
            for model in found
        ]
        say_json(facts)
        return
    for model in found:
        head = f"{model.name}: {model.description}. {model.parameter_count:,} parameters"
        print_table(head, list(model.sources.items()), ("section", "source"))
        say()
