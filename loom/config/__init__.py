"""Configuration: what a loom is set to, and how `loom.config.yaml` becomes that.

Config holds what cannot change an outcome; a number that can is a policy parameter and is registered.
Whatever is wrong with a file is one `ConfigError` that lists every problem with its key and its cure.
"""

from __future__ import annotations

from loom.config.listed import function_named, named_in
from loom.config.loading import CONFIG_NAME, find_config, load_config, parse_config
from loom.config.models import (
    ActorsConfig,
    AlertsConfig,
    JournalConfig,
    LoggingConfig,
    LoomConfig,
    OperationsConfig,
    ProjectionsConfig,
    RetentionConfig,
    ScheduleConfig,
    Secret,
    Section,
)

__all__ = [
    "CONFIG_NAME",
    "ActorsConfig",
    "AlertsConfig",
    "JournalConfig",
    "LoggingConfig",
    "LoomConfig",
    "OperationsConfig",
    "ProjectionsConfig",
    "RetentionConfig",
    "ScheduleConfig",
    "Secret",
    "Section",
    "find_config",
    "function_named",
    "load_config",
    "named_in",
    "parse_config",
]
