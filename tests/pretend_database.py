"""A database with a password in its address that is a file in truth; SQLAlchemy finds it as ``pretend``."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

FILE = "PRETEND_DATABASE"


class Dialect(SQLiteDialect_pysqlite):
    """SQLite behind an address; with a host called ``down`` the driver says what it was given, as some do."""

    supports_statement_cache = True

    def create_connect_args(self, url: Any) -> tuple[list[str], dict[str, Any]]:
        if url.host == "down":
            return [f"/no/such/place host=down user={url.username} password={url.password}"], {}
        return [os.environ[FILE]], {"check_same_thread": False}

    def connect(self, *arguments: Any, **options: Any) -> Any:
        if "host=down" in str(arguments):
            raise self.dbapi.OperationalError(f"could not connect: {arguments[0]}")
        return super().connect(*arguments, **options)


registry.register("pretend", "tests.pretend_database", "Dialect")
