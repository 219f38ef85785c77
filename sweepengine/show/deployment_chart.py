"""The Pareto fronts of `deploy` as a chart."""

import altair as alt
import polars as pl

from sweepengine.search.deploy import Deployment
from sweepengine.search.plans import precision_of
from sweepengine.show.charts import CHOSEN_COLUMNS, FRONT, fronts_drawn, labelled_front
from sweepengine.show.deployments import asked, fronts_of
from sweepengine.show.plan_texts import devices_text


def deployment_chart(deployment: Deployment) -> alt.TopLevelMixin:
    """Draw the fronts, one of each mode: tokens/s/device against tokens/s/user."""
    fronts = fronts_of(deployment.front)
    rows = pl.concat(
        [labelled_front(name, _laid(deployment, part)) for name, part in fronts.items()]
        or [pl.DataFrame(schema=FRONT)]
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
        chosen = deployment.plans.head(1).select(pl.lit(name).alias("device"), *CHOSEN_COLUMNS)
    note = f"{deployment.candidates:,} candidates; those that fit in memory and meet the TTFT"
    return fronts_drawn(rows, list(fronts), title, note, options.targets.tpot_s, chosen)


def _laid(deployment: Deployment, front: pl.DataFrame) -> pl.DataFrame:
    """Name layout and precision of each plan."""
    texts = [f"{plan['layout']} {precision_of(plan, deployment.model)}"
             for plan in front.iter_rows(named=True)]  # fmt: skip
    return front.with_columns(laid=pl.Series(texts, dtype=pl.String))
