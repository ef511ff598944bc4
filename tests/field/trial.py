#!/usr/bin/env python3
"""A field trial: nine real nodes in three regions 40/75/110 ms apart (one way), and everything that can go wrong.

    sudo tests/field/trial.py [--binary target/release/meridian] [--rate 25] [--json FILE] [--only NAME,…] [--keep]
                              [--writers 1] [--write-pause 0.3]

Every node is a process in a network namespace of its own; see `wan.py`. While clients ask at the edges of all
regions, writers change the document and readers read it through all nodes, the trial bootstraps the cluster, kills the
leader, cuts links both ways and one way, cuts off and loses the leader's region, takes the quorum away, and gives it
all back; and it drains the leader, and restarts every node in an orderly way, one after another. It prints what was
measured. It exits 1 when an acknowledged write was lost, the history has no linear order, or a target was missed: a
new leader in 3 s, requests routed around in 1 s, a revoked token heeded by all nodes in reach in 500 ms, and where
something is planned no write and no request fails.

Needs root, Linux, iproute2, Python 3.11. Where that is missing it says so and exits 77.
"""

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import history
import wan
from clients import Crew, Turn
from cluster import Site, now

ROOT = Path(__file__).resolve().parents[2]
REGIONS = ["eu-west", "us-east", "ap-south"]
ONE_WAY_MS = {frozenset(("eu-west", "us-east")): 40, frozenset(("eu-west", "ap-south")): 75,
              frozenset(("us-east", "ap-south")): 110}
ELECTED, ROUTED, HEEDED = 3.0, 1.0, 500.0


@dataclass
class Phase:
    """One fault and what followed it, until the next."""
    name: str
    began: float
    down: set = field(default_factory=set)      # nodes that are dead or cut off from the rest
    lost: set = field(default_factory=set)      # regions whose every node is
    elects: bool = False                        # the leader was lost: another must follow
    quorum: bool = True                         # a majority of voters is together
    watched: bool = True                        # the targets hold for it
    planned: bool = False                       # nothing breaks: no write and no request may fail
    ended: float = 0.0
    notes: dict = field(default_factory=dict)
    heeded: float | None = 0.0                  # the longest that a revocation took, in ms; none: not all had a receipt


