"""Posts loom's notices to Slack. Needs NOTICES_SECRET (whsec_…) and SLACK_URL, an incoming webhook; PORT is 8766."""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["NOTICES_SECRET"].removeprefix("whsec_"))
SEEN: set[str] = set()  # a notice may come twice, with the same id; keep these in a database


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        id, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signature = base64.b64encode(hmac.digest(KEY, f"{id}.{at}.".encode() + body, "sha256")).decode()
        given = self.headers["webhook-signature"].split()
        if not any(hmac.compare_digest(f"v1,{signature}", each) for each in given) or abs(time.time() - int(at)) > 300:
            self.send_error(401)
            return
        event = json.loads(body)
        if id not in SEEN:
            what = event["type"].removeprefix("loom.").replace(".", " ")
            text = f"{what}: {event['data'].get('link', event['subject'])}"
            message = urllib.request.Request(os.environ["SLACK_URL"], json.dumps({"text": text}).encode())
            urllib.request.urlopen(message, timeout=10).close()  # an error is a 500, and loom tries again
            SEEN.add(id)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8766"))), Handler).serve_forever()
