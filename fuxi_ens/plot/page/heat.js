// The scorecard as a table: one row per scored name, one column per lead time.
function classOf(value) {
  let index = 0;
  while (index < data.bounds.length && value >= data.bounds[index]) index += 1;
  return index;
}

function isDark(value) {
  return Math.abs(value) >= data.bounds[data.bounds.length - 3];
}

function shownColumns(state) {
  const all = data.leads.map((_, column) => column);
  const daily = all.filter((column) => data.leads[column] % 24 === 0);
  return state.lead === "all" || !daily.length ? all : daily;
}

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

// [name][lead] of the comparison with negative as better, over all lead times of the page.
function comparedTable(state) {
  const better = found(data.scores, state.score).better;
  const [ours, theirs] = [state.system, state.reference].map((system) =>
    system ? valuesOf(state.score, state.region, system) : null);
  return data.names.map((_, row) => data.leads.map((__, column) =>
    badness(better, comparison(better, valueAt(ours, row, column), valueAt(theirs, row, column)))));
}

function heatCell(state, compared, row, column) {
  const better = found(data.scores, state.score).better;
  const value = valueAt(valuesOf(state.score, state.region, state.system), row, column);
  const difference = compared[row][column];
  const plain = state.show === "value" || better === "none" || !state.reference;
  const text = plain ? threeDigits(value) : signed(badness(better, difference));
  const cell = element("td", text, { tabindex: "-1", "data-row": row, "data-column": column });
  cell.setAttribute("aria-label", cellLines(state, row, column).join("; "));
  if (difference === null) return cell;
  cell.style.background = data.colors[classOf(difference)];
  cell.classList.toggle("dark", isDark(difference));
  const test = testOf(state, row, column);
  cell.classList.toggle("doubtful", test !== null && !test.significant);
  return cell;
}

function drawHeat(state) {
  const table = document.getElementById("heat");
  const compared = comparedTable(state);
  const columns = shownColumns(state);
  const head = element("tr");
  head.append(element("th", "Variable", { scope: "col" }));
  columns.forEach((column) => head.append(element("th", dayOf(data.leads[column]), { scope: "col" })));
  table.tHead.replaceChildren(head);
  const rows = data.names.map((name, row) => {
    const line = element("tr");
    line.classList.toggle("chosen", name.id === state.name);
    const units = found(data.scores, state.score).units[row];
    const first = element("th", name.short, { scope: "row", title: name.long });
    if (units) first.append(element("span", ` ${units}`, { class: "units" }));
    line.append(first, ...columns.map((column) => heatCell(state, compared, row, column)));
    return line;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.caption.textContent = captionText(state);
  table.querySelector("td")?.setAttribute("tabindex", "0");
  document.getElementById("count").textContent = countText(state, compared);
}

function captionText(state) {
  const score = found(data.scores, state.score);
  const [ours, theirs] = [state.system, state.reference].map((system) => found(data.systems, system)?.label);
  const region = `region ${state.region}, columns are days`;
  if (state.show === "value" || score.better === "none" || !theirs) return `${score.label} of ${ours}, ${region}`;
  return `${score.label} of ${ours} against ${theirs}, difference in${unitOf(score.better)}, ${region}`;
}

function drawKey() {
  const last = data.bounds.length;
  const bound = (index) => String(data.bounds[index]).replace("-", MINUS);
  const classes = data.colors.map((color, index) => {
    const range = index === 0 ? `< ${bound(0)}` : index === last ? `> ${bound(last - 1)}`
      : `${bound(index - 1)} to ${bound(index)}`;
    const item = element("span", range);
    item.style.background = color;
    item.classList.toggle("dark", index < 3 || index > last - 3);
    return item;
  });
  document.getElementById("key").replaceChildren(...classes);
}

// Arrow keys, Home and End move through the cells; only one cell is in the order of the Tab key.
function moveFocus(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const step = steps[event.key];
  if (!step || event.target.tagName !== "TD") return;
  event.preventDefault();
  const rows = [...document.querySelectorAll("#heat tbody tr")].map((line) => [...line.querySelectorAll("td")]);
  const row = rows.findIndex((cells) => cells.includes(event.target));
  const next = rows[row + step[0]]?.[rows[row].indexOf(event.target) + step[1]];
  if (!next) return;
  event.target.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}
