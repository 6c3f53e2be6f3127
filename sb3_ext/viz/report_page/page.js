"use strict";
// The page of one agent, or of two: the episode that is stepped through, and what its panels are drawn with. Their own
// scripts follow, those of an episode as functions that a View calls.
// All texts enter by textContent, and all pictures are data: URLs, so nothing of the data can run.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["var(--accent)", "var(--second)", "#1a9a72", "#b65fa0", "#8a7a12", "#3d9fd1"];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function number(x) {
  if (x === null || x === undefined) return "unknown";
  if (Math.abs(x) >= 1000) return Math.round(x).toLocaleString("en").replace("-", "−");
  return String(Number(x.toPrecision(4))).replace("-", "−");
}

function make(tag, attributes = {}, parent = null, text = null) {
  const svg = ["svg", "path", "polyline", "circle", "line", "rect", "text"].includes(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function range(values, ...more) {
  let low = Infinity, high = -Infinity;
  for (const x of [values, more].flat(Infinity)) if (x !== null) { low = Math.min(low, x); high = Math.max(high, x); }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

// ---------------------------------------------------------------------------------------------- the state and its place

let end = 0;  // steps of the longest of the episodes that are shown
let now = 0;  // of these; `end` itself is the end
const views = [];  // one of each agent
const episodePanels = [];  // { name, draw }: of the panels of an episode, called for each view

function show(t) {
  now = clamp(t, 0, end);
  $("scrubber").value = now;
  const actions = views.map((view) => (views.length > 1 ? `${view.name}: ` : "") + view.actionText(now));
  $("scrubber").setAttribute("aria-valuetext", `step ${now} of ${end}: ${actions.join("; ")}`);
  $("step").textContent = now;
  $("tracks").style.setProperty("--at", now / end);
  for (const view of views) view.show(now);
}

function openEpisode(i) {
  end = Math.max(...data.agents.map((agent) => agent.episodes[i].rewards.length));
  $("scrubber").max = end;
  $("n-steps").textContent = end;
  for (const view of views) view.open(i);
  show(0);
}

// ------------------------------------------------------------------------------------------------------------ playing

let timer = null;

function pause() {
  cancelAnimationFrame(timer);
  timer = null;
  $("play").classList.remove("playing");
  $("play").setAttribute("aria-label", "Play");
}

function play() {
  if (now >= end) show(0);
  $("play").classList.add("playing");
  $("play").setAttribute("aria-label", "Pause");
  let before = performance.now(), due = 0;
  const tick = (time) => {
    due += Math.max(time - before, 0) / 1000 * data.fps * Number($("speed").value);
    before = time;
    if (due >= 1) { show(now + Math.floor(due)); due %= 1; }
    if (now >= end) pause();
    else timer = requestAnimationFrame(tick);
  };
  timer = requestAnimationFrame(tick);
}

const toggle = () => (timer === null ? play() : pause());
const moves = { first: () => 0, back: () => now - 1, forward: () => now + 1, last: () => end };
const keys = { ArrowLeft: moves.back, ArrowRight: moves.forward, Home: moves.first, End: moves.last };

function setUpControls() {
  const seek = (event) => {
    const box = $("tracks").getBoundingClientRect(), inset = 8;
    pause();
    show(Math.round(end * (event.clientX - box.left - inset) / (box.width - 2 * inset)));
  };
  $("tracks").addEventListener("pointerdown", (event) => { $("tracks").setPointerCapture(event.pointerId); seek(event); });
  $("tracks").addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  $("scrubber").addEventListener("input", () => { pause(); show(Number($("scrubber").value)); });
  $("play").addEventListener("click", toggle);
  for (const button of document.querySelectorAll("[data-go]")) {
    button.addEventListener("click", () => { pause(); show(moves[button.dataset.go]()); });
  }
  if ($("episode")) {
    data.episodes.forEach((text, i) => make("option", { value: i }, $("episode"), text));
    $("episode").addEventListener("change", () => { pause(); openEpisode(Number($("episode").value)); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const at = event.target, isOpen = at === document.body || $("player").contains(at);
    const box = $("player").getBoundingClientRect();
    // Further down the page the keys scroll, as everywhere.
    if (!isOpen || box.bottom < 80 || box.top > innerHeight - 80) return;
    if (event.key === " " && !at.matches("button, select")) toggle();
    else if (keys[event.key] && !at.matches("select, input:not(#scrubber)")) { pause(); show(keys[event.key]()); }
    else return;
    event.preventDefault();
  });
}

function start() {
  data.agents.forEach((agent, i) => views.push(new View(agent, i)));
  setUpControls();
  openEpisode(0);
}
