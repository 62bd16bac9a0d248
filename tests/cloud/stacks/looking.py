"""CloudFormation's API: what is told of stacks, change sets, events and resources."""

import uuid
from dataclasses import dataclass, field

from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import utcnow

from . import exports, template
from .errors import invalid, refusal
from .settings import settings, state
from .stack import Stack

CLOUD: list = []  # the cloud, once it is patched


def patch(cloud) -> None:
    CLOUD[:] = [cloud]


@dataclass
class ChangeSet:
    """What would change, and all that is needed to do it."""

    stack: Stack
    name: str
    kind: str  # CREATE or UPDATE
    body: str
    template: dict
    values: dict[str, str]
    tags: dict[str, str]
    given: dict
    changes: list[dict] = field(default_factory=list)
    status: str = "CREATE_COMPLETE"
    execution: str = "AVAILABLE"
    reason: str | None = None
    made: object = field(default_factory=utcnow)

    def __post_init__(self):
        self.id = f"arn:aws:cloudformation:{self.stack.region}:{self.stack.account.number}:changeSet/{self.name}/{uuid.uuid4()}"


class Looking(BaseResponse):
    """The calls that change nothing."""

    def __init__(self):
        super().__init__(service_name="cloudformation")
        self.automated_parameter_parsing = True

    @property
    def account(self):
        return CLOUD[0].account(self.current_account)

    @property
    def stacks(self) -> dict[str, Stack]:
        return state(self.account).stacks.setdefault(self.region, {})

    # Finding ----------------------------------------------------------------------------------------

    def find(self, name: str, message: str | None = None) -> Stack:
        """A stack by name or id; one that is deleted by its id alone."""
        for stack in self.stacks.values():
            if stack.id == name or (stack.name == name and stack.status != "DELETE_COMPLETE"):
                return stack
        raise invalid(message or f"Stack with id {name} does not exist")

    def living(self, name: str) -> Stack | None:
        return next((s for s in self.stacks.values() if name in (s.name, s.id) and s.status != "DELETE_COMPLETE"), None)

    def find_change_set(self) -> ChangeSet:
        name, stack_name = self._get_param("ChangeSetName"), self._get_param("StackName")
        for stack in self.stacks.values():
            for found in stack.change_sets.values():
                if found.id == name or (found.name == name and stack_name in (stack.name, stack.id)):
                    return found
            if name in stack.executed:
                return stack.executed[name]
        raise refusal("ChangeSetNotFound", f"ChangeSet [{name}] does not exist")

    def describe_change_set(self):
        found, values = self.find_change_set(), bool(self._get_bool_param("IncludePropertyValues"))
        start = int(self._get_param("NextToken") or 0)
        page = settings(self.account).page
        shown = [
            {"Type": "Resource", "ResourceChange": without_values(c) if not values else c} for c in found.changes[start : start + page]
        ]
        return ActionResult(
            self.told_change_set(found) | {"Changes": shown, "NextToken": str(start + page) if start + page < len(found.changes) else None}
        )

    def told_change_set(self, found: ChangeSet) -> dict:
        return {
            "ChangeSetName": found.name,
            "ChangeSetId": found.id,
            "StackId": found.stack.id,
            "StackName": found.stack.name,
            "Description": found.given.get("Description"),
            "CreationTime": found.made,
            "Status": found.status,
            "ExecutionStatus": found.execution,
            "StatusReason": found.reason,
            "Capabilities": found.given.get("Capabilities", []),
            "Parameters": told_parameters(found.template, found.values),
            "Tags": pairs(found.tags, "Key", "Value"),
            "IncludeNestedStacks": False,
            "NotificationARNs": [],
            "OnStackFailure": found.given.get("OnStackFailure"),
        }

    def list_change_sets(self):
        stack = self.find(self._get_param("StackName"))
        return ActionResult({"Summaries": [self.told_change_set(c) for c in stack.change_sets.values()]})

    # Looking ----------------------------------------------------------------------------------------

    def describe_stacks(self):
        name = self._get_param("StackName")
        found = [self.find(name)] if name else [s for s in self.stacks.values() if s.status != "DELETE_COMPLETE"]
        shown, token = self.page([self.told_stack(s) for s in found])
        return ActionResult({"Stacks": shown, "NextToken": token})

    def told_stack(self, stack: Stack) -> dict:
        outputs = [
            {
                "OutputKey": n,
                "OutputValue": template.text_of(v),
                "Description": stack.output_rules[n].get("Description"),
                "ExportName": stack.exports.get(n),
            }
            for n, v in stack.outputs.items()
        ]
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "Description": stack.description,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason,
            "CreationTime": stack.created,
            "LastUpdatedTime": stack.updated,
            "DeletionTime": stack.deleted,
            "Parameters": told_parameters(stack.template, stack.parameters),
            "Tags": pairs(stack.tags, "Key", "Value"),
            "Outputs": outputs or None,
            "Capabilities": stack.capabilities,
            "EnableTerminationProtection": stack.protected,
            "DisableRollback": stack.disable_rollback,
            "RoleARN": stack.role,
            "ChangeSetId": stack.last_change_set,
            "NotificationARNs": [],
            "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
        }

    def list_imports(self):
        name = self._get_param("ExportName")
        found = exports.importers(self.account.number, self.region, name)
        if not found:
            raise invalid(f"Export '{name}' is not imported by any stack.")
        return ActionResult({"Imports": found})

    def list_stacks(self):
        wanted = self._get_param("StackStatusFilter", [])
        found = [
            {
                "StackId": s.id,
                "StackName": s.name,
                "CreationTime": s.created,
                "LastUpdatedTime": s.updated,
                "DeletionTime": s.deleted,
                "StackStatus": s.status,
                "StackStatusReason": s.reason,
                "TemplateDescription": s.description,
            }
            for s in self.stacks.values()
            if not wanted or s.status in wanted
        ]
        shown, token = self.page(found)
        return ActionResult({"StackSummaries": shown, "NextToken": token})

    def describe_stack_events(self):
        """The newest first."""
        stack = self.find(self._get_param("StackName"), f"Stack [{self._get_param('StackName')}] does not exist")
        shown, token = self.page(list(reversed(stack.events)))
        return ActionResult({"StackEvents": shown, "NextToken": token})

    def describe_stack_resources(self):
        stack, name = self.find(self._get_param("StackName")), self._get_param("LogicalResourceId")
        return ActionResult(
            {"StackResources": [self.told_resource(stack, m) for m in stack.resources.values() if name in (None, m.logical)]}
        )

    def describe_stack_resource(self):
        stack, name = self.find(self._get_param("StackName")), self._get_param("LogicalResourceId")
        if name not in stack.resources:
            raise invalid(f"Resource {name} does not exist for stack {stack.name}")
        return ActionResult({"StackResourceDetail": self.told_resource(stack, stack.resources[name])})

    def list_stack_resources(self):
        stack = self.find(self._get_param("StackName"), f"Stack with id {self._get_param('StackName')} does not exist")
        shown, token = self.page([self.told_resource(stack, m) for m in stack.resources.values()])
        return ActionResult({"StackResourceSummaries": shown, "NextToken": token})

    def told_resource(self, stack: Stack, made) -> dict:
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "LogicalResourceId": made.logical,
            "PhysicalResourceId": made.physical,
            "ResourceType": made.kind,
            "ResourceStatus": made.status,
            "ResourceStatusReason": made.reason,
            "Timestamp": made.updated,
            "LastUpdatedTimestamp": made.updated,
            "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
        }

    def get_template(self):
        stack = self.find(self._get_param("StackName"))
        return ActionResult({"TemplateBody": stack.body, "StagesAvailable": ["Original", "Processed"]})

    def get_template_summary(self):
        name = self._get_param("StackName")
        body, found = (lambda s: (s.body, s.template))(self.find(name)) if name else self.template_of(None)
        declared = found.get("Parameters") or {}
        return ActionResult(
            {
                "Parameters": [parameter(n, rules) for n, rules in declared.items()],
                "Description": found.get("Description"),
                "ResourceTypes": sorted({r["Type"] for r in found["Resources"].values()}),
                "Version": found.get("AWSTemplateFormatVersion"),
                "Capabilities": self.capabilities(found),
            }
        )

    def validate_template(self):
        _, found = self.template_of(None)
        return ActionResult(
            {
                "Parameters": [
                    {"ParameterKey": n, "DefaultValue": default(r), "NoEcho": False, "Description": r.get("Description")}
                    for n, r in (found.get("Parameters") or {}).items()
                ],
                "Description": found.get("Description"),
                "Capabilities": self.capabilities(found),
            }
        )

    def capabilities(self, found: dict) -> list[str]:
        return ["CAPABILITY_IAM"] if any(r["Type"].startswith("AWS::IAM::") for r in found["Resources"].values()) else []

    def page(self, items: list) -> tuple[list, str | None]:
        start, size = int(self._get_param("NextToken") or 0), settings(self.account).page
        return items[start : start + size], str(start + size) if start + size < len(items) else None


