"""The commands, one module for each subject."""

from __future__ import annotations
