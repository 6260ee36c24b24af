"""Baselines: the models that StefaLand is compared with."""
