//! Modules about files and the network: `file`, `copy`, `template`, `stat`, `uri`, ….
//!
//! As the argument specs of ansible-core 2.19 say, internal parameters (`_original_basename`) left
//! out but for `file`'s. An empty list as default is no default here: [`crate::argspec::Kind::List`] reads absent as empty.

use super::Kind::{Bool, Dict, Float, Int, List, Path, Raw, RawList, Str};
use super::{ModuleSpec, Param};

/// The parameters of the module plus those that every module takes which creates files.
macro_rules! and_attributes {
    ($($param:expr),+ $(,)?) => {
        &[
            $($param,)+
            Param::new("mode", Raw),
            Param::new("owner", Str),
            Param::new("group", Str),
            Param::new("seuser", Str),
            Param::new("serole", Str),
            Param::new("selevel", Str),
            Param::new("setype", Str),
            Param::new("attributes", Str).aliases(&["attr"]),
            Param::new("unsafe_writes", Bool).default("false"),
        ]
    };
}
pub(super) use and_attributes;

const fn off(name: &'static str) -> Param {
    Param::new(name, Bool).default("false")
}

const fn on(name: &'static str) -> Param {
    Param::new(name, Bool).default("true")
}

const PRESENT: &[&str] = &["absent", "present"];
const CHECKSUMS: &[&str] = &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
const EDITED: &[&str] = &["dest", "destfile", "name"];

/// What [`super::all`] lists, in the order of the folds below.
pub(super) const MODULES: &[ModuleSpec] = &[
    FILE,
    COPY,
    TEMPLATE,
    ASSEMBLE,
    UNARCHIVE,
    ARCHIVE,
    TEMPFILE, // files made
    LINEINFILE,
    BLOCKINFILE,
    REPLACE,
    SYSCTL, // files edited
    STAT,
    FIND,
    FETCH,
    SLURP, // files read
    GET_URL,
    URI,
    WAIT_FOR, // the network
    DEBUG,
    ASSERT,
    FAIL,
    SET_FACT,
    INCLUDE_VARS,
    PAUSE, // the executor's own
];

const FILE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.file",
    and_attributes![
        Param::new("state", Str).choices(&["absent", "directory", "file", "hard", "link", "touch"]),
        Param::new("path", Path)
            .required()
            .aliases(&["dest", "name"]),
        // The two of Ansible's own, which authors may still give.
        Param::new("_original_basename", Str),
        off("recurse"),
        off("force"),
        on("follow"),
        Param::new("_diff_peek", Bool),
        Param::new("src", Path),
        Param::new("modification_time", Str),
        Param::new("modification_time_format", Str).default("%Y%m%d%H%M.%S"),
        Param::new("access_time", Str),
        Param::new("access_time_format", Str).default("%Y%m%d%H%M.%S"),
    ],
);

const COPY: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["src", "content"]],
    required_one_of: &[&["src", "content"]],
    ..ModuleSpec::new(
        "ansible.builtin.copy",
        and_attributes![
            Param::new("src", Path),
            Param::new("content", Raw),
            Param::new("dest", Path).required(),
            off("backup"),
            on("force"),
            Param::new("validate", Str),
            Param::new("directory_mode", Raw),
            off("remote_src"),
            Param::new("local_follow", Bool),
            Param::new("checksum", Str),
            off("follow"),
            on("decrypt"),
        ],
    )
};

const TEMPLATE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.template",
    and_attributes![
        Param::new("src", Path).required(),
        Param::new("dest", Path).required(),
        off("backup"),
        on("force"),
        off("follow"),
        Param::new("validate", Str),
        Param::new("newline_sequence", Str)
            .default("\n")
            .choices(&["\n", "\r", "\r\n"]),
        Param::new("block_start_string", Str).default("{%"),
        Param::new("block_end_string", Str).default("%}"),
        Param::new("variable_start_string", Str).default("{{"),
        Param::new("variable_end_string", Str).default("}}"),
        Param::new("comment_start_string", Str),
        Param::new("comment_end_string", Str),
        on("trim_blocks"),
        off("lstrip_blocks"),
        Param::new("output_encoding", Str).default("utf-8"),
    ],
);

const ASSEMBLE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.assemble",
    and_attributes![
        Param::new("src", Path).required(),
        Param::new("delimiter", Str),
        Param::new("dest", Path).required(),
        off("backup"),
        on("remote_src"),
        Param::new("regexp", Str),
        off("ignore_hidden"),
        Param::new("validate", Str),
        on("decrypt"),
    ],
);

const UNARCHIVE: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["include", "exclude"]],
    ..ModuleSpec::new(
        "ansible.builtin.unarchive",
        and_attributes![
            Param::new("src", Path).required(),
            Param::new("dest", Path).required(),
            off("remote_src"),
            Param::new("creates", Path),
            off("list_files"),
            off("keep_newer"),
            Param::new("exclude", List),
            Param::new("include", List),
            Param::new("extra_opts", List),
            on("validate_certs"),
            Param::new("io_buffer_size", Int).default("65536"),
            on("copy"),
            on("decrypt"),
        ],
    )
};

