"""Types of what a stack has beside its network and its servers: roles, alarms, and the bucket of its logs."""

import json

from moto.s3.models import s3_backends

from .kinds import Deal, Kind, gone_is_fine


def create_role(deal, p):
    name = p.get("RoleName") or deal.name(64)
    deal.call("iam", "CreateRole", RoleName=name, AssumeRolePolicyDocument=json.dumps(p["AssumeRolePolicyDocument"]))
    for policy in p.get("Policies", []):
        deal.call(
            "iam", "PutRolePolicy", RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=json.dumps(policy["PolicyDocument"])
        )
    for arn in p.get("ManagedPolicyArns", []):
        deal.call("iam", "AttachRolePolicy", RoleName=name, PolicyArn=arn)
    return name


def update_role(deal, old, new):
    deal.call("iam", "UpdateAssumeRolePolicy", RoleName=deal.physical, PolicyDocument=json.dumps(new["AssumeRolePolicyDocument"]))
    kept = {policy["PolicyName"] for policy in new.get("Policies", [])}
    for policy in old.get("Policies", []):
        if policy["PolicyName"] not in kept:
            deal.call("iam", "DeleteRolePolicy", RoleName=deal.physical, PolicyName=policy["PolicyName"])
    for policy in new.get("Policies", []):
        deal.call(
            "iam",
            "PutRolePolicy",
            RoleName=deal.physical,
            PolicyName=policy["PolicyName"],
            PolicyDocument=json.dumps(policy["PolicyDocument"]),
        )


def delete_role(deal, p):
    for policy in p.get("Policies", []):
        gone_is_fine(lambda policy=policy: deal.call("iam", "DeleteRolePolicy", RoleName=deal.physical, PolicyName=policy["PolicyName"]))
    for arn in p.get("ManagedPolicyArns", []):
        gone_is_fine(lambda arn=arn: deal.call("iam", "DetachRolePolicy", RoleName=deal.physical, PolicyArn=arn))
    gone_is_fine(lambda: deal.call("iam", "DeleteRole", RoleName=deal.physical))


def create_profile(deal, p):
    name = p.get("InstanceProfileName") or deal.name(128)
    deal.call("iam", "CreateInstanceProfile", InstanceProfileName=name)
    for role in p["Roles"]:
        deal.call("iam", "AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=role)
    return name


def delete_profile(deal, p):
    for role in p["Roles"]:
        gone_is_fine(lambda role=role: deal.call("iam", "RemoveRoleFromInstanceProfile", InstanceProfileName=deal.physical, RoleName=role))
    gone_is_fine(lambda: deal.call("iam", "DeleteInstanceProfile", InstanceProfileName=deal.physical))


def put_alarm(deal, p, name=None):
    name = name or p.get("AlarmName") or deal.name()
    deal.call("cloudwatch", "PutMetricAlarm", **p | {"AlarmName": name})
    return name


def delete_alarm(deal, _):
    deal.call("cloudwatch", "DeleteAlarms", AlarmNames=[deal.physical])


def buckets(deal: Deal):
    return s3_backends[deal.account.number]["aws"]


def create_bucket(deal, p):
    """S3 is no service of the test EC2: a bucket is a name that is taken."""
    name = p.get("BucketName") or deal.name(63).lower()
    buckets(deal).create_bucket(name, deal.region)
    return name


def delete_bucket(deal, _):
    buckets(deal).delete_bucket(deal.physical)


def nothing(*_) -> None:
    """A bucket's settings and policy are seen by nobody here."""


def attributes_of(service: str, operation: str, parameter: str, path: str, *names: str):
    def attributes(deal, _):
        told = deal.call(service, operation, **{parameter: deal.physical})[path]
        return {name: told[name] for name in names}

    return attributes


KINDS = {
    "AWS::IAM::Role": Kind(
        create_role,
        delete_role,
        update_role,
        attributes_of("iam", "GetRole", "RoleName", "Role", "Arn", "RoleId"),
        ("AssumeRolePolicyDocument", "Policies"),
    ),
    "AWS::IAM::InstanceProfile": Kind(
        create_profile,
        delete_profile,
        attributes=attributes_of("iam", "GetInstanceProfile", "InstanceProfileName", "InstanceProfile", "Arn"),
    ),
    "AWS::CloudWatch::Alarm": Kind(
        put_alarm,
        delete_alarm,
        lambda d, _, new: put_alarm(d, new, d.physical),
        lambda d, _: {"Arn": f"arn:aws:cloudwatch:{d.region}:{d.account.number}:alarm:{d.physical}"},
        (
            "AlarmDescription",
            "Threshold",
            "ComparisonOperator",
            "EvaluationPeriods",
            "TreatMissingData",
            "Metrics",
            "AlarmActions",
            "OKActions",
            "Namespace",
            "MetricName",
            "Dimensions",
            "Statistic",
            "Period",
        ),
    ),
    "AWS::S3::Bucket": Kind(
        create_bucket,
        delete_bucket,
        nothing,
        lambda d, _: {"Arn": f"arn:aws:s3:::{d.physical}"},
        ("BucketEncryption", "LifecycleConfiguration", "OwnershipControls", "PublicAccessBlockConfiguration"),
    ),
    "AWS::S3::BucketPolicy": Kind(lambda deal, p: p["Bucket"], nothing, nothing, changes=("PolicyDocument",)),
}
