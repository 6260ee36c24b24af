"""Target grids, their CRS and axes, tiles and windows."""
