"""The sections `cluster` and `restate` of the config: the nodes of a cluster, and where its engine listens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from loom.config import LoomConfig, Section
from loom.config.models import Secret, refusal

__all__ = ["ClusterConfig", "RestateConfig", "cluster_of", "is_loopback"]

_NODE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
_SHORTEST_KEY = 32


def _address(text: str) -> str:
    """Return an address without a slash at its end; refuse what is no `http(s)://host:port`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None or not plain:
        raise refusal("http://host:port or https://host:port", "write the address of a node, with its port")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(address: str) -> bool:
    """Tell whether an address is one of this machine alone."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_Address = Annotated[str, AfterValidator(_address)]


class ClusterConfig(Section):
    """The nodes of a cluster, by name, and which of them this process is. Requests between them are signed."""

    node: str = ""
    """The name of this node."""
    nodes: Mapping[str, _Address] = Field(default_factory=dict, max_length=100)
    """Where each node takes requests of the others: they are sent to no other address."""
    key: Secret = Secret("")
    """The key that all nodes share: 32 characters or more."""
    wait_s: float = Field(default=10.0, gt=0, le=60)
    """For how long a node holds a request whose turn has not ended; then it is sent again."""
    connect_timeout_s: float = Field(default=1.0, gt=0, le=60)
    patience_s: float = Field(default=30.0, gt=0, le=3_600)
    """For how long a command is sent again while no node answers for its actor."""
    skew_s: float = Field(default=30.0, gt=0, le=300)
    """By how much the clocks of two nodes may differ."""

    @field_validator("nodes")
    @classmethod
    def _are_named(cls, nodes: Mapping[str, str]) -> Mapping[str, str]:
        if any(not _NODE.match(name) for name in nodes):
            raise refusal("names of nodes in [a-z, 0-9 and dashes, at most 32]", "choose other names")
        if len(set(nodes.values())) < len(nodes):
            raise refusal("an address of its own for each node", "correct one of them")
        return nodes

    @model_validator(mode="after")
    def _is_whole(self) -> ClusterConfig:
        if not self.nodes and not self.node:
            return self
        if self.node not in self.nodes:
            raise refusal("a [node] that is one of [nodes]", "name this node as it is named there")
        if len(self.key.get_secret_value()) < _SHORTEST_KEY:
            raise refusal(f"a [key] of at least [{_SHORTEST_KEY}] characters", "make one with `openssl rand -hex 32`")
        return self


def cluster_of(config: LoomConfig) -> ClusterConfig:
    """Return the cluster that a config names; one without nodes where it names none."""
    section = config.sections.get("cluster")
    return section if isinstance(section, ClusterConfig) else ClusterConfig()


class RestateConfig(Section):
    """Where Restate takes requests, and where this node takes those of Restate.

    `ingress` and `admin` have to be on the loopback, or to ask for the `token`: who reaches them unasked may give
    commands to actors.
    """

    ingress: _Address = "http://127.0.0.1:8080"
    token: Secret = Secret("")
    """Sent to the ingress as a bearer token, where something in front of it asks for one."""
    admin: _Address = "http://127.0.0.1:9070"
    """Where Restate learns of the worker."""
    worker: _Address = "http://127.0.0.1:9080"
    """Where this node takes requests of Restate."""
    deployment: _Address | None = None
    """The address under which Restate finds the worker of its own machine; the same on all machines."""
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    answer_timeout_s: float = Field(default=5.0, gt=0, le=3_600)
    """For how long an answer of Restate's is waited for; then the node of the actor is asked, or this one takes it."""
    claim_after_s: float = Field(default=5.0, gt=0, le=3_600)
    """For how long Restate may take to bring an actor to life whose node is gone; then a node that lives does it."""
    longest_turn_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """How long a turn may run without a wait: Restate calls again after that."""
    register_every_s: float = Field(default=1.0, gt=0, le=60)
    identity_key: str = Field(default="", pattern=r"^(publickeyv1_[1-9A-HJ-NP-Za-km-z]+)?$")
    """The public key with which Restate signs its requests: needed where the worker is not on the loopback."""

    @model_validator(mode="after")
    def _is_closed(self) -> RestateConfig:
        if not is_loopback(self.ingress) and not self.token.get_secret_value():
            raise refusal("an [ingress] on the loopback, or a [token]", "put authentication in front of it")
        if not is_loopback(self.worker) and not self.identity_key:
            raise refusal("a [worker] on the loopback, or an [identity_key]", "turn on Restate's request signing")
        return self
