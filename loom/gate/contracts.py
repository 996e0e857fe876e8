"""The registry of contracts, and the handshake by which an agent shows that it knows the one it works by."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from loom.config.written import read_written
from loom.errors import AdmissionError, ConfigError
from loom.gate.contract import ResponsibilityContract, fits
from loom.gate.entries import ContractRegisteredEntry, HandshakeEntry
from loom.identity import By, Identity, check_person, journal_name
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["CONTRACTS_JOURNAL", "Contracts", "Handshake", "contract_of", "load_contract", "token_hash"]

CONTRACTS_JOURNAL = "gate/contracts"

_MOST_BYTES = 262_144


class Handshake(NamedTuple):
    """What came of a handshake: a token where it was taken, and a code that says why not where it was refused."""

    code: str
    token: str | None = None
    contract: ResponsibilityContract | None = None

    @property
    def ok(self) -> bool:
        """Whether the agent may propose, as far as the contract goes. Its standing is another matter."""
        return self.token is not None


class Contracts:
    """What was registered and who shook hands, out of one journal."""

    def __init__(
        self,
        store: JournalReader,
        *,
        make_draft: Callable[[Entry], Draft] = draft,
        new_token: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        self._journal = SingletonJournal(store, CONTRACTS_JOURNAL, self._fold, make_draft=make_draft)
        self._new_token = new_token
        self._versions: dict[str, dict[str, ResponsibilityContract]] = {}
        self._sessions: dict[str, HandshakeEntry] = {}

    async def load(self) -> None:
        """Read what was registered."""
        await self._journal.load()

    async def register(
        self, contract: ResponsibilityContract, *, by: By, reason: str | None = None
    ) -> ResponsibilityContract:
        """Register a version of a contract in the name of a person; another content under its version is refused."""
        if contract.escalate_to is not None:
            check_person(contract.escalate_to, what="escalate_to")
        entry = ContractRegisteredEntry(
            **Identity.of(by).written(), contract=contract, contract_hash=contract.hash, reason=reason
        )

        def missing() -> Entry | None:
            known = self._versions.get(contract.contract_id, {}).get(contract.version)
            if known is not None and known != contract:
                raise AdmissionError(
                    f"contract [{contract.contract_id}] has a version [{contract.version}] with another content; "
                    "expected a new version for it: raise the number"
                )
            return entry if known is None else None

        await self._journal.append_if_missing(missing)
        return contract

    async def handshake(self, agent: str, *, contract_id: str, requirement: str, contract_hash: str) -> Handshake:
        """Take an agent's word that it knows its contract; a newer handshake ends the session of an earlier one.

        It never changes a standing: an agent that is suspended stays so.
        """
        journal_name("gate", agent)
        token = self._new_token()
        contract, code = self._meant(contract_id, requirement, contract_hash)
        entry = HandshakeEntry.model_validate(
            {
                "agent": agent,
                "contract_id": contract_id,
                "requirement": requirement,
                "contract_hash": contract_hash,
                "code": code,
                "version": None if contract is None else contract.version,
                "token_hash": None if contract is None else token_hash(token),
            }
        )
        await self._journal.append_if_missing(lambda: entry)
        return Handshake(code, None if contract is None else token, contract)

    def contract_of(self, agent: str) -> ResponsibilityContract | None:
        """Return the contract that an agent's session stands on; None without a session."""
        session = self._sessions.get(agent)
        if session is None or session.version is None:
            return None
        return self._versions[session.contract_id][session.version]

    def holds(self, agent: str, presented: str | None) -> bool:
        """Tell whether the hash of a token is that of the agent's session."""
        session = self._sessions.get(agent)
        if session is None or session.token_hash is None or presented is None:
            return False
        return hmac.compare_digest(session.token_hash, presented)

    def all(self) -> tuple[ResponsibilityContract, ...]:
        """Return every version of every contract."""
        return tuple(each for versions in self._versions.values() for each in versions.values())

    def _meant(
        self, contract_id: str, requirement: str, contract_hash: str
    ) -> tuple[ResponsibilityContract | None, str]:
        versions = list(self._versions.get(contract_id, {}).values())
        if not versions:
            return None, "CONTRACT_UNKNOWN"
        fitting = [each for each in versions if fits(each.version, requirement)]
        if not fitting:
            return None, "VERSION_MISMATCH"
        contract = max(fitting, key=lambda each: tuple(map(int, each.version.split("."))))
        if not hmac.compare_digest(contract.hash.encode(), contract_hash.encode()):
            return None, "CONTRACT_HASH_MISMATCH"
        return contract, "HANDSHAKE_OK"

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, ContractRegisteredEntry):
            contract = entry.contract
            self._versions.setdefault(contract.contract_id, {})[contract.version] = contract
        elif isinstance(entry, HandshakeEntry) and entry.code == "HANDSHAKE_OK":
            self._sessions[entry.agent] = entry


def load_contract(path: str | Path) -> ResponsibilityContract:
    """Return the contract in a YAML file; raise `ConfigError` for one that is none."""
    return contract_of(_read(Path(path)), source=str(path))


def contract_of(written: Mapping[str, Any], *, source: str = "<contract>") -> ResponsibilityContract:
    """Return a contract from plain data.

    `max_discount_pct` and `min_discount_pct` are short for a limit and a floor of `discount_offered`.
    """
    plain = dict(written)
    for short, bounds in (("max_discount_pct", "limits"), ("min_discount_pct", "floors")):
        if short in plain:
            known = plain.get(bounds)
            plain[bounds] = {**(known if isinstance(known, Mapping) else {}), "discount_offered": plain.pop(short)}
    try:
        return ResponsibilityContract.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"contract in [{source}] is none at [{where}] [{first['msg']}]: correct it") from error


def _read(path: Path) -> Mapping[str, Any]:
    written = read_written(
        path, yaml.safe_load, what="contract file", problem=ConfigError, fewer="shorten it", most=_MOST_BYTES
    )
    if not isinstance(written, Mapping):
        raise ConfigError(f"contract file [{path}] holds no mapping; expected the keys of a contract: write them")
    return written


def token_hash(token: str) -> str:
    """Return what is kept of a session token."""
    return hashlib.sha256(f"loom/gate-token/v1\n{token}".encode()).hexdigest()
