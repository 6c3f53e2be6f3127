"use strict";
// The page of one agent: the episode that is stepped through, and what its panels are drawn with. Their own scripts follow.
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

const T = data.rewards.length;
let now = 0;  // of T steps; T itself is the end
const redraw = [];  // functions that are told the step
const layers = [];  // functions that are told the step and give what lies over its picture: a canvas, later, or null

const sums = data.rewards.reduce((all, r) => { all.push((all.at(-1) ?? 0) + (r ?? 0)); return all; }, []);

function actionText(t) {
  if (t >= T) return { terminated: "The episode is over", truncated: "The time is over", cut: "Not watched further" }[data.ending];
  const action = data.actions[t];
  return Array.isArray(action) ? action.map(number).join(", ") : data.action_names[action] ?? String(action);
}

function show(t) {
  now = clamp(t, 0, T);
  $("scrubber").value = now;
  $("scrubber").setAttribute("aria-valuetext", `step ${now} of ${T}: ${actionText(now)}`);
  $("step").textContent = now;
  $("action").textContent = actionText(now);
  $("reward").textContent = now < T ? number(data.rewards[now]) : "–";
  $("return").textContent = number(sums[Math.min(now, T - 1)]);
  $("tracks").style.setProperty("--at", now / T);
  for (const draw of redraw) draw(now);
}

// ---------------------------------------------------------------------------------------------------------- pictures

const pictures = new Map();  // the latest ones, decoded

function picture(kind, source, t) {
  const key = `${kind} ${t}`;
  let image = pictures.get(key);
  if (!image) {
    image = new Image();
    image.src = `data:image/webp;base64,${source[t]}`;
  }
  pictures.delete(key);
  pictures.set(key, image);  // the youngest is last
  if (pictures.size > 64) pictures.delete(pictures.keys().next().value);
  return image.decode().then(() => image);
}

function setUpScreen() {
  const screen = $("screen"), { width, height, images } = data.frames;
  screen.width = width;
  screen.height = height;
  screen.classList.toggle("small", Math.max(width, height) <= 256);
  const pen = screen.getContext("2d");
  let wanted = 0;
  const draw = async (t) => {
    const turn = ++wanted;
    const [frame, ...above] = await Promise.all([picture("frame", images, t), ...layers.map((layer) => layer(t))]);
    if (turn !== wanted) return;  // another step was asked for meanwhile
    for (const image of [frame, ...above]) if (image) pen.drawImage(image, 0, 0, width, height);
    screen.dataset.step = t;
    screen.setAttribute("aria-label", `Picture of step ${t}`);
    if (t < T) picture("frame", images, t + 1);
  };
  redraw.push(draw);
}

// ---------------------------------------------------------------------------------------------- tracks over the steps

function thin(values) {  // to lowest and highest of each of 1500 parts
  const size = Math.ceil(values.length / 1500);
  const pairs = values.map((x, t) => [t, x]).filter(([, x]) => x !== null);
  if (size === 1) return pairs;
  const kept = [];
  for (let i = 0; i < pairs.length; i += size) {
    const part = pairs.slice(i, i + size).sort((a, b) => a[1] - b[1]);
    kept.push(...[part[0], part.at(-1)].sort((a, b) => a[0] - b[0]));
  }
  return kept;
}

function track(name, note) {
  const node = make("div", { class: "track" }, $("tracks"));
  const head = make("p", {}, node);
  make("span", {}, head, name);
  make("span", {}, head, note);
  return node;
}

function setUpTrack(name, values, filled) {
  const [low, high] = filled ? range(values, 0) : range(values);
  const [least, most] = range(values.filter((x) => x !== null));
  const flat = values.every((x) => x === values[0]);
  const node = track(name, flat ? number(values[0]) : `${number(least)} to ${number(most)}`);
  node.classList.toggle("flat", flat);
  const svg = make("svg", { viewBox: `0 0 ${T} 44`, preserveAspectRatio: "none", "aria-hidden": "true" }, node);
  const y = (x) => (43 - 42 * (x - low) / (high - low)).toFixed(2);
  if (low <= 0 && high >= 0) make("line", { class: "zero", x1: 0, x2: T, y1: y(0), y2: y(0) }, svg);
  const points = thin(values);
  const d = filled
    ? `M0 ${y(0)}${points.map(([t, x]) => `V${y(x)}H${t + 1}`).join("")}V${y(0)}Z`
    : points.map(([t, x], i) => `${i ? "L" : "M"}${t} ${y(x)}`).join("");
  make("path", { class: filled ? "area" : "line", d }, svg);
}

function setUpTracks() {
  setUpTrack("Reward", data.rewards, true);
  const seek = (event) => {
    const box = $("tracks").getBoundingClientRect(), inset = 8;
    pause();
    show(Math.round(T * (event.clientX - box.left - inset) / (box.width - 2 * inset)));
  };
  $("tracks").addEventListener("pointerdown", (event) => { $("tracks").setPointerCapture(event.pointerId); seek(event); });
  $("tracks").addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
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
  if (now >= T) show(0);
  $("play").classList.add("playing");
  $("play").setAttribute("aria-label", "Pause");
  let before = performance.now(), due = 0;
  const tick = (time) => {
    due += Math.max(time - before, 0) / 1000 * data.fps * Number($("speed").value);
    before = time;
    if (due >= 1) { show(now + Math.floor(due)); due %= 1; }
    if (now >= T) pause();
    else timer = requestAnimationFrame(tick);
  };
  timer = requestAnimationFrame(tick);
}

