"""Predictions as maps."""
