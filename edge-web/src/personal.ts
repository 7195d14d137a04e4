// One person's likes and hides on top of a bundle: src/m6rec/edge/personal.py in the browser.
// Nothing of it leaves the device; keeping.ts is where it is kept.
import type { Bundle } from "./bundle";
import { bent, learned, retrievalChoice, type Choice } from "./choices";

export const MOST_KEPT = 64;
export const MOST_BESIDE = 20;
const LEVELS = 127;

/** As `PersonalSettings` in Python: a test holds them equal. */
export const USUAL = { scale: 1 / 0.07, pull: 100, steps: 30, spread: 100 };

/** One like or hide. user, times user_scale: the user vector of that moment. */
export interface Told {
  item: string;
  liked: boolean;
  beside: string[];
  user: number[];
  user_scale: number;
}

/** The file. bundle: sha256 of the bundle that it belongs to. told: oldest first. */
export interface PersonalRecord {
  format: 1;
  bundle: string;
  told: Told[];
}

export class Personal {
  private readonly places: Map<string, number>;
  private told: Told[] = [];
  private theta: Float64Array;

  constructor(
    private readonly bundle: Bundle,
    private readonly settings = USUAL,
  ) {
    this.places = new Map(bundle.shelf.ids.map((id, place) => [id, place]));
    this.theta = this.learn();
  }

  /** Takes a record instead of what was told; throws for what is no record of this bundle. */
  take(raw: unknown): void {
    this.told = this.checked(raw).told;
    this.theta = this.learn();
  }

  get record(): PersonalRecord {
    return { format: 1, bundle: this.bundle.sha256, told: [...this.told] };
  }

  /** What was learned: [b, offset]. */
  get parameters(): Float64Array {
    return this.theta.slice();
  }

  /** Places of liked (or hidden) items, oldest first. */
  which(liked: boolean): number[] {
    return this.told.filter((told) => told.liked === liked).map((told) => this.places.get(told.item) ?? 0);
  }

  /** Logits that a cosine is worth. */
  get scale(): number {
    return this.settings.scale;
  }

  bend(user: Float64Array): Float64Array {
    return bent(user, this.theta);
  }

  /** An item is liked, or hidden, beside what was shown; user: the user vector of this moment. */
  tell(item: string, liked: boolean, user: ArrayLike<number>, beside: readonly string[]): void {
    const most = Math.max(...Array.from(user, Math.abs), 1e-12);
    const scale = most / LEVELS;
    const others = [...new Set(beside)].filter((name) => name !== item).slice(0, MOST_BESIDE);
    const levels = Array.from(user, (value) => Math.floor(value / scale + 0.5));
    const told = { item, liked, beside: others, user: levels, user_scale: scale };
    const kept = this.told.filter((other) => other.item !== item).slice(1 - MOST_KEPT);
    this.take({ ...this.record, told: [...kept, told] });
  }

  /** As if nothing had been said of the item. */
  takeBack(item: string): void {
    this.take({ ...this.record, told: this.told.filter((told) => told.item !== item) });
  }

  /** Takes back every like; what is hidden stays hidden. */
  reset(): void {
    this.take({ ...this.record, told: this.told.filter((told) => !told.liked) });
  }

  /** As if nothing had been said at all. */
  forget(): void {
    this.take({ ...this.record, told: [] });
  }

  private checked(raw: unknown): PersonalRecord {
    const record = raw as Partial<PersonalRecord> | null;
    if (typeof record !== "object" || record === null || record.format !== 1 || !Array.isArray(record.told)) {
      throw new Error("this is no personal record");
    }
    if (record.bundle !== this.bundle.sha256) {
      const named = String(record.bundle).slice(0, 12);
      throw new Error(`the personal record belongs to another bundle (${named}…), and is of no use here`);
    }
    if (record.told.length > MOST_KEPT) throw new Error(`the personal record has more than ${MOST_KEPT} entries`);
    return { format: 1, bundle: record.bundle, told: record.told.map((told) => this.fits(told)) };
  }

  private fits(told: Told): Told {
    const { item, liked, beside, user, user_scale } = told;
    const K = this.bundle.config.projection;
    const whole =
      typeof liked === "boolean" &&
      Array.isArray(beside) &&
      beside.length <= MOST_BESIDE &&
      Array.isArray(user) &&
      user.length === K &&
      user.every((level) => Number.isInteger(level) && Math.abs(level) <= LEVELS) &&
      user_scale > 0 &&
      user_scale <= 1;
    if (!whole) throw new Error("this is no personal record: an entry is damaged");
    const unknown = [item, ...beside].find((name) => !this.places.has(name));
    if (unknown !== undefined) throw new Error(`the catalogue has no item ${unknown}`);
    return { item, liked, beside: [...beside], user: [...user], user_scale };
  }

  private learn(): Float64Array {
    const { pull, steps } = this.settings;
    const liked = new Set(this.which(true));
    const choices = this.told.map((told) => this.choice(told, liked));
    return learned(choices, 1 + this.bundle.config.projection, pull, steps);
  }

  private choice(told: Told, liked: ReadonlySet<number>): Choice {
    const { shelf, config } = this.bundle;
    const K = config.projection;
    const first = this.places.get(told.item) ?? 0;
    const beside = told.beside.map((name) => this.places.get(name) ?? 0);
    const others = new Set([...beside, ...spread(first, shelf.ids.length, this.settings.spread)]);
    const places = [first, ...[...others].filter((place) => place !== first && !liked.has(place))];
    const vectors = places.map((place) => {
      const row = Float64Array.from(shelf.vectors.subarray(place * K, (place + 1) * K));
      return row.map((level) => level * (shelf.scale[place] ?? 0));
    });
    const prior = places.map((place) => shelf.prior[place] ?? 0);
    const user = Float64Array.from(told.user, (level) => level * told.user_scale);
    return retrievalChoice(vectors, prior, user, this.settings.scale, told.liked);
  }
}

/** Places at even distances from `first`, all over a catalogue; where it is small, all of it. */
export function spread(first: number, items: number, count: number): number[] {
  const most = Math.min(count, items);
  return Array.from({ length: most }, (_, n) => (first + Math.floor((n * items) / most)) % items);
}
