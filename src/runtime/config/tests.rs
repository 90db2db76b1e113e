//! The rules of the layers, tried on a small program of settings.

#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::bearer::Digest;

#[derive(Debug, PartialEq)]
struct Toy {
    node: String,
    part: Duration,
    viewers: u32,
    on: bool,
    names: Vec<String>,
    folder: Option<PathBuf>,
    extra: Option<String>,
    keys: Vec<(String, Digest)>,
    ladders: BTreeMap<String, Bitrate>,
}

fn read(reader: &mut Reader<'_>) -> Toy {
    let toy = Toy {
        node: reader.value("node", "n1".to_owned()),
        part: reader.value("hls.part", Duration::from_millis(200)),
        viewers: reader.value("hls.viewers", 10),
        on: reader.value("hls.on", false),
        names: reader.value("hls.names", Vec::new()),
        folder: reader.optional("hls.folder"),
        extra: reader.section("extra", |reader| {
            Some(reader.value("name", "given".to_owned()))
        }),
        keys: reader.entries("publish.keys", |entry| {
            let (stream, key) = (entry.required("stream"), entry.required("key"));
            Some((stream?, key?))
        }),
        ladders: reader.tables("ladder", "default", |ladder| {
            Some(ladder.value("rate", Bitrate(1_200_000)))
        }),
    };
    reader.require(toy.part.as_millis() >= 150, "hls.part", "at least 150ms");
    reader.unsupported("hooks", Lack::Version);
    reader.unsupported("gpu", Lack::Feature("gpu"));
    toy
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<(Toy, Report), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("toy.toml");
    std::fs::write(&file, text).unwrap();
    let variables = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = load(Some(&file), Environment::of("TOY_", variables), read);
    let path = format!("{}/", folder.path().display());
    loaded.map_err(|error| error.to_string().replace(&path, ""))
}

