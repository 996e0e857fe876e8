"""What `loom doctor` looks at: the machine, the place, whether a loom starts, the journal, who runs, the views."""

from __future__ import annotations

from loom.doctor.examination import examine
from loom.doctor.machine import check_machine

__all__ = ["check_machine", "examine"]
