"""Gridded data from source to map: xarray in, xarray out; never torch."""
