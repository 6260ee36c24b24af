"""Functions that several readers use: joined files, unpacked values, axes, sites and errors."""
