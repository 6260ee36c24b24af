"""One file per data format or published data set."""
