// The run in words and tables: what was promised, what was measured, what broke.

function renderTop() {
  const broken = finding.invariants.filter((one) => one.verdict === "broke");
  const held = finding.invariants.filter((one) => one.verdict === "held");
  const names = new Set(finding.invariants.map((one) => one.name));
  const cut = finding.violations.find((one) => !names.has(one.invariant));
  const says = broken.length
    ? `${broken.length} of ${held.length + broken.length} promises broke: ${broken.map((one) => one.name).join(", ")}`
    : cut ? `Not finished: ${cut.says}` : `All ${held.length} promises that were put to the test held`;
  const verdict = finding.passed ? "held" : "broke";
  const { sent, served } = finding.requests;
  const worst = run.gaps.reduce((most, gap) => (gap.to - gap.from > (most ? most.to - most.from : -1) ? gap : most), null);
  const figures = [];
  const figure = (name, big, small, bad) => figures.push(el("div", { class: "figure card" }, el("dt", {}, name), el("dd", { class: `big${bad ? " bad" : ""}` }, big), el("dd", { class: "small" }, small)));
  if (sent) figure("Requests served", share(served, sent), served === sent ? `all of ${count(sent)}` : `${count(sent - served)} of ${count(sent)} were not, those that nobody could serve included`);
  if (worst) {
    const gap = worst.to - worst.from;
    figure("Longest failover gap", span(gap), `promised: 99 % under ${span(run.budget)}`, gap >= run.budget);
  }
  if (sent) figure("Latency", span(finding.latency.p50_ms), `half of all; 99 % within ${span(finding.latency.p99_ms)}`);
  if (finding.writes.sent) {
    const { sent: all, acknowledged, slowest_ms: slowest } = finding.writes;
    figure("Writes acknowledged", `${acknowledged} of ${all}`, `the slowest after ${span(slowest)}`);
  }
  if (finding.revocations.sent) figure("Revocations", `${finding.revocations.everywhere} of ${finding.revocations.sent}`, `were known to every node at once; the slowest after ${span(finding.revocations.slowest_ms)}`);
  figure("Equal again", finding.converged_ms === null ? "never" : span(finding.converged_ms), "after the last fault; promised: 10 s", finding.converged_ms === null || finding.converged_ms > 10_000);
  figure("Faults", count(faults.length), `in ${when(run.end, 0)} of simulated time on ${many(run.nodes.length, "node")}`);

  const themes = ["auto", "light", "dark"];
  const theme = el("button", { class: "plain", type: "button", "aria-label": "Colours: as the system has them", onclick() {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    theme.textContent = `Colours: ${next}`;
    theme.setAttribute("aria-label", `Colours: ${next}`);
  } }, "Colours: auto");
  const copy = el("button", { class: "plain", type: "button", async onclick() {
    try {
      await navigator.clipboard.writeText(run.replay);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1600);
  } }, "Copy");
  const command = el("code", { tabindex: "0" }, run.replay);
  document.getElementById("top").append(
    el("div", { class: "brand" }, el("span", {}, "Meridian · simulation report"), theme),
    el("div", { class: "title" },
      el("h1", {}, finding.scenario, el("span", { class: "seed" }, ` · seed ${finding.seed}`)),
      el("span", { class: `verdict ${verdict}` }, mark(verdict, says))),
    el("p", { class: "says" }, run.says),
    el("div", { class: "replay card" }, el("span", { class: "label" }, "Play it again"), command, copy),
    el("dl", { class: "cards" }, figures));
}

/** Times in a sentence become buttons that go there. Breaches name theirs as "at 12.345s". */
function withJumps(text) {
  const parts = [];
  let last = 0;
  for (const found of text.matchAll(/\b(at|of|by) (\d+(?:\.\d+)?)(ms|s)\b/g)) {
    const at = Number(found[2]) * (found[3] === "s" ? 1000 : 1);
    if (at > run.end || (found[1] !== "at" && found[3] !== "s")) continue;
    const begins = found.index + found[1].length + 1;
    parts.push(text.slice(last, begins), el("button", { type: "button", class: "jump", onclick: () => timeline.jump(at, true) }, found[2] + found[3]));
    last = begins + found[2].length + found[3].length;
  }
  return [...parts, text.slice(last)];
}

