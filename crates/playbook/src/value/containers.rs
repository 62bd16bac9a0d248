//! Lists and mappings: shared, mutable, mappings in insertion order with any hashable key.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use indexmap::IndexMap;

use super::{Value, ValueError};

/// A mutable list; clones share it.
#[derive(Clone, Default)]
pub struct List(Rc<Shared<Vec<Value>>>);

/// A mutable mapping in insertion order; clones share it.
#[derive(Clone, Default)]
pub struct Dict(Rc<Shared<IndexMap<Key, Value>>>);

#[derive(Default)]
struct Shared<T> {
    content: RefCell<T>,
    /// Whether a template may be inside. Never unset.
    latent: Cell<bool>,
}

/// A mapping's key: a value that has a hash (`1`, `1.0` and `True` are one key).
#[derive(Clone)]
pub struct Key(pub(super) Value);

impl Key {
    /// Returns a key that the author wrote.
    #[must_use]
    pub fn authors(text: &str) -> Self {
        Self(Value::authors_str(text))
    }

    /// Returns the value this key was made of.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Returns the key's text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_str()
    }

    /// Returns `value` as a key; lists and mappings have no hash.
    pub fn of(value: Value) -> Result<Self, ValueError> {
        let unhashable = match &value {
            Value::List(_) | Value::Dict(_) => Some(value.type_name()),
            Value::Tuple(items) => items.iter().find_map(|item| match Self::of(item.clone()) {
                Ok(_) => None,
                Err(_) => Some(item.type_name()),
            }),
            _ => None,
        };
        unhashable.map_or_else(
            || Ok(Self(value)),
            |name| Err(ValueError(format!("unhashable type: '{name}'"))),
        )
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Value::str(text))
    }
}

impl List {
    /// Returns a list of `items`.
    #[must_use]
    pub fn new(items: Vec<Value>) -> Self {
        let latent = Cell::new(items.iter().any(Value::is_latent));
        let content = RefCell::new(items);
        Self(Rc::new(Shared { content, latent }))
    }

    /// Returns how many items it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.content.borrow().len()
    }

    /// Returns whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the item at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.content.borrow().get(index).cloned()
    }

    /// Returns the items as they are now.
    #[must_use]
    pub fn items(&self) -> Vec<Value> {
        self.0.content.borrow().clone()
    }

    /// Appends `item`.
    pub fn push(&self, item: Value) {
        self.0.latent.set(self.0.latent.get() || item.is_latent());
        self.0.content.borrow_mut().push(item);
    }

    /// Replaces all items.
    pub fn replace(&self, items: Vec<Value>) {
        let latent = items.iter().any(Value::is_latent);
        self.0.latent.set(self.0.latent.get() || latent);
        let before = self.0.content.replace(items);
        drop(before); // after the borrow has ended: an item may own this very list
    }

    /// Returns whether a template may be inside.
    #[must_use]
    pub fn is_latent(&self) -> bool {
        self.0.latent.get()
    }

    /// Returns whether both are the same list, not only equal ones.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn deep_copy(&self) -> Self {
        Self::new(self.items().iter().map(Value::deep_copy).collect())
    }
}

impl Dict {
    /// Returns an empty mapping.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.content.borrow().len()
    }

    /// Returns whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value for the text `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.content.borrow().get(key).cloned()
    }

    /// Returns the value for `key`.
    #[must_use]
    pub fn get_key(&self, key: &Key) -> Option<Value> {
        self.0.content.borrow().get(key).cloned()
    }

    /// Returns whether it has the text `key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.content.borrow().contains_key(key)
    }

    /// Returns whether it has `key`.
    #[must_use]
    pub fn has_key(&self, key: &Key) -> bool {
        self.0.content.borrow().contains_key(key)
    }

    /// Sets `key`; a key that was there keeps its position.
    pub fn insert(&self, key: Key, value: Value) {
        self.0.latent.set(self.0.latent.get() || value.is_latent());
        let before = self.0.content.borrow_mut().insert(key, value);
        drop(before);
    }

    /// Sets the text `key`.
    pub fn set(&self, key: &str, value: Value) {
        self.insert(Key::from(key), value);
    }

    /// Removes `key` and returns what it held; the order of the rest stays.
    #[expect(clippy::must_use_candidate, reason = "callers want the key gone")]
    pub fn remove(&self, key: &Key) -> Option<Value> {
        self.0.content.borrow_mut().shift_remove(key)
    }

    /// Removes everything.
    pub fn clear(&self) {
        let before = self.0.content.replace(IndexMap::new());
        drop(before);
    }

    /// Returns the keys in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Value> {
        let content = self.0.content.borrow();
        content.keys().map(|key| key.0.clone()).collect()
    }

    /// Returns the values in order.
    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        self.0.content.borrow().values().cloned().collect()
    }

    /// Returns the entries in order, as they are now.
    #[must_use]
    pub fn entries(&self) -> Vec<(Key, Value)> {
        let content = self.0.content.borrow();
        content
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Returns whether a template may be inside.
    #[must_use]
    pub fn is_latent(&self) -> bool {
        self.0.latent.get()
    }

    /// Returns whether both are the same mapping, not only equal ones.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Returns a mapping of its own with the same entries.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.entries().into_iter().collect()
    }

    pub(crate) fn deep_copy(&self) -> Self {
        let entries = self.entries().into_iter();
        entries
            .map(|(key, value)| (key, value.deep_copy()))
            .collect()
    }
}

impl FromIterator<(Key, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(pairs: I) -> Self {
        let content: IndexMap<Key, Value> = pairs.into_iter().collect();
        let latent = Cell::new(content.values().any(Value::is_latent));
        let content = RefCell::new(content);
        Self(Rc::new(Shared { content, latent }))
    }
}

impl FromIterator<Value> for List {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Self::new(items.into_iter().collect())
    }
}
