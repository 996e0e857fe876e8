"""Reports: a run, or a time, as one HTML file, made from the journal alone."""

from __future__ import annotations

from loom.reports.about import Period
from loom.reports.report import report, report_name, write_report

__all__ = ["Period", "report", "report_name", "write_report"]
