"""Inserts many rows with a statement compiled once: SQLAlchemy needs more time for each row than the database."""

from collections.abc import Sequence

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.sql.dml import Insert


class Many:
    """An insert of rows that have every column of a table, with types that need no conversion."""

    def __init__(self, statement: Insert, table: Table, dialect: Dialect) -> None:
        """Compile `statement`, which inserts into `table`."""
        self._names = [column.name for column in table.columns]
        compiled = statement.compile(dialect=dialect, column_keys=self._names)
        self._sql = str(compiled)
        self._positional = compiled.positional

    def execute(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert `rows`; their values are in the order of the table's columns."""
        if self._positional:
            connection.exec_driver_sql(self._sql, list(rows))
        else:
            connection.exec_driver_sql(self._sql, [dict(zip(self._names, row, strict=True)) for row in rows])
