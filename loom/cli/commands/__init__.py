"""The commands, a module for each thing they are about."""

from __future__ import annotations
