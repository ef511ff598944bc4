"""Who uses the cluster during a trial: clients of the edge, writers and readers of the document, and watchers.

Each is a thread (or an event loop in one) inside the namespace it belongs to, and only appends to its own lists.
"""

import asyncio
import itertools
import random
import re
import threading
from collections import defaultdict

import wan
from history import Operation
from cluster import HTTP, Api, Site, now

ATTEMPT = 0.25   # RFC 8305 section 8: how long a client tries one address before the next


class Crew:
    """All clients of a trial; `stop` ends them."""

    def __init__(self, site: Site, rate: int, writers: int, write_pause: float):
        self.site, self.rate, self.writers, self.write_pause = site, rate, writers, write_pause
        self.ended = threading.Event()
        self.operations: list[Operation] = []
        self.ledger: dict[int, str] = {}
        self.conflicting: list[str] = []
        self.requests: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        self.sights: dict[str, list[tuple[float, dict]]] = defaultdict(list)
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        for node in self.site.nodes:
            self._spawn(self._watch, node)
            self._spawn(self._read, node)
        for region in self.site.regions:
            for number in range(self.writers):
                self._spawn(self._write, region, number)
            self._spawn(self._ask, region)
        self._spawn(self._keep_ledger)

    def _spawn(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    def stop(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(20)

    def _watch(self, node: str) -> None:
        api = Api(self.site, node)
        while not self.ended.wait(0.05):
            try:
                status, body = api.ask("GET", "status", timeout=2.0)
            except OSError:
                continue
            if status == 200:
                self.sights[node].append((now(), {
                    "leader": body["group"]["leader"], "quorum": body["group"]["quorum"],
                    "term": body["group"]["term"], "voters": body["group"]["voters"],
                    "serving": (body["serving"] or {}).get("revision", 0),
                    "regions": {one["name"]: one["state"] for one in body["regions"]},
                    "nodes": {one["id"]: one["state"] for one in body["nodes"]},
                    "stopping": [one["id"] for one in body["nodes"] if one["draining"] and not one["drained_by"]]}))

    def _read(self, node: str) -> None:
        api = Api(self.site, node)
        while not self.ended.wait(0.1):
            began = now()
            try:
                status, body = api.ask("GET", "config?consistent=true")
            except OSError:
                continue
            if status == 200:
                self.operations.append(Operation("read", began, now(), "ok", body["revision"], body["message"],
                                                 through=node))

    def _write(self, region: str, number: int) -> None:
        nodes = self.site.of(region)
        apis = {node: Turn(self.site, node) for node in nodes}
        seen, luck, text = 0, random.Random(f"{region}/{number}"), self.site.document()
        for count, node in enumerate(itertools.cycle(nodes)):
            if self.ended.wait(self.write_pause):
                break
            mark = f"{region}/{number}/{count}"
            expected = seen if luck.random() < 0.5 else None
            body = {"files": [{"name": "gateway.yaml", "text": f"{text}# {mark}\n"}], "message": mark}
            began = now()
            try:
                status, answer = apis[node].ask("PUT", "config", body,
                                                if_match="*" if expected is None else f'"{expected}"')
            except ConnectionRefusedError:
                continue
            except OSError as error:
                status, answer = 0, {"type": repr(error)}
            outcome, revision = verdict(status, answer)
            if outcome in ("ok", "conflict"):
                seen = revision
            why = "" if outcome == "ok" else f"{status} {answer.get('type', '')} {answer.get('detail', '')}"
            self.operations.append(Operation("write", began, now(), outcome, revision, mark, expected, node, why))

    def _ask(self, region: str) -> None:
        wan.enter(self.site.clients[region])
        others = [other for other in self.site.regions if other != region]
        addresses = [self.site.nodes[node][2] for near in [region, *others] for node in self.site.of(near)]
        asyncio.run(self._ask_steadily(region, addresses))

    async def _ask_steadily(self, region: str, addresses: list[str]) -> None:
        running: set[asyncio.Task] = set()
        for count in itertools.count():
            if self.ended.is_set():
                break
            path = ("near", f"far-{region}")[count % 2]
            task = asyncio.create_task(self._one(f"{path.split('-')[0]} {region}", f"/{path}", addresses))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(1 / self.rate)
        await asyncio.wait(running, timeout=6) if running else None

    async def _one(self, kind: str, path: str, addresses: list[str]) -> None:
        began, status = now(), 0
        for address in addresses:
            try:
                connecting = asyncio.open_connection(address, HTTP)
                reader, writer = await asyncio.wait_for(connecting, ATTEMPT)
            except (OSError, asyncio.TimeoutError):
                continue
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: field\r\nconnection: close\r\n\r\n".encode())
                answer = await asyncio.wait_for(reader.read(), 5)
                status = int(answer.split(b" ", 2)[1]) if answer else 0
            except (OSError, asyncio.TimeoutError):
                status = 0
            finally:
                writer.close()
            if status:
                break
        self.requests[kind].append((began, now(), status))

    def _keep_ledger(self) -> None:
        apis = [Turn(self.site, node) for node in self.site.nodes]
        for api in itertools.cycle(apis):
            if self.ended.wait(0.3):
                break
            self.note_history(api)

    def note_history(self, api) -> None:
        """Adds what a node's history tells to the ledger; two tales of one revision are a contradiction."""
        try:
            status, body = api.ask("GET", "config/history", timeout=2.0)
        except OSError:
            return
        for one in body["revisions"] if status == 200 else []:
            known = self.ledger.setdefault(one["revision"], one["message"])
            if known != one["message"]:
                self.conflicting.append(f"revision {one['revision']} is {known!r} and {one['message']!r}")


class Turn:
    """A node's admin API for a thread that talks to several: it changes namespace for each call."""

    def __init__(self, site: Site, node: str):
        self.site, self.node, self.api = site, node, None

    def ask(self, *arguments, **options):
        # A connected socket stays in its namespace, but a new one is made in the thread's.
        if self.api is None:
            self.api = Api(self.site, self.node)
        else:
            wan.enter(self.site.nodes[self.node][1])
        return self.api.ask(*arguments, **options)


def verdict(status: int, answer: dict) -> tuple[str, int]:
    """What came of a write, and the revision it names."""
    if status == 200:
        return "ok", answer["revision"]
    if status == 412:
        return "conflict", int(re.search(r"revision (\d+)", answer["detail"])[1])
    name = answer.get("type", "").rsplit(":", 1)[-1]
    if status == 503 and name in ("no-quorum", "not-founded", "stopping"):
        return "refused", 0
    return "unknown", 0
