//! The metrics of a running daemon, their page, and what is built on them: rules and board.
//!
//! `docs/metrics.md` and `/metrics` must agree in both directions; rules and board may name only what is on the page.
//! The rules are judged by Prometheus' own promtool.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::{
    backend,
    daemon::{CONTROL_TOKEN, Config, Daemon},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// Type and labels of a metric.
type Kind = (String, BTreeSet<String>);

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the page.
fn page() -> BTreeMap<String, Kind> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .strip_prefix("| `")?
            .split('|')
            .map(str::trim)
            .collect();
        let [name, kind, labels, ..] = cells[..] else {
            return None;
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        matches!(kind, "counter" | "gauge" | "histogram").then(|| {
            let name = name.trim_end_matches('`').to_owned();
            (name, (kind.to_owned(), labels.map(str::to_owned).collect()))
        })
    });
    rows.collect()
}

/// What a daemon tells, with its help texts.
fn told(text: &str) -> (BTreeMap<String, Kind>, BTreeMap<String, String>) {
    let mut metrics: BTreeMap<String, Kind> = BTreeMap::new();
    let mut help = BTreeMap::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a type");
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some(line) = line.strip_prefix("# HELP ") {
            let (name, words) = line.split_once(' ').expect("a text");
            help.insert(name.to_owned(), words.to_owned());
        } else if let Some((series, labels)) = line.split_once('{') {
            let family = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|suffix| series.strip_suffix(suffix))
                .filter(|name| metrics.contains_key(*name))
                .unwrap_or(series);
            let labels = labels.split('}').next().expect("before the brace");
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let names = names.map(|(name, _)| name.to_owned());
            let names = names.filter(|name| name != "le");
            metrics.get_mut(family).expect(series).1.extend(names);
        }
    }
    (metrics, help)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_what_a_live_daemon_tells_and_nothing_else() {
    let config = Config::new().key("k3y-of-the-shop", "shop");
    let config = config.hook_endpoint("http://localhost:9/hooks", backend::SECRET);
    let daemon = Daemon::start(&config);
    let source = sources::LONG.file();
    let _encoder = Encoder::ffmpeg(&source, &daemon.publish_url("k3y-of-the-shop"));
    let viewer = Viewer::new(&daemon.url(""));
    for (_, folder) in viewer.renditions("shop").await {
        let (msn, part) = viewer.playlist(&folder, "").await.next();
        let query = format!("?_HLS_msn={msn}&_HLS_part={part}");
        viewer.playlist(&folder, &query).await;
    }
    let http = client().build().expect("a client");
    let request = http
        .get(daemon.control_url("/metrics"))
        .bearer_auth(CONTROL_TOKEN);
    let text = request
        .send()
        .await
        .expect("answered")
        .text()
        .await
        .expect("text");
    let (metrics, help) = told(&text);
    let page = page();
    assert!(page.len() > 30, "the page is read");
    for (name, kind) in &metrics {
        assert_eq!(Some(kind), page.get(name), "docs/metrics.md and {name}");
        assert!(
            help.get(name).is_some_and(|words| words.len() > 10),
            "{name} is not described"
        );
    }
    for name in page.keys() {
        assert!(
            metrics.contains_key(name),
            "docs/metrics.md lists {name}, which is not told"
        );
    }
    let value = |series: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse()
            .expect("a number")
    };
    for alive in [
        "vitrine_sessions",
        "vitrine_sessions_accepted_total{protocol=\"rtmp\"}",
        "vitrine_parts_total{rendition=\"high\",content=\"media\"}",
        "vitrine_parts_total{rendition=\"audio\",content=\"media\"}",
        "vitrine_part_lag_seconds_count{rendition=\"high\"}",
        "vitrine_part_publish_seconds_count",
        "vitrine_http_answer_seconds_count{kind=\"playlist\"}",
        "vitrine_http_wake_seconds_count{kind=\"playlist\"}",
        "vitrine_http_requests_total{kind=\"multivariant\",class=\"2xx\"}",
        "vitrine_http_body_bytes_total{kind=\"playlist\"}",
        "vitrine_ingest_media_bytes_total",
        "vitrine_media_retained_bytes",
        "vitrine_tasks",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(value(alive) > 0.0, "{alive}");
    }
    assert_eq!(
        value("vitrine_parts_total{rendition=\"high\",content=\"gap\"}"),
        0.0
    );
    for secret in ["k3y", "\"shop\"", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// The metrics that an expression names: whole words, without what Prometheus makes of a histogram.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let words = words.filter(|word| word.starts_with("vitrine_") || word.starts_with("process_"));
    // In prose a name may end with a colon.
    words
        .map(|word| {
            word.trim_end_matches(':')
                .trim_end_matches("_bucket")
                .to_owned()
        })
        .collect()
}

#[test]
fn rules_name_only_what_is_on_the_page_and_each_alert_tells_what_to_do() {
    let page = page();
    let rules = read("conf/prometheus/rules.yml");
    let uncommented = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let uncommented: Vec<_> = uncommented
        .filter(|line| !line.contains("- name:"))
        .collect();
    let names = named(&uncommented.join("\n"));
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(page.contains_key(&name), "{name} is not in docs/metrics.md");
    }
    let tests = read("conf/prometheus/rules_test.yml");
    let operate = read("docs/operate.md");
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for key in ["summary: ", "description: ", "severity: "] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
        for case in ["quiet", "fires"] {
            let test = format!("- name: {name} {case}\n");
            assert!(tests.contains(&test), "{name} has no test that it {case}");
        }
        assert!(
            operate.contains(&format!("`{name}`")),
            "{name} is not in docs/operate.md"
        );
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    for (what, file) in [("check", "rules.yml"), ("test", "rules_test.yml")] {
        let output = Command::new("promtool")
            .args([what, "rules", file])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/prometheus"))
            .output()
            .expect("promtool runs (conf/install.sh test)");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("SUCCESS"),
            "{said}"
        );
    }
}

#[test]
fn the_board_is_whole_and_names_only_what_is_on_the_page() {
    let page = page();
    let board: Value = serde_json::from_str(&read("conf/grafana/vitrine.json")).expect("JSON");
    let variables = board["templating"]["list"].as_array().expect("variables");
    assert!(
        variables
            .iter()
            .any(|it| it["name"] == "datasource" && it["type"] == "datasource")
    );
    let mut ids = BTreeSet::new();
    let mut shown = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in board["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title}: id given twice"
        );
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{title} leaves the grid");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|it| !it.is_empty()),
            "{title}"
        );
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            shown.extend(named(target["expr"].as_str().expect("an expression")));
        }
    }
    assert!(shown.len() > 30, "{shown:?}");
    for name in shown {
        assert!(page.contains_key(&name), "{name} is not in docs/metrics.md");
    }
}
