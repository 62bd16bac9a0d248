"""Pages: every Describe call that EC2 paginates comes in pages here, as small as a test wants them."""

import itertools

from moto.core.responses import ActionResult
from moto.core.utils import get_pagination_model
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

from errors import error

# What may not be asked for by id and in pages at once, and the parameter that names it.
BY_ID = {"DescribeImages": "ImageIds", "DescribeInstances": "InstanceIds", "DescribeSnapshots": "SnapshotIds",
         "DescribeVolumes": "VolumeIds"}
BOUNDED = {"DescribeInstances", "DescribeSecurityGroups", "DescribeSnapshots", "DescribeSubnets"}
BOUNDS = range(5, 1001)
_numbers = itertools.count(1)


def patch(cloud) -> None:
    serialize = EC2Response.serialized

    def serialized(self, answer):
        model = get_pagination_model("ec2").get(self._get_action())
        if model and isinstance(answer.result, dict):
            try:
                cut(cloud.account(self.current_account), self, answer.result, model["result_key"])
            except EC2ClientError as refused:
                answer = ActionResult(refused)
        return serialize(self, answer)

    EC2Response.serialized = serialized


def cut(account, response, result: dict, key: str) -> None:
    """Leaves one page of the items, and a token for the others.

    The others are kept as they were: a token is good for as often as it is asked, and nothing is
    left out because something before it has gone meanwhile.
    """
    action, token, limit = response._get_action(), response._get_param("NextToken"), response._get_param("MaxResults")
    by_id = action in BY_ID and response._get_param(BY_ID[action])
    check(action, limit, by_id)
    if by_id:
        return
    if token and account.pages.get(token, ("",))[0] != action:
        raise error("InvalidParameterValue", "Unable to parse pagination token")
    items = account.pages[token][1] if token else result.get(key) or []
    size = min(int(limit or 1000), account.ways.page or 1000)
    if account.ways.empty_pages and items and not token:
        size = 0  # filters are applied to a page that was cut before
    result[key], rest = items[:size], items[size:]
    result["NextToken"] = keep(account, action, rest) if rest else None


def check(action: str, limit, by_id) -> None:
    if limit is not None and by_id:
        raise error("InvalidParameterCombination", f"The parameter {BY_ID[action]} cannot be used with the parameter maxResults")
    if limit is not None and action in BOUNDED and int(limit) not in BOUNDS:
        raise error("InvalidParameterValue", f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value from 5 to 1000.")


def keep(account, action: str, items: list) -> str:
    token = f"page-{next(_numbers):08d}"
    account.pages[token] = (action, items)
    return token
