"""Tests of climate statics."""
