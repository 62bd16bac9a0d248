"""Errors that a test asks for, in the words of the services of stacks, which are not EC2's."""

CODES = {
    "RequestLimitExceeded": "Throttling",
    "UnauthorizedOperation": "AccessDenied",
    "InternalError": "InternalFailure",
    "RequestExpired": "ExpiredToken",
    "AuthFailure": "InvalidClientTokenId",
}
MESSAGES = {"Throttling": "Rate exceeded"}


def error(content_type: str, code: str, message: str, status: int) -> tuple[int, dict[str, str], bytes]:
    """In XML, or in CBOR where that was asked in (CloudWatch)."""
    code = CODES.get(code, code)
    message = MESSAGES.get(code, message)
    status = {"Throttling": 400, "ExpiredToken": 403, "InvalidClientTokenId": 403}.get(code, status)
    if "cbor" in content_type:
        return status, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, cbor({"__type": code, "message": message})
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>7a62c49f-0000-4444-8888-000000000000</RequestId></ErrorResponse>"
    )
    return status, {"Content-Type": "text/xml"}, body.encode()


def cbor(pairs: dict[str, str]) -> bytes:
    """A small map of texts."""
    text = lambda value: bytes([0x79]) + len(value.encode()).to_bytes(2, "big") + value.encode()
    return bytes([0xA0 + len(pairs)]) + b"".join(text(k) + text(v) for k, v in pairs.items())
