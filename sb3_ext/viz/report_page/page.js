"use strict";
// The page of one agent. All texts enter by textContent, and all pictures are data: URLs, so nothing of the data can run.
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

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// ---------------------------------------------------------------------------------------------- the state and its place

const T = data.rewards.length;
let now = 0;  // of T steps; T itself is the end
let overlay = null;  // name of the stream that is laid over the picture
const redraw = [];  // is told the step

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
  if ($("value")) $("value").textContent = now < T ? number(data.values[now]) : "–";
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

function heat(image, strength) {  // grey to transparent, red, yellow
  const canvas = make("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const x = pixels.data[i] / 255;
    pixels.data[i] = 225 + 30 * x;
    pixels.data[i + 1] = 30 + 195 * x * x;
    pixels.data[i + 2] = 60 - 20 * x;
    pixels.data[i + 3] = 255 * strength * Math.min(1, 1.4 * x);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
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
    const stream = overlay !== null && t < T ? data.attributions[overlay] : null;
    const [frame, map] = await Promise.all([
      picture("frame", images, t), stream ? picture(overlay, stream.images, t) : null]);
    if (turn !== wanted) return;  // another step was asked for meanwhile
    pen.drawImage(frame, 0, 0, width, height);
    if (map) pen.drawImage(heat(map, $("strength").value / 100), 0, 0, width, height);
    screen.dataset.step = t;
    screen.setAttribute("aria-label", `Picture of step ${t}`);
    if (t < T) picture("frame", images, t + 1);
  };
  redraw.push(draw);
  if (!$("overlay")) return;
  make("option", { value: "" }, $("overlay"), "off");
  for (const [name, stream] of Object.entries(data.attributions)) {
    if (stream.images) make("option", { value: name }, $("overlay"), name);
  }
  overlay = $("overlay").options[1].value;
  $("overlay").value = overlay;
  $("overlay").addEventListener("change", () => { overlay = $("overlay").value || null; draw(now); });
  $("strength").addEventListener("input", () => draw(now));
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

function setUpStrip(name, strip) {  // one row per component, one column per step; red is positive, blue negative
  const node = track(`Attribution: ${name}`, `inputs 0 (top) to ${strip.size - 1}`);
  const canvas = make("canvas", { "aria-hidden": "true" }, node);
  canvas.width = T;
  canvas.height = strip.size;
  canvas.style.height = `${clamp(11 * strip.size, 22, 150)}px`;
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(T, strip.size);
  new Int8Array(bytes(strip.data).buffer).forEach((x, i) => {  // rows of the data are steps
    const at = 4 * ((i % strip.size) * T + Math.floor(i / strip.size));
    pixels.data.set([...(x > 0 ? [214, 80, 30] : [50, 110, 225]), Math.min(255, 2 * Math.abs(x))], at);
  });
  pen.putImageData(pixels, 0, 0);
}

function setUpTracks() {
  setUpTrack("Reward", data.rewards, true);
  if (data.values) setUpTrack("Value", data.values, false);
  for (const [name, stream] of Object.entries(data.attributions)) if (stream.data) setUpStrip(name, stream);
  const seek = (event) => {
    const box = $("tracks").getBoundingClientRect(), inset = 8;
    pause();
    show(Math.round(T * (event.clientX - box.left - inset) / (box.width - 2 * inset)));
  };
  $("tracks").addEventListener("pointerdown", (event) => { $("tracks").setPointerCapture(event.pointerId); seek(event); });
  $("tracks").addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
}

// ------------------------------------------------------------------------------------------------------ what it chose

function choiceRow(name, isInterval) {
  const row = make("li", {}, $("choices"));
  make("span", { class: "name" }, row, name);
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, row);
  const parts = { row, bar: make("i", {}, bar), number: make("span", { class: "number" }, row) };
  return isInterval ? { ...parts, mean: make("b", {}, bar), done: make("u", {}, bar) } : parts;
}

