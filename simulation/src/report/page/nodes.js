// Lanes of regions and nodes: what the world did to them, what they made of each other, what they answered.

/** How others see a node at a time: [up, suspect, down, unknown]. */
function seenAt(node, time) {
  const step = stepAt(run.tracks[node].seen, time);
  return step ? step.slice(1) : [0, 0, 0, 0];
}

const TRUTHS = ["not running", "running", "running, cut off"];
const truthAt = (node, time) => stepAt(run.tracks[node].on, time)?.[1] ?? 0;

function seenInWords([up, suspect, down, unknown]) {
  const all = up + suspect + down + unknown;
  if (all === 0) return "nobody runs to see it";
  if (up === all) return all === 1 ? "up" : `up, by all ${all} others`;
  const parts = [[up, "up"], [suspect, "suspect"], [down, "dead"], [unknown, "unknown"]].filter(([n]) => n > 0);
  return parts.map(([n, name]) => `${name} by ${n}`).join(", ");
}

/** A strip whose height is shared by what the others take a node for. */
function seenStrip(node, top, height) {
  const tones = ["f-up", "f-warn", "f-bad", "f-unknown"];
  const parts = [];
  eachStep(run.tracks[node].seen, view.from, view.to, (from, to, step) => {
    const seen = step.slice(1);
    const all = seen.reduce((sum, n) => sum + n, 0);
    if (all === 0) {
      parts.push(bar(from, to, top, height, "f-unknown", 0.5));
      return;
    }
    let at = top;
    seen.forEach((n, index) => {
      if (n === 0) return;
      const tall = (n / all) * height;
      const one = bar(from, to, at.toFixed(2), tall.toFixed(2), tones[index], 1);
      one.setAttribute("rx", 0);
      parts.push(one);
      at += tall;
    });
  });
  return parts;
}

/** A strip that is calm while something runs, hatched while it does not, and dark while it runs but hears nobody. */
function runsStrip(track, top, height) {
  const parts = [];
  eachStep(track, view.from, view.to, (from, to, step) => {
    const one = bar(from, to, top, height, ["", "f-up", "f-off"][step[1]], 1);
    one.setAttribute("rx", 0);
    if (step[1] === 0) one.setAttribute("fill", "url(#off)");
    parts.push(one);
  });
  return parts;
}

function laneNode(node) {
  const track = run.tracks[node];
  const rows = run.answers.rows[node] ?? [];
  return {
    title: nodeName(node),
    kind: "node",
    strips: [["answers", 13], ["as seen", 30], ["in truth", 39]],
    height: 46,
    /** Answers in columns, as [from, to, served, refused, failed]. */
    answers() {
      const each = run.answers.width_ms;
      const n = roundTime((COLUMN * (view.to - view.from)) / view.width, each) / each;
      const sums = new Map();
      for (const [bin, served, refused, failed] of rows) {
        if ((bin + n) * each < view.from || bin * each > view.to) continue;
        const first = Math.floor(bin / n) * n;
        const sum = sums.get(first) ?? [first * each, (first + n) * each, 0, 0, 0];
        sum[2] += served;
        sum[3] += refused;
        sum[4] += failed;
        sums.set(first, sum);
      }
      return [...sums.values()];
    },
    draw(height) {
      const parts = backdrop(height);
      const tall = 20;
      const sums = this.answers();
      const most = Math.max(1, ...sums.map((sum) => sum[2] + sum[3] + sum[4]));
      const paths = ["", "", ""];
      for (const sum of sums) {
        const left = x(sum[0]).toFixed(1);
        const width = Math.max(x(sum[1]) - x(sum[0]) - 1, 1).toFixed(1);
        let under = 0;
        [2, 3, 4].forEach((index, path) => {
          if (sum[index] === 0) return;
          const part = Math.max((sum[index] / most) * tall, path ? 2 : 0);
          paths[path] += `M${left} ${(3 + tall - under).toFixed(1)}v${(-part).toFixed(1)}h${width}v${part.toFixed(1)}z`;
          under += part;
        });
      }
      ["f-served", "f-refused", "f-failed"].forEach((tone, index) => parts.push(svg("path", { d: paths[index], class: tone })));
      parts.push(...seenStrip(node, 26, 8), ...runsStrip(track.on, 36, 7));
      return parts;
    },
    tell(time) {
      const on = truthAt(node, time);
      const seen = seenAt(node, time);
      const told = [["In truth", TRUTHS[on], on === 1 ? "" : "bad"], ["To the others", seenInWords(seen), seen[2] ? "bad" : seen[1] ? "warn" : ""]];
      const knows = stepAt(track.knows, time);
      if (on && knows) {
        const leader = knows[2] ? nodeName(knows[2] - 1) : "nobody";
        told.push(["It follows", `${leader}, term ${knows[1]}`], ["It serves by", knows[3] ? `revision ${knows[3]}` : "no document yet"]);
      }
      return told;
    },
    describe() {
      const away = [];
      eachStep(track.on, 0, run.end, (from, to, step) => { if (step[1] !== 1) away.push(`${TRUTHS[step[1]]} from ${when(from)} to ${when(to)}`); });
      const dead = [];
      eachStep(track.seen, 0, run.end, (from, to, step) => { if (step[3] > 0) dead.push(`${when(from)} to ${when(to)}`); });
      return `${away.length ? away.join(", ") : "running all the time"}; ${dead.length ? `taken for dead by another from ${dead.join(", ")}` : "never taken for dead"}`;
    },
  };
}

