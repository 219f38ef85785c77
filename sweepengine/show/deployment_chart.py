"""The front of a search as a chart."""

import altair as alt
import polars as pl

from sweepengine.search.deploy import Deployment
from sweepengine.show.charts import fronts_drawn
from sweepengine.show.deployments import fronts_of


def deployment_chart(found: Deployment) -> alt.TopLevelMixin:
    """Front of a search: tokens/s of a device against those of a user."""
    fronts = fronts_of(found.front)
    columns = ("user_tokens_per_s", "device_tokens_per_s", "batch_size")
    rows = pl.concat(
        [part.select(pl.lit(name).alias("device"), *columns) for name, part in fronts.items()]
        or [found.front.select("device", *columns)]
    )
    targets = found.options.targets
    said = f"TTFT {targets.ttft_s:g} s and TPOT {targets.tpot_s * 1000:g} ms"
    title = f"Nothing serves {found.model.name} within {said}"
    if found.best is not None:
        best = found.best
        title = (
            f"{found.model.name} within {said}: {best['device_tokens_per_s']:,.0f} "
            f"tokens/s/device, {best['mode']} on {best['devices']} {best['device']}"
        )
    note = f"{found.candidates:,} candidates; all that fit the memory and meet the TTFT"
    return fronts_drawn(rows, list(fronts), title, note)
