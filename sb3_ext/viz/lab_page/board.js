// A maze drawn as a table of cells. What is in them comes as a picture: { maze, scale, value(s), q(s, a) or null,
// arrows(s) [4] strengths, isMarked(s), label(s) }. The scale is the value of the strongest colour.

const $ = (id) => document.getElementById(id);
const BANDS = 6;  // of each sign

function make(tag, attributes = {}, parent = null, text = null) {
  const isSvg = ["svg", "g", "path", "polygon", "polyline", "circle", "text", "line"].includes(tag);
  const node = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function number(x, digits = 4) {  // for people to read
  if (x === null || x === undefined) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const most = Math.abs(x);
  if (most >= 1e6 || (most > 0 && most < 1e-4)) return x.toExponential(1).replaceAll("-", "−");
  return String(most >= 10 ** digits ? Math.round(x) : Number(x.toPrecision(digits))).replace("-", "−");
}

function brief(x, room) {  // at most so many characters, where that can be
  if (!Number.isFinite(x)) return number(x);
  const most = Math.abs(x), sign = x < 0 ? "−" : "", exact = number(x);
  if (exact.length <= room && Number(x.toFixed(2)) === x) return exact;
  for (let digits = 3; digits >= 0; digits--) {
    const long = most.toFixed(digits), short = long.replace(/^0\./, ".");
    const text = sign.length + long.length <= room ? long : short;
    if (Number(long) === 0) return "0";
    if (sign.length + text.length <= room) return sign + text;
  }
  return x.toExponential(0).replace("+", "").replace("-", "−");
}

function band(x, scale) {  // "n6" ... "n1", "z", "p1" ... "p6"
  if (!x || Number.isNaN(x) || !(scale > 0)) return "z";
  return (x > 0 ? "p" : "n") + clamp(Math.ceil(Math.abs(x) / scale * BANDS - 1e-9), 1, BANDS);
}

// Left, down, right, up, in a cell of 100 x 100.
const TRIANGLES = ["0,0 50,50 0,100", "0,100 50,50 100,100", "100,0 50,50 100,100", "0,0 50,50 100,0"];
const HEADS = ["4,50 15,39 15,61", "50,96 39,85 61,85", "96,50 85,39 85,61", "50,4 39,15 61,15"];
const ARROWS = ["M50 50H16M34 28L12 50L34 72", "M50 50V84M28 66L50 88L72 66", "M50 50H84M66 28L88 50L66 72", "M50 50V16M28 34L50 12L72 34"];
const Q_PLACES = [[6, 57, "start"], [50, 93, "middle"], [94, 57, "end"], [50, 22, "middle"]];
const SIGNS = {
  treasure: "50,14 68,32 50,58 32,32",
  danger: "50,14 71,54 29,54",
};

class Board {
  constructor(box, isMain) {
    this.box = box;
    this.isMain = isMain;
    this.cells = [];
    this.key = "";
    new ResizeObserver(() => { if (this.picture) this.draw(this.picture); }).observe(box);
  }

  draw(picture) {
    this.picture = picture;
    const { rows, columns, cells, start } = picture.maze, px = this.box.clientWidth / columns;
    const view = picture.q ? "q" : "v", size = px >= 76 ? "l" : px >= 36 ? "m" : "s";
    const key = [rows, columns, cells, start, view, size].join();
    if (key !== this.key) this.build(picture.maze, view, size);
    this.key = key;
    for (const cell of this.cells) this.fill(cell, picture);
  }

  build(maze, view, size) {
    const hadFocus = this.box.contains(document.activeElement), isOther = this.shape !== `${maze.rows} ${maze.columns}`;
    this.shape = `${maze.rows} ${maze.columns}`;
    this.box.className = `board size-${size} view-${view}`;
    this.box.style.setProperty("--columns", maze.columns);
    this.box.style.setProperty("--rows", maze.rows);
    this.box.replaceChildren();
    this.cells = [];
    for (let row = 0; row < maze.rows; row++) {
      const line = make("div", this.isMain ? { role: "row", "aria-rowindex": row + 1, class: "line" } : { class: "line" }, this.box);
      for (let column = 0; column < maze.columns; column++) {
        const s = row * maze.columns + column, kind = kindOf(maze.cells[s]);
        const node = make("div", { class: `cell ${kind}`, "data-s": s }, line);
        if (this.isMain) { node.setAttribute("role", "gridcell"); node.setAttribute("aria-colindex", column + 1); node.tabIndex = -1; }
        this.cells.push({ s, kind, node, ...this.content(node, kind, maze.cells[s], view, size, s === maze.start) });
      }
    }
    this.select(isOther ? maze.start : this.selected, hadFocus);
  }

  content(node, kind, cell, view, size, isStart) {
    if (kind === "block") return {};
    const svg = make("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" }, node);
    if (kind !== "free") {
      make("polygon", { class: "sign", points: SIGNS[kind] }, svg);
      if (size !== "s") make("text", { class: "pays", x: 50, y: 86 }, svg, (cell > 0 ? "+" : "") + number(cell, 3));
      return {};
    }
    const parts = { triangles: [], texts: [], arrows: [] };
    if (view === "q") parts.triangles = TRIANGLES.map((points) => make("polygon", { class: "side", points }, svg));
    if (isStart) {
      const r = { l: 9, m: 11, s: 42 }[size], [x, y] = size === "s" ? [50, 50] : [4 + r, 96 - r];
      make("circle", { class: "start", cx: x, cy: y, r }, svg);
      if (size !== "s") make("text", { class: "start-letter", x, y: y + r / 2 }, svg, "S");
    }
    if (size === "s" && view === "v") parts.arrows = ARROWS.map((d) => make("path", { class: "arrow", d }, svg));
    else parts.arrows = HEADS.map((points) => make("polygon", { class: "head", points }, svg));
    if (size !== "s") {
      const places = view === "q" ? Q_PLACES : [[50, 60, "middle"]];
      parts.texts = places.map(([x, y, anchor]) => make("text", { x, y, "text-anchor": anchor, class: view }, svg));
    }
    parts.room = view === "v" && size === "l" ? 5 : 4;
    return parts;
  }

  fill({ s, kind, node, triangles, texts, arrows, room }, picture) {
    if (this.isMain) node.setAttribute("aria-label", picture.label(s));
    else node.title = picture.label(s);
    node.classList.toggle("marked", picture.isMarked(s));
    if (kind !== "free") return;
    const { value, q, scale } = picture, strengths = picture.arrows(s);
    arrows.forEach((arrow, a) => { arrow.style.opacity = strengths[a] > 0 ? 0.15 + 0.85 * strengths[a] : 0; });
    if (q) {
      triangles.forEach((triangle, a) => triangle.setAttribute("class", `side ${band(q(s, a), scale)}`));
      texts.forEach((text, a) => {
        text.textContent = brief(q(s, a), room);
        text.classList.toggle("best", strengths[a] > 0);
      });
      return;
    }
    const x = value(s);
    node.className = node.className.replace(/ ?\b(z|[np]\d)\b/, "");
    node.classList.add(x === null ? "z" : band(x, scale));
    for (const text of texts) text.textContent = x === null ? "" : brief(x, room);
  }

  select(s, isFocused = false) {
    this.selected = clamp(s, 0, this.cells.length - 1);
    for (const cell of this.cells) {
      cell.node.classList.toggle("selected", cell.s === this.selected);
      if (this.isMain) cell.node.tabIndex = cell.s === this.selected ? 0 : -1;
    }
    if (isFocused) this.cells[this.selected].node.focus({ preventScroll: false });
  }

  at(x, y) {  // the cell under a point of the window, or null
    const { left, top, width, height } = this.box.getBoundingClientRect(), { rows, columns } = this.picture.maze;
    const row = Math.floor((y - top) / height * rows), column = Math.floor((x - left) / width * columns);
    return row >= 0 && row < rows && column >= 0 && column < columns ? row * columns + column : null;
  }
}

