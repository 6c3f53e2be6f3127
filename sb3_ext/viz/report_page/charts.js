// Charts with axes, for the panels below the episode.
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
