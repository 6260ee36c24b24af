"""Formulas of variables: expressions of catalog entries, and the functions that they may call."""
