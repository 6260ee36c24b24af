"""Maps of predictions: mosaics, aggregates over time, legends, soil texture, holes."""
