// Numbers and sentences of the page. `data` is what fuxi_ens.plot.explorer embeds.
const MINUS = "\u2212";
const DASH = "\u2013";

function threeDigits(value) {
  if (value === null) return DASH;
  const text = value.toPrecision(3);
  return (text.includes("e+") ? String(Math.round(value)) : text).replace("-", MINUS);
}

function signed(value) {
  if (value === null) return DASH;
  const text = value.toFixed(Math.abs(value) >= 10 ? 0 : 1);
  if (Number(text) === 0) return text.replace("-", "");
  return value > 0 ? `+${text}` : text.replace("-", MINUS);
}

function dayOf(hours) {
  return String(Number((hours / 24).toFixed(2)));
}

function indexOf(list, id) {
  return list.findIndex((item) => item.id === id);
}

function found(list, id) {
  return list.find((item) => item.id === id);
}

// A score of a system, [name][lead], or null where the table has none.
function valuesOf(score, region, system) {
  return data.values[score]?.[region]?.[system] ?? null;
}

function valueAt(values, row, column) {
  return values === null ? null : values[row][column];
}

// How `ours` compares with `theirs`: in percent, or hundredths for scores that are no errors. Null where it cannot be said.
function comparison(better, ours, theirs) {
  if (ours === null || theirs === null) return null;
  if (better === "lower") return theirs === 0 ? null : 100 * (ours / theirs - 1);
  if (better === "higher") return 100 * (ours - theirs);
  if (better === "one") return 100 * (Math.abs(ours - 1) - Math.abs(theirs - 1));
  return null;
}

// Negative is better, whichever way the score points.
function badness(better, compared) {
  return better === "higher" && compared !== null ? -compared : compared;
}

function unitOf(better) {
  return better === "lower" ? " %" : " hundredths";
}

// The test of one cell, or null; only our forecast is tested.
function testOf(state, row, column) {
  if (state.system !== data.forecast) return null;
  const tests = data.tests[state.score]?.[state.region]?.[state.reference];
  if (!tests || tests.q === undefined || tests.q[row][column] === null) return null;
  return {
    low: tests.ci_low[row][column],
    high: tests.ci_high[row][column],
    q: tests.q[row][column],
    significant: tests.significant[row][column] === 1,
  };
}

// All that is known of one cell, as lines.
function cellLines(state, row, column) {
  const score = found(data.scores, state.score);
  const units = score.units[row] ? ` ${score.units[row]}` : "";
  const hours = data.leads[column];
  const lines = [`${data.names[row].long}, day ${dayOf(hours)} (${hours} h)`];
  const [ours, theirs] = [state.system, state.reference].map((system) =>
    system ? valueAt(valuesOf(state.score, state.region, system), row, column) : null);
  lines.push(`${found(data.systems, state.system).label}: ${threeDigits(ours)}${units}`);
  if (state.reference) {
    lines.push(`${found(data.systems, state.reference).label}: ${threeDigits(theirs)}${units}`);
    const compared = comparison(score.better, ours, theirs);
    if (compared !== null) lines.push(`difference: ${signed(compared)}${unitOf(score.better)}`);
    const test = testOf(state, row, column);
    if (test) {
      const level = Math.round(100 * (1 - data.level));
      lines.push(`${level} % interval of the difference: ${threeDigits(test.low)} to ${threeDigits(test.high)}${units}`);
      lines.push(`${test.significant ? "significant" : "not significant"} (q = ${Number(test.q.toPrecision(2))})`);
    } else if (compared !== null) lines.push("not tested for significance");
  }
  const sample = valueAt(data.samples[state.region]?.[state.system] ?? null, row, column);
  if (sample !== null) lines.push(`${sample} init times`);
  return lines;
}

// The counts of verification where it made them, else those of the cells in the page.
function countText(state, compared) {
  if (!state.reference) return "There is no reference to compare with.";
  const counts = state.system === data.forecast ? data.counts[state.score]?.[state.region]?.[state.reference] : null;
  const label = `${found(data.systems, state.system).label} against ${found(data.systems, state.reference).label}`;
  if (counts) {
    const text = `${label}: better in ${counts.better} of ${counts.total} (variable \u00d7 lead time), worse in ${counts.worse}`;
    if (!counts.tested) return `${text}. Significance could not be tested.`;
    const range = `${counts.low.toFixed(0)}${DASH}${counts.high.toFixed(0)}`;
    return `${text}. Significantly better in ${counts.significantly_better}, significantly worse in ` +
      `${counts.significantly_worse}. With resampled init times ${range} % are better.`;
  }
  const known = compared.flat().filter((value) => value !== null);
  if (!known.length) return `${label}: this score has no better direction, or one of them lacks it.`;
  const better = known.filter((value) => value < 0).length;
  return `${label}: better in ${better} of ${known.length} (variable \u00d7 lead time) of this page; not tested.`;
}
