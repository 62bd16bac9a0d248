//! What a manifest says, typed. Parsing and complaints are in [`super`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use amibake_playbook::diagnostic::Span;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::path_glob::PathGlob;
use super::publication::{Attributes, Encrypt, Publication};
use crate::check::Check;

/// A processor architecture, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// Returns the architecture that Debian calls so.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "amd64" | "x86_64" => Some(Self::Amd64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Returns this host's, if images can be made for it.
    pub(crate) fn here() -> Option<Self> {
        Self::parse(std::env::consts::ARCH)
    }

    /// Returns the kernel's name for it: `x86_64`, `aarch64`.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// Where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TargetKind {
    /// An EC2 instance.
    Ec2,
    /// A systemd-nspawn container.
    Container,
    /// A QEMU machine.
    #[value(hide = true)] // until it works
    Vm,
}

impl TargetKind {
    /// Returns cloud-init's name for where it finds this target's data.
    pub(crate) fn datasource(self) -> &'static str {
        match self {
            Self::Ec2 => "Ec2",
            Self::Container | Self::Vm => "NoCloud",
        }
    }
}

/// What the image starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// A release of Ubuntu: `24.04`, or its code name off EC2.
    Ubuntu(String),
    /// A suite of Debian (not on EC2).
    Debian(String),
    /// An AMI by its id.
    Ami(String),
    /// The AMI whose id an SSM parameter holds.
    Ssm(String),
    /// The newest AMI of these owners that matches.
    Filter(ImageFilter),
    /// The newest released AMI of the manifest of this name.
    Manifest(String),
    /// A root tarball or disk image (not on EC2): path or URL, and its SHA-256.
    Image {
        /// Path or URL.
        location: String,
        /// `sha256:…`, needed for a URL.
        checksum: Option<String>,
    },
}

/// `source.filter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageFilter {
    /// Account ids or `amazon`, `self`; never empty.
    pub owners: Vec<String>,
    /// EC2's filters by name: `name`, `root-device-type`, `tag:Team`.
    pub filters: BTreeMap<String, Vec<String>>,
    /// Whether the newest is taken when several match; otherwise that is an error.
    pub most_recent: bool,
}

/// How the controller reaches the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connect {
    /// By its public IPv4 address.
    PublicIp,
    /// By its private address, from inside the network.
    PrivateIp,
}

/// Which subnets the builder may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subnet {
    /// Those of the default VPC that route to an internet gateway.
    #[default]
    Default,
    /// This one.
    Id(String),
    /// Those that EC2's filters select: `tag:Tier`, `vpc-id`.
    Filter(BTreeMap<String, Vec<String>>),
}

/// A volume of the builder, and so of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Volume {
    /// Device name; `None` is the root device.
    pub device: Option<String>,
    /// Size; `None` is the source's.
    pub size_gib: Option<i32>,
    /// EBS type: `gp3`.
    pub kind: Option<String>,
    /// Provisioned IOPS.
    pub iops: Option<i32>,
    /// Provisioned throughput in MiB/s.
    pub throughput: Option<i32>,
}

/// How long each part may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Timeouts {
    /// `RunInstances` until the machine runs and has an address.
    pub launch: Duration,
    /// Until SSH answers, and cloud-init and dpkg are done.
    pub connect: Duration,
    /// All of `provision`.
    pub provision: Duration,
    /// The gate and all of `test`.
    pub test: Duration,
    /// `CreateImage` until the image is available.
    pub image: Duration,
    /// The whole bake. The machine ends itself soon after.
    pub total: Duration,
    /// How long a machine lives that nobody comes back for.
    pub unattended: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self {
            launch: minutes(5),
            connect: minutes(5),
            provision: minutes(60),
            test: minutes(30),
            image: minutes(60),
            total: minutes(180),
            unattended: minutes(30),
        }
    }
}

