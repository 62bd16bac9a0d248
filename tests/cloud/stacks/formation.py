"""CloudFormation's API: stacks and change sets, and what is refused in which state.

The operations themselves are stack.py's, what is told of them looking.py's. Templates come in the request; there is no S3 here.
"""

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow

from . import exports, schemas, template
from .changes import Comparison
from .errors import invalid, refusal
from .looking import ChangeSet, Looking
from .settings import settings
from .stack import KINDS, Stack

LIMIT = 51_200
UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED", "IMPORT_COMPLETE", "CREATE_FAILED")
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


class Response(Looking):
    """One call."""

    def template_of(self, stack: Stack | None) -> tuple[str, dict]:
        if self._get_bool_param("UsePreviousTemplate"):
            if stack is None or stack.template is None:
                raise invalid("No previous template")
            return stack.body, stack.template
        if self._get_param("TemplateURL"):
            raise invalid("S3 error: the test EC2 has no S3")
        body = self._get_param("TemplateBody")
        if body is None:
            raise invalid("Either Template URL or Template Body must be specified.")
        if len(body.encode()) > LIMIT:
            raise invalid(
                "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: "
                f"Member must have length less than or equal to {LIMIT}"
            )
        found = template.read(body)
        self.check_types(found)
        return body, found

    def check_types(self, found: dict) -> None:
        for name, resource in found["Resources"].items():
            kind = resource.get("Type")
            if not schemas.is_known(kind):
                raise invalid(f"Template format error: Unrecognized resource types: [{kind}]")
            if kind not in KINDS:
                raise invalid(f"the test EC2 has no {kind} ({name})")
            unknown = schemas.unknown_properties(kind, resource.get("Properties") or {})
            if unknown:
                raise invalid(
                    f"Properties validation failed for resource {name} with message: #: extraneous key [{unknown[0]}] is not permitted"
                )

    def values_of(self, stack: Stack | None, found: dict) -> dict[str, str]:
        given, kept = {}, {}
        for parameter in self._get_param("Parameters", []):
            name = parameter["ParameterKey"]
            if parameter.get("UsePreviousValue"):
                if stack is None or name not in stack.parameters:
                    raise invalid(
                        f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true for a parameter key not in the previous template"
                    )
                kept[name] = stack.parameters[name]
            else:
                given[name] = parameter.get("ParameterValue", "")
        values = template.parameters(found, given, kept)
        images = self.account.backend(self.region).amis
        for name, rules in (found.get("Parameters") or {}).items():
            if rules["Type"] == "AWS::EC2::Image::Id" and values[name] not in images:
                raise invalid(
                    f"Parameter validation failed: parameter value {values[name]} for parameter name {name} does not exist. Rollback requested by user."
                )
        return values

    def tags_of(self, stack: Stack | None) -> dict[str, str]:
        tags = self._get_param("Tags")
        if tags is None and stack is not None:
            return stack.tags
        return {t["Key"]: t["Value"] for t in tags or []}

    def check_request(self, found: dict) -> None:
        """Capabilities, and what a deployment may be like."""
        config = self._get_param("DeploymentConfig") or {}
        if config.get("Mode") == "EXPRESS" and not settings(self.account).express:
            raise invalid("DeploymentConfig is not supported")
        kinds = {r["Type"] for r in found["Resources"].values()}
        named = any({"RoleName", "InstanceProfileName"} & set(r.get("Properties") or {}) for r in found["Resources"].values())
        given = self._get_param("Capabilities", [])
        if any(kind.startswith("AWS::IAM::") for kind in kinds):
            wanted = ["CAPABILITY_NAMED_IAM"] if named else ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
            if not set(wanted) & set(given):
                raise refusal("InsufficientCapabilitiesException", f"Requires capabilities : [{wanted[0]}]")

    def check_updatable(self, stack: Stack) -> None:
        if stack.status not in UPDATABLE:
            raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")

    def comparison(self, stack: Stack, found: dict, values: dict, tags: dict) -> Comparison:
        return Comparison(stack, found, values, stack.pseudo(), stack.zones(), tags)

    # Stacks -----------------------------------------------------------------------------------------

    def create_stack(self):
        name = self._get_param("StackName")
        if self.living(name):
            raise refusal("AlreadyExistsException", f"Stack [{name}] already exists")
        body, found = self.template_of(None)
        values, tags = self.values_of(None, found), self.tags_of(None)
        self.check_request(found)
        stack = self.new_stack(name, tags, bool(self._get_bool_param("EnableTerminationProtection")))
        self.comparison(stack, found, values, tags)  # a template that does not work out is refused before anything is made
        self.stacks[stack.id] = stack
        on_failure = self._get_param("OnFailure") or ("DO_NOTHING" if self._get_bool_param("DisableRollback") else "ROLLBACK")
        self.start_creation(stack, found, body, values, tags, on_failure)
        return ActionResult({"StackId": stack.id})

    def new_stack(self, name: str, tags: dict, protected: bool) -> Stack:
        stack = Stack(self.account, self.region, name, tags, protected)
        stack.capabilities, stack.role = self._get_param("Capabilities", []), self._get_param("RoleARN")
        return stack

    def start_creation(self, stack: Stack, found: dict, body: str, values: dict, tags: dict, on_failure: str) -> None:
        stack.adopt(found, body, values, tags)
        stack.token, stack.disable_rollback = self._get_param("ClientRequestToken"), on_failure == "DO_NOTHING"
        stack.enter("CREATE_IN_PROGRESS", "User Initiated")
        stack.begin(stack.create, on_failure)

    def update_stack(self):
        stack = self.find(self._get_param("StackName"), f"Stack [{self._get_param('StackName')}] does not exist")
        self.check_updatable(stack)
        body, found = self.template_of(stack)
        values, tags = self.values_of(stack, found), self.tags_of(stack)
        self.check_request(found)
        if self.comparison(stack, found, values, tags).is_empty:
            raise invalid("No updates are to be performed.")
        self.start_update(stack, found, body, values, tags, bool(self._get_bool_param("DisableRollback")))
        return ActionResult({"StackId": stack.id})

    def start_update(self, stack: Stack, found: dict, body: str, values: dict, tags: dict, disable_rollback: bool) -> None:
        if stack.status not in ("UPDATE_FAILED", "CREATE_FAILED"):
            stack.previous = (stack.template, stack.body, stack.parameters, stack.tags)
        stack.adopt(found, body, values, tags)
        stack.token, stack.updated, stack.cancelled = self._get_param("ClientRequestToken"), utcnow(), False
        stack.disable_rollback, stack.role = disable_rollback, self._get_param("RoleARN") or stack.role
        stack.enter("UPDATE_IN_PROGRESS", "User Initiated")
        stack.begin(stack.update, disable_rollback)

    def delete_stack(self):
        stack = self.living(self._get_param("StackName"))
        if stack is None:
            return EmptyResult()
        if stack.protected:
            raise invalid(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        retained = self._get_param("RetainResources", [])
        if retained and stack.status != "DELETE_FAILED":
            raise invalid("Invalid operation on stack. RetainResources can be specified only on stacks in the DELETE_FAILED state")
        if stack.status.endswith("_IN_PROGRESS") and stack.status not in ("REVIEW_IN_PROGRESS", "DELETE_IN_PROGRESS"):
            raise invalid(f"Stack [{stack.id}] cannot be deleted while in status {stack.status}")
        if stack.status != "DELETE_IN_PROGRESS":
            stack.token, before, reason = self._get_param("ClientRequestToken"), stack.status, exports.in_use(stack)
            stack.enter("DELETE_IN_PROGRESS", "User Initiated")
            if reason:
                stack.begin(stack.turn_back, before, reason)
                return EmptyResult()
            stack.change_sets.clear()
            stack.begin(stack.delete, retained)
        return EmptyResult()

    def update_termination_protection(self):
        stack = self.find(self._get_param("StackName"))
        stack.protected = bool(self._get_bool_param("EnableTerminationProtection"))
        return ActionResult({"StackId": stack.id})

    def cancel_update_stack(self):
        stack = self.find(self._get_param("StackName"))
        if stack.status != "UPDATE_IN_PROGRESS":
            raise invalid(f"CancelUpdateStack cannot be called from current stack status: {stack.status}")
        stack.cancelled = True
        return EmptyResult()

    def continue_update_rollback(self):
        stack = self.find(self._get_param("StackName"))
        if stack.status != "UPDATE_ROLLBACK_FAILED":
            raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not continue rollback.")
        skipped = self._get_param("ResourcesToSkip", [])
        wrong = [n for n in skipped if n not in stack.resources or not stack.resources[n].is_torn]
        if wrong:
            raise invalid(f"ResourcesToSkip [{', '.join(wrong)}] are not in UPDATE_FAILED state")
        stack.enter("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
        stack.begin(stack.roll_back_update, skipped)
        return EmptyResult()

    def rollback_stack(self):
        stack = self.find(self._get_param("StackName"))
        if stack.status == "UPDATE_FAILED":
            stack.enter("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
            stack.begin(stack.roll_back_update, [])
        elif stack.status == "CREATE_FAILED":
            stack.enter("ROLLBACK_IN_PROGRESS", "User Initiated")
            stack.begin(stack.roll_back_creation)
        else:
            raise invalid(f"RollbackStack cannot be called from current stack status: {stack.status}")
        return ActionResult({"StackId": stack.id})

    # Change sets ------------------------------------------------------------------------------------

    def create_change_set(self):
        name, set_name = self._get_param("StackName"), self._get_param("ChangeSetName")
        kind = self._get_param("ChangeSetType", "UPDATE")
        stack = self.living(name)
        if kind == "CREATE":
            if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise invalid(f"Stack [{name}] already exists and cannot be created again with the changeSet [{set_name}].")
        elif stack is None:
            raise invalid(f"Stack [{name}] does not exist")
        else:
            self.check_updatable(stack)
        body, found = self.template_of(stack)
        values, tags = self.values_of(stack, found), self.tags_of(stack)
        self.check_request(found)
        if stack is not None and any(c.name == set_name for c in stack.change_sets.values()):
            raise refusal(
                "AlreadyExistsException", f"ChangeSet {set_name} cannot be created due to a mismatch with existing attribute ChangeSetName"
            )
        if stack is None:
            stack = self.new_stack(name, tags, False)
            stack.enter("REVIEW_IN_PROGRESS", "User Initiated")
        compared = self.comparison(stack, found, values, tags)
        self.stacks[stack.id] = stack
        made = ChangeSet(stack, set_name, kind, body, found, values, tags, dict(self.params), compared.changes)
        if compared.is_empty:
            made.status, made.execution, made.reason = "FAILED", "UNAVAILABLE", NO_CHANGES
        stack.change_sets[made.id] = made
        return ActionResult({"Id": made.id, "StackId": stack.id})

    def execute_change_set(self):
        found = self.find_change_set()
        stack = found.stack
        if found.execution != "AVAILABLE":
            raise refusal("InvalidChangeSetStatus", f"ChangeSet [{found.id}] cannot be executed in its current status of [{found.status}]")
        if found.kind == "UPDATE":
            self.check_updatable(stack)
        found.execution = "EXECUTE_COMPLETE"
        stack.change_sets.clear()  # they are of a stack that is no more
        stack.executed[found.id] = found
        stack.last_change_set = found.id
        stack.capabilities = found.given.get("Capabilities", stack.capabilities)
        no_rollback = bool(self._get_bool_param("DisableRollback"))
        stack.forgets_policies = bool(self._get_bool_param("RetainExceptOnCreate"))
        if found.kind == "CREATE":
            on_failure = found.given.get("OnStackFailure") or ("DO_NOTHING" if no_rollback else "ROLLBACK")
            self.start_creation(stack, found.template, found.body, found.values, found.tags, on_failure)
        else:
            self.start_update(stack, found.template, found.body, found.values, found.tags, no_rollback)
        return EmptyResult()

    def delete_change_set(self):
        try:
            found = self.find_change_set()
        except Exception as unknown:
            if self._get_param("ChangeSetName", "").startswith("arn:"):
                return EmptyResult()
            raise unknown
        found.stack.change_sets.pop(found.id, None)
        return EmptyResult()
