"""Web servers for tests: files of a folder with byte ranges, answers that fail or stall on purpose, S3's path style."""

import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Behavior:
    """What a server does wrong, and how many requests it has seen."""

    def __init__(self, fail_every=0, stall_every=0, stall_seconds=30.0, status=500):
        self.fail_every, self.stall_every = fail_every, stall_every
        self.stall_seconds, self.status = stall_seconds, status
        self.requests = self.failed = self.stalled = 0
        self.paths = []
        self.signed = False
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def next(self, path):
        """What to do with one more request: "answer", "fail" or "stall"."""
        with self._lock:
            self.requests += 1
            self.paths.append(path)
            if self.fail_every and self.requests % self.fail_every == 0:
                self.failed += 1
                return "fail"
            if self.stall_every and self.requests % self.stall_every == 0:
                self.stalled += 1
                return "stall"
            return "answer"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, folder, behavior, **kwargs):
        self._folder, self._behavior = Path(folder), behavior
        super().__init__(*args, **kwargs)

    def do_HEAD(self):
        self._serve(with_body=False)

    def do_GET(self):
        self._serve(with_body=True)

    def log_message(self, *_):
        """Nothing on the terminal."""

    def _serve(self, *, with_body):
        path = unquote(urlsplit(self.path).path).lstrip("/")
        action = self._behavior.next(path)
        self._behavior.signed |= "Authorization" in self.headers
        if action == "fail":
            return self._send(self._behavior.status, b"on purpose")
        file = self._folder / path
        if not file.is_file():
            return self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
        body, status, headers = file.read_bytes(), 200, {}
        span = self.headers.get("Range")
        if span:
            body, headers = _part(body, span)
            status = 206
        return self._send(status, body if with_body else b"", headers, len(body), stall=action == "stall")

    def _send(self, status, body, headers=None, length=None, *, stall=False):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"one"')
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if stall:
            # Half of the answer, then silence: the worst that a network does.
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._behavior.closing.wait(self._behavior.stall_seconds)
            self.close_connection = True
            return
        self.wfile.write(body)


def _part(body, span):
    first, _, last = span.removeprefix("bytes=").partition("-")
    if not first:
        start, stop = len(body) - int(last), len(body)
    else:
        start, stop = int(first), int(last) + 1 if last else len(body)
    stop = min(stop, len(body))
    return body[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients hang up on stalled answers; that is what the tests want."""


@contextmanager
def serve(folder, **behavior):
    """Serve `folder`; yields the address, http://127.0.0.1:PORT, and the behavior with its counts."""
    how = Behavior(**behavior)
    server = _Server(("127.0.0.1", 0), partial(_Handler, folder=folder, behavior=how))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", how
    finally:
        how.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def seconds(action):
    """How long `action` takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start
