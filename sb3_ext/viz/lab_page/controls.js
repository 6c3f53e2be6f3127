// What people press, drag and type, and how the page begins.

let ticking = null;

function pause() {
  cancelAnimationFrame(ticking);
  ticking = null;
  $("run").classList.remove("running");
  $("run").setAttribute("aria-label", "Run");
}

function run() {
  if (lab.solver.isDone || lab.solver.isCapped) { lab.solver.goTo(0); show(); }
  $("run").classList.add("running");
  $("run").setAttribute("aria-label", "Pause");
  let before = performance.now(), due = 1;
  const tick = (time) => {
    due += Math.max(time - before, 0) / 1000 * Number($("speed").value);
    before = time;
    if (due >= 1) {
      lab.solver.goTo(lab.solver.n + Math.floor(due));
      due %= 1;
      show();
    }
    if (lab.solver.isDone || lab.solver.isCapped) { pause(); tell(); } else ticking = requestAnimationFrame(tick);
  };
  ticking = requestAnimationFrame(tick);
}

function tell() {  // to those who hear the page
  $("live").textContent = `${$("step-name").textContent} ${lab.solver.n}, largest change ${$("change").textContent}. ${$("state").textContent}`;
}

function setUpSolver() {
  const moves = { first: () => lab.solver.goTo(0), back: () => lab.solver.goTo(Math.max(lab.solver.n - 1, 0)), step: () => lab.solver.step(), end: () => lab.solver.end() };
  for (const [id, move] of Object.entries(moves)) {
    $(id).addEventListener("click", () => { pause(); move(); show(); tell(); });
  }
  $("run").addEventListener("click", () => { if (ticking === null) run(); else { pause(); tell(); } });
  $("methods").addEventListener("change", (event) => { pause(); lab.method = event.target.value; solveAnew(false); link(); tell(); });
  $("views").addEventListener("change", (event) => { lab.view = event.target.value; show(); });
}

function hover(s) {
  if (s === lab.hovered) return;
  lab.hovered = s;
  showCell();
}

function setUpOther(other) {  // a board to look at
  other.box.addEventListener("pointermove", (event) => hover(other.at(event.clientX, event.clientY)));
  other.box.addEventListener("pointerdown", (event) => { board.select(other.at(event.clientX, event.clientY) ?? board.selected); showCell(); });
  other.box.addEventListener("pointerleave", () => hover(null));
}

function setUpBoard() {
  const node = $("board");
  let last = null, strokes = 0;
    node.addEventListener("pointerdown", (event) => {
    const s = board.at(event.clientX, event.clientY);
    if (s === null || event.button !== 0) return;
    board.select(s);
    board.cells[s].node.focus({ preventScroll: true, focusVisible: false });
    if (lab.tool !== "look") {
      node.setPointerCapture(event.pointerId);
      last = s;
      draw([s], lab.tool, `stroke ${++strokes}`);
    }
    showCell();
    event.preventDefault();
  });
  node.addEventListener("pointermove", (event) => {
    const s = board.at(event.clientX, event.clientY);
    if (event.pointerType === "mouse") hover(s);
    if (last === null || s === null || s === last || !event.buttons) return;
    const way = lab.tool === "start" ? [s] : between(last, s, lab.maze.columns);
    last = s;
    draw(way, lab.tool, `stroke ${strokes}`);
  });
  for (const kind of ["pointerup", "pointercancel"]) node.addEventListener(kind, () => { last = null; });
  node.addEventListener("pointerleave", () => hover(null));
  node.addEventListener("focusin", () => hover(null));
  node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { rows, columns } = lab.maze, s = board.selected, row = Math.floor(s / columns), column = s % columns;
    const to = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, columns - 1], PageUp: [0, column], PageDown: [rows - 1, column],
    }[event.key];
    const tool = event.key === "Enter" || event.key === " " ? lab.tool : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (to) board.select(clamp(to[0], 0, rows - 1) * columns + clamp(to[1], 0, columns - 1), true);
    else if (tool) {
      draw([s], tool);
      $("live").textContent = cellText(s);
    } else return;
    showCell();
    event.preventDefault();
  });
}

