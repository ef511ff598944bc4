// The event log beside the timeline: filtered by topic, by words and by what the timeline shows; an entry goes to its
// moment.

const TOPICS = {
  run: "Run", fault: "Faults", leader: "Leaders", health: "Health", request: "Failed requests", write: "Writes", revocation: "Revocations",
  upstream: "Upstreams", document: "Documents", vote: "Votes", link: "Links", node: "Other",
};

const log = {
  shown: new Set(["run", "fault", "leader", "health", "request", "write", "revocation"]),
  words: "",
  follows: true,
  list: el("ol", { class: "list", tabindex: "0", "aria-label": "Events" }),
  status: el("span", { class: "soft", role: "status" }),
  render() {
    const counts = {};
    for (const event of run.events) counts[event.kind] = (counts[event.kind] ?? 0) + 1;
    const chips = Object.entries(TOPICS).filter(([topic]) => counts[topic]).map(([topic, name]) => {
      const chip = el("button", { type: "button", class: "chip", "aria-pressed": String(this.shown.has(topic)), onclick: () => {
        if (!this.shown.delete(topic)) this.shown.add(topic);
        chip.setAttribute("aria-pressed", String(this.shown.has(topic)));
        this.fill();
      } }, `${name} ${count(counts[topic])}`);
      return chip;
    });
    const search = el("input", { type: "search", placeholder: "Filter: a node, a word…", "aria-label": "Filter events by words", oninput: () => {
      this.words = search.value.trim().toLowerCase();
      this.fill();
    } });
    const follows = el("input", { type: "checkbox", checked: true, onchange: () => {
      this.follows = follows.checked;
      this.fill();
    } });
    this.list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const all = [...this.list.querySelectorAll("button")];
      const next = all[Math.max(0, all.indexOf(document.activeElement) + step)];
      next?.focus();
      event.preventDefault();
    });
    return el("div", { class: "log card" },
      el("div", { class: "tools" }, el("h3", {}, "Events"), el("label", {}, follows, "as zoomed"), search, el("div", { class: "chips", role: "group", "aria-label": "Topics" }, chips), this.status),
      this.list);
  },
  fill() {
    const fits = (event) => this.shown.has(event.kind)
      && (!this.follows || (event.at >= view.from && event.at <= view.to))
      && (!this.words || `${event.who} ${event.says}`.toLowerCase().includes(this.words));
    const events = run.events.filter(fits);
    const shown = events.slice(0, MOST_LISTED);
    this.status.textContent = `${count(events.length)} of ${count(run.events.length)}`;
    this.list.replaceChildren(...shown.map((event) => el("li", {}, el("button", { type: "button", "data-at": event.at, onclick: () => timeline.jump(event.at) },
      el("span", { class: "when" }, when(event.at)),
      el("span", { class: `knob k-${event.kind}`, "aria-hidden": "true" }),
      el("span", { class: "what" }, event.who && el("span", { class: "who" }, `${event.who} `), event.says, (event.times ?? 1) > 1 && el("span", { class: "times" }, ` ×${event.times}`))))));
    if (events.length > shown.length) this.list.append(el("li", { class: "more" }, `and ${count(events.length - shown.length)} more: zoom in, or filter`));
    if (events.length === 0) this.list.append(el("li", { class: "more" }, "Nothing here. Zoom out, or choose more topics."));
  },
  /** Marks the last event before a time, and brings it into sight. */
  mark(time) {
    let here = null;
    for (const button of this.list.querySelectorAll("button")) {
      button.classList.remove("here");
      if (Number(button.dataset.at) <= time) here = button;
    }
    if (!here) return;
    here.classList.add("here");
    const list = this.list;
    const top = here.offsetTop - list.offsetTop;
    if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 40) list.scrollTop = top - list.clientHeight / 2;
  },
};

const MOST_LISTED = 600;
