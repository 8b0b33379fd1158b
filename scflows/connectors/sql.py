"""Connections to SQL databases: PostgreSQL, MariaDB and SQLite. SQLAlchemy is imported on first use.

Every connection is used for one transaction. A statement ends on the server when the step's time is over.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager

from scflows.connectors.tables import import_optional
from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sqlalchemy import Connection, Engine

    from scflows.connectors.endpoint import Fields

#: The schemes of URLs with their drivers, which are always named: SQLAlchemy's defaults change between its versions.
DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "postgres": "postgresql+psycopg2",
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
}
#: The fields of a secret for the parts of a URL.
FIELDS = ("username", "password", "host", "database")
#: How often a transaction is tried that the server ended for the sake of another one.
ATTEMPTS = 6
#: SQLSTATEs and error numbers of such ends: serialization failures, deadlocks, two sessions that create one table.
CONFLICTS = {"40001", "40P01", 1020, 1205, 1213}
#: SQLSTATE classes and error numbers of servers that do not answer for now: connection lost, shutdown, too many.
AWAY = ("08", "57P0", "53300")
AWAY_NUMBERS = {1040, 1053, 1203, 2002, 2003, 2006, 2013}


def database_url(secret: Fields) -> tuple[Any, str]:
    """Return the URL of a secret with `url`, or with `host` and `database`, and its driver; for SQLite the file.

    Raises UsageError, MissingExtra.
    """
    sqlalchemy = import_sqlalchemy()
    fields = {name: secret[name] for name in secret}
    written = fields.get("url") or fields.get("uri") or "postgresql://"
    if written == "postgresql://" and not fields.get("host"):
        raise UsageError("no server: set `url`, or `host` and `database`, in the secret")
    known = ", ".join(f"{scheme}://" for scheme in ("postgresql", "mariadb", "sqlite"))
    try:
        url = sqlalchemy.make_url(written)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UsageError(f"`url` is not a valid URL; use {known}") from error
    scheme = url.drivername.partition("+")[0]
    if scheme == "sqlite":
        return url, "sqlite"
    if url.drivername not in DRIVERS and url.drivername not in DRIVERS.values():
        raise UsageError(f"`url` starts with {url.drivername}://; use {known}")
    given: dict[str, Any] = {name: fields[name] for name in FIELDS if fields.get(name)}
    if fields.get("port"):
        if not fields["port"].isdigit():
            raise UsageError("`port` must be a number")
        given["port"] = int(fields["port"])
    url = url.set(drivername=DRIVERS[scheme], **given)
    if not url.database:
        raise UsageError("no database: set it as the path of `url`, or as `database`, in the secret")
    if scheme.startswith("postgres"):
        import_optional("psycopg2", "postgres")
    else:
        import_optional("pymysql", "mariadb")
    return url, scheme


def import_sqlalchemy() -> Any:
    """Return the library. Raises MissingExtra."""
    sqlalchemy = import_optional("sqlalchemy", "database")
    import_optional("sqlalchemy.exc", "database")
    return sqlalchemy


class Database:
    """A database that a step talks to, each transaction on a connection of its own."""

    def __init__(self, engine: Engine, shown: str, pause: Callable[[float], None]) -> None:
        self._engine = engine
        self.shown = shown  #: its name for messages, without a login
        self._pause = pause
        self.kind = "mariadb" if engine.dialect.name in ("mariadb", "mysql") else engine.dialect.name

    @classmethod
    def at_server(
        cls, secret: Fields, read_only: bool, remaining: Callable[[], float], pause: Callable[[float], None]
    ) -> Database:
        """Return the database of a secret. `remaining` gives the seconds a call may take. Raises UsageError."""
        url, scheme = database_url(secret)
        assert scheme != "sqlite"
        postgres = scheme.startswith("postgres")
        options = (_postgres_options if postgres else _mariadb_options)(url, secret, remaining())
        engine = _create_engine(url, options)
        (_prepare_postgres if postgres else _prepare_mariadb)(engine, read_only, remaining)
        return cls(engine, f"database {url.database!r} at {url.host or 'the local socket'}", pause)

    @classmethod
    def in_file(
        cls,
        path: str,
        shown: str,
        read_only: bool,
        remaining: Callable[[], float],
        check: Callable[[], None],
        pause: Callable[[float], None],
    ) -> Database:
        """Return the SQLite database in a file; `check` is called while a statement runs. Raises StepError."""
        sqlalchemy = import_sqlalchemy()
        if read_only and not os.path.isfile(path):
            raise StepError(f"{shown}: there is no such SQLite file")
        from urllib.parse import quote

        url = sqlalchemy.URL.create(
            "sqlite+pysqlite",
            database=f"file:{quote(path)}",
            query={"uri": "true", "mode": "ro" if read_only else "rwc"},
        )
        engine = _create_engine(url, {"timeout": remaining(), "isolation_level": None})
        _prepare_sqlite(engine, read_only, remaining, check)
        return cls(engine, shown, pause)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Connect and begin a transaction, which is rolled back after an exception. Raises StepError."""
        with self._engine.begin() as connection:
            yield connection

    def run(self, work: Callable[[Connection], Any]) -> Any:
        """Call `work` with a connection in a transaction; again if the server ended it for the sake of another.

        Raises StepError with the server's message.
        """
        from sqlalchemy.exc import SQLAlchemyError

        attempt = 1
        while True:
            try:
                with self.transaction() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                if attempt >= ATTEMPTS or not _is_conflict(error):
                    raise self.failure(error) from error
            # Longer and longer, and not the same for two that met.
            self._pause(0.05 * 2**attempt * (0.5 + random.random()))
            attempt += 1

    def failure(self, error: Exception) -> StepError:
        """Return the error of a step for one of SQLAlchemy, without statement and values."""
        code = _code_of(error)
        failure = StepError(f"{self.shown}: {_message_of(error)}")
        failure.is_temporary = (
            _is_conflict(error) or code in AWAY_NUMBERS or (isinstance(code, str) and code.startswith(AWAY))
        )
        if code is None and self.kind == "postgresql" and type(error).__name__ == "OperationalError":
            failure.is_temporary = True  # no connection, so no answer with a code
        return failure


