"""The section `web`: where the API listens, for which workspaces, and within which bounds."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field, field_validator

from loom.config import Section

__all__ = ["WebConfig"]


class WebConfig(Section):
    """What the API is set to. It listens on the loopback unless the config says otherwise."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65_535)
    workspaces: tuple[str, ...] = ()
    """Those that are served; by default the config's own."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=16_777_216)
    requests_per_minute: int = Field(default=6_000, ge=1, le=10_000_000)
    """Of one key."""
    failed_keys_per_minute: int = Field(default=20, ge=1, le=10_000_000)
    """Wrong keys of one peer, and wrong secrets of one key from one peer, before they are answered with 429."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses, or networks as 10.0.0.0/8, whose X-Forwarded-For says where a request comes from."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """For the head of a request to arrive."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """For the body of a request to arrive, and for an answer to be read."""
    max_connections: int = Field(default=512, ge=1, le=100_000)
    """At once; fewer where the process may not have twice as many descriptors."""
    drain_s: float = Field(default=10.0, ge=0, le=600)
    max_wait_s: float = Field(default=60.0, ge=0, le=600)
    """The longest wait for a reply that `Prefer: wait=N` gets."""
    max_streams: int = Field(default=64, ge=1, le=10_000)
    """Streams of events at once; one key has a quarter of them at most."""
    stream_max_s: float = Field(default=600.0, gt=0, le=86_400)
    """A stream of events ends after this; its client connects again, and goes on where it was."""
    heartbeat_s: float = Field(default=15.0, gt=0, le=600)
    """A stream without events sends a comment this often, by which a client that is gone is noticed."""

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for each in given:
            ip_network(each, strict=False)  # raises a ValueError that says what is wrong
        return given
