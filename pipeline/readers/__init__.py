"""One file for each data format or published data set that can be read."""