def pairs(values: dict, key: str, value: str) -> list[dict]:
    return [{key: k, value: v} for k, v in values.items()]


def told_parameters(found: dict | None, values: dict) -> list[dict]:
    """Of what is NoEcho asterisks."""
    declared = (found or {}).get("Parameters") or {}
    hidden = {n for n, rules in declared.items() if str(rules.get("NoEcho")).lower() == "true"}
    return pairs({n: "****" if n in hidden else v for n, v in values.items()}, "ParameterKey", "ParameterValue")


def default(rules: dict) -> str | None:
    return template.text_of(rules["Default"]) if "Default" in rules else None


def parameter(name: str, rules: dict) -> dict:
    allowed = [template.text_of(v) for v in rules["AllowedValues"]] if "AllowedValues" in rules else None
    return {
        "ParameterKey": name,
        "ParameterType": rules["Type"],
        "DefaultValue": default(rules),
        "NoEcho": bool(rules.get("NoEcho")),
        "Description": rules.get("Description"),
        "ParameterConstraints": {"AllowedValues": allowed} if allowed else None,
    }


def without_values(change: dict) -> dict:
    """As it is told unless values are asked for."""
    details = [
        d | {"Target": {k: v for k, v in d["Target"].items() if k not in ("BeforeValue", "AfterValue", "Path")}} for d in change["Details"]
    ]
    return {k: v for k, v in change.items() if k != "BeforeContext"} | {"Details": details}
