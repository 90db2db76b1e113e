#!/usr/bin/env python3
"""A commerce backend for Vitrine: decides who may publish, and hears what becomes of it (docs/hooks.md).

    HOOK_SECRET=whsec_... STREAM_KEY=... STREAM_ID=shop42 PORT=9000 python3 hook_backend.py

Both `hooks.admission_url` and the url of a [[hooks.endpoints]] point at http://127.0.0.1:9000/hooks, with that secret.
Standard library only. What is not signed by who knows the secret is answered 401, and for a publisher that is a no.
"""
import base64
import hmac
import json
import os
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

SECRET = base64.b64decode(os.environ["HOOK_SECRET"].removeprefix("whsec_"))
STREAM_KEY = os.environ.get("STREAM_KEY", "demo-key").encode()
STREAM_ID = os.environ.get("STREAM_ID", "demo")
TOLERANCE_S = 5 * 60  # older, or further ahead: it may be a replay
BODY_MAX = 64 * 1024
IDS_MAX = 10_000

seen, lock = OrderedDict(), Lock()  # in a real shop: a unique column, written with what the event changes


def is_genuine(headers, body):
    """Standard Webhooks: HMAC-SHA256 over id.timestamp.body; several signatures while a secret rotates."""
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    digest = hmac.digest(SECRET, f"{identity}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any([hmac.compare_digest(expected, signature) for signature in given])


def admit(data):
    if hmac.compare_digest(data.get("stream_key", "").encode(), STREAM_KEY):
        return {"allow": True, "stream_id": STREAM_ID}
    return {"allow": False, "reason": "unknown stream key"}


def is_new(identity):
    """Events come at least once: the same id is the same event."""
    with lock:
        fresh = identity not in seen
        seen[identity] = None
        if len(seen) > IDS_MAX:
            seen.popitem(last=False)
        return fresh


class Hooks(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if 0 <= length <= BODY_MAX else b""
        if self.path != "/hooks" or not is_genuine(self.headers, body):
            return self.answer(401)
        hook = json.loads(body)
        if hook["type"] == "publish.requested":
            return self.answer(200, json.dumps(admit(hook["data"])).encode())
        if is_new(self.headers["webhook-id"]):
            print(hook["type"], json.dumps(hook["data"]), flush=True)
        self.answer(204)

    def answer(self, status, body=b""):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Hooks)
print(f"listening 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
