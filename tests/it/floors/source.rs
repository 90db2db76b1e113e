//! Source files as the floors see them: parsed, and every path they name made absolute.
//!
//! A path counts wherever it stands: in an import tree, in code, in the arguments of a macro (there as text, because
//! macro arguments are tokens without syntax). `self`, `super` and imported first names are resolved; what stands under
//! `#[cfg(test)]` is left out. Names are never resolved through another file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    ext::IdentExt,
    visit::{self, Visit},
};

/// A parsed file: where it stands in its crate, and every path it names outside tests, resolved.
pub(super) struct Source {
    /// From the repository's root, `/` between folders.
    pub(super) path: String,
    pub(super) text: String,
    /// `["wire", "bmff", "init"]` for `src/core/wire/bmff/init.rs`; empty for a crate's root.
    pub(super) module: Vec<String>,
    pub(super) file: syn::File,
    /// Absolute where it starts with `crate`, `std` or a crate's name; as written otherwise.
    names: Vec<Vec<String>>,
}

impl Source {
    /// Every Rust file below `folder`, sorted by path.
    pub(super) fn all_below(root: &Path, folder: &str) -> Vec<Self> {
        let mut sources = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the sources are readable") {
                let path = entry.expect("the sources are readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(root).expect("found below the root");
                    let text = fs::read_to_string(&path).expect("the sources are readable");
                    sources.push(Self::new(name.to_str().expect("named in ASCII"), &text));
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    pub(super) fn new(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let below = path.split('/').skip(2).collect::<Vec<_>>().join("/");
        let module: Vec<String> = below
            .trim_end_matches(".rs")
            .split('/')
            .filter(|name| !["mod", "lib", "main"].contains(name))
            .map(str::to_owned)
            .collect();
        let mut names = Names {
            module: module.clone(),
            imported: BTreeMap::new(),
            found: Vec::new(),
        };
        names.visit_file(&file);
        let names = names.resolved();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            module,
            file,
            names,
        }
    }

    /// `Thing -> a` for each `pub use a::Thing` of a folder's own file.
    pub(super) fn reexports(&self) -> BTreeMap<String, String> {
        let mut names = Names {
            module: Vec::new(),
            imported: BTreeMap::new(),
            found: Vec::new(),
        };
        for item in &self.file.items {
            if let syn::Item::Use(item) = item {
                names.walk(&item.tree, Vec::new());
            }
        }
        let first =
            |whole: Vec<String>| whole[usize::from(whole[0] == "crate" && whole.len() > 1)].clone();
        names
            .imported
            .into_iter()
            .map(|(alias, whole)| (alias, first(whole)))
            .collect()
    }

    pub(super) fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }

    pub(super) fn floor_names(&self) -> impl Iterator<Item = &Vec<String>> {
        self.names.iter().filter(|_| !self.is_test())
    }
}

/// Every path of a file, in import trees, code and macro calls.
struct Names {
    module: Vec<String>,
    /// What a `use` brought in: last name -> whole path.
    imported: BTreeMap<String, Vec<String>>,
    found: Vec<Vec<String>>,
}

impl Names {
    /// Makes `self`, `super` and imported first names absolute.
    fn resolved(self) -> Vec<Vec<String>> {
        let resolve = |name: &Vec<String>| match self.imported.get(&name[0]) {
            Some(whole) if name.len() > 1 => whole.iter().chain(&name[1..]).cloned().collect(),
            _ => name.clone(),
        };
        let unique: BTreeSet<Vec<String>> = self.found.iter().map(resolve).collect();
        unique.into_iter().collect()
    }

    fn absolute(&self, name: Vec<String>) -> Vec<String> {
        let supers = name.iter().take_while(|part| *part == "super").count();
        let (base, rest) = match name[0].as_str() {
            "self" => (self.module.as_slice(), &name[1..]),
            "super" => (
                &self.module[..self.module.len().saturating_sub(supers)],
                &name[supers..],
            ),
            _ => return name,
        };
        ["crate".to_owned()]
            .into_iter()
            .chain(base.iter().cloned())
            .chain(rest.iter().cloned())
            .collect()
    }

    fn walk(&mut self, tree: &syn::UseTree, mut prefix: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.unraw().to_string());
                self.walk(&path.tree, prefix);
            }
            syn::UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|item| self.walk(item, prefix.clone())),
            syn::UseTree::Glob(_) => self.found.push(self.absolute(prefix)),
            syn::UseTree::Name(_) | syn::UseTree::Rename(_) => {
                let (name, alias) = match tree {
                    syn::UseTree::Rename(rename) => {
                        (rename.ident.to_string(), rename.rename.to_string())
                    }
                    syn::UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
                    _ => unreachable!("matched above"),
                };
                let alias = if name == "self" {
                    prefix.last().cloned().unwrap_or(alias)
                } else {
                    alias
                };
                if name != "self" {
                    prefix.push(name);
                }
                let whole = self.absolute(prefix);
                self.imported.insert(alias, whole.clone());
                self.found.push(whole);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attrs = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attrs) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.walk(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let name = path
            .segments
            .iter()
            .map(|segment| segment.ident.unraw().to_string())
            .collect();
        self.found.push(self.absolute(name));
        visit::visit_path(self, path);
    }

    /// A macro's arguments are tokens, not syntax: paths are picked out of their text.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        let text = call
            .tokens
            .to_string()
            .replace(" :: ", "::")
            .replace(":: ", "::")
            .replace(" ::", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let name: Vec<String> = word.split("::").map(str::to_owned).collect();
            if name.len() > 1
                && name
                    .iter()
                    .all(|part| !part.is_empty() && !part.contains(':'))
            {
                self.found.push(self.absolute(name));
            }
        }
    }
}

fn is_for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("test")
            || (attr.path().is_ident("cfg")
                && attr
                    .parse_args::<syn::Path>()
                    .is_ok_and(|path| path.is_ident("test")))
    })
}
