#!/usr/bin/env python3
"""One real node under more work than it can do: which limits give way, how far, and how soon they are whole again.

    tests/field/overload.py [--binary target/release/meridian] [--connections 400] [--json FILE]

The node runs on one core, which a few other programs want too for a while. Meanwhile it is asked for as much as it can
answer over hundreds of connections, on each of which many requests are sent at once: whatever is ready to run waits. Clients meanwhile ask for a little more than three limits of 200 a
second allow, of priority 0, 50 and 100. It prints how many of each were admitted in a second before, under and after the
flood, what the responses told, and when the last one told of the overload. Exits 1 when the order of priorities does not
show: the lowest must be shed first, to half or less of what it had, the middle one be shed and keep its half, the highest
hear nothing of it, `"overload"` stand in `RateLimit-Policy` under the flood and not before, and nothing be refused for it
from two seconds after the flood's end on.

Needs a release build, taskset, two cores with little else to do, Python 3.11. Where a program is missing it says so
and exits 77.
"""

import argparse
import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
PRIORITIES, LIMIT, ASKED = (0, 50, 100), 200, 240
CALM, FLOOD, AFTER, SETTLED = 6, 15, 8, 4
BUSY, PIPELINED = 3, 32


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, binary: Path, folder: Path):
        self.binary, self.folder = binary.resolve(), folder
        self.http, self.admin, self.fabric, self.bulk = (free_port() for _ in range(4))
        made = json.loads(self.run("admin", "token", "--name", "field", "--role", "admin", "-o", "json"))
        (folder / "admin.token").write_text(made["token"])
        self.token = made["token"]
        (folder / "admin-tokens.yaml").write_text(f"- {{ name: field, role: admin, hash: {made['entry']['hash']} }}\n")
        self.run("ca", "init", str(folder / "ca"), "--name", "field")
        self.run("ca", "issue", str(folder / "ca"), "--node", "here-1", "--region", "here")
        at = folder / "ca/here-1"
        (folder / "node.yaml").write_text(
            f"cluster: {{ name: field, bootstrap: [here-1] }}\nnode: {{ id: here-1, region: here, data_dir: data }}\n"
            f'listen: {{ http: "127.0.0.1:{self.http}", fabric: "127.0.0.1:{self.fabric}", bulk: "127.0.0.1:{self.bulk}", '
            f'admin: "127.0.0.1:{self.admin}" }}\n'
            f"fabric: {{ ca: {at}/ca.pem, cert: {at}/node.pem, key: {at}/node.key }}\n"
            f"admin: {{ tokens: admin-tokens.yaml }}\n")
        routes = "".join(
            f"  p{priority}: {{ match: {{ path: /p{priority} }}, respond: {{ status: 204 }}, exempt: [auth], per: client_ip, "
            f"limits: [{{ rate: {LIMIT}/second, priority: {priority} }}] }}\n" for priority in PRIORITIES)
        (folder / "gateway.yaml").write_text(
            "meridian: 1\nregions: { here: {} }\nroutes:\n" + routes +
            "  flood: { match: { path: /flood }, respond: { status: 200, json: { a: b } }, exempt: [auth, limits] }\n")
        log = (folder / "node.log").open("wb")
        self.process = subprocess.Popen(["taskset", "-c", "0", str(self.binary), "node", "--config",
                                         str(folder / "node.yaml")], stdout=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + 60
        while subprocess.run([*self.command("apply", "-f", str(folder / "gateway.yaml"), "--wait", "10s")],
                             capture_output=True).returncode:
            if time.monotonic() > end:
                raise RuntimeError(f"the document was not applied:\n{(folder / 'node.log').read_text()[-2000:]}")
            time.sleep(0.2)
        while "meridian_quota_answered 1" not in self.metrics():
            if time.monotonic() > end:
                raise RuntimeError("the ledger did not answer")
            time.sleep(0.2)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.binary), *arguments, "--admin", f"http://127.0.0.1:{self.admin}", "--token-file",
                str(self.folder / "admin.token")]

    def run(self, *arguments: str) -> str:
        return subprocess.run([str(self.binary), *arguments], check=True, capture_output=True, text=True).stdout

    def metrics(self) -> str:
        request = Request(f"http://127.0.0.1:{self.admin}/metrics", headers={"authorization": f"Bearer {self.token}"})
        try:
            return urlopen(request, timeout=10).read().decode()
        except OSError:
            return ""


class Clients:
    """Asks for each limit over connections that are kept, each request at its time whatever became of others."""

    def __init__(self, port: int):
        self.port, self.ended = port, False
        # When it was sent, the status, whether the response told of the overload.
        self.answers: dict[int, list[tuple[float, int, bool]]] = defaultdict(list)
        self.idle: dict[int, list] = defaultdict(list)

    async def steadily(self, priority: int) -> None:
        due, running = time.monotonic(), set()
        while not self.ended:
            task = asyncio.create_task(self.one(priority))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / ASKED
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if running:
            await asyncio.wait(running, timeout=10)

    async def one(self, priority: int) -> None:
        sent, status, told, wire = time.monotonic(), 0, False, None
        try:
            wire = self.idle[priority].pop() if self.idle[priority] else await asyncio.open_connection("127.0.0.1", self.port)
            wire[1].write(f"GET /p{priority} HTTP/1.1\r\nhost: field\r\n\r\n".encode())
            head = (await asyncio.wait_for(wire[0].readuntil(b"\r\n\r\n"), 10)).decode().lower()
            if length := re.search(r"content-length: (\d+)", head):
                await wire[0].readexactly(int(length[1]))
            status, told = int(head.split(" ", 2)[1]), '"overload"' in head
            self.idle[priority].append(wire)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            if wire:
                wire[1].close()
        self.answers[priority].append((sent, status, told))


