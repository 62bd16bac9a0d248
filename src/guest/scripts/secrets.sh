# What opens doors elsewhere. What is found is never printed: file, line, and kind.
cat > "$work/kinds" <<'KINDS'
private-key	a private key	(^|[[:space:]"'=:>])-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----(\\n|[[:space:]]|$)
private-key	a private key of PuTTY	^PuTTY-User-Key-File-[0-9]:
private-key	a private key of age	AGE-SECRET-KEY-1[0-9A-Z]{58}
private-key	a private key of WireGuard	^[[:space:]]*PrivateKey[[:space:]]*=[[:space:]]*[A-Za-z0-9+/]{42}[AEIMQUYcgkosw480]=
secret-string	an access key of AWS	(^|[^A-Za-z0-9/+])A(KIA|SIA)[A-Z2-7]{16}($|[^A-Za-z0-9/+])
secret-string	a token of GitHub	(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})
secret-string	a token of GitLab	gl(pat|rt|dt|cbt|ptt|soat)-[A-Za-z0-9_-]{20}
secret-string	a token of Slack	xox[abeprs]-[A-Za-z0-9-]{20}
secret-string	a webhook of Slack	https://hooks\.slack\.com/(services|workflows)/[A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9]{20}
secret-string	a token of npm	(^|[^A-Za-z0-9_])npm_[A-Za-z0-9]{36}
secret-string	a token of PyPI	pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}
secret-string	a live key of Stripe	(^|[^A-Za-z0-9_])[rs]k_live_[A-Za-z0-9]{24}
secret-string	a key of SendGrid	SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}
secret-string	a token of HashiCorp Vault	(^|[^A-Za-z0-9])hv[bs]\.[A-Za-z0-9_-]{90}
secret-string	a token of Docker Hub	dckr_(pat|oat)_[A-Za-z0-9_-]{27}
secret-string	a token of DigitalOcean	do[opr]_v1_[a-f0-9]{64}
secret-string	a password in an address	^[[:space:]]*(url|pushurl|index-url|extra-index-url)[[:space:]]*=[[:space:]]*https?://[^/@:$%{<[:space:]]+:[^/@$%{<[:space:]]+@
KINDS
cut -f3 "$work/kinds" > "$work/patterns"

# Homes of services are looked into for keys alone: the rest is their data.
{ printf '/etc\0/home\0/root\0/opt\0/srv\0/usr/local\0/var/lib/cloud\0/var/www\0'
  homes | while IFS= read -r home; do [ ! -d "$home/.ssh" ] || printf '%s/.ssh\0' "$home"; done
  # Volumes of the image that are mounted below: none of them is looked into from above.
  findmnt -rno TARGET -t ext2,ext3,ext4,xfs,btrfs,f2fs 2>/dev/null | while IFS= read -r mount; do
    case $mount in /etc/*|/home/*|/root/*|/opt/*|/srv/*|/usr/local/*|/var/www/*) printf '%b\0' "$mount" ;; esac
  done; } > "$work/places"
given_up() { finding search-incomplete '' '' "the search for secrets was given up after $1 seconds: not every file was looked into"; }
timeout 30 xargs -0 -r sh -c '
  for place; do
    [ -d "$place" ] || continue
    # What package managers of languages bring is as public as a package, and full of keys for tests.
    find -H "$place" -xdev -type d \( -name node_modules -o -name site-packages -o -name dist-packages -o -name gems -o -name testdata \
        -o -path "*/.git/objects" -o -path "*/.cargo/registry" -o -path "*/.rustup" \) -prune \
      -o -type f -size +0 -size -2049k -print0
  done' sh < "$work/places" > "$work/files" 2>/dev/null
[ $? != 124 ] || given_up 30
# Whatever could be listed is looked into: something that vanished meanwhile is no reason not to.
# The last of all is one of our own: a search that does not find that has not searched.
canary=$work/canary
printf '%s\n' '-----BEGIN PRIVATE KEY-----' > "$canary"
{ sort -zu "$work/files"; printf '%s\0' "$canary"; } | timeout 30 xargs -0 -r grep -D skip -lZaE -f "$work/patterns" -- > "$work/hits" 2>/dev/null
case $? in
  124) given_up 30 ;;
  *) grep -zqxF -- "$canary" "$work/hits" || finding search-incomplete '' '' 'the search for secrets did not work' ;;
esac

