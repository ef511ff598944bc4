// The timeline: lanes under one axis, one cursor over all of them, zoom by dragging, wheel, keys and buttons.

const timeline = {
  cursor: null,
  pinned: false,
  rows: [],

  render() {
    this.chart = el("div", { class: "chart" });
    this.line = el("div", { class: "cursor", hidden: true });
    this.brush = el("div", { class: "brush", hidden: true });
    this.tip = el("div", { class: "tip", hidden: true });
    this.overlay = el("div", { class: "overlay" }, this.line, this.brush);
    this.nowTitle = el("span", {});
    this.nowFacts = el("dl", {});
    this.now = el("div", { class: "now card", "aria-live": "off" }, el("h3", {}, "At this moment", this.nowTitle), this.nowFacts);
    this.spanText = el("span", { class: "span" });
    this.plots = el("div", { class: "plots", tabindex: "0", role: "slider", "aria-label": "Moment of the run", "aria-valuemin": 0, "aria-valuemax": run.end / 1000, "aria-valuenow": 0, "aria-describedby": "timeline-keys" });
    this.chart.append(this.plots, this.overlay, this.tip);

    const button = (name, text, act) => el("button", { type: "button", class: "plain", "aria-label": name, title: name, onclick: act }, text);
    const choice = (name, options, change) => {
      const select = el("select", { onchange: () => change(select.value) }, options.map(([value, text]) => el("option", { value }, text)));
      return el("label", {}, name, select);
    };
    const kinds = [...new Set(run.flows.map((flow) => flow.kind))];
    const filters = finding.requests.sent > 0 ? [
      choice("Clients of", [[-1, "all regions"], ...run.regions.map((name, index) => [index, name])], (value) => this.refilter({ region: Number(value) })),
      choice("Requests", [["", "all kinds"], ...kinds.map((kind) => [kind, kind])], (kind) => this.refilter({ kind })),
    ] : [];
    const tools = el("div", { class: "tools" }, filters,
      el("span", { class: "zoom", role: "group", "aria-label": "Zoom" },
        button("Zoom in", "+", () => this.zoom(0.5)), button("Zoom out", "−", () => this.zoom(2)), button("Earlier", "←", () => this.pan(-0.5)), button("Later", "→", () => this.pan(0.5)), button("The whole run", "All", () => this.show(0, run.end))),
      this.spanText);
    document.getElementById("timeline").append(
      el("h2", { id: "timeline-title" }, "What happened"),
      el("p", { class: "lead", id: "timeline-keys" }, "Drag over the lanes to zoom, or turn the wheel with Ctrl held down; double-click for the whole run. Keys: ← → move the cursor, + − zoom, N and P go to the next and the previous fault, 0 shows the whole run."),
      el("div", { class: "bench" },
        el("div", { class: "card" }, tools, this.chart, legend()),
        el("aside", { class: "side", "aria-label": "The moment under the cursor, and the event log" }, this.now, log.render())));
    this.layOut();
    this.listen();
    new ResizeObserver(() => this.measure()).observe(this.chart);
  },

  /** Makes the rows anew: lanes come and go as regions are opened. */
  layOut() {
    this.lanes = [...lanesOfRun, ...lanesOfNodes()];
    this.axis = svg("svg", { height: 26, "aria-hidden": "true" });
    const axis = el("div", { class: "row axis" }, el("div", { class: "label" }, el("span", { class: "hint" }, "simulated time")), el("div", { class: "plot" }, this.axis));
    this.rows = this.lanes.map((lane) => {
      const drawing = svg("svg", { height: lane.height, role: "img" });
      const head = el("div", { class: "label" });
      const name = el("b", {}, lane.dot && el("span", { class: "dot", style: `background: var(--${lane.dot.slice(2)})`, "aria-hidden": "true" }), lane.title);
      head.append(name);
      if (lane.strips) head.append(el("span", { class: "strips", "aria-hidden": "true" }, lane.strips.map(([text, middle]) => el("i", { style: `top: ${middle}px` }, text))));
      if (lane.hint) head.append(el("span", { class: "hint" }, lane.hint));
      if (lane.kind === "group" && run.nodes.length > MOST_OPEN) {
        const open = openRegions.has(lane.region);
        name.append(" ", el("button", { type: "button", class: "plain", "aria-expanded": String(open), "aria-label": `${open ? "Hide" : "Show"} the nodes of ${lane.title}`, onclick: () => {
          if (!openRegions.delete(lane.region)) openRegions.add(lane.region);
          this.layOut();
          this.draw();
        } }, open ? "Hide" : "Show"));
      }
      const row = el("div", { class: `row ${lane.kind ?? ""}` }, head, el("div", { class: "plot" }, drawing));
      return { lane, drawing, row };
    });
    const defs = el("div", { class: "sr", "aria-hidden": "true" });
    defs.append(hatches());
    this.plots.replaceChildren(axis, ...this.rows.map((one) => one.row), defs);
    this.measure();
  },

  measure() {
    const width = this.axis.parentElement.clientWidth;
    if (width > 0 && width !== view.width) {
      view.width = width;
      this.draw();
    }
  },

  draw() {
    const { all, step } = ticks(view.from, view.to, view.width / 90);
    const digits = step >= 1000 ? 0 : step >= 100 ? 1 : 2;
    this.axis.replaceChildren(...all.flatMap((at) => {
      const left = x(at);
      const anchor = left < 20 ? "start" : left > view.width - 24 ? "end" : "middle";
      return [svg("path", { d: `M${Math.round(left) + 0.5} 20V26`, class: "gridline" }), svg("text", { x: left, y: 16, class: "tick", "text-anchor": anchor }, when(at, digits))];
    }));
    for (const { lane, drawing } of this.rows) {
      drawing.setAttribute("viewBox", `0 0 ${view.width} ${lane.height}`);
      drawing.setAttribute("aria-label", `${lane.title}: ${lane.describe()}`);
      drawing.replaceChildren(...lane.draw(lane.height).filter(Boolean));
    }
    this.spanText.textContent = `${when(view.from)} – ${when(view.to)} of ${when(run.end)}`;
    this.place();
    log.fill();
  },

  refilter(change) {
    Object.assign(columns.filter, change);
    columns.prepare();
    this.draw();
  },

  show(from, to) {
    const least = Math.max(run.requests.width_ms * 4, 100);
    const width = Math.min(Math.max(to - from, least), run.end);
    const middle = (from + to) / 2;
    const begin = Math.min(Math.max(middle - width / 2, 0), run.end - width);
    view.from = begin;
    view.to = begin + width;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  },
  zoom(by, around = this.cursor ?? (view.from + view.to) / 2) {
    this.show(around - (around - view.from) * by, around + (view.to - around) * by);
  },
  pan(by) {
    const way = Math.min(Math.max(by * (view.to - view.from), -view.from), run.end - view.to);
    this.show(view.from + way, view.to + way);
  },
  /** Goes to a moment: the cursor stands there, and it is in sight. */
  jump(time, scroll) {
    const width = view.to - view.from;
    if (width > 12_000) this.show(time - 4000, time + 8000);
    else if (time < view.from + width * 0.05 || time > view.to - width * 0.05) this.show(time - width / 3, time + (width * 2) / 3);
    this.moveTo(time, true);
    if (scroll) document.getElementById("timeline").scrollIntoView();
  },

  /** Puts the cursor somewhere, and says what there is. */
  moveTo(time, pin) {
    this.cursor = Math.min(Math.max(time, 0), run.end);
    this.pinned = pin;
    this.place();
    this.tellNow();
  },
  place() {
    const seen = this.cursor !== null && this.cursor >= view.from && this.cursor <= view.to;
    this.line.hidden = !seen;
    this.line.classList.toggle("pinned", this.pinned);
    if (seen) this.line.style.left = `${x(this.cursor)}px`;
  },
  tellNow() {
    const time = this.cursor;
    this.nowTitle.textContent = when(time, 3);
    const told = this.lanes.flatMap((lane) => {
      if (lane.kind === "node") {
        const news = lane.tell(time).filter(([name, , tone]) => tone && name !== "It follows");
        return news.map(([name, value, tone]) => [lane.title, `${name.toLowerCase()}: ${value}`, tone]);
      }
      if (lane.kind === "group") return lane.tell(time).filter(([, , tone]) => tone).map(([name, value, tone]) => [lane.title, `${name.toLowerCase()}: ${value}`, tone]);
      return lane.tell(time);
    });
    this.nowFacts.replaceChildren(...told.flatMap(([name, value, tone]) => [el("dt", {}, name), el("dd", { class: tone ? `${tone}-ink` : null }, value)]));
    this.plots.setAttribute("aria-valuenow", (time / 1000).toFixed(3));
    this.plots.setAttribute("aria-valuetext", `${when(time, 3)}. ${told.map(([name, value]) => `${name}: ${value}`).join(". ")}`);
    log.mark(time);
  },

  listen() {
    const { chart, plots } = this;
    const place = (event) => {
      const box = this.axis.getBoundingClientRect();
      return { at: Math.min(Math.max(event.clientX - box.left, 0), box.width), inside: event.clientX >= box.left - 1 };
    };
    let pressed = null;
    plots.addEventListener("pointermove", (event) => {
      const { at, inside } = place(event);
      if (pressed !== null) {
        const [left, right] = [Math.min(at, pressed), Math.max(at, pressed)];
        this.brush.hidden = right - left < 4;
        this.brush.style.left = `${left}px`;
        this.brush.style.width = `${right - left}px`;
      }
      if (!inside) return this.hideTip();
      if (!this.pinned || pressed !== null) this.moveTo(timeAt(at), false);
      this.showTip(event, timeAt(at));
    });
    plots.addEventListener("pointerdown", (event) => {
      const { at, inside } = place(event);
      if (event.button !== 0 || !inside || event.target.closest("button")) return;
      pressed = at;
      if (event.pointerType !== "touch") plots.setPointerCapture(event.pointerId);
    });
    const release = (event) => {
      if (pressed === null) return;
      const { at } = place(event);
      const [left, right] = [Math.min(at, pressed), Math.max(at, pressed)];
      pressed = null;
      this.brush.hidden = true;
      if (event.type === "pointercancel") return;
      if (right - left >= 4) {
        this.pinned = false;
        this.show(timeAt(left), timeAt(right));
      } else {
        this.moveTo(timeAt(at), !this.pinned);
      }
    };
    plots.addEventListener("pointerup", release);
    plots.addEventListener("pointercancel", release);
    chart.addEventListener("pointerleave", () => this.hideTip());
    plots.addEventListener("dblclick", () => this.show(0, run.end));
    plots.addEventListener("wheel", (event) => {
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(event.deltaY * 0.002), timeAt(place(event).at));
      else if (sideways) this.pan((event.shiftKey ? event.deltaY || event.deltaX : event.deltaX) / view.width);
      else return;
      event.preventDefault();
    }, { passive: false });
    plots.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button")) return;
      const step = ((view.to - view.from) / 200) * (event.shiftKey ? 10 : 1);
      const now = this.cursor ?? view.from;
      const starts = faults.map((fault) => fault.from);
      const go = (time) => time !== undefined && this.jump(time);
      const acts = {
        ArrowRight: () => this.follow(now + step), ArrowLeft: () => this.follow(now - step),
        PageDown: () => this.pan(0.9), PageUp: () => this.pan(-0.9),
        Home: () => this.follow(0), End: () => this.follow(run.end),
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
        0: () => this.show(0, run.end), Escape: () => { this.pinned = false; this.show(0, run.end); },
        n: () => go(starts.find((at) => at > now + 1)), p: () => go(starts.findLast((at) => at < now - 1)),
      };
      const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      act();
      event.preventDefault();
    });
  },
  /** Moves the cursor by key; the view comes along. */
  follow(time) {
    const at = Math.min(Math.max(time, 0), run.end);
    if (at < view.from) this.show(at, at + view.to - view.from);
    if (at > view.to) this.show(at - (view.to - view.from), at);
    this.moveTo(at, true);
  },

  showTip(event, time) {
    const row = this.rows.find((one) => one.row.contains(event.target));
    if (!row) return this.hideTip();
    const told = row.lane.tell(time);
    this.tip.replaceChildren(
      el("div", {}, el("b", {}, row.lane.title), " ", el("span", { class: "when" }, when(time, 3))),
      ...told.map(([name, value, tone]) => el("div", { class: tone ? `${tone}-ink` : null }, name === row.lane.title ? value : `${name}: ${value}`)));
    this.tip.hidden = false;
    const chart = this.chart.getBoundingClientRect();
    const left = event.clientX - chart.left;
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const beside = left + 16 + width > chart.width ? left - width - 14 : left + 16;
    this.tip.style.left = `${Math.max(4, beside)}px`;
    this.tip.style.top = `${Math.min(Math.max(event.clientY - chart.top + 14, 2), chart.height - height - 4)}px`;
  },
  hideTip() {
    this.tip.hidden = true;
  },
};

