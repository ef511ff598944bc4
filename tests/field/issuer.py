"""An identity provider over HTTPS in a namespace: discovery, one key, and tokens signed by it. Needs openssl."""

import asyncio
import base64
import json
import ssl
import subprocess
import threading
import time
from pathlib import Path

import wan

PORT, AUDIENCE = 8444, "https://field.test"


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Nodes trust its authority by SSL_CERT_FILE."""

    def __init__(self, folder: Path, namespace: str, address: str):
        self.url, self.key = f"https://{address}:{PORT}", folder / "issuer.key"
        self.authority, self.certificate = folder / "issuer-ca.pem", folder / "issuer.pem"
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        secret = str(folder / "issuer-ca.key")
        self._openssl(*new, "-subj", "/CN=authority", "-keyout", secret, "-out", str(self.authority))
        self._openssl(*new, "-subj", "/CN=issuer", "-addext", f"subjectAltName=IP:{address}",
                      "-addext", "basicConstraints=critical,CA:FALSE", "-CA", str(self.authority), "-CAkey", secret,
                      "-keyout", str(self.key), "-out", str(self.certificate))
        # The last 65 bytes of a P-256 key's SubjectPublicKeyInfo are 4, x and y.
        point = self._openssl("pkey", "-in", str(self.key), "-pubout", "-outform", "DER")[-64:]
        self.keys = {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "field",
                               "x": text(point[:32]), "y": text(point[32:])}]}
        self._serve(namespace)

    @staticmethod
    def _openssl(*arguments: str, data: bytes | None = None) -> bytes:
        return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout

    def token(self, tenant: str) -> str:
        """A token of a tenant, good for a day."""
        head = {"alg": "ES256", "kid": "field"}
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "field", "tenant": tenant, "exp": int(time.time()) + 86400}
        signed = ".".join(text(json.dumps(part).encode()) for part in (head, claims))
        der = self._openssl("dgst", "-sha256", "-sign", str(self.key), data=signed.encode())
        numbers, at = b"", 2
        for _ in range(2):
            length = der[at + 1]
            numbers += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + length
        return f"{signed}.{text(numbers)}"

    def document(self) -> str:
        """What a document says of it."""
        return (f'issuers:\n  field: {{ issuer: "{self.url}", audiences: ["{AUDIENCE}"], algorithms: [ES256] }}\n')

    def _serve(self, namespace: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    body = json.dumps(self.keys if b" /jwks " in head else discovery).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                                 % (len(body), body))
                    await writer.drain()
            except (asyncio.IncompleteReadError, OSError):
                writer.close()

        async def run() -> None:
            async with await asyncio.start_server(answer, "0.0.0.0", PORT, ssl=context) as server:
                await server.serve_forever()

        def thread() -> None:
            wan.enter(namespace)
            asyncio.run(run())

        threading.Thread(target=thread, daemon=True).start()
