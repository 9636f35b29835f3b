"""Neutron: one API for each region, without agents."""

from __future__ import annotations

import os

import databases
import neutron.plugins.ml2.plugin
import neutron.server
import neutron.services.l3_router.l3_router_plugin
import sqlalchemy
from neutron.db.migration import cli
from neutron.db.migration.models import head
from neutron.server import api
from plan import Plan
from processes import called, fork, fork_and_wait, serve

EMPTY = "neutron"
"""The database that those of the regions are copied from."""


def start(plan: Plan) -> None:
    def make_tables() -> None:
        """Straight from the models: quicker than Alembic's whole history."""
        engine = sqlalchemy.create_engine(plan.database(EMPTY))
        head.get_metadata().create_all(engine)
        engine.dispose()
        configuration = str(plan.configuration(plan.first, "neutron.conf"))
        called("neutron-db-manage", "--config-file", configuration, "--database-connection", plan.database(EMPTY), "stamp", "heads")
        cli.main()

    def run(region: str) -> None:
        os.environ |= {"OS_NEUTRON_CONFIG_DIR": str(plan.directory / "etc" / region), "OS_NEUTRON_CONFIG_FILES": "neutron.conf"}
        called("neutron")
        serve(neutron.server.boot_server(api.api_server, prog="neutron-api"), plan.port("neutron", region))

    databases.create(plan, EMPTY)
    fork_and_wait(make_tables)
    for region in plan.regions:
        databases.create(plan, f"{region}-neutron", like=EMPTY)
        fork(run, region, log=plan.directory / "log" / f"{region}-neutron.log")
