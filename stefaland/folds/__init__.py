"""Folds: which cells and days train, validate and test."""
