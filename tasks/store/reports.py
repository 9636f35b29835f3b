"""Reports: written down before they are made."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.records import StoredReport
from tasks import tables as t
from tasks.store.base import StoreBase, utc_now
from tasks.store.rows import report_of, report_values


class ReportStore(StoreBase):
    """Reports."""

    async def add_report(self, report: StoredReport) -> StoredReport:
        """Write down what is about to be said; a report of that id that is there already is returned as it is."""
        async with self._engine.begin() as connection:
            await connection.execute(insert(t.reports).values(report_values(report)).on_conflict_do_nothing())
            row = (await connection.execute(sa.select(t.reports).where(t.reports.c.id == report.id))).one()
            return report_of(row)

    async def reports(self, item_id: str) -> list[StoredReport]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.reports).where(t.reports.c.item == item_id).order_by(t.reports.c.created))
            return [report_of(row) for row in rows]

    async def report_sent(self, report_id: str, refused: str = "") -> None:
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.reports)
                    .where(t.reports.c.id == report_id)
                    .values(sent=utc_now(), refused=refused)
                    .returning(t.reports.c.item)
                )
            ).one()
            await self._tell(connection, "items", f"item:{row.item}")
