"""Polygons as sources: read as cells with their outlines, and checked."""
