"""A catalog entry as a canonical xarray object."""