const ARCHIVE: ModuleSpec = ModuleSpec::new(
    "community.general.archive",
    and_attributes![
        Param::new("path", List).required(),
        Param::new("format", Str)
            .default("gz")
            .choices(&["bz2", "gz", "tar", "xz", "zip"]),
        Param::new("dest", Path),
        Param::new("exclude_path", List),
        Param::new("exclusion_patterns", List),
        off("force_archive"),
        off("remove"),
    ],
);

const TEMPFILE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.tempfile",
    &[
        Param::new("state", Str)
            .default("file")
            .choices(&["file", "directory"]),
        Param::new("path", Path),
        Param::new("prefix", Str).default("ansible."),
        Param::new("suffix", Str).default(""),
    ],
);

const LINEINFILE: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[
        &["insertbefore", "insertafter"],
        &["regexp", "search_string"],
        &["backrefs", "search_string"],
    ],
    ..ModuleSpec::new(
        "ansible.builtin.lineinfile",
        and_attributes![
            Param::new("path", Path).required().aliases(EDITED),
            Param::new("state", Str).default("present").choices(PRESENT),
            Param::new("regexp", Str).aliases(&["regex"]),
            Param::new("search_string", Str),
            Param::new("line", Str).aliases(&["value"]),
            Param::new("insertafter", Str),
            Param::new("insertbefore", Str),
            off("backrefs"),
            off("create"),
            off("backup"),
            off("firstmatch"),
            Param::new("validate", Str),
        ],
    )
};

const BLOCKINFILE: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["insertbefore", "insertafter"]],
    ..ModuleSpec::new(
        "ansible.builtin.blockinfile",
        and_attributes![
            Param::new("path", Path).required().aliases(EDITED),
            Param::new("state", Str).default("present").choices(PRESENT),
            Param::new("marker", Str).default("# {mark} ANSIBLE MANAGED BLOCK"),
            Param::new("block", Str).default("").aliases(&["content"]),
            Param::new("insertafter", Str),
            Param::new("insertbefore", Str),
            off("create"),
            off("backup"),
            Param::new("validate", Str),
            Param::new("marker_begin", Str).default("BEGIN"),
            Param::new("marker_end", Str).default("END"),
            off("append_newline"),
            off("prepend_newline"),
        ],
    )
};

const REPLACE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.replace",
    and_attributes![
        Param::new("path", Path).required().aliases(EDITED),
        Param::new("regexp", Str).required(),
        Param::new("replace", Str).default(""),
        Param::new("after", Str),
        Param::new("before", Str),
        off("backup"),
        Param::new("validate", Str),
        Param::new("encoding", Str).default("utf-8"),
    ],
);

const SYSCTL: ModuleSpec = ModuleSpec::new(
    "ansible.posix.sysctl",
    &[
        Param::new("name", Str).required().aliases(&["key"]),
        Param::new("value", Str).aliases(&["val"]),
        Param::new("state", Str)
            .default("present")
            .choices(&["present", "absent"]),
        on("reload"),
        off("sysctl_set"),
        off("ignoreerrors"),
        Param::new("sysctl_file", Path).default("/etc/sysctl.conf"),
    ],
);

const STAT: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.stat",
    &[
        Param::new("path", Path)
            .required()
            .aliases(&["dest", "name"]),
        off("follow"),
        on("get_checksum"),
        on("get_mime").aliases(&["mime", "mime_type", "mime-type"]),
        on("get_attributes").aliases(&["attr", "attributes"]),
        Param::new("checksum_algorithm", Str)
            .default("sha1")
            .choices(CHECKSUMS)
            .aliases(&["checksum", "checksum_algo"]),
    ],
);

const FIND: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.find",
    &[
        Param::new("paths", List)
            .required()
            .aliases(&["name", "path"]),
        Param::new("patterns", List).aliases(&["pattern"]),
        Param::new("excludes", List).aliases(&["exclude"]),
        Param::new("contains", Str),
        off("read_whole_file"),
        Param::new("file_type", Str)
            .default("file")
            .choices(&["any", "directory", "file", "link"]),
        Param::new("age", Str),
        Param::new("age_stamp", Str)
            .default("mtime")
            .choices(&["atime", "ctime", "mtime"]),
        Param::new("size", Str),
        off("recurse"),
        off("hidden"),
        off("follow"),
        off("get_checksum"),
        Param::new("checksum_algorithm", Str)
            .default("sha1")
            .choices(CHECKSUMS)
            .aliases(&["checksum", "checksum_algo"]),
        off("use_regex"),
        Param::new("depth", Int),
        Param::new("mode", Raw),
        on("exact_mode"),
        Param::new("encoding", Str),
        Param::new("limit", Int),
    ],
);

const FETCH: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.fetch",
    &[
        Param::new("src", Str).required(),
        Param::new("dest", Str).required(),
        off("flat"),
        on("fail_on_missing"),
        on("validate_checksum"),
    ],
);

