"""Reports: written down before they are made."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.records import StoredReport
from tasks import tables as t
from tasks.store.base import FACTS, StoreBase, utc_now
from tasks.store.rows import report_of, report_values

NO_END = ("enqueue", "start", "dequeue")
"""Kinds of reports that say nothing of how a buildset ended."""
UNSAID_END = sa.and_(t.reports.c.sent.is_(None), t.reports.c.kind.not_in(NO_END))
"""What is still to be said of an end."""


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
            rows = await connection.execute(sa.select(t.reports).where(t.reports.c.item == item_id).order_by(t.reports.c.sequence))
            return [report_of(row) for row in rows]

    async def to_say(self, report_id: str, by_flow: bool) -> bool:
        """Is that report still to be said, and by whom `by_flow` says? It may have changed hands since it was read."""
        async with self._engine.connect() as connection:
            mine = (t.reports.c.id == report_id, t.reports.c.sent.is_(None), t.reports.c.by_flow.is_(by_flow))
            return bool(await connection.scalar(sa.select(sa.exists().where(*mine))))

    async def unsent(self, buildset_id: str | None = None) -> list[StoredReport]:
        """Reports still to be made, in order: by the run of that buildset, or without one by the scheduler."""
        mine = t.reports.c.by_flow.is_(False) if buildset_id is None else sa.and_(t.reports.c.by_flow, t.reports.c.buildset == buildset_id)
        async with self._engine.connect() as connection:
            query = sa.select(t.reports).where(t.reports.c.sent.is_(None), mine).order_by(t.reports.c.sequence)
            return [report_of(row) for row in await connection.execute(query)]

    async def answers(self, buildset_ids: Sequence[str]) -> dict[str, list[StoredReport]]:
        """Buildset to the reports that its queue waits for, for those of which all have been sent."""
        async with self._engine.connect() as connection:
            query = sa.select(t.reports).where(t.reports.c.buildset.in_(buildset_ids), t.reports.c.answer)
            found: dict[str, list[StoredReport]] = {}
            for row in await connection.execute(query):
                found.setdefault(row.buildset, []).append(report_of(row))
        return {buildset: reports for buildset, reports in found.items() if all(report.sent is not None for report in reports)}

    async def being_said(self, buildset_id: str) -> bool:
        """Is the end of the buildset written down and still to be said, by whomever?"""
        async with self._engine.connect() as connection:
            return bool(await connection.scalar(sa.select(sa.exists().where(t.reports.c.buildset == buildset_id, UNSAID_END))))

    async def hand_over(self, buildset_id: str) -> int:
        """Let the scheduler say of the buildset's end what its flow run has not said and will not say any more; how many reports."""
        unsaid = (t.reports.c.buildset == buildset_id, t.reports.c.by_flow, UNSAID_END)
        async with self._engine.begin() as connection:
            taken = await connection.execute(sa.update(t.reports).where(*unsaid).values(by_flow=False))
            if taken.rowcount:
                await self._tell(connection, FACTS)
        return taken.rowcount

    async def unsaid_by_runs(self) -> dict[str, str]:
        """Flow run to buildset, of those whose end is still to be said by the run."""
        unsaid = (t.reports.c.by_flow, UNSAID_END)
        async with self._engine.connect() as connection:
            query = sa.select(t.buildsets.c.id, t.buildsets.c.flow_run).join(t.reports, t.reports.c.buildset == t.buildsets.c.id)
            rows = await connection.execute(query.where(*unsaid, t.buildsets.c.flow_run.is_not(None)).distinct())
            return {row.flow_run: row.id for row in rows}

    async def report_sent(self, report_id: str, refused: str = "") -> None:
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.reports)
                    .where(t.reports.c.id == report_id)
                    .values(sent=utc_now(), refused=refused)
                    .returning(t.reports.c.item, t.reports.c.buildset, t.reports.c.answer)
                )
            ).one()
            await self._tell(connection, "items", f"item:{row.item}", f"buildset:{row.buildset}", *([FACTS] if row.answer else ()))
