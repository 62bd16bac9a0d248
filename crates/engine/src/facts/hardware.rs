//! Memory, processors, DMI, uptime.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::read;

/// Forms of a chassis, by their number in the DMI specification.
const FORM_FACTORS: &[&str] = &[
    "Unknown",
    "Other",
    "Unknown",
    "Desktop",
    "Low Profile Desktop",
    "Pizza Box",
    "Mini Tower",
    "Tower",
    "Portable",
    "Laptop",
    "Notebook",
    "Hand Held",
    "Docking Station",
    "All In One",
    "Sub Notebook",
    "Space-saving",
    "Lunch Box",
    "Main Server Chassis",
    "Expansion Chassis",
    "Sub Chassis",
    "Bus Expansion Chassis",
    "Peripheral Chassis",
    "RAID Chassis",
    "Rack Mount Chassis",
    "Sealed-case PC",
    "Multi-system",
    "CompactPCI",
    "AdvancedTCA",
    "Blade",
    "Blade Enclosure",
    "Tablet",
    "Convertible",
    "Detachable",
    "IoT Gateway",
    "Embedded PC",
    "Mini PC",
    "Stick PC",
];

/// Facts and the files of `/sys/devices/virtual/dmi/id` that hold them.
const DMI: &[(&str, &str)] = &[
    ("bios_date", "bios_date"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("form_factor", "chassis_type"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

/// Collects them.
pub(super) fn collect(facts: &mut Map<String, Json>) {
    let architecture = facts.get("architecture").and_then(Json::as_str);
    let cpu = processors(
        &read::text("/proc/cpuinfo").unwrap_or_default(),
        architecture.unwrap_or_default(),
    );
    facts.extend(cpu);
    facts.insert("processor_nproc".to_owned(), json!(usable_processors()));
    facts.extend(memory(&read::text("/proc/meminfo").unwrap_or_default()));
    for (name, file) in DMI {
        facts.insert((*name).to_owned(), json!(dmi(name, file)));
    }
    let uptime = read::text("/proc/uptime").unwrap_or_default();
    if let Some(seconds) = uptime
        .split(['.', ' '])
        .next()
        .and_then(|s| s.parse::<u64>().ok())
    {
        facts.insert("uptime_seconds".to_owned(), json!(seconds));
    }
}

/// Processors that this process may run on.
fn usable_processors() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    set.map_or(1, |set| {
        (0..nix::sched::CpuSet::count())
            .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
            .count()
    })
}

fn dmi(name: &str, file: &str) -> String {
    let text = read::text(format!("/sys/devices/virtual/dmi/id/{file}"));
    let Some(text) = text else {
        return "NA".to_owned();
    };
    if name != "form_factor" {
        return text;
    }
    let form = text.parse().ok().and_then(|n: usize| FORM_FACTORS.get(n));
    form.map_or_else(|| format!("unknown ({text})"), |form| (*form).to_owned())
}

/// Counts as Ansible does, its guesses included.
fn processors(cpuinfo: &str, architecture: &str) -> Map<String, Json> {
    let mut names = Vec::new();
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut flags = None;
    // In the order they appear: Ansible takes the first of each.
    let mut sockets: Vec<(&str, u64)> = Vec::new();
    let mut cores: Vec<(&str, u64)> = Vec::new();
    let (mut socket, mut core) = ("0", "0");
    for line in cpuinfo.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        match key {
            "flags" => flags = Some(value.split_whitespace().collect::<Vec<_>>()),
            "model name" | "Processor" | "vendor_id" | "cpu" | "Vendor" | "processor" => {
                names.push(value);
                *seen.entry(key).or_default() += 1;
            }
            "physical id" => {
                socket = value;
                if !sockets.iter().any(|(id, _)| *id == value) {
                    sockets.push((value, 1));
                }
            }
            "core id" => {
                core = value;
                put(&mut cores, value, 1);
            }
            "cpu cores" => put(&mut sockets, socket, value.parse().unwrap_or(1)),
            "siblings" => put(&mut cores, core, value.parse().unwrap_or(1)),
            _ => {}
        }
    }
    let count = |key: &str| seen.get(key).copied().unwrap_or(0);
    let mut lines = names.len();
    if count("vendor_id") > 0 && count("vendor_id") == count("model name") {
        lines = count("vendor_id");
    }
    if ["armv", "aarch", "ppc"]
        .iter()
        .any(|a| architecture.starts_with(a))
    {
        lines = count("processor");
    }
    let packages = if sockets.is_empty() {
        lines
    } else {
        sockets.len()
    };
    let per_socket = sockets.first().map_or(1, |(_, n)| (*n).max(1));
    let threads = half_to_even(cores.first().map_or(1, |(_, n)| *n), per_socket);
    let mut facts = Map::new();
    facts.insert("processor".to_owned(), json!(names));
    if let Some(flags) = flags {
        facts.insert("flags".to_owned(), json!(flags));
    }
    facts.insert("processor_count".to_owned(), json!(packages));
    facts.insert("processor_cores".to_owned(), json!(per_socket));
    facts.insert("processor_threads_per_core".to_owned(), json!(threads));
    let vcpus = threads * per_socket * packages as u64;
    facts.insert("processor_vcpus".to_owned(), json!(vcpus));
    facts
}

fn put<'a>(list: &mut Vec<(&'a str, u64)>, id: &'a str, value: u64) {
    match list.iter_mut().find(|(known, _)| *known == id) {
        Some(entry) => entry.1 = value,
        None => list.push((id, value)),
    }
}

