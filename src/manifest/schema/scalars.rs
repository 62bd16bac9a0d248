//! What a scalar of the manifest may be, as the parser's `read` takes it: YAML's numbers and truths
//! are texts too, numbers may be quoted, and where texts are filled in, a word may come from a variable.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::check::Check;
use crate::manifest;

/// Declares types by the schema that describes them.
macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {
        $($(#[$doc])*
        pub(super) struct $name(#[expect(dead_code, reason = "never made")] u8);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })*
    };
}

scalars! {
    /// Whatever YAML has.
    Anything = json_schema!({});
    /// Any scalar.
    Text = text();
    /// One text, or a list of them.
    Texts = json_schema!({"anyOf": [text(), {"type": "array", "items": text()}]});
    /// Texts by name.
    Table = json_schema!({"type": "object", "additionalProperties": text()});
    /// What Ansible takes for true or false.
    Truth = truth();
    /// Seconds, or a number with its unit, up to 31 days.
    Time = json_schema!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 31 * 86_400},
        {"type": "string", "pattern": "^[0-9]+\\s*[smhd]?\\s*$"},
    ]});
    /// A range of addresses.
    Cidr = json_schema!({"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]+$|\\{\\{|\\{%"});
    /// A variable's name, which none of ours is.
    VariableName = json_schema!({
        "type": "string",
        "pattern": "^(?!(name|arch|build_time)$)[A-Za-z_][A-Za-z0-9_]*$",
    });
    ArchName = word(["amd64", "arm64", "x86_64", "aarch64"]);
    Profile = word(["baseline", "strict"]);
    VolumeType = word(manifest::builder::VOLUME_TYPES);
    ServiceState = word(["running", "stopped"]);
    CheckName = word(Check::ALL.map(Check::name));
    /// These are filled in nowhere.
    BootMode = json_schema!({"enum": manifest::BootMode::ALL.map(manifest::BootMode::as_str)});
    ImdsSupport = json_schema!({"enum": ["v2.0", "account-default"]});
    TpmSupport = json_schema!({"enum": ["v2.0"]});
    Protection = json_schema!({"anyOf": [{"enum": ["with-cooldown"]}, truth()]});
}

fn truth() -> Schema {
    json_schema!({"anyOf": [
        {"type": "boolean"},
        {"enum": [0, 1]},
        {"type": "string", "pattern": "^\\s*([yY]([eE][sS])?|[oO][nN]|1(\\.0)?|[tT]([rR][uU][eE])?|[nN][oO]?|[oO][fF][fF]|0(\\.0)?|[fF]([aA][lL][sS][eE])?)\\s*$"},
    ]})
}

fn text() -> Schema {
    json_schema!({"type": ["string", "number", "boolean"]})
}

/// One of these words, perhaps by a variable.
fn word<const N: usize>(words: [&str; N]) -> Schema {
    json_schema!({"anyOf": [
        {"enum": words.to_vec()},
        {"type": "string", "pattern": "\\{\\{|\\{%"},
    ]})
}

/// A key that is promised, and what will be its value: nothing else may stand there yet.
pub(super) struct Later<T>(PhantomData<T>);

impl<T> JsonSchema for Later<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"not": {}, "x-later": true})
    }
}

/// A whole number between two bounds.
pub(super) struct Number<const LEAST: i64, const MOST: i64>;

impl<const LEAST: i64, const MOST: i64> JsonSchema for Number<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Number_{LEAST}_{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": LEAST, "maximum": MOST},
            {"type": "string", "pattern": "^\\s*[+-]?[0-9]+\\s*$"},
        ]})
    }
}
