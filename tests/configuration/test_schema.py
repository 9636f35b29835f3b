"""The JSON Schema that an editor uses accepts what Headgate accepts, and refuses what it can see to be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from headgate.configuration import about, about_pipelines
from headgate.configuration.files import SHAPES
from headgate.configuration.parse_pipelines import pipeline_shape
from headgate.configuration.schema import configuration_schema, tenant_schema
from headgate.configuration.tenant_shapes import TENANT
from tests.configuration.helpers import BASE
from tests.configuration.test_errors import LOCKED, staged

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
CONFIGURATION = Draft202012Validator(configuration_schema())
TENANTS = Draft202012Validator(tenant_schema())


class _Editor(yaml.SafeLoader):
    """YAML as an editor sees it: a tag it does not know changes nothing."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, True)


_Editor.add_multi_constructor("!", _untagged)


def refused(validator: Draft202012Validator, text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.load(text, _Editor))]


def configuration_files() -> Iterator[Path]:
    yield from (path for path in EXAMPLES.rglob("*.yaml") if path.parent.name == "zuul.d" or path.name in ("zuul.yaml", ".zuul.yaml"))
    yield from (HERE / "samples").glob("*.yaml")
    yield from (HERE / "warnings").glob("*.yaml")


def test_schemas_are_schemas() -> None:
    for schema in (configuration_schema(), tenant_schema()):
        Draft202012Validator.check_schema(schema)


def records(schema: Any) -> Iterator[dict[str, Any]]:
    """The mappings with known keys of all kinds of objects: the first below each kind, in whatever it may be written."""
    for kind in schema["items"]["oneOf"]:
        ((_, shape),) = kind["properties"].items()
        yield from (shape, *shape.get("anyOf", ()))


def test_every_attribute_is_described() -> None:
    for schema in (configuration_schema(), tenant_schema()):
        for record in records(schema):
            for key, value in record.get("properties", {}).items():
                assert value.get("description"), key
    templates = next(record for record in records(configuration_schema()) if "templates" in record.get("properties", ()))
    variants = templates["additionalProperties"]["properties"]["jobs"]["items"]["anyOf"][1]["additionalProperties"]["anyOf"][1]
    assert variants["properties"]["voting"]["description"].startswith("Does its result count?")


def test_nothing_is_described_that_there_is_not() -> None:
    known = {name for name in vars(about) if name.isupper() and name[0] != "_"} - {"VARIANT", "PROJECT_PIPELINE"}
    shapes = {**SHAPES, "pipeline": pipeline_shape({})}
    for name in known:
        shape = shapes["project-template" if name == "TEMPLATE" else name.lower()]
        keys = {key for each in getattr(shape, "shapes", [shape]) for key in each.keys}
        assert set(getattr(about, name)) <= keys
    assert set(about_pipelines.PIPELINE) == set(pipeline_shape({}).keys)
    assert set(about_pipelines.TENANT) == set(TENANT.keys)


@pytest.mark.parametrize("path", list(configuration_files()), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_configuration_is_accepted(path: Path) -> None:
    assert refused(CONFIGURATION, path.read_text()) == []


def test_tenant_files_are_accepted() -> None:
    for path in EXAMPLES.rglob("main.yaml"):
        if "roles" not in path.parts:
            assert refused(TENANTS, path.read_text()) == []


@pytest.mark.parametrize("text", [BASE, LOCKED], ids=["base", "locked"])
def test_configuration_of_other_tests_is_accepted(text: str) -> None:
    assert refused(CONFIGURATION, text) == []


@pytest.mark.parametrize("name", ["project", "config"])
def test_samples_are_configuration_without_errors(name: str) -> None:
    layout, _ = staged((f"# place: {name}\n" if name == "config" else "") + (HERE / "samples" / f"{name}.yaml").read_text())
    assert [str(problem) for problem in layout.errors] == []


@pytest.mark.parametrize(
    "name", ["unknown-attribute", "unknown-kind", "two-keys", "no-name", "wrong-type", "wrong-choice", "pipeline-manager", "bad-variable"]
)
def test_what_has_a_wrong_shape_is_refused(name: str) -> None:
    assert refused(CONFIGURATION, (HERE / "errors" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", ["unknown-kind", "unknown-key", "wrong-type", "wrong-kind", "no-name", "two-keys", "not-a-list"])
def test_tenant_file_of_a_wrong_shape_is_refused(name: str) -> None:
    assert refused(TENANTS, (HERE / "tenant_errors" / f"{name}.yaml").read_text())
