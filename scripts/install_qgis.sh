#!/bin/sh
# Install headless QGIS and its Python bindings on Debian or Ubuntu, for tests/pipeline/publish/test_qgis.py.
# Needs root. Everywhere else: install QGIS 3.22 or newer and let PYQGIS_PYTHON name its Python.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends qgis python3-qgis
QT_QPA_PLATFORM=offscreen /usr/bin/python3 -c 'from qgis.core import Qgis; print("QGIS", Qgis.QGIS_VERSION)'
