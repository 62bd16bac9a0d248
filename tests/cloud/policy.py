"""IAM over the test EC2: whether a policy allows a call, by action, resource and conditions.

A call may need more than its own action: tags at creation, a role that is passed, a customer's key. What
it needs is written down here by action (`demands`); a policy is read as IAM reads one (`allows`), as far as
the policies of tests go: an operator that is not known is an error, never a yes.
"""

import fnmatch
from dataclasses import dataclass, field

import keys

# What calls name, and the kinds that IAM knows it as.
NAMED = {"ImageId": "image", "InstanceId": "instance", "GroupId": "security-group", "SnapshotId": "snapshot",
         "SubnetId": "subnet", "VpcId": "vpc", "LaunchTemplateId": "launch-template", "SourceImageId": "image"}
BY_PREFIX = {"ami": "image", "i": "instance", "sg": "security-group", "snap": "snapshot", "vol": "volume",
             "eni": "network-interface", "subnet": "subnet", "vpc": "vpc", "lt": "launch-template"}
# What calls make, which has no id yet.
MADE = {"RunInstances": ("instance", "volume", "network-interface"), "CreateSecurityGroup": ("security-group",),
        "AuthorizeSecurityGroupIngress": ("security-group-rule",), "CreateImage": ("image", "snapshot"),
        "RegisterImage": ("image",), "CopyImage": ("image", "snapshot"), "CreateLaunchTemplate": ("launch-template",),
        "PutParameter": ("parameter",)}
# What EC2 does with a customer's key for whoever launches or copies.
BY_EC2 = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom",
          "kms:ReEncryptTo", "kms:CreateGrant")
OWNERLESS = ("image", "snapshot")
# What a call of another service needs besides its own action.
ALSO = {"cloudformation:DescribeStacks": lambda params: () if params.get("StackName") else ("cloudformation:ListStacks",),
        "acm:ImportCertificate": lambda params: ("acm:AddTagsToCertificate",) if params.get("Tags") else (),
        "cloudformation:CreateChangeSet": lambda params: ("iam:PassRole",) if params.get("RoleARN") else (),
        "cloudformation:DeleteStack": lambda params: ("iam:PassRole",) if params.get("RoleARN") else (),
        # docs.aws.amazon.com/elasticloadbalancing/latest/userguide/tagging-resources-during-creation.html
        "elasticloadbalancing:CreateRule": lambda params: (
            ("elasticloadbalancing:AddTags",) if any(name.startswith("Tags.") for name in params) else ())}
# A service that requests are signed for by another name than its actions have.
PREFIXES = {"monitoring": "cloudwatch"}


@dataclass
class Demand:
    """Leave that a call needs."""

    action: str
    resource: str = "*"
    context: dict[str, list[str]] = field(default_factory=dict)


def denied(account, call) -> str | None:
    """EC2's words for a call that the account's policy does not allow."""
    policy = account.ways.policy
    if policy is None or call.action == "GetCallerIdentity":
        return None
    for demand in demands(account, call):
        account.demanded.add(demand.action)
        if not allows(policy, demand):
            return (f"You are not authorized to perform this operation. User: arn:aws:iam::{account.number}:user/test is not "
                    f"authorized to perform: {demand.action} on resource: {demand.resource} because no identity-based "
                    f"policy allows the {demand.action} action")
    return None


def untagged(account, call) -> str | None:
    """EC2's words for a call that makes something without the tags that the organisation demands."""
    wanted = account.ways.demanded_tags
    kinds = [k for k in MADE.get(call.action, ()) if k in (account.ways.demanded_of or [k])]
    is_making = call.service == "ec2" or (call.service == "ssm" and not call.params.get("Overwrite"))
    for kind in kinds if wanted and is_making else ():
        missing = [key for key in wanted if key not in tags_given(call.params, kind)]
        if missing:
            return (f"You are not authorized to perform this operation. User: arn:aws:iam::{account.number}:user/test is not "
                    f"authorized to perform: {call.service}:{call.action} on resource: {arn(account, call, kind)} with an explicit deny in "
                    f"a service control policy")
    return None


def demands(account, call) -> list[Demand]:
    action = f"{PREFIXES.get(call.service, call.service)}:{call.action}"
    context = {"aws:RequestedRegion": [call.region]}
    if call.service == "ssm":
        name = (call.params.get("Name") or "").lstrip("/")
        owner = "" if name.startswith("aws/") else account.number
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-access.html
        tagging = ["ssm:AddTagsToResource"] if call.action == "PutParameter" and call.params.get("Tags") else []
        return [Demand(named, f"arn:aws:ssm:{call.region}:{owner}:parameter/{name}", context) for named in (action, *tagging)]
    if call.service == "kms" and call.params.get("KeyId"):
        key = keys.arn(account.number, call.region, call.params["KeyId"])
        resource = key if key.startswith("arn:") else f"arn:aws:kms:{call.region}:{account.number}:key/1234abcd"
        return [Demand(action, resource, context | {"kms:ResourceAliases": keys.aliases(account.number, call.region, call.params["KeyId"])})]
    if call.service != "ec2" or call.action.startswith(("Describe", "Get")):
        return [Demand(name, "*", context) for name in (action, *ALSO.get(action, lambda _: ())(call.params))]
    made = [Demand(action, arn(account, call, kind), context | request_tags(call.params, kind))
            for kind in MADE.get(call.action, ())]
    named = [Demand(action, arn(account, call, kind, thing), context | resource_tags(account, call, thing))
             for kind, thing in named_things(account, call)]
    return (made + named or [Demand(action, "*", context)]) + implied(account, call, context)


