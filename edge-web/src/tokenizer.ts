// Wordpieces as the tokenizers library makes them from tokenizer.json: the same ids as in Python.
// What is a mark or a space stands in classes.ts, whatever Unicode the browser has. Text is read by
// code points; no text becomes a special token, since those exist as ids only.
import { DROPPED, MARKS, PUNCTUATION, SPACES } from "./classes";

export interface Definition {
  normalizer: { type: string; lowercase?: boolean; strip_accents?: boolean | null } | null;
  pre_tokenizer: { type: string };
  model: {
    type: string;
    vocab: Record<string, number>;
    unk_token: string;
    continuing_subword_prefix: string;
    max_input_chars_per_word: number;
  };
}

/** No text needs more characters than this for each token of its budget; the rest is cut unread. */
const CHARS_PER_TOKEN = 12;
const CJK: readonly (readonly [number, number])[] = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff],
  [0x2f800, 0x2fa1f],
];
const dropped = within(DROPPED);
const spaces = within(SPACES);
const marks = within(MARKS);
const punctuation = within(PUNCTUATION);

export class Tokenizer {
  private readonly vocab: Map<string, number>;
  private readonly unknown: number;

  /** Throws for a tokenizer of another kind: better than other ids. */
  constructor(private readonly definition: Definition) {
    const { model, normalizer, pre_tokenizer } = definition;
    const normalizers = ["BertNormalizer", "Lowercase", undefined];
    if (model.type !== "WordPiece" || pre_tokenizer.type !== "BertPreTokenizer") {
      throw new Error(`no wordpieces: ${model.type} after ${pre_tokenizer.type}`);
    }
    if (!normalizers.includes(normalizer?.type)) {
      throw new Error(`unknown normalizer ${normalizer?.type}`);
    }
    this.vocab = new Map(Object.entries(model.vocab));
    const unknown = this.vocab.get(model.unk_token);
    if (unknown === undefined) throw new Error(`${model.unk_token} is not in the vocabulary`);
    this.unknown = unknown;
  }

  /** At most `budget` ids of the text alone, cut at the end. */
  encode(text: string, budget: number): number[] {
    const cut = [...text.toWellFormed()].slice(0, budget * CHARS_PER_TOKEN).join("");
    const ids: number[] = [];
    for (const word of words(this.normalise(cut))) {
      ids.push(...this.pieces(word));
      if (ids.length >= budget) break;
    }
    return ids.slice(0, budget);
  }

  private normalise(text: string): string {
    const normalizer = this.definition.normalizer;
    if (normalizer === null) return text;
    if (normalizer.type === "Lowercase") return lower(text);
    let out = "";
    for (const char of text) {
      const code = char.codePointAt(0) ?? 0;
      if (code === 0 || dropped(code)) continue;
      if (spaces(code)) out += " ";
      else if (isCjk(code)) out += ` ${char} `;
      else out += char;
    }
    if (normalizer.strip_accents ?? normalizer.lowercase) {
      out = [...out.normalize("NFD")].filter((char) => !marks(char.codePointAt(0) ?? 0)).join("");
    }
    return normalizer.lowercase ? lower(out) : out;
  }

  private pieces(word: string): number[] {
    const { continuing_subword_prefix: prefix, max_input_chars_per_word: most } = this.definition.model;
    const chars = [...word];
    if (chars.length > most) return [this.unknown];
    const found: number[] = [];
    for (let start = 0; start < chars.length; ) {
      let end = chars.length;
      let id: number | undefined;
      for (; end > start; end--) {
        const piece = (start > 0 ? prefix : "") + chars.slice(start, end).join("");
        id = this.vocab.get(piece);
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknown];
      found.push(id);
      start = end;
    }
    return found;
  }
}

/** Each character by itself: a final sigma is no special case in Rust. */
function lower(text: string): string {
  return [...text].map((char) => char.toLowerCase()).join("");
}

function isCjk(code: number): boolean {
  return CJK.some(([first, last]) => code >= first && code <= last);
}

/** Runs of other characters, and each punctuation mark alone; white space goes. */
function words(text: string): string[] {
  const found: string[] = [];
  let word = "";
  const close = () => {
    if (word !== "") found.push(word);
    word = "";
  };
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (spaces(code)) close();
    else if (punctuation(code)) {
      close();
      found.push(char);
    } else word += char;
  }
  close();
  return found;
}

/** Whether a code point lies in one of the packed runs (classes.py). */
function within(packed: string): (code: number) => boolean {
  const numbers = packed.split(" ").map((word) => parseInt(word, 36));
  const firsts: number[] = [];
  const lasts: number[] = [];
  for (let n = 0, at = 0; n + 1 < numbers.length; n += 2) {
    firsts.push(at + (numbers[n] ?? 0));
    at = (firsts.at(-1) ?? 0) + (numbers[n + 1] ?? 0);
    lasts.push(at);
  }
  return (code) => {
    let low = 0;
    let high = firsts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((lasts[middle] ?? 0) < code) low = middle + 1;
      else high = middle;
    }
    return low < firsts.length && code >= (firsts[low] ?? 0);
  };
}
