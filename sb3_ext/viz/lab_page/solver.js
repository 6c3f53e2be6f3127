"use strict";
// The rules of GridWorldEnv, and value and policy iteration on them. What an end pays is paid on arrival, once: ends and
// blocks are worth 0. A maze here is { rows, columns, cells [S] by row, prob, gamma, reward }.

const BLOCK = 9;
const MOVES = [[0, -1], [1, 0], [0, 1], [-1, 0]];  // left, down, right, up: neighbours are sideways
const ACTIONS = ["left", "down", "right", "up"];
const MAX_SWEEPS = 10000;
const KEPT_EVERY = 64;  // sweeps: the others are made again when one goes back

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const isTie = (x, most) => x === most || x >= most - 1e-9 * (1 + Math.abs(most));

class Rules {
  constructor(maze) {
    const { rows, columns, cells } = maze;
    this.maze = maze;
    this.size = cells.length;
    this.free = [];  // the cells in which one can be
    this.next = new Int32Array(4 * this.size);
    this.pays = new Float64Array(4 * this.size);
    const side = (1 - maze.prob) / 2;
    this.ways = [[0, maze.prob], [1, side], [3, side]].filter(([, chance]) => chance > 0);  // turn of the action, chance
    cells.forEach((cell, s) => {
      if (cell !== 0) return;
      this.free.push(s);
      MOVES.forEach(([down, right], d) => {
        const row = Math.floor(s / columns) + down, column = s % columns + right, to = row * columns + column;
        const inside = row >= 0 && row < rows && column >= 0 && column < columns && cells[to] !== BLOCK;
        this.next[4 * s + d] = inside ? to : s;
        this.pays[4 * s + d] = (inside ? cells[to] : 0) || maze.reward;
      });
    });
    this.known = new Float64Array(this.size).fill(NaN);  // values without a sweep: infinite ones, with gamma 1 alone
    this.idle = new Set();  // cells of which one may stay in some for ever, at no cost
    if (maze.gamma === 1) this.endless();
    this.open = this.free.filter((s) => Number.isNaN(this.known[s]));
  }

  isFree(s) { return this.maze.cells[s] === 0; }

  outcomes(s, action) {  // [[where to, its chance, its reward]]
    return this.ways.map(([turn, chance]) => {
      const i = 4 * s + (action + turn) % 4;
      return [this.next[i], chance, this.pays[i]];
    });
  }

  endless() {
    const { reward } = this.maze;
    if (reward < 0) {
      // Every move can be taken back, so from where any way leads to an end a random walk surely comes to one.
      const lost = this.without(this.leading((s) => !this.isFree(s)));
      for (const s of lost) this.known[s] = -Infinity;
      return;
    }
    const inside = new Set(this.free);
    for (let before = -1; before !== inside.size;) {
      before = inside.size;
      for (const s of inside) {
        if (!ACTIONS.some((_, a) => this.outcomes(s, a).every(([to]) => inside.has(to)))) inside.delete(s);
      }
    }
    if (reward === 0) this.idle = inside;
    else for (const s of this.leading((s) => inside.has(s))) this.known[s] = Infinity;
  }

  without(cells) { return this.free.filter((s) => !cells.has(s)); }

  leading(isGoal, policy = null) {  // cells from which a goal can be reached, by the policy where there is one
    const found = new Set(this.free.filter(isGoal));
    for (let before = -1; before !== found.size;) {
      before = found.size;
      for (const cells of [this.free, this.free.toReversed()]) {
        for (const s of cells) {
          const can = (a) => (policy === null || policy[4 * s + a] > 0) &&
            this.outcomes(s, a).some(([to]) => isGoal(to) || found.has(to));
          if (!found.has(s) && ACTIONS.some((_, a) => can(a))) found.add(s);
        }
      }
    }
    return found;
  }

  look(v) {  // [4 S]: to act once and then be worth v
    const q = new Float64Array(4 * this.size), { gamma } = this.maze, then = new Float64Array(4);
    const turns = this.ways.map(([turn]) => turn), chances = this.ways.map(([, chance]) => chance);
    for (const s of this.free) {
      for (let d = 0; d < 4; d++) then[d] = this.pays[4 * s + d] + gamma * v[this.next[4 * s + d]];
      for (let a = 0; a < 4; a++) {
        let sum = 0;
        for (let way = 0; way < turns.length; way++) sum += chances[way] * then[(a + turns[way]) & 3];
        q[4 * s + a] = sum;
      }
    }
    return q;
  }

