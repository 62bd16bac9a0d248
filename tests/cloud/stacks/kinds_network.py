"""Types of networks: VPCs, subnets, routes, gateways, endpoints and security groups."""

from .kinds import Deal, Kind, differing, gone_is_fine, truth


def tag(deal: Deal, thing_id: str, properties: dict) -> str:
    if properties.get("Tags"):
        deal.call("ec2", "CreateTags", Resources=[thing_id], Tags=properties["Tags"])
    return thing_id


def retag(deal: Deal, old: dict, new: dict) -> None:
    if old.get("Tags"):
        deal.call("ec2", "DeleteTags", Resources=[deal.physical], Tags=[{"Key": t["Key"]} for t in old["Tags"]])
    tag(deal, deal.physical, new)


def create_vpc(deal, p):
    vpc = deal.call("ec2", "CreateVpc", CidrBlock=p["CidrBlock"])["Vpc"]["VpcId"]
    for name in ("EnableDnsSupport", "EnableDnsHostnames"):
        if name in p:
            deal.call("ec2", "ModifyVpcAttribute", VpcId=vpc, **{name: {"Value": truth(p[name])}})
    return tag(deal, vpc, p)


def create_subnet(deal, p):
    asked = {k: p[k] for k in ("VpcId", "CidrBlock", "AvailabilityZone") if k in p}
    return tag(deal, deal.call("ec2", "CreateSubnet", **asked)["Subnet"]["SubnetId"], p)


