//! Settings in layers: code defaults, then a TOML file (TOML 1.0), then the environment.
//!
//! A program asks a [`Reader`] for its keys, one call per key: name, type and default stand in one line, and the
//! calls together *are* the list of known keys. Everything wrong is gathered and told at once ([`Error::Invalid`]),
//! each fault with its origin; each effective value is kept with its origin for `check` ([`Report`]). The invariant:
//! a setting is either used or refused, never ignored. Secrets are never shown (see [`Value::SECRET`]).
//!
//! The environment variable of `hls.part` is the prefix, then the key in upper case with `.` as `_`:
//! `VITRINE_HLS_PART`. A list or an array of tables is given there as one TOML value.
//!
//! What the settings mean is the business of the program that asks for them.

mod fault;
mod origin;
mod tree;
mod value;

use std::{collections::BTreeMap, fmt, fs, path::Path};

pub use toml;

use self::tree::{Leaf, Tree};
pub use self::{
    fault::{Error, Fault, Lack, nearest},
    origin::Origin,
    value::{Bitrate, Size, Value},
};

/// Reads the settings of a program: `file` when one is given, overlaid by `environment`, through `read`.
///
/// # Errors
/// [`Error::Unreadable`] when the file cannot be read, [`Error::Invalid`] with every fault found otherwise.
pub fn load<T>(
    file: Option<&Path>,
    environment: Environment,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Result<(T, Report), Error> {
    let mut state = State {
        environment,
        ..State::default()
    };
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        // Values of a text that is no TOML would be guesses, so its syntax faults are told alone.
        state.tree = Tree::parse(&text, path).map_err(Error::Invalid)?;
    }
    let settings = read(&mut Reader {
        scope: String::new(),
        state: &mut state,
    });
    state.refuse_unknown();
    if state.faults.is_empty() {
        return Ok((settings, state.report));
    }
    state.faults.sort_by(|a, b| a.origin().cmp(b.origin()));
    Err(Error::Invalid(state.faults))
}

/// The variables of the environment that are settings: those that begin with a prefix.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    prefix: &'static str,
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// No variable at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process that begin with `prefix`, without those that begin with one of `others`
    /// (the prefixes of sibling programs).
    pub fn of_process(prefix: &'static str, others: &[&str]) -> Self {
        let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
        let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self::of(
            prefix,
            all.filter(|(name, _)| !others.iter().any(|other| name.starts_with(other))),
        )
    }

    /// Those of `variables` that begin with `prefix`.
    pub fn of(prefix: &'static str, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter();
        Self {
            prefix,
            variables: variables
                .filter(|(name, _)| name.starts_with(prefix))
                .collect(),
        }
    }

    /// The same without the variables of these very names.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.variables
            .retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    fn name(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.replace('.', "_").to_uppercase())
    }

    fn leaf(&self, key: &str) -> Option<Leaf> {
        let name = self.name(key);
        let text = self.variables.get(&name)?;
        Some(Leaf {
            value: toml::Value::String(text.clone()),
            origin: Origin::Environment { name },
        })
    }

    fn below<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a String> {
        let (name, section) = (self.name(key), self.name(key) + "_");
        let names = self.variables.keys();
        names.filter(move |it| **it == name || it.starts_with(&section))
    }
}

/// Hands out settings by key. Keys are dotted (`hls.part`); inside [`Reader::entries`] they are the entry's own.
#[derive(Debug)]
pub struct Reader<'a> {
    scope: String,
    state: &'a mut State,
}

