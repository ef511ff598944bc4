// Lanes of the timeline that are about the run as a whole. Each draws itself at the view's width, says what it shows at
// a time, and describes itself in a sentence. A new lane is one more object in the list at the end.

const lanePhases = {
  title: "Phases",
  hint: "of the run",
  height: 26,
  spans() {
    const marks = [
      [0, "start", "f-phase2"],
      [run.serving, "with faults", "f-phase"],
      [run.calm, "calm", "f-phase2"],
      [run.equal, "equal again", "f-phase"],
    ].filter(([at]) => at !== null && at !== undefined);
    return marks.map(([from, name, tone], index) => ({ from, to: index + 1 < marks.length ? marks[index + 1][0] : run.end, name, tone }));
  },
  draw() {
    return this.spans().filter(touches).flatMap((one) => [bar(one.from, one.to, 4, 18, one.tone), label(one.from, one.to, 17, one.name)]);
  },
  tell(time) {
    const one = this.spans().findLast((phase) => phase.from <= time);
    return one ? [["Phase", one.name]] : [];
  },
  describe() {
    return this.spans().map((one) => `${one.name} from ${when(one.from)} to ${when(one.to)}`).join("; ");
  },
};

const laneFaults = {
  title: "Faults",
  hint: "what the world did",
  rows: stack(faults),
  get height() { return 8 + 20 * this.rows; },
  draw() {
    return faults.filter(touches).flatMap((one) => {
      const top = 4 + 20 * one.row;
      return [bar(one.from, one.to, top, 17, "f-fault", 3), label(one.from, one.to, top + 12.5, one.what)];
    });
  },
  tell(time) {
    const now = faults.filter((one) => one.from <= time && time <= one.to);
    return now.map((one) => ["Fault", `${one.what}, ${when(one.from)} – ${when(one.to)}`, "bad"]);
  },
  describe() {
    return faults.map((one) => `${one.what} at ${when(one.from)} for ${span(one.to - one.from)}`).join("; ") || "none";
  },
};

/** The moments at which promises broke, where one moment shows it. */
function breachTimes() {
  const times = finding.violations.filter(({ at_ms: at }) => at !== null && at <= run.end);
  return times.map(({ at_ms: at, invariant, says }) => ({ at, invariant, says })).sort((a, b) => a.at - b.at);
}
const breaches = breachTimes();
const laneBreaches = {
  title: "Broken promises",
  hint: "when",
  height: 24,
  draw(height) {
    const marks = breaches.filter(({ at }) => at >= view.from && at <= view.to).map(({ at }) => `M${x(at).toFixed(1)} 4l4 8l-4 8l-4 -8z`);
    return [...backdrop(height, false), svg("path", { d: marks.join(""), class: "f-bad" })];
  },
  tell(time) {
    const near = (view.to - view.from) / 150;
    const now = breaches.filter(({ at }) => Math.abs(at - time) <= near);
    const told = now.slice(0, 3).map(({ invariant, says }) => ["Broke", `${invariant}: ${says}`, "bad"]);
    if (now.length > told.length) told.push(["Broke", `and ${now.length - told.length} more`, "bad"]);
    return told;
  },
  describe() {
    return `${many(breaches.length, "moment")}, the first at ${when(breaches[0].at)}`;
  },
};

/** What it means that something is in trouble, for those who do not know what nodes do with it. */
const AREAS = {
  links: ["Links in trouble", "between regions", "what passes over it is late, lost or held back; where that is too bad nothing is promised over it, and it counts as cut"],
  disks: ["Disks", "of nodes", "the node waits for its disk or gets errors from it; documents and votes depend on it, requests do not"],
  clocks: ["Clocks", "of nodes", "the node takes another time for the true one; it judges tokens by it, and may refuse good ones where it is too far off"],
  upstreams: ["Upstreams", "of regions", "the services behind the gateway do not answer as they should; nodes notice by health checks, and ask other regions"],
  issuer: ["Issuer", "of tokens", "its keys change or cannot be had; tokens under keys that nodes have are served on, others have to wait"],
};

