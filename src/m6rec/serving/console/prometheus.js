// Prometheus' text format into numbers, and differences of two readings into figures.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** [{name, labels, value}] of a text. */
export function parseMetrics(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (!parts) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(LABEL)) labels[name] = plain(value);
    found.push({ name: parts[1], labels, value: Number(parts[3].replace("Inf", "Infinity")) });
  }
  return found;
}

function plain(escaped) {
  return escaped.replace(/\\(.)/g, (_, sign) => (sign === "n" ? "\n" : sign));
}

/** Sum of all samples of a name that have these labels; null: there are none. */
export function total(samples, name, labels = {}) {
  const fits = pick(samples, name, labels);
  return fits.length ? fits.reduce((sum, { value }) => sum + value, 0) : null;
}

/** Values that a label has in samples of a name. */
export function valuesOf(samples, name, label) {
  return [...new Set(pick(samples, name, {}).map(({ labels }) => labels[label]))];
}

/** How often, and how long on average, between two readings of a histogram; null: never. */
export function between(before, after, name, labels = {}) {
  const grown = (part) =>
    (total(after, `${name}_${part}`, labels) ?? 0) - (total(before, `${name}_${part}`, labels) ?? 0);
  const times = grown("count");
  return times > 0 ? { times, mean: grown("sum") / times } : null;
}

/** A quantile between two readings of a histogram, interpolated in its bucket; null: no sample. */
export function quantile(share, before, after, name, labels = {}) {
  const old = buckets(before, name, labels);
  const grown = [...buckets(after, name, labels)]
    .map(([end, times]) => [end, times - (old.get(end) ?? 0)])
    .sort(([one], [other]) => one - other);
  const all = grown.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let start = 0;
  let below = 0;
  for (const [end, times] of grown) {
    if (times >= share * all) {
      if (end === Infinity) return start;
      return start + ((end - start) * (share * all - below)) / (times - below || 1);
    }
    [start, below] = [end, times];
  }
  return start;
}

function buckets(samples, name, labels) {
  const found = new Map();
  for (const { labels: own, value } of pick(samples, `${name}_bucket`, labels)) {
    const end = own.le === "+Inf" ? Infinity : Number(own.le);
    found.set(end, (found.get(end) ?? 0) + value);
  }
  return found;
}

function pick(samples, name, labels) {
  const wanted = Object.entries(labels);
  return samples.filter(
    (one) => one.name === name && wanted.every(([label, value]) => one.labels[label] === value),
  );
}