def create_gateway(deal, p):
    return tag(deal, deal.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"], p)


def attach_gateway(deal, p):
    deal.call("ec2", "AttachInternetGateway", InternetGatewayId=p["InternetGatewayId"], VpcId=p["VpcId"])
    return f"IGW|{p['VpcId']}"


def create_routes(deal, p):
    return tag(deal, deal.call("ec2", "CreateRouteTable", VpcId=p["VpcId"])["RouteTable"]["RouteTableId"], p)


def create_route(deal, p):
    deal.call("ec2", "CreateRoute", **p)
    return f"{p['RouteTableId']}|{p['DestinationCidrBlock']}"


def associate(deal, p):
    return deal.call("ec2", "AssociateRouteTable", **p)["AssociationId"]


def create_address(deal, p):
    return deal.call("ec2", "AllocateAddress", Domain=p.get("Domain", "vpc"))["PublicIp"]


def allocation(deal) -> str:
    found = deal.call("ec2", "DescribeAddresses", PublicIps=[deal.physical])["Addresses"]
    return found[0]["AllocationId"]


def create_nat(deal, p):
    asked = {k: p[k] for k in ("AllocationId", "SubnetId") if k in p}
    return tag(deal, deal.call("ec2", "CreateNatGateway", **asked)["NatGateway"]["NatGatewayId"], p)


def create_endpoint(deal, p):
    asked = {k: p[k] for k in ("VpcEndpointType", "ServiceName", "VpcId", "SubnetIds", "SecurityGroupIds", "RouteTableIds") if k in p}
    return deal.call("ec2", "CreateVpcEndpoint", **asked)["VpcEndpoint"]["VpcEndpointId"]


def permission(rule: dict) -> dict:
    """A rule of a template as the API has it."""
    said = {"Description": rule["Description"]} if "Description" in rule else {}
    other = rule.get("SourceSecurityGroupId") or rule.get("DestinationSecurityGroupId")
    whom = {"UserIdGroupPairs": [{"GroupId": other, **said}]} if other else {"IpRanges": [{"CidrIp": rule["CidrIp"], **said}]}
    ports = {k: int(rule[k]) for k in ("FromPort", "ToPort") if k in rule}
    return {"IpProtocol": rule["IpProtocol"], **ports, **whom}


EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def create_group(deal, p):
    group = deal.is_known(
        deal.call(
            "ec2",
            "CreateSecurityGroup",
            GroupName=p.get("GroupName") or deal.name(),
            Description=p["GroupDescription"],
            VpcId=p.get("VpcId"),
        )["GroupId"]
    )
    if p.get("SecurityGroupIngress"):
        deal.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[permission(r) for r in p["SecurityGroupIngress"]])
    if p.get("SecurityGroupEgress"):
        deal.call("ec2", "RevokeSecurityGroupEgress", GroupId=group, IpPermissions=[EVERYTHING])
        deal.call("ec2", "AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[permission(r) for r in p["SecurityGroupEgress"]])
    return tag(deal, group, p)


def update_group(deal, old, new):
    for side in ("Ingress", "Egress"):
        name = f"SecurityGroup{side}"
        goes = [r for r in old.get(name, []) if r not in new.get(name, [])]
        comes = [r for r in new.get(name, []) if r not in old.get(name, [])]
        if comes:
            deal.call("ec2", f"AuthorizeSecurityGroup{side}", GroupId=deal.physical, IpPermissions=[permission(r) for r in comes])
        if goes:
            deal.call("ec2", f"RevokeSecurityGroup{side}", GroupId=deal.physical, IpPermissions=[permission(r) for r in goes])
    if "Tags" in differing(old, new):
        retag(deal, old, new)


def rule_kind(side: str) -> Kind:
    def create(deal, p):
        deal.call("ec2", f"AuthorizeSecurityGroup{side}", GroupId=p["GroupId"], IpPermissions=[permission(p)])
        return deal.name()

    def delete(deal, p):
        gone_is_fine(lambda: deal.call("ec2", f"RevokeSecurityGroup{side}", GroupId=p["GroupId"], IpPermissions=[permission(p)]))

    return Kind(create, delete)


def deletes(operation: str, parameter: str):
    return lambda deal, _: gone_is_fine(lambda: deal.call("ec2", operation, **{parameter: deal.physical}))


def detach_gateway(deal, p):
    gone_is_fine(lambda: deal.call("ec2", "DetachInternetGateway", InternetGatewayId=p["InternetGatewayId"], VpcId=p["VpcId"]))


def delete_route(deal, p):
    gone_is_fine(lambda: deal.call("ec2", "DeleteRoute", RouteTableId=p["RouteTableId"], DestinationCidrBlock=p["DestinationCidrBlock"]))


def release(deal, _):
    gone_is_fine(lambda: deal.call("ec2", "ReleaseAddress", AllocationId=allocation(deal)))


def delete_endpoint(deal, _):
    deal.call("ec2", "DeleteVpcEndpoints", VpcEndpointIds=[deal.physical])


TAGGED = {"update": retag, "changes": ("Tags",)}
KINDS = {
    "AWS::EC2::VPC": Kind(
        create_vpc, deletes("DeleteVpc", "VpcId"), attributes=lambda d, p: {"VpcId": d.physical, "CidrBlock": p["CidrBlock"]}, **TAGGED
    ),
    "AWS::EC2::Subnet": Kind(
        create_subnet, deletes("DeleteSubnet", "SubnetId"), attributes=lambda d, _: {"SubnetId": d.physical}, **TAGGED
    ),
    "AWS::EC2::InternetGateway": Kind(create_gateway, deletes("DeleteInternetGateway", "InternetGatewayId"), **TAGGED),
    "AWS::EC2::VPCGatewayAttachment": Kind(attach_gateway, detach_gateway),
    "AWS::EC2::RouteTable": Kind(create_routes, deletes("DeleteRouteTable", "RouteTableId"), **TAGGED),
    "AWS::EC2::Route": Kind(create_route, delete_route),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(associate, deletes("DisassociateRouteTable", "AssociationId")),
    "AWS::EC2::EIP": Kind(create_address, release, attributes=lambda d, _: {"AllocationId": allocation(d), "PublicIp": d.physical}),
    "AWS::EC2::NatGateway": Kind(
        create_nat, deletes("DeleteNatGateway", "NatGatewayId"), attributes=lambda d, _: {"NatGatewayId": d.physical}, **TAGGED
    ),
    "AWS::EC2::VPCEndpoint": Kind(create_endpoint, delete_endpoint, attributes=lambda d, _: {"Id": d.physical}),
    "AWS::EC2::SecurityGroup": Kind(
        create_group,
        deletes("DeleteSecurityGroup", "GroupId"),
        update_group,
        lambda d, _: {"GroupId": d.physical},
        ("SecurityGroupIngress", "SecurityGroupEgress", "Tags"),
    ),
    "AWS::EC2::SecurityGroupIngress": rule_kind("Ingress"),
    "AWS::EC2::SecurityGroupEgress": rule_kind("Egress"),
}