/** A lane of the faults that befall one kind of thing. */
function laneArea(area) {
  const [title, hint, means] = AREAS[area];
  const own = faults.filter((one) => one.area === area).map((one) => ({ ...one }));
  return {
    title,
    hint,
    own,
    rows: stack(own),
    get height() { return 8 + 18 * this.rows; },
    draw(height) {
      return [...backdrop(height), ...own.filter(touches).flatMap((one) => {
        const top = 4 + 18 * one.row;
        return [bar(one.from, one.to, top, 15, "f-trouble", 3), label(one.from, one.to, top + 11.5, one.what)];
      })];
    },
    tell(time) {
      const now = own.filter((one) => one.from <= time && time <= one.to);
      return now.map((one) => [title, `${one.what}, ${when(one.from)} – ${when(one.to)}: ${means}`, "warn"]);
    },
    describe() {
      return own.map((one) => `${one.what} from ${when(one.from)} to ${when(one.to)}`).join("; ");
    },
  };
}

const cutName = (cut) => `${run.regions[cut.regions[0]]} ${cut.both ? "⇄" : "→"} ${run.regions[cut.regions[1]]}`;
const laneCuts = {
  title: "Links cut",
  hint: "or too bad to count on",
  rows: stack(run.cuts),
  get height() { return 8 + 16 * this.rows; },
  draw() {
    return run.cuts.filter(touches).flatMap((cut) => {
      const top = 4 + 16 * cut.row;
      return [bar(cut.from, cut.to, top, 13, "f-off", 2), label(cut.from, cut.to, top + 10, cutName(cut), "on-off")];
    });
  },
  tell(time) {
    const now = run.cuts.filter((cut) => cut.from <= time && time < cut.to);
    return now.length ? [["Links cut", now.map(cutName).join(", "), "bad"]] : [];
  },
  describe() {
    return run.cuts.map((cut) => `${cutName(cut)} from ${when(cut.from)} to ${when(cut.to)}`).join("; ");
  },
};

const laneLeader = {
  title: "Leader",
  hint: "by a majority's word",
  rows: stack(run.reigns),
  get height() { return 8 + 22 * this.rows; },
  draw() {
    const parts = [svg("rect", { x: 0, y: 4, width: view.width, height: 22 * this.rows - 3, fill: "url(#none)" })];
    for (const reign of run.reigns.filter(touches)) {
      const top = 4 + 22 * reign.row;
      parts.push(bar(reign.from, reign.to, top, 19, regionClass(run.nodes[reign.node].region)));
      parts.push(label(reign.from, reign.to, top + 13.5, `${nodeName(reign.node)} · term ${reign.term}`, "on"));
    }
    return parts;
  },
  tell(time) {
    const now = run.reigns.filter((reign) => reign.from <= time && time < reign.to);
    if (now.length === 0) return [["Leader", "none", "warn"]];
    return now.map((reign) => ["Leader", `${nodeName(reign.node)}, term ${reign.term}`]);
  },
  describe() {
    return run.reigns.map((reign) => `${nodeName(reign.node)} in term ${reign.term} from ${when(reign.from)} to ${when(reign.to)}`).join("; ") || "nobody led";
  },
};

