"""Calls that AWS's services make of each other on behalf of an account, by the API that everybody has.

They are not what the account's user said, so tests neither see them in the list of calls nor disturb them by faults.
"""

import functools
import io
from urllib.parse import urlencode

import botocore.parsers
import botocore.serialize
import botocore.session
from moto.acm.responses import AWSCertificateManagerResponse
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.request import Request
from moto.ec2.responses import EC2Response
from moto.elbv2.responses import ELBV2Response
from moto.iam.responses import IamResponse

RESPONSES = {
    "ec2": EC2Response,
    "elbv2": ELBV2Response,
    "autoscaling": AutoScalingResponse,
    "iam": IamResponse,
    "cloudwatch": CloudWatchResponse,
    "acm": AWSCertificateManagerResponse,
}
# As AWS spells them where CloudFormation passes an error on.
NAMES = {"ec2": "Ec2", "elbv2": "ElasticLoadBalancingV2", "autoscaling": "AutoScaling", "iam": "Iam", "cloudwatch": "CloudWatch"}


class ServiceError(Exception):
    """A service's no."""

    def __init__(self, service: str, operation: str, code: str, message: str):
        super().__init__(message)
        self.service, self.operation, self.code, self.message = service, operation, code, message

    def as_handler_says(self) -> str:
        """As a stack's event has it."""
        return (
            f'Resource handler returned message: "{self.message} (Service: {NAMES[self.service]}, Status Code: 400, '
            f'Request ID: 7a62c49f-0000-4444-8888-000000000000)" '
            f"(RequestToken: 0d9f2c1e-0000-4444-8888-000000000000, HandlerErrorCode: InvalidRequest)"
        )


class Local(Request):
    """A request that did not come over a wire."""

    from_wsgi_server = True


@functools.cache
def model(service: str):
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def tools(service: str):
    """Serializer and parser of the older of a service's protocols, which moto speaks for all of these."""
    protocol = "json" if service == "acm" else "ec2" if service == "ec2" else "query"
    return botocore.serialize.create_serializer(protocol, False), botocore.parsers.create_parser(protocol)


def typed(value, shape):
    """A value with the types that an API has for it; a template may write all of them as text."""
    if shape.type_name == "structure":
        return {name: typed(part, shape.members[name]) for name, part in value.items() if name in shape.members}
    if shape.type_name == "list":
        return [typed(part, shape.member) for part in value]
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name in ("float", "double"):
        return float(value)
    if shape.type_name == "boolean":
        return str(value).lower() == "true"
    return str(value).lower() if isinstance(value, bool) else str(value) if shape.type_name == "string" else value


def call(account, region: str, service: str, operation: str, **params) -> dict:
    """What a service answers, of this account; moto takes one call at a time.

    Raises ServiceError.
    """
    shape = model(service).operation_model(operation)
    serializer, parser = tools(service)
    request = serializer.serialize_to_request(typed(params, shape.input_shape), shape)
    body = request["body"]
    body = urlencode(body, doseq=True).encode() if isinstance(body, dict) else body
    headers = {k: v for k, v in request["headers"].items()}
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "RAW_URI": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_TYPE": headers.pop("Content-Type", "application/x-www-form-urlencoded"),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost",
        "HTTP_X_MOTO_ACCOUNT_ID": account.number,
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential=AKIAACCT{account.number}/20260101/{region}/{service}/aws4_request, x",
    }
    environ |= {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    with account.lock:
        status, answered, content = RESPONSES[service].dispatch(Local(environ))
    content = content if isinstance(content, bytes) else content.encode()
    answer = parser.parse({"status_code": int(status), "headers": answered, "body": content}, shape.output_shape)
    if int(status) >= 300:
        raise ServiceError(service, operation, answer["Error"]["Code"], answer["Error"]["Message"])
    return answer
