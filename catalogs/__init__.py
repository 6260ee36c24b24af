"""Catalogs: data described in YAML, shipped with the package."""
