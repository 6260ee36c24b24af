"""Publication of maps as GeoTIFF, Zarr, styles, STAC and a QGIS project."""
