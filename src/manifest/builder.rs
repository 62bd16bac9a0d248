//! `builder:`.

use std::collections::BTreeMap;
use std::time::Duration;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::{Kind, Node};

use super::model::{Builder, Connect, Subnet, Timeouts, Volume};
use super::variables::Variables;
use super::{read, region};

const KEYS: &[&str] = &[
    "region",
    "instance_type",
    "subnet",
    "connect",
    "ingress_cidrs",
    "security_groups",
    "user",
    "port",
    "user_data",
    "volumes",
    "instance_profile",
    "tags",
    "timeouts",
    "spot",
];

/// A machine may be slow to boot, and is told nothing before it answers.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

pub(super) fn builder(node: Option<&Node>, variables: &Variables) -> Result<Builder, Diagnostic> {
    let usual = Builder::default();
    let Some(node) = node else {
        return Ok(usual);
    };
    let fields = node.fields("`builder`", KEYS)?;
    read::not_yet(&fields, &["spot"], "builder")?;
    let cidrs = fields
        .get("ingress_cidrs")
        .map(|node| cidrs(node, variables))
        .transpose()?;
    let volumes = fields
        .seq("volumes")?
        .iter()
        .map(|v| volume(v, variables))
        .collect::<Result<_, _>>()?;
    Ok(Builder {
        region: region::region(&fields, variables)?,
        instance_types: read::texts(&fields, "instance_type", variables)?,
        subnet: subnet(fields.get("subnet"), variables)?,
        connect: connect(fields.get("connect"))?,
        ingress_cidrs: cidrs,
        security_groups: read::texts(&fields, "security_groups", variables)?,
        user: read::text(&fields, "user", variables)?,
        port: read::number(&fields, "port", 1, u16::MAX)?.unwrap_or(usual.port),
        user_data: read::text(&fields, "user_data", variables)?,
        volumes,
        instance_profile: read::text(&fields, "instance_profile", variables)?,
        tags: read::table(&fields, "tags", variables)?,
        timeouts: timeouts(fields.get("timeouts"))?,
    })
}

fn connect(node: Option<&Node>) -> Result<Connect, Diagnostic> {
    let Some(node) = node else {
        return Ok(Connect::PublicIp);
    };
    match node.as_str() {
        Some("public-ip") => Ok(Connect::PublicIp),
        Some("private-ip") => Ok(Connect::PrivateIp),
        Some("ipv6" | "instance-connect-endpoint") => Err(Diagnostic::new(
            &node.span,
            "this transport is not supported yet",
        )),
        _ if node.get("jump").is_some() => Err(Diagnostic::new(
            &node.span,
            "`connect: jump` is not supported yet",
        )),
        _ => Err(Diagnostic::new(
            &node.span,
            "`connect` must be public-ip or private-ip",
        )),
    }
}

fn subnet(node: Option<&Node>, variables: &Variables) -> Result<Subnet, Diagnostic> {
    let Some(node) = node else {
        return Ok(Subnet::Default);
    };
    if !matches!(node.kind, Kind::Map(_)) {
        return Ok(Subnet::Id(read::fill(node, "`subnet`", variables)?));
    }
    let fields = node.fields("`subnet`", &["id", "tags", "filter"])?;
    if let Some(id) = read::text(&fields, "id", variables)? {
        return Ok(Subnet::Id(id));
    }
    let mut filters = BTreeMap::new();
    for (key, value) in read::table(&fields, "tags", variables)? {
        filters.insert(format!("tag:{key}"), vec![value]);
    }
    for (key, value) in read::table(&fields, "filter", variables)? {
        filters.insert(key, vec![value]);
    }
    if filters.is_empty() {
        return Err(Diagnostic::new(&node.span, "`subnet` selects nothing")
            .hint("give `id`, `tags` or `filter`"));
    }
    Ok(Subnet::Filter(filters))
}

fn cidrs(node: &Node, variables: &Variables) -> Result<Vec<String>, Diagnostic> {
    let cidrs = read::list(node, "ingress_cidrs", variables)?;
    match cidrs.iter().find(|cidr| !is_cidr(cidr)) {
        None => Ok(cidrs),
        Some(wrong) => Err(Diagnostic::new(
            &node.span,
            format!("`{wrong}` is not an address range such as 203.0.113.7/32"),
        )),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn volume(node: &Node, variables: &Variables) -> Result<Volume, Diagnostic> {
    let fields = node.fields(
        "a volume",
        &["device", "size_gib", "type", "iops", "throughput"],
    )?;
    Ok(Volume {
        device: read::text(&fields, "device", variables)?,
        size_gib: read::number(&fields, "size_gib", 1, 65_536)?,
        kind: read::text(&fields, "type", variables)?,
        iops: read::number(&fields, "iops", 100, 256_000)?,
        throughput: read::number(&fields, "throughput", 125, 2_000)?,
    })
}

fn timeouts(node: Option<&Node>) -> Result<Timeouts, Diagnostic> {
    let usual = Timeouts::default();
    let Some(node) = node else {
        return Ok(usual);
    };
    let fields = node.fields(
        "`timeouts`",
        &[
            "launch",
            "connect",
            "provision",
            "test",
            "image",
            "total",
            "unattended",
        ],
    )?;
    let unattended = read::duration(&fields, "unattended")?.unwrap_or(usual.unattended);
    if unattended < SHORTEST_LIFE {
        return Err(Diagnostic::new(
            &fields.get("unattended").unwrap_or(node).span,
            format!("`unattended` must be at least {}s", SHORTEST_LIFE.as_secs()),
        )
        .hint("the machine's timer is renewed six times in that time"));
    }
    Ok(Timeouts {
        launch: read::duration(&fields, "launch")?.unwrap_or(usual.launch),
        connect: read::duration(&fields, "connect")?.unwrap_or(usual.connect),
        provision: read::duration(&fields, "provision")?.unwrap_or(usual.provision),
        test: read::duration(&fields, "test")?.unwrap_or(usual.test),
        image: read::duration(&fields, "image")?.unwrap_or(usual.image),
        total: read::duration(&fields, "total")?.unwrap_or(usual.total),
        unattended,
    })
}
