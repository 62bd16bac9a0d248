"""EC2's rules for launch templates over moto's: late visibility, all pages of them, and EC2's own clock."""

from datetime import datetime, timezone

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidLaunchTemplateIdNotFound, InvalidLaunchTemplateNameNotFoundWithNameError
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateBackend
from moto.ec2.responses.launch_templates import LaunchTemplates

from errors import error


def patch(cloud) -> None:
    patch_making(cloud)
    patch_looking(cloud)


def patch_making(cloud) -> None:
    create, create_version = LaunchTemplateBackend.create_launch_template, LaunchTemplate.create_version
    asked, delete = LaunchTemplates.create_launch_template, LaunchTemplateBackend.delete_launch_template

    def create_launch_template(self, name, description, template_data, tag_spec):
        account = cloud.account(self.account_id)
        template = create(self, name, description, template_data, tag_spec)
        template.create_time = template.versions[0].create_time
        account.born(template.id)
        return template

    def create_version_now(self, data, description):
        version = create_version(self, data, description)
        now = cloud.account(self.ec2_backend.account_id).now()
        version.create_time = datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None)
        return version

    def with_something_in_it(self):
        if not self._get_param("LaunchTemplateData", {}):
            raise error("MissingParameter", "The request must contain the parameter LaunchTemplateData")
        return asked(self)

    def delete_launch_template(self, name, tid):
        """moto says of an unknown id that the name is unknown."""
        if tid and (tid not in self.launch_templates or cloud.account(self.account_id).hidden(tid)):
            raise InvalidLaunchTemplateIdNotFound(tid)
        return delete(self, name, tid)

    LaunchTemplateBackend.create_launch_template = create_launch_template
    LaunchTemplateBackend.delete_launch_template = delete_launch_template
    LaunchTemplate.create_version = create_version_now
    LaunchTemplates.create_launch_template = with_something_in_it


def patch_looking(cloud) -> None:
    by_id, by_name = LaunchTemplateBackend.get_launch_template, LaunchTemplateBackend.get_launch_template_by_name

    def get_launch_template(self, template_id):
        if cloud.account(self.account_id).hidden(template_id):
            raise InvalidLaunchTemplateIdNotFound(template_id)
        return by_id(self, template_id)

    def get_launch_template_by_name(self, name):
        if cloud.account(self.account_id).hidden(self.launch_template_name_to_ids.get(name)):
            raise InvalidLaunchTemplateNameNotFoundWithNameError(name)
        return by_name(self, name)

    def describe_launch_templates(self):
        """moto's ends after fifteen, and says nothing of others."""
        self.error_on_dryrun()
        account = cloud.account(self.current_account)
        found = self.ec2_backend.describe_launch_templates(
            template_names=self._get_param("LaunchTemplateNames", []),
            template_ids=self._get_param("LaunchTemplateIds", []), filters=self._filters_from_querystring())
        return ActionResult({"LaunchTemplates": [{
            "CreateTime": t.create_time, "CreatedBy": f"arn:aws:iam::{account.number}:root",
            "DefaultVersionNumber": t.default_version_number, "LatestVersionNumber": t.latest_version_number,
            "LaunchTemplateId": t.id, "LaunchTemplateName": t.name,
            "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in self.ec2_backend.describe_tags(
                filters={"resource-id": [t.id]})],
        } for t in found if not account.hidden(t.id)]})

    LaunchTemplateBackend.get_launch_template = get_launch_template
    LaunchTemplateBackend.get_launch_template_by_name = get_launch_template_by_name
    LaunchTemplates.describe_launch_templates = describe_launch_templates
