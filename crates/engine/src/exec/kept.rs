//! How variables are written into a checkpoint: as tagged JSON, so that marks and places stay.

use amibake_playbook::value::{Dict, Value};
use serde::de::{Deserialize as _, Deserializer};
use serde::ser::{Error as _, Serialize as _, Serializer};
use serde_json::Value as Json;

fn write<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
    let json = value.to_tagged_json().map_err(S::Error::custom)?;
    json.serialize(to)
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Json::deserialize(from).map(|json| Value::from_authored_json(&json))
}

/// A mapping.
pub(super) mod dict {
    use super::{Deserializer, Dict, Serializer, Value};

    pub(in crate::exec) fn serialize<S: Serializer>(dict: &Dict, to: S) -> Result<S::Ok, S::Error> {
        super::write(&Value::Dict(dict.clone()), to)
    }

    pub(in crate::exec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Dict, D::Error> {
        let value = super::read(from)?;
        Ok(value.as_dict().cloned().unwrap_or_default())
    }
}

/// Any value.
pub(super) mod value {
    use super::{Deserializer, Serializer, Value};

    pub(in crate::exec) fn serialize<S: Serializer>(
        value: &Value,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        super::write(value, to)
    }

    pub(in crate::exec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Value, D::Error> {
        super::read(from)
    }
}

/// Values with their names.
pub(super) mod named {
    use super::{Deserializer, Serializer, Value};

    pub(in crate::exec) fn serialize<S: Serializer>(
        fields: &[(String, Value)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs = fields.iter().map(|(name, value)| (name, value.clone()));
        super::write(&Value::dict(pairs), to)
    }

    pub(in crate::exec) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, Value)>, D::Error> {
        let fields = super::dict::deserialize(from)?.entries();
        let named = fields.into_iter();
        Ok(named
            .map(|(name, value)| (name.value().to_string(), value))
            .collect())
    }
}
