"""Stores, references and rasters at remote addresses, as the readers open them."""