function between(a, b, columns) {  // cells on the way from a to b, a left out: a quick finger skips some
  const [row, column] = [Math.floor(a / columns), a % columns], down = Math.floor(b / columns) - row, right = (b % columns) - column;
  const n = Math.max(Math.abs(down), Math.abs(right));
  return Array.from({ length: n }, (_, i) => Math.round(row + down * (i + 1) / n) * columns + Math.round(column + right * (i + 1) / n));
}

function drawLegend(box, scale, name) {
  box.replaceChildren();
  box.hidden = !(scale > 0);
  make("span", { class: "legend-name" }, box, name);
  const bar = make("div", { class: "bar", "aria-hidden": "true" }, box);
  for (let i = BANDS; i > 0; i--) make("i", { class: `n${i}` }, bar);
  for (let i = 1; i <= BANDS; i++) make("i", { class: `p${i}` }, bar);
  const ticks = make("div", { class: "ticks" }, box);
  for (const share of [-1, -0.5, 0, 0.5, 1]) make("span", {}, ticks, number(share * scale, 3));
}

function drawChanges(box, changes) {  // the largest change of each step, in powers of ten
  box.replaceChildren();
  const points = changes.map((x, i) => [i + 1, x]).filter(([, x]) => x > 0 && Number.isFinite(x));
  if (points.length < 2) { box.hidden = true; return; }
  box.hidden = false;
  const logs = points.map(([, x]) => Math.log10(x)), high = Math.ceil(Math.max(...logs)), low = Math.min(Math.floor(Math.min(...logs)), high - 1);
  const width = 280, height = 72, left = 42, n = points.at(-1)[0];
  const svg = make("svg", { viewBox: `0 0 ${width} ${height + 14}`, role: "img", "aria-label": `Largest change by step, from ${number(points[0][1], 2)} to ${number(points.at(-1)[1], 2)}` }, box);
  const x = (i) => left + (width - left - 6) * (i - 1) / Math.max(n - 1, 1), y = (log) => 6 + (height - 8) * (high - log) / (high - low);
  for (const log of [high, low]) {
    make("line", { class: "axis", x1: left, x2: width, y1: y(log), y2: y(log) }, svg);
    make("text", { x: left - 6, y: y(log) + 4, "text-anchor": "end" }, svg, log === 0 ? "1" : `1e${log}`.replace("-", "−"));
  }
  const every = Math.ceil(points.length / 400);
  make("polyline", { class: "curve", points: points.filter((_, i) => i % every === 0 || i === points.length - 1).map(([i, c]) => `${x(i).toFixed(1)},${y(Math.log10(c)).toFixed(1)}`).join(" ") }, svg);
  make("text", { x: width, y: height + 12, "text-anchor": "end" }, svg, String(n));
  make("text", { x: left, y: height + 12 }, svg, "1");
}
