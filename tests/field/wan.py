"""Regions on one machine: network namespaces, and between them a wide-area network in user space.

Each host (a node, a client) has a namespace with one veth into its region's bridge. Each region's router namespace
has a TUN device for all that leaves the region; a process of its own carries packets between those devices
after the one-way delay of the pair, or drops them where the pair is cut. Nothing of the kernel's traffic control is
needed. Needs root, iproute2 and /dev/net/tun.

Addresses: host H of region R is 10.77.R.H; the region's router is 10.77.R.254.
"""

import ctypes
import fcntl
import heapq
import multiprocessing
import os
import select
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)


def usable() -> str | None:
    """Why this machine cannot have such a network, or None where it can."""
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    name = f"mrd{os.getpid()}-try"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    except FileNotFoundError:
        return "no `ip` (Debian: iproute2)"
    if made.returncode:
        return made.stderr.strip() or "namespaces are not allowed"
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None


def enter(namespace: str) -> None:
    """Moves the calling thread into a namespace; sockets it opens from now on belong there."""
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if LIBC.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"entering {namespace}")
    finally:
        os.close(handle)


def inside(namespace: str, work):
    """What `work()` gives when a thread in that namespace runs it."""
    result = []

    def run():
        enter(namespace)
        result.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def ip(*lines: str) -> None:
    for line in lines:
        done = subprocess.run(["ip", *line.split()], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ip {line}: {done.stderr.strip()}")


def open_tun() -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH", b"wan0", IFF_TUN | IFF_NO_PI))
    return handle


class Wan:
    """A network of regions; close it to remove all of it."""

    def __init__(self, regions: list[str], one_way_ms: dict[frozenset, float]):
        self.prefix = f"mrd{os.getpid()}-"
        self.regions = regions
        self.hosts: dict[str, str] = {}
        self._next = [1] * len(regions)
        self._namespaces: list[str] = []
        tuns = []
        for number, region in enumerate(regions):
            router = self._namespace(f"router-{region}")
            ip(f"-n {router} link add br0 type bridge",
               f"-n {router} addr add 10.77.{number}.254/24 dev br0",
               f"-n {router} link set br0 up")
            tuns.append(inside(router, open_tun))
            ip(f"-n {router} link set wan0 up", f"-n {router} route add 10.77.0.0/16 dev wan0")
            subprocess.run(["ip", "netns", "exec", router, "sh", "-c",
                            "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
        delays = [[one_way_ms.get(frozenset((a, b)), 0.0) / 1000 for b in regions] for a in regions]
        self._control, theirs = multiprocessing.Pipe()
        self._carrier = multiprocessing.Process(target=carry, args=(tuns, delays, theirs), daemon=True)
        self._carrier.start()
        for tun in tuns:
            os.close(tun)

    def _namespace(self, name: str) -> str:
        full = self.prefix + name
        ip(f"netns add {full}", f"-n {full} link set lo up")
        self._namespaces.append(full)
        return full

    def add(self, host: str, region: str) -> tuple[str, str]:
        """A host in a region: its namespace and its address."""
        number = self.regions.index(region)
        place = self._next[number]
        self._next[number] += 1
        address = f"10.77.{number}.{place}"
        router, namespace = f"{self.prefix}router-{region}", self._namespace(host)
        port = f"p{place}"
        ip(f"-n {router} link add {port} type veth peer name eth0 netns {namespace}",
           f"-n {router} link set {port} master br0", f"-n {router} link set {port} up",
           f"-n {namespace} addr add {address}/24 dev eth0", f"-n {namespace} link set eth0 up",
           f"-n {namespace} route add default via 10.77.{number}.254")
        self.hosts[host] = namespace
        return namespace, address

    def _tell(self, *message) -> None:
        self._control.send(message)
        self._control.recv()

    def cut(self, source: str, target: str, both: bool = True) -> None:
        """Drops everything from one region to another, and back if `both`."""
        one, other = self.regions.index(source), self.regions.index(target)
        self._tell("cut", one, other)
        if both:
            self._tell("cut", other, one)

    def isolate(self, region: str) -> None:
        """Cuts a region off from all others."""
        for other in self.regions:
            if other != region:
                self.cut(region, other)

    def heal(self, region: str | None = None) -> None:
        """Ends the cuts of one region, or all."""
        self._tell("heal", None if region is None else self.regions.index(region))

    def counts(self) -> dict:
        """Packets carried and dropped so far."""
        self._control.send(("counts",))
        return self._control.recv()

    def close(self) -> None:
        self._carrier.terminate()
        self._carrier.join()
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def carry(tuns: list[int], delays: list[list[float]], control) -> None:
    """Carries packets between regions for ever. Runs in a process of its own."""
    cut = [[False] * len(tuns) for _ in tuns]
    due: list[tuple[float, int, int, bytes]] = []
    order = carried = dropped = 0
    poll = select.epoll()
    of = {}
    for number, tun in enumerate(tuns):
        poll.register(tun, select.EPOLLIN)
        of[tun] = number
    poll.register(control.fileno(), select.EPOLLIN)
    now = time.monotonic
    while True:
        wait = max(0.0, due[0][0] - now()) if due else 1.0
        for handle, _ in poll.poll(wait):
            if handle not in of:
                try:
                    message = control.recv()
                except EOFError:
                    return
                if message[0] == "cut":
                    cut[message[1]][message[2]] = True
                    control.send(True)
                elif message[0] == "heal":
                    for one in range(len(tuns)):
                        for other in range(len(tuns)):
                            if message[1] in (None, one, other):
                                cut[one][other] = False
                    control.send(True)
                else:
                    control.send({"carried": carried, "dropped": dropped})
                continue
            source = of[handle]
            # Bounded, so that one busy region does not hold up the others' deliveries.
            for _ in range(64):
                try:
                    packet = os.read(handle, 65536)
                except BlockingIOError:
                    break
                if packet[0] >> 4 != 4:
                    continue
                target = packet[18]
                if target >= len(tuns) or cut[source][target]:
                    dropped += 1
                    continue
                order += 1
                heapq.heappush(due, (now() + delays[source][target], order, target, packet))
        moment = now()
        while due and due[0][0] <= moment:
            _, _, target, packet = heapq.heappop(due)
            try:
                os.write(tuns[target], packet)
                carried += 1
            except OSError:
                dropped += 1