function setUpBars(table, isShare) {  // Q-values: the lead over the worst action of the step, beside the largest lead
  const rows = data.action_names.map((name) => choiceRow(name, false));
  const lead = table.reduce((most, q) => Math.max(most, Math.max(...q) - Math.min(...q)), 0) || 1;
  redraw.push((t) => {
    const values = table[Math.min(t, T - 1)], low = isShare ? 0 : Math.min(...values);
    rows.forEach(({ row, bar, number: text }, a) => {
      bar.style.width = `${100 * (isShare ? values[a] : Math.max((values[a] - low) / lead, 0.005))}%`;
      text.textContent = isShare ? `${(100 * values[a]).toFixed(1)} %` : number(values[a]);
      if (t < T && data.actions[t] === a) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
  });
}

function setUpIntervals() {
  const { means, stds, actions } = data;
  const rows = means[0].map((_, d) => {
    const spread = means.map((m, t) => [m[d] - (stds ? stds[t][d] : 0), m[d] + (stds ? stds[t][d] : 0), actions[t][d]]);
    return { ...choiceRow(String(d), true), range: range(spread) };
  });
  redraw.push((t) => {
    const step = Math.min(t, T - 1);
    rows.forEach(({ bar, mean, done, number: text, range: [low, high] }, d) => {
      const place = (x) => 100 * clamp((x - low) / (high - low), 0, 1);
      const m = means[step][d], s = stds ? stds[step][d] : 0;
      bar.style.left = `${place(m - s)}%`;
      bar.style.width = `${place(m + s) - place(m - s)}%`;
      mean.style.left = `${place(m)}%`;
      done.style.left = `${place(actions[step][d])}%`;
      text.textContent = stds ? `${number(m)} ± ${number(s)}` : number(m);
    });
  });
}

function setUpHidden() {
  const xs = range(data.hidden.map((p) => p[0])), ys = range(data.hidden.map((p) => p[1]));
  const points = data.hidden.map(([x, y]) => [
    10 + 320 * (x - xs[0]) / (xs[1] - xs[0]), 180 - 170 * (y - ys[0]) / (ys[1] - ys[0])].map((v) => v.toFixed(1)));
  const svg = $("hidden");
  svg.setAttribute("viewBox", "0 0 340 190");
  make("polyline", { points: points.join(" ") }, svg);
  const past = make("polyline", { class: "past" }, svg), dot = make("circle", { r: 5 }, svg);
  redraw.push((t) => {
    const step = Math.min(t, T - 1);
    past.setAttribute("points", points.slice(0, step + 1).join(" "));
    dot.setAttribute("cx", points[step][0]);
    dot.setAttribute("cy", points[step][1]);
  });
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

function drawCurves(svg, width, height) {
  const xs = range(data.curves.map((c) => c.steps)), ys = range(data.curves.map((c) => [c.low, c.high]));
  const heights = ticks(...ys, 5), marks = shorts(heights), steps = ticks(...xs, width / 70), times = shorts(steps);
  const left = 8 + 7.2 * Math.max(...marks.map((mark) => mark.length)), right = width - 14, bottom = height - 26;
  const x = (v) => left + (right - left) * (v - xs[0]) / (xs[1] - xs[0]);
  const y = (v) => bottom - (bottom - 8) * (v - ys[0]) / (ys[1] - ys[0]);
  heights.forEach((v, i) => {
    make("line", { class: "axis", x1: left, x2: right, y1: y(v), y2: y(v) }, svg);
    make("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, svg, marks[i]);
  });
  steps.forEach((v, i) => make("text", { x: x(v), y: height - 6, "text-anchor": "middle" }, svg, times[i]));
  data.curves.forEach((curve, i) => {
    const path = (values, back) => {
      const points = values.map((v, j) => `${x(curve.steps[j]).toFixed(1)} ${y(v).toFixed(1)}`);
      return (back ? points.reverse() : points).join("L");
    };
    make("path", { class: "band", fill: COLOURS[i % COLOURS.length], d: `M${path(curve.low)}L${path(curve.high, true)}Z` }, svg);
    make("path", { class: "mean", stroke: COLOURS[i % COLOURS.length], d: `M${path(curve.mean)}` }, svg);
  });
  const line = make("line", { class: "at", y1: 8, y2: bottom, visibility: "hidden" }, svg);
  const tip = make("div", { class: "tip", hidden: "", role: "status" }, svg.parentNode);
  const all = [...new Set(data.curves.flatMap((c) => c.steps))].sort((a, b) => a - b);
  const nearest = (steps, v) => steps.reduce((best, s, i) => (Math.abs(s - v) < Math.abs(steps[best] - v) ? i : best), 0);
  let at = all.length - 1;
  const hide = () => { tip.hidden = true; line.setAttribute("visibility", "hidden"); };
  const point = (i) => {
    at = clamp(i, 0, all.length - 1);
    tip.replaceChildren();
    make("b", {}, tip, `${all[at].toLocaleString("en")} steps`);
    for (const curve of data.curves) {
      const j = nearest(curve.steps, all[at]);
      make("div", {}, tip, `${curve.name}: ${number(curve.mean[j])} (${number(curve.low[j])} to ${number(curve.high[j])})`);
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
}

function drawReturns(svg, width, height) {  // a histogram with the mean and its interval
  const { returns: values, mean, interval } = data.evaluation;
  const [low, high] = range(values), bottom = height - 24;
  const n = clamp(Math.ceil(2 * Math.cbrt(values.length)), 5, 20), counts = Array(n).fill(0);
  for (const v of values) counts[Math.min(Math.floor(n * (v - low) / (high - low)), n - 1)] += 1;
  const x = (v) => width * (v - low) / (high - low), most = Math.max(...counts);
  counts.forEach((count, i) => {
    const size = (bottom - 10) * count / most;
    if (count) make("rect", { class: "stack", x: i * width / n + 1, y: bottom - size, width: width / n - 2, height: size, rx: 2 }, svg);
  });
  if (interval) make("rect", { class: "span", x: x(interval[0]), y: 0, width: Math.max(x(interval[1]) - x(interval[0]), 1), height: bottom }, svg);
  make("line", { class: "middle", x1: x(mean), x2: x(mean), y1: 0, y2: bottom }, svg);
  make("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }, svg);
  make("text", { x: 0, y: height - 6 }, svg, number(low));
  make("text", { x: width, y: height - 6, "text-anchor": "end" }, svg, number(high));
}

function setUpCharts() {
  if ($("curves")) {
    data.curves.forEach((curve, i) => {
      make("span", {}, $("legend"), curve.name).style.setProperty("--colour", COLOURS[i % COLOURS.length]);
    });
    const last = data.curves.map((c) => `${c.name} ends at ${number(c.mean.at(-1))}`).join("; ");
    chart($("curves"), `Return by environment steps. ${last}`, 290, drawCurves);
  }
  if ($("returns")) chart($("returns"), "Histogram of the returns", 120, drawReturns);
}

function setUpCopy() {
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("command").textContent);
    } catch {  // a page from a file may not write there in every browser; then it is marked, to be copied by hand
      getSelection().selectAllChildren($("command"));
      return;
    }
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
}

if ($("screen")) setUpScreen();
setUpTracks();
if (data.q_values || data.probabilities) setUpBars(data.q_values ?? data.probabilities, !data.q_values);
else if (data.means) setUpIntervals();
if (data.hidden) setUpHidden();
setUpControls();
setUpCharts();
if ($("copy")) setUpCopy();
show(0);
