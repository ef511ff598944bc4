#!/usr/bin/env python3
"""CPU time per request of Meridian, nginx and HAProxy as plain proxies, measured in one run.

    tests/bench/proxies.py [--rounds 5] [--seconds 6] [--connections 64] [--only plain,tls]

Needs a release build (`cargo build --release`), nginx, haproxy, wrk, openssl and taskset (Debian: nginx-light
haproxy wrk openssl util-linux), and two idle cores: the proxy runs on core 0, the load generator and the
upstream on core 1. All contenders are started, then loaded in turn, round after round; the figure is user
plus system time of the proxy's process tree over the requests it answered, and its median over the rounds.
Only ratios within one run mean anything: machines differ.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
PROXY_CORE, LOAD_CORE = "0", "1"
HOST = "bench.test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def start(core: str, *command: str, log: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(["taskset", "-c", core, *command], stdout=subprocess.DEVNULL,
                            stderr=log.open("wb"), **options)


def await_port(port: int, what: str, log: Path, deadline: float = 20.0) -> None:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{what} does not listen on port {port}; it said:\n{log.read_text(errors='replace')[-2000:]}")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User plus system time of the living tree, ended threads of its processes included."""
    total = 0
    for member in tree(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Bench:
    def __init__(self, folder: Path, binary: Path):
        self.folder, self.binary = folder, binary
        self.running: list[subprocess.Popen] = []
        self.upstream = free_port()
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1",
            "-keyout", str(folder / "edge.key"), "-out", str(folder / "edge.pem"))
        (folder / "both.pem").write_text((folder / "edge.pem").read_text() + (folder / "edge.key").read_text())

    def keep(self, name: str, process: subprocess.Popen, *ports: int) -> int:
        self.running.append(process)
        for port in ports:
            await_port(port, name, self.folder / f"{name}.log")
        return process.pid

    def start_upstream(self) -> None:
        conf = self.folder / "upstream.conf"
        body = json.dumps({"plants": ["fern", "moss", "oak"], "pad": "x" * 900})
        conf.write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/upstream.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{self.upstream}; default_type application/json;
    location / {{ return 200 '{body}'; }} }} }}
