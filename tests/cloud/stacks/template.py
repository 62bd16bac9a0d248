"""A CloudFormation template: how it is read, and what its functions come to.

What a function refers to and is not there yet comes to `Unknown`, so that a change set can be drawn up before anything is made.
"""

import base64
import functools
import ipaddress
import json
import re
from dataclasses import dataclass

import yaml

from . import exports
from .errors import invalid

PARAMETER = re.compile(r"\$\{([^!}][^}]*)\}")
NO_VALUE = object()
ID_TYPES = {
    "AWS::EC2::Image::Id": r"ami-[0-9a-f]{8,17}",
    "AWS::EC2::VPC::Id": r"vpc-[0-9a-f]{8,17}",
    "AWS::EC2::Subnet::Id": r"subnet-[0-9a-f]{8,17}",
}


@dataclass(frozen=True)
class Unknown:
    """What is known only once a resource is made or changed."""

    resource: str
    attribute: str | None  # None is the resource itself


class Loader(yaml.SafeLoader):
    """YAML as CloudFormation reads it: functions have short forms, and dates are text."""


def _short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short_form)
Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))


@functools.lru_cache(maxsize=64)  # reading takes longer than making what is read, and nobody changes it
def read(text: str) -> dict:
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, Loader)
    except (ValueError, yaml.YAMLError) as wrong:
        raise invalid(f"Template format error: {wrong}") from wrong
    if not isinstance(found, dict) or not isinstance(found.get("Resources"), dict) or not found["Resources"]:
        raise invalid("Template format error: At least one Resources member must be defined.")
    return found