const SLURP: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.slurp",
    &[Param::new("src", Path).required().aliases(&["path"])],
);

const GET_URL: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.get_url",
    and_attributes![
        Param::new("url", Str).required(),
        Param::new("dest", Path).required(),
        off("force"),
        Param::new("http_agent", Str).default("ansible-httpget"),
        on("use_proxy"),
        on("validate_certs"),
        Param::new("url_username", Str).aliases(&["username"]),
        Param::new("url_password", Str)
            .aliases(&["password"])
            .no_log(),
        off("force_basic_auth"),
        Param::new("client_cert", Path),
        Param::new("client_key", Path),
        off("use_gssapi"),
        off("backup"),
        Param::new("checksum", Str).default(""),
        Param::new("timeout", Int).default("10"),
        Param::new("headers", Dict),
        Param::new("tmp_dest", Path),
        Param::new("unredirected_headers", List),
        on("decompress"),
        Param::new("ciphers", List),
        on("use_netrc"),
    ],
);

const URI: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["body", "src"]],
    ..ModuleSpec::new(
        "ansible.builtin.uri",
        and_attributes![
            Param::new("url", Str).required(),
            Param::new("dest", Path),
            off("force"),
            Param::new("http_agent", Str).default("ansible-httpget"),
            on("use_proxy"),
            on("validate_certs"),
            Param::new("url_username", Str).aliases(&["user"]),
            Param::new("url_password", Str)
                .aliases(&["password"])
                .no_log(),
            off("force_basic_auth"),
            Param::new("client_cert", Path),
            Param::new("client_key", Path),
            off("use_gssapi"),
            Param::new("body", Raw),
            Param::new("body_format", Str).default("raw").choices(&[
                "form-urlencoded",
                "json",
                "raw",
                "form-multipart"
            ]),
            Param::new("src", Path),
            Param::new("method", Str).default("GET"),
            off("return_content"),
            Param::new("follow_redirects", Str)
                .default("safe")
                .choices(&["all", "no", "none", "safe", "urllib2", "yes"]),
            Param::new("creates", Path),
            Param::new("removes", Path),
            Param::new("status_code", List).default("200"),
            Param::new("timeout", Int).default("30"),
            Param::new("headers", Dict),
            Param::new("unix_socket", Path),
            off("remote_src"),
            Param::new("ca_path", Path),
            Param::new("unredirected_headers", List),
            on("decompress"),
            Param::new("ciphers", List),
            on("use_netrc"),
        ],
    )
};

const WAIT_FOR: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.wait_for",
    &[
        Param::new("host", Str).default("127.0.0.1"),
        Param::new("timeout", Int).default("300"),
        Param::new("connect_timeout", Int).default("5"),
        Param::new("delay", Int).default("0"),
        Param::new("port", Int),
        Param::new("active_connection_states", List)
            .default("ESTABLISHED,FIN_WAIT1,FIN_WAIT2,SYN_RECV,SYN_SENT,TIME_WAIT"),
        Param::new("path", Path),
        Param::new("search_regex", Str),
        Param::new("state", Str)
            .default("started")
            .choices(&["absent", "drained", "present", "started", "stopped"]),
        Param::new("exclude_hosts", List),
        Param::new("sleep", Int).default("1"),
        Param::new("msg", Str),
    ],
);

const DEBUG: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["msg", "var"]],
    ..ModuleSpec::new(
        "ansible.builtin.debug",
        &[
            Param::new("msg", Raw).default("Hello world!"),
            Param::new("var", Raw),
            Param::new("verbosity", Int).default("0"),
        ],
    )
};

const ASSERT: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.assert",
    &[
        Param::new("that", RawList).required(),
        Param::new("fail_msg", Raw)
            .default("Assertion failed")
            .aliases(&["msg"]),
        Param::new("success_msg", Raw).default("All assertions passed"),
        off("quiet"),
    ],
);

const FAIL: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.fail",
    &[Param::new("msg", Raw).default("Failed as requested from task")],
);

const SET_FACT: ModuleSpec = ModuleSpec {
    open: true,
    ..ModuleSpec::new("ansible.builtin.set_fact", &[off("cacheable")])
};

const INCLUDE_VARS: ModuleSpec = ModuleSpec {
    free_form: true,
    mutually_exclusive: &[&["file", "dir"]],
    ..ModuleSpec::new(
        "ansible.builtin.include_vars",
        &[
            Param::new("file", Path),
            Param::new("dir", Path),
            Param::new("name", Str),
            Param::new("depth", Int).default("0"),
            Param::new("files_matching", Str),
            Param::new("ignore_files", List),
            Param::new("extensions", List).default("json,yaml,yml"),
            off("ignore_unknown_extensions"),
            Param::new("hash_behaviour", Str).choices(&["replace", "merge"]),
        ],
    )
};

const PAUSE: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["minutes", "seconds"]],
    ..ModuleSpec::new(
        "ansible.builtin.pause",
        &[
            on("echo"),
            Param::new("minutes", Float),
            Param::new("seconds", Float),
            Param::new("prompt", Str),
        ],
    )
};