/// `builder:`: how to get a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Builder {
    /// AWS region; `None` is the environment's or profile's.
    pub region: Option<String>,
    /// Types in order of preference; empty is the architecture's default.
    pub instance_types: Vec<String>,
    pub subnet: Subnet,
    pub connect: Connect,
    /// Who may reach the builder's SSH port; `None` is this machine only.
    pub ingress_cidrs: Option<Vec<String>>,
    /// Security groups to use in place of our own.
    pub security_groups: Vec<String>,
    /// Login user; `None` is the source's usual one.
    pub user: Option<String>,
    /// SSH port.
    pub port: u16,
    /// The user's own user data, merged with ours.
    pub user_data: Option<String>,
    pub volumes: Vec<Volume>,
    /// Instance profile by name.
    pub instance_profile: Option<String>,
    /// Tags on everything temporary.
    pub tags: BTreeMap<String, String>,
    pub timeouts: Timeouts,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            region: None,
            instance_types: Vec::new(),
            subnet: Subnet::Default,
            connect: Connect::PublicIp,
            ingress_cidrs: None,
            security_groups: Vec::new(),
            user: None,
            port: 22,
            user_data: None,
            volumes: Vec::new(),
            instance_profile: None,
            tags: BTreeMap::new(),
            timeouts: Timeouts::default(),
        }
    }
}

/// One step of `provision:`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Step {
    /// What it runs.
    #[serde(flatten)]
    pub provision: Provision,
    /// How it hardens, where its variables or its role say that it does.
    pub hardening: Option<Hardening>,
    /// Where it stands in the manifest.
    #[serde(skip)]
    pub span: Span,
}

/// What a step says of the hardening that it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Hardening {
    /// The role or playbook, as the manifest names it.
    pub step: String,
    /// `baseline` or `strict`.
    pub profile: String,
    /// What of the profile is left out.
    pub exceptions: Vec<HardeningException>,
}

/// A control that is not wanted, and why. The role knows which controls there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct HardeningException {
    pub control: String,
    /// Never empty.
    pub reason: String,
}

/// What a step of `provision:` runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provision {
    Role {
        /// Absolute path of the role.
        path: PathBuf,
        vars: Map<String, Json>,
    },
    Playbook {
        /// Absolute path of the playbook.
        path: PathBuf,
        /// Extra variables for it.
        vars: Map<String, Json>,
    },
    /// Tasks written in the manifest.
    Tasks {
        /// The tasks as YAML text, for the playbook parser, on the lines where they stand in the manifest.
        yaml: String,
        vars: Map<String, Json>,
    },
}

/// One check of `test:`, and where it stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageTest {
    #[serde(flatten)]
    pub(crate) test: Test,
    #[serde(skip)]
    pub(crate) span: Span,
}

/// What a check of `test:` is, run on a machine booted from the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Test {
    /// A request made on the machine answers as wanted.
    Http {
        /// URL as seen from the machine itself.
        url: String,
        status: u16,
        /// Text the body must contain.
        contains: Option<String>,
        /// How long it may take to come true.
        within: Duration,
    },
    /// A service is in a state: a systemd unit, or a program of supervisord.
    Service {
        /// Unit, or program.
        name: String,
        /// Wanted: `running` or `stopped`.
        running: bool,
    },
    /// A TCP port of the machine answers.
    Port {
        port: u16,
        /// How long it may take to come true.
        within: Duration,
    },
    /// A command ends with a status.
    Command {
        /// Given to `sh -c`, as root.
        run: String,
        status: i32,
        /// Text the output must contain.
        contains: Option<String>,
    },
}

/// `gate.level`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GateLevel {
    /// Findings about posture are warnings.
    #[default]
    Default,
    /// Every finding fails.
    Strict,
}

/// `gate:`: how an image is looked at before it is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Gate {
    pub level: GateLevel,
    pub waive: Vec<Waiver>,
}

/// A check whose findings are accepted: all of them, or those about some files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Waiver {
    pub check: Check,
    /// Which files; `None` is all findings, those about no file among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathGlob>,
    /// Why; never empty.
    pub reason: String,
    /// Where it stands in the manifest.
    #[serde(skip)]
    pub span: Span,
}

/// `image:`: what becomes of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Image {
    pub name: String,
    /// Tags of the image and its snapshots.
    pub tags: BTreeMap<String, String>,
    pub encrypt: Encrypt,
    /// Description shown by EC2.
    pub description: Option<String>,
    /// What may listen on it; `None` is SSH alone.
    pub ports: Option<Vec<u16>>,
    #[serde(flatten)]
    pub attributes: Attributes,
    /// How old an image of the same content may be and is used again.
    pub max_age: Duration,
    /// How many images of this manifest `prune` keeps.
    pub keep: Option<u16>,
    /// Whether an older image of this name makes room for it.
    pub replace: bool,
    #[serde(flatten)]
    pub publication: Publication,
}
