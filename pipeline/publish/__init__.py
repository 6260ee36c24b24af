"""Maps as files: GeoTIFF, Zarr, styles, STAC and a QGIS project."""
