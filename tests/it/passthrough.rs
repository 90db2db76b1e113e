//! The daemon without FFmpeg (`--no-default-features`): it links none of it, says so when it is asked to transcode, and
//! serves what comes as it came.
//!
//! Here only where the tests themselves are built so. `make test` has a group for it, in which [`crate::publish`],
//! [`crate::control`] and [`crate::conf`] are held against the same binary; that no such crate is built stands in
//! [`crate::floors`].

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::daemon::{Config, Daemon};

fn vitrine(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitrine"));
    let command = command.args(arguments).env_clear();
    command
        .output()
        .expect("the binary was built for this test")
}

#[test]
fn it_links_no_library_of_ffmpeg() {
    let mut readelf = Command::new("readelf");
    let readelf = readelf.args(["--dynamic", "--wide", env!("CARGO_BIN_EXE_vitrine")]);
    let output = readelf.output().expect("binutils come with the compiler");
    let text = String::from_utf8_lossy(&output.stdout);
    let libraries: Vec<_> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.rsplit_once('[')?.1.strip_suffix(']'))
        .collect();
    assert!(libraries.contains(&"libc.so.6"), "{text}");
    let foreign = |name: &&&str| name.starts_with("libav") || name.starts_with("libsw");
    assert_eq!(libraries.iter().find(foreign), None);
}

#[test]
fn to_be_asked_for_a_ladder_is_an_error_that_tells_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.toml");
    let path = file.to_str().expect("temporary folders have plain names");
    for (text, key) in [
        ("[transcode]\nenabled = true\n", "transcode.enabled"),
        (
            "[ladder.default]\nhigh.pass = true\n",
            "ladder.default.high.pass",
        ),
    ] {
        fs::write(&file, text).expect("the configuration is written");
        let output = vitrine(&["--config", path]);
        assert_eq!(output.status.code(), Some(64), "{text}");
        let expect = format!(
            "vitrine: {path}:2: {key} is not supported by this build: it was made without the feature \"transcode\"\n"
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), expect);
    }
}

#[test]
fn it_takes_the_configuration_of_the_other_and_runs_without_a_ladder() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/vitrine.toml");
    let sample = sample.to_str().expect("a plain name");
    let output = vitrine(&["check", "--config", sample]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let mut settings = shown.lines().map(|line| line.split_whitespace());
    let expect = ["transcode.enabled", "=", "false", "default"];
    assert!(settings.any(|words| words.eq(expect)), "{shown}");

    let config = Config::new();
    assert_eq!(Daemon::start(&config).stop().code, Some(0));
}