function renderPromises() {
  const order = { broke: 0, held: 1, untried: 2 };
  const sorted = [...finding.invariants].sort((a, b) => order[a.verdict] - order[b.verdict]);
  const words = { broke: "Broke", held: "Held", untried: "Not tried" };
  const rows = sorted.map((one) => {
    const told = finding.violations.filter((violation) => violation.invariant === one.name);
    const breaches = told.length > 0 && el("details", { class: "breaches", open: told.length <= 6 || one.verdict === "broke" },
      el("summary", {}, `${many(one.breaches, "breach", "breaches")}${told.length < one.breaches ? `, of which the first ${told.length}` : ""}`),
      el("ul", {}, told.map((violation) => el("li", {}, violation.at_ms !== null && [el("button", { type: "button", class: "jump", onclick: () => timeline.jump(violation.at_ms, true) }, when(violation.at_ms, 3)), " "], withJumps(violation.says)))));
    return el("div", { class: `promise ${one.verdict}`, role: "row" },
      el("div", { role: "cell" }, mark(one.verdict, words[one.verdict])),
      el("div", { class: "name", role: "rowheader" }, one.name),
      el("div", { class: "what", role: "cell" }, one.promises),
      el("div", { class: "measured", role: "cell" }, one.measured ?? el("span", { class: "soft" }, "This run did not put it to the test.")),
      breaches);
  });
  document.getElementById("promises").append(
    el("h2", { id: "promises-title" }, "What was promised, what was measured"),
    el("p", { class: "lead" }, "An oracle outside the cluster saw what clients, upstreams and the operator saw, and judged each promise by it. Times in a breach go to that moment."),
    el("div", { class: "promises card", role: "table", "aria-labelledby": "promises-title" },
      el("div", { class: "promise head", role: "row" }, ["Verdict", "Promise", "In words", "Measured"].map((name) => el("div", { role: "columnheader" }, name))),
      rows));
}

function table(caption, small, heads, rows, wide) {
  const head = heads.map((name) => el("th", { scope: "col", class: name.startsWith("#") ? "num" : "" }, name.replace("#", "")));
  const cells = (row) => row.map((value, index) => {
    const attributes = { class: [heads[index].startsWith("#") ? "num" : "", value?.late ? "late" : ""].join(" ").trim() };
    return index === 0 ? el("th", { scope: "row", ...attributes }, value) : el("td", attributes, value?.late ?? value);
  });
  return el("div", { class: `table card${wide ? " wide" : ""}`, tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption, el("small", {}, small)), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows.map((row) => el("tr", {}, cells(row))))));
}

function gapsTable() {
  const kinds = [...new Set(run.flows.map((flow) => flow.kind))];
  const rows = faults.flatMap((fault, index) => run.regions.map((name, region) => {
    const cells = kinds.map((kind) => {
      const gap = run.gaps.find((one) => one.fault === index && run.flows[one.flow].region === region && run.flows[one.flow].kind === kind);
      if (!gap) return "–";
      const took = gap.to - gap.from;
      return took >= run.budget ? { late: span(took) } : span(took);
    });
    return [region === 0 ? `${when(fault.from)}  ${fault.what}` : "", name, ...cells];
  }));
  return table("Failover gaps", "The longest time without a success around each fault, for the clients of each region and each kind of request. “–”: no healthy region could serve it.", ["Fault", "Clients of", ...kinds.map((kind) => `#${kind}`)], rows, true);
}

/** How soon others noticed that a node was gone, and that it was back. */
function noticed() {
  const rows = [];
  run.tracks.forEach((track, node) => {
    eachStep(track.on, 0, run.end, (from, to, step) => {
      if (step[1] !== 0 || from === 0) return;
      const first = track.seen.find((seen) => seen[0] >= from && seen[0] <= to && seen[3] > 0);
      const all = track.seen.find((seen) => seen[0] >= from && seen[0] <= to && seen[3] > 0 && seen[1] + seen[2] === 0);
      const back = track.seen.find((seen) => seen[0] >= to && seen[1] > 0 && seen[2] + seen[3] + seen[4] === 0);
      rows.push({ at: from, cells: [nodeName(node), when(from), span(to - from), first ? span(first[0] - from) : "–", all ? span(all[0] - from) : "–", back && to < run.end ? span(back[0] - to) : "–"] });
    });
  });
  return rows.sort((a, b) => a.at - b.at).map((one) => one.cells);
}

