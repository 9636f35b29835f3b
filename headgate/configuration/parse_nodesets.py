"""Nodesets, named or inline."""

from __future__ import annotations

from typing import Any

from headgate.configuration import about
from headgate.configuration.definitions import NodesetDefinition
from headgate.configuration.shapes import TEXT, Either, ListOf, Record, one_or_many
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import as_list
from headgate.jobs import GroupUse, Nodeset, NodeUse

_NODE = Record({"name": one_or_many(TEXT), "label": TEXT}, required=("name", "label"), called="a node with name and label")
_GROUP = Record({"name": TEXT, "nodes": one_or_many(TEXT)}, required=("name", "nodes"), called="a group with name and nodes")
_KEYS = {"nodes": one_or_many(_NODE), "groups": one_or_many(_GROUP)}
_REAL = Record(_KEYS, required=("nodes",), about=about.NODESET)
_ALTERNATIVES = ListOf(Either(TEXT, _REAL))
_ALTERNATIVES.called = "a list of nodesets or their names"
NODESET = Either(
    Record({"name": TEXT, **_KEYS}, required=("name", "nodes"), about=about.NODESET),
    Record({"name": TEXT, "alternatives": _ALTERNATIVES}, required=("name", "alternatives"), about=about.NODESET),
)
ANONYMOUS = Either(_REAL, Record({"alternatives": _ALTERNATIVES}, required=("alternatives",), about=about.NODESET))


def nodeset_definition(conf: dict[str, Any], name: str, path: tuple[Any, ...] = ()) -> NodesetDefinition:
    """A nodeset from its mapping, whose shape is right; `name` "" for an inline one. Raises `Wrong`."""
    if "alternatives" in conf:
        alternatives = tuple(
            each if isinstance(each, str) else _real(each, "", (*path, "alternatives", position), bool(name))
            for position, each in enumerate(conf["alternatives"])
        )
        return NodesetDefinition(name, Nodeset(name), alternatives)
    return _real(conf, name, path)


def inline_nodeset(conf: dict[str, Any], path: tuple[Any, ...], complaints: Complaints) -> NodesetDefinition:
    """The nodeset of a job, its shape checked. Raises `Wrong`."""
    if not ANONYMOUS.ok(conf):
        shape = ANONYMOUS.shapes[1] if "alternatives" in conf else ANONYMOUS.shapes[0]
        fault = shape.fault(conf)
        raise Wrong(fault.message, (*path, *fault.path))
    complaints.inline_nodesets = True
    return nodeset_definition(conf, "", path)


def _real(conf: dict[str, Any], name: str, path: tuple[Any, ...], within_named: bool = False) -> NodesetDefinition:
    """`within_named`: an inline alternative of a named nodeset, for whose groups Zuul asks a name that it has not."""

    def wrong_group(message: str, error: str) -> Wrong:
        return Wrong(message, (*path, "groups"), late_name=error) if within_named else Wrong(message, (*path, "groups"), error)

    nodes = []
    known: set[str] = set()
    for node in as_list(conf["nodes"]):
        names = as_list(node["name"])
        for each in names:
            if each == "localhost":
                raise Wrong('a node may not be called "localhost", that is the executor', (*path, "nodes"))
            if each in known:
                raise Wrong(f'the node "{each}" appears twice', (*path, "nodes"), "Duplicate Node")
        known.update(names)
        nodes.append(NodeUse(tuple(names), node["label"]))
    groups: dict[str, GroupUse] = {}
    for group in as_list(conf.get("groups")):
        if "localhost" in group["name"]:
            raise Wrong('a group may not be called "localhost"', (*path, "groups"))
        for each in as_list(group["nodes"]):
            if each not in known:
                message = f'the group "{group["name"]}" has the node "{each}", which is not in the nodeset'
                raise wrong_group(message, "Node From Group Not Found")
        if group["name"] in groups:
            raise wrong_group(f'the group "{group["name"]}" appears twice', "Duplicate Nodeset Group")
        groups[group["name"]] = GroupUse(group["name"], tuple(as_list(group["nodes"])))
    return NodesetDefinition(name, Nodeset(name, tuple(nodes), tuple(groups.values())))
