// A maze as data: drawn on, read from a link or from what people paste, and written. A maze is never changed, only
// replaced, and is always one that GridWorldEnv takes: { rows, columns, cells [S], start, prob, gamma, reward }.

const MOST = 50;  // rows or columns
const LETTERS = { ".": 0, S: 0, "+": 1, "-": -1, "#": BLOCK };
const DEFAULT = {
  rows: 3, columns: 4, cells: [0, 0, 0, 1, 0, BLOCK, 0, -1, 0, 0, 0, 0], start: 8, prob: 0.8, gamma: 0.9, reward: -0.04,
};

const PRESETS = {  // a letter or digit a cell
  "Four by three": "...+ .#.- S...",
  "Near or far": "......... +.S.....4 .........",
  "Bridge": "#------# S......5 #------#",
  "Two rooms": "....#...+ ....#.... ......... ....#.... S...#...-",
  "Lake": "S....... ........ ...-.... .....-.. ...-.... .--...-. .-..-.-. ...-...+",
  "Cliff": "............ ............ ............ S----------+",
};

const preset = (name) => fromTable(PRESETS[name].split(" ").map((line) => [...line]));

class MazeError extends Error {}

const shown = (x) => (Number.isFinite(x) ? String(x).replace("-", "−") : x > 0 ? "∞" : "−∞");
const kindOf = (cell) => (cell === 0 ? "free" : cell === BLOCK ? "block" : cell > 0 ? "treasure" : "danger");
const lowerLeft = (rows, columns) => (rows - 1) * columns;

function firstFree({ rows, columns, cells }) {  // from the lower left on, or -1
  for (let row = rows - 1; row >= 0; row--) {
    for (let s = row * columns; s < (row + 1) * columns; s++) if (cells[s] === 0) return s;
  }
  return -1;
}

// ----------------------------------------------------------------------------------------------------------- drawing

function withCell(maze, s, cell) {
  if (maze.cells[s] === cell) return maze;
  const cells = maze.cells.with(s, cell), found = cells[maze.start] === 0 ? maze.start : firstFree({ ...maze, cells });
  if (found < 0) throw new MazeError("The last free cell stays free: somebody has to start there.");
  return { ...maze, cells, start: found };
}

function withStart(maze, s) {
  return maze.start === s ? maze : { ...maze, start: s, cells: maze.cells[s] === 0 ? maze.cells : maze.cells.with(s, 0) };
}

function withSize(maze, rows, columns) {
  if (rows === maze.rows && columns === maze.columns) return maze;
  const cells = Array.from({ length: rows * columns }, (_, s) => {
    const row = Math.floor(s / columns), column = s % columns;
    return row < maze.rows && column < maze.columns ? maze.cells[row * maze.columns + column] : 0;
  });
  const row = Math.floor(maze.start / maze.columns), column = maze.start % maze.columns;
  const changed = { ...maze, rows, columns, cells };
  if (!cells.includes(0)) throw new MazeError(`${rows} × ${columns} leaves no free cell.`);
  const isInside = row < rows && column < columns, isLowerLeft = maze.start === lowerLeft(maze.rows, maze.columns);
  const start = isInside && !isLowerLeft ? row * columns + column : lowerLeft(rows, columns);
  return { ...changed, start: cells[start] === 0 ? start : firstFree(changed) };
}

function random(rows, columns, maze) {
  const draw = () => (Math.random() < 0.2 ? BLOCK : 0);
  const cells = Array.from({ length: rows * columns }, draw), start = lowerLeft(rows, columns);
  const others = [...cells.keys()].filter((s) => s !== start);
  const take = () => others.splice(Math.floor(Math.random() * others.length), 1)[0];
  cells[start] = 0;
  for (let i = 0; i <= cells.length / 30; i++) {
    for (const cell of [1, -1]) if (others.length) cells[take()] = cell;
  }
  return { ...maze, rows, columns, cells, start };
}

// ----------------------------------------------------------------------------------------------------------- reading

function toNumber(text, name) {  // "1/3" is a number, too
  const parts = String(text).trim().replace("−", "-").split("/");
  const value = parts.length <= 2 && parts.every((part) => part.trim() !== "") ? parts.map(Number).reduce((a, b) => a / b) : NaN;
  if (!Number.isFinite(value)) throw new MazeError(`${name} ${JSON.stringify(String(text).slice(0, 40))} is not a number.`);
  return value;
}

function toShare(text, name) {
  const value = toNumber(text, name);
  if (value < 0 || value > 1) throw new MazeError(`${name} ${shown(value)} must lie in [0, 1].`);
  return value;
}

function toReward(text) {
  const value = toNumber(text, "Reward");
  if (Math.abs(value) > 1e6) throw new MazeError(`Reward ${shown(value)} must lie within a million.`);
  return value;
}

function toCount(text, name) {
  const value = toNumber(text, name);
  if (!Number.isInteger(value) || value < 1 || value > MOST) throw new MazeError(`${name} ${shown(value)} must lie in 1 to ${MOST}.`);
  return value;
}