def implied(account, call, context: dict) -> list[Demand]:
    """What a call needs besides its own action."""
    more = []
    for kind in MADE.get(call.action, ()):
        if tags_given(call.params, kind):
            more.append(Demand("ec2:CreateTags", arn(account, call, kind),
                               context | {"ec2:CreateAction": [call.action]} | request_tags(call.params, kind)))
    if any(name.startswith("IamInstanceProfile.") for name in call.params):
        more.append(Demand("iam:PassRole", f"arn:aws:iam::{account.number}:role/builder",
                           {"iam:PassedToService": ["ec2.amazonaws.com"]}))
    keys = {value for name, value in call.params.items() if name.endswith("KmsKeyId")}
    for key in keys:
        resource = key if key.startswith("arn:") else f"arn:aws:kms:{call.region}:{account.number}:key/1234abcd"
        of_key = {"kms:ViaService": [f"ec2.{call.region}.amazonaws.com"], "kms:GrantIsForAWSResource": ["true"],
                  "kms:ResourceAliases": [key] if "alias/" in key else []}
        more.extend(Demand(action, resource, context | of_key) for action in BY_EC2)
    return more


def named_things(account, call):
    """The things that are there already, by kind."""
    seen = []
    for name, value in call.params.items():
        parts = name.split(".")
        plain = [part for part in parts if not part.isdigit()]
        last = plain[-1]
        # What a template is to launch is looked at when it does.
        if plain[0] in ("TagSpecification", "Filter", "LaunchTemplateData"):
            continue
        if last == "ResourceId" and "-" in value:
            seen.append((BY_PREFIX[value.split("-")[0]], value))
        elif last in NAMED and not (last == "SourceImageId" and "SourceRegion" not in call.params):
            seen.append((NAMED[last], value))
        elif last == "SecurityGroupId":
            seen.append(("security-group", value))
        elif last == "LaunchTemplateName" and call.action not in MADE:
            seen.append(("launch-template", value))
    return sorted(set(seen))


def arn(account, call, kind: str, thing: str = "*") -> str:
    owner = "" if kind in OWNERLESS else account.number
    if kind == "parameter":
        return f"arn:aws:ssm:{call.region}:{owner}:parameter/{call.params['Name'].lstrip('/')}"
    return f"arn:aws:ec2:{call.region}:{owner}:{kind}/{thing}"


def tags_given(params: dict, kind: str) -> dict[str, str]:
    """The tags that a call gives to what it makes of a kind."""
    if kind == "parameter":
        return {tag["Key"]: tag["Value"] for tag in params.get("Tags") or []}
    given = {}
    for name, value in params.items():
        parts = name.split(".")
        if parts[0] == "TagSpecification" and parts[-1] == "Key" and params.get(f"TagSpecification.{parts[1]}.ResourceType") == kind:
            given[value] = params.get(".".join(parts[:-1] + ["Value"]), "")
    return given


def request_tags(params: dict, kind: str) -> dict[str, list[str]]:
    return {f"aws:RequestTag/{key}": [value] for key, value in tags_given(params, kind).items()}


def resource_tags(account, call, thing: str) -> dict[str, list[str]]:
    ec2 = account.backend(call.region)
    known = ec2.tags.get(thing) or {}
    return {f"aws:ResourceTag/{key}": [str(value)] for key, value in known.items()}


# How a policy is read --------------------------------------------------------------------------


def allows(policy: dict, demand: Demand) -> bool:
    of_demand = [s for s in policy["Statement"] if speaks_of(s, demand)]
    effects = {s["Effect"] for s in of_demand}
    return "Deny" not in effects and "Allow" in effects


def speaks_of(statement: dict, demand: Demand) -> bool:
    named = any(like(demand.action.lower(), a.lower()) for a in listed(statement["Action"]))
    return named and any(like(demand.resource, r) for r in listed(statement["Resource"])) and all(
        holds(operator, key, listed(wanted), demand.context)
        for operator, keys in statement.get("Condition", {}).items() for key, wanted in keys.items())


def holds(operator: str, key: str, wanted: list[str], context: dict) -> bool:
    """Whether one condition holds. Nothing is like what a call does not say."""
    values = context.get(key, [])
    if operator == "StringEquals":
        return any(v == w for v in values for w in wanted)
    if operator == "ForAnyValue:StringEquals":
        return any(v == w for v in values for w in wanted)
    if operator == "StringLike":
        return any(like(v, w) for v in values for w in wanted)
    if operator == "Bool":
        return [v.lower() for v in values] == [str(w).lower() for w in wanted]
    raise ValueError(f"policy.py does not know {operator}")


def like(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


# The simulator ---------------------------------------------------------------------------------


def simulate(account, params: dict) -> str:
    """IAM's answer to SimulatePrincipalPolicy, of the account's policy."""
    context = {}
    for name, value in params.items():
        parts = name.split(".")
        if parts[0] == "ContextEntries" and parts[-1] == "ContextKeyName":
            values = [v for k, v in params.items() if k.startswith(".".join(parts[:3]) + ".ContextKeyValues.")]
            context[value] = values
    actions = [v for k, v in params.items() if k.startswith("ActionNames.")]
    resources = [v for k, v in params.items() if k.startswith("ResourceArns.")] or ["*"]
    policy = account.ways.policy
    results = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName><EvalDecision>"
        f"{'allowed' if policy is None or allows(policy, Demand(action, resource, context)) else 'implicitDeny'}"
        f"</EvalDecision></member>" for action in actions for resource in resources)
    return ("<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><SimulatePrincipalPolicyResult>"
            f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult>"
            "<ResponseMetadata><RequestId>7a62c49f-0000-4444-8888-000000000001</RequestId></ResponseMetadata>"
            "</SimulatePrincipalPolicyResponse>")
