"""The URL of a workspace in PostgreSQL, whose password appears in no text that is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from loom.errors import ConfigError
from loom.identity import check_workspace

__all__ = ["SCHEMES", "PostgresUrl", "is_postgres", "refuse_password", "without_password"]

SCHEMES = ("postgresql://", "postgres://")
_LIBPQ = frozenset(
    {
        "host",
        "port",
        "user",
        "passfile",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
        "ssl_min_protocol_version",
    }
)
_OWN = frozenset({"workspace", "schema"})
_MAX_SCHEMA = 63  # bytes that PostgreSQL keeps of a name
_CHANNEL = "loom:"


def is_postgres(source: object) -> bool:
    """Tell whether a text is the URL of a workspace in PostgreSQL."""
    return isinstance(source, str) and source.startswith(SCHEMES)


@dataclass(frozen=True)
class PostgresUrl:
    """What a URL says: where the server is, which database and which workspace.

    `postgresql://user@host:5432/database?workspace=default`; a second host and port after a comma is tried where the
    first is not a primary. `dsn` has no password: that is kept apart, and also looked for in PGPASSWORD, and in the
    password file, as `psql` does. `schema` is the PostgreSQL schema with the tables.
    """

    dsn: str
    database: str
    workspace: str
    schema: str
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, *, workspace: str | None = None) -> PostgresUrl:
        """Read a URL; raise `ConfigError` for one without a database, or with options that are not known."""
        shown = without_password(text)
        try:
            parts = urlsplit(text)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise ConfigError(
                f"store URL [{shown}] cannot be read [{_harmless(error, text)}]; "
                "expected [postgresql://user@host:5432/database?workspace=default]: correct it"
            ) from None
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # what looks like a database is part of the password
            raise ConfigError(
                f"store URL [{shown}] has an [@] after a [/], [?] or [#]; expected these escaped in a password, and an "
                "[@] in other names: write %2F, %3F, %23 and %40"
            )
        database = unquote(parts.path.removeprefix("/"))
        if not database:
            raise ConfigError(
                f"store URL [{shown}] names no database; expected [postgresql://user@host:5432/database]: add its name"
            )
        if unknown := sorted(options.keys() - _LIBPQ - _OWN):
            raise ConfigError(
                f"store URL [{shown}] has unknown options [{', '.join(unknown)}]; expected those of "
                f"[{', '.join(sorted(_OWN | _LIBPQ))}]: remove them"
            )
        account, at, hosts = parts.netloc.rpartition("@")
        user, colon, password = account.partition(":")
        named = options.get("workspace")
        if workspace is not None and named is not None and workspace != named:
            raise ConfigError(
                f"store URL [{shown}] names workspace [{named}]; expected [{workspace}]: name one of them"
            )
        name = check_workspace(workspace or named or "default")
        kept = urlencode({key: value for key, value in options.items() if key in _LIBPQ})
        dsn = f"postgresql://{user}{at}{hosts}/{quote(database)}" + (f"?{kept}" if kept else "")
        return cls(dsn, database, name, _schema(options.get("schema"), name), unquote(password) if colon else None)

    @property
    def channel(self) -> str:
        """The channel on which processes notify each other."""
        return f"{_CHANNEL}{self.schema}"[:_MAX_SCHEMA]

    @property
    def has_password(self) -> bool:
        """Whether the URL itself contains a password."""
        return self.password is not None

    def __str__(self) -> str:
        more = "&" if "?" in self.dsn else "?"
        return f"{self.dsn}{more}workspace={self.workspace}"


def refuse_password(text: str) -> None:
    """Raise `ConfigError` for a URL with a password that was given in a command line, which all users can read."""
    if PostgresUrl.parse(text).has_password:
        raise ConfigError(
            f"store URL [{without_password(text)}] has a password, and the command line is shown to all users of the "
            "machine; expected none there: set PGPASSWORD, use a password file, or journal.url in the config"
        )


def without_password(text: str) -> str:
    """Return a URL as it may be shown: without what is between the user and the last @, and without options."""
    scheme, slashes, rest = text.partition("://")
    account, at, place = rest.rpartition("@")  # also where a password has a character that was not escaped
    user = account.partition(":")[0]
    return f"{scheme}{slashes}{user}{at}{place.partition('?')[0]}"


def _schema(named: str | None, workspace: str) -> str:
    schema = named or f"loom_{workspace}"
    if not 0 < len(schema.encode()) <= _MAX_SCHEMA or not schema.isprintable() or '"' in schema:
        raise ConfigError(
            f"schema [{schema!a}] is no name for PostgreSQL; expected 1 to [{_MAX_SCHEMA}] printable bytes without "
            "quotes: add [schema=…] to the URL"
        )
    return schema


def _harmless(error: ValueError, text: str) -> str:
    """Return what an error says, unless it repeats part of the URL."""
    return str(error) if "@" not in text else type(error).__name__