  start() { return this.known.map((x) => (Number.isNaN(x) ? 0 : x)); }

  evaluate(policy) {  // [S]: exact values of probabilities [4 S]
    const { gamma, reward } = this.maze, v = this.start();
    let open = this.open;
    if (gamma === 1) {
      const ends = this.leading((s) => !this.isFree(s), policy);
      const never = new Set(open.filter((s) => !ends.has(s)));
      const value = reward === 0 ? 0 : reward * Infinity;
      const endless = reward === 0 ? never : this.leading((s) => never.has(s), policy);
      for (const s of endless) v[s] = value;
      open = open.filter((s) => !endless.has(s));
    }
    const chain = new Map(open.map((s) => [s, this.row(s, policy)]));
    for (const [s, x] of eliminate(this.maze, chain, gamma, v)) v[s] = x;
    return v;
  }

  row(s, policy) {  // expected reward, and where one goes with which chance
    const to = new Map();
    let reward = 0;
    for (let a = 0; a < 4; a++) {
      const p = policy[4 * s + a];
      if (!(p > 0)) continue;
      for (const [next, chance, pays] of this.outcomes(s, a)) {
        reward += p * chance * pays;
        to.set(next, (to.get(next) ?? 0) + p * chance);
      }
    }
    return { reward, to };
  }

  best(q, s) { return Math.max(q[4 * s], q[4 * s + 1], q[4 * s + 2], q[4 * s + 3]); }

  bestActions(q, s) {  // [4]: all that tie; none where nothing is better than anything
    const most = this.best(q, s);
    return ACTIONS.map((_, a) => most !== -Infinity && isTie(q[4 * s + a], most));
  }

  greedy(q) {  // [4 S]: the first best action
    const policy = new Float64Array(4 * this.size);
    for (const s of this.free) policy[4 * s + Math.max(0, this.bestActions(q, s).indexOf(true))] = 1;
    return policy;
  }

  largest(v) { return this.open.reduce((most, s) => Math.max(most, Math.abs(v[s])), 0); }

  change(before, v) { return this.open.reduce((most, s) => Math.max(most, Math.abs(v[s] - before[s])), 0); }
}

// (1 - gamma P) v = r by elimination in a band: a cell leads no further than one row, or one column. The matrix is
// diagonally dominant, so no rows need to be exchanged; its diagonal is summed up, not subtracted from 1.
function eliminate({ rows, columns }, chain, gamma, v) {
  const width = Math.min(rows, columns), span = 2 * width + 1;
  const place = columns <= rows ? (s) => s : (s) => (s % columns) * rows + Math.floor(s / columns);
  const cells = [...chain.keys()].sort((a, b) => place(a) - place(b));
  const n = rows * columns, band = new Float64Array(n * span), x = new Float64Array(n);
  for (let i = 0; i < n; i++) band[i * span + width] = 1;
  for (const s of cells) {
    const i = place(s), { reward, to } = chain.get(s);
    let away = 1 - gamma, known = reward;
    for (const [next, chance] of to) {
      if (next === s) continue;
      away += gamma * chance;
      if (chain.has(next)) band[i * span + width + place(next) - i] = -gamma * chance;
      else known += gamma * chance * v[next];
    }
    band[i * span + width] = away;
    x[i] = known;
  }
  for (let k = 0; k < n; k++) {
    for (let i = k + 1; i <= Math.min(k + width, n - 1); i++) {
      const factor = band[i * span + width + k - i] / band[k * span + width];
      if (factor === 0) continue;
      for (let j = k + 1; j <= Math.min(k + width, n - 1); j++) band[i * span + width + j - i] -= factor * band[k * span + width + j - k];
      x[i] -= factor * x[k];
    }
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let j = i + 1; j <= Math.min(i + width, n - 1); j++) x[i] -= band[i * span + width + j - i] * x[j];
    x[i] /= band[i * span + width];
  }
  return cells.map((s) => [s, x[place(s)]]);
}

// A solver is at step n, with v [S], q [4 S] of which v is the best (value iteration) or which look ahead from v (policy
// iteration), change: the largest one of a value in this step, and changes: of all steps so far.

