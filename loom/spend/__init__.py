"""Spend: what calls of models may cost, reserved before and settled after; prices."""

from __future__ import annotations
