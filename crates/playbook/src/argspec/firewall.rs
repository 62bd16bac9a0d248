//! Modules about firewalls: `ufw`, `iptables`.

use super::{Kind, ModuleSpec, Param, RequiredIf};

pub(super) const MODULES: &[ModuleSpec] = &[UFW, IPTABLES];

const UFW: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[
        &["name", "proto", "logging"],
        &["direction", "interface_in"],
        &["direction", "interface_out"],
    ],
    required_one_of: &[&["state", "default", "rule", "logging"]],
    required_by: &[("interface", &["direction"])],
    ..ModuleSpec::new(
        "community.general.ufw",
        &[
            Param::new("state", Kind::Str).choices(&["enabled", "disabled", "reloaded", "reset"]),
            Param::new("default", Kind::Str)
                .aliases(&["policy"])
                .choices(&["allow", "deny", "reject"]),
            Param::new("logging", Kind::Str)
                .choices(&["full", "high", "low", "medium", "off", "on"]),
            Param::new("direction", Kind::Str)
                .choices(&["in", "incoming", "out", "outgoing", "routed"]),
            Param::new("delete", Kind::Bool).default("false"),
            Param::new("route", Kind::Bool).default("false"),
            Param::new("insert", Kind::Int),
            Param::new("insert_relative_to", Kind::Str)
                .default("zero")
                .choices(&["zero", "first-ipv4", "last-ipv4", "first-ipv6", "last-ipv6"]),
            Param::new("rule", Kind::Str).choices(&["allow", "deny", "limit", "reject"]),
            Param::new("interface", Kind::Str).aliases(&["if"]),
            Param::new("interface_in", Kind::Str).aliases(&["if_in"]),
            Param::new("interface_out", Kind::Str).aliases(&["if_out"]),
            Param::new("log", Kind::Bool).default("false"),
            Param::new("from_ip", Kind::Str)
                .default("any")
                .aliases(&["from", "src"]),
            Param::new("from_port", Kind::Str),
            Param::new("to_ip", Kind::Str)
                .default("any")
                .aliases(&["dest", "to"]),
            Param::new("to_port", Kind::Str).aliases(&["port"]),
            Param::new("proto", Kind::Str)
                .aliases(&["protocol"])
                .choices(&[
                    "ah", "any", "esp", "ipv6", "tcp", "udp", "gre", "igmp", "vrrp",
                ]),
            Param::new("name", Kind::Str).aliases(&["app"]),
            Param::new("comment", Kind::Str),
        ],
    )
};

const fn tee(jump: &'static str) -> RequiredIf {
    RequiredIf {
        param: "jump",
        is: jump,
        needs: &["gateway"],
        any: false,
    }
}

const IPTABLES: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[
        &["set_dscp_mark", "set_dscp_mark_class"],
        &["flush", "policy"],
    ],
    required_by: &[
        ("set_dscp_mark", &["jump"]),
        ("set_dscp_mark_class", &["jump"]),
    ],
    required_if: &[
        tee("TEE"),
        RequiredIf {
            param: "flush",
            is: "false",
            needs: &["chain"],
            any: false,
        },
    ],
    ..ModuleSpec::new(
        "ansible.builtin.iptables",
        &[
            Param::new("table", Kind::Str)
                .default("filter")
                .choices(&["filter", "nat", "mangle", "raw", "security"]),
            Param::new("state", Kind::Str)
                .default("present")
                .choices(&["absent", "present"]),
            Param::new("action", Kind::Str)
                .default("append")
                .choices(&["append", "insert"]),
            Param::new("ip_version", Kind::Str)
                .default("ipv4")
                .choices(&["ipv4", "ipv6", "both"]),
            Param::new("chain", Kind::Str),
            Param::new("rule_num", Kind::Str),
            Param::new("protocol", Kind::Str),
            Param::new("wait", Kind::Str),
            Param::new("source", Kind::Str),
            Param::new("to_source", Kind::Str),
            Param::new("destination", Kind::Str),
            Param::new("to_destination", Kind::Str),
            Param::new("match", Kind::List).default("[]"),
            Param::new("tcp_flags", Kind::Dict),
            Param::new("jump", Kind::Str),
            Param::new("gateway", Kind::Str),
            Param::new("log_prefix", Kind::Str),
            Param::new("log_level", Kind::Str).choices(&[
                "0", "1", "2", "3", "4", "5", "6", "7", "emerg", "alert", "crit", "error",
                "warning", "notice", "info", "debug",
            ]),
            Param::new("goto", Kind::Str),
            Param::new("in_interface", Kind::Str),
            Param::new("out_interface", Kind::Str),
            Param::new("fragment", Kind::Str),
            Param::new("set_counters", Kind::Str),
            Param::new("source_port", Kind::Str),
            Param::new("destination_port", Kind::Str),
            Param::new("destination_ports", Kind::List).default("[]"),
            Param::new("to_ports", Kind::Str),
            Param::new("set_dscp_mark", Kind::Str),
            Param::new("set_dscp_mark_class", Kind::Str),
            Param::new("comment", Kind::Str),
            Param::new("ctstate", Kind::List).default("[]"),
            Param::new("src_range", Kind::Str),
            Param::new("dst_range", Kind::Str),
            Param::new("match_set", Kind::Str),
            Param::new("match_set_flags", Kind::Str)
                .choices(&["src", "dst", "src,dst", "dst,src", "src,src", "dst,dst"]),
            Param::new("limit", Kind::Str),
            Param::new("limit_burst", Kind::Str),
            Param::new("uid_owner", Kind::Str),
            Param::new("gid_owner", Kind::Str),
            Param::new("reject_with", Kind::Str),
            Param::new("icmp_type", Kind::Str),
            Param::new("syn", Kind::Str)
                .default("ignore")
                .choices(&["ignore", "match", "negate"]),
            Param::new("flush", Kind::Bool).default("false"),
            Param::new("policy", Kind::Str).choices(&["ACCEPT", "DROP", "QUEUE", "RETURN"]),
            Param::new("chain_management", Kind::Bool).default("false"),
            Param::new("numeric", Kind::Bool).default("false"),
        ],
    )
};
