//! The house keeps its floors: what the compiler does not refuse, these tests do.
//!
//! `src/**` is parsed with `syn`, every path it names is resolved against the module it stands in, and the rules are
//! plain functions from one parsed file (or a whole crate) to complaints. Each rule is also shown a file that breaks
//! it, so that none can pass by looking at nothing. Code under `#[cfg(test)]` and files called `tests` are exempt from
//! the rules about imports. The crate boundaries themselves are asked of `cargo tree`.
//!
//! Not here: what rustc, clippy and the lints of Cargo.toml already refuse.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use syn::visit::{self, Visit};

use source::Source;

/// Most lines a file may have; past this it is two files.
const MAX_LINES: usize = 700;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils",
];

/// The crates of the workspace and their floors, lowest first. A room may import from lower floors only, not from
/// its neighbours on the same floor.
const CRATES: [House; 3] = [
    House {
        dir: "src/core",
        floors: &[&["limits"], &["media"], &["wire"], &["engine"]],
    },
    House {
        dir: "src/runtime",
        floors: &[
            &["clock", "descriptors", "network", "problem", "throttle"],
            &["config"],
            &["bearer", "deliver", "serve", "supervisor", "telemetry"],
        ],
    },
    House {
        dir: "src/daemon",
        floors: &[
            &["transcode"],
            &["live"],
            &["hooks"],
            &["control", "ingest", "origin"],
            &["app", "cli"],
        ],
    },
];

