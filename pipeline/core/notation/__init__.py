"""Texts in data sets read as typed values: units as people write them."""
