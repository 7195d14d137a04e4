// CSV (RFC 4180; comma, semicolon or tab) into rows, and back.

const SIGNS = [",", ";", "\t"];

/** {header, rows: [{line, cells}]}; lines are counted from 1, as an editor does. */
export function parseCsv(text) {
  const lines = cut(text.replace(/^\ufeff/, ""));
  const filled = lines.filter(({ cells }) => cells.some((cell) => cell.trim() !== ""));
  if (filled.length < 2) throw new Error("The file needs a line of column names and one more line.");
  const [first, ...rows] = filled;
  const header = first.cells.map((name) => name.trim());
  const twice = header.find((name, n) => name && header.indexOf(name) !== n);
  if (twice) throw new Error(`The column “${twice}” is there twice.`);
  return { header, rows };
}

/** Rows as CSV. Cells that a spreadsheet would take for a formula stay text. */
export function toCsv(rows) {
  const quoted = (cell) => `"${String(cell).replace(/^(?=[=+\-@\t])/, "'").replaceAll('"', '""')}"`;
  return rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

/** The sign that the first line has most of, outside quotes. */
function signOf(text) {
  const first = text.replace(/"(?:[^"]|"")*"/g, "").split(/\r?\n/, 1)[0];
  const counts = SIGNS.map((sign) => first.split(sign).length);
  return SIGNS[counts.indexOf(Math.max(...counts))];
}

function cut(text) {
  const sign = signOf(text);
  const rows = [];
  let cells = [];
  let cell = "";
  let quoted = false;
  let line = 1;
  let begun = 1;
  const endCell = () => {
    cells.push(cell);
    cell = "";
  };
  const endRow = () => {
    endCell();
    rows.push({ line: begun, cells });
    cells = [];
    begun = line;
  };
  for (let at = 0; at < text.length; at++) {
    const one = text[at];
    if (one === "\n") line++;
    if (quoted) {
      if (one !== '"') cell += one;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (one === '"' && cell === "") quoted = true;
    else if (one === sign) endCell();
    else if (one === "\n") endRow();
    else if (one !== "\r" || text[at + 1] !== "\n") cell += one;
  }
  if (quoted) throw new Error(`A quotation mark that opens in the row of line ${begun} is never closed.`);
  if (cell !== "" || cells.length) endRow();
  return rows;
}
