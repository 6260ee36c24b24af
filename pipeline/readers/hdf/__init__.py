"""HDF5 files: their groups, and the grids of HDF-EOS."""
