"""EC2's errors, as moto raises them."""

from moto.ec2.exceptions import EC2ClientError


def error(code: str, message: str) -> EC2ClientError:
    return EC2ClientError(code, message)


def no_image(image_id: str) -> EC2ClientError:
    return error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")


def not_found(thing_id: str) -> EC2ClientError:
    """The answer for a group, image or instance that EC2 does not know, or not yet."""
    if thing_id.startswith("ami-"):
        return no_image(thing_id)
    if thing_id.startswith("sg-"):
        return error("InvalidGroup.NotFound", f"The security group '{thing_id}' does not exist")
    return error("InvalidInstanceID.NotFound", f"The instance ID '{thing_id}' does not exist")


def image_gone(image_id: str) -> EC2ClientError:
    """The answer for an image that was deregistered, in the same words as for one that is not ready."""
    return error("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")


def image_not_ready(image_id: str) -> EC2ClientError:
    return error("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
