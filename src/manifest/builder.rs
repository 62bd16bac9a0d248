//! `builder:`.

use std::collections::BTreeMap;
use std::time::Duration;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::{Fields, Kind, Node};

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
    Ok(Builder {
        region: region::region(&fields, variables)?,
        instance_types: instance_types(&fields, variables)?,
        subnet: subnet(fields.get("subnet"), variables)?,
        connect: connect(fields.get("connect"))?,
        ingress_cidrs: cidrs,
        security_groups: read::texts(&fields, "security_groups", variables)?,
        user: read::text(&fields, "user", variables)?,
        port: read::number(&fields, "port", 1, u16::MAX)?.unwrap_or(usual.port),
        user_data: read::text(&fields, "user_data", variables)?,
        volumes: volumes(fields.seq("volumes")?, variables)?,
        instance_profile: read::text(&fields, "instance_profile", variables)?,
        tags: read::table(&fields, "tags", variables)?,
        timeouts: timeouts(fields.get("timeouts"))?,
    })
}

fn instance_types(fields: &Fields<'_>, variables: &Variables) -> Result<Vec<String>, Diagnostic> {
    let types = read::texts(fields, "instance_type", variables)?;
    let Some(node) = fields.get("instance_type") else {
        return Ok(types);
    };
    if types.is_empty() {
        let wrong = Diagnostic::new(&node.span, "`instance_type` is an empty list");
        return Err(wrong.hint("without the key it is a small type of the architecture"));
    }
    let fit = |part: &str| {
        let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(fit)
    };
    let is_type = |text: &&String| {
        let parts = text.split_once('.');
        parts.is_some_and(|(family, size)| fit(family) && fit(size))
    };
    match types.iter().find(|text| !is_type(text)) {
        None => Ok(types),
        Some(wrong) => {
            let message = format!("`{wrong}` is not an instance type such as t3.small");
            let wrong = Diagnostic::new(&node.span, message);
            Err(wrong.hint("several, tried in order, are a list: `[t3.small, t3a.small]`"))
        }
    }
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
        return subnet_id(node, variables);
    }
    let fields = node.fields("`subnet`", &["id", "tags", "filter"])?;
    if let Some(id) = fields.get("id") {
        let Some(other) = ["tags", "filter"].iter().find_map(|key| fields.get(key)) else {
            return subnet_id(id, variables);
        };
        let message = "`subnet` has an `id`, and what selects others besides";
        return Err(Diagnostic::new(&other.span, message)
            .hint("give `id` alone, or `tags` and `filter` without it"));
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

fn subnet_id(node: &Node, variables: &Variables) -> Result<Subnet, Diagnostic> {
    let id = read::fill(node, "`subnet`", variables)?;
    if read::is_id(&id, "subnet-") {
        return Ok(Subnet::Id(id));
    }
    let message = format!("`{id}` is not a subnet's id such as subnet-0abc1234");
    let wrong = Diagnostic::new(&node.span, message);
    Err(wrong.hint("one is found by its name with `subnet: {tags: {Name: …}}`"))
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

fn volumes(nodes: &[Node], variables: &Variables) -> Result<Vec<Volume>, Diagnostic> {
    let mut volumes: Vec<Volume> = Vec::new();
    for node in nodes {
        let volume = volume(node, variables)?;
        if volumes.iter().any(|known| known.device == volume.device) {
            let message = match &volume.device {
                Some(device) => format!("two volumes would be {device}"),
                None => "two volumes have no `device`, and would be the root".to_owned(),
            };
            return Err(Diagnostic::new(&node.span, message).hint("each has a `device` of its own"));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// Types of EBS volumes.
pub(super) const VOLUME_TYPES: [&str; 7] = ["gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"];

fn volume_type(fields: &Fields<'_>, variables: &Variables) -> Result<Option<String>, Diagnostic> {
    let (Some(kind), Some(node)) = (read::text(fields, "type", variables)?, fields.get("type"))
    else {
        return Ok(None);
    };
    match VOLUME_TYPES.contains(&&*kind) {
        true => Ok(Some(kind)),
        false => {
            let message = format!("`type` must be {}, not `{kind}`", VOLUME_TYPES.join(" or "));
            Err(Diagnostic::new(&node.span, message))
        }
    }
}

fn volume(node: &Node, variables: &Variables) -> Result<Volume, Diagnostic> {
    let fields = node.fields(
        "a volume",
        &["device", "size_gib", "type", "iops", "throughput"],
    )?;
    Ok(Volume {
        device: read::text(&fields, "device", variables)?,
        size_gib: read::number(&fields, "size_gib", 1, 65_536)?,
        kind: volume_type(&fields, variables)?,
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
    let timeouts = Timeouts {
        launch: read::duration(&fields, "launch")?.unwrap_or(usual.launch),
        connect: read::duration(&fields, "connect")?.unwrap_or(usual.connect),
        provision: read::duration(&fields, "provision")?.unwrap_or(usual.provision),
        test: read::duration(&fields, "test")?.unwrap_or(usual.test),
        image: read::duration(&fields, "image")?.unwrap_or(usual.image),
        total: read::duration(&fields, "total")?.unwrap_or(usual.total),
        unattended,
    };
    check_total(&fields, &timeouts)?;
    Ok(timeouts)
}

/// Refuses a time for a part that the whole would never let it have.
fn check_total(fields: &Fields<'_>, timeouts: &Timeouts) -> Result<(), Diagnostic> {
    let parts = [
        ("launch", timeouts.launch),
        ("connect", timeouts.connect),
        ("provision", timeouts.provision),
        ("test", timeouts.test),
        ("image", timeouts.image),
    ];
    for (key, time) in parts {
        let Some(node) = fields.get(key).filter(|_| time > timeouts.total) else {
            continue;
        };
        let minutes = timeouts.total.as_secs() / 60;
        let message = format!("`{key}` is longer than `total`, the {minutes}m of a whole bake");
        return Err(Diagnostic::new(&node.span, message)
            .hint(format!("make `total` longer, or `{key}` shorter")));
    }
    Ok(())
}