def parameters(template: dict, given: dict[str, str], previous: dict[str, str]) -> dict[str, str]:
    """The value of every parameter: given, or kept, or the default. `previous` has those that may be kept."""
    declared = template.get("Parameters") or {}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise invalid(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    values, missing = {}, []
    for name, rules in declared.items():
        value = given.get(name, previous.get(name, rules.get("Default")))
        if value is None:
            missing.append(name)
        else:
            values[name] = text_of(value)
            check(name, rules, values[name])
    if missing:
        raise invalid(f"Parameters: [{', '.join(missing)}] must have values")
    return values


def check(name: str, rules: dict, value: str) -> None:
    """A parameter's own constraints."""
    if rules["Type"].startswith("AWS::SSM::"):
        raise invalid(f"the test EC2 looks no parameter up in SSM ({name})")
    said = rules.get("ConstraintDescription")
    if "AllowedValues" in rules and value not in [text_of(v) for v in rules["AllowedValues"]]:
        raise invalid(
            f"Parameter {name} failed to satisfy constraint: {said}" if said else f"Parameter '{name}' must be one of AllowedValues"
        )
    if "AllowedPattern" in rules and not re.fullmatch(rules["AllowedPattern"], value):
        raise invalid(f"Parameter {name} failed to satisfy constraint: {said or 'must match pattern ' + rules['AllowedPattern']}")
    if rules["Type"] == "Number":
        try:
            number = float(value)
        except ValueError:
            raise invalid(f"Parameter '{name}' must be a number.") from None
        if number < rules.get("MinValue", number):
            raise invalid(f"Parameter '{name}' must be a number not less than {rules['MinValue']}")
        if number > rules.get("MaxValue", number):
            raise invalid(f"Parameter '{name}' must be a number not greater than {rules['MaxValue']}")
    if rules["Type"] in ID_TYPES and not re.fullmatch(ID_TYPES[rules["Type"]], value):
        raise invalid(f"Parameter validation failed: parameter value {value} for parameter name {name} does not exist")


def text_of(value) -> str:
    """A scalar as CloudFormation passes it on."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Evaluation:
    """What a template comes to with these parameters; `lookup(resource, attribute)` says what is there already."""

    def __init__(self, template: dict, values: dict[str, str], pseudo: dict, zones: list[str], lookup):
        self.template, self.values, self.pseudo, self.zones, self.lookup = template, values, pseudo, zones, lookup
        self.used: list[tuple[str, str, str]] = []  # what the last value was made of: (source, causing entity, resource)
        self.conditions = {name: self.truth(c) for name, c in (template.get("Conditions") or {}).items()}

    def resources(self) -> dict[str, dict]:
        """Those whose condition holds."""
        return {name: r for name, r in self.template["Resources"].items() if "Condition" not in r or self.conditions[r["Condition"]]}

    def order(self) -> list[str]:
        """Resources after what they need."""
        found, done = [], set()
        there = self.resources()

        def visit(name: str, above: tuple) -> None:
            if name in above:
                raise invalid(f"Circular dependency between resources: [{', '.join(sorted(above))}]")
            if name in done or name not in there:
                return
            for needed in needs(there[name], self.template["Resources"], self):
                visit(needed, (*above, name))
            done.add(name)
            found.append(name)

        for name in there:
            visit(name, ())
        return found

    def truth(self, condition) -> bool:
        if not isinstance(condition, dict):
            return text_of(condition) == "true"
        ((function, argument),) = condition.items()
        if function == "Condition":
            return self.truth((self.template.get("Conditions") or {})[argument])
        if function == "Fn::Equals":
            left, right = (self.value(side) for side in argument)
            return left == right
        if function == "Fn::Not":
            return not self.truth(argument[0])
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)(self.truth(part) for part in argument)
        raise invalid(f"Template error: {function} is no condition")

    def value(self, expression):
        """What an expression comes to; NO_VALUE where it is to be left out."""
        if isinstance(expression, list):
            items = [self.value(item) for item in expression]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(expression, dict):
            return expression
        if len(expression) == 1:
            ((function, argument),) = expression.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self.function(function, argument)
        pairs = {name: self.value(value) for name, value in expression.items()}
        return {name: value for name, value in pairs.items() if value is not NO_VALUE}

    def function(self, name: str, argument):
        if name == "Ref":
            return self.reference(argument)
        if name == "Fn::GetAtt":
            resource, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
            return self.attribute(resource, attribute)
        if name == "Fn::If":
            condition, yes, no = argument
            return self.value(yes if self.conditions[condition] else no)
        if name == "Fn::Sub":
            return self.substituted(argument)
        known = self.value(argument)
        unknown = next(unknowns(known), None)
        if unknown is not None:
            return unknown
        return FUNCTIONS[name](self, known)

    def reference(self, name: str):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.values:
            self.used.append(("ParameterReference", name, ""))
            kind = self.template["Parameters"][name]["Type"]
            value = self.values[name]
            return [part.strip() for part in value.split(",")] if kind == "CommaDelimitedList" or kind.startswith("List<") else value
        if name not in self.template["Resources"]:
            raise invalid(f"Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template")
        self.used.append(("ResourceReference", name, name))
        return self.lookup(name, None)

    def attribute(self, resource: str, attribute: str):
        if resource not in self.template["Resources"]:
            raise invalid(f"Template error: instance of Fn::GetAtt references undefined resource {resource}")
        self.used.append(("ResourceAttribute", f"{resource}.{attribute}", resource))
        return self.lookup(resource, attribute)

    def substituted(self, argument):
        text, names = (argument, {}) if isinstance(argument, str) else argument
        missing = []

        def one(match):
            name = match[1].strip()
            if name in names:
                value = self.value(names[name])
            elif "." in name:
                value = self.attribute(*name.split(".", 1))
            else:
                value = self.reference(name)
            if isinstance(value, Unknown):
                missing.append(value)
            return text_of(value)

        text = PARAMETER.sub(one, text)
        return missing[0] if missing else text.replace("${!", "${")

    def imported(self, name: str):
        """What a stack of the same account and region exports by this name."""
        found = exports.exported(self.pseudo["AWS::AccountId"], self.pseudo["AWS::Region"])
        if name not in found:
            raise invalid(f"No export named {name} found.")
        return found[name]

    def cidrs(self, argument) -> list[str]:
        block, count, bits = argument
        return [str(net) for net, _ in zip(ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits)), range(int(count)))]


FUNCTIONS = {
    "Fn::Join": lambda _, a: a[0].join(text_of(part) for part in a[1]),
    "Fn::Select": lambda _, a: a[1][int(a[0])],
    "Fn::Split": lambda _, a: a[1].split(a[0]),
    "Fn::GetAZs": lambda e, _: e.zones,
    "Fn::Base64": lambda _, a: base64.b64encode(a.encode()).decode(),
    "Fn::Cidr": lambda e, a: e.cidrs(a),
    "Fn::FindInMap": lambda e, a: e.template["Mappings"][a[0]][a[1]][a[2]],
    "Fn::ImportValue": lambda e, a: e.imported(a),
}


def unknowns(value):
    """What of a value is not known yet."""
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from unknowns(part)
    elif isinstance(value, list):
        for part in value:
            yield from unknowns(part)


def needs(resource: dict, all_resources: dict, evaluation: Evaluation) -> list[str]:
    """The resources that one cannot be made without."""
    said = resource.get("DependsOn") or []
    evaluation.used = []
    evaluation.value(resource.get("Properties") or {})
    found = [said] if isinstance(said, str) else list(said)
    found += [name for *_, name in evaluation.used if name]
    return [name for name in dict.fromkeys(found) if name in all_resources]