function fromTable(table, start = null) {  // rows of numbers or letters
  const rows = table.length, columns = table[0]?.length ?? 0;
  if (!rows || !columns) throw new MazeError("There is no cell in that grid.");
  if (rows > MOST || columns > MOST) throw new MazeError(`${rows} × ${columns} cells are too many: ${MOST} × ${MOST} are the most.`);
  const odd = table.findIndex((row) => row.length !== columns);
  if (odd >= 0) throw new MazeError(`Row ${odd} of the grid has ${table[odd].length} cells, row 0 has ${columns}: all must be as long.`);
  const flat = table.flat(), cells = flat.map((cell) => (Object.hasOwn(LETTERS, cell) ? LETTERS[cell] : toReward(cell)));
  if (!cells.includes(0)) throw new MazeError("The grid has no free cell: 0 or “.” is one.");
  const marked = flat.indexOf("S");
  let s = marked >= 0 ? marked : lowerLeft(rows, columns);
  if (start !== null) {
    if (!start.every(Number.isInteger) || start.length !== 2 || start[0] < 0 || start[0] >= rows || start[1] < 0 || start[1] >= columns) {
      throw new MazeError(`Start (${start.join(", ")}) lies outside the grid of ${rows} × ${columns} cells.`);
    }
    s = start[0] * columns + start[1];
    if (cells[s] !== 0) throw new MazeError(`Start (${start.join(", ")}) is not a free cell.`);
  }
  return { rows, columns, cells, start: cells[s] === 0 ? s : firstFree({ rows, columns, cells }) };
}

const isLetters = (line) => /^[.S+\-#]+$/.test(line);

function toTable(text) {  // lists of lists, a list of lines, or lines
  const lists = text.match(/\[[^[\]]*\]/g);
  const words = (list) => list.replace(/^\[|\]$/g, "").split(",").map((cell) => cell.trim().replace(/^['"]|['"]$/g, ""));
  if (lists && !(lists.length === 1 && words(lists[0]).every(isLetters) && /['"]/.test(lists[0]))) return lists.map(words);
  const lines = lists ? words(lists[0]) : text.replaceAll("\\n", "\n").replace(/['"]/g, "").trim().split(/[\n;|]+/);
  return lines.map((line) => line.trim()).filter(Boolean).map((line) => (isLetters(line) ? [...line] : line.split(/[\s,]+/).filter(Boolean)));
}

function fromHash(hash) {  // { maze, method } of "#grid=...&prob=..."
  const found = new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"));
  if (!found.has("grid")) throw new MazeError("The link has no grid=.");
  const take = (key, read, otherwise) => (found.has(key) ? read(found.get(key)) : otherwise);
  const start = take("start", (text) => text.split(",").map((x) => toNumber(x, "Start")), null);
  return {
    maze: {
      ...fromTable(toTable(found.get("grid")), start),
      prob: take("prob", (text) => toShare(text, "Move probability"), DEFAULT.prob),
      gamma: take("gamma", (text) => toShare(text, "Discount"), DEFAULT.gamma),
      reward: take("reward", toReward, DEFAULT.reward),
    },
    method: found.get("method") === "policy" ? "policy" : "value",
  };
}

function fromText(text, maze) {  // a link, the text of --env-kwargs, or a grid; what it does not say stays as it is
  if (/(^|[#&?])grid=/.test(text)) return fromHash(text.slice(text.indexOf("grid="))).maze;
  const named = (name) => text.match(new RegExp(`${name}\\s*[:=]\\s*["']?([-\\d.e/]+)`))?.[1];
  const start = text.match(/start\s*[:=]\s*["']?[[(]\s*(\d+)\s*,\s*(\d+)/);
  const grid = text.match(/grid\s*[:=]\s*(\[[^\]]*(?:\]\s*,\s*\[[^\]]*)*\]\s*\]?|'[^']*'|"[^"]*")/)?.[1] ?? text;
  return {
    ...maze,
    ...fromTable(toTable(grid), start ? [Number(start[1]), Number(start[2])] : null),
    prob: named("move_prob") === undefined ? maze.prob : toShare(named("move_prob"), "Move probability"),
    reward: named("default_reward") === undefined ? maze.reward : toReward(named("default_reward")),
    gamma: named("gamma") === undefined ? maze.gamma : toShare(named("gamma"), "Discount"),
  };
}

// ----------------------------------------------------------------------------------------------------------- writing

const table = ({ rows, columns, cells }) => Array.from({ length: rows }, (_, row) => cells.slice(row * columns, (row + 1) * columns));
const place = (maze, s) => [Math.floor(s / maze.columns), s % maze.columns];

function toHash(maze, method) {
  const start = maze.start === lowerLeft(maze.rows, maze.columns) ? "" : `&start=${place(maze, maze.start)}`;
  const rules = `&prob=${maze.prob}&gamma=${maze.gamma}&reward=${maze.reward}`;
  return `#grid=${table(maze).map((row) => row.join()).join(";")}${start}${rules}${method === "policy" ? "&method=policy" : ""}`;
}

function toKwargs(maze) {
  const start = maze.start === lowerLeft(maze.rows, maze.columns) ? "" : ` "start:[${place(maze, maze.start)}]"`;
  return `"grid:${JSON.stringify(table(maze))}"${start} move_prob:${maze.prob} default_reward:${maze.reward}`;
}

const toCommand = (maze) =>
  `sb3-ext train --algo qlearning --env sb3_ext/GridWorld-v0 --env-kwargs ${toKwargs(maze)} -params gamma:${maze.gamma}`;
