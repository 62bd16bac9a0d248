"""CloudWatch in CBOR, which its newer SDKs ask in and moto does not speak: the same calls, in other bytes."""

from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

from .calls import RESPONSES, ServiceError, call, model
from .looking import CLOUD
from .words import error

HEADERS = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}


class CloudWatch:
    """moto's CloudWatch in whichever of its protocols it is asked in."""

    @staticmethod
    def dispatch(request):
        if "cbor" not in request.headers.get("Content-Type", ""):
            return RESPONSES["cloudwatch"].dispatch(request)
        account = CLOUD[0].account(request.headers["x-moto-account-id"])
        region = request.headers["Authorization"].split("/")[2]
        operation = request.path.rsplit("/operation/", 1)[-1]
        parser = RpcV2CBORParser()
        asked = parser.parse_data_item(parser.get_peekable_stream_from_bytes(request.data)) if request.data else {}
        try:
            answer = call(account, region, "cloudwatch", operation, **asked)
        except ServiceError as refused:
            return error(request.headers["Content-Type"], refused.code, refused.message, 400)
        body, shape = bytearray(), model("cloudwatch").operation_model(operation).output_shape
        if shape is not None:
            RpcV2CBORSerializer()._serialize_data_item(body, {k: v for k, v in answer.items() if k != "ResponseMetadata"}, shape)
        return 200, HEADERS, bytes(body)
