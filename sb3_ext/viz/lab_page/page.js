// The page: the maze that is drawn, the solver that is stepped, and what is shown of both. Texts enter by textContent.

const TOOLS = { treasure: 1, danger: -1, block: BLOCK, clear: 0 };
const KEYS = { t: "treasure", "+": "treasure", d: "danger", "-": "danger", n: "number", b: "block", "#": "block", c: "clear", ".": "clear", Delete: "clear", Backspace: "clear", s: "start" };
const METHODS = { value: ValueIteration, policy: PolicyIteration };

const lab = { maze: DEFAULT, method: "value", view: "v", tool: "look", past: [], future: [], stroke: null, hovered: null, agent: null, meeting: null, reward: null };
const board = new Board($("board"), true), agentBoard = new Board($("agent-board"), false);

function say(text) {
  $("message").hidden = !text;
  $("message").textContent = text ?? "";
}

function attempt(action) {  // what people give may be wrong: they are told why
  try {
    say(null);
    return action();
  } catch (error) {
    if (!(error instanceof MazeError)) throw error;
    say(error.message);
    return null;
  }
}

// ------------------------------------------------------------------------------------------------------------ changes

function setMaze(maze) {
  lab.maze = maze;
  lab.rules = new Rules(maze);
  solveAnew(true);
  link();
}

function solveAnew(staysAtStep) {  // who looks at the end, goes on looking at the end
  const { solver } = lab, wasAtEnd = !solver || solver.isDone || solver.isCapped;
  lab.solver = new METHODS[lab.method](lab.rules);
  if (wasAtEnd) lab.solver.end();
  else if (staysAtStep) lab.solver.goTo(solver.n);
  lab.meeting = lab.agent?.isShown && !lab.agent.misfit(lab.maze) ? new Meeting(lab.agent, lab.rules) : null;
  show();
}

function change(maze, stroke = null) {  // changes of one stroke are undone together
  if (maze === lab.maze) return;
  if (stroke === null || stroke !== lab.stroke) lab.past.push(lab.maze);
  lab.stroke = stroke;
  lab.future = [];
  setMaze(maze);
}

function travel(from, to) {
  if (!from.length) return;
  to.push(lab.maze);
  lab.stroke = null;
  say(null);
  setMaze(from.pop());
}

const undo = () => travel(lab.past, lab.future), redo = () => travel(lab.future, lab.past);

function draw(cells, tool, stroke = null) {
  if (tool === "look") return;
  attempt(() => {
    const edit = tool === "start" ? withStart : (maze, s) => withCell(maze, s, tool === "number" ? endNumber() : TOOLS[tool]);
    change(cells.reduce(edit, lab.maze), stroke);
  });
}

function endNumber() {
  const value = toReward($("number").value);
  if (value === 0 || value === BLOCK) throw new MazeError(`An end cannot pay ${value}: ${value ? "9 is a block" : "0 is a free cell"}.`);
  return value;
}

let linkTimer = null;

function writeLink() {  // browsers allow it only now and then
  linkTimer = null;
  history.replaceState(null, "", toHash(lab.maze, lab.method));
}

function link() { linkTimer ??= setTimeout(writeLink, 250); }

// --------------------------------------------------------------------------------------------------------------- show

function show() {
  const { maze, rules, solver, view, meeting } = lab;
  const ends = maze.cells.map((cell) => (cell === BLOCK ? 0 : Math.abs(cell)));
  const values = [solver.v, meeting?.v ?? []].flatMap((v) => [...v]).filter(Number.isFinite).map(Math.abs);
  const scale = [...ends, ...values].reduce((most, x) => Math.max(most, x), 0);
  board.draw({
    maze, scale,
    value: (s) => solver.v[s],
    q: view === "q" ? (s, a) => solver.q[4 * s + a] : null,
    arrows: (s) => (solver.n ? rules.bestActions(solver.q, s).map(Number) : [0, 0, 0, 0]),
    isMarked: () => false,
    label: cellText,
  });
  $("board").setAttribute("aria-rowcount", maze.rows);
  $("board").setAttribute("aria-colcount", maze.columns);
  drawLegend($("legend"), scale, view === "q" ? "Q" : "Value");
  showSolver();
  showAgent(scale);
  showCell();
  showInputs();
  lab.reward?.draw(maze);
  $("link").textContent = location.href.split("#")[0] + toHash(maze, lab.method);
  $("kwargs").textContent = toKwargs(maze);
  $("command").textContent = toCommand(maze);
}

