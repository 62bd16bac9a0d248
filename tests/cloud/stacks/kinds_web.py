"""Types of what serves: load balancers, launch templates and groups."""

from .kinds import Deal, Kind, differing, gone_is_fine, truth

# Load balancers -------------------------------------------------------------------------------------


def create_balancer(deal, p):
    asked = {k: p[k] for k in ("Scheme", "Type", "Subnets", "SecurityGroups", "IpAddressType", "Tags") if k in p}
    arn = deal.call("elbv2", "CreateLoadBalancer", Name=p.get("Name") or deal.name(32), **asked)["LoadBalancers"][0]["LoadBalancerArn"]
    deal.call("elbv2", "ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=p.get("LoadBalancerAttributes", []))
    return arn


def update_balancer(deal, old, new):
    changed = differing(old, new)
    if "LoadBalancerAttributes" in changed:
        deal.call("elbv2", "ModifyLoadBalancerAttributes", LoadBalancerArn=deal.physical, Attributes=new.get("LoadBalancerAttributes", []))
    if "SecurityGroups" in changed:
        deal.call("elbv2", "SetSecurityGroups", LoadBalancerArn=deal.physical, SecurityGroups=new["SecurityGroups"])
    if "Subnets" in changed:
        deal.call("elbv2", "SetSubnets", LoadBalancerArn=deal.physical, Subnets=new["Subnets"])


def balancer_attributes(deal, _):
    told = deal.call("elbv2", "DescribeLoadBalancers", LoadBalancerArns=[deal.physical])["LoadBalancers"][0]
    return {
        "DNSName": told["DNSName"],
        "LoadBalancerArn": deal.physical,
        "LoadBalancerName": told["LoadBalancerName"],
        "CanonicalHostedZoneID": told["CanonicalHostedZoneId"],
        "LoadBalancerFullName": deal.physical.split(":loadbalancer/")[1],
    }


LISTENER = ("Port", "Protocol", "SslPolicy", "Certificates", "DefaultActions", "AlpnPolicy")


def create_listener(deal, p):
    asked = {k: p[k] for k in LISTENER if k in p}
    return deal.call("elbv2", "CreateListener", LoadBalancerArn=p["LoadBalancerArn"], **asked)["Listeners"][0]["ListenerArn"]


def update_listener(deal, _, new):
    deal.call("elbv2", "ModifyListener", ListenerArn=deal.physical, **{k: new[k] for k in LISTENER if k in new})


def create_rule(deal, p):
    asked = {k: p[k] for k in ("ListenerArn", "Priority", "Conditions", "Actions", "Tags") if k in p}
    return deal.call("elbv2", "CreateRule", **asked)["Rules"][0]["RuleArn"]


def update_rule(deal, old, new):
    deal.call("elbv2", "ModifyRule", RuleArn=deal.physical, Conditions=new["Conditions"], Actions=new["Actions"])
    if "Priority" in differing(old, new):
        deal.call("elbv2", "SetRulePriorities", RulePriorities=[{"RuleArn": deal.physical, "Priority": new["Priority"]}])


CHECKS = (
    "HealthCheckEnabled",
    "HealthCheckIntervalSeconds",
    "HealthCheckPath",
    "HealthCheckPort",
    "HealthCheckProtocol",
    "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount",
    "UnhealthyThresholdCount",
    "Matcher",
)


def create_targets(deal, p):
    asked = {k: p[k] for k in (*CHECKS, "VpcId", "TargetType", "Protocol", "ProtocolVersion", "Port", "Tags") if k in p}
    arn = deal.call("elbv2", "CreateTargetGroup", Name=p.get("Name") or deal.name(32), **asked)["TargetGroups"][0]["TargetGroupArn"]
    deal.call("elbv2", "ModifyTargetGroupAttributes", TargetGroupArn=arn, Attributes=p.get("TargetGroupAttributes", []))
    return arn


def update_targets(deal, old, new):
    if differing(old, new) & set(CHECKS):
        deal.call("elbv2", "ModifyTargetGroup", TargetGroupArn=deal.physical, **{k: new[k] for k in CHECKS if k in new})
    deal.call("elbv2", "ModifyTargetGroupAttributes", TargetGroupArn=deal.physical, Attributes=new.get("TargetGroupAttributes", []))


def deletes(service: str, operation: str, parameter: str):
    return lambda deal, _: gone_is_fine(lambda: deal.call(service, operation, **{parameter: deal.physical}))


# Instances ------------------------------------------------------------------------------------------


def create_launch_template(deal, p):
    name = p.get("LaunchTemplateName") or deal.name(128)
    asked = {"LaunchTemplateData": p["LaunchTemplateData"], "TagSpecifications": p.get("TagSpecifications")}
    made = deal.call("ec2", "CreateLaunchTemplate", LaunchTemplateName=name, **asked)
    return deal.is_known(made["LaunchTemplate"]["LaunchTemplateId"])


def update_launch_template(deal, _, new):
    """A new version; which one is the default stays."""
    deal.call("ec2", "CreateLaunchTemplateVersion", LaunchTemplateId=deal.physical, LaunchTemplateData=new["LaunchTemplateData"])


def launch_template_attributes(deal, _):
    told = deal.call("ec2", "DescribeLaunchTemplates", LaunchTemplateIds=[deal.physical])["LaunchTemplates"][0]
    return {
        "LaunchTemplateId": deal.physical,
        "LatestVersionNumber": str(told["LatestVersionNumber"]),
        "DefaultVersionNumber": str(told["DefaultVersionNumber"]),
    }


SIZES = ("MinSize", "MaxSize", "DesiredCapacity")
GROUP = (*SIZES, "LaunchTemplate", "HealthCheckType", "HealthCheckGracePeriod")


def group_request(p: dict, names) -> dict:
    asked = {k: p[k] for k in names if k in p}
    if p.get("VPCZoneIdentifier"):
        asked["VPCZoneIdentifier"] = ",".join(p["VPCZoneIdentifier"])
    return asked


def group_tags(deal: Deal, p: dict, name: str) -> list[dict]:
    own = [
        {"Key": "aws:cloudformation:stack-name", "Value": deal.stack, "PropagateAtLaunch": True},
        {"Key": "aws:cloudformation:logical-id", "Value": deal.logical, "PropagateAtLaunch": True},
    ]
    return [{**t, "ResourceId": name, "ResourceType": "auto-scaling-group"} for t in [*p.get("Tags", []), *own]]


def create_group(deal, p):
    name = p.get("AutoScalingGroupName") or deal.name()
    deal.call(
        "autoscaling",
        "CreateAutoScalingGroup",
        AutoScalingGroupName=name,
        TargetGroupARNs=p.get("TargetGroupARNs"),
        TerminationPolicies=p.get("TerminationPolicies"),
        Tags=group_tags(deal, p, name),
        **group_request(p, GROUP),
    )
    return name


def update_group(deal, old, new):
    """Sizes that the template did not change are left as they are, where its policy says so."""
    ignores = truth(deal.policy.get("AutoScalingScheduledAction", {}).get("IgnoreUnmodifiedGroupSizeProperties", False))
    changed = differing(old, new)
    names = [n for n in GROUP if n not in SIZES or not ignores or n in changed]
    deal.call("autoscaling", "UpdateAutoScalingGroup", AutoScalingGroupName=deal.physical, **group_request(new, names))
    if "Tags" in changed:
        kept = {t["Key"] for t in new.get("Tags", [])}
        goes = [
            {"Key": t["Key"], "ResourceId": deal.physical, "ResourceType": "auto-scaling-group"}
            for t in old.get("Tags", [])
            if t["Key"] not in kept
        ]
        deal.call("autoscaling", "DeleteTags", Tags=goes)
        deal.call("autoscaling", "CreateOrUpdateTags", Tags=group_tags(deal, new, deal.physical))
    if "TargetGroupARNs" in changed:
        before, after = old.get("TargetGroupARNs", []), new.get("TargetGroupARNs", [])
        deal.call(
            "autoscaling",
            "AttachLoadBalancerTargetGroups",
            AutoScalingGroupName=deal.physical,
            TargetGroupARNs=[a for a in after if a not in before],
        )
        deal.call(
            "autoscaling",
            "DetachLoadBalancerTargetGroups",
            AutoScalingGroupName=deal.physical,
            TargetGroupARNs=[a for a in before if a not in after],
        )


def delete_group(deal, _):
    gone_is_fine(lambda: deal.call("autoscaling", "DeleteAutoScalingGroup", AutoScalingGroupName=deal.physical, ForceDelete=True))


def is_group_gone(deal) -> bool:
    """A group goes when the last of its instances has."""
    return not deal.call("autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=[deal.physical])["AutoScalingGroups"]


def put_policy(deal, p, name=None):
    name = name or deal.name()
    asked = {k: v for k, v in p.items() if k != "PolicyName"}
    return deal.call("autoscaling", "PutScalingPolicy", PolicyName=name, **asked)["PolicyARN"]


def policy_name(arn: str) -> str:
    return arn.rsplit(":policyName/", 1)[1]


def delete_policy(deal, _):
    deal.call("autoscaling", "DeletePolicy", PolicyName=policy_name(deal.physical))


KINDS = {
    "AWS::ElasticLoadBalancingV2::LoadBalancer": Kind(
        create_balancer,
        deletes("elbv2", "DeleteLoadBalancer", "LoadBalancerArn"),
        update_balancer,
        balancer_attributes,
        ("LoadBalancerAttributes", "SecurityGroups", "Subnets"),
    ),
    "AWS::ElasticLoadBalancingV2::Listener": Kind(
        create_listener,
        deletes("elbv2", "DeleteListener", "ListenerArn"),
        update_listener,
        lambda d, _: {"ListenerArn": d.physical},
        LISTENER,
    ),
    "AWS::ElasticLoadBalancingV2::ListenerRule": Kind(
        create_rule,
        deletes("elbv2", "DeleteRule", "RuleArn"),
        update_rule,
        lambda d, _: {"RuleArn": d.physical},
        ("Priority", "Conditions", "Actions"),
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": Kind(
        create_targets,
        deletes("elbv2", "DeleteTargetGroup", "TargetGroupArn"),
        update_targets,
        lambda d, _: {"TargetGroupArn": d.physical, "TargetGroupFullName": d.physical.rsplit(":", 1)[1]},
        (*CHECKS, "TargetGroupAttributes"),
    ),
    "AWS::EC2::LaunchTemplate": Kind(
        create_launch_template,
        deletes("ec2", "DeleteLaunchTemplate", "LaunchTemplateId"),
        update_launch_template,
        launch_template_attributes,
        ("LaunchTemplateData",),
    ),
    "AWS::AutoScaling::AutoScalingGroup": Kind(
        create_group,
        delete_group,
        update_group,
        changes=(*GROUP, "VPCZoneIdentifier", "Tags", "TargetGroupARNs", "DefaultInstanceWarmup", "MetricsCollection"),
        is_gone=is_group_gone,
    ),
    "AWS::AutoScaling::ScalingPolicy": Kind(
        put_policy,
        delete_policy,
        lambda d, _, new: put_policy(d, new, policy_name(d.physical)),
        lambda d, _: {"Arn": d.physical},
        ("TargetTrackingConfiguration", "PolicyType"),
    ),
}
