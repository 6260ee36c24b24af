"""Run by QGIS's own Python: opens a project, says what QGIS sees, and the colours it draws.

probe.py PROJECT PICTURE PLACES: PLACES is JSON [[lon, lat], ...]; prints one line of JSON.
"""

import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsDateTimeRange,
    QgsInterval,
    QgsLayerTreeGroup,
    QgsMapRendererCustomPainterJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsTemporalNavigationObject,
)
from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QColor, QImage, QPainter


def text(time):
    return time.toString(Qt.ISODate)


def layer_info(node):
    layer = node.layer()
    info = {
        "name": node.name(),
        "valid": bool(layer and layer.isValid()),
        "visible": node.isVisible(),
        "group": node.parent().name(),
        "crs": layer.crs().authid() if layer else "",
        "provider": layer.dataProvider().name() if layer and layer.isValid() else "",
    }
    time = layer.temporalProperties() if layer else None
    if time is not None and time.isActive():
        span = time.fixedTemporalRange()
        info["time"] = [text(span.begin()), text(span.end())]
    if hasattr(layer, "bandCount"):
        info["band"] = layer.renderer().usesBands()[0]
        info["renderer"] = layer.renderer().type()
        if hasattr(layer.renderer(), "shader"):
            bar = layer.renderer().shader().rasterShaderFunction().legendSettings()
            info["suffix"] = bar.suffix() if bar.useContinuousLegend() else "no bar"
        info["nodata"] = str(layer.dataProvider().sourceNoDataValue(1))
    else:
        info["features"] = layer.featureCount()
        info["renderer"] = layer.renderer().type()
    return info


def draw(project, picture, span):
    """Draw the visible layers of one moment; gives the settings and the image."""
    root = project.layerTreeRoot()
    layers = [node.layer() for node in root.findLayers() if node.isVisible()]
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(project.crs())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    settings.setOutputSize(QSize(900, 600))
    settings.setBackgroundColor(QColor("white"))
    settings.setTransformContext(project.transformContext())
    if span is not None:
        settings.setIsTemporal(True)
        settings.setTemporalRange(span)
    image = QImage(settings.outputSize(), QImage.Format_ARGB32)
    image.fill(QColor("white"))
    painter = QPainter(image)
    job = QgsMapRendererCustomPainterJob(settings, painter)
    job.renderSynchronously()
    painter.end()
    image.save(picture)
    return settings, image


def colours(project, settings, image, places):
    transform = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:4326"), project.crs(), project
    )
    found = []
    for lon, lat in places:
        pixel = settings.mapToPixel().transform(transform.transform(QgsPointXY(lon, lat)))
        found.append(QColor(image.pixel(int(pixel.x()), int(pixel.y()))).name())
    return found


def frames(project, picture, places):
    """The colours at the places at each step of the temporal controller; at most 24 steps."""
    whole, step = project.timeSettings().temporalRange(), project.timeSettings()
    if whole.begin().isNull():
        return []
    controller = QgsTemporalNavigationObject()
    controller.setNavigationMode(QgsTemporalNavigationObject.Animated)
    controller.setTemporalExtents(whole)
    controller.setFrameDuration(QgsInterval(step.timeStep(), step.timeStepUnit()))
    found = []
    for number in range(min(24, controller.totalFrameCount())):
        span = controller.dateTimeRangeForFrameNumber(number)
        settings, image = draw(project, picture, span)
        drawn = colours(project, settings, image, places)
        found.append({"begin": text(span.begin()), "colours": drawn})
    return found


def main(path, picture, places):
    app = QgsApplication([], False)
    app.initQgis()
    project = QgsProject.instance()
    opened = project.read(path)
    root = project.layerTreeRoot()
    nodes = root.findLayers()
    whole = project.timeSettings().temporalRange()
    spans = []
    for node in nodes:
        time = node.layer().temporalProperties() if node.layer() else None
        if node.isVisible() and time is not None and time.isActive():
            spans.append(time.fixedTemporalRange())
    span = QgsDateTimeRange(spans[0].begin(), spans[0].end()) if spans else None
    settings, image = draw(project, picture, span)
    result = {
        "opened": opened,
        "title": project.title(),
        "crs": project.crs().authid(),
        "groups": [g.name() for g in root.children() if isinstance(g, QgsLayerTreeGroup)],
        "layers": [layer_info(node) for node in nodes],
        "time": [text(whole.begin()), text(whole.end())],
        "step": [project.timeSettings().timeStep(), project.timeSettings().timeStepUnit()],
        "controller": project.readNumEntry("TemporalControllerWidget", "/NavigationMode")[0],
        "extent": project.viewSettings().defaultViewExtent().toString(3),
        "colours": colours(project, settings, image, places),
        "frames": frames(project, f"{picture}.frame.png", places),
    }
    assert isinstance(settings.extent(), QgsRectangle)
    print(json.dumps(result))
    sys.stdout.flush()
    # Leave without Qt's teardown, which crashes in some headless builds.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
