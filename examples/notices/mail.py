"""Mails loom's notices. Needs NOTICES_SECRET (whsec_…), SMTP_HOST, MAIL_FROM, MAIL_TO; PORT is 8767, SMTP_PORT 25."""

from __future__ import annotations

import base64
import hmac
import json
import os
import smtplib
import time
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["NOTICES_SECRET"].removeprefix("whsec_"))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        id, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signature = base64.b64encode(hmac.digest(KEY, f"{id}.{at}.".encode() + body, "sha256")).decode()
        given = self.headers["webhook-signature"].split()
        if not any(hmac.compare_digest(f"v1,{signature}", each) for each in given) or abs(time.time() - int(at)) > 300:
            self.send_error(401)
            return
        event, mail = json.loads(body), EmailMessage()
        mail["From"], mail["To"] = os.environ["MAIL_FROM"], os.environ["MAIL_TO"]
        mail["Subject"] = event["type"].removeprefix("loom.").replace(".", " ")
        mail["Message-ID"] = f"<{id}@loom>"  # mail programs show a notice that comes twice once
        mail.set_content(event["data"].get("link", event["subject"]))
        with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "25")), timeout=10) as smtp:
            smtp.send_message(mail)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8767"))), Handler).serve_forever()
