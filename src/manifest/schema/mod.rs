//! What may be written in a manifest, as types: `amibake schema` is generated from them, and so are
//! the tables of docs/manifest.md. What it means is read by the parser beside this; the tests hold
//! the two against each other, key by key.
//!
//! A doc comment here is what an editor shows, and a row of the reference.

#![expect(
    dead_code,
    reason = "these types are described and never made: the parser makes `Manifest`"
)]

mod scalars;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value as Json;

use scalars::{
    Anything, ArchName, BootMode, CheckName, Cidr, ImdsSupport, Later, Number, Profile, Protection,
    Table, Text, Texts, Time, TpmSupport, Truth, VariableName, VolumeType,
};

/// Returns the JSON Schema of manifests.
pub(crate) fn schema() -> Schema {
    let mut settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    settings.meta_schema = Some("http://json-schema.org/draft-07/schema#".into());
    let mut schema = settings.into_generator().into_root_schema_for::<Manifest>();
    RecursiveTransform(told_in_one_line).transform(&mut schema);
    schema
}

/// An editor wraps lines by itself.
fn told_in_one_line(schema: &mut Schema) {
    let Some(Json::String(text)) = schema.get("description") else {
        return;
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    schema.insert("description".to_owned(), Json::String(line));
}

/// A manifest: what amibake makes an image of, and how.
#[derive(JsonSchema)]
#[schemars(title = "amibake manifest", deny_unknown_fields)]
struct Manifest {
    /// 1 to 64 letters, digits, `-`, `_` or `.`; the image name's stem
    name: Text,
    /// what `{{ … }}` in the texts may name, besides `name`, `arch` and `build_time`
    variables: Option<BTreeMap<VariableName, Variable>>,
    /// a requirements file, as `ansible-galaxy` has it, with the lock file beside it: what that says is installed for this manifest
    requirements: Option<Text>,
    /// what the image starts from. A container has by default this host's own distribution; EC2 needs one
    source: Option<Source>,
    /// how to get a machine
    builder: Option<Builder>,
    /// sections that replace the general ones on a target
    targets: Option<Targets>,
    /// what is done on the machine, in this order
    provision: Option<Vec<Step>>,
    /// what must not be in an image
    gate: Option<Gate>,
    /// what is tried on a machine booted from the candidate
    test: Option<Vec<Test>>,
    /// what becomes of the result
    image: Option<Image>,
}

/// One variable
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Variable {
    /// its value, unless `--var`, `--var-file` or `AMIBAKE_VAR_name` gives one
    #[schemars(extend("x-default" = "must be given"))]
    default: Option<Text>,
    /// whether it is shown nowhere
    #[schemars(extend("x-default" = "`false`"))]
    sensitive: Option<Truth>,
}

/// What the image starts from: one thing, and `arch`
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [
        {"required": ["ubuntu"]}, {"required": ["debian"]}, {"required": ["ami"]},
        {"required": ["ssm"]}, {"required": ["manifest"]}, {"required": ["filter"]}, {"required": ["image"]},
    ])
)]
struct Source {
    /// EC2, container: a release, `"24.04"`
    ubuntu: Option<Text>,
    /// container: a suite, `bookworm`
    debian: Option<Text>,
    /// EC2: an image id
    ami: Option<Text>,
    /// EC2: an SSM parameter that holds an image id
    ssm: Option<Text>,
    /// EC2: the newest released image of another manifest, whose path this is; it is known by that manifest's `name`
    manifest: Option<Text>,
    /// EC2: the image that these and EC2's own filters by name select
    filter: Option<ImageFilter>,
    /// EC2, container: `amd64`, `arm64`, or a list. In a container by default this host's, which is all that it can run
    #[schemars(extend("x-default" = "`amd64` on EC2"))]
    arch: Option<Arches>,
    /// container: a root tarball, path or URL (as `build` makes them; tar finds out how it is compressed). It needs systemd, sshd, sudo and cloud-init
    image: Option<Text>,
    /// container: its `sha256:…`, which a URL must have
    checksum: Option<Text>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Arches {
    One(ArchName),
    Several(Vec<ArchName>),
}

/// The images of these owners that match
#[derive(JsonSchema)]
struct ImageFilter {
    /// account ids, `amazon` or `self`
    #[schemars(extend("x-default" = "required"))]
    owners: Texts,
    /// whether the newest is taken when several match; otherwise that is an error
    #[schemars(extend("x-default" = "`false`"))]
    most_recent: Option<Truth>,
    #[schemars(flatten)]
    filters: BTreeMap<String, Texts>,
}

/// How to get a machine: EC2 only unless said otherwise
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Builder {
    /// where everything happens
    #[schemars(extend("x-default" = "the environment's"))]
    region: Option<Text>,
    /// a type or a list, tried in order on capacity errors. A quota of the account that is used up is no such error: the same type is asked for again until others have ended, at most until `timeouts.total`
    #[schemars(extend("x-default" = "a small type of the architecture"))]
    instance_type: Option<Texts>,
    /// an id, or what selects some
    #[schemars(extend("x-default" = "the default VPC's that are in a zone with the type and reach the internet (any, with `connect: private-ip`); without the permission `ec2:DescribeInstanceTypeOfferings` one in a zone without the type is passed over at launch"))]
    subnet: Option<Subnet>,
    /// `private-ip` from inside the network
    #[schemars(extend("x-default" = "`public-ip`"))]
    connect: Option<Connect>,
    /// who reaches the builder's SSH port; see below
    #[schemars(extend("x-default" = "this machine's address alone"))]
    ingress_cidrs: Option<Cidrs>,
    /// use these instead
    #[schemars(extend("x-default" = "one of the run's own"))]
    security_groups: Option<Texts>,
    /// login user, with sudo (container too). On EC2 it must be the image's own: an `ami`, `ssm` or `filter` that is no Ubuntu needs it (`admin`, `ec2-user`). A container's is made, and is called as its distribution by default
    #[schemars(extend("x-default" = "`ubuntu`"))]
    user: Option<Text>,
    /// SSH port
    #[schemars(extend("x-default" = "22"))]
    port: Option<Number<1, 65_535>>,
    /// merged with ours as MIME; a secret in it is an error
    #[schemars(extend("x-default" = "none"))]
    user_data: Option<Text>,
    /// volumes of the builder, and so of the image; what is not said is the source's
    #[schemars(extend("x-default" = "the source's"))]
    volumes: Option<Vec<Volume>>,
    /// by name
    #[schemars(extend("x-default" = "none"))]
    instance_profile: Option<Text>,
    /// on everything that is made, at creation; the image keeps them, and one that is there gets those that it lacks. A launch template's version has none
    #[schemars(extend("x-default" = "none"))]
    tags: Option<Table>,
    /// how long each part may take
    timeouts: Option<Timeouts>,
    /// whether the builder is a spot instance
    spot: Option<Later<Truth>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Subnet {
    Id(Text),
    Selected(SubnetSelection),
}

/// Which subnets may be used
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SubnetSelection {
    /// this one
    id: Option<Text>,
    /// those with these tags
    tags: Option<Table>,
    /// those that EC2's filters select, by name
    filter: Option<Table>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Connect {
    PublicIp,
    PrivateIp,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Cidrs {
    One(Cidr),
    Several(Vec<Cidr>),
}

/// A volume of the builder, and so of the image
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Volume {
    /// device name
    #[schemars(extend("x-default" = "the root device"))]
    device: Option<Text>,
    /// size in GiB
    size_gib: Option<Number<1, 65_536>>,
    /// EBS type, such as `gp3`
    r#type: Option<VolumeType>,
    /// provisioned IOPS
    iops: Option<Number<100, 256_000>>,
    /// provisioned throughput in MiB/s
    throughput: Option<Number<125, 2_000>>,
}

/// How long each part may take: `90`, `90s`, `5m`, `2h`, `7d`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Timeouts {
    /// until the machine runs and has an address
    #[schemars(extend("x-default" = "5m"))]
    launch: Option<Time>,
    /// until SSH answers, and cloud-init and dpkg are done
    #[schemars(extend("x-default" = "5m"))]
    connect: Option<Time>,
    /// all of `provision`
    #[schemars(extend("x-default" = "1h"))]
    provision: Option<Time>,
    /// the gate and all of `test`
    #[schemars(extend("x-default" = "30m"))]
    test: Option<Time>,
    /// until the image is available
    #[schemars(extend("x-default" = "1h"))]
    image: Option<Time>,
    /// the whole bake, of which publishing has ten minutes in any case; the machine ends itself soon after
    #[schemars(extend("x-default" = "3h"))]
    total: Option<Time>,
    /// how long a machine lives when amibake is gone: its own timer then ends it. At least 60s
    #[schemars(extend("x-default" = "30m"))]
    unattended: Option<Time>,
}

/// Sections that replace the general ones on a target
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Targets {
    /// on EC2
    ec2: Option<Target>,
    /// in a systemd-nspawn container
    container: Option<Target>,
    /// in a QEMU machine, which is not supported yet
    vm: Option<Target>,
}

/// What is different on one target: whole sections
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Target {
    /// instead of the general `source`
    source: Option<Source>,
    /// instead of the general `builder`
    builder: Option<Builder>,
    /// instead of the general `image`
    image: Option<Image>,
}

/// One role, one playbook, or tasks
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["role"]}, {"required": ["playbook"]}, {"required": ["tasks"]}])
)]
struct Step {
    /// a role's folder, or its name where Ansible looks for it (`geerlingguy.nginx`, `community.general.role`)
    role: Option<Text>,
    /// a playbook's file
    playbook: Option<Text>,
    /// tasks in Ansible's language; `{{ … }}` in them is the playbook's
    tasks: Option<Vec<Anything>>,
    /// variables for it, in which `{{ … }}` is the manifest's
    vars: Option<Vars>,
}

