#!/usr/bin/env python3
"""Runs the commands of a guide as they stand in it, on machines that are folders of this one.

    tests/guide/run.py [--binary target/debug/meridian] [--keep] docs/production.md

A fenced block says in its info string where it belongs: `sh HOST` is run by bash on that host, `sh each` on every
host that runs a node by then, one after another; `yaml HOST:PATH` is a file there. Other blocks are only read. A host
is a folder with `/etc/meridian` and `/var/lib/meridian` in it and an address of its own on the loopback network; the
ports are free ones. `scp`, `ssh`, `sudo`, `systemctl`, `systemd-run` and `install` are stand-ins that do there what
they do between machines. The first command that fails ends the run with exit 1 and says which block it stands in.
"""

import argparse
import asyncio
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "operator"
NET = "203.0.113."          # documentation addresses (RFC 5737), as the guide writes them
PORTS = (7400, 7450, 7500, 7501, 8080, 8443)
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.M | re.S)
OPERATOR_LAST = "254"      # where the operator's loopback is
SECONDS = 120               # for one block; each waits for its own conditions


def free(port_of: str) -> int:
    """A port that is free for TCP and UDP."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("0.0.0.0", port))
            return port
        except OSError:
            continue
    sys.exit(f"no port is free for {port_of}")


class Machines:
    def __init__(self, folder: Path, binary: Path):
        self.folder, self.binary = folder, binary
        self.net = f"127.{random.randrange(16, 250)}.{random.randrange(250)}."
        self.ports = {}
        for port in PORTS:
            while (chosen := free(str(port))) in self.ports.values():
                pass
            self.ports[port] = chosen
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("scp", "ssh", "sudo", "systemctl", "systemd-run", "install"):
            self.stand_in(name)
        (self.bin / "meridian").symlink_to(binary)

    def stand_in(self, name: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --as {name} -- "$@"\n')
        path.chmod(0o755)

    def home(self, host: str) -> Path:
        home = self.folder / host
        for part in ("etc/meridian", "var/lib/meridian", "home"):
            (home / part).mkdir(parents=True, exist_ok=True)
        return home

    def nodes(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if (path / "pid").exists())

    def on(self, host: str, text: str, address: str | None) -> str:
        """The text as it reads on that host. A host's own loopback address is the one it has here."""
        home = self.home(host)
        text = text.replace("/etc/meridian", f"{home}/etc/meridian").replace("/var/lib/", f"{home}/var/lib/")
        text = text.replace("/usr/local/bin/", f"{home}/")
        if address:
            text = text.replace("127.0.0.1", address)
        text = text.replace(NET, self.net)
        return re.sub(r":(7400|7450|7500|7501|8080|8443)\b", lambda found: f":{self.ports[int(found[1])]}", text)

    def environment(self, host: str) -> dict:
        return os.environ | {
            "PATH": f"{self.bin}:{os.environ['PATH']}", "GUIDE": str(self.folder), "GUIDE_HOST": host,
            "GUIDE_NET": self.net, "GUIDE_PORTS": json.dumps(self.ports),
            "HOME": str(self.home(host) / "home"), "NO_COLOR": "1",
        }

    def run(self, host: str, script: str, address: str | None) -> subprocess.CompletedProcess:
        """One block. What it exports holds in that host's later blocks, as in a shell that stays open."""
        home = self.home(host)
        kept = home / "environment"
        whole = (f"set -eo pipefail; [ ! -f {kept} ] || . {kept}\n{self.on(host, script, address)}\n"
                 f"export -p > {kept}\n")
        return subprocess.run(["bash", "-c", whole], cwd=home / "home", env=self.environment(host), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)

    def stop(self) -> None:
        for host in self.nodes():
            stop(self.folder / host, signal.SIGKILL)
        for tunnel in self.folder.glob("tunnel-*"):
            os.kill(int(tunnel.read_text()), signal.SIGKILL)


async def tunnel_between(near: str, near_port: str, far: str, far_port: str) -> None:
    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader, writer):
        try:
            there, back = await asyncio.open_connection(far, int(far_port))
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except OSError:
            writer.close()

    await (await asyncio.start_server(serve, near, int(near_port))).serve_forever()


def start(home: Path, arguments: list[str]) -> None:
    log = (home / "node.log").open("ab")
    process = subprocess.Popen(["meridian", "node", "--config", str(home / "etc/meridian/node.yaml"), *arguments],
                               stdout=log, stderr=log)
    (home / "pid").write_text(str(process.pid))


def stop(home: Path, how: int) -> None:
    pid = int((home / "pid").read_text())
    (home / "pid").unlink()
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    signal.pidfd_send_signal(process, how)
    # Whoever's child it is. Its entry in /proc is no sign: it reads as a zombie once the main thread has ended, and
    # the others may still hold the data folder.
    ended = select.select([process], [], [], 60)[0]
    os.close(process)
    if ended:
        return
    sys.exit(f"{home.name}: the node has not ended")