# Each of the few files that have something by itself, whatever it is called.
cat > "$work/look" <<'LOOK'
@PRELUDE@
work=$1
shift
# Files of packages are as everybody has them, if they are as their package brought them.
of_a_package() {
  # No package has such names, and grep would take the lines of one for several.
  case $1 in *"
"*) return 1 ;; esac
  sum=$(md5sum < "$1" 2>/dev/null | cut -d' ' -f1)
  for name in "$1" "/usr$1" "${1#/usr}"; do
    grep -qshxF -- "$sum  ${name#/}" /var/lib/dpkg/info/*.md5sums && return 0
  done
  grep -qsxF -e " $1 $sum" -e " $1 $sum obsolete" /var/lib/dpkg/status
}
for file; do
  if of_a_package "$file"; then continue; fi
  while IFS="$(printf '\t')" read -r check kind pattern; do
    line=$(grep -D skip -naoE -e "$pattern" -- "$file" 2>/dev/null | grep -av 'EXAMPLE' | head -n 1 | cut -d: -f1)
    [ -z "$line" ] || finding "$check" "$file" "$line" "$kind"
  done < "$work/kinds"
done
LOOK
{ grep -zE '^/(root|home|etc)/' "$work/hits"; grep -zvE '^/(root|home|etc)/' "$work/hits" | grep -zvxF -- "$canary"; } > "$work/in-order" 2>/dev/null
timeout 60 xargs -0 -r -n 50 sh "$work/look" "$work" < "$work/in-order"
[ $? != 124 ] || given_up 60

# What programs keep their logins in, where there is one in it.
credentials() {
  [ -s "$1" ] && [ -f "$1" ] || return 0
  line=$(grep -naE -e "$2" -- "$1" 2>/dev/null | head -n 1 | cut -d: -f1)
  [ -z "$line" ] || finding credentials-file "$1" "$line" "$3"
}
homes | while IFS= read -r home; do
  credentials "$home/.aws/credentials" '^[[:space:]]*aws_(secret_access_key|session_token)[[:space:]]*=' 'credentials of AWS'
  credentials "$home/.netrc" '(^|[[:space:]])password[[:space:]]' 'passwords of servers'
  credentials "$home/.docker/config.json" '"(auth|identitytoken|password)"[[:space:]]*:[[:space:]]*"[^"]' 'the login of a registry'
  credentials "$home/.config/containers/auth.json" '"auth"[[:space:]]*:[[:space:]]*"[^"]' 'the login of a registry'
  credentials "$home/.git-credentials" '^https?://[^/]*:[^/$%{<]*@' 'passwords of git'
  credentials "$home/.pypirc" '^[[:space:]]*password[[:space:]]*[:=][[:space:]]*[^$%{<[:space:]]' 'the login of a package index'
  credentials "$home/.npmrc" '(_authToken|_auth|_password)[[:space:]]*=[[:space:]]*"?[^$%{<"[:space:]]' 'the login of a package registry'
  credentials "$home/.cargo/credentials" '^[[:space:]]*token[[:space:]]*=' 'the login of a package registry'
  credentials "$home/.cargo/credentials.toml" '^[[:space:]]*token[[:space:]]*=' 'the login of a package registry'
  credentials "$home/.gem/credentials" '^:[a-z_]+:[[:space:]]*[^[:space:]]' 'the login of a package registry'
  credentials "$home/.composer/auth.json" '"(password|token|[a-z0-9.-]+)"[[:space:]]*:[[:space:]]*"[^"]' 'the login of a package registry'
  credentials "$home/.config/composer/auth.json" '"(password|token|[a-z0-9.-]+)"[[:space:]]*:[[:space:]]*"[^"]' 'the login of a package registry'
  credentials "$home/.m2/settings.xml" '<password>[^<$%{]' 'the login of a package registry'
  credentials "$home/.my.cnf" '^[[:space:]]*password[[:space:]]*=[[:space:]]*[^$%{<[:space:]]' 'a password of MySQL'
  credentials "$home/.pgpass" '^[^#:]*:[^:]*:[^:]*:[^:]*:.' 'passwords of PostgreSQL'
  credentials "$home/.kube/config" '^[[:space:]]*(client-key-data|token|password):[[:space:]]*[^[:space:]]' 'the login of a cluster'
  credentials "$home/.config/gh/hosts.yml" '^[[:space:]]*oauth_token:' 'the login of GitHub'
  credentials "$home/.config/gcloud/application_default_credentials.json" '"(refresh_token|private_key)"' 'credentials of Google Cloud'
  credentials "$home/.azure/msal_token_cache.json" '"secret"' 'credentials of Azure'
  credentials "$home/.azure/accessTokens.json" 'Token' 'credentials of Azure'
  credentials "$home/.terraform.d/credentials.tfrc.json" '"token"' 'the login of Terraform Cloud'
  credentials "$home/.vault-token" '.' 'the login of HashiCorp Vault'
  credentials "$home/.s3cfg" '^[[:space:]]*secret_key[[:space:]]*=[[:space:]]*[^[:space:]]' 'credentials of S3'
  credentials "$home/.snap/auth.json" 'macaroon' "the login of snapd's store"
  for file in "$home/.gnupg/private-keys-v1.d"/*.key; do
    [ ! -s "$file" ] || finding private-key "$file" '' 'a private key of GnuPG'
  done
done
for file in /etc/apt/auth.conf /etc/apt/auth.conf.d/*; do
  credentials "$file" '(^|[[:space:]])password[[:space:]]' 'the login of a package archive'
done
