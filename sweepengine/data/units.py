"""Units that several packages convert."""

SECONDS_PER_HOUR = 3600