fn faults(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let text = load_text(text, environment).unwrap_err();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_environment_overlays_the_file_overlays_the_defaults_and_the_report_tells() {
    let (toy, report) = load_text(
        "node = \"file\"\n[hls]\npart = \"250ms\"\nviewers = 20\n",
        &[
            ("TOY_HLS_VIEWERS", "30"),
            ("TOY_HLS_ON", "true"),
            ("TOY_HLS_NAMES", r#"["a", "b"]"#),
            ("HOME", "/"),
        ],
    )
    .unwrap();
    assert_eq!((toy.node.as_str(), toy.viewers, toy.on), ("file", 30, true));
    assert_eq!(toy.part, Duration::from_millis(250));
    assert_eq!(toy.names, ["a", "b"]);
    let origins: Vec<_> = report
        .settings()
        .map(|(key, value, origin)| {
            let origin = origin.to_string();
            format!("{key} {value} {}", origin.rsplit('/').next().unwrap())
        })
        .collect();
    assert_eq!(
        origins,
        [
            r#"node "file" toy.toml:1"#,
            r#"hls.part "250ms" toy.toml:3"#,
            "hls.viewers 30 environment TOY_HLS_VIEWERS",
            "hls.on true environment TOY_HLS_ON",
            r#"hls.names ["a", "b"] environment TOY_HLS_NAMES"#,
            "hls.folder (unset) default",
            "extra.name (unset) default",
            "ladder.default.rate (unset) default",
        ]
    );
    let text = report.to_string();
    assert!(
        text.contains("hls.viewers         = 30           environment TOY_HLS_VIEWERS\n"),
        "{text}"
    );
}

#[test]
fn a_text_that_looks_like_another_type_is_text_where_text_is_wanted() {
    let (toy, _) = load_text("", &[("TOY_NODE", "true")]).unwrap();
    assert_eq!(toy.node, "true");
}

#[test]
fn all_faults_are_told_at_once_with_key_value_expected_form_and_origin() {
    let text = "node = 5\n[hls]\npart = \"200\"\nviewers = -1\nfoldr = \"x\"\n[hsl]\n[[publish.keys]]\nstream = \"demo\"\n";
    assert_eq!(
        faults(text, &[("TOY_HLS_ON", "yes"), ("TOY_HLS_VEIWERS", "3")]),
        [
            "toy.toml:1: node = 5: expected a text",
            r#"toy.toml:3: hls.part = "200": expected a duration with its unit (ms, s, m, h), such as "200ms""#,
            "toy.toml:4: hls.viewers = -1: expected a whole number from 0 to 4294967295",
            "toy.toml:5: unknown key hls.foldr; the nearest known key is hls.folder",
            "toy.toml:6: unknown key hsl; the nearest known key is hls.on",
            "toy.toml:7: publish.keys[0].key is missing: expected a SHA-256 as 64 hexadecimal digits",
            r#"environment TOY_HLS_ON: hls.on = "yes": expected true or false"#,
            "environment TOY_HLS_VEIWERS: unknown key TOY_HLS_VEIWERS; the nearest known key is TOY_HLS_VIEWERS",
        ]
    );
    assert_eq!(
        faults("[hls]\npart = \"100ms\"", &[]),
        [r#"toy.toml:2: hls.part = "100ms": expected at least 150ms"#]
    );
}

#[test]
fn syntax_errors_name_their_lines_and_do_not_quote_them() {
    let found = faults("a = 1\nkey = \"live_secret\nb = 2\nkey2 = sekret\n", &[]);
    assert!(found[0].starts_with("toy.toml:2: "), "{found:?}");
    assert!(
        found.iter().any(|it| it.starts_with("toy.toml:4: ")),
        "{found:?}"
    );
    assert!(
        !found.concat().contains("live_secret") && !found.concat().contains("sekret"),
        "{found:?}"
    );
    assert!(faults("node = \"a\"\nnode = \"b\"\n", &[])[0].starts_with("toy.toml:2: "));
}

#[test]
fn an_optional_section_is_on_when_anything_of_it_is_written() {
    for (text, environment, expect) in [
        ("", &[][..], None),
        ("[extra]\n", &[][..], Some("given")),
        ("[extra]\nname = \"x\"\n", &[][..], Some("x")),
        ("", &[("TOY_EXTRA_NAME", "y")][..], Some("y")),
    ] {
        assert_eq!(
            load_text(text, environment).unwrap().0.extra.as_deref(),
            expect,
            "{text}"
        );
    }
    assert_eq!(
        load_text("[hls]\nfolder = \"\"", &[]).unwrap().0.folder,
        None
    );
}

#[test]
fn entries_come_from_the_file_or_whole_from_the_environment_and_secrets_are_not_shown() {
    let hex = "ab".repeat(32);
    let text = format!(
        "[[publish.keys]]\nstream = \"a\"\nkey = \"{hex}\"\n[[publish.keys]]\nstream = \"b\"\nkey = \"{hex}\"\n"
    );
    let (toy, report) = load_text(&text, &[]).unwrap();
    assert_eq!(
        toy.keys
            .iter()
            .map(|(stream, _)| stream.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(
        report
            .to_string()
            .contains("publish.keys[1].key    = (secret)"),
        "{report}"
    );
    assert!(!report.to_string().contains(&hex) && !format!("{toy:?}").contains(&hex));

    let one = format!(r#"[{{ stream = "c", key = "{hex}" }}]"#);
    let (toy, report) = load_text(&text, &[("TOY_PUBLISH_KEYS", &one)]).unwrap();
    assert_eq!(toy.keys.len(), 1);
    assert!(
        report.to_string().contains("environment TOY_PUBLISH_KEYS"),
        "{report}"
    );
    assert_eq!(
        load_text(&text, &[("TOY_PUBLISH_KEYS", "[]")])
            .unwrap()
            .0
            .keys,
        []
    );

    let expect =
        "environment TOY_PUBLISH_KEYS: publish.keys = (secret): expected an array of tables";
    assert_eq!(faults("", &[("TOY_PUBLISH_KEYS", "live_secret")]), [expect]);
    let wrong = faults(
        "[[publish.keys]]\nstream = \"a\"\nkey = \"live_secret\"\nkye = \"live_secret\"\n",
        &[],
    );
    assert_eq!(
        wrong,
        [
            "toy.toml:3: publish.keys[0].key = (secret): expected a SHA-256 as 64 hexadecimal digits",
            "toy.toml:4: unknown key publish.keys[0].kye; the nearest known key is publish.keys[].key",
        ]
    );
}

#[test]
fn what_is_not_built_yet_is_refused_by_name_and_never_shown() {
    let found = faults(
        "[hooks]\nsecret = [\"whsec_x\"]\n[[hooks.endpoints]]\nurl = \"u\"\n",
        &[("TOY_HOOKS_DEADLINE", "3s")],
    );
    assert_eq!(
        found,
        [
            "toy.toml:2: hooks.secret is not supported by this version yet",
            "toy.toml:4: hooks.endpoints[0].url is not supported by this version yet",
            "environment TOY_HOOKS_DEADLINE: hooks is not supported by this version yet",
        ]
    );
}

#[test]
fn what_this_build_lacks_is_refused_with_the_feature_that_has_it() {
    assert_eq!(
        faults("[gpu]\ncards = 2\n", &[]),
        [
            "toy.toml:2: gpu.cards is not supported by this build: it was made without the feature \"gpu\""
        ]
    );
}

#[test]
fn quoted_keys_do_not_pass_for_dotted_ones() {
    assert!(faults("\"hls.part\" = \"1s\"", &[])[0].contains("unknown key"));
}

#[test]
fn the_known_keys_are_those_asked_for_whether_or_not_they_are_given() {
    let (_, report) = load(None, Environment::empty(), read).unwrap();
    let known: Vec<_> = report.known().collect();
    assert_eq!(
        known,
        [
            "node",
            "hls.part",
            "hls.viewers",
            "hls.on",
            "hls.names",
            "hls.folder",
            "extra.name",
            "publish.keys",
            "publish.keys[].stream",
            "publish.keys[].key",
            "ladder.default.rate",
        ]
    );
}

#[test]
fn tables_have_names_of_their_own() {
    let ladders = |text: &str, environment: &[(&str, &str)]| -> Vec<_> {
        let (toy, _) = load_text(text, environment).unwrap();
        toy.ladders.into_iter().map(|(k, v)| (k, v.0)).collect()
    };
    let named = |ladders: &[(&str, u32)]| -> Vec<_> {
        let named = ladders.iter().map(|(k, v)| ((*k).to_owned(), *v));
        named.collect()
    };
    let file = "[ladder.phones]\nrate = \"900k\"\n[ladder.a-1_B]\n";
    assert_eq!(ladders("", &[]), []);
    assert_eq!(
        ladders(file, &[]),
        named(&[("a-1_B", 1_200_000), ("phones", 900_000)])
    );
    assert_eq!(
        ladders(
            file,
            &[
                ("TOY_LADDER_PHONES_RATE", "800k"),
                ("TOY_LADDER_DEFAULT_RATE", "700000")
            ]
        ),
        named(&[
            ("a-1_B", 1_200_000),
            ("default", 700_000),
            ("phones", 800_000)
        ])
    );
    for (text, expect) in [
        (
            "[ladder.phones]\nrat = 1\n",
            "toy.toml:2: unknown key ladder.phones.rat; the nearest known key is ladder.phones.rate",
        ),
        (
            "[ladder.\"my phones\"]\nrate = 1\n",
            "toy.toml:2: unknown key ladder.\"my phones\".rate; the nearest known key is ladder.default.rate",
        ),
        (
            "[ladder]\nphones = 3\n",
            "toy.toml:2: unknown key ladder.phones; the nearest known key is ladder.default.rate",
        ),
        (
            "[ladder.phones]\nrate.k = 1\n",
            "toy.toml:2: unknown key ladder.phones.rate.k; the nearest known key is ladder.phones.rate",
        ),
    ] {
        assert_eq!(faults(text, &[]), [expect], "{text}");
    }
    let unknown = faults(file, &[("TOY_LADDER_TABLETS_RATE", "1")]);
    assert!(unknown[0].contains("unknown key TOY_LADDER_TABLETS_RATE"));
}

#[test]
fn a_value_in_the_place_of_a_section_is_not_ignored() {
    let expect = "toy.toml:1: unknown key hls; the nearest known key is hls.on";
    assert_eq!(faults("hls = 3\n", &[]), [expect]);
    assert!(load_text("[hls]\n[ladder]\n[publish]\nkeys = []\n", &[]).is_ok());
}

#[test]
fn quantities_carry_their_unit() {
    for (text, expect, shown) in [
        ("200ms", Some(200), "200ms"),
        ("1s", Some(1000), "1s"),
        ("90s", Some(90_000), "90s"),
        ("60s", Some(60_000), "1m"),
        ("6h", Some(21_600_000), "6h"),
        ("0s", Some(0), "0ms"),
        ("1", None, ""),
        ("s", None, ""),
        ("1.5s", None, ""),
        ("-1s", None, ""),
        ("1 s", None, ""),
        ("99999999999999999999ms", None, ""),
        ("9999999999999999999h", None, ""),
    ] {
        let length = Duration::from_toml(&toml::Value::String(text.to_owned()));
        assert_eq!(length, expect.map(Duration::from_millis), "{text}");
        assert!(
            length.is_none_or(|length| length.show() == format!("{shown:?}")),
            "{text}"
        );
    }
    for (text, expect) in [
        ("2500k", 2_500_000),
        ("64KiB", 65_536),
        ("3M", 3_000_000),
        ("7", 7),
    ] {
        let size = Size::from_toml(&toml::Value::String(text.to_owned())).unwrap();
        assert_eq!(size, Size(expect));
        assert_eq!(size.show(), format!("{text:?}"));
    }
}

#[test]
fn bitrates_are_written_as_encoders_take_them() {
    use toml::Value::{Float, Integer};
    let text = |text: &str| toml::Value::String(text.to_owned());
    for (value, expect, shown) in [
        (text("2500k"), Some(2_500_000), "2500k"),
        (text("2.5M"), Some(2_500_000), "2500k"),
        (text("3M"), Some(3_000_000), "3M"),
        (text("0.05M"), Some(50_000), "50k"),
        (text("2500000"), Some(2_500_000), "2500k"),
        (text("1234567"), Some(1_234_567), "1234567"),
        (text("1.234567M"), Some(1_234_567), "1234567"),
        (Integer(500_000), Some(500_000), "500k"),
        (text("1.2345678M"), None, ""),
        (text("0.5"), None, ""),
        (text("2.M"), None, ""),
        (text(".5M"), None, ""),
        (text("1.+5M"), None, ""),
        (text("2500K"), None, ""),
        (text("2500kb"), None, ""),
        (text("2500 k"), None, ""),
        (text("-1k"), None, ""),
        (text("k"), None, ""),
        (text(""), None, ""),
        (text("5000M"), None, ""),
        (text("99999999999999999999M"), None, ""),
        (text("0.0000000000000000000000000000001M"), None, ""),
        (Integer(-1), None, ""),
        (Integer(5_000_000_000), None, ""),
        (Float(2.5), None, ""),
    ] {
        let bitrate = Bitrate::from_toml(&value);
        assert_eq!(bitrate, expect.map(Bitrate), "{value}");
        assert!(
            bitrate.is_none_or(|it| it.show() == format!("{shown:?}")),
            "{value}"
        );
    }
}
