"""Columns, axes and grids: what is asked, and what is answered."""
