// What a server, or the file, knows besides: a trained agent, and a reward that was recovered from demonstrations.

const given = JSON.parse($("data").textContent);  // null: there may be a server that knows
const mayAsk = given === null && location.protocol.startsWith("http");

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer, content;
  try {
    answer = await fetch(path, options);
    content = await answer.json();
  } catch {
    throw new MazeError(answer ? `The server answered ${path} with something that is no JSON.` : "The server does not answer: is it still running?");
  }
  if (!answer.ok) throw new MazeError(`The server says: ${content.error ?? answer.status}`);
  return content;
}

class Agent {
  constructor({ name, algo, n_states: size }, policy) {
    Object.assign(this, { name: algo && !name.toLowerCase().includes(algo.toLowerCase()) ? `${name} (${algo})` : name, size, policy });
    this.isShown = false;
  }

  misfit(maze) {  // why it cannot be shown, or null
    const size = this.policy?.pi.length ?? this.size;
    return size === maze.cells.length ? null : `The model has ${size} states, the maze ${maze.cells.length}.`;
  }

  async meet(maze) {
    const misfit = this.misfit(maze);
    if (misfit) throw new MazeError(misfit);
    if (!this.policy) this.policy = await ask("policy", { grid: table(maze), prob: maze.prob, default_reward: maze.reward });
    this.isShown = true;
  }
}

class Meeting {  // of an agent and a maze: what the agent does in it, beside the best
  constructor(agent, rules) {
    const { pi, q } = agent.policy, best = new PolicyIteration(rules);
    best.end();
    this.pi = Float64Array.from(pi.flat());
    this.ownQ = q && Float64Array.from(q.flat());
    this.v = rules.evaluate(this.pi);
    this.q = this.ownQ ?? rules.look(this.v);
    this.best = best;
    this.wrong = new Set(rules.free.filter((s) => {
      const most = rules.best(best.q, s);
      let mine = 0;
      for (let a = 0; a < 4; a++) if (this.pi[4 * s + a] > 0) mine += this.pi[4 * s + a] * best.q[4 * s + a];
      return mine !== most && !isTie(mine, most);
    }));
  }

  loss(s) {  // what its policy is worth less than the best one
    return this.v[s] === this.best.v[s] ? 0 : this.best.v[s] - this.v[s];
  }

  says({ free, maze: { start } }) {
    const n = this.wrong.size, cells = `${n} of ${free.length} cells`;
    const choice = n ? `It acts worse than it could in ${cells}, which have a mark in their corner.` : "It acts as well as can be in every cell.";
    const worth = Number.isFinite(this.v[start]) ? `worth ${number(this.v[start])}` : "without an end, and worth " + number(this.v[start]);
    const loss = this.loss(start), most = number(this.best.v[start]);
    // Rounding is no loss.
    const rest = Math.abs(loss) <= 1e-9 * (1 + Math.abs(this.best.v[start])) ? "which is the best there is" : `where ${most} is possible: it loses ${number(loss)}`;
    return `${choice} From the start it is ${worth}, ${rest}.`;
  }

  picture(maze, scale, view) {
    return {
      maze, scale,
      value: (s) => this.v[s],
      q: view === "q" ? (s, a) => this.q[4 * s + a] : null,
      arrows: (s) => ACTIONS.map((_, a) => (this.pi[4 * s + a] > 0.005 ? this.pi[4 * s + a] : 0)),
      isMarked: (s) => this.wrong.has(s),
      label: (s) => {
        const [row, column] = place(maze, s);
        return `row ${row}, column ${column}: worth ${number(this.v[s])} under the agent’s policy${this.wrong.has(s) ? ", not its best" : ""}`;
      },
    };
  }
}

class RewardPair {  // the reward of the maze, and the one that was recovered from demonstrations
  constructor({ name, of_arrival: values }) {
    Object.assign(this, { name, values });
    this.boards = [new Board($("true-board"), false), new Board($("recovered-board"), false)];
    $("rewards").hidden = false;
    $("recovered-caption").textContent = name;
  }

  draw(maze) {
    const fits = this.values.length === maze.cells.length;
    $("rewards").querySelector(".boards").hidden = !fits;
    $("rewards-say").textContent = fits
      ? "Each with its own colours: a reward is recovered only up to what changes no policy."
      : `The reward has ${this.values.length} states, the maze ${maze.cells.length}.`;
    if (!fits) return;
    const truth = maze.cells.map((cell) => cell || maze.reward);
    for (const [board, name, values] of [[this.boards[0], "true", truth], [this.boards[1], "recovered", this.values]]) {
      const scale = values.reduce((most, x, s) => (maze.cells[s] === BLOCK ? most : Math.max(most, Math.abs(x))), 0);
      // Ends are drawn like other cells: what is recovered for them is what one wants to see.
      const flat = { ...maze, cells: maze.cells.map((cell) => (cell === BLOCK ? BLOCK : 0)) };
      const label = (s) => `row ${place(maze, s)[0]}, column ${place(maze, s)[1]}: ${number(values[s])}`;
      board.draw({ maze: flat, scale, value: (s) => values[s], q: null, arrows: () => [0, 0, 0, 0], isMarked: () => false, label });
      const largest = [...values.keys()].filter((s) => maze.cells[s] !== BLOCK).reduce((a, b) => (values[b] > values[a] ? b : a));
      board.box.setAttribute("aria-label", `The ${name} reward. The largest: ${label(largest)}`);
      drawLegend($(`${name}-legend`), scale, "Reward");
    }
  }
}
