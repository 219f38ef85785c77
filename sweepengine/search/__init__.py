"""Searches: what fits, what to deploy, which limits, which designs."""