/// What the deterministic core may not name: anything that reads a clock, does I/O, spawns or rolls a die.
const WORLDLY: [&[&str]; 16] = [
    &["tokio"],
    &["hyper"],
    &["axum"],
    &["reqwest"],
    &["rand"],
    &["getrandom"],
    &["std", "net"],
    &["std", "fs"],
    &["std", "thread"],
    &["std", "env"],
    &["std", "process"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["jiff", "Timestamp", "now"],
    &["jiff", "Zoned", "now"],
    &["RandomState"],
];

/// Who alone may name what: (crate or item, the files that may, why).
const RESERVED: [(&str, &[&str], &str); 6] = [
    (
        "dashmap",
        &["src/daemon/live/registry.rs"],
        "no guard leaves the registry or crosses an await",
    ),
    (
        "hyper",
        &[
            "src/runtime/",
            "src/daemon/origin",
            "src/daemon/control",
            "src/daemon/app",
            "src/daemon/main.rs",
        ],
        "the way of a sample knows nothing of HTTP",
    ),
    (
        "axum",
        &["src/runtime/", "src/daemon/control", "src/daemon/app"],
        "the media path stays on bare hyper",
    ),
    (
        "ffmpeg_next",
        &["src/daemon/transcode"],
        "one place owns the unsafe library",
    ),
    ("unbounded_channel", &[], "every queue has a bound"),
    (
        "ServerSession",
        &[],
        "a stranger can crash rml_rtmp's server session; ours is engine::publish",
    ),
];

/// The one file with unsafe code, each block of it with its reason (a lint asks for that).
const UNSAFE: &str = "src/daemon/transcode/ffi.rs";

struct House {
    dir: &'static str,
    floors: &'static [&'static [&'static str]],
}

// The rules, and the files that break them ---------------------------------------------------------------------------

#[test]
fn imports_go_down_only() {
    obeyed(|sources| {
        CRATES
            .iter()
            .flat_map(|house| climbing_imports(house, sources))
            .collect()
    });

    let core = &CRATES[0];
    let climbs = |path: &str, text: &str| climbing_imports(core, &[Source::new(path, text)]).len();
    assert_eq!(
        climbs("src/core/media/track.rs", "use crate::wire::flv;"),
        1
    );
    assert_eq!(
        climbs(
            "src/core/media/track.rs",
            "use crate::{limits, engine::{self, gate}};"
        ),
        2
    );
    assert_eq!(
        climbs(
            "src/core/limits.rs",
            "fn f() -> crate::media::Now { todo!() }"
        ),
        1
    );
    assert_eq!(
        climbs(
            "src/core/wire/bmff/init.rs",
            "use super::super::super::engine;"
        ),
        1
    );
    assert_eq!(
        climbs(
            "src/core/wire/flv.rs",
            "fn f() { vec![crate::engine::gate::X] }"
        ),
        1,
        "inside a macro"
    );
    assert_eq!(
        climbs("src/core/attic.rs", ""),
        1,
        "a room nobody put on a floor"
    );
    assert_eq!(
        climbs(
            "src/core/engine/gate.rs",
            "use crate::{limits, media::Now, wire::m3u8}; use super::window;"
        ),
        0
    );
    assert_eq!(
        climbs(
            "src/core/wire/flv.rs",
            "#[cfg(test)] mod tests { use crate::engine::gate; }"
        ),
        0
    );

    let daemon = &CRATES[2];
    let neighbour = [Source::new(
        "src/daemon/ingest/mod.rs",
        "use crate::origin::Answer;",
    )];
    assert_eq!(
        climbing_imports(daemon, &neighbour).len(),
        1,
        "neighbours do not know each other"
    );
}

#[test]
fn modules_do_not_import_in_a_circle() {
    obeyed(|sources| {
        CRATES
            .iter()
            .filter_map(|house| circle(house.dir, sources))
            .collect()
    });

    let direct = [
        Source::new("src/core/wire/mod.rs", "pub mod a; pub mod b;"),
        Source::new("src/core/wire/a.rs", "use super::b::X;"),
        Source::new("src/core/wire/b.rs", "fn f(_: crate::wire::a::Y) {}"),
    ];
    assert!(circle("src/core", &direct).is_some());
    let through_a_reexport = [
        Source::new(
            "src/core/media/mod.rs",
            "mod a; mod b; pub use a::Thing; pub use b::{Other as Renamed};",
        ),
        Source::new("src/core/media/a.rs", "use super::Renamed;"),
        Source::new("src/core/media/b.rs", "use super::Thing;"),
    ];
    assert!(circle("src/core", &through_a_reexport).is_some());
    assert!(circle("src/core", &through_a_reexport[..2]).is_none());
}

#[test]
fn the_core_knows_no_world() {
    obeyed(|sources| {
        sources
            .iter()
            .filter(|source| source.path.starts_with("src/core/"))
            .flat_map(worldly_names)
            .collect()
    });

    let names = |text: &str| worldly_names(&Source::new("src/core/engine/gate.rs", text)).len();
    assert_eq!(names("use tokio::sync::watch;"), 1);
    assert_eq!(
        names("use std::{net::IpAddr, sync::Arc, time::{Duration, Instant}};"),
        2
    );
    assert_eq!(names("fn f() { let _ = std::time::SystemTime::now(); }"), 1);
    assert_eq!(
        names("use jiff::Timestamp; fn f() { Timestamp::now(); }"),
        1,
        "through an import"
    );
    assert_eq!(
        names("fn f() { println!(\"{:?}\", std::env::args()) }"),
        1,
        "inside a macro"
    );
    assert_eq!(
        names("use std::time::Duration; use crate::media::Now; fn f(now: Now) {}"),
        0
    );
}

#[test]
fn what_is_reserved_stays_in_its_room() {
    obeyed(|sources| sources.iter().flat_map(reserved_names).collect());

    let names = |path: &str, text: &str| reserved_names(&Source::new(path, text)).len();
    assert_eq!(names("src/daemon/live/task.rs", "use dashmap::DashMap;"), 1);
    assert_eq!(
        names("src/daemon/live/registry.rs", "use dashmap::DashMap;"),
        0
    );
    assert_eq!(
        names("src/daemon/live/task.rs", "fn f(_: hyper::Request<()>) {}"),
        1
    );
    assert_eq!(
        names(
            "src/daemon/origin/mod.rs",
            "use hyper::Request; use axum::Router;"
        ),
        1
    );
    assert_eq!(
        names("src/daemon/live/task.rs", "use ffmpeg_next::Packet;"),
        1
    );
    assert_eq!(
        names("src/daemon/transcode/decode.rs", "use ffmpeg_next::Packet;"),
        0
    );
    assert_eq!(
        names(
            "src/daemon/app/mod.rs",
            "fn f() { tokio::sync::mpsc::unbounded_channel::<u8>(); }"
        ),
        1
    );
    assert_eq!(
        names(
            "src/core/engine/publish.rs",
            "use rml_rtmp::sessions::ServerSession;"
        ),
        1
    );
}

#[test]
fn nothing_is_unsafe() {
    obeyed(|sources| sources.iter().flat_map(unsafe_code).collect());

    let found_in = |path: &str, text: &str| unsafe_code(&Source::new(path, text)).len();
    let found = |text: &str| found_in("src/core/media/nal.rs", text);
    assert_eq!(found("fn f() { unsafe { g() } }"), 1);
    assert_eq!(found("unsafe fn g() {}"), 1);
    assert_eq!(found("unsafe impl Send for X {}"), 1);
    assert_eq!(found("mod inner { #[unsafe(no_mangle)] fn f() {} }"), 1);
    assert_eq!(found("/// unsafe in words only\nfn f() {}"), 0);
    let calls = "fn f() { unsafe { g() } }";
    assert_eq!(found_in("src/daemon/transcode/decode.rs", calls), 1);
    assert_eq!(found_in(UNSAFE, calls), 0);
}

#[test]
fn every_file_is_small_named_and_introduced() {
    obeyed(|sources| sources.iter().flat_map(shape).collect());

    let complaints = |path: &str, text: &str| shape(&Source::new(path, text)).len();
    assert_eq!(
        complaints("src/core/wire/amf0.rs", "//! What lives here.\n"),
        0
    );
    assert_eq!(
        complaints("src/core/wire/amf0.rs", "use std::fmt;\n"),
        1,
        "no header"
    );
    assert_eq!(
        complaints("src/core/wire/amf0.rs", "//! Stub.\n"),
        1,
        "a header that introduces a stub"
    );
    assert_eq!(complaints("src/core/wire/utils.rs", "//! x\n"), 1);
    assert_eq!(complaints("src/daemon/helpers/mod.rs", "//! x\n"), 1);
    assert_eq!(
        complaints(
            "src/core/wire/amf0.rs",
            &format!("//! x{}", "\n".repeat(MAX_LINES + 1))
        ),
        1
    );
}

#[test]
fn the_crates_link_only_what_their_floor_allows() {
    let runtimes = ["tokio", "hyper", "mio", "socket2", "axum", "reqwest"];
    assert_links_none("vitrine-core", &[], &runtimes);
    assert_links_none("vitrine-runtime", &[], &["vitrine"]);
    assert_links_none("vitrine", &[], &["openssl-sys", "native-tls", "aws-lc-sys"]);
    // Without the transcoder, nothing that looks for libraries outside cargo.
    let ffmpeg = ["ffmpeg-sys-next", "bindgen"];
    assert_links_none("vitrine", &["--no-default-features"], &ffmpeg);

    let daemon = crates_linked_by("vitrine", &[]);
    assert!(
        runtimes[..3].iter().all(|name| daemon.contains(*name))
            && ffmpeg.iter().all(|name| daemon.contains(*name)),
        "`cargo tree` is read wrongly: {daemon:?}"
    );
}

// Judging -----------------------------------------------------------------------------------------------------------

/// Holds `rule` against every file of `src`, and makes one message of all complaints.
fn obeyed(rule: impl Fn(&[Source]) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Source::all_below(root, "src");
    assert!(
        sources.len() > 20,
        "the sources were not found below {}",
        root.display()
    );
    let complaints = rule(&sources);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn climbing_imports(house: &House, sources: &[Source]) -> Vec<String> {
    let floor_of = |room: &str| house.floors.iter().position(|floor| floor.contains(&room));
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with(&format!("{}/", house.dir)))
    {
        let Some(room) = source.module.first() else {
            continue;
        };
        let Some(floor) = floor_of(room) else {
            complaints.push(format!(
                "{}: `{room}` stands on no floor; name it in tests/it/floors.rs",
                source.path
            ));
            continue;
        };
        for name in source
            .floor_names()
            .filter(|name| name[0] == "crate" && name.len() > 1 && name[1] != *room)
        {
            if floor_of(&name[1]).is_some_and(|other| other >= floor) {
                complaints.push(format!(
                    "{}: `{room}` may not import `{}`",
                    source.path,
                    name.join("::")
                ));
            }
        }
    }
    complaints
}

/// The first circle of imports among sibling modules of one folder, at any depth.
fn circle(dir: &str, sources: &[Source]) -> Option<String> {
    let sources: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with(&format!("{dir}/")))
        .collect();
    let parents: BTreeSet<&[String]> = sources
        .iter()
        .flat_map(|source| (0..source.module.len()).map(|depth| &source.module[..depth]))
        .collect();
    parents.into_iter().find_map(|parent| {
        let children: BTreeSet<&String> = sources
            .iter()
            .filter(|source| source.module.starts_with(parent))
            .filter_map(|s| s.module.get(parent.len()))
            .collect();
        let reexports = sources
            .iter()
            .find(|source| source.module == parent)
            .map(|source| source.reexports())
            .unwrap_or_default();
        let mut edges: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for source in sources
            .iter()
            .filter(|source| source.module.starts_with(parent))
        {
            let Some(from) = source.module.get(parent.len()) else {
                continue;
            };
            for name in source
                .floor_names()
                .filter(|name| name[0] == "crate" && name[1..].starts_with(parent))
            {
                let Some(next) = name.get(1 + parent.len()) else {
                    continue;
                };
                let target = children
                    .get(next)
                    .copied()
                    .or_else(|| reexports.get(next).and_then(|to| children.get(to)).copied());
                if let Some(to) = target.filter(|to| *to != from) {
                    edges.entry(from).or_default().insert(to);
                }
            }
        }
        let found = children
            .iter()
            .find_map(|start| walk_back(start, start, &edges, &mut Vec::new()))?;
        let names: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
        Some(format!(
            "{dir}/{}: {} import in a circle",
            parent.join("/"),
            names.join(" -> ")
        ))
    })
}

/// A way from `at` back to `start`, if there is one; `seen` are the modules already tried.
fn walk_back<'a>(
    start: &'a String,
    at: &'a String,
    edges: &BTreeMap<&'a String, BTreeSet<&'a String>>,
    seen: &mut Vec<&'a String>,
) -> Option<Vec<&'a String>> {
    for &next in edges.get(at)? {
        if next == start {
            return Some(vec![at, start]);
        }
        if !seen.contains(&next) {
            seen.push(next);
            if let Some(rest) = walk_back(start, next, edges, seen) {
                return Some([vec![at], rest].concat());
            }
        }
    }
    None
}

