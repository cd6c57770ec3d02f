"""What owners were charged on each day, in the database: counted over all gateways, and kept over restarts."""

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from muniflow.model.budget import Amounts
from muniflow_coordinator.state.archives import SqlArchives
from muniflow_coordinator.state.charge_types import Charge
from muniflow_coordinator.state.rows import storable
from muniflow_coordinator.state.tables import batches, spending

KEPT_DAYS = 31


class SqlCharges(SqlArchives):
    """Reads and writes charges."""

    def spent(self, owner: str, day: int) -> Amounts:
        """Return what an owner was charged on a day."""
        columns = [spending.c[name] for name in Amounts._fields]
        query = select(*columns).where(spending.c.owner == storable(owner), spending.c.day == day)
        with self._read() as connection:
            row = connection.execute(query).first()
        return Amounts() if row is None else Amounts(*row)

    def _charge(self, connection: Connection, batch: int, charge: Charge) -> None:
        """Charge for a batch that is accepted now; of one that is accepted already this was done."""
        state = connection.execute(select(batches.c.state).where(batches.c.number == batch)).scalar_one_or_none()
        if state != "intake":
            return
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        new = dialect.insert(spending).values(owner=storable(charge.owner), day=charge.day, **charge.amounts._asdict())
        sums = {name: spending.c[name] + new.excluded[name] for name in Amounts._fields}
        connection.execute(new.on_conflict_do_update(index_elements=["owner", "day"], set_=sums))
        connection.execute(delete(spending).where(spending.c.day < charge.day - KEPT_DAYS))