function showSolver() {
  const { solver, maze } = lab;
  $("step-name").textContent = lab.method === "value" ? "Sweep" : "Policy";
  $("n").textContent = solver.n.toLocaleString("en");
  $("change").textContent = number(solver.change, 3);
  $("start-value").textContent = number(solver.v[maze.start]);
  $("state").textContent = stateText();
  $("state").classList.toggle("done", solver.isDone);
  $("note").textContent = noteText();
  drawChanges($("changes"), solver.changes);
  $("board-caption").textContent = solver.isDone ? "The best policy" : solver.n ? `After ${lab.method === "value" ? "sweep" : "policy"} ${solver.n}` : "Before the first step";
  for (const [id, isIdle] of [["first", !solver.n], ["back", !solver.n], ["step", solver.isDone || solver.isCapped], ["end", solver.isDone || solver.isCapped]]) {
    $(id).setAttribute("aria-disabled", isIdle);
  }
}

function stateText() {
  const { solver } = lab, bound = solver.bound();
  if (lab.method === "policy") {
    if (solver.isDone) return "Done: no cell has a better action.";
    if (!solver.n) return "The first policy takes every action with the same chance.";
    return `This policy was evaluated exactly. The next one acts differently in ${solver.changed} ${solver.changed === 1 ? "cell" : "cells"}.`;
  }
  const distance = Number.isFinite(bound) ? `no value is further than ${number(bound, 2)} from the best one` : "";
  if (solver.isCapped) return `Stopped after ${MAX_SWEEPS.toLocaleString("en")} sweeps and not done${distance && `: ${distance}`}. Policy iteration solves each policy exactly.`;
  if (solver.isDone) return `Done: ${distance || "a sweep changes nothing any more"}.`;
  if (!solver.n) return "Nothing is known yet: all values are 0.";
  return `Not done${distance && `: ${distance}`}.`;
}

function noteText() {
  const { rules, maze } = lab, n = rules.free.length - rules.open.length, cells = n === 1 ? "1 cell" : `${n} cells`;
  const endless = maze.gamma === 1 && n > 0;
  if (endless && maze.reward < 0) return `With γ = 1 and ${number(maze.reward)} a step no policy comes to an end from ${cells}: the value is −∞ there. Use γ < 1, or draw an end.`;
  if (endless) return `With γ = 1 and ${number(maze.reward)} a step a policy is paid for ever from ${cells}: the value is ∞ there. Use γ < 1.`;
  if (maze.gamma === 1 && maze.reward === 0) return "With γ = 1 and steps that cost nothing, detours cost nothing: arrows that tie may go round in circles.";
  if (maze.cells.every((cell) => cell === 0 || cell === BLOCK)) return "This maze has no end: draw a treasure.";
  return "";
}

function cellText(s) {
  const { maze, rules, solver } = lab, [row, column] = place(maze, s), cell = maze.cells[s], kind = kindOf(cell);
  const where = `row ${row}, column ${column}: `;
  if (kind === "block") return `${where}block`;
  if (kind !== "free") return `${where}${kind}, pays ${number(cell)}`;
  const isBest = solver.n ? rules.bestActions(solver.q, s) : [], best = ACTIONS.filter((_, a) => isBest[a]).join(" or ");
  return `${where}${s === maze.start ? "start" : "free"}, value ${number(solver.v[s])}${best && `, best ${best}`}`;
}

