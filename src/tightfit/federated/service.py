"""The log over HTTP: GET /terms, /round and /sums, POST /contributions; bodies are JSON both ways.

There is no encryption and nobody is asked who they are: put it behind a proxy that does both, or on a network of yours.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tightfit.federated.contribution import Refused
from tightfit.federated.log import FederationLog

Answer = tuple[int, bytes]  # a status of HTTP's, and a body
STATUS = {"round": 409, "head": 409}  # of another state; what else is refused is wrong whenever it comes: 400
SECONDS_TO_SPEAK = 30.0  # before a connection is given up
BYTES_OF_STEP, BYTES_AROUND = 64, 1024


def answer(log: FederationLog, method: str, path: str, body: bytes = b"") -> Answer:
    """What the service answers."""
    try:
        match method, path:
            case "GET", "/terms":
                return said(200, asdict(log.terms))
            case "GET", "/round":
                number, head, _ = log.state()
                return said(200, {"round": number, "head": head})
            case "GET", "/sums":
                number, head, sums = log.state()
                return said(200, {"round": number, "head": head, "sums": sums})
            case "POST", "/contributions":
                return said(200, {"accepted": True, "new": log.accept(body)})
        return said(404, {"refused": f"{method} {path} is not served; choose GET /terms, /round, /sums"})
    except Refused as error:
        return said(STATUS.get(error.kind, 400), {"refused": str(error)})
    except sqlite3.Error as error:  # nothing was acknowledged, and nothing taken
        return said(503, {"refused": f"the log cannot be written ({error}); send it again later"})


def said(status: int, content: dict[str, Any]) -> Answer:
    return status, json.dumps(content, separators=(",", ":")).encode()


def server(log: FederationLog, host: str, port: int) -> ThreadingHTTPServer:
    """A server of `log`, to be started by `serve_forever`; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS_TO_SPEAK

        def do_GET(self) -> None:
            self.reply(*answer(log, "GET", self.path))

        def do_POST(self) -> None:
            length, most = self.headers.get("Content-Length", ""), BYTES_AROUND + BYTES_OF_STEP * log.terms.steps
            if not (length.isascii() and length.isdecimal() and len(length) < 10 and int(length) <= most):
                self.reply(*said(413, {"refused": f"Content-Length={length or '…'} but a body has 0 to {most} bytes"}))
                return
            body = self.rfile.read(int(length))
            if len(body) == int(length):  # else the client is gone
                self.reply(*answer(log, "POST", self.path, body))

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """What matters is in the log of the federation."""

    return ThreadingHTTPServer((host, port), Handler)
