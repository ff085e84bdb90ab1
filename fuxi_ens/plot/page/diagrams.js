// Diagrams of probabilities as SVG. `shapes` is what fuxi_ens.plot.diagram_data embeds.
const PLANE = { width: 330, height: 270, left: 50, right: 12, top: 10, bottom: 40 };
const chosen = { region: shapes.region, name: shapes.names[0].id, lead: "0", event: shapes.kinds[0]?.id ?? "", system: "" };

function scaleOf(range, log, from, to) {
  const place = log ? Math.log10 : (value) => value;
  const [low, high] = range.map(place);
  return (value) => from + ((place(value) - low) / (high - low)) * (to - from);
}

// Whole powers of ten on a logarithmic axis, a few round numbers on another.
function marksOf(range, log) {
  if (!log) return ticksOf(range[0], range[1]);
  const powers = [];
  for (let power = Math.ceil(Math.log10(range[0]) - 1e-9); 10 ** power <= range[1] * 1.000001; power += 1) powers.push(10 ** power);
  const every = Math.ceil(powers.length / 6);
  return powers.filter((_, index) => index % every === 0);
}

function markText(value) {
  return value >= 1e4 || value < 1e-3 ? (value === 0 ? "0" : `1e${Math.round(Math.log10(value))}`.replace("-", MINUS)) : String(value);
}

function drawPlane(id, axes) {
  const svg = control(id);
  svg.setAttribute("viewBox", `0 0 ${PLANE.width} ${PLANE.height}`);
  const [right, bottom] = [PLANE.width - PLANE.right, PLANE.height - PLANE.bottom];
  const x = scaleOf(axes.x, axes.logX, PLANE.left, right);
  const y = scaleOf(axes.y, axes.logY, bottom, PLANE.top);
  svg.replaceChildren();
  marksOf(axes.y, axes.logY).forEach((mark) => {
    svg.append(svgElement("line", { x1: PLANE.left, x2: right, y1: y(mark), y2: y(mark), class: "grid" }));
    svg.append(svgElement("text", { x: PLANE.left - 6, y: y(mark) + 4, class: "y" }, markText(mark)));
  });
  marksOf(axes.x, axes.logX).forEach((mark) => svg.append(svgElement("text", { x: x(mark), y: bottom + 16, class: "x" }, markText(mark))));
  svg.append(svgElement("text", { x: (PLANE.left + right) / 2, y: PLANE.height - 6, class: "x" }, axes.labelX));
  svg.append(svgElement("text", { x: 13, y: (PLANE.top + bottom) / 2, class: "label",
    transform: `rotate(-90 13 ${(PLANE.top + bottom) / 2})` }, axes.labelY));
  return { svg, x, y, right, bottom };
}

function planeLine(plane, xs, ys, look) {
  const points = xs.map((value, index) => [value, ys[index]]).filter(([a, b]) => a !== null && b !== null && a !== undefined)
    .map(([a, b]) => `${plane.x(a).toFixed(1)},${plane.y(b).toFixed(1)}`);
  if (points.length) plane.svg.append(svgElement("polyline", { points: points.join(" "), fill: "none", "stroke-width": 2, ...look }));
}

function diagonal(plane) {
  planeLine(plane, [0, 1], [0, 1], { class: "zero", "stroke-width": 1 });
}

// What is chosen of one kind, by system; systems without it are left out.
function chosenOf(bySystem, byRegion = true) {
  return shapes.systems.filter((system) => !chosen.system || system.id === chosen.system).map((system) => {
    const ofSystem = bySystem?.[system.id];
    const ofName = (byRegion ? ofSystem?.[chosen.region] : ofSystem)?.[chosen.name];
    return { system, shown: ofName?.[Number(chosen.lead)] ?? null };
  }).filter(({ shown }) => shown !== null);
}

function drawRanks(found) {
  const most = Math.max(1.5, ...found.flatMap(({ shown }) => shown));
  const plane = drawPlane("plane-ranks", { x: [0, 1], y: [0, most * 1.05], labelX: "rank of the truth / members", labelY: "multiple of uniform" });
  planeLine(plane, [0, 1], [1, 1], { class: "zero", "stroke-width": 1 });
  found.forEach(({ system, shown }) => {
    const edges = shown.flatMap((_, index) => [index / shown.length, (index + 1) / shown.length]);
    planeLine(plane, edges, shown.flatMap((value) => [value, value]), { stroke: system.color, "data-system": system.id });
  });
}

