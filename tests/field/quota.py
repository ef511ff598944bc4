#!/usr/bin/env python3
"""One limit in three regions: nine real nodes 40/75/110 ms apart (one way), asked for more than two limits allow.

    sudo tests/field/quota.py [--binary target/release/meridian] [--svg FILE] [--json FILE] [--keep] [--redis]

Two tenants, known by their tokens, have a limit each, 200 a second and 1000 an hour; clients near each region ask its
nodes for more than that together. Meanwhile a region is cut off from the others, and another one is killed and started
again. It prints how many requests were admitted in the fullest window of each limit, why requests had no answer and
where, and draws what was admitted over time. Of the calm phase before the cut it prints how long answers took in each
region, what the limit of a second adds to that, and what a request costs the nodes. What it adds is told by a third
tenant, of the same plan and route but exempt: every seventh request of that flow is its, over the same connections, so
that nothing but the limit tells the two apart. Exits 1 when a limit was passed: when more requests were certainly
admitted within a window (they were sent after it had begun and answered before it was over) than it allows; when requests
had no answer that were not sent to the killed region while it was dead; or when nobody was exempt. Takes three minutes,
five with `--redis`.

With `--redis` the same clients then ask a Redis in one region instead, a script that counts a sliding window, as
gateways do that share limits through one: how long a decision takes in each region, what it costs, and what becomes of
decisions when a region is cut off from it, and when it dies. It prints that beside the nodes' figures. A node's answer is
a whole request, with HTTP, the token and the upstream; a gateway that asks a Redis has all of that besides its decision.

Needs root, Linux, iproute2, curl, openssl, for `--redis` redis-server, Python 3.11. Where that is missing it says so and exits 77.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from pathlib import Path

import wan
from cluster import ADMIN, HTTP, UPSTREAM, Site, now
from issuer import Issuer

ROOT = Path(__file__).resolve().parents[2]
REGIONS = ["eu-west", "us-east", "ap-south"]
ONE_WAY_MS = {frozenset(("eu-west", "us-east")): 40, frozenset(("eu-west", "ap-south")): 75,
              frozenset(("us-east", "ap-south")): 110}
LIMITS = {"second": (200, 1.0), "hour": (1000, 3600.0)}
EXEMPT = "exempt"                       # the tenant that no limit holds for
ASKED = {"second": 120, "hour": 8, EXEMPT: 20}      # requests a second near each region
FLOWS = [["second"] * 6 + [EXEMPT], ["hour"]]       # whom one request after the other is for; no multiple of the nodes
IDLE = 10                               # before anybody asks: nodes talk to each other and to upstreams then too
# The limit of an hour is used up before a region is lost with what it held of it.
CALM, CUT, HEALED, LOST, BACK = 20, 30, 30, 30, 40
ATTEMPT, PATIENCE, REDIS = 0.25, 3, 6379
STARTS = 8                              # a node lets clients in six seconds after its start at the latest


class Limited(Site):
    """The document has a tenant for each limit, and one that is exempt."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.issuer = Issuer(self.folder, *self.upstreams[REGIONS[0]])
        self.tokens = {name: self.issuer.token(name) for name in ASKED}
        os.environ["SSL_CERT_FILE"] = str(self.issuer.authority)

    def document(self) -> str:
        where = "".join(f'      {region}: ["http://{address}:{UPSTREAM}"]\n'
                        for region, (_, address) in self.upstreams.items())
        text = "meridian: 1\nregions:\n" + "".join(f"  {region}: {{}}\n" for region in self.regions)
        text += self.issuer.document() + "plans:\n"
        text += "".join(f"  {name}: {{ limits: [{amount}/{name}] }}\n" for name, (amount, _) in LIMITS.items())
        text += "tenants:\n" + "".join(f"  {name}: {{ plan: {name} }}\n" for name in LIMITS)
        text += f"  {EXEMPT}: {{ plan: second }}\n"
        text += "services:\n  near:\n    endpoints:\n" + where
        text += "    health: { path: /, interval: 500ms, timeout: 400ms, healthy_after: 1, unhealthy_after: 2 }\n"
        exempt = f"exempt: [{{ limits: {{ tenants: [{EXEMPT}] }} }}]"
        return text + f"routes:\n  near: {{ match: {{ path: / }}, service: near, {exempt} }}\n"

    def metrics(self, node: str) -> str:
        return subprocess.run(["ip", "netns", "exec", self.nodes[node][1], "curl", "-sf", "-H",
                               f"authorization: Bearer {self.token}", f"http://127.0.0.1:{ADMIN}/metrics"],
                              capture_output=True, text=True).stdout

    def cpu(self) -> float:
        """Seconds of processor time that all nodes' processes have taken."""
        return sum(cpu(process.pid) for process in self.processes.values())


