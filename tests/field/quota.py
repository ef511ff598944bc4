#!/usr/bin/env python3
"""One limit in three regions: nine real nodes 40/75/110 ms apart (one way), asked for more than two limits allow.

    sudo tests/field/quota.py [--binary target/release/meridian] [--svg FILE] [--json FILE] [--keep] [--redis]

Two tenants, known by their tokens, have a limit each, 200 a second and 1000 an hour; clients near each region ask its
nodes for more than that together. Meanwhile a region is cut off from the others, and another one is killed and started
again. It prints how many requests were admitted in the fullest window of each limit, why requests had no answer and
where, and draws what was admitted over time. Exits 1 when a limit was passed: when more requests were certainly admitted
within a window (they were sent after it had begun and answered before it was over) than it allows; or when requests had
no answer that were not sent to the killed region while it was dead. Takes three minutes, five with `--redis`.

With `--redis` the same clients then ask a Redis in one region instead, a script that counts a sliding window, as
gateways do that share limits through one: how long a decision takes in each region, what it costs, and what becomes of
decisions when a region is cut off from it, and when it dies.

Needs root, Linux, iproute2, curl, openssl, for `--redis` redis-server, Python 3.11. Where that is missing it says so and exits 77.
"""

import argparse
import asyncio
import itertools
import json
import os
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
ASKED = {"second": 120, "hour": 8}      # requests a second near each region
# The limit of an hour is used up before a region is lost with what it held of it.
CALM, CUT, HEALED, LOST, BACK = 20, 30, 30, 30, 40
ATTEMPT, PATIENCE, REDIS = 0.25, 3, 6379
STARTS = 8                              # a node lets clients in six seconds after its start at the latest