function showCell() {
  const { maze, rules, solver, meeting } = lab, s = clamp(lab.hovered ?? board.selected, 0, maze.cells.length - 1);
  const cell = maze.cells[s], kind = kindOf(cell), [row, column] = place(maze, s);
  const what = { free: s === maze.start ? "the start" : "free", block: "a block", treasure: "a treasure", danger: "a danger" }[kind];
  for (const other of [agentBoard, ...(lab.reward?.boards ?? [])]) if (other.picture?.maze.cells.length === maze.cells.length) other.select(s);
  $("cell-what").textContent = `Row ${row}, column ${column} (state ${s}): ${what}`;
  const facts = [];
  if (kind === "free") facts.push(["Value", number(solver.v[s], 6)]);
  if (kind !== "block") facts.push(["Arriving pays", number(cell || maze.reward)]);
  if (kind === "free" && meeting) facts.push(["Under the agent", number(meeting.v[s])], ["It loses", number(Math.abs(meeting.loss(s)) < 1e-9 ? 0 : meeting.loss(s))]);
  if (lab.reward?.values.length === maze.cells.length && kind !== "block") facts.push(["Recovered reward", number(lab.reward.values[s])]);
  $("cell-facts").replaceChildren();
  for (const [name, value] of facts) {
    const fact = make("div", {}, $("cell-facts"));
    make("dt", {}, fact, name);
    make("dd", {}, fact, value);
  }
  $("cell-actions").hidden = kind !== "free";
  if (kind !== "free") return;
  const body = $("cell-actions").tBodies[0], best = solver.n ? rules.bestActions(solver.q, s) : [];
  for (const node of document.querySelectorAll("thead .of-agent")) node.hidden = !meeting;
  body.replaceChildren();
  ACTIONS.forEach((action, a) => {
    const line = make("tr", { class: best[a] ? "best" : "" }, body);
    make("th", { scope: "row" }, line, action);
    make("td", { class: "of-q" }, line, number(solver.q[4 * s + a], 6));
    if (!meeting) return;
    make("td", {}, line, `${number(100 * meeting.pi[4 * s + a], 3)} %`);
    make("td", {}, line, meeting.ownQ ? number(meeting.ownQ[4 * s + a]) : "–");
  });
}

function showInputs() {
  const { maze } = lab;
  for (const id of ["prob", "gamma", "reward", "rows", "columns"]) {
    if (document.activeElement !== $(id)) { $(id).value = maze[id]; $(id).removeAttribute("aria-invalid"); }
  }
  $("prob-range").value = maze.prob;
  $("gamma-range").value = maze.gamma;
  $("undo").disabled = !lab.past.length;
  $("redo").disabled = !lab.future.length;
  $("number-field").hidden = lab.tool !== "number";
  for (const [name, value] of [["tool", lab.tool], ["method", lab.method], ["view", lab.view]]) {
    document.querySelector(`[name=${name}][value=${value}]`).checked = true;
  }
  $("board").classList.toggle("drawing", lab.tool !== "look");
}

function showAgent(scale) {
  const { agent, meeting, maze, rules } = lab;
  if (!agent) return;
  const misfit = agent.isShown && agent.misfit(maze);
  $("agent-figure").hidden = !meeting;
  $("agent-show").textContent = agent.isShown ? "Hide it" : "Show it on this maze";
  $("agent-says").textContent = meeting ? meeting.says(rules) : misfit || "";
  if (!meeting) return;
  agentBoard.draw(meeting.picture(maze, scale, lab.view));
  const shows = lab.view === "v" ? "values of its policy" : meeting.ownQ ? "its Q, in bold what it does" : "it keeps no Q: these are its policy’s";
  $("agent-caption").textContent = `${agent.name}: ${shows}`;
  $("agent-board").setAttribute("aria-label", `The agent. ${meeting.says(rules)}`);
}