const laneRequests = {
  title: "Requests",
  hint: "each second, when sent",
  height: 92,
  draw(height) {
    const sums = columns.visible(COLUMN);
    const rate = (sum) => (1000 * (sum.served + sum.refused + sum.failed)) / (sum.to - sum.from);
    const full = run.end - ((run.end - 1) % run.requests.width_ms) - 1;
    const most = Math.max(1, ...sums.filter((sum) => sum.to <= full).map(rate));
    const { all } = ticks(0, most * 1.15, 3);
    const top = most * 1.15;
    const y = (value) => height - (value / top) * (height - 4);
    const parts = backdrop(height);
    const paths = { served: "", refused: "", failed: "" };
    for (const sum of sums) {
      const left = x(sum.from);
      const width = Math.max(x(sum.to) - left - 1, 1);
      let under = 0;
      for (const outcome of ["served", "refused", "failed"]) {
        const per = (1000 * sum[outcome]) / (sum.to - sum.from);
        if (per === 0) continue;
        // What failed is seen, however little it is.
        const least = outcome === "served" ? 0 : 3;
        const bottom = y(under);
        const tall = Math.max(bottom - y(under + per), least);
        paths[outcome] += `M${left.toFixed(1)} ${bottom.toFixed(1)}v${(-tall).toFixed(1)}h${width.toFixed(1)}v${tall.toFixed(1)}z`;
        under += per;
      }
    }
    for (const [outcome, d] of Object.entries(paths)) parts.push(svg("path", { d, class: `f-${outcome}` }));
    for (const tick of all.filter((at) => at > 0)) parts.push(...scaleMark(y(tick), count(tick)));
    return parts;
  },
  tell(time) {
    const sum = columns.at(time, COLUMN);
    const each = (n) => Math.round((1000 * n) / (sum.to - sum.from));
    const told = [["Requests", `${count(each(sum.served + sum.refused + sum.failed))}/s`]];
    if (sum.refused) told.push(["Refused", many(sum.refused, "request"), "warn"]);
    if (sum.failed) told.push(["Unanswered", many(sum.failed, "request"), "bad"]);
    return told;
  },
  describe() {
    const sum = columns.sum(0, columns.bins.length);
    return `${count(sum.served)} served, ${count(sum.refused)} refused, ${count(sum.failed)} not answered`;
  },
};

/** A value of a vertical axis: a line and its name. */
function scaleMark(at, text) {
  const line = svg("path", { d: `M0 ${Math.round(at) + 0.5}H${view.width}`, class: "gridline" });
  return [line, svg("text", { x: 5, y: at - 3, class: "tick" }, text)];
}

const laneLatency = {
  title: "Latency",
  hint: "half, 99 %, slowest of those served",
  height: 104,
  draw(height) {
    const longest = Math.max(1000, ...columns.visible(COLUMN).map((sum) => percentile(sum, 1) ?? 0));
    const top = Math.log10(longest * 1.6);
    const low = Math.log10(2);
    const y = (ms) => height - ((Math.log10(Math.max(ms, 2)) - low) / (top - low)) * (height - 4);
    const parts = backdrop(height);
    for (const tick of [10, 100, 1000, 10_000].filter((at) => at < longest * 1.5)) parts.push(...scaleMark(y(tick), span(tick).replace(".00", "")));
    parts.push(svg("path", { d: `M0 ${y(run.budget).toFixed(1)}H${view.width}`, class: "promise-line" }));
    const lines = { half: "", most: "" };
    let dots = "";
    let broken = true;
    for (const sum of columns.visible(COLUMN * 2)) {
      const half = percentile(sum, 0.5);
      if (half === null) { broken = true; continue; }
      const [most, slowest] = [percentile(sum, 0.99), percentile(sum, 1)];
      const at = x((sum.from + sum.to) / 2).toFixed(1);
      lines.half += `${broken ? "M" : "L"}${at} ${y(half).toFixed(1)}`;
      lines.most += `${broken ? "M" : "L"}${at} ${y(most).toFixed(1)}`;
      dots += `M${at - 1.5} ${y(slowest).toFixed(1)}h3v-3h-3z`;
      broken = false;
    }
    parts.push(svg("path", { d: dots, class: "d-max" }), svg("path", { d: lines.most, class: "l-most" }), svg("path", { d: lines.half, class: "l-half" }));
    return parts;
  },
  tell(time) {
    const sum = columns.at(time, COLUMN * 2);
    const half = percentile(sum, 0.5);
    if (half === null) return [["Latency", "nothing was served", "warn"]];
    return [["Latency", `half ${span(half)}, 99 % ${span(percentile(sum, 0.99))}, slowest ${span(percentile(sum, 1))}`]];
  },
  describe() {
    const sum = columns.sum(0, columns.bins.length);
    if (sum.served === 0) return "nothing was served";
    return `half within ${span(percentile(sum, 0.5))}, 99 % within ${span(percentile(sum, 0.99))}, the slowest ${span(percentile(sum, 1))}`;
  },
};

