// How events, times, prices and scores are said.

const DID = {
  impression: "was shown",
  click: "looked at",
  view: "looked at",
  cart: "put in the cart",
  purchase: "bought",
  rating: "rated",
  like: "liked",
  dislike: "disliked",
  search: "searched for",
  context: "asks for",
};
const MINUTE = 60;
const UNITS = [
  ["year", 365 * 24 * 60 * MINUTE],
  ["month", 30 * 24 * 60 * MINUTE],
  ["day", 24 * 60 * MINUTE],
  ["hour", 60 * MINUTE],
  ["minute", MINUTE],
];
const ago = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const whole = new Intl.NumberFormat();
const amount = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Kinds of events that can be thought up, with the words that go before an item. */
export const WHAT_IF = ["click", "purchase", "cart", "like", "dislike", "search"].map((event) => [
  event,
  DID[event],
]);

/** An event in a word or two. */
export function did(event) {
  const stars = event.event === "rating" && event.value !== undefined ? ` ${event.value}` : "";
  return (DID[event.event] ?? event.event) + stars;
}

/** What an event is about. */
export function about(event) {
  return event.title ?? event.text ?? event.query ?? event.item_id ?? "something";
}

/** Seconds since 1970 as a time that has passed. */
export function when(timestamp) {
  const seconds = timestamp - Date.now() / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["minute", MINUTE];
  return ago.format(Math.round(seconds / size), unit);
}

/** A number of things. */
export function count(number, one, many = `${one}s`) {
  return `${whole.format(number)} ${number === 1 ? one : many}`;
}

/** Parts of a category, which tables write as "Clothing|Outerwear". */
export function levels(text) {
  return text == null ? "" : String(text).replaceAll("|", " › ");
}

/** What is known of a shopper, which tables write as "Books|Cycling" where it is several things. */
export function listed(value) {
  return String(value).replaceAll("|", ", ");
}

/** A price, without a currency: the catalogue does not name one. */
export function price(number) {
  return amount.format(number);
}

/** A score; shares and probabilities as per cent. */
export function score(number, by) {
  if (by === "probability" || by === "popularity") return `${(100 * number).toFixed(1)} %`;
  return number.toFixed(3);
}

/** Seconds for people. */
export function seconds(number) {
  if (number < 0.001) return `${(1e6 * number).toFixed(0)} µs`;
  if (number < 1) return `${(1000 * number).toFixed(number < 0.01 ? 1 : 0)} ms`;
  return `${number.toFixed(1)} s`;
}
