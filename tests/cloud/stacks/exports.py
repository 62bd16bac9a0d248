"""What stacks export, and which others import it.

A stack that exports what another imports is not deleted: CloudFormation takes the request and turns back a moment later, to the status
that the stack had (aws-cdk#604, boto3#4192).
"""

from .settings import states


def living(account: str, region: str) -> list:
    found = next((state.stacks.get(region, {}) for number, state in states() if number == account), {})
    return [stack for stack in found.values() if stack.status != "DELETE_COMPLETE"]


def exported(account: str, region: str) -> dict[str, str]:
    """Values by the names that they are exported by."""
    return {name: stack.outputs[output] for stack in living(account, region) for output, name in stack.exports.items()}


def importers(account: str, region: str, name: str) -> list[str]:
    """The stacks that import what is exported by this name."""
    return [stack.name for stack in living(account, region) if name in imports_of(stack)]


def imports_of(stack) -> set[str]:
    evaluation = stack.evaluation(stack.template, stack.parameters) if stack.template else None
    return {evaluation.value(argument) for argument in arguments(stack.template)} if evaluation else set()


def arguments(part):
    """The arguments of each Fn::ImportValue."""
    if isinstance(part, dict):
        if set(part) == {"Fn::ImportValue"}:
            yield part["Fn::ImportValue"]
        for value in part.values():
            yield from arguments(value)
    elif isinstance(part, list):
        for value in part:
            yield from arguments(value)


def in_use(stack) -> str | None:
    """Why a stack is not deleted, in CloudFormation's words."""
    for name in stack.exports.values():
        users = importers(stack.account.number, stack.region, name)
        if users:
            return f"Export {name} cannot be deleted as it is in use by {' and '.join(users)}"
    return None