/** A lane of one limit: what its window held, by the region of the nodes that charged, against what it may hold. */
function laneLimit(limit) {
  const width = run.limits.width_ms;
  const sum = (row) => row.slice(2).reduce((all, units) => all + units, 0);
  const name = `${limit.name}, ${count(limit.amount)} in ${span(limit.span_ms)}`;
  return {
    title: "Limit",
    hint: name,
    height: 60,
    draw(height) {
      const most = Math.max(limit.amount, ...limit.rows.map(sum)) * 1.12;
      const y = (units) => height - (units / most) * (height - 4);
      const parts = backdrop(height);
      const paths = run.regions.map(() => "");
      let may = "";
      for (const row of limit.rows) {
        const [from, to] = [row[0] * width, (row[0] + 1) * width];
        if (to < view.from || from > view.to) continue;
        const left = x(from);
        const wide = Math.max(x(to) - left, 1);
        may += `M${left.toFixed(1)} ${y(row[1]).toFixed(1)}h${wide.toFixed(1)}`;
        let under = 0;
        for (let region = 0; region < run.regions.length; region++) {
          const own = row.slice(2).filter((_, node) => run.nodes[node].region === region).reduce((all, units) => all + units, 0);
          if (own === 0) continue;
          paths[region] += `M${left.toFixed(1)} ${y(under).toFixed(1)}V${y(under + own).toFixed(1)}h${wide.toFixed(1)}V${y(under).toFixed(1)}z`;
          under += own;
        }
      }
      paths.forEach((d, region) => parts.push(svg("path", { d, class: regionClass(region) })));
      parts.push(svg("path", { d: may, class: "promise-line" }));
      return parts;
    },
    tell(time) {
      const row = limit.rows.findLast((one) => one[0] * width <= time);
      if (!row || (row[0] + 1) * width < time - limit.span_ms) return [];
      const nodes = row.slice(2).map((units, node) => [units, node]).filter(([units]) => units > 0);
      const parts = nodes.map(([units, node]) => `${nodeName(node)} ${count(units)}`).join(", ");
      return [["Limit", `${limit.name}: ${count(sum(row))} of ${count(row[1])} (${parts})${sum(row) > row[1] ? "; it was lowered, and settles" : ""}`, sum(row) > row[1] ? "warn" : ""]];
    },
    describe() {
      const fullest = limit.rows.reduce((most, row) => Math.max(most, sum(row) / Math.max(row[1], 1)), 0);
      return `${name}, ${limit.fixed ? "in windows by the clock" : "sliding"}: at its fullest ${Math.round(100 * fullest)} %`;
    },
  };
}

const gapTone = (gap) => (gap.to - gap.from >= run.budget ? "bad" : gap.to - gap.from >= run.budget / 2 ? "warn" : "good");
const laneGaps = {
  title: "Failover gaps",
  hint: "without a success",
  strips: run.regions.map((name, region) => [name, 11 + 15 * region]),
  get height() { return 8 + 15 * run.regions.length; },
  shown() {
    const { region, kind } = columns.filter;
    return run.gaps.filter((gap) => {
      const flow = run.flows[gap.flow];
      return (region < 0 || flow.region === region) && (!kind || flow.kind === kind);
    });
  },
  draw(height) {
    const parts = backdrop(height);
    for (const gap of this.shown().filter(touches)) {
      const region = run.flows[gap.flow].region;
      parts.push(bar(gap.from, gap.to, 5 + 15 * region, 12, `f-${gapTone(gap)}`, 2.5));
    }
    return parts;
  },
  tell(time) {
    const now = this.shown().filter((gap) => gap.from <= time && time <= gap.to);
    return now.map((gap) => {
      const flow = run.flows[gap.flow];
      const tone = gapTone(gap);
      return ["Gap", `${run.regions[flow.region]} ${flow.kind}: ${span(gap.to - gap.from)}`, tone === "good" ? "" : tone];
    });
  },
  describe() {
    const worst = run.gaps.reduce((most, gap) => Math.max(most, gap.to - gap.from), 0);
    return run.gaps.length ? `the longest ${span(worst)}; the table "Failover gaps" has them all` : "none was looked at";
  },
};

