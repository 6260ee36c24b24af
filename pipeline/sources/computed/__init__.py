"""Variables whose values are computed from stored ones: masked, transformed, by expressions."""
