"""Certificates of load balancers: ACM's rules for those that are imported and IAM's for those that are uploaded, over moto's."""

import re

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.acm.exceptions import AWSError, AWSValidationException
from moto.acm.models import AWSCertificateManagerBackend, CertBundle
from moto.acm.responses import AWSCertificateManagerResponse
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.elbv2.models import elbv2_backends
from moto.iam.exceptions import DeleteConflictException, EntityAlreadyExists, IAMException
from moto.iam.models import Certificate, IAMBackend
from moto.iam.responses import IamResponse

from .settings import settings

# What ACM lists where nothing else was asked for.
USUAL_KEYS = ("RSA_2048",)


def patch(cloud) -> None:
    patch_acm(cloud)
    patch_iam(cloud)


def patch_acm(cloud) -> None:
    load = AWSCertificateManagerBackend.import_certificate

    def import_certificate(self, certificate, private_key, chain, arn, tags):
        """A certificate that takes another's place is like it, and in use where that was. moto forgets that, and checks no key."""
        if arn is not None and tags:
            raise AWSValidationException("Tagging is not permitted on re-import.")
        made = CertBundle(self.account_id, certificate, private_key, region=self.region_name)
        if made._key.public_key().public_numbers() != made._cert.public_key().public_numbers():
            raise AWSValidationException("The private key does not match the certificate.")
        old = self._certificates.get(arn)
        if old is not None and like(old) != like(made):
            raise AWSValidationException("The key type and size of the certificate cannot be changed.")
        arn = load(self, certificate, private_key, chain, arn, tags)
        if old is not None:
            new = self._certificates[arn]
            new.in_use_by, new.tags = old.in_use_by, old.tags
        return arn

    delete = AWSCertificateManagerBackend.delete_certificate

    def delete_certificate(self, arn):
        if arn in self._certificates and self._certificates[arn].in_use_by:
            raise InUse(message=f"Certificate {arn} in account {self.account_id} is in use.")
        return delete(self, arn)

    describe, listing = CertBundle.describe, AWSCertificateManagerResponse.list_certificates

    def described(self):
        """moto is told of listeners; ACM tells of their load balancers."""
        told = describe(self)
        told["Certificate"]["InUseBy"] = sorted({balancer_of(arn) for arn in self.in_use_by})
        return told

    def list_certificates(self):
        """All kinds of keys but the usual one are listed only to who asks for them, and nobody is told all at once."""
        wanted = (self._get_param("Includes") or {}).get("keyTypes") or USUAL_KEYS
        told = listing(self).result["CertificateSummaryList"]
        told = [one for one in told if one["KeyAlgorithm"] in wanted]
        for one in told:
            one["CreatedAt"] = one.get("ImportedAt")
        page, more = cut(cloud.account(self.current_account), told, self._get_param("NextToken"))
        return ActionResult({"CertificateSummaryList": page} | ({"NextToken": more} if more else {}))

    AWSCertificateManagerBackend.import_certificate = import_certificate
    AWSCertificateManagerBackend.delete_certificate = delete_certificate
    CertBundle.describe = described
    AWSCertificateManagerResponse.list_certificates = list_certificates


def balancer_of(listener: str) -> str:
    return listener.replace(":listener/", ":loadbalancer/").rsplit("/", 1)[0]


def cut(account, items: list, token: str | None) -> tuple[list, str | None]:
    """A page of all, and the token for the next; moto knows no pages here."""
    begin, size = int(token or 0), settings(account).page
    return items[begin : begin + size], str(begin + size) if begin + size < len(items) else None


def patch_iam(cloud) -> None:
    upload, delete = IAMBackend.upload_server_certificate, IAMBackend.delete_server_certificate

    def upload_server_certificate(self, cert_name, cert_body, private_key, cert_chain=None, path=None):
        if any(known.cert_name.lower() == cert_name.lower() for known in self.certificates.values()):
            raise EntityAlreadyExists(f"The Server Certificate with name {cert_name} already exists.")
        if not re.fullmatch(r"[\w+=,.@-]{1,128}", cert_name) or not re.fullmatch(r"/|/[!-\x7f]+/", path or "/"):
            raise IAMException("ValidationError", "The specified value is invalid.")
        read, key = read_pair(cert_body, private_key)
        if key.public_key().public_numbers() != read.public_key().public_numbers():
            raise IAMException("KeyPairMismatch", "The public key and private key do not match.")
        return upload(self, cert_name, cert_body, private_key, cert_chain=cert_chain, path=path)

    def delete_server_certificate(self, name):
        arn = self.get_server_certificate(name).arn
        for backend in elbv2_backends[self.account_id].values():
            for balancer in backend.load_balancers.values():
                if any(arn in listener.certificates for listener in balancer.listeners.values()):
                    raise DeleteConflictException(f"Certificate: {name} is currently in use by {balancer.arn}. Please remove it first before deleting it from IAM.")
        return delete(self, name)

    made = Certificate.__init__

    def init(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.uploaded = utcnow()

    IAMBackend.upload_server_certificate, IAMBackend.delete_server_certificate = upload_server_certificate, delete_server_certificate
    Certificate.__init__ = init
    patch_iam_answers(cloud)


def read_pair(certificate: str, key: str):
    try:
        return x509.load_pem_x509_certificate(certificate.encode()), serialization.load_pem_private_key(key.encode(), None)
    except (TypeError, ValueError) as wrong:
        raise IAMException("MalformedCertificate", "The certificate or the key is malformed.") from wrong


def patch_iam_answers(cloud) -> None:
    upload, get, listing = IamResponse.upload_server_certificate, IamResponse.get_server_certificate, IamResponse.list_server_certificates

    def dated(self, told: dict) -> dict:
        """moto's dates are those of an example."""
        known = self.backend.get_server_certificate(told["ServerCertificateName"])
        ends = x509.load_pem_x509_certificate(known.cert_body.encode()).not_valid_after_utc
        return told | {"Expiration": ends.replace(tzinfo=None), "UploadDate": known.uploaded}

    def uploaded(self):
        told = upload(self).result
        return ActionResult({"ServerCertificateMetadata": dated(self, told["ServerCertificateMetadata"])})

    def got(self):
        told = get(self).result["ServerCertificate"]
        return ActionResult({"ServerCertificate": told | {"ServerCertificateMetadata": dated(self, told["ServerCertificateMetadata"])}})

    def listed(self):
        told = listing(self).result["ServerCertificateMetadataList"]
        told = [dated(self, one) for one in told if one["Path"].startswith(self._get_param("PathPrefix") or "/")]
        page, more = cut(cloud.account(self.current_account), told, self._get_param("Marker"))
        return ActionResult({"ServerCertificateMetadataList": page, "IsTruncated": more is not None} | ({"Marker": more} if more else {}))

    IamResponse.upload_server_certificate, IamResponse.get_server_certificate = uploaded, got
    IamResponse.list_server_certificates = listed


class InUse(AWSError):
    TYPE = "ResourceInUseException"


def like(bundle: CertBundle) -> tuple:
    key = bundle._key
    return ("EC", key.curve.name) if isinstance(key, ec.EllipticCurvePrivateKey) else ("RSA", key.key_size)
