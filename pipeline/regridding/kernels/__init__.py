"""The compiled loops of regridding."""