/** Patterns for what does not run and for what is not known. */
function hatches() {
  const pattern = (id, className, gap) => svg("pattern", { id, width: gap, height: gap, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { x1: 0, y1: 0, x2: 0, y2: gap, class: className }));
  return svg("svg", { width: 0, height: 0 }, svg("defs", {}, pattern("off", "hatch-off", 5), pattern("hatch", "hatch-line", 6), pattern("none", "hatch-line", 9)));
}

function legend() {
  const one = (style, text) => el("span", {}, el("i", { style, "aria-hidden": "true" }), text);
  const hatch = "background: repeating-linear-gradient(45deg, var(--bad-fill) 0 2px, transparent 2px 5px)";
  return el("div", { class: "legend" },
    one("background: var(--served)", "served"), one("background: var(--warn-fill)", "refused"), one("background: var(--bad-fill)", "not answered"),
    one("background: var(--line-half); height: 3px", "half within"), one("background: var(--line-most); height: 3px", "99 % within"),
    one("background: var(--good-fill); opacity: .6", "running, taken for up"), one("background: var(--warn-fill)", "suspected"), one("background: var(--bad-fill)", "taken for dead"), one(hatch, "not running"), one("background: var(--off)", "cut off"),
    el("span", {}, "A node's lane: what it answered; how the others see it; whether it runs in truth."));
}

columns.prepare();
renderTop();
renderPromises();
timeline.render();
renderFigures();
renderAbout();
timeline.moveTo(breaches[0]?.at ?? faults[0]?.from ?? 0, false);
// Said last: whoever looks from outside knows by it that nothing went wrong before.
document.documentElement.dataset.ready = "true";
