"""Inputs of the stages: cells, folds, site targets, a given encoder."""
