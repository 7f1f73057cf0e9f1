"""A stand-in for Kaggle's API on the loopback interface; the real client is led here by ``http_proxy``.

It answers ``http://localhost/api/v1/...`` as a proxy would be asked (absolute addresses), and the storage addresses
that it hands out. Nothing is ever passed on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.publish.stand_in.world import COMPETITION, TOKEN, USER, Fault, World

LARGEST_BODY, MOST_REQUESTS, LONGEST_WAIT = 64 << 20, 5_000, 5.0


class Server(ThreadingHTTPServer):
    """Holds the world; threads end with the process."""

    daemon_threads = True

    def __init__(self, world: World) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = world

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is no news; anything else is a mistake of the stand-in and fails the test."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.world.crashes.append(repr(error))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at ``world.requests``."""

    def do_CONNECT(self) -> None:
        self.server.world.escapes.append(self.path)
        self.send_error(501, "the stand-in leads nowhere")

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        world, parts = self.server.world, urlsplit(self.path)
        body = self._body()
        with world.lock:
            world.requests.append((self.command, parts.path))
            if parts.netloc.split(":")[0] not in ("", "localhost", "127.0.0.1"):
                world.escapes.append(self.path)
                return self._json(502, {"code": 502, "message": "the stand-in leads nowhere"})
            if len(world.requests) > MOST_REQUESTS:
                return self._json(400, {"code": 400, "message": "too many requests for a test"})
            fault = world.fault_for(parts.path)
        if fault is not None and fault.kind not in ("cut", "stall", "drop_after"):
            return self._suffer(fault)
        with world.lock:
            status, headers, content = self._answer(parts.path, body)
        if fault is not None and fault.kind == "drop_after":
            return self._drop()
        return self._send(status, headers, content, fault.kind if fault is not None else "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return self._chunks()
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY))

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            content += self.rfile.read(min(size, LARGEST_BODY))
            self.rfile.readline()
        self.rfile.readline()
        return content

    # ---- faults

    def _suffer(self, fault: Fault) -> None:
        if fault.kind == "status":
            told = {"code": fault.status, "message": fault.message}
            return self._json(fault.status, told, fault.headers)
        if fault.kind == "html":
            return self._send(200, {"Content-Type": "text/html"}, b"<html>maintenance</html>")
        if fault.kind == "slow":
            self.server.world.release.wait(LONGEST_WAIT)
        return self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    # ---- answers

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not path.startswith("/api/"):
            return self._storage(path, body)
        if self.headers.get("Authorization") not in self.server.world.accepted and "OAuth" not in path:
            return _json_answer(401, {"code": 401, "message": "Unauthenticated"})
        if path.startswith("/api/v1/kernels/logs/stream/"):
            return self._log_stream(*path.split("/")[-2:])
        service, name = path.removeprefix("/api/v1/").split("/", 1)
        method = getattr(self, f"_{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}", None)
        if method is None or "." not in service:
            return _json_answer(404, {"code": 404, "message": f"no route {path}"})
        answer = method(json.loads(body or b"{}"))
        return answer if len(answer) == 3 else _json_answer(*answer)

    def _storage(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        world = self.server.world
        if self.headers.get("Authorization"):
            world.leaks.append(f"credentials sent to {path}")
        if path == "/storage/archive":
            md5 = world.archive_md5 or base64.b64encode(hashlib.md5(world.archive).digest()).decode()
            return self._ranged(world.archive, {"x-goog-hash": f"md5={md5}"})
        if path.startswith("/upload/") and self.command == "PUT":
            token = path.rsplit("/", 1)[-1]
            world.uploads[token] = (world.uploads[token][0], body)
            return 200, {}, b""
        if path.startswith("/output/"):
            kernel, name, content = world.offered[int(path.rsplit("/", 1)[-1])]
            return self._ranged(kernel.broken.get(name, content), {})
        return _json_answer(404, {"code": 404, "message": "no such file"})

    def _ranged(self, content: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        tag = '"' + hashlib.sha256(content).hexdigest()[:16] + '"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", tag) == tag:
            start = int(wanted.group(1))
            if start >= len(content):
                return 416, headers, b""
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return 206, headers, content[start:]
        return 200, headers, content

    def _log_stream(self, owner: str, slug: str) -> tuple[int, dict[str, str], bytes]:
        kernel = self.server.world.kernel({"userName": owner, "kernelSlug": slug})
        if kernel is None:
            return _json_answer(403, {"code": 403, "message": "Permission 'kernels.get' was denied"})
        lines = [f"data: {json.dumps({'data': line})}\n\n" for line in kernel.log.splitlines()]
        return 200, {"Content-Type": "text/event-stream"}, "".join([*lines, "data: END_OF_LOG\n\n"]).encode()

    # ---- routes: the name of the method in snake case

    def _introspect_token(self, body: dict) -> tuple[int, dict]:
        right = body.get("token") == TOKEN
        return 200, {"active": right, "username": USER if right else ""}

    def _get_competition(self, body: dict) -> tuple[int, dict]:
        if body.get("competitionName") != COMPETITION:
            return 404, {"code": 404, "message": "Competition not found"}
        world = self.server.world
        return 200, {"ref": COMPETITION, "userHasEntered": world.entered, "submissionsDisabled": world.disabled}

    def _download_data_files(self, body: dict) -> tuple:
        if body.get("competitionName") != COMPETITION:
            return 404, {"code": 404, "message": "Competition not found"}
        if not self.server.world.entered:
            return 403, {"code": 403, "message": "You must accept this competition's rules before downloading."}
        url = f"{self.server.address}/storage/archive?X-Goog-Signature=abcdef0123456789&X-Goog-Expires=60"
        return 302, {"Location": url, "Content-Type": "text/html"}, b""

    def _start_submission_upload(self, body: dict) -> tuple[int, dict]:
        world = self.server.world
        token = f"blob{len(world.requests)}"
        world.uploads[token] = (body["fileName"], b"")
        return 200, {"token": token, "createUrl": f"{self.server.address}/upload/{token}?upload_id=secret0123456789"}

    def _create_submission(self, body: dict) -> tuple[int, dict]:
        return self.server.world.create_submission(body)

    def _list_submissions(self, body: dict) -> tuple[int, dict]:
        return 200, self.server.world.list_submissions(body)

    def _get_submission_limits(self, body: dict) -> tuple[int, dict]:
        made = len(self.server.world.submissions)
        return 200, {"numToday": made, "numTotal": made, "numAllowedNow": max(0, self.server.world.daily - made)}

    def _get_leaderboard(self, body: dict) -> tuple[int, dict]:
        return 200, self.server.world.leaderboard(body)

    def _save_kernel(self, body: dict) -> tuple[int, dict]:
        return self.server.world.save_kernel(body)

    def _get_kernel(self, body: dict) -> tuple[int, dict]:
        kernel = self.server.world.kernel(body)
        if kernel is None or not kernel.versions:
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        meta = {"ref": f"{USER}/{body['kernelSlug']}", "currentVersionNumber": len(kernel.versions)}
        return 200, {"metadata": meta, "blob": {"source": kernel.versions[-1].get("text", "")}}

    def _get_kernel_session_status(self, body: dict) -> tuple[int, dict]:
        kernel = self.server.world.kernel(body)
        if kernel is None:
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        return 200, self.server.world.status(kernel)

    def _list_kernel_session_output(self, body: dict) -> tuple[int, dict]:
        kernel = self.server.world.kernel(body)
        if kernel is None:
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        return 200, self.server.world.outputs(kernel, self.server.address, body)

    def _get_accelerator_quota_statistics(self, body: dict) -> tuple[int, dict]:
        return 200, {"quotaRefreshTime": "2026-11-27T00:00:00.000Z", "gpuQuota": self.server.world.quota}

    # ---- sending

    def _json(self, status: int, value: dict, headers: dict[str, str] | None = None) -> None:
        _, known, content = _json_answer(status, value)
        self._send(status, {**known, **(headers or {})}, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes, fault: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have left
            self.wfile.write(content[: len(content) // 2] if fault else content)
            self.wfile.flush()
        if fault == "stall":
            self.server.world.release.wait(LONGEST_WAIT)
        if fault:
            self._drop()


def _json_answer(status: int, value: dict) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextlib.contextmanager
def serving(world: World) -> Iterator[Server]:
    """The stand-in, from here to the end of the block, on a free port."""
    server = Server(world)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        world.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
