// From times to pixels, and the shapes that lanes are made of.

/** What is shown: a span of the run, and how wide it is drawn. */
const view = { from: 0, to: run.end, width: 800 };

const x = (time) => ((time - view.from) / (view.to - view.from)) * view.width;
const timeAt = (pixel) => view.from + (pixel / view.width) * (view.to - view.from);

/** Round steps for an axis: 1, 2, 5 and their tens. */
function ticks(from, to, most) {
  const rough = (to - from) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? 10 * power;
  const all = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
  return { step, all };
}

function bar(from, to, top, height, className, least = 1.5) {
  const left = Math.max(x(from), -4);
  const right = Math.min(x(to), view.width + 4);
  const width = Math.max(right - left, least);
  return svg("rect", { x: left.toFixed(1), y: top, width: width.toFixed(1), height, class: className, rx: Math.min(2.5, height / 3) });
}

/** Text in a bar, as much of it as there is room for. */
function label(from, to, baseline, text, className = "") {
  const left = Math.max(x(from), 0) + 6;
  const room = Math.min(x(to), view.width) - left - 4;
  const fits = Math.floor(room / 6.3);
  if (fits < 3) return "";
  const short = text.length <= fits ? text : `${text.slice(0, fits - 1).trimEnd()}…`;
  return svg("text", { x: left.toFixed(1), y: baseline, class: className }, short);
}

/** Puts spans that overlap into rows of their own; says how many rows there are. */
function stack(spans) {
  const ends = [];
  for (const one of [...spans].sort((a, b) => a.from - b.from)) {
    let row = ends.findIndex((end) => end <= one.from);
    if (row < 0) row = ends.length;
    ends[row] = one.to;
    one.row = row;
  }
  return Math.max(ends.length, 1);
}

const touches = (one) => one.to >= view.from && one.from <= view.to;

/** Vertical lines at the axis's ticks, and the times of faults shaded. */
function backdrop(height, shaded = true) {
  const parts = [];
  if (shaded) {
    for (const fault of faults.filter(touches)) {
      parts.push(svg("rect", { x: x(fault.from), y: 0, width: Math.max(x(fault.to) - x(fault.from), 1), height, class: "f-shade" }));
    }
  }
  const lines = ticks(view.from, view.to, view.width / 90).all.map((at) => `M${Math.round(x(at)) + 0.5} 0V${height}`);
  parts.push(svg("path", { d: lines.join(""), class: "gridline" }));
  return parts;
}

const faults = finding.faults.map((fault) => ({
  from: fault.at_ms,
  to: fault.ended_ms ?? run.end,
  what: fault.what,
  area: fault.area,
  signs: fault.signs,
}));

/** The least of 1, 2, 5 and their tens, in ms, that is so long and made of whole grains. */
function roundTime(least, grain) {
  for (let power = 10; ; power *= 10) {
    const found = [1, 2, 5].map((n) => n * power).find((time) => time >= least && time % grain === 0);
    if (found) return found;
  }
}

/** Requests in columns wide enough to see: outcomes and latency of those that the filters let through. */
const columns = {
  filter: { region: -1, kind: "" },
  bins: [],
  prepare() {
    // Between two requests of a flow: what is narrower shows the clients' clockwork, and nothing of the nodes.
    const each = finding.requests.sent / run.flows.length;
    this.period = each > 1 ? Math.min((run.end - (run.serving ?? 0)) / each, 2000) : 0;
    const wanted = run.flows.map((flow) => (this.filter.region < 0 || flow.region === this.filter.region) && (!this.filter.kind || flow.kind === this.filter.kind));
    this.bins = [];
    for (const [bin, flow, served, refused, failed, ...took] of run.requests.rows) {
      if (!wanted[flow]) continue;
      const into = (this.bins[bin] ??= { served: 0, refused: 0, failed: 0, took: [] });
      into.served += served;
      into.refused += refused;
      into.failed += failed;
      into.took.push(took);
    }
  },
  /** How many bins make a column of at least so many pixels: a round time, so that steady requests look steady. */
  together(pixels) {
    return roundTime(Math.max((pixels / view.width) * (view.to - view.from), this.period), run.requests.width_ms) / run.requests.width_ms;
  },
  sum(first, n) {
    const sum = { from: first * run.requests.width_ms, to: (first + n) * run.requests.width_ms, served: 0, refused: 0, failed: 0, buckets: [] };
    for (let bin = first; bin < first + n; bin += 1) {
      const one = this.bins[bin];
      if (!one) continue;
      sum.served += one.served;
      sum.refused += one.refused;
      sum.failed += one.failed;
      for (const took of one.took) {
        for (let at = 0; at < took.length; at += 2) sum.buckets[took[at]] = (sum.buckets[took[at]] ?? 0) + took[at + 1];
      }
    }
    return sum;
  },
  visible(pixels) {
    const n = this.together(pixels);
    const width = n * run.requests.width_ms;
    const all = [];
    for (let first = Math.floor(view.from / width) * n; first * run.requests.width_ms < view.to; first += n) all.push(this.sum(first, n));
    return all;
  },
  /** The column over a time. */
  at(time, pixels) {
    const n = this.together(pixels);
    return this.sum(Math.floor(time / (n * run.requests.width_ms)) * n, n);
  },
};

/** The time within which a share of the served ones was answered; null: none was served. */
function percentile(sum, part) {
  const wanted = Math.ceil(sum.served * part);
  if (wanted === 0) return null;
  let seen = 0;
  for (let bucket = 0; bucket < sum.buckets.length; bucket += 1) {
    seen += sum.buckets[bucket] ?? 0;
    if (seen >= wanted) return run.requests.bounds_ms[bucket];
  }
  return null;
}

const COLUMN = 5;
