"""Catalog entries as typed values: data sets, canonical variables and names of files."""
