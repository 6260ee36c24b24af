"""Catalogs: descriptions of data sets as typed entries."""
