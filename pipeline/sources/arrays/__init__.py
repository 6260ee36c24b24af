"""Stored arrays as lazy canonical values: extra dims, aggregation in time, running totals."""
