"""What several readers share: joining files, unpacking values, axes, sites, and clear refusals."""