function laneRegion(region) {
  const nodes = run.nodes.map((_, node) => node).filter((node) => run.nodes[node].region === region);
  return {
    title: run.regions[region],
    kind: "group",
    dot: regionClass(region),
    nodes,
    /** Where its nodes have no lanes, each has a thin strip here: whether it runs in truth. */
    get thin() { return openRegions.has(region) ? 0 : Math.max(1.5, Math.min(4, 40 / nodes.length)); },
    get height() { return 26 + (this.thin ? nodes.length * this.thin + 12 : 0); },
    get strips() { return this.thin ? [["upstream", 13], ["nodes", 26 + (nodes.length * this.thin) / 2]] : [["upstream", 13]]; },
    draw(height) {
      const strips = nodes.flatMap((node, index) => (this.thin ? runsStrip(run.tracks[node].on, 26 + index * this.thin, this.thin - 0.5) : []));
      return [...backdrop(height), ...runsStrip(run.upstreams[region], 10, 6), ...strips];
    },
    tell(time) {
      const on = nodes.filter((node) => truthAt(node, time) > 0).length;
      const upstream = stepAt(run.upstreams[region], time)?.[1] === 1;
      const dead = nodes.filter((node) => seenAt(node, time)[2] > 0).length;
      const told = [
        ["Nodes running", `${on} of ${nodes.length}`, on < nodes.length ? "bad" : ""],
        ["Upstream", upstream ? "well" : "not answering as it should", upstream ? "" : "bad"],
      ];
      if (dead) told.push(["Taken for dead", many(dead, "node"), "bad"]);
      return told;
    },
    describe() {
      const away = [];
      eachStep(run.upstreams[region], 0, run.end, (from, to, step) => { if (!step[1]) away.push(`${when(from)} to ${when(to)}`); });
      return away.length ? `upstream not answering as it should from ${away.join(", ")}` : "upstream well all the time";
    },
  };
}

/** Of a large cluster nodes are shown region by region, when asked for. */
const MOST_OPEN = 12;
const openRegions = new Set(run.nodes.length <= MOST_OPEN ? run.regions.keys() : []);

function lanesOfNodes() {
  return run.regions.flatMap((_, region) => {
    const head = laneRegion(region);
    head.region = region;
    return [head, ...(openRegions.has(region) ? head.nodes.map(laneNode) : [])];
  });
}