impl Reader<'_> {
    /// The value of `key`, or `default`.
    pub fn value<T: Value>(&mut self, key: &str, default: T) -> T {
        let key = self.full(key);
        match self.state.take::<T>(&key) {
            Some((value, origin)) => self.state.effective(&key, value, origin),
            None => self.state.effective(&key, default, Origin::Default),
        }
    }

    /// The value of `key`; `None` when it is absent or the empty string.
    pub fn optional<T: Value>(&mut self, key: &str) -> Option<T> {
        let key = self.full(key);
        if self
            .state
            .leaf(&key)
            .is_some_and(|leaf| leaf.value.as_str() != Some(""))
        {
            let (value, origin) = self.state.take::<T>(&key)?;
            return Some(self.state.effective(&key, value, origin));
        }
        self.state.know(&key);
        self.state
            .report
            .push(key, UNSET.to_owned(), Origin::Default);
        None
    }

    /// The value of `key`, which has no default. `None` after a fault has been noted: read every key of an entry
    /// before giving it up, or the rest would be called unknown.
    pub fn required<T: Value>(&mut self, key: &str) -> Option<T> {
        let full = self.full(key);
        if self.state.leaf(&full).is_some() {
            let (value, origin) = self.state.take::<T>(&full)?;
            return Some(self.state.effective(&full, value, origin));
        }
        self.state.know(&full);
        let origin = self.state.tree.table(self.scope.trim_end_matches('.'));
        let expected = T::EXPECTED.to_owned();
        self.state.fault(Fault::Missing {
            key: full,
            expected,
            origin,
        });
        None
    }

    /// The entries of the array of tables `key` (`[[publish.keys]]`), each read by `read`; those it gives up are left
    /// out (it has noted why). The environment replaces the whole array.
    pub fn entries<T>(&mut self, key: &str, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Vec<T> {
        let key = self.full(key);
        self.state.know(&key);
        self.state.learn(&format!("{key}[]."), &read);
        self.state.overlay_entries(&key);
        let mut entries = Vec::new();
        for index in 0.. {
            let table = format!("{key}[{index}]");
            if !self.state.tree.has(&table) {
                break;
            }
            entries.extend(read(&mut Reader {
                scope: table + ".",
                state: self.state,
            }));
        }
        entries
    }

    /// The optional section `name`, read by `read` with keys of its own; `None` unless anything of it is written down,
    /// be it only its header.
    pub fn section<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        let scope = self.full(name) + ".";
        if self.has(name) {
            let state = &mut *self.state;
            return read(&mut Reader { scope, state });
        }
        for key in self.state.learn(&scope, &read) {
            self.state
                .report
                .push(key, UNSET.to_owned(), Origin::Default);
        }
        None
    }

    /// The tables of `key` by name (`[ladder.default]`, `[ladder.phones]`), each read by `read` with keys of its own;
    /// those it gives up are left out. The environment reaches those that the file has, and `usual`: the name that
    /// stands for all of them where known keys are listed.
    pub fn tables<T>(
        &mut self,
        key: &str,
        usual: &str,
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let mut names = self.state.tree.tables_of(&self.full(key));
        names.insert(usual.to_owned());
        let table = |name: String| {
            let read = self.section(&format!("{key}.{name}"), &read);
            read.map(|read| (name, read))
        };
        names.into_iter().filter_map(table).collect()
    }

    /// Whether anything at or below `key` is written down.
    pub fn has(&self, key: &str) -> bool {
        let key = self.full(key);
        self.state.tree.has(&key) || self.state.environment.below(&key).next().is_some()
    }

    /// Notes that the value of `key` cannot be used unless `ok`; `expected` completes "expected ...".
    pub fn require(&mut self, ok: bool, key: &str, expected: impl fmt::Display) {
        if !ok {
            let (key, expected) = (self.full(key), expected.to_string());
            let (value, mut origin) = self.state.report.find(&key);
            if origin == Origin::Default {
                origin = self.state.tree.table(self.scope.trim_end_matches('.'));
            }
            self.state.fault(Fault::Value {
                key,
                value,
                expected,
                origin,
            });
        }
    }

    /// Notes that what `key` asks for is not there, if `asked`.
    pub fn unsupported_if(&mut self, asked: bool, key: &str, lack: Lack) {
        if asked {
            let key = self.full(key);
            let (_, origin) = self.state.report.find(&key);
            self.state.fault(Fault::Unsupported { key, lack, origin });
        }
    }

    /// Refuses everything at or below `key`: a name of the contract whose feature is not there.
    pub fn unsupported(&mut self, key: &str, lack: Lack) {
        let key = self.full(key);
        let leaves = self.state.tree.below(&key);
        let leaves = leaves.map(|(key, leaf)| (key.clone(), leaf.origin.clone()));
        let variables = self.state.environment.below(&key);
        let variables =
            variables.map(|name| (key.clone(), Origin::Environment { name: name.clone() }));
        let found: Vec<_> = leaves.chain(variables).collect();
        for (key, origin) in found {
            self.state.fault(Fault::Unsupported { key, lack, origin });
        }
        self.state.unsupported.push(key);
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.scope)
    }
}

/// Every effective value and where it came from, in the order asked. Displays as aligned lines for a human.
#[derive(Clone, Debug, Default)]
pub struct Report {
    settings: Vec<(String, String, Origin)>,
    known: Vec<String>,
}

