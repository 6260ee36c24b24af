"""Zarr cubes: created from a template, written by tiles, checked and read (see DESIGN.md)."""