const toggle = () => (timer === null ? play() : pause());
const moves = { first: () => 0, back: () => now - 1, forward: () => now + 1, last: () => T };
const keys = { ArrowLeft: moves.back, ArrowRight: moves.forward, Home: moves.first, End: moves.last };

function setUpControls() {
  $("scrubber").max = T;
  $("n-steps").textContent = T;
  $("scrubber").addEventListener("input", () => { pause(); show(Number($("scrubber").value)); });
  $("play").addEventListener("click", toggle);
  for (const button of document.querySelectorAll("[data-go]")) {
    button.addEventListener("click", () => { pause(); show(moves[button.dataset.go]()); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const at = event.target, isOpen = at === document.body || $("player").contains(at);
    const box = $("player").getBoundingClientRect();
    // Further down the page the keys scroll, as everywhere.
    if (!isOpen || box.bottom < 80 || box.top > innerHeight - 80) return;
    if (event.key === " " && !at.matches("button, select")) toggle();
    else if (keys[event.key] && !at.matches("select, #strength")) { pause(); show(keys[event.key]()); }
    else return;
    event.preventDefault();
  });
}

// ------------------------------------------------------------------------------------------------------------- charts

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

function shorts(values) {  // all of them in the unit of the largest
  const most = Math.max(...values.map(Math.abs));
  const [unit, sign] = most >= 1e6 ? [1e6, "M"] : most >= 1e4 ? [1e3, "k"] : [1, ""];
  return values.map((x) => (x === 0 ? "0" : number(x / unit) + sign));
}

function chart(box, label, height, draw) {  // drawn anew whenever its width changes
  new ResizeObserver(() => {
    const width = Math.max(box.clientWidth, 120);
    if (box.dataset.width === String(width)) return;
    box.dataset.width = width;
    box.replaceChildren();
    draw(make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, box), width, height);
  }).observe(box);
}

// -------------------------------------------------------------------------------------- lines over environment steps

function legend(box, curves) {
  curves.forEach((curve, i) => {
    make("span", {}, box, curve.name).style.setProperty("--colour", COLOURS[i % COLOURS.length]);
  });
}

function lines(curves, levels = []) {  // curves: name, steps, mean, and where they have a band low and high
  return (svg, width, height) => {
    const xs = range(curves.map((c) => c.steps));
    const ys = range(curves.map((c) => [c.low ?? c.mean, c.high ?? c.mean]), levels);
    const heights = ticks(...ys, 5), marks = shorts(heights), steps = ticks(...xs, width / 70), times = shorts(steps);
    const left = 8 + 7.2 * Math.max(...marks.map((mark) => mark.length)), right = width - 14, bottom = height - 26;
    const x = (v) => left + (right - left) * (v - xs[0]) / (xs[1] - xs[0]);
    const y = (v) => bottom - (bottom - 8) * (v - ys[0]) / (ys[1] - ys[0]);
    heights.forEach((v, i) => {
      make("line", { class: "axis", x1: left, x2: right, y1: y(v), y2: y(v) }, svg);
      make("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, svg, marks[i]);
    });
    steps.forEach((v, i) => make("text", { x: x(v), y: height - 6, "text-anchor": "middle" }, svg, times[i]));
    for (const v of levels) make("line", { class: "level", x1: left, x2: right, y1: y(v), y2: y(v) }, svg);
    curves.forEach((curve, i) => {
      const path = (values, back) => {
        const points = values.map((v, j) => `${x(curve.steps[j]).toFixed(1)} ${y(v).toFixed(1)}`);
        return (back ? points.reverse() : points).join("L");
      };
      const colour = COLOURS[i % COLOURS.length];
      if (curve.low) make("path", { class: "band", fill: colour, d: `M${path(curve.low)}L${path(curve.high, true)}Z` }, svg);
      make("path", { class: "mean", stroke: colour, d: `M${path(curve.mean)}` }, svg);
    });
    const line = make("line", { class: "at", y1: 8, y2: bottom, visibility: "hidden" }, svg);
    const tip = make("div", { class: "tip", hidden: "", role: "status" }, svg.parentNode);
    const all = [...new Set(curves.flatMap((c) => c.steps))].sort((a, b) => a - b);
    const nearest = (steps, v) =>
      steps.reduce((best, s, i) => (Math.abs(s - v) < Math.abs(steps[best] - v) ? i : best), 0);
    let at = all.length - 1;
    const hide = () => { tip.hidden = true; line.setAttribute("visibility", "hidden"); };
    const point = (i) => {
      at = clamp(i, 0, all.length - 1);
      tip.replaceChildren();
      make("b", {}, tip, `${all[at].toLocaleString("en")} steps`);
      for (const curve of curves) {
        const j = nearest(curve.steps, all[at]);
        const spread = curve.low ? ` (${number(curve.low[j])} to ${number(curve.high[j])})` : "";
        make("div", {}, tip, `${curve.name}: ${number(curve.mean[j])}${spread}`);
      }
      tip.hidden = false;
      const beside = x(all[at]) > width / 2 ? x(all[at]) - 12 - tip.offsetWidth : x(all[at]) + 12;
      tip.style.left = `${clamp(beside, 0, Math.max(width - tip.offsetWidth, 0))}px`;
      line.setAttribute("x1", x(all[at]));
      line.setAttribute("x2", x(all[at]));
      line.setAttribute("visibility", "visible");
    };
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", (event) => {
      const share = (event.clientX - svg.getBoundingClientRect().left - left) / (right - left);
      point(nearest(all, xs[0] + share * (xs[1] - xs[0])));
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) point(at); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      point(to);
    });
  };
}

if ($("screen")) setUpScreen();
setUpTracks();
setUpControls();
