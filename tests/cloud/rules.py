"""EC2's rules for what lies around instances and images, over moto's: groups, keys, tags, regions."""

from moto.core.responses import ActionResult
from moto.ec2.models.key_pairs import KeyPairBackend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.availability_zones_and_regions import AvailabilityZonesAndRegions
from moto.ec2.responses.tags import TagResponse

from errors import error, not_found

REGION_FILTERS = {"endpoint": "Endpoint", "opt-in-status": "OptInStatus", "region-name": "RegionName"}


def patch(cloud) -> None:
    patch_groups(cloud)
    patch_keys()
    patch_tags(cloud)
    patch_regions(cloud)


def patch_groups(cloud) -> None:
    create, describe = SecurityGroupBackend.create_security_group, SecurityGroupBackend.describe_security_groups
    authorize, delete = SecurityGroupBackend.authorize_security_group_ingress, SecurityGroupBackend.delete_security_group

    def create_security_group(self, name, description, *args, **kwargs):
        group = create(self, name, description, *args, **kwargs)
        cloud.account(self.account_id).born(group.id)
        return group

    def describe_security_groups(self, group_ids=None, **kwargs):
        account = cloud.account(self.account_id)
        for group_id in group_ids or []:
            check_group(account, self, group_id)
        return [g for g in describe(self, group_ids, **kwargs) if not account.hidden(g.id)]

    def authorize_security_group_ingress(self, group_name_or_id, *args, **kwargs):
        account = cloud.account(self.account_id)
        check_group(account, self, group_name_or_id)
        answer = authorize(self, group_name_or_id, *args, **kwargs)
        account.guard()
        return answer

    def delete_security_group(self, name=None, group_id=None):
        if group_id is not None:  # or it is named
            check_group(cloud.account(self.account_id), self, group_id)
        used = (g.id for eni in list(self.enis.values()) for g in eni.group_set)
        if group_id in used:
            raise error("DependencyViolation", f"resource {group_id} has a dependent object")
        return delete(self, name, group_id)

    SecurityGroupBackend.create_security_group = create_security_group
    SecurityGroupBackend.describe_security_groups = describe_security_groups
    SecurityGroupBackend.authorize_security_group_ingress = authorize_security_group_ingress
    SecurityGroupBackend.delete_security_group = delete_security_group


def check_group(account, ec2, group_id: str) -> None:
    """moto would make a group with an id that it does not know."""
    if ec2.get_security_group_from_id(group_id) is None or account.hidden(group_id):
        raise not_found(group_id)


def patch_keys() -> None:
    import_key_pair = KeyPairBackend.import_key_pair

    def import_key(self, key_name, public_key_material, tags):
        key = import_key_pair(self, key_name, public_key_material, tags)
        key.material_public = public_key_material  # instances are given it
        return key

    KeyPairBackend.import_key_pair = import_key


def patch_tags(cloud) -> None:
    create = TagResponse.create_tags

    def create_tags(self):
        """moto looks at all resources before it tags one, but minds neither what is new nor an image that is gone."""
        account, ec2 = cloud.account(self.current_account), self.ec2_backend
        for thing in self._get_param("Resources", []):
            if account.hidden(thing) or (thing.startswith("ami-") and thing not in ec2.amis):
                raise not_found(thing)
        return create(self)

    TagResponse.create_tags = create_tags


def patch_regions(cloud) -> None:
    def describe_regions(self):
        """The regions that are enabled for the account, or all that there are."""
        self.error_on_dryrun()
        regions = cloud.account(self.current_account).ways.regions
        names = self._get_param("RegionNames", [])
        for name in names:
            if name not in regions:
                raise error("InvalidParameterValue", f"Invalid region provided: {name}")
        every = str(self._get_param("AllRegions", False)).lower() == "true"
        found = [{"RegionName": name, "Endpoint": f"ec2.{name}.amazonaws.com", "OptInStatus": status}
                 for name, status in regions.items()
                 if (not names or name in names) and (every or status != "not-opted-in")]
        for name, values in self._filters_from_querystring().items():
            found = [r for r in found if r[REGION_FILTERS[name]] in values]
        return ActionResult({"Regions": found})

    AvailabilityZonesAndRegions.describe_regions = describe_regions
