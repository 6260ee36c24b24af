"""What stages read: cells, folds, site targets, a given encoder."""
