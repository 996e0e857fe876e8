"""Notices: signed webhooks that say that something happened, and where to read it."""

from __future__ import annotations

from loom.notices.config import EndpointConfig, NoticesConfig
from loom.notices.entries import (
    NOTICES_JOURNAL,
    NoticeDeadEntry,
    NoticeDeliveredEntry,
    NoticeRaisedEntry,
    NoticeRetriedEntry,
    NoticesReachedEntry,
)
from loom.notices.notice import Notice
from loom.notices.register import EndpointStatus, NoticesRegister
from loom.notices.signing import signed

__all__ = [
    "NOTICES_JOURNAL",
    "EndpointConfig",
    "EndpointStatus",
    "Notice",
    "NoticeDeadEntry",
    "NoticeDeliveredEntry",
    "NoticeRaisedEntry",
    "NoticeRetriedEntry",
    "NoticesConfig",
    "NoticesReachedEntry",
    "NoticesRegister",
    "signed",
]
