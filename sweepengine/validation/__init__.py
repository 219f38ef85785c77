"""Formulas against modules that others wrote, counted by torch. Needs the extra `validate`."""
