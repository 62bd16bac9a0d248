"""KMS keys over moto's: what EC2 and a caller are told of them. Nothing is encrypted."""

from moto.kms.models import KmsBackend, kms_backends


def patch(_cloud) -> None:
    create = KmsBackend.create_key

    def create_key(self, policy, key_usage, *more, **named):
        """A key is for encryption where nothing else was asked for; moto's is for nothing then."""
        return create(self, policy, key_usage or "ENCRYPT_DECRYPT", *more, **named)

    KmsBackend.create_key = create_key


def arn(account: str, region: str, key: str) -> str:
    """The ARN of a key by its id, alias or ARN, which is what EC2 tells; the name itself where there is no such key."""
    try:
        return kms_backends[account][region].describe_key(key).arn
    except (AttributeError, KeyError):
        return key


def aliases(account: str, region: str, key: str) -> list[str]:
    """The aliases of a key; none of one that is not there but the one that it is asked for by."""
    try:
        return list(kms_backends[account][region].describe_key(key).aliases)
    except (AttributeError, KeyError):
        return [key] if key.startswith("alias/") else []


def of_volumes(ec2, instance) -> str | None:
    """The key of an instance's encrypted volumes: all have the same one here."""
    volumes = [ec2.volumes[disk.volume_id] for disk in instance.block_device_mapping.values()]
    return next((arn(ec2.account_id, ec2.region_name, v.kms_key_id) for v in volumes if v.encrypted), None)


def of_copy(ec2, key: str | None) -> str:
    """The key of an encrypted copy: the account's default one where none is named."""
    if not key and not ec2.default_kms_key_id:
        ec2._create_default_encryption_key()
    return arn(ec2.account_id, ec2.region_name, key or ec2.default_kms_key_id)
