// Learning from a person's choices in a few steps that can not diverge: the same arithmetic as in
// Python (src/m6rec/edge/choices.py, which tells why), in float64.

/** What was on offer and what became of it. features: one row for each thing. */
export interface Choice {
  features: Float64Array[];
  base: Float64Array;
  target: Float64Array;
}

/** θ after so many steps of gradient descent from 0; zeros for no choices. */
export function learned(choices: readonly Choice[], width: number, pull: number, steps: number): Float64Array {
  const theta = new Float64Array(width);
  const step = 1 / (pull + choices.reduce((sum, choice) => sum + curvature(choice), 0));
  for (let n = 0; n < (choices.length > 0 ? steps : 0); n++) {
    const slope = gradient(choices, theta, pull);
    for (let f = 0; f < width; f++) theta[f]! -= step * slope[f]!;
  }
  return theta;
}

function gradient(choices: readonly Choice[], theta: Float64Array, pull: number): Float64Array {
  const total = theta.map((value) => pull * value);
  for (const { features, base, target } of choices) {
    const likely = softmax(base.map((value, n) => value + dot(features[n]!, theta)));
    features.forEach((row, n) => {
      const surprise = likely[n]! - target[n]!;
      for (let f = 0; f < row.length; f++) total[f]! += surprise * row[f]!;
    });
  }
  return total;
}

/** Greatest squared distance of a feature row from their mean: bounds the loss's second derivative. */
function curvature({ features }: Choice): number {
  const mean = new Float64Array(features[0]?.length ?? 0);
  for (const row of features) row.forEach((value, f) => (mean[f]! += value / features.length));
  return Math.max(...features.map((row) => row.reduce((sum, value, f) => sum + (value - mean[f]!) ** 2, 0)));
}

export function softmax(logits: Float64Array): Float64Array {
  const most = Math.max(...logits);
  const weights = logits.map((value) => Math.exp(value - most));
  const total = weights.reduce((sum, value) => sum + value, 0);
  return weights.map((value) => value / total);
}

export function dot(one: ArrayLike<number>, other: ArrayLike<number>): number {
  let sum = 0;
  for (let n = 0; n < one.length; n++) sum += one[n]! * other[n]!;
  return sum;
}

/** The first thing was liked, or hidden, while the others were there too. θ = [b, offset]. */
export function retrievalChoice(
  vectors: readonly Float64Array[],
  prior: ArrayLike<number>,
  user: Float64Array,
  scale: number,
  liked: boolean,
): Choice {
  const cosine = vectors.map((vector) => dot(vector, user));
  const base = Float64Array.from(cosine, (value, n) => scale * (value + prior[n]!));
  const target = new Float64Array(base.length);
  if (liked) target[0] = 1;
  else target.set(softmax(base.slice(1)), 1);
  const features = vectors.map((vector, n) => Float64Array.from([cosine[n]!, ...vector], (value) => scale * value));
  return { features, base, target };
}

/** The personal vector of a user vector. */
export function bent(user: Float64Array, theta: Float64Array): Float64Array {
  return user.map((value, k) => (1 + theta[0]!) * value + theta[k + 1]!);
}

/** A candidate was answered with a class; θ is what is added to the soft options, one after the other. */
export function optionChoice(
  state: Float64Array,
  options: readonly Float64Array[],
  label: number,
  evidence: ArrayLike<number>,
): Choice {
  const near = state.map((value) => value / Math.sqrt(state.length));
  const features = options.map((_, c) => {
    const row = new Float64Array(options.length * near.length);
    row.set(near, c * near.length);
    return row;
  });
  const target = Float64Array.from(options, (_, c) => (c === label ? 1 : 0));
  return { features, base: Float64Array.from(options, (row, c) => dot(row, near) + evidence[c]!), target };
}

export function tunedOptions(options: readonly Float64Array[], theta: Float64Array): Float64Array[] {
  return options.map((row, c) => row.map((value, d) => value + theta[c * row.length + d]!));
}
