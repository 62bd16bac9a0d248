"""What an update would change: the changes of a change set, down to the resources that follow others.

A resource whose property refers to one that is replaced, or to an attribute of one that is changed, may change with it. That
is known only when the other is done, so the change is `Dynamic`, and a replacement that hangs on it is `Conditional`.
"""

import json

from . import schemas
from .template import NO_VALUE, Evaluation, Unknown, unknowns

ATTRIBUTES = ("Metadata", "CreationPolicy", "UpdatePolicy", "DeletionPolicy", "UpdateReplacePolicy")


class Comparison:
    """A stack as it is against a template and its parameters."""

    def __init__(self, stack, template: dict, values: dict[str, str], pseudo: dict, zones: list[str], tags: dict):
        self.stack, self.values, self.tags = stack, values, tags
        self.replacement: dict[str, str] = {}  # of what is modified
        self.evaluation = Evaluation(template, values, pseudo, zones, self.lookup)
        self.changes = self._changes()
        self.outputs_differ = self._outputs_differ(template)

    @property
    def is_empty(self) -> bool:
        return not self.changes and not self.outputs_differ

    def lookup(self, resource: str, attribute: str | None):
        made = self.stack.resources.get(resource)
        if made is None:
            return Unknown(resource, attribute)
        follows = self.replacement.get(resource)
        if follows and (attribute is not None or follows != "False"):
            return Unknown(resource, attribute)
        return made.physical if attribute is None else made.attributes.get(attribute, Unknown(resource, attribute))

    def _changes(self) -> list[dict]:
        found, there = [], self.evaluation.resources()
        for name in self.evaluation.order():
            made, wanted = self.stack.resources.get(name), there[name]
            if made is None:
                found.append(change("Add", name, wanted["Type"]))
                continue
            details = self._details(made, wanted)
            if details:
                self.replacement[name] = replacement(details)
                found.append(
                    change("Modify", name, made.kind, made.physical)
                    | {
                        "Replacement": self.replacement[name],
                        "Details": details,
                        "Scope": list(dict.fromkeys(d["Target"]["Attribute"] for d in details)),
                        "BeforeContext": json.dumps({"Properties": made.properties}, sort_keys=True),
                    }
                )
        found += [change("Remove", name, made.kind, made.physical) for name, made in self.stack.resources.items() if name not in there]
        return sorted(found, key=lambda c: c["LogicalResourceId"])

    def _details(self, made, wanted: dict) -> list[dict]:
        details, properties = [], wanted.get("Properties") or {}
        for name in sorted({*properties, *made.properties}):
            self.evaluation.used = []
            value = self.evaluation.value(properties[name]) if name in properties else None
            value = None if value is NO_VALUE else value
            details += self._of_property(made, name, value, list(self.evaluation.used), properties.get(name))
        for attribute in ATTRIBUTES:
            if made.definition.get(attribute) != wanted.get(attribute):
                details.append(
                    {
                        "Target": {"Attribute": attribute, "RequiresRecreation": "Never"},
                        "Evaluation": "Static",
                        "ChangeSource": "DirectModification",
                    }
                )
        if self.tags != self.stack.tags and "Tags" in schemas.schema(made.kind)["properties"]:
            details.append(
                {
                    "Target": {"Attribute": "Tags", "RequiresRecreation": "Never"},
                    "Evaluation": "Static",
                    "ChangeSource": "DirectModification",
                }
            )
        return details

    def _of_property(self, made, name: str, value, used: list, expression) -> list[dict]:
        target = {
            "Attribute": "Properties",
            "Name": name,
            "RequiresRecreation": schemas.recreation(made.kind, name),
            "Path": f"/Properties/{name}",
        }
        follows = list(dict.fromkeys(unknowns(value)))
        if follows:
            return [
                {
                    "Target": target,
                    "Evaluation": "Dynamic",
                    "ChangeSource": "ResourceReference" if u.attribute is None else "ResourceAttribute",
                    "CausingEntity": u.resource if u.attribute is None else f"{u.resource}.{u.attribute}",
                }
                for u in follows
            ]
        before = made.properties.get(name)
        if value == before:
            return []
        target |= {"BeforeValue": text(before), "AfterValue": text(value)}
        changed = [
            entity
            for source, entity, _ in used
            if source == "ParameterReference" and self.values[entity] != self.stack.parameters.get(entity)
        ]
        by_parameter = [
            {"Target": target, "Evaluation": "Static", "ChangeSource": "ParameterReference", "CausingEntity": entity}
            for entity in dict.fromkeys(changed)
        ]
        # Whether the property changed of itself, too, is not looked into where a parameter did.
        direct = {"Target": target, "Evaluation": "Dynamic" if by_parameter else "Static", "ChangeSource": "DirectModification"}
        return [*by_parameter, direct] if by_parameter or expression is not None or before is not None else []

    def _outputs_differ(self, template: dict) -> bool:
        if self.stack.template is None:
            return False
        wanted = {}
        for name, output in (template.get("Outputs") or {}).items():
            if "Condition" not in output or self.evaluation.conditions[output["Condition"]]:
                wanted[name] = self.evaluation.value(output["Value"])
        return any(unknowns_in(v) or v != self.stack.outputs.get(n) for n, v in wanted.items()) or set(wanted) != set(self.stack.outputs)


def unknowns_in(value) -> bool:
    return next(unknowns(value), None) is not None


def text(value) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def change(action: str, name: str, kind: str, physical: str | None = None) -> dict:
    return {"Action": action, "LogicalResourceId": name, "PhysicalResourceId": physical, "ResourceType": kind, "Scope": [], "Details": []}


def replacement(details: list[dict]) -> str:
    """Whether a resource is made anew: True, False, or Conditional where that is seen later."""
    costs = {(d["Target"]["RequiresRecreation"], d["Evaluation"]) for d in details}
    if ("Always", "Static") in costs:
        return "True"
    return "Conditional" if any(cost in ("Always", "Conditionally") for cost, _ in costs) else "False"