class ValueIteration {
  constructor(rules) {
    this.rules = rules;
    this.kept = [rules.start()];
    this.changes = [];
    this.restart(0);
  }

  restart(n) {
    this.n = n;
    this.v = this.kept[n / KEPT_EVERY].slice();
    this.q = new Float64Array(4 * this.rules.size);
    this.change = null;
    this.changes.length = n;
    this.isDone = this.rules.open.length === 0;
  }

  get isCapped() { return !this.isDone && this.n >= MAX_SWEEPS; }

  step() {
    if (this.isDone || this.isCapped) return false;
    const { rules } = this, before = this.v;
    this.q = rules.look(before);
    this.v = before.slice();
    for (const s of rules.open) this.v[s] = rules.best(this.q, s);
    this.n += 1;
    this.change = rules.change(before, this.v);
    this.changes.push(this.change);
    if (this.n % KEPT_EVERY === 0) this.kept[this.n / KEPT_EVERY] = this.v.slice();
    const unit = Math.max(1, rules.largest(this.v));
    // Rounding alone is left at the second; with gamma 1 nothing else is known of the distance.
    this.isDone = this.bound() <= 1e-11 * unit || this.change <= (rules.maze.gamma === 1 ? 1e-14 : 1e-15) * unit;
    return true;
  }

  bound() {  // no value is further from the best one
    const { gamma } = this.rules.maze;
    return this.change === null || gamma === 1 ? Infinity : gamma * this.change / (1 - gamma);
  }

  goTo(n) {
    if (n < this.n) this.restart(Math.floor(Math.max(n - 1, 0) / KEPT_EVERY) * KEPT_EVERY);
    while (this.n < n && this.step());
  }

  end() { this.goTo(MAX_SWEEPS); }
}

class PolicyIteration {
  constructor(rules) {
    this.rules = rules;
    const policy = new Float64Array(4 * rules.size);  // the first one: any action with the same chance, which surely ends
    for (const s of rules.free) policy.fill(0.25, 4 * s, 4 * s + 4);
    const entry = { v: rules.start(), q: new Float64Array(4 * rules.size), policy, change: null, changed: rules.open.length };
    this.entries = [entry];
    this.n = 0;
  }

  get v() { return this.entries[this.n].v; }
  get q() { return this.entries[this.n].q; }
  get change() { return this.entries[this.n].change; }
  get changed() { return this.entries[this.n].changed; }  // cells with another action in the next policy
  get changes() { return this.entries.slice(1, this.n + 1).map((entry) => entry.change); }
  get isDone() { return this.rules.open.length === 0 || (this.n > 0 && this.changed === 0); }
  get isCapped() { return !this.isDone && this.n >= MAX_SWEEPS; }
  bound() { return this.isDone ? 0 : Infinity; }

  step() {
    if (this.isDone || this.isCapped) return false;
    if (this.n + 1 === this.entries.length) this.entries.push(this.improved(this.entries[this.n]));
    this.n += 1;
    return true;
  }

  improved({ v: before, policy: old }) {
    const { rules } = this, v = rules.evaluate(old), q = rules.look(v), policy = old.slice();
    let changed = 0;
    const choose = (s, isGood) => {
      policy.fill(0, 4 * s, 4 * s + 4);
      policy[4 * s + ACTIONS.findIndex((_, a) => isGood(a))] = 1;
      changed += 1;
    };
    for (const s of rules.open) {
      let mine = 0;
      for (let a = 0; a < 4; a++) if (old[4 * s + a] > 0) mine += old[4 * s + a] * q[4 * s + a];
      const most = rules.best(q, s);
      // An action is kept unless another one is truly better: ties do not go round in circles.
      if (most > mine + 1e-10 * (1 + Math.abs(mine))) choose(s, (a) => q[4 * s + a] === most);
      else if (v[s] < -1e-10 && rules.idle.has(s)) choose(s, (a) => rules.outcomes(s, a).every(([to]) => rules.idle.has(to)));
    }
    return { v, q, policy, change: rules.change(before, v), changed };
  }

  goTo(n) {
    this.n = Math.min(n, this.n);
    while (this.n < n && this.step());
  }

  end() { this.goTo(MAX_SWEEPS); }
}
