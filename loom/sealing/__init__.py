"""Sealing: values that are encrypted before they are written, and subjects that can be erased."""

from __future__ import annotations

from loom.sealing.config import SealingConfig
from loom.sealing.erasures import Erasures, SubjectErasedEntry, is_sealed
from loom.sealing.fields import Fields, Handling, Protected
from loom.sealing.vault import MASTER_KEY, Vault, master_key

__all__ = [
    "MASTER_KEY",
    "Erasures",
    "Fields",
    "Handling",
    "Protected",
    "SealingConfig",
    "SubjectErasedEntry",
    "Vault",
    "is_sealed",
    "master_key",
]
