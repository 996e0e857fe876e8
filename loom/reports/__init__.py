"""Reports: a run as one HTML file, made from the journal alone."""

from __future__ import annotations

from loom.reports.report import report, report_name, write_report

__all__ = ["report", "report_name", "write_report"]
