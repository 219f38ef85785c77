"""The Pareto front of `deploy` as a chart."""

import altair as alt
import polars as pl

from sweepengine.search.deploy import Deployment
from sweepengine.show.charts import fronts_drawn
from sweepengine.show.deployments import fronts_of


def deployment_chart(deployment: Deployment) -> alt.TopLevelMixin:
    """Draw the front: tokens/s/device against tokens/s/user."""
    fronts = fronts_of(deployment.front)
    columns = ("user_tokens_per_s", "device_tokens_per_s", "batch_size")
    rows = pl.concat(
        [part.select(pl.lit(name).alias("device"), *columns) for name, part in fronts.items()]
        or [deployment.front.select("device", *columns)]
    )
    targets = deployment.options.targets
    goal = f"TTFT {targets.ttft_s:g} s and TPOT {targets.tpot_s * 1000:g} ms"
    title = f"No plan for {deployment.model.name} meets {goal}"
    if (best := deployment.best) is not None:
        title = (
            f"{deployment.model.name} within {goal}: {best['device_tokens_per_s']:,.0f} "
            f"tokens/s/device, {best['mode']} on {best['devices']} {best['device']}"
        )
    note = f"{deployment.candidates:,} candidates; those that fit in memory and meet the TTFT"
    return fronts_drawn(rows, list(fronts), title, note)
