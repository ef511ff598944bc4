"""Connects a WebSocket through the gateway and checks that every message comes back.

usage: websocket_client.py URL TOKEN [CA.pem]
"""

import ssl
import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

url, token = sys.argv[1:3]
tls = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None
fields = {"Authorization": f"Bearer {token}"} if token else {}
messages = ["hello", "", "grüße", b"\x00\x01\x02", "x" * 100_000, b"y" * 200_000]

try:
    with connect(url, additional_headers=fields, ssl=tls, open_timeout=20, max_size=None) as socket:
        for message in messages:
            socket.send(message)
            echo = socket.recv(timeout=20)
            if echo != message:
                sys.exit(f"sent {message[:20]!r}, got {echo[:20]!r}")
        pong = socket.ping()
        if not pong.wait(20):
            sys.exit("no pong")
    print(f"echoed {len(messages)}, closed with {socket.protocol.close_code}")
except InvalidStatus as refused:
    print(f"refused with {refused.response.status_code}")
    sys.exit(3)
