"""Load balancers' rules over moto's: what is in use, what is refused, and target health that is looked at (health.py)."""

from moto.acm.models import acm_backends
from moto.elbv2.exceptions import DuplicateListenerError, ELBClientError, RuleNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeListener, FakeLoadBalancer, FakeTargetGroup, TargetGroupNotFoundError
from moto.elbv2.ssl_policies import SSL_POLICIES

from . import health, listeners
from .settings import settings

POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"


def refusal(code: str, message: str) -> ELBClientError:
    return ELBClientError(code, message)


def patch(cloud) -> None:
    SSL_POLICIES.setdefault(POLICY, SSL_POLICIES["ELBSecurityPolicy-TLS13-1-2-PQ-2025-09"] | {"name": POLICY})
    patch_targets(cloud)
    patch_listeners(cloud)
    patch_balancers(cloud)


def patch_targets(cloud) -> None:
    groups = ELBv2Backend.describe_target_groups

    def describe_target_health(self, target_group_arn, targets):
        group = self.target_groups.get(target_group_arn)
        if group is None:
            raise TargetGroupNotFoundError()
        return health.describe(cloud.account(self.account_id), self, group, targets)

    def describe_target_groups(self, load_balancer_arn, target_group_arns, names):
        """moto notes which load balancers use a group when a rule is made, and never again."""
        for group in self.target_groups.values():
            group.load_balancer_arns = [b.arn for b in health.in_use(self, group.arn)]
        return groups(self, load_balancer_arn, target_group_arns, names)

    ELBv2Backend.describe_target_health = describe_target_health
    ELBv2Backend.describe_target_groups = describe_target_groups
    FakeTargetGroup.deregister_terminated_instances = lambda self, instance_ids: None  # whoever registered them does it


def patch_listeners(cloud) -> None:
    create, delete_rule = ELBv2Backend.create_listener, ELBv2Backend.delete_rule
    modify, delete, rules = ELBv2Backend.modify_listener, ELBv2Backend.delete_listener, ELBv2Backend.describe_rules

    def create_listener(self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, *args, **kwargs):
        balancer = self.load_balancers.get(load_balancer_arn)
        if balancer and any(str(known.port) == str(port) for known in balancer.listeners.values()):
            raise DuplicateListenerError()
        if protocol == "HTTPS":
            check_tls(self, certificate, ssl_policy)
        return create(self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, *args, **kwargs)

    def modify_listener(self, arn, port=None, protocol=None, ssl_policy=None, certificates=None, actions=None):
        found = self.describe_listeners(None, [arn])[0]
        before, more = found.certificate, found.certificates[1:]
        changed = modify(self, arn, port, protocol, ssl_policy, certificates or [], actions or [])
        # One that is not the default's stays.
        changed.certificates = changed.certificates[:1] + [each for each in more if each != changed.certificate]
        if before != changed.certificate:
            used(self, before, arn, False)
            used(self, changed.certificate, arn, True)
        return changed

    def delete_listener(self, listener_arn):
        gone = delete(self, listener_arn)
        used(self, gone.certificate, listener_arn, False)
        return gone

    def remove_rule(self, arn):
        if arn not in [r.arn for b in self.load_balancers.values() for each in b.listeners.values() for r in each.rules.values()]:
            raise RuleNotFoundError("One or more rules not found")
        if any(
            r.arn == arn and r.is_default
            for b in self.load_balancers.values()
            for each in b.listeners.values()
            for r in each.rules.values()
        ):
            raise refusal("OperationNotPermitted", f"Default rule '{arn}' cannot be deleted")
        return delete_rule(self, arn)

    def describe_rules(self, listener_arn, rule_arns):
        return sorted(rules(self, listener_arn, rule_arns), key=listeners.priority)

    def add_tags(self, resource_arns, tags):
        """moto takes ten on a resource; there may be fifty."""
        for arn in resource_arns:
            self._get_resource_by_arn(arn)
            known = self.tagging_service.get_tag_dict_for_resource(arn) | self.tagging_service.flatten_tag_list(tags)
            if len(known) > 50:
                raise refusal("TooManyTags", f"The maximum number of tags (50) for resource {arn} has been exceeded")
            self.tagging_service.tag_resource(arn, tags)

    FakeListener.register = lambda self, arn, rule: self._non_default_rules.__setitem__(arn, rule)
    ELBv2Backend.create_listener, ELBv2Backend.modify_listener = create_listener, modify_listener
    ELBv2Backend.delete_listener, ELBv2Backend.delete_rule = delete_listener, remove_rule
    ELBv2Backend.describe_rules, ELBv2Backend.add_tags = describe_rules, add_tags


def check_tls(backend, certificate: str | None, policy: str) -> None:
    if not certificate:
        raise refusal("CertificateNotFound", "A certificate must be specified for HTTPS listeners")
    if not backend._certificate_exists(certificate):
        raise refusal("CertificateNotFound", f"Certificate '{certificate}' not found")
    if policy not in SSL_POLICIES:
        raise refusal("SSLPolicyNotFound", f"SSL policy '{policy}' not found")


def used(backend, certificate: str | None, listener: str, is_used: bool) -> None:
    """What ACM tells of where a certificate is in use."""
    known = acm_backends[backend.account_id][backend.region_name]._certificates.get(certificate)
    if known is not None:
        known.in_use_by = [arn for arn in known.in_use_by if arn != listener] + ([listener] if is_used else [])


def patch_balancers(cloud) -> None:
    create, delete = ELBv2Backend.create_load_balancer, ELBv2Backend.delete_load_balancer

    def create_load_balancer(self, name, *args, **kwargs):
        if any(known.name == name for known in self.load_balancers.values()):
            raise refusal("DuplicateLoadBalancerName", f"A load balancer with the same name '{name}' exists, but with different settings")
        balancer = create(self, name, *args, **kwargs)
        if len({subnet.availability_zone for subnet in balancer.subnets}) < 2:
            self.load_balancers.pop(balancer.arn)
            raise refusal("ValidationError", "At least two subnets in two different Availability Zones must be specified")
        account = cloud.account(self.account_id)
        if settings(account).names == "loopback":
            balancer.dns_name = listeners.address(balancer)
        return balancer

    def delete_load_balancer(self, arn):
        balancer = self.load_balancers.get(arn)
        if balancer and str(balancer.attrs.get("deletion_protection.enabled")) == "true":
            raise refusal("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled")
        for listener in list(balancer.listeners if balancer else []):
            self.delete_listener(listener)
        return delete(self, arn)

    ELBv2Backend.create_load_balancer, ELBv2Backend.delete_load_balancer = create_load_balancer, delete_load_balancer
    # moto's has no state that lasts: it is active at the first look.
    FakeLoadBalancer.activate = lambda self: setattr(self, "state", "active")
