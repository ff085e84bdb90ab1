// Curves over lead time as SVG: lines, a band of confidence, and a ruler that reads values off.
const SIZE = { width: 460, height: 250, left: 50, right: 10, top: 10, bottom: 38 };

function svgElement(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.textContent = text;
  return made;
}

// About five round numbers that span the range.
function ticksOf(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(6)));
}

function scales(series, band, zero) {
  const numbers = [...series.flatMap((one) => one.values), ...(band ? [...band.low, ...band.high] : [])];
  const known = numbers.filter((value) => value !== null);
  if (zero || !known.length) known.push(0);
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (low === high) [low, high] = [low - 1, high + 1];
  const margin = 0.04 * (high - low);
  if (low !== 0) low -= margin;
  high += margin;
  const lastHour = data.leads[data.leads.length - 1];
  const x = (hours) => SIZE.left + (SIZE.width - SIZE.left - SIZE.right) * (hours / lastHour);
  const y = (value) => SIZE.top + (SIZE.height - SIZE.top - SIZE.bottom) * ((high - value) / (high - low));
  return { x, y, low, high, lastHour };
}

function drawAxes(svg, scale, label) {
  const bottom = SIZE.height - SIZE.bottom;
  ticksOf(scale.low, scale.high).forEach((tick) => {
    svg.append(svgElement("line", { x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: scale.y(tick), y2: scale.y(tick),
      class: tick === 0 ? "zero" : "grid" }));
    svg.append(svgElement("text", { x: SIZE.left - 6, y: scale.y(tick) + 4, class: "y" }, String(tick).replace("-", MINUS)));
  });
  ticksOf(0, scale.lastHour / 24).forEach((day) => {
    svg.append(svgElement("text", { x: scale.x(24 * day), y: bottom + 16, class: "x" }, String(day)));
  });
  svg.append(svgElement("text", { x: (SIZE.left + SIZE.width) / 2, y: SIZE.height - 6, class: "x" }, "lead time (days)"));
  svg.append(svgElement("text", { x: 14, y: (SIZE.top + bottom) / 2, class: "label",
    transform: `rotate(-90 14 ${(SIZE.top + bottom) / 2})` }, label));
}

// Pieces of a line between missing values; a lead time between missing ones becomes a dot.
function drawLine(svg, scale, one) {
  const points = data.leads.map((hours, column) => [scale.x(hours), one.values[column]])
    .filter(([, value]) => value !== null).map(([x, value]) => `${x.toFixed(1)},${scale.y(value).toFixed(1)}`);
  if (points.length === 1) {
    const [cx, cy] = points[0].split(",");
    svg.append(svgElement("circle", { cx, cy, r: 3.5, fill: one.color }));
  } else if (points.length) {
    svg.append(svgElement("polyline", { points: points.join(" "), fill: "none", stroke: one.color,
      "stroke-width": one.width, "stroke-dasharray": one.dash, "data-system": one.id }));
  }
}

function drawBand(svg, scale, band) {
  const columns = data.leads.map((_, column) => column).filter((column) => band.low[column] !== null);
  if (columns.length < 2) return;
  const edge = (values, order) => order.map((column) => `${scale.x(data.leads[column])},${scale.y(values[column])}`);
  const points = [...edge(band.high, columns), ...edge(band.low, [...columns].reverse())];
  svg.append(svgElement("polygon", { points: points.join(" "), class: "band" }));
}

// `series`: [{id, label, values by lead, color, dash, width}]; `band`: {low, high} by lead, or null.
function drawChart(svg, series, band, label, zero) {
  const scale = scales(series, band, zero);
  svg.setAttribute("viewBox", `0 0 ${SIZE.width} ${SIZE.height}`);
  svg.replaceChildren();
  drawAxes(svg, scale, label);
  if (band) drawBand(svg, scale, band);
  series.forEach((one) => drawLine(svg, scale, one));
  const ruler = svgElement("line", { y1: SIZE.top, y2: SIZE.height - SIZE.bottom, class: "ruler", visibility: "hidden" });
  svg.append(ruler);
  const columns = data.leads.map((_, column) => column)
    .filter((column) => series.some((one) => one.values[column] !== null));
  svg.ruler = { columns, at: columns[0], place: (column) => {
    const x = scale.x(data.leads[column]);
    ruler.setAttribute("x1", x);
    ruler.setAttribute("x2", x);
    ruler.setAttribute("visibility", "visible");
    const lines = series.map((one) => `${one.label}: ${threeDigits(one.values[column])}`);
    if (band && band.low[column] !== null)
      lines.push(`interval: ${threeDigits(band.low[column])} to ${threeDigits(band.high[column])}`);
    return [`day ${dayOf(data.leads[column])}, ${label}`, ...lines];
  }, hide: () => ruler.setAttribute("visibility", "hidden"), x: scale.x };
}