/// Divides and rounds as Python's `round` does.
fn half_to_even(a: u64, b: u64) -> u64 {
    let (quotient, twice) = (a / b, (a % b) * 2);
    match twice.cmp(&b) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

fn memory(meminfo: &str) -> Map<String, Json> {
    let mib = |key: &str| -> i64 {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok())
            .map_or(0, |kib| kib / 1024)
    };
    let (total, free) = (mib("MemTotal"), mib("MemFree"));
    let (swap, swap_free) = (mib("SwapTotal"), mib("SwapFree"));
    let no_cache = mib("Cached") + free + mib("Buffers");
    let mut facts = Map::new();
    facts.insert("memtotal_mb".to_owned(), json!(total));
    facts.insert("memfree_mb".to_owned(), json!(free));
    facts.insert("swaptotal_mb".to_owned(), json!(swap));
    facts.insert("swapfree_mb".to_owned(), json!(swap_free));
    let detail = json!({
        "real": {"total": total, "used": total - free, "free": free},
        "nocache": {"free": no_cache, "used": total - no_cache},
        "swap": {
            "total": swap, "free": swap_free, "used": swap - swap_free, "cached": mib("SwapCached"),
        },
    });
    facts.insert("memory_mb".to_owned(), detail);
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hyperthreads_of_one_core_are_one_core_with_two_threads() {
        let one = |id: u32| {
            format!(
                "processor\t: {id}\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: 0\n\
                 siblings\t: 2\ncore id\t\t: 0\ncpu cores\t: 1\nflags\t\t: fpu vme\n\n"
            )
        };
        let facts = processors(&(one(0) + &one(1)), "x86_64");
        assert_eq!(facts["processor_count"], 1);
        assert_eq!(facts["processor_cores"], 1);
        assert_eq!(
            facts["processor_vcpus"],
            facts["processor_threads_per_core"].as_u64().unwrap()
        );
        assert_eq!(facts["flags"], json!(["fpu", "vme"]));
        assert_eq!(facts["processor"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn an_arm_counts_its_processor_lines() {
        let info = "processor\t: 0\nBogoMIPS\t: 243.75\n\nprocessor\t: 1\nBogoMIPS\t: 243.75\n";
        let facts = processors(info, "aarch64");
        assert_eq!(facts["processor_count"], 2);
        assert_eq!(facts["processor_vcpus"], 2);
    }

    #[test]
    fn memory_is_in_whole_mebibytes() {
        let facts = memory("MemTotal: 2049 kB\nMemFree: 1024 kB\nCached: 0 kB\n");
        assert_eq!(facts["memtotal_mb"], 2);
        assert_eq!(facts["memory_mb"]["real"]["used"], 1);
    }
}
