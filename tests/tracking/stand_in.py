"""A W&B server for the unmodified client: it answers what `wandb.Api` asks of one project, from offline runs."""

from __future__ import annotations

import gzip
import json
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.tracking.conftest import OfflineRun

PROJECT = "someone/tightfit"
VIEWER = {"id": "1", "entity": "someone", "username": "someone", "teams": {"edges": []}, "flags": "{}"}


class Server(ThreadingHTTPServer):
    """Has `runs`, each in one or several offline files of its id, and keeps the names of the operations asked."""

    def __init__(self, files: Sequence[OfflineRun]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        for file in files:
            self.take(file)

    def take(self, file: OfflineRun) -> None:
        """As `wandb sync` would upload a file: config and summary are merged, of a step the last row counts."""
        node = self.nodes.setdefault(file.id, {"summary": {}, "config": {}, "rows": {}})
        node["summary"] |= file.summary
        node["config"] |= file.config
        for row in file.rows:
            step = row["step"]
            known = {name: spelled(value) for name, value in row.items() if name != "step"}
            node["rows"][step] = {**known, "_step": step}
        node["job_type"], node["exit_code"] = file.job_type, file.exit_code

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        if operation in ("Viewer", "GetDefaultEntity"):
            return {"viewer": VIEWER}
        if "/".join([variables.get("entity", ""), variables.get("project", "")]) != PROJECT:
            return {"project": None}
        if operation == "Runs":
            edges = [{"node": self.described(id), "cursor": id} for id in self.nodes]
            page = {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}
            return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": page}}
        id = next(str(value) for value in variables.values() if str(value) in self.nodes)
        return {"project": {"internalId": "1", "readOnly": False, "run": self.described(id, variables)}}

    def described(self, id: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        node, variables = self.nodes[id], variables or {}
        first, end = variables.get("minStep") or 0, variables.get("maxStep")
        rows = [row for step, row in node["rows"].items() if step >= first and (end is None or step < end)]
        last = max(node["rows"], default=-1)
        names = {name for row in node["rows"].values() for name in row}
        return {
            "id": id,
            "name": id,
            "displayName": id,
            "projectId": "1",
            "internalId": "1",
            "tags": [],
            "group": "",
            "jobType": node["job_type"],
            "createdAt": "2026-01-01T00:00:00Z",
            "sweepName": None,
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "description": "",
            "notes": "",
            "readOnly": False,
            "commit": None,
            "systemMetrics": "{}",
            "historyLineCount": len(rows),
            "user": VIEWER,
            "state": "running" if node["exit_code"] is None else "failed" if node["exit_code"] else "finished",
            "config": json.dumps({name: {"value": value} for name, value in node["config"].items()}),
            "summaryMetrics": json.dumps(node["summary"]),
            "historyKeys": {"sets": [], "keys": {name: {} for name in names}, "lastStep": last},
            "lastHistoryStep": last,
            "parquetHistory": {"liveData": rows, "parquetUrls": []},
            "history": [json.dumps(row) for row in rows],
        }


def spelled(value: Any) -> Any:
    """A number as the server has it: JSON has no nan, and whole ones lose their point."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() else value


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:  # as BaseHTTPRequestHandler calls it
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        operation = named[1] if named else ""
        self.server.asked.append(operation)
        said = json.dumps({"data": self.server.answer(operation, asked.get("variables") or {})}, allow_nan=False)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def standing_in(files: Sequence[OfflineRun]) -> Iterator[Server]:
    server = Server(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
