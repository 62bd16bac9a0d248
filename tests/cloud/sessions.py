"""Sessions of whoever has no keys of the account: roles that are assumed, by keys, with a code or by an identity
token, and IAM Identity Center (SSO), with its tokens. All are of the account that they are asked of."""

import datetime
import json
import re
from urllib.parse import parse_qs

# https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
PORTAL = "/federation/credentials"
# https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html
TOKENS = "/token"
NUMBER = re.compile(r"\d{12}")


def read(environ: dict, body: bytes) -> tuple[str, str, dict, str] | None:
    """A call that nobody signs: its service, action, parameters and account; None where it is none of these."""
    path = environ["PATH_INFO"]
    if path == PORTAL:
        params = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        params["token"] = environ.get("HTTP_X_AMZ_SSO_BEARER_TOKEN", "")
        return "sso", "GetRoleCredentials", params, params["account_id"]
    if path == TOKENS:
        params = json.loads(body or b"{}")
        return "sso-oauth", "CreateToken", params, NUMBER.search(params["clientId"])[0]
    params = {k: v[0] for k, v in parse_qs(body.decode("utf-8", "replace")).items()}
    if params.get("Action") == "AssumeRoleWithWebIdentity":
        return "sts", params["Action"], params, NUMBER.search(params["RoleArn"])[0]
    return None


def answer(account, call):
    """The answer to a call for a session; None where it is for something else."""
    known = {("sts", "AssumeRole"): assume_role, ("sts", "AssumeRoleWithWebIdentity"): assume_by_identity,
             ("sso", "GetRoleCredentials"): of_portal, ("sso-oauth", "CreateToken"): new_token}
    answering = known.get((call.service, call.action))
    return answering and answering(account, call)


def ends() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)


def credentials_in(account, action: str):
    """A session in the same account, which its key says."""
    text = (f"<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>"
            f"<AccessKeyId>AKIAACCT{account.number}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{ends():%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"</{action}Result></{action}Response>")
    return 200, {"Content-Type": "text/xml"}, text.encode()


def assume_role(account, call):
    wanted = account.ways.external_id
    if wanted and call.params.get("ExternalId") != wanted:
        return call.error("AccessDenied", "User is not authorized to perform: sts:AssumeRole", 403)
    code = account.ways.mfa_code
    if code and (call.params.get("TokenCode") != code or not call.params.get("SerialNumber")):
        return call.error("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.", 403)
    return credentials_in(account, "AssumeRole")


def assume_by_identity(account, call):
    if call.params.get("WebIdentityToken") != account.ways.identity_token:
        return call.error("InvalidIdentityToken", "No OpenIDConnect provider found in your account for this token", 400)
    return credentials_in(account, "AssumeRoleWithWebIdentity")


def of_portal(account, call):
    if call.params["token"] != account.ways.sso_token:
        return refused("UnauthorizedException", "Session token not found or invalid", 401)
    found = {"accessKeyId": f"AKIAACCT{account.number}", "secretAccessKey": "s", "sessionToken": "t",
             "expiration": int(ends().timestamp() * 1000)}
    return 200, {"Content-Type": "application/json"}, json.dumps({"roleCredentials": found}).encode()


def new_token(account, call):
    """A session that is renewed by what its client was given with it."""
    if call.params.get("refreshToken") != "again":
        return refused("InvalidGrantException", "Invalid refresh token provided", 400)
    made = {"accessToken": account.ways.sso_token, "expiresIn": 3600, "refreshToken": "again", "tokenType": "Bearer"}
    return 200, {"Content-Type": "application/json"}, json.dumps(made).encode()


def refused(code: str, message: str, status: int):
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    return status, headers, json.dumps({"message": message}).encode()
