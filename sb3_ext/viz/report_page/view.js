// One agent's part of the player: its picture, its numbers and its tracks.
class View {  // an agent in one of its episodes, out of its template
  constructor(agent, i) {
    this.name = agent.name;
    this.episodes = agent.episodes;
    this.suffix = i ? `-${i + 1}` : "";  // of the ids
    this.kept = {};  // what was chosen, from episode to episode
    this.nodes = [];
    this.tracks = make("div", {}, $("tracks"));
  }

  open(i) {
    this.data = this.episodes[i];
    this.T = this.data.rewards.length;
    this.redraw = [];  // functions that are told the step
    this.layers = [];  // functions that are told the step and give what lies over its picture: a canvas, later, or null
    this.sums = this.data.rewards.reduce((all, r) => { all.push((all.at(-1) ?? 0) + (r ?? 0)); return all; }, []);
    this.tracks.replaceChildren();
    if (views.length > 1) make("h3", {}, this.tracks, this.name);
    for (const node of this.nodes) node.remove();
    this.nodes = [...$(`view${this.suffix}`).content.cloneNode(true).children];
    const drawn = episodePanels.filter((panel) => this.data.panels.includes(panel.name));
    for (const node of this.nodes) {
      for (const part of node.querySelectorAll("[data-panel]")) {
        if (!this.data.panels.includes(part.dataset.panel)) part.remove();
      }
      for (const part of node.querySelectorAll("[id]")) part.id += this.suffix;
      node.style.gridArea = node.className + this.suffix;
      if (node.className === "stage") $("control").before(node);
      else $("control").parentNode.append(node);
    }
    if (this.$("screen")) this.setUpScreen();
    this.setUpTrack("Reward", this.data.rewards, true);
    const tools = Object.fromEntries(["$", "track", "setUpTrack"].map((name) => [name, this[name].bind(this)]));
    for (const panel of drawn) panel.draw({ ...this, ...tools });
  }

  $(id) {
    return $(id + this.suffix);
  }

  actionText(t) {
    const { ending, actions, action_names: names } = this.data;
    if (t >= this.T) return { terminated: "The episode is over", truncated: "The time is over", cut: "Not watched further" }[ending];
    const action = actions[t];
    if (!Array.isArray(action)) return names[action] ?? String(action);
    const named = !this.data.means;  // else each component has a row of its own
    return action.map((x, i) => (named && i in names ? `${names[i]} ${number(x)}` : number(x))).join(", ");
  }

  show(t) {
    this.$("action").textContent = this.actionText(t);
    this.$("reward").textContent = t < this.T ? number(this.data.rewards[t]) : "–";
    this.$("return").textContent = number(this.sums[Math.min(t, this.T - 1)]);
    for (const draw of this.redraw) draw(Math.min(t, this.T));
  }

  setUpScreen() {
    const screen = this.$("screen"), { width, height, images } = this.data.frames;
    screen.width = width;
    screen.height = height;
    screen.classList.toggle("small", Math.max(width, height) <= 256);
    const pen = screen.getContext("2d"), { T, layers } = this;
    let wanted = 0;
    this.redraw.push(async (t) => {
      const turn = ++wanted;
      const [frame, ...above] = await Promise.all([picture(images, t), ...layers.map((layer) => layer(t))]);
      if (turn !== wanted) return;  // another step was asked for meanwhile
      for (const image of [frame, ...above]) if (image) pen.drawImage(image, 0, 0, width, height);
      screen.dataset.step = t;
      screen.setAttribute("aria-label", `Picture of step ${t}`);
      if (t < T) picture(images, t + 1);
    });
  }

  track(name, note) {
    const node = make("div", { class: "track" }, this.tracks);
    const head = make("p", {}, node);
    make("span", {}, head, name);
    make("span", {}, head, note);
    return node;
  }

  setUpTrack(name, values, filled) {
    const [low, high] = filled ? range(values, 0) : range(values);
    const [least, most] = range(values.filter((x) => x !== null));
    const flat = values.every((x) => x === values[0]);
    const node = this.track(name, flat ? number(values[0]) : `${number(least)} to ${number(most)}`);
    node.classList.toggle("flat", flat);
    const svg = make("svg", { viewBox: `0 0 ${end} 44`, preserveAspectRatio: "none", "aria-hidden": "true" }, node);
    const y = (x) => (43 - 42 * (x - low) / (high - low)).toFixed(2);
    if (low <= 0 && high >= 0) make("line", { class: "zero", x1: 0, x2: end, y1: y(0), y2: y(0) }, svg);
    const points = thin(values);
    const d = filled
      ? `M0 ${y(0)}${points.map(([t, x]) => `V${y(x)}H${t + 1}`).join("")}V${y(0)}Z`
      : points.map(([t, x], i) => `${i ? "L" : "M"}${t} ${y(x)}`).join("");
    make("path", { class: filled ? "area" : "line", d }, svg);
  }
}

const pictures = new Map();  // the latest ones, decoded

function picture(source, t) {
  let image = pictures.get(source[t]);
  if (!image) {
    image = new Image();
    image.src = `data:image/webp;base64,${source[t]}`;
  }
  pictures.delete(source[t]);
  pictures.set(source[t], image);  // the youngest is last
  if (pictures.size > 64) pictures.delete(pictures.keys().next().value);
  return image.decode().then(() => image);
}

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

function signed(strip) {  // of attributions, from -127 to 127; rows are steps
  return new Int8Array(Uint8Array.from(atob(strip.data), (c) => c.charCodeAt(0)).buffer);
}
