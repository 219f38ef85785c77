"""The Pareto fronts of `deploy` as a chart."""

import altair as alt
import polars as pl

from sweepengine.search.deploy import Deployment
from sweepengine.show.charts import fronts_drawn
from sweepengine.show.deployments import asked, fronts_of
from sweepengine.show.plan_texts import devices_text


def deployment_chart(deployment: Deployment) -> alt.TopLevelMixin:
    """Draw the fronts, one of each mode: tokens/s/device against tokens/s/user."""
    fronts = fronts_of(deployment.front)
    columns = ("user_tokens_per_s", "device_tokens_per_s", "batch_size")
    rows = pl.concat(
        [part.select(pl.lit(name).alias("device"), *columns) for name, part in fronts.items()]
        or [deployment.front.select("device", *columns)]
    )
    options = deployment.options
    goal = asked(options)
    title = f"No plan for {deployment.model.name} meets {goal}"
    chosen = pl.DataFrame()
    if (best := deployment.best) is not None:
        title = (
            f"{deployment.model.name} within {goal}: {best['device_tokens_per_s']:,.0f} "
            f"tokens/s/device, {best['mode']} on {devices_text(best)}"
        )
        (name,) = fronts_of(deployment.plans.head(1)) if len(fronts) else ("",)
        chosen = deployment.plans.head(1).select(pl.lit(name).alias("device"), *columns)
    note = f"{deployment.candidates:,} candidates; those that fit in memory and meet the TTFT"
    return fronts_drawn(rows, list(fronts), title, note, options.targets.tpot_s, chosen)
