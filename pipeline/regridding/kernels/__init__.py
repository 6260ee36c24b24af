"""Compiled loops of regridding (see DESIGN.md)."""
