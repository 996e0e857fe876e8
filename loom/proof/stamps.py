"""Time stamps of checkpoints by an authority (RFC 3161): that a checkpoint was there at a time, said by another."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from loom.errors import ConfigError
from loom.proof.errors import AnchorError
from loom.proof.exchange import exchange

__all__ = ["Stamp", "certificates_in", "read_stamp", "stamped"]


class Stamp(NamedTuple):
    """What an authority said: its whole answer, and the time in it."""

    token: bytes
    at: datetime

    @property
    def text(self) -> str:
        """The answer in base64."""
        return base64.b64encode(self.token).decode()


def stamped(url: str, message: bytes, *, timeout_s: float = 10.0) -> Stamp:
    """Have an authority stamp a message, of which it gets the SHA-512 alone; raise `AnchorError` where it does not."""
    rfc3161 = _rfc3161()
    request = rfc3161.TimestampRequestBuilder().data(message).nonce(nonce=True).build()
    answer = exchange("POST", url, request.as_bytes(), content_type="application/timestamp-query", timeout_s=timeout_s)
    if answer.status != 200:
        raise AnchorError(f"authority [{url}] answers [{answer.status}]; expected [200]: see what it says")
    try:
        found = rfc3161.decode_timestamp_response(answer.body)
        asked, said = request.nonce, found.tst_info.nonce
    except Exception as error:  # the package raises many kinds
        raise AnchorError(f"authority [{url}] gives no time stamp [{type(error).__name__}]; see what it is") from error
    if asked != said:
        raise AnchorError(f"authority [{url}] gives a time stamp of another request; expected that of this one")
    return read_stamp(answer.body, message)


def read_stamp(token: bytes | str, message: bytes, *, certificates: Sequence[Any] = ()) -> Stamp:
    """Return a time stamp, once it is of this message; raise `AnchorError` for any other.

    With `certificates`, roots that are trusted, the signature of the authority has to hold as well.
    """
    rfc3161 = _rfc3161()
    try:
        raw = base64.b64decode(token, validate=True) if isinstance(token, str) else token
        found = rfc3161.decode_timestamp_response(raw)
        imprint, at = found.tst_info.message_imprint.message, found.tst_info.gen_time
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise AnchorError("time stamp cannot be read; expected the answer of an authority: it is damaged") from error
    except Exception as error:  # the package raises many kinds
        raise AnchorError(f"time stamp cannot be read [{type(error).__name__}]; expected that of RFC 3161") from error
    if imprint != hashlib.sha512(message).digest():
        raise AnchorError("time stamp is of another text; expected that of this checkpoint")
    if certificates:
        builder = rfc3161.VerifierBuilder()
        for each in certificates:
            builder = builder.add_root_certificate(each)
        try:
            builder.build().verify_message(found, message)
        except Exception as error:  # see above
            raise AnchorError(f"signature of the time stamp does not hold [{error}]; see its authority") from error
    return Stamp(raw, at if at.tzinfo is not None else at.replace(tzinfo=UTC))


def certificates_in(path: Path) -> tuple[Any, ...]:
    """Return the certificates of a PEM file; raise `ConfigError` for a file that has none."""
    _rfc3161()
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return tuple(load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"certificates [{path}] cannot be read [{type(error).__name__}]; expected PEM: see its authority"
        ) from error


def _rfc3161() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise ConfigError(
            "time stamps need a package that is not there [rfc3161-client]; expected the extra [timestamps]: "
            "pip install 'loom-journal[timestamps]'"
        ) from error
    return rfc3161_client