const WRITE_TONES = { acknowledged: "good", refused: "warn", unknown: "bad" };
const writes = run.writes.map((write) => ({ ...write, ends: write.to, to: write.to ?? Math.min(write.from + 2000, run.end) }));
const laneWrites = {
  title: "Writes",
  hint: "call to answer",
  rows: stack(writes),
  get height() { return 8 + 11 * Math.min(this.rows, 6); },
  draw(height) {
    const parts = backdrop(height);
    for (const write of writes.filter(touches)) parts.push(bar(write.from, write.to, 4 + 11 * (write.row % 6), 9, `f-${WRITE_TONES[write.outcome]}`, 3));
    return parts;
  },
  tell(time) {
    const now = writes.filter((write) => write.from <= time && time <= write.to + view.to / 500);
    return now.slice(0, 4).map((write) => {
      const took = write.ends === null ? "" : ` after ${span(write.ends - write.from)}`;
      const tone = WRITE_TONES[write.outcome];
      return ["Write", `at ${write.node}: ${write.outcome}${took}${write.says ? ` (${write.says})` : ""}`, tone === "good" ? "" : tone];
    });
  },
  describe() {
    const { sent, acknowledged, refused, unknown } = finding.writes;
    return `${many(sent, "document")}: ${acknowledged} acknowledged, ${refused} refused, ${unknown} unknown`;
  },
};

const revoked = run.revocations.map((one) => ({ ...one, ends: one.to, to: one.to ?? Math.min(one.from + 2000, run.end) }));
const laneRevoked = {
  title: "Revocations",
  hint: "call to receipt",
  rows: stack(revoked),
  get height() { return 8 + 11 * Math.min(this.rows, 6); },
  tone(one) { return one.ends === null ? "bad" : one.nodes < run.nodes.length ? "warn" : "good"; },
  draw(height) {
    const parts = backdrop(height);
    for (const one of revoked.filter(touches)) parts.push(bar(one.from, one.to, 4 + 11 * (one.row % 6), 9, `f-${this.tone(one)}`, 3));
    return parts;
  },
  tell(time) {
    const now = revoked.filter((one) => one.from <= time && time <= one.to);
    return now.slice(0, 4).map((one) => ["Revocation", one.ends === null ? `at ${one.node}: no receipt` : `at ${one.node}: ${one.nodes} of ${many(run.nodes.length, "node")} after ${span(one.ends - one.from)}`, this.tone(one) === "good" ? "" : "warn"]);
  },
  describe() {
    const { sent, everywhere } = finding.revocations;
    return `${many(sent, "token")}, ${everywhere} of them by every node at once`;
  },
};

const lanesOfRun = [
  lanePhases,
  breaches.length > 0 && laneBreaches,
  laneFaults,
  run.cuts.length > 0 && laneCuts,
  ...Object.keys(AREAS).map(laneArea).filter((lane) => lane.own.length > 0),
  laneLeader,
  finding.requests.sent > 0 && laneRequests,
  finding.requests.sent > 0 && laneLatency,
  run.gaps.length > 0 && laneGaps,
  ...run.limits.shown.map(laneLimit),
  writes.length > 0 && laneWrites,
  revoked.length > 0 && laneRevoked,
].filter(Boolean);
