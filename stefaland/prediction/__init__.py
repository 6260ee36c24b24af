"""Predictions of trained networks, and their calibration."""
