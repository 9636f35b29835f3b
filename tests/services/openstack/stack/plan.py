"""What is to be started, where everything listens and keeps its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADMIN_PASSWORD = "secret"
SERVICES = ("glance", "placement", "neutron", "nova", "cinder")
ADDRESS = "127.0.0.1"
CATALOG = "catalog"
"""The file that exists when Keystone knows every service."""


@dataclass(frozen=True)
class Plan:
    """`regions` maps a region's name to its description (`tests.services.openstack.regions.Region.described`)."""

    directory: Path
    base_port: int
    socket: str
    regions: Mapping[str, Mapping[str, Any]]
    projects: Sequence[str]
    flavors: Mapping[str, tuple[int, int, int]]

    @staticmethod
    def read(path: Path) -> Plan:
        facts = json.loads(path.read_text())
        regions = {region["name"]: region for region in facts["regions"]}
        return Plan(Path(facts["directory"]), facts["base_port"], facts["socket"], regions, facts["projects"], facts["flavors"])

    @property
    def first(self) -> str:
        return next(iter(self.regions))

    def services(self, region: str) -> list[str]:
        return [service for service in SERVICES if service != "cinder" or self.regions[region]["volumes"]]

    def port(self, service: str, region: str = "") -> int:
        if service == "keystone":
            return self.base_port
        return self.base_port + 10 * (1 + list(self.regions).index(region)) + SERVICES.index(service)

    def url(self, service: str, region: str = "") -> str:
        return f"http://{ADDRESS}:{self.port(service, region)}"

    def database(self, name: str) -> str:
        return f"postgresql+psycopg2://postgres@/{name}?host={self.socket}"

    def configuration(self, region: str, name: str) -> Path:
        return self.directory / "etc" / region / name
