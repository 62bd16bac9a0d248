"""What is set for a whole account and region, and what other services know of it: over moto's, or in its place."""

import json

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

import policy
import sessions


def patch(cloud) -> None:
    def ways(self):
        return cloud.account(self.current_account).ways

    def allowed_images(self):
        return ActionResult({"State": ways(self).allowed_images})

    def default_key(self):
        return ActionResult({"KmsKeyId": ways(self).default_key})

    def encrypts_by_default(self):
        return ActionResult({"EbsEncryptionByDefault": ways(self).encrypts_by_default})

    def public_access(self):
        return ActionResult({"ImageBlockPublicAccessState": ways(self).public_access})

    def public_snapshots(self):
        return ActionResult({"State": ways(self).public_snapshots})

    EC2Response.get_allowed_images_settings = allowed_images
    EC2Response.get_ebs_default_kms_key_id = default_key
    EC2Response.get_ebs_encryption_by_default = encrypts_by_default
    EC2Response.get_image_block_public_access_state = public_access
    EC2Response.get_snapshot_block_public_access_state = public_snapshots


def caller(account):
    """Who calls: a user, where moto knows nobody that has policies."""
    text = ("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>"
            f"<Arn>arn:aws:iam::{account.number}:user/test</Arn><UserId>AIDATEST</UserId><Account>{account.number}</Account>"
            "</GetCallerIdentityResult></GetCallerIdentityResponse>")
    return 200, {"Content-Type": "text/xml"}, text.encode()


def answer(account, call):
    """The answer of a service that moto has not, or has without this call; None where moto answers."""
    if (call.service, call.action) == ("iam", "SimulatePrincipalPolicy"):
        return 200, {"Content-Type": "text/xml"}, policy.simulate(account, call.params).encode()
    if (call.service, call.action) == ("sts", "GetCallerIdentity"):
        return caller(account)
    session = sessions.answer(account, call)
    if session:
        return session
    if (call.service, call.action) == ("servicequotas", "GetServiceQuota"):
        code = call.params["QuotaCode"]
        quota = {"ServiceCode": "ec2", "QuotaCode": code, "Value": account.ways.quotas.get(code, 32.0)}
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"Quota": quota}).encode()
    return None
