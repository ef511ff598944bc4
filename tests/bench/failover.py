#!/usr/bin/env python3
"""The longest gap in successes when the leader's region is killed, seen from outside.

    meridian dev --dir .meridian          # in another terminal
    tests/bench/failover.py [--dir .meridian] [--binary target/release/meridian] [--rate 200] [--seconds 12]

Two clients send requests to the demo API at a steady rate, each request on a connection of its own, none
waiting for another: one asks a node that lives on, one asks the dying region's node first and the next
address when a connection fails. A quarter into the run the leader's region is killed with `meridian dev
kill`, and at three quarters it is started again. A success is a 200; the gap is the longest time between
the ends of two successes. Exits 1 where a gap reaches a second.
"""

import argparse
import asyncio
import collections
import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 5.0


async def ask(address: str, token: str) -> int:
    """The status of one request, on a connection of its own."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"GET /v1/plants HTTP/1.1\r\nhost: {where.netloc}\r\nauthorization: Bearer {token}\r\n"
                     "connection: close\r\n\r\n".encode())
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1]) if answer else 0
    finally:
        writer.close()


async def ask_in_turn(addresses: list[str], token: str) -> int:
    """Tries the next address when a connection fails or breaks."""
    for address in addresses:
        try:
            status = await ask(address, token)
        except OSError:
            continue
        if status:
            return status
    return 0


async def client(addresses: list[str], token: str, rate: int, seconds: float, outcomes: list) -> None:
    began = time.monotonic()
    running = set()

    async def one() -> None:
        try:
            status = await asyncio.wait_for(ask_in_turn(addresses, token), PATIENCE)
        except asyncio.TimeoutError:
            status = -1
        outcomes.append((time.monotonic() - began, status))

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        task = asyncio.create_task(one())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


def longest_gap(outcomes: list) -> float:
    good = sorted(ended for ended, status in outcomes if status == 200)
    return max((later - earlier for earlier, later in zip(good, good[1:])), default=float("inf"))


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=Path, default=Path(".meridian"))
    options.add_argument("--binary", default="target/release/meridian")
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--seconds", type=float, default=12)
    chosen = options.parse_args()

    def meridian(*words: str) -> str:
        return subprocess.run([chosen.binary, *words], check=True, capture_output=True, text=True).stdout.strip()

    nodes = json.loads((chosen.dir / "dev.json").read_text())["nodes"]
    here = ["--dir", str(chosen.dir)]
    token = meridian("dev", "token", "--tenant", "initech", "--scope", "plants:read", *here)
    status = json.loads(meridian("status", "-o", "json", "--admin", nodes[0]["admin"], "--token-file",
                                 str(chosen.dir / "admin.token")))
    leader = status.get("leader") or status["group"]["leader"]
    dying = next(node for node in nodes if node["id"] == leader)
    living = [node["http"] for node in nodes if node["region"] != dying["region"]]
    clients = {
        "asks a node that lives on": living[:1],
        "asks the dying one, then the next": [dying["http"], *living],
    }
    seen: dict[str, list] = {name: [] for name in clients}

    async def break_and_mend() -> None:
        await asyncio.sleep(chosen.seconds / 4)
        await asyncio.to_thread(meridian, "dev", "kill", dying["region"], *here)
        await asyncio.sleep(chosen.seconds / 2)
        await asyncio.to_thread(meridian, "dev", "start", dying["region"], *here)

    await asyncio.gather(break_and_mend(), *(
        client(addresses, token, chosen.rate // len(clients), chosen.seconds, seen[name])
        for name, addresses in clients.items()))
    print(f"killed and started again: {dying['region']}, which held the leader {leader}")
    failed = False
    for name, outcomes in seen.items():
        statuses = collections.Counter(status for _, status in outcomes)
        gap = longest_gap(outcomes)
        failed |= gap >= 1.0
        print(f"  {name:34} longest gap {gap * 1000:6.0f} ms   statuses {dict(statuses)}")
    sys.exit(failed)


if __name__ == "__main__":
    asyncio.run(main())