class Clients:
    """Asks near a region, over connections that are kept."""

    flows = FLOWS

    def __init__(self, site: Site, region: str, ended: threading.Event):
        self.site, self.region, self.ended = site, region, ended
        # When it was sent and answered, the status, and without one why.
        self.answers: dict[str, list[tuple[float, float, int, str]]] = {name: [] for name in ASKED}
        self.idle: dict[str, deque] = {node: deque() for node in site.of(region)}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        wan.enter(self.site.clients[self.region])
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._steadily(flow) for flow in self.flows))

    async def _steadily(self, flow: list[str]) -> None:
        running: set[asyncio.Task] = set()
        nodes, names, due = itertools.cycle(self.site.of(self.region)), itertools.cycle(flow), now()
        pace = sum(ASKED[name] for name in set(flow))
        while not self.ended.is_set():
            task = asyncio.create_task(self._one(next(names), next(nodes)))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / pace
            await asyncio.sleep(max(0.0, due - now()))
        if running:
            await asyncio.wait(running, timeout=PATIENCE + 1)

    async def _one(self, name: str, node: str) -> None:
        began, status, wire, why = now(), 0, None, ""
        try:
            while self.idle[node] and (not wire or wire[0].at_eof()):
                wire = self.idle[node].pop()
            if not wire or wire[0].at_eof():
                connecting = asyncio.open_connection(self.site.nodes[node][2], HTTP)
                wire = await asyncio.wait_for(connecting, ATTEMPT)
            reader, writer = wire
            token = self.site.tokens[name]
            writer.write(f"GET / HTTP/1.1\r\nhost: field\r\nauthorization: Bearer {token}\r\n\r\n".encode())
            status = await asyncio.wait_for(self._answer(reader), PATIENCE)
            self.idle[node].append(wire)
        except asyncio.TimeoutError:
            why = f"no answer within {PATIENCE} s" if wire else f"no connection within {ATTEMPT} s"
        except ConnectionRefusedError:
            why = "connection refused"
        except (OSError, asyncio.IncompleteReadError):
            why = "connection broken" if wire else "no connection"
        except (ValueError, IndexError):
            why = "not HTTP"
        if why and wire:
            wire[1].close()
        self.answers[name].append((began, now(), status, why))

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> int:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.split("content-length:", 1)[1].split("\r\n", 1)[0]
        await reader.readexactly(int(length))
        return int(head.split(" ", 2)[1])


# A sliding window as a log in a sorted set, on the server's clock: exact, in one round trip.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - ARGV[2] * 1000000)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now, now .. ':' .. redis.call('INCR', KEYS[1] .. ':n'))
return 1
"""


class RedisClients(Clients):
    """Asks the one Redis from the region's own network, over connections that are kept."""

    flows = [[name] for name in LIMITS]

    def _run(self) -> None:
        wan.enter(self.site.nodes[f"{self.region}-1"][1])
        self.idle = {"redis": deque()}
        asyncio.run(self._all())

    async def _one(self, name: str, _: str) -> None:
        began, status, wire = now(), 0, None
        limit, window = LIMITS[name]
        try:
            if self.idle["redis"]:
                wire = self.idle["redis"].pop()
            else:
                connecting = asyncio.open_connection(self.site.redis, REDIS)
                wire = await asyncio.wait_for(connecting, 3)
            reader, writer = wire
            words = ["EVAL", SCRIPT, "1", name, str(limit), str(window)]
            writer.write(f"*{len(words)}\r\n".encode() + b"".join(
                f"${len(word)}\r\n{word}\r\n".encode() for word in words))
            answer = await asyncio.wait_for(reader.readline(), 3)
            status = {b":1\r\n": 200, b":0\r\n": 429}.get(answer, 0)
            if status:
                self.idle["redis"].append(wire)
        except (OSError, asyncio.TimeoutError):
            pass
        if not status and wire:
            wire[1].close()
        self.answers[name].append((began, now(), status, "" if status else "no answer"))


