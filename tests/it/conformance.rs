//! Rules of `docs/conformance.md` that only sockets can show, and the page itself: every rule has a row, every row a test
//! or a reason, and no test bears the id of a rule that does not know of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use reqwest::{StatusCode, header};

use crate::{
    daemon::Config,
    serve::{Live, field},
    viewer::Viewer,
};

/// Everything that a player may ask a live stream for at this moment: its playlists, and all that they list.
async fn listed(live: &Live) -> Vec<String> {
    let mut paths = vec!["/live/shop/index.m3u8".to_owned()];
    for folder in live.viewer.renditions("shop").await.into_values() {
        let playlist = live.viewer.playlist(&folder, "").await;
        paths.push(format!("{folder}index.m3u8"));
        for segment in &playlist.segments {
            let parts = segment.parts.iter().map(|part| &part.uri);
            let uris = segment.map.iter().chain(&segment.uri).chain(parts);
            paths.extend(uris.map(|uri| format!("{folder}{uri}")));
        }
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_w10_everything_listed_is_there_whole_and_stays_what_it_was() {
    let live = Live::start(Config::new()).await;
    let paths = listed(&live).await;
    assert!(paths.len() > 12, "{paths:?}");
    for path in paths {
        assert!(!path.contains("://"), "W10: {path} is on another server");
        let first = live.get(&path).await;
        assert_eq!(first.status(), StatusCode::OK, "{path}");
        // A length told beforehand means that all bytes were there before the first was sent.
        let length = field(&first, header::CONTENT_LENGTH);
        let first = first.bytes().await.expect("a body");
        assert_eq!(length, first.len().to_string(), "{path}");
        if !path.ends_with(".m3u8") {
            assert_eq!(first, live.viewer.bytes(&path).await, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w4_nothing_is_redirected() {
    let live = Live::start(Config::new()).await;
    let mut paths = listed(&live).await;
    for strange in [
        "/live",
        "/live/",
        "/live/shop",
        "/live/shop/",
        "//live/shop/index.m3u8",
        "/live//shop/index.m3u8",
    ] {
        paths.push(strange.to_owned());
    }
    paths.push(live.high.clone());
    paths.push(format!("{}./index.m3u8", live.high));
    for path in paths {
        let response = live.get(&path).await;
        assert!(
            !response.status().is_redirection(),
            "{path}: {}",
            response.status()
        );
        assert_eq!(field(&response, header::LOCATION), "", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_playlists_are_dated_and_never_say_when_they_were_modified() {
    let live = Live::start(Config::new()).await;
    let (msn, part) = live.playlist().await.next();
    for path in [
        "/live/shop/index.m3u8".to_owned(),
        format!("{}index.m3u8", live.high),
        format!("{}index.m3u8?_HLS_msn={msn}&_HLS_part={part}", live.high),
    ] {
        let response = live.get(&path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(field(&response, header::DATE).ends_with(" GMT"), "{path}");
        assert_eq!(field(&response, header::LAST_MODIFIED), "", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w9_directives_mean_the_same_in_any_order() {
    let live = Live::start(Config::new()).await;
    let (msn, part) = live.playlist().await.next();
    let directives = [
        format!("_HLS_msn={msn}"),
        format!("_HLS_part={part}"),
        "_HLS_skip=YES".to_owned(),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let query = order.map(|index| directives[index].as_str()).join("&");
        let playlist = live.viewer.playlist(&live.high, &format!("?{query}")).await;
        assert!(playlist.next() > (msn, part), "{query}\n{}", playlist.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_tls_is_1_2_or_1_3() {
    use reqwest::tls::Version;
    let daemon = crate::daemon::Daemon::start(&Config::new().tls());
    let certificate = reqwest::Certificate::from_pem(&daemon.certificate()).expect("PEM");
    let root = format!("https://{}", daemon.address("https"));
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = crate::viewer::client().add_root_certificate(certificate.clone());
        let client = client.min_tls_version(version).max_tls_version(version);
        let viewer = Viewer::with(client.build().expect("a client"), &root);
        let response = viewer.response("/live/nobody/index.m3u8").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{version:?}");
    }
    // What is older is not in the library that speaks TLS here, nor in that of the test: OpenSSL's client asks.
    let mut old = std::process::Command::new("openssl");
    let address = daemon.address("https").to_string();
    old.args([
        "s_client",
        "-tls1_1",
        "-cipher",
        "ALL:@SECLEVEL=0",
        "-connect",
        &address,
    ]);
    let asked = old.stdin(std::process::Stdio::null()).output();
    let said = asked.expect("openssl runs");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("SSL alert number"), "{said}");
}

// The page.

/// Rules of each group: the page has a row for each of them.
const RULES: [(char, u32); 7] = [
    ('T', 11),
    ('P', 14),
    ('H', 8),
    ('B', 12),
    ('R', 7),
    ('D', 8),
    ('W', 10),
];

/// A row of a table of the page.
#[derive(Debug)]
struct Row {
    id: String,
    /// Test names; empty where there are none.
    tests: Vec<String>,
    /// Why it is not met, or not wholly.
    not_met: bool,
}

/// Rows of the tables of rules: those whose first cell is the id of a rule.
fn rows(page: &str) -> Vec<Row> {
    let cells = page.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .trim()
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .map(str::trim)
            .collect();
        is_id(cells[0]).then_some(cells)
    });
    cells
        .map(|cells| {
            assert_eq!(cells.len(), 5, "id, level, rule, source, proof: {cells:?}");
            let proof = cells[4];
            let tests = proof
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            let reason = proof
                .split_once("not met: ")
                .map(|(_, reason)| reason.trim());
            assert!(
                reason.is_none_or(|reason| reason.len() > 10),
                "{}: why is it not met?",
                cells[0]
            );
            Row {
                id: cells[0].to_owned(),
                tests,
                not_met: reason.is_some(),
            }
        })
        .collect()
}

/// `T4`, for a group of rules.
fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    let group = chars
        .next()
        .is_some_and(|group| RULES.iter().any(|(known, _)| *known == group));
    let number = chars.as_str();
    group && (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ids that a test is named by: `b2_b3_over_a_list` proves `B2` and `B3`.
fn ids(test: &str) -> BTreeSet<String> {
    test.split('_')
        .map(str::to_uppercase)
        .take_while(|word| is_id(word))
        .collect()
}

/// Names of all tests in `folder` and below.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("readable").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                marked |= line == "#[test]" || line.starts_with("#[tokio::test");
                let name = line.trim_start_matches("async ").strip_prefix("fn ");
                if let Some(name) = name.and_then(|rest| rest.split(['(', '<']).next()) {
                    if marked {
                        found.insert(name.to_owned());
                    }
                    marked = false;
                }
            }
        }
    }
}

/// What is wrong between the page and the tests.
fn faults(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows = rows(page);
    let mut faults = Vec::new();
    let mut by_id = BTreeMap::<&str, Vec<&Row>>::new();
    for row in &rows {
        by_id.entry(&row.id).or_default().push(row);
        if row.tests.is_empty() && !row.not_met {
            faults.push(format!("{} is neither proven nor explained", row.id));
        }
        for test in &row.tests {
            if !tests.contains(test) {
                faults.push(format!("{}: there is no test {test}", row.id));
            } else if !ids(test).contains(&row.id) {
                faults.push(format!("{}: {test} is not named by it", row.id));
            }
        }
    }
    for id in RULES
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}{number}")))
    {
        if by_id.remove(id.as_str()).is_none_or(|rows| rows.len() != 1) {
            faults.push(format!("{id} has not one row"));
        }
    }
    faults.extend(by_id.keys().map(|id| format!("{id} is no rule")));
    for test in tests {
        for id in ids(test) {
            if !rows
                .iter()
                .any(|row| row.id == id && row.tests.contains(test))
            {
                faults.push(format!("{test} is not in the row of {id}"));
            }
        }
    }
    faults
}

fn page_and_tests() -> (String, BTreeSet<String>) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/conformance.md")).expect("the page");
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_in(&root.join(folder), &mut tests);
    }
    (page, tests)
}

#[test]
fn every_rule_has_a_row_and_every_row_a_test_or_a_reason() {
    let (page, tests) = page_and_tests();
    let faults = faults(&page, &tests);
    assert!(
        faults.is_empty(),
        "docs/conformance.md:\n{}",
        faults.join("\n")
    );
}

#[test]
fn a_page_that_lies_is_found_out() {
    let (page, tests) = page_and_tests();
    let row = |id: &str| {
        page.lines()
            .find(|line| line.starts_with(&format!("| {id} |")))
            .expect("a row")
            .to_owned()
    };
    let lie = |from: &str, to: &str| faults(&page.replace(from, to), &tests);
    let proof = |id: &str, proof: &str| {
        let row = row(id);
        let head = &row[..row.trim_end_matches(" |").rfind(" | ").expect("cells")];
        lie(&row, &format!("{head} | {proof} |"))
    };
    assert!(!lie(&row("T1"), "").is_empty(), "a row is missing");
    assert!(
        !lie(&row("T1"), &format!("{}\n{}", row("T1"), row("T1"))).is_empty(),
        "a row is there twice"
    );
    assert!(
        !lie(&row("T1"), &row("T1").replace("T1", "T12")).is_empty(),
        "an unknown rule"
    );
    assert!(!proof("T1", "`t1_a_test_that_never_was`").is_empty());
    assert!(!proof("T1", "certainly").is_empty());
    assert!(!proof("D1", "").is_empty());
    let of_another = tests
        .iter()
        .find(|test| test.starts_with("b7_"))
        .expect("a test");
    assert!(!proof("T1", &format!("`{of_another}`")).is_empty());
}
