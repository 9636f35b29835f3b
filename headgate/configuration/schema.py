"""JSON Schema of configuration files, from the shapes that check them, for any editor that knows YAML."""

from __future__ import annotations

from typing import Any

from headgate.configuration.driver_shapes import DRIVERS
from headgate.configuration.files import SHAPES
from headgate.configuration.parse_nodesets import ANONYMOUS
from headgate.configuration.parse_pipelines import OCCASIONS, pipeline_shape
from headgate.configuration.shapes import Shape
from headgate.configuration.tenant_shapes import TENANT_FILE_ITEMS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _items(shapes: dict[str, dict[str, Any]], title: str) -> dict[str, Any]:
    kinds = [
        {"type": "object", "properties": {kind: shape}, "required": [kind], "additionalProperties": False} for kind, shape in shapes.items()
    ]
    return {"$schema": DIALECT, "title": title, "type": "array", "items": {"oneOf": kinds}}


def _by_connection(role: str) -> dict[str, Any]:
    """Any connection: what one of the drivers allows in this role."""
    found: list[dict[str, Any]] = []
    for name, driver in DRIVERS.items():
        shape: Shape | None = getattr(driver, role)
        if name and shape is not None:
            found.append(shape.schema())
    one = {"anyOf": found}
    return {"type": "object", "additionalProperties": {"anyOf": [*found, {"type": "array", "items": one}]}}


def configuration_schema() -> dict[str, Any]:
    """The schema of `zuul.yaml` and its like."""
    shapes = {kind: shape.schema() for kind, shape in SHAPES.items()}
    shapes["job"]["properties"]["nodeset"] |= {"anyOf": [{"type": "string"}, ANONYMOUS.schema()]}
    pipeline = pipeline_shape({}).schema()
    for role in ("trigger", "require", "reject"):
        pipeline["properties"][role] |= _by_connection(role)
    for occasion in OCCASIONS:
        pipeline["properties"][occasion] |= _by_connection("reporter")
    return _items({**shapes, "pipeline": pipeline}, "Zuul configuration")


def tenant_schema() -> dict[str, Any]:
    """The schema of `main.yaml`."""
    return _items({kind: shape.schema() for kind, shape in TENANT_FILE_ITEMS.items()}, "Zuul tenants")
