// Choices of the reader, and what follows from them.
const state = {
  region: data.region,
  score: data.score,
  system: data.forecast,
  reference: data.references[0] ?? "",
  show: data.references.length ? "difference" : "value",
  lead: "daily",
  name: data.names[0].id,
};

function control(id) {
  return document.getElementById(id);
}

function fill(id, items) {
  control(id).replaceChildren(...items.map((item) => element("option", item.label, { value: item.id })));
  control(id).value = state[id];
}

function holders(score, region) {
  return data.systems.filter((system) => valuesOf(score, region, system.id) !== null);
}

// After a choice some others may no longer exist: keep what can be kept.
function settle() {
  const systems = holders(state.score, state.region);
  if (!found(systems, state.system)) state.system = systems[0]?.id ?? data.forecast;
  const references = systems.filter((system) => system.id !== state.system);
  if (!found(references, state.reference)) state.reference = references[0]?.id ?? "";
  fill("system", systems.length ? systems : data.systems);
  fill("reference", references.length ? references : [{ id: "", label: "none" }]);
}

function curveSeries(row) {
  return holders(state.score, state.region).map((system) => ({ ...system,
    values: valuesOf(state.score, state.region, system.id)[row] }));
}

// The band of confidence in the units of the comparison, by lead.
function bandOf(row, better, theirs) {
  const tests = data.leads.map((_, column) => testOf(state, row, column));
  if (better !== "lower" || !tests.some((test) => test !== null)) return null;
  const edge = (key) => tests.map((test, column) =>
    (test && theirs[column] ? (100 * test[key]) / theirs[column] : null));
  return { low: edge("low"), high: edge("high") };
}

function drawCurves() {
  const row = indexOf(data.names, state.name);
  const score = found(data.scores, state.score);
  const name = data.names[row];
  const units = score.units[row] || score.label;
  const series = curveSeries(row);
  control("curves-title").replaceChildren(element("b", `${score.label}, ${name.long}, ${state.region}`), ...series.map(legendItem));
  control("curves").setAttribute("aria-label", `${score.label} of ${name.long} by lead time; arrow keys read values`);
  drawChart(control("curves"), series, null, units, score.better === "lower");
  const [ours, theirs] = [state.system, state.reference].map((system) => valuesOf(state.score, state.region, system));
  const compared = ours && theirs && score.better !== "none";
  control("difference").parentElement.hidden = !compared;
  if (!compared) return;
  const system = found(data.systems, state.system);
  const values = data.leads.map((_, column) => comparison(score.better, ours[row][column], theirs[row][column]));
  const band = bandOf(row, score.better, theirs[row]);
  const interval = band ? ` with ${Math.round(100 * (1 - data.level))} % interval` : "";
  control("difference-title").replaceChildren(
    element("b", `${system.label} against ${found(data.systems, state.reference).label}${interval}`));
  control("difference").setAttribute("aria-label", `Difference in ${score.label} by lead time; arrow keys read values`);
  const line = { ...system, values, label: "difference" };
  drawChart(control("difference"), [line], band, `difference,${unitOf(score.better)}`, true);
}

function legendItem(system) {
  const item = element("span", system.label, { class: "legend" });
  const line = svgElement("svg", { width: 30, height: 8, "aria-hidden": "true" });
  line.append(svgElement("line", { x1: 0, x2: 30, y1: 4, y2: 4, stroke: system.color, "stroke-width": system.width,
    "stroke-dasharray": system.dash }));
  item.prepend(line);
  return item;
}

function draw() {
  settle();
  drawHeat(state);
  drawCurves();
  hideTip();
}

function showTip(lines, box) {
  const tip = control("tip");
  tip.replaceChildren(...lines.map((line, index) => element(index ? "div" : "b", line)));
  tip.hidden = false;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 8 ? above : box.bottom + 8) + scrollY}px`;
}

function hideTip() {
  control("tip").hidden = true;
}

function tipOfCell(event) {
  const cell = event.target.closest("#heat td");
  if (cell) showTip(cellLines(state, Number(cell.dataset.row), Number(cell.dataset.column)), cell.getBoundingClientRect());
}

function chooseName(id) {
  state.name = id;
  control("name").value = id;
  [...control("heat").tBodies[0].rows].forEach((line, row) => line.classList.toggle("chosen", data.names[row].id === id));
  drawCurves();
}

function chooseRow(event) {
  const cell = event.target.closest("tbody td, tbody th");
  if (cell) chooseName(data.names[cell.parentElement.rowIndex - 1].id);
}

function rule(svg, column) {
  svg.ruler.at = column;
  const lines = svg.ruler.place(column);
  const box = svg.getBoundingClientRect();
  const left = box.left + (svg.ruler.x(data.leads[column]) / SIZE.width) * box.width;
  showTip(lines, { left, width: 0, top: box.top + 20, bottom: box.top + 20 });
}

function readChart(svg) {
  svg.addEventListener("mousemove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * SIZE.width;
    const away = (column) => Math.abs(svg.ruler.x(data.leads[column]) - x);
    const nearest = svg.ruler.columns.reduce((best, column) => (away(column) < away(best) ? column : best));
    rule(svg, nearest);
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = svg.ruler.columns[svg.ruler.columns.indexOf(svg.ruler.at) + step];
    if (next !== undefined) rule(svg, next);
  });
  ["mouseleave", "blur"].forEach((kind) => svg.addEventListener(kind, () => {
    svg.ruler.hide();
    hideTip();
  }));
  svg.addEventListener("focus", () => rule(svg, svg.ruler.at));
}

function start() {
  fill("region", data.regions.map((region) => ({ id: region, label: region })));
  fill("score", data.scores);
  fill("name", data.names.map((name) => ({ id: name.id, label: name.long })));
  control("show").value = state.show;
  if (data.leads.every((hours) => hours % 24 === 0)) control("lead").parentElement.hidden = true;
  ["region", "score", "system", "reference", "show", "lead", "name"].forEach((id) => {
    control(id).addEventListener("change", () => {
      state[id] = control(id).value;
      draw();
    });
  });
  const heat = control("heat");
  heat.addEventListener("mouseover", tipOfCell);
  heat.addEventListener("focusin", tipOfCell);
  ["mouseleave", "focusout"].forEach((kind) => heat.addEventListener(kind, hideTip));
  heat.addEventListener("keydown", moveFocus);
  heat.addEventListener("keydown", (event) => event.key === "Enter" && chooseRow(event));
  heat.addEventListener("click", chooseRow);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  ["curves", "difference"].forEach((id) => readChart(control(id)));
  drawKey();
  control("explore").hidden = false;
  document.querySelector('nav a[href="#explore"]').parentElement.hidden = false;
  draw();
}

start();