fn worldly_names(source: &Source) -> Vec<String> {
    source
        .floor_names()
        .filter(|name| {
            WORLDLY
                .iter()
                .any(|banned| name.windows(banned.len()).any(|part| part == *banned))
        })
        .map(|name| {
            format!(
                "{}: the core may not name `{}`",
                source.path,
                name.join("::")
            )
        })
        .collect()
}

fn reserved_names(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (what, rooms, why) in RESERVED {
        let allowed = rooms.iter().any(|room| source.path.starts_with(room));
        if !allowed
            && source
                .floor_names()
                .any(|name| name.iter().any(|part| part == what))
        {
            complaints.push(format!("{}: may not name `{what}`: {why}", source.path));
        }
    }
    complaints
}

fn unsafe_code(source: &Source) -> Vec<String> {
    struct Found(usize);
    impl<'ast> Visit<'ast> for Found {
        fn visit_expr_unsafe(&mut self, _: &'ast syn::ExprUnsafe) {
            self.0 += 1;
        }
        fn visit_signature(&mut self, signature: &'ast syn::Signature) {
            self.0 += usize::from(signature.unsafety.is_some());
            visit::visit_signature(self, signature);
        }
        fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
            self.0 += usize::from(item.unsafety.is_some());
            visit::visit_item_impl(self, item);
        }
        fn visit_item_foreign_mod(&mut self, _: &'ast syn::ItemForeignMod) {
            self.0 += 1;
        }
        fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
            self.0 += usize::from(attr.path().is_ident("unsafe"));
        }
    }
    let mut found = Found(0);
    if source.path != UNSAFE {
        found.visit_file(&source.file);
    }
    (0..found.0)
        .map(|_| format!("{}: unsafe code", source.path))
        .collect()
}

