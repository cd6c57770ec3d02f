"""The tables, for SQLite and PostgreSQL."""

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
    literal_column,
)

from muniflow.model.budget import Amounts
from muniflow.model.owners import DEFAULT_OWNER

SCHEMA_VERSION = 2
"""Incremented with every change of a table; `upgrade.py` upgrades older schemas and rejects newer ones. A new table
or column that an earlier version may ignore without harm leaves it as it is, so that the earlier version still
starts."""

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

# One row. Every write checks it, so a coordinator writes nothing after another one has taken over.
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
    # Added to version 2: an earlier coordinator knows nothing of it, and what it inserts belongs to `default`.
    Column("owner", String(80), nullable=False, server_default=DEFAULT_OWNER),
    Column("keep_days", Double),
    # When its report took the place of its images, and whether rows of them are still to be deleted.
    Column("archived_at", Double),
    Column("rows_left", Boolean),
    Index("batches_by_state", "state", "number"),
    Index("batches_by_owner", "owner", "number"),
    sqlite_autoincrement=True,
)

# Documents of batches in state `intake`: the delivery limit may remove their messages before they are accepted.
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
    Column("reason_code", Text),
    Column("operation", Text),
    Column("failed_at", Double),
    Column("dropped", Boolean),
    # `Blob.version` of the source when the list was read.
    Column("version", Text),
    # What outputs keep of the metadata of the source: words with commas between.
    Column("metadata", Text),
    sqlite_with_rowid=False,
)

# Most rows are done images, and no query searches for them by state, so this index omits them.
not_done = images.c.state != "done"
Index(
    "images_not_done",
    images.c.batch,
    images.c.state,
    images.c.n,
    sqlite_where=not_done,
    postgresql_where=not_done,
)

# The failures that people see, replay and drop, in the order in which they are listed and counted: an index that holds
# all that a count needs, so that a million of them are counted without reading their rows. SQLite does so only where
# the columns of its condition are in it, too.
failure = (images.c.state == literal_column("'failed'")) & images.c.dropped.is_(None)
Index(
    "images_failed",
    images.c.batch,
    images.c.reason_code,
    images.c.operation,
    images.c.n,
    images.c.state,
    images.c.dropped,
    sqlite_where=failure,
    postgresql_where=failure,
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
    Column("code", Text),
    Column("sums", LargeBinary),
    sqlite_with_rowid=False,
)

# Dead letters that are no task of a batch in this database; a failed image is in `images`.
letters = Table(
    "letters",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("queue", Text, nullable=False),
    Column("batch", Text),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

# Batches that were refused; they never had a row in `batches`, or have lost it.
rejections = Table(
    "rejections",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("batch", Text, nullable=False),
    Column("municipality", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("faults", Text, nullable=False),
    Column("owner", String(80), nullable=False, server_default=DEFAULT_OWNER),
    # The reason codes of its faults, as a JSON list; where none has one, nothing.
    Column("codes", Text),
    # What people call it; none in those of earlier builds.
    Column("name", Text),
    Index("rejections_by_batch", "batch", "number"),
    Index("rejections_by_owner", "owner", "number"),
    sqlite_autoincrement=True,
)

# Who did what. Rows are added, never changed.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(80), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("action", String(16), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("by", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_by_batch", "batch", "number"),
)

# What owners were charged on each day of UTC (days since 1970), by `muniflow.model.budget.Amounts`.
spending = Table(
    "spending",
    metadata,
    Column("owner", String(80), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Double, nullable=False) for name in Amounts._fields),
)

# The ends of batches that are told to a URL: those that wait, and those that were given up. What was delivered is gone.
webhooks = Table(
    "webhooks",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("event", String(80), nullable=False, unique=True),
    *(Column(name, String(80), nullable=False) for name in ("owner", "batch")),
    *(Column(name, Text, nullable=False) for name in ("url", "host")),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("dead_at", Double),
    *(Column(name, Text) for name in ("code", "error")),
    Index("webhooks_due", "dead_at", "next_at"),
    sqlite_autoincrement=True,
)

# The SHA-256 of the source and of each output of a done image, 32 bytes each, in split order. No foreign key: a build
# that does not know this table may delete a batch.
checksums = Table(
    "checksums",
    metadata,
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("sums", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What is being erased, until it is. `image` is -1 for a whole batch.
erasures = Table(
    "erasures",
    metadata,
    Column("batch", String(80), primary_key=True),
    Column("image", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(80), nullable=False),
    Column("by", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("asked_at", Double, nullable=False),
)

# What the coordinator has learned. It may be lost without harm to any batch.
service_times = Table(
    "service_times",
    metadata,
    Column("key", String(120), primary_key=True),
    Column("task_class", Text, nullable=False),
    Column("sums", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)

# The forecasts at acceptance, and what came. It may be lost without harm to any batch.
forecasts = Table(
    "forecasts",
    metadata,
    Column("batch", String(80), primary_key=True),
    Column("submitted_at", Double, nullable=False),
    Column("finish_s", Double),
    Column("p50_s", Double),
    Column("p90_s", Double),
    Column("actual_s", Double),
    Column("ended_at", Double),
    Column("reopened_at", Double),
)

ADDED = (
    batches.c.owner,
    batches.c.keep_days,
    batches.c.archived_at,
    batches.c.rows_left,
    images.c.reason_code,
    images.c.operation,
    images.c.failed_at,
    images.c.dropped,
    images.c.version,
    images.c.metadata,
    leaves.c.code,
    leaves.c.sums,
    rejections.c.owner,
    rejections.c.codes,
    rejections.c.name,
)
"""Columns that came after their tables. Each may be empty or has a default, and an earlier version does not name it."""

ADVISORY = (service_times, forecasts)
"""Without these the ledger works, and forecasts are worse."""

__all__ = [
    "ADDED", "ADVISORY", "SCHEMA_VERSION", "audit", "batches", "checksums", "documents", "erasures", "failure",
    "forecasts", "images", "leadership", "leaves", "letters", "metadata", "rejections", "schema", "service_times",
    "spending", "webhooks",
]  # fmt: skip
