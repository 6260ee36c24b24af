// Pan-and-zoom maps of a run: unpacks the data of pipeline/publish/webmap.py. No library, no network.
"use strict";

(function () {
  const products = JSON.parse(document.getElementById("maps-data").textContent);
  const root = document.getElementById("viewer");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const canvas = part("canvas"), context = canvas.getContext("2d");
  const slider = part("slider"), image = document.createElement("canvas");
  const state = { product: 0, layer: 0, band: 0, cell: null, scale: 1, left: 0, top: 0 };

  const product = () => products[state.product];
  const layer = () => product().layers[state.layer];

  // Decodes base64 of deflated differences (all low bytes before all high ones) to codes.
  async function unpack(of) {
    if (of.codes) return of.codes;
    const packed = Uint8Array.from(atob(of.data), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = bytes.length / 2, codes = new Uint16Array(count);
    for (let i = 0, sum = 0; i < count; i++) {
      sum = (sum + bytes[i] + 256 * bytes[count + i]) & 65535;
      codes[i] = sum;
    }
    of.codes = codes;
    of.data = null;
    return codes;
  }

  // Value of a cell; NaN where it has none.
  function valueAt(of, band, row, col) {
    const code = of.codes[(band * product().height + row) * product().width + col];
    return code ? of.low + (code - 1) * of.step : NaN;
  }

  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  function colourAt(of, value) {
    const stops = of.stops, last = stops.length - 1;
    if (of.kind === "categorical") {
      const stop = stops.find((candidate) => candidate[0] === value);
      return stop ? rgb(stop[1]) : null;
    }
    if (value <= stops[0][0]) return rgb(stops[0][1]);
    if (value >= stops[last][0]) return rgb(stops[last][1]);
    const next = stops.findIndex((stop) => stop[0] > value);
    const share = (value - stops[next - 1][0]) / (stops[next][0] - stops[next - 1][0]);
    const low = rgb(stops[next - 1][1]), high = rgb(stops[next][1]);
    return low.map((part, i) => Math.round(part + share * (high[i] - part)));
  }

  // Colours of all codes, computed once for each layer: drawing a band is a table look-up.
  function palette(of) {
    if (!of.palette) {
      of.palette = new Uint32Array(65536);
      for (let code = 1; code < 65536; code++) {
        const colour = colourAt(of, of.low + (code - 1) * of.step);
        if (colour) of.palette[code] = 0xff000000 | (colour[2] << 16) | (colour[1] << 8) | colour[0];
      }
    }
    return of.palette;
  }

  function paintImage() {
    const of = layer(), size = product().width * product().height, colours = palette(of);
    image.width = product().width;
    image.height = product().height;
    const pixels = new Uint32Array(size), start = state.band * size;
    for (let i = 0; i < size; i++) pixels[i] = colours[of.codes[start + i]];
    const data = new ImageData(new Uint8ClampedArray(pixels.buffer), image.width, image.height);
    image.getContext("2d").putImageData(data, 0, 0);
  }

  function draw() {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(state.scale, 0, 0, state.scale, state.left, state.top);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0);
    context.lineWidth = 1 / state.scale;
    context.strokeStyle = "#3d4650";
    context.beginPath();
    for (const line of product().outlines) {
      context.moveTo(line[0], line[1]);
      for (let i = 2; i < line.length; i += 2) context.lineTo(line[i], line[i + 1]);
    }
    context.stroke();
    if (state.cell) {
      context.lineWidth = 3 / state.scale;
      context.strokeStyle = "#b3261e";
      context.strokeRect(state.cell.col, state.cell.row, 1, 1);
    }
  }

  // Shows the whole map at the width of the canvas.
  function fit() {
    canvas.width = 1100;
    canvas.height = Math.min(760, Math.round((1100 * product().height) / product().width));
    state.scale = Math.min(canvas.width / product().width, canvas.height / product().height);
    state.left = (canvas.width - state.scale * product().width) / 2;
    state.top = (canvas.height - state.scale * product().height) / 2;
  }

  function zoom(by, x, y) {
    const scale = Math.min(200, Math.max(0.5, state.scale * by));
    state.left = x - ((x - state.left) * scale) / state.scale;
    state.top = y - ((y - state.top) * scale) / state.scale;
    state.scale = scale;
    draw();
  }

  function canvasPoint(event) {
    const box = canvas.getBoundingClientRect();
    const by = canvas.width / box.width;
    return [(event.clientX - box.left) * by, (event.clientY - box.top) * by];
  }

  // Longitude and latitude of a cell's centre, interpolated between lattice points.
  function place(cell) {
    const points = product().lattice, side = Math.sqrt(points.length);
    const u = ((cell.col + 0.5) / product().width) * (side - 1);
    const v = ((cell.row + 0.5) / product().height) * (side - 1);
    const i = Math.min(side - 2, Math.floor(u)), j = Math.min(side - 2, Math.floor(v));
    const at = (row, col, axis) => points[row * side + col][axis];
    const mix = (axis) =>
      (1 - v + j) * ((1 - u + i) * at(j, i, axis) + (u - i) * at(j, i + 1, axis)) +
      (v - j) * ((1 - u + i) * at(j + 1, i, axis) + (u - i) * at(j + 1, i + 1, axis));
    const corners = [at(j, i, 0), at(j, i + 1, 0), at(j + 1, i, 0), at(j + 1, i + 1, 0)];
    if (corners.includes(null)) return "";
    const hemisphere = (value, letters) =>
      `${Math.abs(value).toFixed(2)}° ${letters[value < 0 ? 1 : 0]}`;
    return `${hemisphere(mix(1), "NS")}, ${hemisphere(mix(0), "EW")}`;
  }

  function text(of, value) {
    if (Number.isNaN(value)) return "no value";
    if (of.kind === "continuous") return `${Number(value.toPrecision(4))} ${of.units}`.trim();
    const stop = of.stops.find((candidate) => candidate[0] === value);
    return stop ? stop[2] : `class ${value}`;
  }

  const WIDTH = 1.64; // spreads either side: 90 % where errors are normal

  function series(of) {
    const { row, col } = state.cell;
    return of.bands.map((_, band) => valueAt(of, band, row, col));
  }

  // The layer with the spread of the map, if it has the same dates.
  function spreadOf(of) {
    const found = of.spread === null ? null : product().layers[of.spread];
    return found && found.bands.length === of.bands.length ? found : null;
  }

  // [low, high] of each date; NaN where there is no spread.
  function bandAround(values, spread) {
    return values.map((value, i) => [value - WIDTH * spread[i], value + WIDTH * spread[i]]);
  }

  // One polygon for each run of dates that have a band.
  function drawBand(chart, band, x, y) {
    let run = [];
    const close = () => {
      const above = run.map((i) => `${x(i).toFixed(1)},${y(band[i][1]).toFixed(1)}`);
      const below = run.map((i) => `${x(i).toFixed(1)},${y(band[i][0]).toFixed(1)}`).reverse();
      if (run.length > 1) {
        chart.append(svg("polygon", { points: [...above, ...below].join(" "), fill: "#0b6e99", "fill-opacity": 0.18 }));
      }
      run = [];
    };
    band.forEach(([low], i) => Number.isNaN(low) ? close() : run.push(i));
    close();
    chart.append(svg("text", { x: 1080, y: 12, "text-anchor": "end" }, `shaded: mean ± ${WIDTH} spread`));
  }

  function svg(name, attributes, words) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (words !== undefined) element.textContent = words;
    return element;
  }

  function drawSeries(values, band) {
    const chart = part("series"), valid = values.filter((value) => !Number.isNaN(value));
    chart.replaceChildren();
    // An SVG element has no property `hidden`, only the attribute.
    const none = layer().bands.length < 2 || !valid.length || layer().kind !== "continuous";
    chart.toggleAttribute("hidden", none);
    if (none) return;
    const ends = [...valid, ...band.flat().filter((value) => !Number.isNaN(value))];
    let low = Math.min(...ends), high = Math.max(...ends);
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const x = (i) => 70 + (980 * i) / (values.length - 1);
    const y = (value) => 150 - (130 * (value - low)) / (high - low);
    for (const value of [low, (low + high) / 2, high]) {
      chart.append(svg("line", { x1: 70, x2: 1080, y1: y(value), y2: y(value), stroke: "#d9e0e6" }));
      chart.append(svg("text", { x: 64, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(3)));
    }
    if (band.length) drawBand(chart, band, x, y);
    let path = "", pen = "M";
    values.forEach((value, i) => {
      if (Number.isNaN(value)) { pen = "M"; return; }
      path += `${pen}${x(i).toFixed(1)},${y(value).toFixed(1)}`;
      pen = "L";
      if (values.length <= 62) chart.append(svg("circle", { cx: x(i), cy: y(value), r: 3, fill: "#0b6e99" }));
    });
    chart.append(svg("path", { d: path, fill: "none", stroke: "#0b6e99", "stroke-width": 2 }));
    chart.append(svg("line", { x1: x(state.band), x2: x(state.band), y1: 15, y2: 155, stroke: "#b3261e" }));
    const every = Math.ceil(values.length / 12);
    layer().bands.forEach((name, i) => {
      if (i % every === 0) chart.append(svg("text", { x: x(i), y: 175, "text-anchor": "middle" }, name));
    });
  }

  function readOut() {
    const words = part("readout");
    if (!state.cell) {
      words.textContent = "Click a cell for its values. Drag to pan, scroll to zoom.";
      part("series").toggleAttribute("hidden", true);
      return;
    }
    const of = layer(), values = series(of), spread = spreadOf(of);
    const band = spread ? bandAround(values, series(spread)) : [];
    root.dataset.series = JSON.stringify(values);
    root.dataset.band = JSON.stringify(band);
    const mean = product().factor > 1 && of.kind === "continuous"
      ? ` (mean of ${product().factor} × ${product().factor} cells of the map)` : "";
    words.textContent =
      `${place(state.cell)} · ${of.bands[state.band]}: ${text(of, values[state.band])}${mean}`;
    drawSeries(values, band);
  }

  function legend() {
    const of = layer(), box = part("legend"), low = of.stops[0][0];
    const span = of.stops[of.stops.length - 1][0] - low;
    box.replaceChildren();
    const make = (tag, name, words) => {
      const element = document.createElement(tag);
      element.className = name;
      if (words !== undefined) element.textContent = words;
      return element;
    };
    if (of.kind === "categorical") {
      for (const [, colour, label] of of.stops) {
        const entry = make("span", ""), swatch = make("span", "viewer-swatch");
        swatch.style.background = colour;
        entry.append(swatch, label);
        box.append(entry);
      }
      return;
    }
    const ramp = make("div", "viewer-ramp"), bar = make("div", ""), ticks = make("div", "viewer-ticks");
    const at = (value) => `${(100 * (value - low)) / span}%`;
    bar.style.background =
      `linear-gradient(to right, ${of.stops.map((stop) => `${stop[1]} ${at(stop[0])}`).join(", ")})`;
    for (const [value, , label] of of.stops) {
      const tick = make("span", "", label);
      tick.style.left = at(value);
      ticks.append(tick);
    }
    ramp.append(bar, ticks);
    box.append(make("span", "", of.units), ramp);
  }

  function showBand() {
    part("band").textContent = layer().bands[state.band];
    paintImage();
    draw();
    readOut();
  }

  async function showLayer() {
    root.removeAttribute("data-ready");
    const wanted = layer();
    await unpack(wanted);
    if (spreadOf(wanted)) await unpack(spreadOf(wanted));
    if (wanted !== layer()) return; // another was chosen meanwhile
    state.band = Math.min(state.band, wanted.bands.length - 1);
    slider.max = wanted.bands.length - 1;
    slider.value = state.band;
    part("time").hidden = wanted.bands.length < 2;
    part("caption").textContent = `${wanted.title} — maps/${wanted.file}`;
    legend();
    showBand();
    root.dataset.ready = "yes";
  }

  function options(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => new Option(name, i, false, i === chosen)));
  }

  function showProduct() {
    state.layer = Math.min(state.layer, product().layers.length - 1);
    state.cell = null;
    options(part("layer"), product().layers.map((of) => of.title), state.layer);
    fit();
    return showLayer();
  }

  part("product").addEventListener("change", (event) => {
    state.product = Number(event.target.value);
    showProduct();
  });
  part("layer").addEventListener("change", (event) => {
    state.layer = Number(event.target.value);
    showLayer();
  });
  slider.addEventListener("input", () => {
    state.band = Number(slider.value);
    showBand();
  });
  const middle = () => [canvas.width / 2, canvas.height / 2];
  part("in").addEventListener("click", () => zoom(1.6, ...middle()));
  part("out").addEventListener("click", () => zoom(1 / 1.6, ...middle()));
  part("reset").addEventListener("click", () => { fit(); draw(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...canvasPoint(event));
  }, { passive: false });

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { from: canvasPoint(event), left: state.left, top: state.top, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = canvasPoint(event), dx = x - drag.from[0], dy = y - drag.from[1];
    drag.moved = drag.moved || Math.hypot(dx, dy) > 4;
    if (!drag.moved) return;
    state.left = drag.left + dx;
    state.top = drag.top + dy;
    draw();
  });
  window.addEventListener("pointerup", (event) => {
    const was = drag;
    drag = null;
    if (!was || was.moved || event.target !== canvas) return;
    const [x, y] = canvasPoint(event);
    const col = Math.floor((x - state.left) / state.scale);
    const row = Math.floor((y - state.top) / state.scale);
    const inside = col >= 0 && row >= 0 && col < product().width && row < product().height;
    state.cell = inside ? { row, col } : null;
    draw();
    readOut();
  });

  options(part("product"), products.map((of) => of.name), 0);
  part("product").parentElement.hidden = products.length < 2;
  showProduct();
})();
