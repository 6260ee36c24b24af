"""The stages of a run, one module each, with `outputs` and `main`."""
