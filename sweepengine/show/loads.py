"""The load over time of a plan in a terminal."""

from sweepengine.search.load import Load
from sweepengine.show.terminal import print_table, say

MOST_ROWS = 48
"""Hours that are printed."""


def show_load(load: Load, attainment: float) -> None:
    """Print replicas by the hour, device hours, and what is assumed.

    Parameters
    ----------
    load : Load
    attainment : float
        Share of requests that was asked for.
    """
    hours = load.hours
    rows = [
        (
            f"{row['hour']:,}",
            f"{row['requests']:,}",
            f"{row['requests_per_s']:,.3g}",
            f"{row['replicas']:,}",
            f"{row['devices']:,}",
            f"{row['busy']:.0%}",
            f"{row['wait_s'] * 1000:,.3g}",
            f"{row['attainment']:.1%}",
        )
        for row in hours.head(MOST_ROWS).to_dicts()
    ]
    say()
    shown = f", {MOST_ROWS} of {hours.height:,} hours" if hours.height > MOST_ROWS else ""
    print_table(f"Replicas of the best plan by the hour, for {attainment:.0%} of requests within "
                f"both targets{shown}", rows,
                ("hour", "requests", "requests/s", "replicas", "devices", "busy", "wait ms",
                 "within"))  # fmt: skip
    saved = load.device_hours / load.peak_device_hours - 1.0 if load.peak_device_hours else 0.0
    say(f"{load.device_hours:,.1f} device hours in {load.span_hours:,.3g} hours, "
        f"{load.device_hours_a_day:,.1f} a day at this rate; {saved:+.0%} of "
        f"{load.peak_device_hours:,.1f} with the busiest hour's replicas all the time; "
        f"{load.attainment:.1%} of all requests are within both targets")  # fmt: skip
    for note in ("requests of an hour arrive at random at its mean rate; waits are those of an "
                 "M/G/c queue (Kimura)", *load.notes):  # fmt: skip
        say(f"assumed: {note}")
