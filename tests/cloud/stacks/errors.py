"""CloudFormation's errors, as moto tells them. moto's own are behind an import that takes longer than all the others."""

from moto.core.exceptions import ServiceException


class CloudFormationError(ServiceException):
    """Its no."""


def refusal(code: str, message: str) -> CloudFormationError:
    return CloudFormationError(code, message)


def invalid(message: str) -> CloudFormationError:
    return refusal("ValidationError", message)