""")
        self.keep("upstream", start(LOAD_CORE, "nginx", "-c", str(conf), log=self.folder / "upstream.log"),
                  self.upstream)

    def nginx(self) -> tuple[int, dict[str, int]]:
        ports = {"plain": free_port(), "tls": free_port()}
        conf = self.folder / "nginx.conf"
        conf.write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000;
  upstream up {{ server 127.0.0.1:{self.upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{ports['plain']}; listen 127.0.0.1:{ports['tls']} ssl;
    ssl_certificate {self.folder}/edge.pem; ssl_certificate_key {self.folder}/edge.key; ssl_protocols TLSv1.3;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }} }}
""")
        process = start(PROXY_CORE, "nginx", "-c", str(conf), log=self.folder / "nginx.log")
        return self.keep("nginx", process, *ports.values()), ports

    def haproxy(self) -> tuple[int, dict[str, int]]:
        ports = {"plain": free_port(), "tls": free_port()}
        conf = self.folder / "haproxy.cfg"
        conf.write_text(f"""
global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option forwardfor
  http-reuse always
frontend edge
  bind 127.0.0.1:{ports['plain']}
  bind 127.0.0.1:{ports['tls']} ssl crt {self.folder}/both.pem alpn h2,http/1.1
  default_backend up
backend up
  server up 127.0.0.1:{self.upstream}
""")
        process = start(PROXY_CORE, "haproxy", "-db", "-f", str(conf), log=self.folder / "haproxy.log")
        return self.keep("haproxy", process, *ports.values()), ports

    def meridian(self) -> tuple[int, dict[str, int]]:
        ports = {"plain": free_port(), "tls": free_port()}
        fabric, bulk, admin = free_port(), free_port(), free_port()
        folder = self.folder / "meridian"
        run(str(self.binary), "ca", "init", str(folder / "ca"), "--name", "bench")
        run(str(self.binary), "ca", "issue", str(folder / "ca"), "--node", "n1", "--region", "r1",
            "--ip", "127.0.0.1")
        made = run(str(self.binary), "admin", "token", "--name", "bench", "--role", "admin").stdout.split("\n", 1)
        (folder / "admin.token").write_text(made[0].strip())
        (folder / "admin-tokens.yaml").write_text(made[1])
        mine = folder / "ca" / "n1"
        (folder / "node.yaml").write_text(f"""
cluster: {{ name: bench, bootstrap: [n1] }}
node: {{ id: n1, region: r1, data_dir: {folder}/data }}
listen: {{ http: 127.0.0.1:{ports['plain']}, https: 127.0.0.1:{ports['tls']}, fabric: 127.0.0.1:{fabric}, bulk: 127.0.0.1:{bulk}, admin: 127.0.0.1:{admin} }}
fabric: {{ ca: {mine}/ca.pem, cert: {mine}/node.pem, key: {mine}/node.key, join: [] }}
tls: [ {{ hosts: [{HOST}, 127.0.0.1], cert: {self.folder}/edge.pem, key: {self.folder}/edge.key }} ]
admin: {{ tokens: {folder}/admin-tokens.yaml }}
""")
        (folder / "gateway.yaml").write_text(f"""
meridian: 1
regions: {{ r1: {{}} }}
services: {{ up: {{ endpoints: {{ r1: ["http://127.0.0.1:{self.upstream}"] }} }} }}
routes: {{ all: {{ match: {{ path: "/{{*rest}}" }}, service: up, exempt: [limits, auth] }} }}
""")
        process = start(PROXY_CORE, str(self.binary), "node", "--config", str(folder / "node.yaml"),
                        log=self.folder / "meridian.log")
        pid = self.keep("meridian", process, *ports.values(), admin)
        for _ in range(100):
            applied = subprocess.run([str(self.binary), "apply", "-f", str(folder / "gateway.yaml"), "--wait", "10s",
                                      "--admin", f"http://127.0.0.1:{admin}", "--token-file",
                                      str(folder / "admin.token")], capture_output=True, text=True)
            if applied.returncode == 0:
                return pid, ports
            time.sleep(0.1)
        sys.exit(f"meridian took no document: {applied.stderr}")

    def load(self, kind: str, port: int, seconds: int, connections: int) -> int:
        """Loads one proxy and gives the number of good answers."""
        url = f"{'https' if kind == 'tls' else 'http'}://127.0.0.1:{port}/plants"
        said = run("taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H",
                   f"Host: {HOST}", url).stdout
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", said)
        if bad:
            sys.exit(f"{url}: {bad.group(0)}")
        return int(re.search(r"(\d+) requests in", said).group(1))

    def stop(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=6)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--only", default="plain,tls")
    options.add_argument("--binary", type=Path, default=Path(
        os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "meridian")
    chosen = options.parse_args()
    for tool in ("nginx", "haproxy", "wrk", "openssl", "taskset", str(chosen.binary)):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing; see the head of {Path(__file__).name}")

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.binary)
        try:
            bench.start_upstream()
            contenders = {name: getattr(bench, name)() for name in ("meridian", "nginx", "haproxy")}
            for kind in chosen.only.split(","):
                costs: dict[str, list[float]] = {name: [] for name in contenders}
                rates: dict[str, list[float]] = {name: [] for name in contenders}
                for name, (_, ports) in contenders.items():
                    bench.load(kind, ports[kind], 1, chosen.connections)
                for _ in range(chosen.rounds):
                    for name, (pid, ports) in contenders.items():
                        before = cpu_seconds(pid)
                        answered = bench.load(kind, ports[kind], chosen.seconds, chosen.connections)
                        costs[name].append((cpu_seconds(pid) - before) / answered * 1e6)
                        rates[name].append(answered / chosen.seconds)
                print(f"{kind}, {chosen.connections} connections, {chosen.rounds} rounds of {chosen.seconds} s")
                base = statistics.median(costs["nginx"])
                for name, cost in costs.items():
                    middle = statistics.median(cost)
                    print(f"  {name:9} {middle:7.1f} µs CPU a request ({min(cost):.1f}–{max(cost):.1f}), "
                          f"{middle / base:.2f} × nginx, {statistics.median(rates[name]):.0f} requests/s")
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
