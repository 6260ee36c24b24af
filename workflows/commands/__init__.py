"""Commands that are no stages."""