fn shape(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        complaints.push(format!(
            "{}: {lines} lines, more than {MAX_LINES}",
            source.path
        ));
    }
    if source.is_test() {
        return complaints; // `mod tests` is introduced by the module it tests
    }
    if !source.text.starts_with("//! ") {
        complaints.push(format!(
            "{}: no `//!` header says what lives here",
            source.path
        ));
    } else if source.text.starts_with("//! Stub") {
        complaints.push(format!("{}: still a stub", source.path));
    }
    for name in source
        .module
        .iter()
        .filter(|name| EMPTY_NAMES.contains(&name.as_str()))
    {
        complaints.push(format!(
            "{}: `{name}` says nothing about what is inside",
            source.path
        ));
    }
    complaints
}

/// Every crate `package` links into a build with these `features`, itself excluded, dev-dependencies left out.
fn crates_linked_by(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--locked", "--offline"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("crate names are ASCII");
    tree.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn assert_links_none(package: &str, features: &[&str], banned: &[&str]) {
    let linked = crates_linked_by(package, features);
    assert!(!linked.is_empty(), "{package} links nothing at all?");
    let found: Vec<_> = banned
        .iter()
        .filter(|name| linked.contains(**name))
        .collect();
    assert!(found.is_empty(), "{package} links {found:?}");
}