def stand_in(name: str, arguments: list[str]) -> int:
    """Does what the program of that name does between machines."""
    folder, host = Path(os.environ["GUIDE"]), os.environ["GUIDE_HOST"]
    home = folder / host
    if name == "sudo":
        return subprocess.run(arguments).returncode
    if name == "ssh":
        # ssh -L PORT:ADDRESS:PORT HOST, a tunnel from the operator's loopback to the host's.
        near, _, far = arguments[arguments.index("-L") + 1].split(":")
        near = str(json.loads(os.environ["GUIDE_PORTS"])[near])
        net, there = os.environ["GUIDE_NET"], (folder / arguments[-1] / "address").read_text()
        tunnel = subprocess.Popen([sys.executable, __file__, "--as", "tunnel", "--", net + OPERATOR_LAST, near,
                                   net + there, far], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (folder / f"tunnel-{near}").write_text(str(tunnel.pid))
        time.sleep(0.3)     # ssh -f goes to the background once it forwards
        return 0
    if name == "tunnel":
        asyncio.run(tunnel_between(*arguments))
    if name == "install":
        return 0            # the binary is the same for all
    if name == "systemd-run":
        start(home, arguments[arguments.index("--config") + 2:])
        return 0
    if name == "systemctl":
        verbs = [word for word in arguments if not word.startswith("-")]
        running = (home / "pid").exists()
        if verbs[0] in ("stop", "restart", "disable") and running:
            stop(home, signal.SIGTERM)
        if verbs[0] in ("start", "restart", "enable"):
            start(home, [])
        return 0
    if name == "scp":
        *sources, target = [word for word in arguments if not word.startswith("-")]
        there, path = target.split(":", 1)
        target = folder / there / path.removeprefix(str(home)).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        address = os.environ["GUIDE_NET"] + (folder / there / "address").read_text()
        for source in map(Path, sources):
            for file in source.iterdir() if source.is_dir() else [source]:
                text = file.read_text()
                # The paths and loopback of the operator's machine, as that host has them.
                text = text.replace(os.environ["GUIDE_NET"] + OPERATOR_LAST, address)
                text = text.replace(str(home), str(folder / there))
                (target / file.name).write_text(text)
                (target / file.name).chmod(0o600)
        return 0
    return 64


def main() -> int:
    if "--as" in sys.argv:
        return stand_in(sys.argv[2], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guide", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/meridian")
    parser.add_argument("--keep", action="store_true", help="leave the machines' folders")
    arguments = parser.parse_args()
    text = arguments.guide.read_text()
    # Where each host is, as the guide's own table says.
    hosts = dict(re.findall(rf"^\| `([\w-]+)` \|.*?`{re.escape(NET)}(\d+)`", text, re.M))
    if not hosts:
        sys.exit(f"{arguments.guide} has no table of hosts with addresses in {NET}0/24")
    folder = Path(tempfile.mkdtemp(prefix="guide-"))
    machines = Machines(folder, arguments.binary.resolve())
    for host, last in hosts.items():
        (machines.home(host) / "address").write_text(last)
    done = 0
    try:
        for found in BLOCK.finditer(text):
            language, where, script = found.groups()
            line = text[:found.start()].count("\n") + 1
            if language == "yaml":
                host, path = where.split(":", 1)
                target = machines.home(host) / ("home" if not path.startswith("/") else ".") / path.lstrip("/")
                target.write_text(machines.on(host, script, machines.net + hosts[host] if host in hosts else None))
                continue
            if language != "sh":
                continue
            for host in machines.nodes() or list(hosts)[:3] if where == "each" else [where]:
                address = machines.net + (OPERATOR_LAST if host == OPERATOR else hosts[host])
                try:
                    ran = machines.run(host, script, address)
                    said, fault = ran.stdout, ran.returncode and f"exit {ran.returncode}"
                except subprocess.TimeoutExpired as late:
                    said, fault = (late.stdout or b"").decode(), f"not done in {SECONDS} s"
                print(f"--- {arguments.guide}:{line} on {host}\n{said}", flush=True)
                if fault:
                    for node in hosts:
                        log = folder / node / "node.log"
                        if log.exists():
                            print(f"--- end of {node}'s log\n{log.read_text()[-1500:]}")
                    print(f"{arguments.guide}:{line}: on {host}: {fault}", file=sys.stderr)
                    return 1
                done += 1
    finally:
        machines.stop()
        if arguments.keep:
            print(f"the machines: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"every command of {arguments.guide} was run: {done} blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