def _create_engine(url: Any, options: dict[str, Any]) -> Engine:
    from sqlalchemy import NullPool, create_engine

    return create_engine(url, poolclass=NullPool, connect_args=options, hide_parameters=True)


def _postgres_options(url: Any, secret: Fields, seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {"connect_timeout": max(2, int(seconds)), "application_name": "scflows"}
    if "ca" in secret:
        options |= {"sslmode": "verify-full", "sslrootcert": secret["ca"]}
    return {name: value for name, value in options.items() if name not in url.query}


def _mariadb_options(url: Any, secret: Fields, seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {"connect_timeout": max(1, int(seconds)), "read_timeout": None, "charset": "utf8mb4"}
    if "ca" in secret:
        options["ssl"] = {"ca": secret["ca"], "check_hostname": True}
    return {name: value for name, value in options.items() if name not in url.query}


def _prepare_postgres(engine: Engine, read_only: bool, remaining: Callable[[], float]) -> None:
    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"set statement_timeout = {max(1, int(remaining() * 1000))}")
            if connection.server_version >= 140000:
                # The server ends the statement if this process is killed.
                cursor.execute("set client_connection_check_interval = '2s'")
            if read_only:
                cursor.execute("set default_transaction_read_only = on")
        connection.commit()

    _on_connect(engine, prepare)


def _prepare_mariadb(engine: Engine, read_only: bool, remaining: Callable[[], float]) -> None:
    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            # Otherwise a value that does not fit is shortened with nothing but a warning.
            cursor.execute("set session sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES'), time_zone = '+00:00'")
            if "MariaDB" in connection.get_server_info():
                cursor.execute(f"set session max_statement_time = {max(0.001, remaining()):.3f}")
            else:
                cursor.execute(f"set session max_execution_time = {max(1, int(remaining() * 1000))}")
            if read_only:
                cursor.execute("set session transaction read only")
        connection.commit()

    _on_connect(engine, prepare)


def _prepare_sqlite(engine: Engine, read_only: bool, remaining: Callable[[], float], check: Callable[[], None]) -> None:
    from sqlalchemy import event

    ends = time.monotonic() + remaining()

    def prepare(connection: Any, _record: Any) -> None:
        def progress() -> int:
            check()
            return int(time.monotonic() > ends)

        connection.set_progress_handler(progress, 100_000)
        connection.execute("pragma foreign_keys = on")

    def begin(connection: Any) -> None:
        # A transaction that reads first and writes later would fail where another one has written in between.
        connection.exec_driver_sql("begin" if read_only else "begin immediate")

    _on_connect(engine, prepare)
    event.listen(engine, "begin", begin)


def _on_connect(engine: Engine, prepare: Callable[[Any, Any], None]) -> None:
    from sqlalchemy import event

    event.listen(engine, "connect", prepare)


def _is_conflict(error: Exception) -> bool:
    code = _code_of(error)
    if code in CONFLICTS:
        return True
    original = getattr(error, "orig", None)
    constraint = getattr(getattr(original, "diag", None), "constraint_name", None) or ""
    # PostgreSQL: two sessions created the same table, which `if not exists` does not prevent.
    return code == "23505" and constraint.startswith("pg_")


def _code_of(error: Exception) -> Any:
    """Return the SQLSTATE of PostgreSQL or the error number of MariaDB; None if there is none."""
    original = getattr(error, "orig", None)
    code = getattr(original, "pgcode", None)
    if code is None and original is not None and original.args and isinstance(original.args[0], int):
        return original.args[0]
    return code


def _message_of(error: Exception) -> str:
    original = getattr(error, "orig", None)
    if original is None:
        # The first line: the rest are a statement and a link.
        return str(error).strip().partition("\n")[0]
    arguments = original.args
    if len(arguments) == 2 and isinstance(arguments[0], int):
        return " ".join(str(arguments[1]).split())
    # PostgreSQL: the message, and the line `DETAIL:`, without the excerpt of the statement in between.
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    details = [line for line in lines[1:] if line.startswith(("DETAIL:", "HINT:"))]
    return " ".join(lines[:1] + details) or type(original).__name__
