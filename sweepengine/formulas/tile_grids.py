"""Grids of tiles, (columns, rows), that image processors choose from."""

import math

Grid = tuple[int, int]


def tile_grids(least: int, most: int, longest: int = 0) -> list[Grid]:
    """Grids of `least` to `most` tiles, `longest` an edge: fewest tiles first, then columns."""
    edge = min(most, longest or most)
    grids = [
        (columns, rows)
        for columns in range(1, edge + 1)
        for rows in range(1, min(edge, most // columns) + 1)
        if columns * rows >= least
    ]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])


def nearest_grid(grids: list[Grid], tile: int, height: int, width: int) -> Grid:
    """The grid whose aspect is nearest to the image's.

    Of two equally near ones the larger, where the image has more than half of its pixels. Source:
    `get_optimal_tiled_canvas` of transformers 5.23, `image_processing_got_ocr2.py`.

    Parameters
    ----------
    grids : list of (columns, rows)
        In the order in which the processor tries them.
    tile, height, width : int
        Edge of a tile, and of the image, pixels.
    """
    nearest, best = math.inf, (1, 1)
    for columns, rows in grids:
        difference = abs(width / height - columns / rows)
        larger = width * height > 0.5 * tile**2 * columns * rows
        if difference < nearest or (difference == nearest and larger):
            nearest, best = difference, (columns, rows)
    return best