// Shares of the forecasts by class, from 0.1 % to all, in the lower right corner.
function drawShares(plane, found) {
  const box = { left: plane.x(0.62), right: plane.x(0.98), top: plane.y(0.3), bottom: plane.y(0.04) };
  plane.svg.append(svgElement("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, class: "inset" }));
  const inset = { svg: plane.svg, x: scaleOf([0, 1], false, box.left, box.right), y: scaleOf([1e-3, 1], true, box.bottom, box.top) };
  found.forEach(({ system, shown }) => {
    const edges = shown.w.flatMap((_, index) => [index / shown.w.length, (index + 1) / shown.w.length]);
    planeLine(inset, edges, shown.w.flatMap((value) => [Math.max(value ?? 0, 1e-3), Math.max(value ?? 0, 1e-3)]), { stroke: system.color, "stroke-width": 1.2 });
  });
}

function drawReliability(found) {
  const plane = drawPlane("plane-reliability", { x: [0, 1], y: [0, 1], labelX: "forecast probability", labelY: "observed frequency" });
  diagonal(plane);
  found.forEach(({ system, shown }) => {
    shown.p.forEach((p, index) => {
      const half = shown.c[index];
      if (p === null || half === null) return;
      const [low, high] = [Math.max(0, p - half), Math.min(1, p + half)];
      plane.svg.append(svgElement("line", { x1: plane.x(p), x2: plane.x(p), y1: plane.y(low), y2: plane.y(high), stroke: system.color, class: "bar" }));
    });
    planeLine(plane, shown.p, shown.o, { stroke: system.color, "data-system": system.id });
    shown.p.forEach((p, index) => {
      if (p === null || shown.o[index] === null) return;
      const dot = svgElement("circle", { cx: plane.x(p), cy: plane.y(shown.o[index]), r: 3, fill: system.color });
      dot.append(svgElement("title", {}, `${system.label}: forecast ${threeDigits(p)}, observed ${threeDigits(shown.o[index])}, ` +
        `${threeDigits(100 * shown.w[index])} % of forecasts`));
      plane.svg.append(dot);
    });
  });
  drawShares(plane, found);
}

function drawSpectrum(found) {
  const all = found.flatMap(({ shown }) => [...shown.members, ...shown.mean, ...shown.truth]).filter((value) => value > 0);
  const last = Math.max(2, ...found.flatMap(({ shown }) => shown.degree));
  const plane = drawPlane("plane-spectrum", { x: [1, last], y: all.length ? [Math.min(...all) * 0.7, Math.max(...all) * 1.4] : [0.1, 1],
    logX: true, logY: true, labelX: "degree", labelY: "power" });
  found.forEach(({ system, shown }) => {
    planeLine(plane, shown.degree, shown.truth, { class: "truth", "stroke-width": 1.2 });
    planeLine(plane, shown.degree, shown.members, { stroke: system.color, "data-system": system.id });
    planeLine(plane, shown.degree, shown.mean, { stroke: system.color, "stroke-dasharray": "5 3", "stroke-width": 1.4 });
  });
}

function drawEvents(found) {
  drawReliability(found);
  const roc = drawPlane("plane-roc", { x: [0, 1], y: [0, 1], labelX: "false-alarm rate", labelY: "hit rate" });
  diagonal(roc);
  const costs = shapes.costs.length ? [shapes.costs[0], shapes.costs[shapes.costs.length - 1]] : [0.01, 1];
  const value = drawPlane("plane-value", { x: costs, y: [0, 1], logX: true, labelX: "cost / loss", labelY: "relative value" });
  found.forEach(({ system, shown }) => {
    planeLine(roc, shown.f, shown.h, { stroke: system.color, "data-system": system.id });
    planeLine(value, shapes.costs, shown.v, { stroke: system.color, "data-system": system.id });
  });
}

// A diagram without anything to show says so.
function showOrHide(id, found, what) {
  const svg = control(id);
  svg.parentElement.hidden = !found.possible;
  svg.setAttribute("aria-label", `${what}: ${found.length ? found.map(({ system }) => system.label).join(", ") : "nothing for these choices"}`);
  if (!found.length) svg.append(svgElement("text", { x: PLANE.width / 2, y: PLANE.height / 2, class: "x" }, "not verified for these choices"));
}

function drawDiagrams() {
  const possible = (part) => Object.keys(part).length > 0;
  const ranks = Object.assign(chosenOf(shapes.ranks), { possible: possible(shapes.ranks) });
  const events = Object.assign(chosenOf(shapes.events[chosen.event]), { possible: possible(shapes.events) });
  const spectrum = Object.assign(chosenOf(shapes.spectra, false), { possible: possible(shapes.spectra) });
  drawRanks(ranks);
  drawEvents(events);
  drawSpectrum(spectrum);
  showOrHide("plane-ranks", ranks, "Rank histogram");
  ["reliability", "roc", "value"].forEach((kind) => showOrHide(`plane-${kind}`, events, kind));
  showOrHide("plane-spectrum", spectrum, "Spectrum");
}

function startDiagrams() {
  const options = {
    region: shapes.regions.map((region) => ({ id: region, label: region })),
    name: shapes.names,
    lead: shapes.leads.map((hours, index) => ({ id: String(index), label: `day ${dayOf(hours)}` })),
    event: shapes.kinds,
    system: [{ id: "", label: "all" }, ...shapes.systems],
  };
  Object.entries(options).forEach(([key, items]) => {
    const select = control(`diagram-${key}`);
    select.replaceChildren(...items.map((item) => element("option", item.label, { value: item.id })));
    select.value = chosen[key];
    select.parentElement.hidden = items.length === 0;
    select.addEventListener("change", () => {
      chosen[key] = select.value;
      drawDiagrams();
    });
  });
  control("diagram-legend").replaceChildren(...shapes.systems.map((system) => legendItem({ ...system, width: 2.5, dash: "" })));
  control("distributions").hidden = false;
  document.querySelector('nav a[href="#distributions"]').parentElement.hidden = false;
  drawDiagrams();
}

startDiagrams();
