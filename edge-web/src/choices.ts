// Learning from a person's choices in a few steps that can not diverge: the same arithmetic as in
// Python (src/m6rec/edge/choices.py, which tells why), in float64.

/** What was on offer and what became of it. features: one row of numbers for each thing, in one array. */
export interface Choice {
  features: Float64Array;
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

/** Plain loops over one array: with 64 choices this runs millions of times for each click. */
function gradient(choices: readonly Choice[], theta: Float64Array, pull: number): Float64Array {
  const total = theta.map((value) => pull * value);
  const width = theta.length;
  for (const { features, base, target } of choices) {
    const logits = base.slice();
    for (let n = 0, at = 0; n < base.length; n++) {
      let sum = 0;
      for (let f = 0; f < width; f++) sum += features[at++]! * theta[f]!;
      logits[n]! += sum;
    }
    const likely = softmax(logits);
    for (let n = 0, at = 0; n < base.length; n++) {
      const surprise = likely[n]! - target[n]!;
      for (let f = 0; f < width; f++) total[f]! += surprise * features[at++]!;
    }
  }
  return total;
}

/** Greatest squared distance of a feature row from their mean: bounds the loss's second derivative. */
function curvature({ features, base }: Choice): number {
  const width = features.length / base.length;
  const mean = new Float64Array(width);
  features.forEach((value, at) => (mean[at % width]! += value / base.length));
  let most = 0;
  for (let at = 0; at < features.length; ) {
    let apart = 0;
    for (let f = 0; f < width; f++) apart += (features[at++]! - mean[f]!) ** 2;
    most = Math.max(most, apart);
  }
  return most;
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
  const width = 1 + user.length;
  const features = new Float64Array(vectors.length * width);
  vectors.forEach((vector, n) => {
    features[n * width] = scale * cosine[n]!;
    vector.forEach((value, k) => (features[n * width + 1 + k] = scale * value));
  });
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
  const width = options.length * near.length;
  const features = new Float64Array(options.length * width);
  options.forEach((_, c) => features.set(near, c * width + c * near.length));
  const target = Float64Array.from(options, (_, c) => (c === label ? 1 : 0));
  return { features, base: Float64Array.from(options, (row, c) => dot(row, near) + evidence[c]!), target };
}

export function tunedOptions(options: readonly Float64Array[], theta: Float64Array): Float64Array[] {
  return options.map((row, c) => row.map((value, d) => value + theta[c * row.length + d]!));
}
