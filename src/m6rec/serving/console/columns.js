// What the columns of a file mean, and rows as the server takes them.

/** Fields of each kind of body: required ones first. */
export const FIELDS = {
  items: {
    item_id: { words: "Item id", required: true, names: ["id", "sku", "asin", "product_id", "stockcode"] },
    title: { words: "Title", required: true, names: ["name", "product", "product_name"] },
    category: { words: "Category", names: ["categories", "department", "type"] },
    description: { words: "Description", names: ["text", "details"] },
    brand: { words: "Brand", names: ["maker", "manufacturer", "vendor"] },
    price: { words: "Price", read: readNumber, names: ["cost", "unitprice"] },
    available_from: { words: "Available from", read: readTime, names: ["release_date", "launch"] },
  },
  events: {
    user_id: { words: "Shopper id", required: true, names: ["user", "customer_id", "customer", "visitorid"] },
    event: { words: "What happened", required: true, names: ["event_type", "action", "type"] },
    item_id: { words: "Item id", names: ["item", "sku", "product_id", "asin", "stockcode"] },
    timestamp: { words: "When", read: readTime, names: ["time", "date", "datetime", "created_at"] },
    value: { words: "Rating or amount", read: readNumber, names: ["rating", "quantity", "score"] },
    query: { words: "Words of a search", names: ["search", "search_term"] },
    text: { words: "Item in words", names: ["title", "name"] },
    event_id: { words: "Event id", names: [] },
  },
};
/** Stands for a column that is kept under its own name. */
export const OWN = "+";

/** A field or OWN or "" (left out) for each column. */
export function guess(kind, header) {
  const taken = new Set();
  const fields = Object.entries(FIELDS[kind]);
  const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "_");
  const exact = header.map((name) => plain(name)).map((name) => (name in FIELDS[kind] ? name : null));
  exact.forEach((field) => field && taken.add(field));
  return header.map((name, n) => {
    if (exact[n]) return exact[n];
    const found = fields.find(([field, { names }]) => !taken.has(field) && names.includes(plain(name)));
    if (found) taken.add(found[0]);
    if (found) return found[0];
    return kind === "items" && name ? OWN : "";
  });
}

/** Required fields that no column gives; every: what stands in for a column of events. */
export function missing(kind, chosen, every) {
  return Object.entries(FIELDS[kind])
    .filter(([field, { required }]) => required && !chosen.includes(field))
    .filter(([field]) => !(field === "event" && every))
    .map(([, { words }]) => words);
}

/** A row as {body}, or {error} that names what is wrong. */
export function bodyOf(kind, header, chosen, every, cells) {
  if (cells.length !== header.length) {
    return { error: `${cells.length} cells, where the first line has ${header.length}` };
  }
  const body = kind === "events" && every && !chosen.includes("event") ? { event: every } : {};
  for (const [n, field] of chosen.entries()) {
    const text = cells[n].trim();
    if (field === "" || text === "") continue;
    const read = FIELDS[kind][field]?.read ?? ((word) => word);
    const value = read(text);
    if (value === null) return { error: `${header[n]}: “${text}” is not understood` };
    body[field === OWN ? header[n] : field] = value;
  }
  const absent = Object.entries(FIELDS[kind]).find(([field, { required }]) => required && !(field in body));
  return absent ? { error: `${absent[1].words} is empty` } : { body };
}

/** "1,299.00", "12,50 €" or "$5" as a number; null: none. */
function readNumber(text) {
  const bare = text.replace(/[\s\u00a0'’]|[^\d.,+\-eE]/g, "");
  const comma = bare.lastIndexOf(",");
  const point = bare.lastIndexOf(".");
  const decimal = comma > point && !/,\d{3}$/.test(bare) ? "," : ".";
  const plain = bare.replaceAll(decimal === "," ? "." : ",", "").replace(decimal, ".");
  return plain === "" || Number.isNaN(Number(plain)) ? null : Number(plain);
}

/** Seconds since 1970, milliseconds, or a date such as 2026-01-31 12:00 (UTC unless it says so). */
function readTime(text) {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) > 1e11 ? Number(text) / 1000 : Number(text);
  const iso = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?\s*(Z|[+-]\d{2}:?\d{2})?$/;
  const parts = iso.exec(text);
  if (!parts) return null;
  const found = Date.parse(`${parts[1]}T${parts[2] ?? "00:00"}${parts[3] ?? "Z"}`);
  return Number.isNaN(found) ? null : found / 1000;
}