function setUpField(id, read, slider) {
  const field = $(id);
  const isWrong = (wrong) => { if (wrong) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid"); };
  field.addEventListener("change", () => {
    isWrong(attempt(() => { change(read(field.value), id); return true; }) === null);
    lab.stroke = null;
  });
  field.addEventListener("blur", () => showInputs());  // as the maze has it
  if (!slider) return;
  field.addEventListener("input", () => {  // while one writes, a half number is no error
    try {
      change(read(field.value), id);
      isWrong(false);
    } catch (error) {
      if (!(error instanceof MazeError)) throw error;
      isWrong(true);
    }
  });
  slider.addEventListener("input", () => attempt(() => change(read(slider.value), id)));
  slider.addEventListener("change", () => { lab.stroke = null; });
}

function setUpFields() {
  setUpField("prob", (text) => ({ ...lab.maze, prob: toShare(text, "Move probability") }), $("prob-range"));
  setUpField("gamma", (text) => ({ ...lab.maze, gamma: toShare(text, "Discount") }), $("gamma-range"));
  setUpField("reward", (text) => ({ ...lab.maze, reward: toReward(text) }));
  setUpField("rows", (text) => withSize(lab.maze, toCount(text, "Rows"), lab.maze.columns));
  setUpField("columns", (text) => withSize(lab.maze, lab.maze.rows, toCount(text, "Columns")));
  $("tools").addEventListener("change", (event) => { if (event.target.name === "tool") { lab.tool = event.target.value; showInputs(); } });
  for (const name of [...Object.keys(PRESETS), "Empty"]) make("option", { value: name }, $("preset"), name);
  $("preset").addEventListener("change", () => {
    const name = $("preset").value;
    if (name) change({ ...lab.maze, ...(name === "Empty" ? { cells: lab.maze.cells.map(() => 0) } : preset(name)) });
    $("preset").value = "";
    say(null);
  });
  $("random").addEventListener("click", () => attempt(() => change(random(lab.maze.rows, lab.maze.columns, lab.maze))));
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  document.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("input[type=text], input[type=number], textarea")) return;
    if (key === "y" || (key === "z" && event.shiftKey)) redo();
    else if (key === "z") undo();
    else return;
    event.preventDefault();
  });
}

function setUpSharing() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = $(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {  // not every browser lets every page
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  $("load").addEventListener("click", () => attempt(() => change(fromText($("paste").value, lab.maze))));
  addEventListener("hashchange", () => attempt(() => { openLink(location.hash); }));
  addEventListener("pagehide", () => { if (linkTimer !== null) writeLink(); });
}

function openLink(hash) {
  const { maze, method } = fromHash(hash);
  lab.method = method;
  change(maze);
  solveAnew(false);
}

function setUpGiven(hasLink, { model, reward, grid, start, prob, gamma: discount, default_reward: stepReward }, policy) {
  if (grid && !hasLink) {
    const gamma = discount ?? DEFAULT.gamma;
    lab.past.length = 0;
    setMaze({ ...fromTable(grid, start ?? null), prob: prob ?? DEFAULT.prob, reward: stepReward ?? DEFAULT.reward, gamma });
  }
  if (reward) {
    lab.reward = new RewardPair(reward);
    lab.reward.boards.forEach(setUpOther);
  }
  if (model && (mayAsk || policy)) {
    lab.agent = new Agent(model, policy);
    $("agent").hidden = false;
    $("agent-title").textContent = `Agent: ${lab.agent.name}`;
    $("agent-show").addEventListener("click", showOrHideAgent);
  }
  show();
}

async function showOrHideAgent() {
  const { agent } = lab;
  if (agent.isShown) {
    agent.isShown = false;
  } else {
    $("agent-show").disabled = true;
    try {
      say(null);
      await agent.meet(lab.maze);
    } catch (error) {
      if (!(error instanceof MazeError)) throw error;
      say(error.message);
    }
    $("agent-show").disabled = false;
    $("agent-show").focus({ preventScroll: true });
  }
  solveAnew(true);
}

async function begin() {
  const hasLink = location.hash.length > 1;
  setUpSolver();
  setUpBoard();
  setUpOther(agentBoard);
  setUpFields();
  setUpSharing();
  setMaze(DEFAULT);
  if (hasLink) attempt(() => openLink(location.hash));
  lab.past.length = 0;
  show();
  try {
    if (given) setUpGiven(hasLink, given.lab, given.policy);
    else if (mayAsk) setUpGiven(hasLink, await ask("lab.json"), null);
  } catch (error) {
    if (!(error instanceof MazeError)) throw error;
    say(error.message);
  }
}

begin();
