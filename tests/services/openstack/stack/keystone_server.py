"""Keystone: one for all regions."""

from __future__ import annotations

import os

import databases
from keystone.cmd import manage
from keystone.server import wsgi
from plan import ADMIN_PASSWORD, Plan
from processes import called, fork, fork_and_wait, serve


def start(plan: Plan) -> None:
    def command(*arguments: str) -> None:
        called("keystone-manage", "--config-file", str(plan.directory / "etc" / "keystone.conf"), *arguments)
        manage.main()

    def run() -> None:
        os.environ |= {"OS_KEYSTONE_CONFIG_DIR": str(plan.directory / "etc"), "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        called("keystone")
        serve(wsgi.initialize_public_application(), plan.port("keystone"))

    for directory in ("fernet", "credentials"):
        (plan.directory / directory).mkdir(mode=0o700)
    databases.create(plan, "keystone")
    fork_and_wait(command, "db_sync")
    ourselves = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    fork_and_wait(command, "fernet_setup", *ourselves)
    fork_and_wait(command, "credential_setup", *ourselves)
    url = f"{plan.url('keystone')}/v3"
    urls = [f"--bootstrap-{interface}-url={url}" for interface in ("public", "internal", "admin")]
    fork_and_wait(command, "bootstrap", f"--bootstrap-password={ADMIN_PASSWORD}", *urls, f"--bootstrap-region-id={plan.first}")
    fork(run, log=plan.directory / "log" / "keystone-api.log")
