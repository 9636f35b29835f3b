"""Glance: one for each region, images in files."""

from __future__ import annotations

import os

import databases
import glance.api.v2.router
import glance.common.wsgi
import glance.db.sqlalchemy.api  # noqa: F401 - imported before the forks, as the two above
from glance.cmd import manage
from glance.common import wsgi_app
from plan import Plan
from processes import called, fork, fork_and_wait, serve


def start(plan: Plan) -> None:
    def make_tables() -> None:
        called("glance-manage", "--config-file", str(plan.configuration(plan.first, "glance-api.conf")), "db_sync")
        manage.main()

    def run(region: str) -> None:
        os.environ["OS_GLANCE_CONFIG_DIR"] = str(plan.directory / "etc" / region)
        called("glance-api")
        serve(wsgi_app.init_app(), plan.port("glance", region))

    databases.create(plan, f"{plan.first}-glance")
    fork_and_wait(make_tables)
    for region in plan.regions:
        if region != plan.first:
            databases.create(plan, f"{region}-glance", like=f"{plan.first}-glance")
    for region in plan.regions:
        fork(run, region, log=plan.directory / "log" / f"{region}-glance.log")
