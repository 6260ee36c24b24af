"""The StefaLand model, its training and scores: torch in, torch out; no files of grids, no Dask."""