class Trial:
    def __init__(self, site: Site, crew: Crew):
        self.site, self.crew, self.phases = site, crew, []

    def begin(self, name: str, **what) -> Phase:
        self.end()
        phase = Phase(name, now(), **what)
        self.phases.append(phase)
        print(f"  {name} …", file=sys.stderr, flush=True)
        return phase

    def end(self) -> None:
        if self.phases and not self.phases[-1].ended:
            self.phases[-1].ended = now()

    def sight(self, node: str) -> dict:
        sights = self.crew.sights[node]
        return sights[-1][1] if sights and now() - sights[-1][0] < 2 else {}

    def until(self, what: str, condition, seconds: float = 60.0) -> float:
        """Waits until the condition holds; how long that took."""
        began = now()
        while not condition():
            if now() - began > seconds:
                raise RuntimeError(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.02)
        return now() - began

    def whole(self, since: float = 0.0) -> bool:
        """Everybody has seen everybody since then, one leader, and serves one revision but for those just written."""
        if any(not self.crew.sights[node] or self.crew.sights[node][-1][0] < since for node in self.site.nodes):
            return False
        sights = [self.sight(node) for node in self.site.nodes]
        return (all(sights)
                and all(set(sight["nodes"].values()) == {"up"} and len(sight["nodes"]) == len(self.site.nodes)
                        and not sight["stopping"] for sight in sights)
                and len({sight["leader"] for sight in sights}) == 1 and sights[0]["leader"] is not None
                and min(sight["serving"] for sight in sights) > 0
                and max(sight["serving"] for sight in sights) - min(sight["serving"] for sight in sights) <= 6)

    def leader(self) -> str:
        self.until("a leader that all agree on", lambda: len(
            {sight["leader"] for node in self.site.nodes if (sight := self.sight(node))}) == 1)
        return next(sight["leader"] for node in self.site.nodes if (sight := self.sight(node)))

    def region(self, node: str) -> str:
        return self.site.nodes[node][0]

    def power_off(self, region: str) -> None:
        """Nothing is closed and nothing answers: first the links go, then the processes."""
        self.site.wan.isolate(region)
        for node in self.site.of(region):
            if node in self.site.processes:
                self.site.stop(node)

    def power_on(self, region: str) -> None:
        self.site.wan.heal(region)
        for node in self.site.of(region):
            self.site.start(node)

    def settle(self, name: str) -> None:
        phase = self.begin(name, watched=False)
        phase.notes["whole again after s"] = round(self.until("whole again", self.whole), 2)
        time.sleep(2)

    def revoke(self, phase: Phase, nodes: list[str], each: int) -> None:
        """Revokes tokens through these nodes in turn; when all that can be reached were known to heed them."""
        took, left, answered = [], Counter(), []

        def ask():
            for number in range(each):
                for node in nodes:
                    began = now()
                    status, receipt = Turn(self.site, node).ask(
                        "POST", "revocations", {"token_id": f"{phase.name} {number} {node}", "reason": "a trial"})
                    if status != 200:
                        raise RuntimeError(f"{node} does not revoke: {status} {receipt}")
                    answered.append((now() - began) * 1000)
                    took.append(max(one["after_ms"] for one in receipt["nodes"] if one["state"] == "applied"))
                    left.update(one["state"] for one in receipt["nodes"])
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        took.sort()
        phase.notes["revoked: heeded in reach after ms"] = f"{took[len(took) // 2]} half, {took[-1]} at most"
        phase.notes["revoked: answered after ms, at most"] = round(max(answered), 1)
        phase.notes["revoked: nodes"] = dict(sorted(left.items()))
        phase.heeded = took[-1] if len(took) == each * len(nodes) else None

    # What is planned.

    def drain(self) -> None:
        leader = self.leader()
        through = next(node for node in self.site.nodes if self.region(node) != self.region(leader))
        phase = self.begin(f"leader {leader} drained", planned=True)
        self.site.must("drain", leader, node=through)
        phase.notes["drain answered after s"] = round(now() - phase.began, 2)
        took = self.until("another leader", lambda: self.sight(through).get("leader") not in (None, leader))
        phase.notes["another leader seen after s"] = round(now() - phase.began, 2) if took else 0.0
        voters = self.until("its vote is another's", lambda: leader not in self.sight(through).get("voters", [leader]))
        phase.notes["its vote is another's after s"] = round(now() - phase.began, 2) if voters else 0.0
        time.sleep(3)
        phase.notes["hand-over by the leader's log"] = self.handed_over(leader)
        self.begin("drained leader put back", planned=True)
        self.site.must("undrain", leader, node=leader)
        time.sleep(3)
        self.settle("after the drain")

    def rolling(self) -> None:
        phase = self.begin("every node restarted in turn", planned=True)
        ends, backs, leads = [], [], []
        for node in self.site.nodes:
            if self.sight(node).get("leader") == node:
                leads.append(node)
            began = now()
            code = self.site.stop(node, signal.SIGTERM)
            if code:
                raise RuntimeError(f"{node} ended with {code}: {self.site.log(node)[-2000:]}")
            ends.append(now() - began)
            began = now()
            self.site.start(node)
            self.until(f"whole again after {node}", lambda: self.whole(began))
            backs.append(now() - began)
        phase.notes["to end s"] = f"{min(ends):.1f} to {max(ends):.1f}"
        phase.notes["to be back s"] = f"{min(backs):.1f} to {max(backs):.1f}"
        phase.notes["led when they were stopped"] = ", ".join(leads)
        phase.notes["hand-over by the leader's log"] = ", ".join(self.handed_over(node) for node in leads)
        self.settle("after the rolling restart")

    def handed_over(self, node: str) -> str:
        """How long the node that led says its last hand-over took, until it knew another leader."""
        found = re.findall(r"leadership handed over.*?took\S*?=\S*?([\d.]+[mµ]?s)", plain(self.site.log(node)))
        return found[-1] if found else "none"

    # The faults, in order.

    def leader_killed(self) -> None:
        leader = self.leader()
        self.begin("leader's process killed", down={leader}, elects=True)
        self.site.stop(leader)
        time.sleep(6)
        self.site.start(leader)
        self.settle("leader back")

    def link_cut(self) -> None:
        region = self.region(self.leader())
        other = next(one for one in REGIONS if one != region)
        self.begin(f"link {region}–{other} cut", watched=False)
        self.site.wan.cut(region, other)
        time.sleep(6)
        self.site.wan.heal()
        self.settle("link healed")

    def one_way(self) -> None:
        region = self.region(self.leader())
        other = next(one for one in REGIONS if one != region)
        self.begin(f"one-way cut {region}→{other}", watched=False)
        self.site.wan.cut(region, other, both=False)
        time.sleep(6)
        self.site.wan.heal()
        self.settle("one-way cut healed")

    def leader_isolated(self) -> None:
        region = self.region(self.leader())
        self.begin(f"leader's region {region} cut off", down=set(self.site.of(region)), lost={region}, elects=True)
        self.site.wan.isolate(region)
        time.sleep(8)
        self.site.wan.heal()
        self.settle("region joined again")

    def region_lost(self) -> None:
        region = self.region(self.leader())
        self.begin(f"leader's region {region} lost", down=set(self.site.of(region)), lost={region}, elects=True)
        self.power_off(region)
        time.sleep(8)
        self.power_on(region)
        self.settle("region back")

    def quorum_lost(self) -> None:
        last = "eu-west"
        gone = [region for region in REGIONS if region != last]
        phase = self.begin("quorum lost: one region left", down={n for r in gone for n in self.site.of(r)},
                           lost=set(gone), quorum=False)
        for region in gone:
            self.power_off(region)
        time.sleep(3)
        api = Turn(self.site, self.site.of(last)[0])
        answers = []

        def write():
            for _ in range(5):
                began = now()
                status, body = api.ask("PUT", "config", {"files": [{"name": "gateway.yaml",
                                       "text": self.site.document()}], "message": "none"}, if_match="*")
                answers.append((now() - began, status, body["type"].rsplit(":", 1)[-1]))
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        phase.notes["a write answers"] = sorted({f"{status} {name}" for _, status, name in answers})
        phase.notes["a write answers in ms at most"] = round(max(took for took, _, _ in answers) * 1000, 1)
        self.revoke(phase, self.site.of(last), 10)
        time.sleep(3)
        for region in gone:
            self.power_on(region)
        self.settle("quorum restored")

    # What the clients saw.

    def figures(self, phase: Phase) -> dict:
        living = [node for node in self.site.nodes if node not in phase.down]
        row = {"phase": phase.name, **phase.notes}

        def first(condition) -> dict:
            """For each living node the first moment after the fault at which it saw the condition."""
            found = {}
            for node in living:
                for moment, sight in self.crew.sights[node]:
                    if phase.began < moment < phase.ended and condition(sight):
                        found[node] = moment - phase.began
                        break
            return found

        if phase.lost:
            seen = first(lambda sight: all(sight["regions"].get(region) == "down" for region in phase.lost))
        elif phase.down:
            seen = first(lambda sight: all(sight["nodes"].get(node) == "down" for node in phase.down))
        else:
            seen = None
        if seen is not None:
            row["detected s"] = round(max(seen.values()), 2) if len(seen) == len(living) else "not by all"
        if phase.elects:
            elected = first(lambda sight: sight["quorum"] and sight["leader"] in living)
            row["elected s"] = round(min(elected.values()), 2) if elected else "never"
        # By its end: what was under way when a fault began is the fault's.
        writes = [one for one in self.crew.operations
                  if one.kind == "write" and phase.began <= one.ended < phase.ended]
        row["writes"] = dict(sorted(Counter(one.outcome for one in writes).items()))
        odd = Counter(f"{one.outcome}: {one.why}" for one in writes if one.outcome in ("unknown", "refused"))
        if odd and phase.quorum:
            row["writes that failed"] = dict(odd)
        done = sorted([one.ended for one in self.crew.operations if one.kind == "write" and one.outcome == "ok"
                       and phase.began <= one.ended < phase.ended])
        if phase.quorum:
            ticks = [phase.began, *done, phase.ended]
            row["longest without a write s"] = round(max(b - a for a, b in zip(ticks, ticks[1:])), 2)
            took = [one.ended - one.began for one in writes if one.outcome == "ok"]
            row["slowest write s"] = round(max(took), 2) if took else "none"
        gaps, failed = {}, Counter()
        for kind, asked in self.crew.requests.items():
            if kind.startswith("far") and len(phase.lost) == 2:
                continue
            good = sorted(ended for _, ended, status in asked
                          if status == 200 and phase.began <= ended < phase.ended)
            ticks = [phase.began, *good, phase.ended]
            gaps[kind] = max(b - a for a, b in zip(ticks, ticks[1:]))
            failed.update(str(status) for _, ended, status in asked
                          if status != 200 and phase.began <= ended < phase.ended)
        row["longest without a request s"] = round(max(gaps.values()), 2)
        row["where"] = max(gaps, key=gaps.get)
        row["requests failed"] = dict(sorted(failed.items()))
        return row


