"""Series of very many files: a sample is looked at whole, each of the others when it is read."""
