"""A small HTTPS server on loopback for POST requests of a real API server. Uses threads."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.tls_pairs import Pair, a_pair


@contextmanager
def answering(answer: Callable[[str, bytes], tuple[int, bytes]]) -> Iterator[tuple[str, str]]:
    """Serve during the block. Yields the URL, which ends with a slash, and the CA (PEM in base64).

    ``answer`` maps path and body to status and body. It may be called in any thread.
    """
    pair = a_pair()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, said = answer(urlsplit(self.path).path, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore clients that closed the connection."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = _context(pair).wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        authority = base64.b64encode(pair.authority.cert_pem.bytes()).decode()
        yield f"https://127.0.0.1:{server.server_address[1]}/", authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = pair.authority.issue_cert("127.0.0.1")
    made.configure_cert(context)
    return context
