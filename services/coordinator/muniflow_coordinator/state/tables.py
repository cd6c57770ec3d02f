"""The tables, in SQL that SQLite and PostgreSQL both take."""

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 2
"""Raised with every change of a table; `upgrade.py` upgrades older schemas and refuses newer ones."""

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

# One row. Every write looks at it, so that nothing is written by a coordinator that was followed by another one.
leadership = Table(
    "leadership",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("since", Double, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(80), nullable=False, unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("municipality", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("cancelling", Boolean, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("destination", String(1024), nullable=False, unique=True),
    Column("submitted_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("report", Text),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("tallies", Text, nullable=False),
    Index("batches_by_state", "state", "number"),
    sqlite_autoincrement=True,
)

# The batch documents that are being read: their messages may be lost to a delivery limit before they are accepted.
documents = Table(
    "documents",
    metadata,
    Column("batch", ForeignKey(batches.c.number), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("batch", ForeignKey(batches.c.number), primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("stem", Text, nullable=False),
    Column("suffix", Text, nullable=False),
    Column("state", String(9), nullable=False),
    Column("run", Integer, nullable=False),
    Column("reasons", Text),
    sqlite_with_rowid=False,
)

# Done images are most of all rows and nobody looks for them by their state, so they stay out of this index.
not_done = images.c.state != "done"
Index(
    "images_not_done",
    images.c.batch,
    images.c.state,
    images.c.n,
    sqlite_where=not_done,
    postgresql_where=not_done,
)

leaves = Table(
    "leaves",
    metadata,
    Column("batch", ForeignKey(batches.c.number), primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("lineage", Text, primary_key=True),
    Column("reason", Text),
    Column("step", Integer, nullable=False),
    sqlite_with_rowid=False,
)

__all__ = ["SCHEMA_VERSION", "batches", "documents", "images", "leadership", "leaves", "metadata", "schema"]