def missed(phase: Phase, row: dict) -> list[str]:
    """The targets that this phase missed."""
    found = []
    if phase.watched and phase.elects and not (isinstance(row["elected s"], float) and row["elected s"] < ELECTED):
        found.append(f"{phase.name}: a new leader after {row['elected s']} s; {ELECTED} is the target")
    if phase.heeded is None or phase.heeded >= HEEDED:
        found.append(f"{phase.name}: a revocation took {phase.heeded} ms; {HEEDED} is the target")
    if phase.watched and row["longest without a request s"] >= ROUTED:
        found.append(f"{phase.name}: {row['where']} went {row['longest without a request s']} s without an answer; "
                     f"{ROUTED} is the target")
    if phase.planned:
        failed = {outcome: count for outcome, count in row["writes"].items() if outcome in ("unknown", "refused")}
        if failed or row["requests failed"]:
            found.append(f"{phase.name}: writes failed: {failed}, requests failed: {row['requests failed']}; none may")
        if row["longest without a write s"] >= ELECTED:
            found.append(f"{phase.name}: no write for {row['longest without a write s']} s; {ELECTED} is the target")
    return found


def plain(text: str) -> str:
    """Without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def run(site: Site, crew: Crew, only: list[str]) -> tuple[list[dict], list[str]]:
    trial = Trial(site, crew)
    began = now()
    for node in site.nodes:
        site.start(node)
    document = site.folder / "gateway.yaml"
    document.write_text(site.document())
    while site.run("apply", "-f", str(document), "-m", "first", "--wait", "10s", node="eu-west-1").returncode:
        if now() - began > 60:
            raise RuntimeError("the cluster did not take its first document within a minute")
        time.sleep(0.1)
    first = now() - began
    crew.start()
    trial.begin("bootstrap", watched=False).notes = {"first document on all nodes after s": round(first, 2)}
    trial.until("whole", trial.whole)
    time.sleep(4)
    trial.revoke(trial.begin("nothing goes wrong", planned=True), list(site.nodes), 10)
    time.sleep(4)
    for fault in (trial.drain, trial.rolling, trial.leader_killed, trial.link_cut, trial.one_way,
                  trial.leader_isolated, trial.region_lost, trial.quorum_lost):
        if not only or fault.__name__ in only:
            fault()
    trial.end()
    crew.stop()
    for node in site.nodes:
        crew.note_history(Turn(site, node))
    rows = [trial.figures(phase) for phase in trial.phases]
    wrong = [line for phase, row in zip(trial.phases, rows) for line in missed(phase, row)]
    contradictions = history.check(sorted(crew.operations, key=lambda one: one.began), crew.ledger)
    wrong += crew.conflicting + contradictions
    acknowledged = [one for one in crew.operations if one.kind == "write" and one.outcome == "ok"]
    reads = [one for one in crew.operations if one.kind == "read"]
    missing = [one for one in acknowledged if crew.ledger.get(one.revision) != one.document]
    wrong += [f"acknowledged and not in the ledger: {one}" for one in missing]
    rows.append({"phase": "the whole history", "acknowledged writes": len(acknowledged), "of them lost": len(missing),
                 "reads": len(reads), "contradictions": len(contradictions) + len(crew.conflicting),
                 "packets between regions": site.wan.counts()})
    return rows, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/meridian")
    parser.add_argument("--rate", type=int, default=25, help="requests a second from near each region")
    parser.add_argument("--writers", type=int, default=1, help="writers near each region")
    parser.add_argument("--write-pause", type=float, default=0.3, help="seconds between two writes of one writer")
    parser.add_argument("--only", default="", help="faults by name: " + ", ".join(
        ["drain", "rolling", "leader_killed", "link_cut", "one_way", "leader_isolated", "region_lost", "quorum_lost"]))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the nodes' folders and logs")
    options = parser.parse_args()
    history.try_out()
    if why := wan.usable():
        print(f"not tested here: {why}")
        return 77
    folder = Path(tempfile.mkdtemp(prefix="meridian-field-"))
    site = Site(options.binary, folder, REGIONS, ONE_WAY_MS)
    crew = Crew(site, options.rate, options.writers, options.write_pause)
    try:
        rows, wrong = run(site, crew, [name for name in options.only.split(",") if name])
    finally:
        crew.ended.set()
        site.close()
        if options.keep:
            print(f"logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        print(row.pop("phase"))
        for name, value in row.items():
            print(f"    {name:32} {value}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "wrong": wrong}, indent=1))
    for line in wrong[:40]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} wrong" if wrong else "all targets held, nothing acknowledged was lost, one order fits all")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
