"""A small OpenID Connect issuer on the loopback, over real HTTP: discovery, codes with PKCE, tokens, keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

CLIENT = "loom"
CLIENT_SECRET = "what both of them know"


@dataclass
class Issuer:
    """An issuer for one person; `wrong` changes a claim of its tokens, and `signs_with` how they are signed."""

    url: str = ""
    wrong: dict[str, Any] = field(default_factory=dict)
    signs_with: str = "ES256"
    says: dict[str, Any] = field(default_factory=dict)
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "k1"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        async def discovery() -> dict[str, Any]:
            paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in paths.items()}, **self.says}

        @app.get("/authorize")
        async def authorize(request: Request) -> RedirectResponse:
            asked = dict(request.query_params)
            code = secrets.token_urlsafe(16)
            self.codes[code] = asked
            query = urlencode({"code": code, "state": asked["state"], "iss": self.url})
            return RedirectResponse(f"{asked['redirect_uri']}?{query}", status_code=302)

        @app.post("/token")
        async def token(request: Request) -> JSONResponse:
            given = dict(parse_qsl((await request.body()).decode()))
            asked = self.codes.pop(given["code"], None)
            digest = hashlib.sha256(given["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            fits = asked is not None and (challenge, given["redirect_uri"], given["client_secret"]) == (
                asked["code_challenge"],
                asked["redirect_uri"],
                CLIENT_SECRET,
            )
            if not fits or asked is None:
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
            return JSONResponse({"token_type": "Bearer", "access_token": "x", "id_token": self._token(asked["nonce"])})

        @app.get("/keys")
        async def keys() -> dict[str, Any]:
            return {"keys": [self.key.as_dict(private=False)]}

        return app

    def _token(self, nonce: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "7",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "m.berg@example.org",
            "email_verified": True,
            **self.wrong,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.signs_with == "HS256":
            return jwt.encode({"alg": "HS256", "kid": "k1"}, claims, OctKey.import_key(CLIENT_SECRET))
        key = self.key if self.signs_with == "ES256" else ECKey.generate_key("P-256")
        return jwt.encode({"alg": "ES256", "kid": "k1"}, claims, key)


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Run an issuer on a free port."""
    issuer = Issuer()
    listener = socket.create_server(("127.0.0.1", 0))
    issuer.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(issuer.app(), log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
        assert not serving.done(), serving.exception()
    try:
        yield issuer
    finally:
        server.should_exit = True
        await serving
