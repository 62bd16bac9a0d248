//! Block devices.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::read;

/// Names of a device by kind of link: `ids`, `uuids`, `labels`, `masters`.
type Links = BTreeMap<&'static str, Names>;

/// Names of devices by that of the device.
pub(super) type Names = BTreeMap<String, BTreeSet<String>>;

/// Collects `devices`, `device_links` and `lvm`; returns the ids of file systems by device.
pub(super) fn collect(facts: &mut Map<String, Json>) -> Names {
    let links = links();
    let uuids = links["uuids"].clone();
    facts.insert("devices".to_owned(), devices(&links));
    facts.insert("device_links".to_owned(), json!(links));
    // Volume groups are asked of programs that take longer than all the rest.
    facts.insert("lvm".to_owned(), json!("N/A"));
    uuids
}

fn links() -> Links {
    let mut masters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for device in read::names("/sys/block") {
        for slave in read::names(format!("/sys/block/{device}/slaves")) {
            masters.entry(slave).or_default().insert(device.clone());
        }
    }
    let mut links = Links::from([("masters", masters)]);
    for (kind, folder) in [
        ("ids", "by-id"),
        ("uuids", "by-uuid"),
        ("labels", "by-label"),
    ] {
        links.insert(kind, links_in(&format!("/dev/disk/{folder}")));
    }
    links
}

fn links_in(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in read::names(folder) {
        if let Some(device) = read::link_name(Path::new(folder).join(&name)) {
            found.entry(device).or_default().insert(name);
        }
    }
    found
}

fn devices(links: &Links) -> Json {
    let mut devices = Map::new();
    for name in read::names("/sys/block") {
        devices.insert(name.clone(), device(&name, links));
    }
    Json::Object(devices)
}

fn device(name: &str, links: &Links) -> Json {
    let folder = format!("/sys/block/{name}");
    let get = |file: &str| read::text(format!("{folder}/{file}"));
    let discard = match get("queue/discard_max_hw_bytes").as_deref() {
        Some("0") => Some("0".to_owned()),
        _ => get("queue/discard_granularity"),
    };
    let scheduler = get("queue/scheduler").unwrap_or_default();
    let mode = scheduler
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(mode, _)| mode);
    let (sector_size, sectors) = sectors(&folder);
    let mut device = json!({
        "virtual": 1,
        "links": links_of(name, links),
        "vendor": get("device/vendor"),
        "model": get("device/model"),
        "sas_address": get("device/sas_address"),
        "sas_device_handle": get("device/sas_device_handle"),
        "removable": get("removable"),
        "support_discard": discard,
        "partitions": partitions(name, links),
        "rotational": get("queue/rotational"),
        "scheduler_mode": mode,
        "sectorsize": sector_size.to_string(),
        "sectors": sectors,
        "size": human(sectors * sector_size),
        "host": "",
        "holders": holders(&folder),
    });
    if let Some(serial) = get("device/serial") {
        device["serial"] = json!(serial);
    }
    let ids = links["ids"].get(name).into_iter().flatten();
    if let Some(wwn) = ids.filter_map(|id| id.strip_prefix("wwn-")).next_back() {
        device["wwn"] = json!(wwn);
    }
    device
}

fn partitions(disk: &str, links: &Links) -> Json {
    let mut partitions = Map::new();
    for name in read::names(format!("/sys/block/{disk}")) {
        let Some(number) = name
            .strip_prefix(disk)
            .map(|n| n.strip_prefix('p').unwrap_or(n))
        else {
            continue;
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let folder = format!("/sys/block/{disk}/{name}");
        let (sector_size, sectors) = sectors(&folder);
        let uuid = links["uuids"].get(&name).and_then(|set| set.first());
        let partition = json!({
            "links": links_of(&name, links),
            "start": read::text(format!("{folder}/start")).unwrap_or_else(|| "0".to_owned()),
            "sectors": sectors,
            "sectorsize": sector_size,
            "size": human(sectors * sector_size),
            "uuid": uuid,
            "holders": holders(&folder),
        });
        partitions.insert(name, partition);
    }
    Json::Object(partitions)
}

fn links_of(name: &str, links: &Links) -> Json {
    let one = |(kind, by_device): (&&str, &BTreeMap<String, BTreeSet<String>>)| {
        let names = by_device.get(name).cloned().unwrap_or_default();
        ((*kind).to_owned(), json!(names))
    };
    Json::Object(links.iter().map(one).collect())
}

/// The size of a sector and their number; sysfs counts in 512 bytes whatever the size.
fn sectors(folder: &str) -> (u64, u64) {
    let size = read::number(format!("{folder}/queue/logical_block_size"))
        .or_else(|| read::number(format!("{folder}/queue/hw_sector_size")))
        .unwrap_or(512)
        .max(1);
    let count: u64 = read::number(format!("{folder}/size")).unwrap_or(0);
    (size, count * 512 / size)
}

fn holders(folder: &str) -> Vec<String> {
    read::names(format!("{folder}/holders"))
        .into_iter()
        .filter(|holder| holder.starts_with("dm-"))
        .map(|holder| read::text(format!("{folder}/holders/{holder}/dm/name")).unwrap_or(holder))
        .collect()
}

/// Bytes as Ansible's `bytes_to_human` writes them: `256.00 GB`.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn human(bytes: u64) -> String {
    const UNITS: &[(&str, u64)] = &[
        ("YB", u64::MAX),
        ("EB", 1 << 60),
        ("PB", 1 << 50),
        ("TB", 1 << 40),
        ("GB", 1 << 30),
        ("MB", 1 << 20),
        ("KB", 1 << 10),
    ];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2} {unit}", bytes as f64 / *size as f64),
        None => format!("{:.2} Bytes", bytes as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_ansible_writes_them() {
        assert_eq!(human(0), "0.00 Bytes");
        assert_eq!(human(256 << 30), "256.00 GB");
        assert_eq!(human(1536), "1.50 KB");
    }
}