class Limited(Site):
    """The document has a tenant for each limit."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.issuer = Issuer(self.folder, *self.upstreams[REGIONS[0]])
        self.tokens = {name: self.issuer.token(name) for name in LIMITS}
        os.environ["SSL_CERT_FILE"] = str(self.issuer.authority)

    def document(self) -> str:
        where = "".join(f'      {region}: ["http://{address}:{UPSTREAM}"]\n'
                        for region, (_, address) in self.upstreams.items())
        text = "meridian: 1\nregions:\n" + "".join(f"  {region}: {{}}\n" for region in self.regions)
        text += self.issuer.document() + "plans:\n"
        text += "".join(f"  {name}: {{ limits: [{amount}/{name}] }}\n" for name, (amount, _) in LIMITS.items())
        text += "tenants:\n" + "".join(f"  {name}: {{ plan: {name} }}\n" for name in LIMITS)
        text += "services:\n  near:\n    endpoints:\n" + where
        text += "    health: { path: /, interval: 500ms, timeout: 400ms, healthy_after: 1, unhealthy_after: 2 }\n"
        return text + "routes:\n  near: { match: { path: / }, service: near }\n"


class Clients:
    """Asks near a region, over connections that are kept."""

    def __init__(self, site: Site, region: str, ended: threading.Event):
        self.site, self.region, self.ended = site, region, ended
        # When it was sent and answered, the status, and without one why.
        self.answers: dict[str, list[tuple[float, float, int, str]]] = {name: [] for name in LIMITS}
        self.idle: dict[str, deque] = {node: deque() for node in site.of(region)}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        wan.enter(self.site.clients[self.region])
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._steadily(name) for name in LIMITS))

    async def _steadily(self, name: str) -> None:
        running: set[asyncio.Task] = set()
        nodes, due = itertools.cycle(self.site.of(self.region)), now()
        while not self.ended.is_set():
            task = asyncio.create_task(self._one(name, next(nodes)))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / ASKED[name]
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


def play_redis(site: Site) -> dict:
    """The same load on one Redis in the first region."""
    namespace, site.redis = site.upstreams[REGIONS[0]]
    server = subprocess.Popen(["ip", "netns", "exec", namespace, "redis-server", "--port", str(REDIS), "--bind",
                               "0.0.0.0", "--protected-mode", "no", "--save", "", "--appendonly", "no"],
                              stdout=subprocess.DEVNULL)
    threading.Event().wait(1)
    ended, began = threading.Event(), now()
    clients = [RedisClients(site, region, ended) for region in REGIONS]

    def cpu() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    threading.Event().wait(CALM)
    calm = now()
    spent = cpu()
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
        took = sorted(done - sent for sent, done, status, _ in all_of if status and done < calm)
        decided += sum(done < calm for _, done, status, _ in all_of if status)
        cut = [status for sent, _, status, _ in all_of if calm + 0.5 < sent < healed - 4]
        after = [status for sent, _, status, _ in all_of if sent > dead]
        rows[one.region] = {"median ms": round(took[len(took) // 2] * 1000, 2),
                            "99 % ms": round(took[len(took) * 99 // 100] * 1000, 2),
                            "decided while ap-south is cut off": f"{100 * sum(map(bool, cut)) / max(1, len(cut)):.0f} %",
                            "decided after its death": f"{100 * sum(map(bool, after)) / max(1, len(after)):.0f} %"}
    rows["all"] = {"CPU a decision": f"{1e6 * spent / decided:.0f} us", "decisions a second": round(decided / (calm - began))}
    for name, (limit, window) in LIMITS.items():
        admitted = [(sent, done) for one in clients for sent, done, status, _ in one.answers[name] if status == 200]
        rows["all"][f"fullest {name}"] = f"{fullest(admitted, window)} of {limit}"
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
                     f'{limit} a {name}</text><polyline points="{line}" fill="none" stroke="#246" stroke-width="1.5"/>'
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


def play(site: Site) -> tuple[dict, dict, list[tuple[float, str]], float, float]:
    for node in site.nodes:
        site.start(node)
    first = f"{REGIONS[0]}-1"
    (site.folder / "gateway.yaml").write_text(site.document())
    wait_until("the first document", lambda: site.run("apply", "-f", str(site.folder / "gateway.yaml"), node=first).returncode == 0)

    def answered(node: str) -> bool:
        page = subprocess.run(["ip", "netns", "exec", site.nodes[node][1], "curl", "-sf", "-H",
                               f"authorization: Bearer {site.token}", f"http://127.0.0.1:{ADMIN}/metrics"],
                              capture_output=True, text=True).stdout
        return "meridian_quota_answered 1" in page

    wait_until("all nodes' shares of limits", lambda: all(answered(node) for node in site.nodes))
    ended, began = threading.Event(), now()
    clients = [Clients(site, region, ended) for region in REGIONS]
    marks = [(0.0, "")]

    def phase(says: str, seconds: float) -> None:
        marks.append((now() - began, says))
        print(f"  {says or 'calm'} …", file=sys.stderr, flush=True)
        threading.Event().wait(seconds)

    phase("", CALM)
    cut_off(site, "ap-south")
    phase("ap-south is cut off", CUT)
    site.wan.heal()
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
    answers = {name: [answer for one in clients for answer in one.answers[name]] for name in LIMITS}
    unanswered = {name: {} for name in LIMITS}
    for name in LIMITS:
        for one in clients:
            dead = one.region == "us-east"
            for sent, done, status, why in one.answers[name]:
                if not status:
                    expected = dead and done >= killed and sent < killed + LOST + STARTS
                    where = f"{one.region}, killed" if expected else f"{one.region}, alive"
                    unanswered[name].setdefault(where, Counter())[why] += 1
    return answers, unanswered, marks, began, now() - began


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
        answers, unanswered, marks, began, length = play(site)
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
        answered = Counter(status for _, _, status, _ in answers[name])
        figures[name] = {"limit": limit, "fullest window": most, "asked": len(answers[name]), "admitted": answered[200],
                         "refused": answered[429], "no answer": answered[0],
                         "other answers": {status: count for status, count in answered.items()
                                           if status not in (0, 200, 429)},
                         "admitted a second": round(len(admitted) / length, 1)}
        print(name, figures[name])
        for where, causes in sorted(unanswered[name].items()):
            print(" ", "no answer,", where, dict(causes))
            strange += 0 if where.endswith("killed") else sum(causes.values())
    figures["no answer"] = unanswered
    # Of requests that were answered while all was well: what a node takes for a decision is in them.
    for place, row in beside.items():
        print("redis", place, row)
    figures |= {"redis": beside} if beside else {}
    if options.svg:
        options.svg.write_text(draw(series, marks, length))
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "marks": marks}, indent=1))
    print("a limit was passed" if passed else "no limit was passed")
    if strange:
        print(f"{strange} requests had no answer that were sent to nodes that lived")
    return 1 if passed or strange else 0


if __name__ == "__main__":
    sys.exit(main())