async def play(node: Node, connections: int) -> tuple[Clients, dict[str, tuple[float, float]]]:
    clients = Clients(node.http)
    asking = [asyncio.create_task(clients.steadily(priority)) for priority in PRIORITIES]
    await asyncio.sleep(CALM)
    begun = time.monotonic()
    busy = [await asyncio.create_subprocess_exec("taskset", "-c", "0", sys.executable, "-c", "while True: pass")
            for _ in range(BUSY)]
    flood = await asyncio.create_subprocess_exec(
        "taskset", "-c", "1", sys.executable, __file__, "--flood", str(node.http), "--connections", str(connections),
        stdout=asyncio.subprocess.PIPE)
    said, _ = await flood.communicate()
    for one in busy:
        one.kill()
        await one.wait()
    over = time.monotonic()
    print(said.decode().strip())
    await asyncio.sleep(AFTER)
    clients.ended = True
    await asyncio.gather(*asking)
    spans = {"before": (begun - CALM + 2, begun), "under": (begun + SETTLED, begun + FLOOD),
             "after": (over + 2, over + AFTER)}
    return clients, spans


async def flood(port: int, connections: int) -> None:
    """Asks over so many connections at once, each again as soon as it is answered, and then goes."""
    end, count = time.monotonic() + FLOOD, 0

    async def one() -> None:
        nonlocal count
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            ask = b"GET /flood HTTP/1.1\r\nhost: field\r\n\r\n"
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))
            while True:
                writer.write(ask * PIPELINED)
                # All answers are as long as the first.
                await reader.readexactly((len(head) + len(body)) * PIPELINED)
                count += PIPELINED
        except (OSError, asyncio.IncompleteReadError):
            pass

    all_of = [asyncio.create_task(one()) for _ in range(connections)]
    await asyncio.sleep(end - time.monotonic())
    for task in all_of:
        task.cancel()
    print(f"the flood: {connections} connections, {count / FLOOD:.0f} answers a second")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/meridian")
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--flood", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.flood:
        asyncio.run(flood(options.flood, options.connections))
        return 0
    if not shutil.which("taskset"):
        print("not tested here: taskset is missing")
        return 77
    folder = Path(tempfile.mkdtemp(prefix="meridian-overload-"))
    node = None
    try:
        node = Node(options.binary, folder)
        clients, spans = asyncio.run(play(node, options.connections))
        decisions = dict(re.findall(r'meridian_quota_decisions_total\{decision="(\w+)"\} (\d+)', node.metrics()))
    finally:
        if node:
            node.process.kill()
            node.process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    figures: dict = {"decisions": decisions}
    for priority in PRIORITIES:
        row = figures[f"priority {priority}"] = {}
        for name, (start, end) in spans.items():
            inside = [(status, told) for sent, status, told in clients.answers[priority] if start <= sent < end]
            count = Counter(status for status, _ in inside)
            row[name] = {"admitted a second": round(count[204] / (end - start)), "refused": count[429],
                         "no answer": count[0], "told of overload": sum(told for _, told in inside)}
        print(f"priority {priority}", row)
    over = spans["after"][0] - 2
    last = max((sent for all_of in clients.answers.values() for sent, _, told in all_of if told), default=0.0)
    figures["last told after the end, s"] = round(last - over, 2)
    print("decisions", decisions, "; last told of overload", figures["last told after the end, s"], "s after the flood's end")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))

    def admitted(priority: int, span: str) -> float:
        return figures[f"priority {priority}"][span]["admitted a second"]

    told = lambda span: sum(figures[f"priority {priority}"][span]["told of overload"] for priority in PRIORITIES)
    wrong = [says for says, holds in {
        "the flood was no overload": told("under") > 0,
        "overload was told of without a flood": told("before") == 0,
        "the lowest priority was not shed": admitted(0, "under") <= admitted(0, "before") / 2,
        "the lowest priority was not shed first": admitted(0, "under") <= admitted(50, "under") * 0.75,
        "the middle priority lost its floor": admitted(50, "under") >= 0.45 * LIMIT,
        "the middle priority was not shed at all": admitted(50, "under") <= 0.9 * admitted(50, "before"),
        "the highest priority was shed": figures["priority 100"]["under"]["told of overload"] == 0,
        "it did not lift": told("after") == 0 and admitted(0, "after") >= 0.9 * admitted(0, "before"),
    }.items() if not holds]
    print("; ".join(wrong) or "as the priorities say")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
