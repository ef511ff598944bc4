#!/usr/bin/env python3
"""Small durable writes of Meridian and etcd, three nodes each on this machine, measured in one run by one client.

    tests/bench/writes.py [--binary target/release/meridian] [--rounds 3] [--seconds 4] [--folder DIR]

Needs a release build and etcd (Debian: etcd-server). Both write every entry to disk with fsync on a majority before they
answer; `--folder` says on which disk (a RAM disk would flatter both). The client is the same for all: HTTP/1.1 over
kept connections, spread over the three nodes, one request under way on each. Written are

- `etcd put`: a key of 16 and a value of 64 random bytes, by etcd's own JSON gateway (`/v3/kv/put`);
- `meridian revoke`: a revocation of a random token id, answered when a quorum has agreed to keep it;
- `meridian document`: a small document as a new revision, checked, compared and compiled, answered after commit.

Contenders take turns, round after round; figures are medians over the rounds. Only ratios within one run mean anything.
"""

import argparse
import asyncio
import base64
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = """meridian: 1
regions: { eu-west: {}, us-east: {}, ap-south: {} }
routes: { open: { match: { path: /open }, respond: { status: 200 }, exempt: [auth, limits] } }
# %s
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Connection:
    """One kept connection to one node."""

    def __init__(self, port: int, headers: str):
        self.port, self.headers = port, headers

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        head = (f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                f"{self.headers}content-length: {len(body)}\r\n\r\n")
        self.writer.write(head.encode() + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = answer.split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        if fields.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await self.reader.readline(), 16):
                content += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        else:
            content = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(lines[0].split()[1]), content


class Etcd:
    """Three members with their defaults."""

    def __init__(self, folder: Path):
        peers = [free_port() for _ in range(3)]
        self.ports = [free_port() for _ in range(3)]
        cluster = ",".join(f"n{k}=http://127.0.0.1:{port}" for k, port in enumerate(peers))
        self.processes = [
            subprocess.Popen(["etcd", "--name", f"n{k}", "--data-dir", str(folder / f"etcd-{k}"),
                              "--listen-peer-urls", f"http://127.0.0.1:{peers[k]}",
                              "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[k]}",
                              "--listen-client-urls", f"http://127.0.0.1:{self.ports[k]}",
                              "--advertise-client-urls", f"http://127.0.0.1:{self.ports[k]}",
                              "--initial-cluster", cluster, "--logger", "zap", "--log-level", "error"],
                             stdout=subprocess.DEVNULL, stderr=(folder / f"etcd-{k}.log").open("wb"))
            for k in range(3)]
        self.headers = ""

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


class Meridian:
    """A dev cluster: one node a region, each a process with a disk of its own."""

    def __init__(self, folder: Path, binary: Path):
        self.folder = folder / "dev"
        self.process = subprocess.Popen([binary, "dev", "--dir", self.folder, "--ports", "auto"],
                                        stdout=subprocess.DEVNULL, stderr=(folder / "dev.log").open("wb"))
        ready = self.folder / "dev.json"
        for _ in range(600):
            if ready.exists() and (self.folder / "admin.token").exists():
                nodes = json.loads(ready.read_text()).get("nodes", [])
                if len(nodes) == 3 and all(node.get("pid") for node in nodes):
                    break
            time.sleep(0.1)
        else:
            sys.exit(f"meridian dev does not come up; see {folder / 'dev.log'}")
        self.ports = [int(node["admin"].rsplit(":", 1)[1]) for node in nodes]
        token = (self.folder / "admin.token").read_text().strip()
        self.headers = f"authorization: Bearer {token}\r\nif-match: *\r\n"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def put() -> tuple[str, str, bytes]:
    key, value = (base64.b64encode(secrets.token_bytes(size)).decode() for size in (16, 64))
    return "POST", "/v3/kv/put", json.dumps({"key": key, "value": value}).encode()


def revoke() -> tuple[str, str, bytes]:
    return "POST", "/api/v1/revocations", json.dumps({"token_id": secrets.token_hex(16), "wait": "quorum"}).encode()


def document() -> tuple[str, str, bytes]:
    file = {"name": "gateway.yaml", "text": DOCUMENT % secrets.token_hex(16)}
    return "PUT", "/api/v1/config", json.dumps({"files": [file], "message": ""}).encode()


async def load(cluster, make, connections: int, seconds: float) -> tuple[float, list[float], int]:
    """Writes a second, the time of each in ms, and how many were refused."""
    lines = [Connection(cluster.ports[k % 3], cluster.headers) for k in range(connections)]
    for line in lines:
        await line.open()
    times, refused = [], 0
    end = time.perf_counter() + seconds

    async def work(line: Connection) -> None:
        nonlocal refused
        while (began := time.perf_counter()) < end:
            status, content = await line.send(*make())
            if status == 200:
                times.append((time.perf_counter() - began) * 1e3)
            else:
                refused += 1
                if refused == 1:
                    print(f"  {status}: {content[:300]!r}", file=sys.stderr)

    began = time.perf_counter()
    await asyncio.gather(*(work(line) for line in lines))
    spent = time.perf_counter() - began
    for line in lines:
        line.writer.close()
    return len(times) / spent, sorted(times), refused


async def ready(cluster, make) -> None:
    for _ in range(300):
        try:
            line = Connection(cluster.ports[0], cluster.headers)
            await line.open()
            status, _ = await line.send(*make())
            line.writer.close()
            if status == 200:
                return
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        await asyncio.sleep(0.1)
    sys.exit(f"{type(cluster).__name__} takes no writes")


async def measure(arguments, folder: Path) -> None:
    etcd, meridian = Etcd(folder), Meridian(folder, arguments.binary.resolve())
    contenders = [("etcd put", etcd, put), ("meridian revoke", meridian, revoke),
                  ("meridian document", meridian, document)]
    try:
        for _, cluster, make in contenders:
            await ready(cluster, make)
        print(f"{'writes':<20}{'connections':>12}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'refused':>9}")
        for connections in arguments.connections:
            results = {name: [] for name, _, _ in contenders}
            for _ in range(arguments.rounds):
                for name, cluster, make in contenders:
                    results[name].append(await load(cluster, make, connections, arguments.seconds))
                    await asyncio.sleep(1)
            for name, rounds in results.items():
                rate = statistics.median(rate for rate, _, _ in rounds)
                middle = statistics.median(times[len(times) // 2] for _, times, _ in rounds)
                late = statistics.median(times[len(times) * 99 // 100] for _, times, _ in rounds)
                refused = sum(refused for _, _, refused in rounds)
                print(f"{name:<20}{connections:>12}{rate:>10.0f}{middle:>9.2f}{late:>9.2f}{refused:>9}", flush=True)
    finally:
        etcd.stop()
        meridian.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/meridian")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--folder", type=Path, help="where the data lies [default: a new folder in $TMPDIR]")
    parser.add_argument("--keep", action="store_true", help="leave data and logs")
    arguments = parser.parse_args()
    for needed in ("etcd", str(arguments.binary)):
        if not shutil.which(needed):
            sys.exit(f"there is no {needed}; see --help")
    folder = Path(tempfile.mkdtemp(prefix="writes-", dir=arguments.folder))
    os.chmod(folder, 0o700)
    try:
        asyncio.run(measure(arguments, folder))
    finally:
        if arguments.keep:
            print(f"data and logs: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
