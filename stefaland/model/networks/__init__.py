"""Networks of the baselines, trained by the same recipe as StefaLand."""