impl Report {
    /// Every key the program knows, entries of arrays of tables as `publish.keys[].stream`.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    /// Key, value as TOML (or `(secret)`, `(unset)`) and origin of every setting.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.settings
            .iter()
            .map(|(key, value, origin)| (key.as_str(), value.as_str(), origin))
    }

    fn push(&mut self, key: String, value: String, origin: Origin) {
        self.settings.push((key, value, origin));
    }

    fn find(&self, key: &str) -> (String, Origin) {
        let found = self.settings.iter().find(|(name, ..)| name == key);
        found.map_or_else(
            || (UNSET.to_owned(), Origin::Default),
            |(_, value, origin)| (value.clone(), origin.clone()),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&(String, String, Origin)) -> usize| {
            self.settings.iter().map(of).max().unwrap_or(0)
        };
        let (keys, values) = (width(|it| it.0.len()), width(|it| it.1.len()));
        for (key, value, origin) in &self.settings {
            writeln!(f, "{key:keys$} = {value:values$}   {origin}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    environment: Environment,
    report: Report,
    unsupported: Vec<String>,
    faults: Vec<Fault>,
}

impl State {
    fn leaf(&self, key: &str) -> Option<Leaf> {
        self.environment.leaf(key).or_else(|| self.tree.leaf(key))
    }

    /// The typed value of `key`; `None` when absent, or wrong and noted as such.
    fn take<T: Value>(&mut self, key: &str) -> Option<(T, Origin)> {
        self.know(key);
        let Leaf { value, origin } = self.leaf(key)?;
        if let Some(typed) = typed(&value, &origin) {
            return Some((typed, origin));
        }
        let value = if T::SECRET {
            SECRET.to_owned()
        } else {
            value.to_string()
        };
        let (key, expected) = (key.to_owned(), T::EXPECTED.to_owned());
        self.fault(Fault::Value {
            key,
            value,
            expected,
            origin,
        });
        None
    }

    fn effective<T: Value>(&mut self, key: &str, value: T, origin: Origin) -> T {
        let shown = if T::SECRET {
            SECRET.to_owned()
        } else {
            value.show()
        };
        self.report.push(key.to_owned(), shown, origin);
        value
    }

    fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn know(&mut self, key: &str) {
        let key = tree::without_indices(key);
        if !self.report.known.contains(&key) {
            self.report.known.push(key);
        }
    }

    /// Learns the keys of a section or entry by reading one that is not there, so that they are known while it is not.
    fn learn<T>(
        &mut self,
        scope: &str,
        read: &impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<String> {
        let mut ghost = Self::default();
        read(&mut Reader {
            scope: scope.to_owned(),
            state: &mut ghost,
        });
        for key in &ghost.report.known {
            self.know(key);
        }
        ghost.report.known
    }

    fn overlay_entries(&mut self, key: &str) {
        if let Some(leaf) = self.environment.leaf(key) {
            let value = leaf.value.as_str().and_then(tree::parse_value);
            self.tree.replace(key, value, &leaf.origin);
        }
        // An array of tables has been flattened away; what still stands under its own name is something else.
        if self
            .tree
            .leaf(key)
            .is_some_and(|leaf| leaf.value.as_array().is_none_or(|array| !array.is_empty()))
        {
            let origin = self.tree.table(key);
            let (value, expected) = (SECRET.to_owned(), "an array of tables".to_owned());
            self.fault(Fault::Value {
                key: key.to_owned(),
                value,
                expected,
                origin,
            });
        }
    }

    fn refuse_unknown(&mut self) {
        let known = &self.report.known;
        let refused = |key: &str| self.unsupported.iter().any(|it| tree::is_below(key, it));
        let mut faults = Vec::new();
        for (key, origin) in self.tree.names() {
            let name = tree::without_indices(key);
            // An empty table is as good as none; a value is not, where a table should be.
            let empty = self.tree.leaf(key).is_none();
            let mut known_here = known.iter();
            let is_known = known_here.any(|it| *it == name || empty && tree::is_below(it, &name));
            if !is_known && !refused(key) {
                faults.push(Fault::unknown(key, known, origin.clone()));
            }
        }
        let variables: Vec<_> = known.iter().map(|key| self.environment.name(key)).collect();
        let refused: Vec<_> = self
            .unsupported
            .iter()
            .flat_map(|key| self.environment.below(key))
            .collect();
        for name in self.environment.variables.keys() {
            if !variables.contains(name) && !refused.contains(&name) {
                let settable: Vec<_> = variables
                    .iter()
                    .filter(|it| !it.contains('['))
                    .cloned()
                    .collect();
                let origin = Origin::Environment { name: name.clone() };
                faults.push(Fault::unknown(name, &settable, origin));
            }
        }
        self.faults.append(&mut faults);
    }
}

/// A variable of the environment is text; where the key wants something else, the text is read as TOML.
fn typed<T: Value>(value: &toml::Value, origin: &Origin) -> Option<T> {
    T::from_toml(value).or_else(|| match (origin, value) {
        (Origin::Environment { .. }, toml::Value::String(text)) => {
            tree::parse_value(text).and_then(|value| T::from_toml(&value))
        }
        _ => None,
    })
}

/// Stands for the value of a setting that has none.
const UNSET: &str = "(unset)";

/// Stands for every secret.
const SECRET: &str = "(secret)";

#[cfg(test)]
mod tests;
