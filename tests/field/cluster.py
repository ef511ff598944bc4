"""A cluster of real processes over a `wan.Wan`: authority, files, nodes, upstreams, and what they are asked."""

import asyncio
import json
import signal
import subprocess
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import wan

HTTP, FABRIC, BULK, ADMIN, UPSTREAM = 8080, 7400, 7450, 7500, 8000
NODES_PER_REGION = 3


class Site:
    """Nine nodes in three regions, an upstream in each, and near each region a place for clients."""

    def __init__(self, binary: Path, folder: Path, regions: list[str], one_way_ms: dict):
        self.binary, self.folder, self.regions = binary.resolve(), folder, regions
        access = {region: f"near-{region}" for region in regions}
        delays = dict(one_way_ms)
        for region in regions:
            for other in regions:
                between = 2.0 if region == other else one_way_ms[frozenset((region, other))]
                delays[frozenset((access[region], other))] = between
        self.wan = wan.Wan(regions + list(access.values()), delays)
        self.nodes: dict[str, tuple[str, str, str]] = {}
        self.upstreams, self.clients = {}, {}
        self.processes: dict[str, subprocess.Popen] = {}
        for region in regions:
            for number in range(1, NODES_PER_REGION + 1):
                node = f"{region}-{number}"
                namespace, address = self.wan.add(node, region)
                self.nodes[node] = (region, namespace, address)
            self.upstreams[region] = self.wan.add(f"up-{region}", region)
            self.clients[region], _ = self.wan.add(f"client-{region}", access[region])
            serve(self.upstreams[region][0], region)
        self._files()

    def run(self, *arguments: str, node: str | None = None) -> subprocess.CompletedProcess:
        """A `meridian` command; with `node`, one at that node's admin API, run beside it."""
        line = [str(self.binary), *arguments]
        if node:
            line = ["ip", "netns", "exec", self.nodes[node][1], *line, "--admin", f"http://127.0.0.1:{ADMIN}",
                    "--token-file", str(self.folder / "admin.token")]
        return subprocess.run(line, capture_output=True, text=True)

    def must(self, *arguments: str, node: str | None = None) -> str:
        done = self.run(*arguments, node=node)
        if done.returncode:
            raise RuntimeError(f"meridian {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def _files(self) -> None:
        token = json.loads(self.must("admin", "token", "--name", "field", "--role", "admin", "-o", "json"))
        self.token = token["token"]
        (self.folder / "admin.token").write_text(self.token)
        (self.folder / "admin-tokens.yaml").write_text(
            f"- {{ name: field, role: admin, hash: {token['entry']['hash']} }}\n")
        authority = str(self.folder / "ca")
        self.must("ca", "init", authority, "--name", "field")
        # One founder a region, and any other node joins by the founders' addresses.
        founders = [f"{region}-1" for region in self.regions]
        for node, (region, _, address) in self.nodes.items():
            self.must("ca", "issue", authority, "--node", node, "--region", region)
            join = ", ".join(f'"{self.nodes[other][2]}:{FABRIC}"' for other in founders if other != node)
            home = self.folder / node
            home.mkdir()
            (home / "node.yaml").write_text(
                f"cluster: {{ name: field, bootstrap: [{', '.join(founders)}] }}\n"
                f"node: {{ id: {node}, region: {region}, data_dir: data }}\n"
                f'listen: {{ http: "{address}:{HTTP}", fabric: "{address}:{FABRIC}", bulk: "{address}:{BULK}", '
                f'admin: "127.0.0.1:{ADMIN}" }}\n'
                f"fabric: {{ ca: ../ca/{node}/ca.pem, cert: ../ca/{node}/node.pem, key: ../ca/{node}/node.key, "
                f"join: [{join}] }}\n"
                f"admin: {{ tokens: ../admin-tokens.yaml }}\n")

    def document(self) -> str:
        """A document whose service `near` is in every region, and `far-R` in every region but R."""
        def endpoints(but: str | None) -> str:
            return "".join(f'      {region}: ["http://{address}:{UPSTREAM}"]\n'
                           for region, (_, address) in self.upstreams.items() if region != but)
        health = "    health: { path: /, interval: 500ms, timeout: 400ms, healthy_after: 1, unhealthy_after: 2 }\n"
        services = {"near": endpoints(None)} | {f"far-{region}": endpoints(region) for region in self.regions}
        text = "meridian: 1\nregions:\n" + "".join(f"  {region}: {{}}\n" for region in self.regions)
        text += "defaults: { unidentified: { limits: [100000000/hour], per: client_ip } }\nservices:\n"
        for name, where in services.items():
            text += f"  {name}:\n    endpoints:\n{where}{health}"
        text += "routes:\n"
        for name in services:
            text += f"  {name}: {{ match: {{ path: /{name} }}, service: {name}, exempt: [auth] }}\n"
        return text

    def start(self, node: str) -> None:
        log = (self.folder / node / "node.log").open("ab")
        access = (self.folder / node / "access.log").open("ab")
        self.processes[node] = subprocess.Popen(
            ["ip", "netns", "exec", self.nodes[node][1], str(self.binary), "node", "--config",
             str(self.folder / node / "node.yaml")], stdout=access, stderr=log)

    def stop(self, node: str, how: int = signal.SIGKILL) -> int:
        """Ends a node's process; its exit code."""
        process = self.processes.pop(node)
        process.send_signal(how)
        return process.wait(60)

    def log(self, node: str) -> str:
        return (self.folder / node / "node.log").read_text(errors="replace")

    def of(self, region: str) -> list[str]:
        return [node for node, (its, _, _) in self.nodes.items() if its == region]

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.wan.close()


class Api:
    """One node's admin API, for the thread that makes it: it enters the node's namespace."""

    def __init__(self, site: Site, node: str):
        self.token, self.connection = site.token, None
        wan.enter(site.nodes[node][1])

    def ask(self, method: str, path: str, body: dict | None = None, timeout: float = 12.0,
            **headers: str) -> tuple[int, dict]:
        """Status and JSON. A `ConnectionRefusedError` means that nothing was sent."""
        if self.connection and method != "GET":
            # The node closes a connection that was idle for a while (5 s); what is sent on it just then may or may not
            # have been read, and a write must not be sent twice (RFC 9112 section 9.3.1). A new one tells for sure.
            self.connection.close()
            self.connection = None
        try:
            if self.connection is None:
                self.connection = HTTPConnection("127.0.0.1", ADMIN, timeout=timeout)
                self.connection.connect()
            self.connection.request(method, f"/api/v1/{path}", json.dumps(body) if body else None,
                                    {"authorization": f"Bearer {self.token}", "content-type": "application/json",
                                     **{name.replace("_", "-"): value for name, value in headers.items()}})
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            if self.connection:
                self.connection.close()
            self.connection = None
            if isinstance(error, OSError):
                raise
            raise OSError(f"no answer that can be read: {error!r}") from error


def serve(namespace: str, region: str) -> None:
    """An upstream that says where it is, in a namespace of its own."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"region": region}).encode()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def run() -> None:
        async with await asyncio.start_server(answer, "0.0.0.0", UPSTREAM) as server:
            await server.serve_forever()

    def thread() -> None:
        wan.enter(namespace)
        asyncio.run(run())

    threading.Thread(target=thread, daemon=True).start()


def now() -> float:
    return time.monotonic()
