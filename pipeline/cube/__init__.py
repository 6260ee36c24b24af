"""Zarr cubes: made whole from a template, written by tiles, checked and read."""