function renderFigures() {
  const tables = [];
  if (run.gaps.length) tables.push(gapsTable());
  if (finding.requests.sent) {
    const row = (name, one) => [name, count(one.requests.sent), share(one.requests.served, one.requests.sent), count(one.requests.refused), count(one.requests.failed), span(one.latency.p50_ms), span(one.latency.p99_ms), span(one.latency.max_ms)];
    tables.push(table("Requests by region of the clients", "From the first to the last of the run; what took a repeat at another node is one request.", ["Clients of", "#sent", "#served", "#refused", "#unanswered", "#half within", "#99 %", "#slowest"], [...finding.regions.map((one) => row(one.region, one)), row("all", finding)], true));
  }
  tables.push(table("Leaders", "From the first acknowledgement by a majority to the last.", ["Node", "#term", "#from", "#for"], run.reigns.slice(0, 60).map((reign) => [nodeName(reign.node), String(reign.term), when(reign.from), span(reign.to - reign.from)])));
  const rows = noticed();
  if (rows.length) tables.push(table("Nodes that went, and who noticed", "Taken for dead by the first and by all of the others, and up for all again after its return. Looked at every 50 ms.", ["Node", "#gone at", "#for", "#first noticed", "#all noticed", "#all see it back"], rows.slice(0, 80)));
  const bad = run.writes.filter((write) => write.outcome !== "acknowledged");
  if (bad.length) tables.push(table("Writes that were not acknowledged", "What is unknown may have happened: the promise is about those that were acknowledged.", ["Node", "#at", "Outcome", "Why"], bad.slice(0, 60).map((write) => [write.node, when(write.from), write.outcome, write.says])));
  if (finding.reads) {
    const row = (name, one) => [name, count(one.count), span(one.p50_ms), span(one.p99_ms), span(one.max_ms)];
    tables.push(table("Reads that must not be old", "Asked at every node all the time.", ["", "#reads", "#half within", "#99 %", "#slowest"], [row("links free", finding.reads.calm), row("links full", finding.reads.flooded)]));
  }
  const network = Object.entries(finding.network).map(([name, value]) => [name.replaceAll("_", " "), count(value)]);
  tables.push(table("Network", "What the simulated network did in all.", ["", "#count"], network));
  document.getElementById("figures").append(
    el("h2", { id: "figures-title" }, "In figures"),
    el("p", { class: "lead" }, "The timeline as tables."),
    el("div", { class: "tables" }, tables));
}

function renderAbout() {
  const left = run.left_out;
  const notes = [
    `Requests are counted in bins of ${span(run.requests.width_ms)}, by when they were sent; latencies are rounded up by at most a tenth.`,
    "The nodes were looked at every 50 ms; their verdicts and votes in the log are exact.",
    left.events > 0 && `${many(left.events, "event")} of the plainest kinds did not fit into the log; all events of a run: --trace.`,
    left.steps > 0 && `${many(left.steps, "short change")} of nodes' states did not fit and were merged with their neighbours.`,
    (left.writes > 0 || left.revocations > 0) && `${many(left.writes, "write")} and ${many(left.revocations, "revocation")} are counted but not drawn.`,
  ].filter(Boolean);
  const facts = el("dl", {});
  const fact = (name, ...value) => facts.append(el("dt", {}, name), el("dd", {}, ...value));
  for (const [name, value] of run.explained) fact(name, value);
  fact("simulated", `${when(run.end)} in ${count(finding.trace_lines)} events`);
  fact("trace", el("code", {}, finding.trace_hash), " (equal for equal runs)");
  document.getElementById("about").append(
    el("h2", { id: "about-title" }, "About this run"),
    el("p", { class: "lead" }, "Real nodes over a made-up network, made-up clocks and disks. All of it follows from the scenario and the seed."),
    el("div", { class: "facts card" }, facts, el("h3", {}, "How to read it"), el("ul", {}, notes.map((note) => el("li", {}, note)))));
}