def cut_off(site: Site, region: str) -> None:
    """Cuts a region off from the others; its own clients reach it still."""
    for other in REGIONS:
        if other != region:
            site.wan.cut(region, other)


def cpu(process: int) -> float:
    """Seconds of processor time that a process has taken, its own and the kernel's for it."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times(took: list[float]) -> dict:
    """How long answers took; nothing of none."""
    took = sorted(took)
    return {"median ms": round(took[len(took) // 2] * 1000, 2), "99 % ms": round(took[len(took) * 99 // 100] * 1000, 2),
            "answers": len(took)} if took else {}


def share(statuses: list[int]) -> str:
    """How many had an answer."""
    return f"{100 * sum(map(bool, statuses)) / len(statuses):.0f} %" if statuses else "none asked"


def added(limited: list[float], free: list[float]) -> dict:
    """By how much the median is later with a limit than without, and what of that may be chance (bootstrap)."""
    if not limited or not free:
        return {}
    chance = random.Random(1)

    def median(took: list[float]) -> float:
        return sorted(took)[len(took) // 2] * 1000

    drawn = sorted(median(chance.choices(limited, k=len(limited))) - median(chance.choices(free, k=len(free)))
                   for _ in range(500))
    return {"median ms": round(median(limited) - median(free), 3),
            "95 % within ms": [round(drawn[12], 3), round(drawn[487], 3)]}


def in_calm(clients: list[Clients], calm: float, healed: float, killed: float) -> dict:
    """What answers took in each region until the cut, and who had some when a region was cut off or killed.

    They are of whole requests: what a node takes for a decision is in them, 4 ms of way there and back, and what the
    clients' own threads take, which are one process with the upstreams. A 429 needs no upstream and shows the decision
    best.
    """
    rows = {}
    for one in clients:
        def took(name: str, wanted: int) -> list[float]:
            return [done - sent for sent, done, status, _ in one.answers[name] if status == wanted and done < calm]

        row = rows[one.region] = {}
        for name, (limit, _) in LIMITS.items():
            row[f"{limit}/{name}, admitted"] = times(took(name, 200))
            row[f"{limit}/{name}, refused"] = times(took(name, 429))
        row["exempt"] = times(took(EXEMPT, 200))
        row["the limit adds"] = added(took("second", 200), took(EXEMPT, 200))
        all_of = [answer for name in ASKED for answer in one.answers[name]]
        # Without those that a client may still have waited for when the phase was over.
        row["answered while ap-south is cut off"] = share(
            [status for sent, _, status, _ in all_of if calm + 0.5 < sent < healed - PATIENCE - 1])
        row["answered while us-east is dead"] = share(
            [status for sent, _, status, _ in all_of if killed + 0.5 < sent < killed + LOST - PATIENCE - 1])
    return rows


def play_redis(site: Site) -> dict:
    """The same load on one Redis in the first region."""
    namespace, site.redis = site.upstreams[REGIONS[0]]
    server = subprocess.Popen(["ip", "netns", "exec", namespace, "redis-server", "--port", str(REDIS), "--bind",
                               "0.0.0.0", "--protected-mode", "no", "--save", "", "--appendonly", "no"],
                              stdout=subprocess.DEVNULL)
    threading.Event().wait(1)
    ended, began, before = threading.Event(), now(), cpu(server.pid)
    clients = [RedisClients(site, region, ended) for region in REGIONS]
    threading.Event().wait(CALM)
    calm = now()
    spent = cpu(server.pid) - before
    cut_off(site, "ap-south")
    threading.Event().wait(CUT)
    site.wan.heal()
    healed = now()
    threading.Event().wait(5)
    server.kill()
    server.wait()
    dead = now()
    threading.Event().wait(5)
    ended.set()
    for one in clients:
        one.thread.join(10)
    rows = {}
    decided = 0
    for one in clients:
        all_of = [answer for name in LIMITS for answer in one.answers[name]]
        took = [done - sent for sent, done, status, _ in all_of if status and done < calm]
        decided += len(took)
        cut = [status for sent, _, status, _ in all_of if calm + 0.5 < sent < healed - PATIENCE - 1]
        after = [status for sent, _, status, _ in all_of if sent > dead]
        rows[one.region] = {**times(took), "decided while ap-south is cut off": share(cut),
                            "decided after its death": share(after)}
    rows["all"] = {"CPU us a decision": round(1e6 * spent / max(1, decided)),
                   "decisions a second": round(decided / (calm - began))}
    for name, (_, window) in LIMITS.items():
        admitted = [(sent, done) for one in clients for sent, done, status, _ in one.answers[name] if status == 200]
        rows["all"][f"fullest {name}"] = fullest(admitted, window)
    return rows


def fullest(admitted: list[tuple[float, float]], window: float) -> int:
    """The most requests that were certainly admitted within one window: sent after it began, answered in it."""
    most, inside = 0, deque()
    for began, ended in sorted(admitted, key=lambda one: one[1]):
        inside.append(began)
        # In the order of the answers, so that some that began early may stand behind one that began late.
        while inside and inside[0] <= ended - window:
            inside.popleft()
        most = max(most, sum(begin > ended - window for begin in inside) if window < 10 else len(inside))
    return most


def draw(series: dict[str, list[tuple[float, int]]], marks: list[tuple[float, str]], length: float) -> str:
    """Admitted in the window before, against the limit, over time."""
    width, height, left, top, gap = 900, 220, 60, 40, 70
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(series) * (height + gap) + top}" '
             'font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{len(series) * (height + gap) + top}" fill="white"/>']
    for number, (name, points) in enumerate(series.items()):
        limit, base = LIMITS[name][0], top + number * (height + gap)
        x = lambda at: left + at / length * (width - left - 20)
        y = lambda value: base + height - value / (limit * 1.2) * height
        for (at, says), (end, _) in zip(marks, [*marks[1:], (length, "")]):
            if says:
                parts.append(f'<rect x="{x(at):.1f}" y="{base}" width="{x(end) - x(at):.1f}" height="{height}" '
                             f'fill="#f3e3c8"/><text x="{x(at) + 4:.1f}" y="{base + 15}" fill="#775">{says}</text>')
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(limit):.1f}" y2="{y(limit):.1f}" stroke="#b00" '
                     f'stroke-dasharray="6 4"/><text x="{left + 4}" y="{y(limit) - 5:.1f}" fill="#b00">'
                     f'{limit} {"an" if name == "hour" else "a"} {name}</text>'
                     f'<polyline points="{line}" fill="none" stroke="#246" stroke-width="1.5"/>'
                     f'<line x1="{left}" x2="{left}" y1="{base}" y2="{base + height}" stroke="#333"/>'
                     f'<line x1="{left}" x2="{width - 20}" y1="{base + height}" y2="{base + height}" stroke="#333"/>'
                     f'<text x="{left}" y="{base - 8}">Admitted in all regions within the last {name}</text>')
        for value in (0, limit // 2, limit):
            parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
        for second in range(0, int(length) + 1, 10):
            parts.append(f'<text x="{x(second):.1f}" y="{base + height + 18}" text-anchor="middle">{second} s</text>')
    return "\n".join([*parts, "</svg>\n"])


def wait_until(what: str, condition, seconds: float = 60.0) -> None:
    end = now() + seconds
    while not condition():
        if now() > end:
            raise RuntimeError(f"waited in vain for {what}")
        threading.Event().wait(0.1)


def play(site: Limited) -> tuple[dict, dict, dict, list[tuple[float, str]], float, float]:
    for node in site.nodes:
        site.start(node)
    first = f"{REGIONS[0]}-1"
    (site.folder / "gateway.yaml").write_text(site.document())
    wait_until("the first document", lambda: site.run("apply", "-f", str(site.folder / "gateway.yaml"), node=first).returncode == 0)

    wait_until("all nodes' shares of limits",
               lambda: all("meridian_quota_answered 1" in site.metrics(node) for node in site.nodes))
    print("  idle …", file=sys.stderr, flush=True)
    began, before = now(), site.cpu()
    threading.Event().wait(IDLE)
    idle = (site.cpu() - before) / (now() - began)
    ended, began, before = threading.Event(), now(), site.cpu()
    clients = [Clients(site, region, ended) for region in REGIONS]
    marks = [(0.0, "")]

    def phase(says: str, seconds: float) -> None:
        marks.append((now() - began, says))
        print(f"  {says or 'calm'} …", file=sys.stderr, flush=True)
        threading.Event().wait(seconds)

    phase("", CALM)
    calm, spent = now(), site.cpu() - before
    cut_off(site, "ap-south")
    phase("ap-south is cut off", CUT)
    site.wan.heal()
    healed = now()
    phase("", HEALED)
    killed = now()
    for node in site.of("us-east"):
        site.stop(node)
    phase("us-east is killed", LOST)
    for node in site.of("us-east"):
        site.start(node)
    phase("", BACK)
    ended.set()
    for one in clients:
        one.thread.join(10)
    length = now() - began
    # Fewer than were asked: nodes that were killed count anew.
    exempt = sum(int(line.rsplit(" ", 1)[1]) for node in site.nodes for line in site.metrics(node).splitlines()
                 if line.startswith('meridian_quota_decisions_total{decision="exempt"}'))
    rows = in_calm(clients, calm, healed, killed)
    answers = {name: [answer for one in clients for answer in one.answers[name]] for name in ASKED}
    answered = max(1, sum(done < calm for name in ASKED for _, done, status, _ in answers[name] if status))
    more = spent - idle * (calm - began)
    rows["all"] = {"CPU us a whole request": round(1e6 * spent / answered),
                   "CPU us a whole request, without what idle nodes take": round(1e6 * more / answered),
                   "cores that idle nodes take": round(idle, 3), "answers a second": round(answered / (calm - began))}
    rows["counted as exempt"] = exempt
    unanswered = {name: {} for name in ASKED}
    for name in ASKED:
        for one in clients:
            dead = one.region == "us-east"
            for sent, done, status, why in one.answers[name]:
                if not status:
                    expected = dead and done >= killed and sent < killed + LOST + STARTS
                    where = f"{one.region}, killed" if expected else f"{one.region}, alive"
                    unanswered[name].setdefault(where, Counter())[why] += 1
    return answers, unanswered, rows, marks, began, length


def table(head: list, *rows: list) -> None:
    """Prints Markdown; what there is nothing of is a dash."""
    def line(cells: list) -> str:
        shown = (f"{cell:,}".replace(",", " ") if isinstance(cell, int) else str(cell) for cell in cells)
        return f"| {' | '.join(shown)} |"

    print("", line(head), line(["---"] * len(head)), *map(line, rows), sep="\n")


def tell(figures: dict) -> None:
    """The tables: limits, regions, processor time; beside Redis where it was asked."""
    calm, beside = figures["calm"], figures.get("redis")
    columns = ["asked", "admitted", "refused", "no answer"]
    table(["limit", *columns, "fullest window", *(["the same in Redis"] if beside else [])],
          *([f"{limit}/{name}", *(figures[name][column] for column in columns), figures[name]["fullest window"],
             *([beside["all"][f"fullest {name}"]] if beside else [])] for name, (limit, _) in LIMITS.items()),
          [EXEMPT, *(figures[EXEMPT][column] for column in columns), "–", *(["–"] if beside else [])])

    def took(row: dict) -> str:
        return f'{row["median ms"]}, {row["99 % ms"]}' if row else "–"

    def adds(row: dict) -> str:
        return f'{row["median ms"]} ({row["95 % within ms"][0]} to {row["95 % within ms"][1]})' if row else "–"

    flows = [f"{limit}/{name}, {what}" for name, (limit, _) in LIMITS.items() for what in ("admitted", "refused")]
    flows.append("exempt")
    lines = [[f"{flow}: median, 99 %, ms", *(took(calm[region][flow]) for region in REGIONS)]
             for flow in flows if any(calm[region][flow] for region in REGIONS)]
    lines.append(["the limit adds to the median, ms (95 % within)", *(adds(calm[region]["the limit adds"]) for region in REGIONS)])
    if beside:
        lines.append(["Redis, a decision: median, 99 %, ms",
                      *(took(beside[region] if "answers" in beside[region] else {}) for region in REGIONS)])
    for what in ("answered while ap-south is cut off", "answered while us-east is dead"):
        lines.append([what, *(calm[region][what] for region in REGIONS)])
    for what in ("decided while ap-south is cut off", "decided after its death") if beside else ():
        lines.append([f"Redis: {what}", *(beside[region][what] for region in REGIONS)])
    table(["", *REGIONS], *lines)
    costs = [[f"nodes: {what}", value] for what, value in calm["all"].items()]
    for what in ("CPU us a decision", "decisions a second") if beside else ():
        costs.append([f"Redis: {what}", beside["all"][what]])
    table(["processor time", ""], *costs)
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/meridian")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--redis", action="store_true", help="ask a Redis afterwards, for comparison")
    parser.add_argument("--keep", action="store_true", help="keep the nodes' folders and logs")
    options = parser.parse_args()
    if why := wan.usable():
        print(f"not tested here: {why}")
        return 77
    folder = Path(tempfile.mkdtemp(prefix="meridian-quota-"))
    site = Limited(options.binary, folder, REGIONS, ONE_WAY_MS)
    try:
        answers, unanswered, calm, marks, began, length = play(site)
        for node in list(site.processes):
            site.stop(node)
        beside = play_redis(site) if options.redis else {}
    finally:
        site.close()
        if options.keep:
            print(f"logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    series, figures, passed, strange = {}, {}, False, 0
    for name, (limit, window) in LIMITS.items():
        admitted = [(sent, done) for sent, done, status, _ in answers[name] if status == 200]
        times = sorted(done - began for _, done in admitted)
        inside, points = deque(), []
        for step in range(int(length * 4)):
            at = step / 4
            while times and times[0] <= at:
                inside.append(times.pop(0))
            while inside and inside[0] <= at - window:
                inside.popleft()
            points.append((at, len(inside)))
        series[name] = points
        most = fullest(admitted, window)
        passed |= most > limit
        figures[name] = {"limit": limit, "fullest window": most, "admitted a second": round(len(admitted) / length, 1)}
    for name in ASKED:
        answered = Counter(status for _, _, status, _ in answers[name])
        others = {status: count for status, count in answered.items() if status not in (0, 200, 429)}
        figures[name] = figures.get(name, {}) | {"asked": len(answers[name]), "admitted": answered[200],
                                                 "refused": answered[429], "no answer": answered[0],
                                                 "other answers": others}
    figures |= {"no answer": unanswered, "calm": calm} | ({"redis": beside} if beside else {})
    tell(figures)
    for name in ASKED:
        if others := figures[name]["other answers"]:
            print(name, "other answers", others)
        for where, causes in sorted(unanswered[name].items()):
            print(f"{name}: no answer, {where}", dict(causes))
            strange += 0 if where.endswith("killed") else sum(causes.values())
    if options.svg:
        options.svg.write_text(draw(series, marks, length))
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "marks": marks}, indent=1))
    print("a limit was passed" if passed else "no limit was passed")
    if charged := not calm["counted as exempt"]:
        print("the nodes count no request as exempt: what the limit adds says nothing")
    if strange:
        print(f"{strange} requests had no answer that were sent to nodes that lived")
    return 1 if passed or strange or charged else 0


if __name__ == "__main__":
    sys.exit(main())