/// Variables of a step
#[derive(JsonSchema)]
struct Vars {
    /// how our hardening roles, or whatever takes their variables, harden
    #[schemars(extend("x-default" = "`baseline`"))]
    hardening_profile: Option<Profile>,
    /// controls that are left out, each with the reason, which appears in the result
    #[schemars(extend("x-default" = "none"))]
    hardening_exceptions: Option<Vec<Exception>>,
    #[schemars(flatten)]
    others: BTreeMap<String, Anything>,
}

/// A control that is left out
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Exception {
    /// its name, as in docs/hardening.md
    #[schemars(extend("x-default" = "required"))]
    control: Text,
    /// why it is left out
    #[schemars(extend("x-default" = "required"))]
    reason: Text,
}

/// What must not be in an image
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Gate {
    /// `strict`: every finding fails
    #[schemars(extend("x-default" = "`default`"))]
    level: Option<Level>,
    /// checks whose findings are accepted
    #[schemars(extend("x-default" = "none"))]
    waive: Option<Vec<Waiver>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Level {
    Default,
    Strict,
}

/// A check whose findings are accepted
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Waiver {
    /// its name: see the table below
    #[schemars(extend("x-default" = "required"))]
    check: CheckName,
    /// why; it appears in the result
    #[schemars(extend("x-default" = "required"))]
    reason: Text,
    /// in these files alone, by a shell's pattern: see below
    #[schemars(extend("x-default" = "all"))]
    path: Option<Text>,
}

/// One thing that is tried
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
struct Test {
    /// a request made on the machine answers as wanted
    http: Option<Http>,
    /// a service is in a state: a systemd unit, or a program of supervisord
    service: Option<Service>,
    /// a TCP port of the machine answers
    port: Option<Port>,
    /// a command ends with a status
    command: Option<Command>,
    /// the hardening controls pass
    audit: Option<Later<Anything>>,
}

/// A request made on the machine
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Http {
    /// as seen from the machine itself
    #[schemars(extend("x-default" = "required"))]
    url: Text,
    /// the status of the answer
    #[schemars(extend("x-default" = "200"))]
    status: Option<Number<100, 599>>,
    /// text that the body must contain
    #[schemars(extend("x-default" = "none"))]
    contains: Option<Text>,
    /// how long it may take to come true
    #[schemars(extend("x-default" = "60s"))]
    within: Option<Time>,
}

/// A service is in a state
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Service {
    /// unit, or program
    #[schemars(extend("x-default" = "required"))]
    name: Text,
    /// `running` or `stopped`
    #[schemars(extend("x-default" = "`running`"))]
    state: Option<scalars::ServiceState>,
}

/// A port answers
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Port {
    /// the port
    #[schemars(extend("x-default" = "required"))]
    number: Number<1, 65_535>,
    /// how long it may take to come true
    #[schemars(extend("x-default" = "60s"))]
    within: Option<Time>,
}

/// A command ends with a status
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Command {
    /// given to `sh -c`, as root
    #[schemars(extend("x-default" = "required"))]
    run: Text,
    /// the status it ends with
    #[schemars(extend("x-default" = "0"))]
    status: Option<Number<0, 255>>,
    /// text that the output must contain
    #[schemars(extend("x-default" = "none"))]
    contains: Option<Text>,
}

/// What becomes of the result
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Image {
    /// final name; `arch` must be in it when several are built. On EC2 3 to 128 letters, digits, spaces and `()[]./-'@_`; a container's is a file's, without `/`
    #[schemars(extend("x-default" = "`{{ name }}-{{ arch }}-{{ build_time }}`"))]
    name: Option<Text>,
    /// of the image, at most 140 characters; `[amibake content …]` follows it (see "Nothing twice"), and `(amibake … run …)` until it is released
    #[schemars(extend("x-default" = "`NAME, baked by amibake`"))]
    description: Option<Text>,
    /// of the image and its snapshots, from the moment it is released: until then nobody finds it by them
    #[schemars(extend("x-default" = "`Name: ` its name"))]
    tags: Option<Table>,
    /// what may listen, a list such as `[22, 8080]`: for the gate, and as `image_ports` for every step, so for the firewall of `hardening/os`
    #[schemars(extend("x-default" = "SSH's alone"))]
    ports: Option<Vec<Number<1, 65_535>>>,
    /// whether, and by which keys, volumes are encrypted, at launch: no second copy is made. `false` leaves it to the account's default
    #[schemars(extend("x-default" = "by the account's default key"))]
    encrypt: Option<Encrypt>,
    /// how old an image of the same content may be that is taken instead of a new one
    #[schemars(extend("x-default" = "7d"))]
    max_age: Option<Time>,
    /// regions that it is copied to
    #[schemars(extend("x-default" = "none"))]
    regions: Option<Texts>,
    /// how it is copied
    copies: Option<Copies>,
    /// who may use it
    #[schemars(extend("x-default" = "nobody else"))]
    share: Option<Share>,
    /// the SSM parameter that holds its id in each region: written last, read back
    #[schemars(extend("x-default" = "none"))]
    ssm_parameter: Option<Text>,
    /// the launch template that gets a new version: its name in each region, its id (`lt-…`), or a mapping
    #[schemars(extend("x-default" = "none"))]
    launch_template: Option<LaunchTemplate>,
    /// when EC2 no longer lists it to others: so long after it was made, or a date
    #[schemars(extend("x-default" = "never"))]
    deprecate_after: Option<Text>,
    /// whether it cannot be deregistered until this is taken away; `with-cooldown`: and for a day after that
    #[schemars(extend("x-default" = "as it is"))]
    deregistration_protection: Option<Protection>,
    /// `v2.0`: its machines answer IMDSv2 alone; or `account-default`
    #[schemars(extend("x-default" = "`v2.0`"))]
    imds_support: Option<ImdsSupport>,
    /// `legacy-bios`, `uefi` or `uefi-preferred`
    #[schemars(extend("x-default" = "the source's"))]
    boot_mode: Option<BootMode>,
    /// a file with UEFI variables in base64, as `aws ec2 get-instance-uefi-data` writes them
    #[schemars(extend("x-default" = "the source's"))]
    uefi_data: Option<Text>,
    /// whether its machines have enhanced networking
    #[schemars(extend("x-default" = "the source's"))]
    ena_support: Option<Truth>,
    /// `v2.0`: its machines have a NitroTPM
    #[schemars(extend("x-default" = "the source's"))]
    tpm_support: Option<TpmSupport>,
    /// whether an older image of the same name makes way for it, which nothing uses: see "Replacing by name"
    #[schemars(extend("x-default" = "`false`"))]
    replace: Option<Truth>,
    /// how many `prune` keeps
    #[schemars(extend("x-default" = "`--keep` must say"))]
    keep: Option<Number<1, 1_000>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Encrypt {
    Whether(bool),
    By(Keys),
}

/// By which keys
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Keys {
    /// a KMS key: id, ARN or alias
    #[schemars(extend("x-default" = "the account's default key"))]
    kms_key: Option<Text>,
    /// keys of other regions by region, where the alias is not there
    #[schemars(extend("x-default" = "the same alias"))]
    regions: Option<Table>,
}

/// How it is copied to other regions
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Copies {
    /// regions at the same time
    #[schemars(extend("x-default" = "5"))]
    at_once: Option<Number<1, 100>>,
    /// EC2 is asked to be done in this time, and charges for it: quarters of an hour, up to 48h, and no longer than `builder.timeouts.image` and `total`
    #[schemars(extend("x-default" = "as it comes"))]
    within: Option<Time>,
}

/// Who may use it
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Share {
    /// accounts of twelve digits, in quotes
    #[schemars(extend("x-default" = "none"))]
    accounts: Option<Texts>,
    /// ARNs of organisations
    #[schemars(extend("x-default" = "none"))]
    organizations: Option<Texts>,
    /// ARNs of organisational units
    #[schemars(extend("x-default" = "none"))]
    organizational_units: Option<Texts>,
    /// whether everybody who uses AWS may
    #[schemars(extend("x-default" = "`false`"))]
    public: Option<Truth>,
    /// the manifest's `name`: the second word that `public` needs
    #[schemars(extend("x-default" = "none"))]
    confirm_public: Option<Text>,
    /// whether those accounts, or everybody, may make volumes of its snapshots too
    #[schemars(extend("x-default" = "`false`"))]
    snapshots: Option<Truth>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum LaunchTemplate {
    Named(Text),
    Chosen(ChosenTemplate),
}

/// The launch template that gets a new version
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ChosenTemplate {
    /// its name in each region
    name: Option<Text>,
    /// its id, `lt-…`, in the builder's region alone
    id: Option<Text>,
    /// whether the new version becomes the default
    #[schemars(extend("x-default" = "`false`"))]
    set_default: Option<Truth>,
}

#[cfg(test)]
mod tests;
