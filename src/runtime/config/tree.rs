//! A TOML file laid flat: every value under its dotted key (`publish.keys[0].stream`), with the line it stands on.
//!
//! Flat, because every question of the configuration layer is asked by key: what is its value, where does it stand,
//! is anything below it, which keys did nobody ask for. Parsing is the `toml` crate's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Fault, Origin};

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: toml::Value,
    pub(super) origin: Origin,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    leaves: BTreeMap<String, Leaf>,
    tables: BTreeMap<String, Origin>,
}

impl Tree {
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, Vec<Fault>> {
        let path = Arc::new(path.to_owned());
        let origin = |at: usize| Origin::File {
            path: path.clone(),
            line: 1 + text[..at.min(text.len())].matches('\n').count(),
        };
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut tree = Self::default();
        let mut faults = Vec::new();
        let mut note = |error: &toml::de::Error, at: usize| {
            // Only the message: the error's own display quotes the line, which may hold a secret.
            let (message, origin) = (error.message().to_owned(), origin(at));
            faults.push(Fault::Syntax { message, origin });
        };
        for error in &errors {
            note(error, error.span().map_or(0, |span| span.start));
        }
        for (key, value) in root.into_inner() {
            tree.flatten(bare(key.get_ref()), value, &origin, &mut note);
        }
        if faults.is_empty() {
            Ok(tree)
        } else {
            Err(faults)
        }
    }

    pub(super) fn leaf(&self, key: &str) -> Option<Leaf> {
        self.leaves.get(key).cloned()
    }

    /// Where the table or value `key` stands.
    pub(super) fn table(&self, key: &str) -> Origin {
        let leaf = || self.leaves.get(key).map(|leaf| &leaf.origin);
        self.tables
            .get(key)
            .or_else(leaf)
            .cloned()
            .unwrap_or(Origin::Default)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.tables.contains_key(key) || self.below(key).next().is_some()
    }

    pub(super) fn below<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Leaf)> {
        self.leaves
            .iter()
            .filter(move |(name, _)| is_below(name, key))
    }

    /// The names of the tables right under `key`.
    pub(super) fn tables_of(&self, key: &str) -> BTreeSet<String> {
        let name = |table: &String| {
            let name = table.strip_prefix(key)?.strip_prefix('.')?;
            name.bytes().all(is_bare).then(|| name.to_owned())
        };
        self.tables.keys().filter_map(name).collect()
    }

    /// Every value, and every table that holds none.
    pub(super) fn names(&self) -> impl Iterator<Item = (&String, &Origin)> {
        let leaves = self.leaves.iter().map(|(key, leaf)| (key, &leaf.origin));
        let hollow = self
            .tables
            .iter()
            .filter(|(key, _)| self.below(key).next().is_none());
        leaves.chain(hollow)
    }

    /// Puts `value` in the place of everything at and below `key`; what is no TOML stays as an empty text.
    pub(super) fn replace(&mut self, key: &str, value: Option<toml::Value>, origin: &Origin) {
        self.leaves.retain(|name, _| !is_below(name, key));
        self.tables.retain(|name, _| !is_below(name, key));
        let value = value.unwrap_or_else(|| toml::Value::String(String::new()));
        self.insert(key.to_owned(), value, origin);
    }

    fn insert(&mut self, key: String, value: toml::Value, origin: &Origin) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    self.insert(format!("{key}.{}", bare(&name)), value, origin);
                }
                self.tables.insert(key, origin.clone());
            }
            toml::Value::Array(array)
                if !array.is_empty() && array.iter().all(toml::Value::is_table) =>
            {
                for (index, value) in array.into_iter().enumerate() {
                    self.insert(format!("{key}[{index}]"), value, origin);
                }
            }
            value => {
                let origin = origin.clone();
                self.leaves.insert(key, Leaf { value, origin });
            }
        }
    }

    fn flatten(
        &mut self,
        key: String,
        value: Spanned<DeValue<'_>>,
        origin: &dyn Fn(usize) -> Origin,
        note: &mut dyn FnMut(&toml::de::Error, usize),
    ) {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(_) => {
                self.tables.insert(key.clone(), origin(at));
                let DeValue::Table(table) = value.into_inner() else {
                    return;
                };
                for (name, value) in table {
                    self.flatten(
                        format!("{key}.{}", bare(name.get_ref())),
                        value,
                        origin,
                        note,
                    );
                }
            }
            DeValue::Array(array)
                if !array.is_empty() && array.iter().all(|it| it.get_ref().is_table()) =>
            {
                let DeValue::Array(array) = value.into_inner() else {
                    return;
                };
                for (index, value) in array.into_iter().enumerate() {
                    self.flatten(format!("{key}[{index}]"), value, origin, note);
                }
            }
            _ => match toml::Value::deserialize(ValueDeserializer::from(value)) {
                Ok(value) => self.insert(key, value, &origin(at)),
                Err(error) => note(&error, at),
            },
        }
    }
}

/// `text` as one TOML value.
pub(super) fn parse_value(text: &str) -> Option<toml::Value> {
    toml::Value::deserialize(ValueDeserializer::parse(text).ok()?).ok()
}

/// Whether `key` is `section` or lies in it.
pub(super) fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `publish.keys[3].stream` as `publish.keys[].stream`.
pub(super) fn without_indices(key: &str) -> String {
    let (mut plain, mut inside) = (String::with_capacity(key.len()), false);
    for letter in key.chars() {
        inside = inside && letter != ']';
        if !inside {
            plain.push(letter);
        }
        inside = inside || letter == '[';
    }
    plain
}

/// A key that needs quotes in TOML keeps them, lest `"hls.part"` pass for `part` of `[hls]`.
fn bare(key: &str) -> String {
    if key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// Whether a key may hold `byte` without quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}
