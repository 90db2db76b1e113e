//! The command line: settings are checked before anything else, and wrong ones end the process with status 64 and a
//! text a person can act on.

use std::process::{Command, Output};

fn vitrine(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitrine"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VITRINE_") {
            command.env_remove(name);
        }
    }
    let environment = environment.iter().copied();
    command
        .args(arguments)
        .envs(environment)
        .output()
        .expect("the binary was built for this test")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("vitrine speaks UTF-8")
}

#[test]
fn check_prints_every_setting_with_its_origin_and_no_secret() {
    let folder = tempfile::tempdir().expect("a test folder can be written");
    let file = folder.path().join("v.toml");
    std::fs::write(
        &file,
        "[hls]\npart = \"250ms\"\n[[publish.keys]]\nkey = \"live_secret\"\nstream = \"demo\"\n",
    )
    .expect("a test folder can be written");
    let path = file.to_str().expect("temporary folders have plain names");
    let output = vitrine(
        &["check", "--config", path],
        &[("VITRINE_HTTP_LISTEN", "127.0.0.1:0")],
    );
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let words = |key: &str| {
        let line = shown
            .lines()
            .find(|line| line.split(' ').next() == Some(key));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    };
    assert_eq!(words("hls.part"), format!("hls.part = \"250ms\" {path}:2"));
    assert_eq!(
        words("http.listen"),
        "http.listen = \"127.0.0.1:0\" environment VITRINE_HTTP_LISTEN"
    );
    assert_eq!(words("hls.segment"), "hls.segment = \"1s\" default");
    assert_eq!(words("rtmps.listen"), "rtmps.listen = (unset) default");
    assert_eq!(
        words("publish.keys[0].key"),
        format!("publish.keys[0].key = (secret) {path}:4")
    );
    assert!(!shown.contains("live_secret"));
}

#[test]
fn wrong_settings_end_with_64_and_are_all_told_on_standard_error() {
    let folder = tempfile::tempdir().expect("a test folder can be written");
    let file = folder.path().join("v.toml");
    std::fs::write(&file, "[hls]\nprat = \"250ms\"\n[publish]\ngrace = 20\n")
        .expect("a test folder can be written");
    let path = file.to_str().expect("temporary folders have plain names");
    for arguments in [
        &["--config", path][..],
        &["check", "--config", path],
        &["--config", path, "check"],
    ] {
        let output = vitrine(
            arguments,
            &[
                ("VITRINE_NODDE", "n2"),
                ("VITRINE_COMMERCE_PUBLIC_URL", "not ours"),
            ],
        );
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            format!(
                "vitrine: {path}:2: unknown key hls.prat; the nearest known key is hls.part\n\
                 vitrine: {path}:4: publish.grace = 20: expected a duration with its unit (ms, s, m, h), such as \"200ms\"\n\
                 vitrine: environment VITRINE_NODDE: unknown key VITRINE_NODDE; the nearest known key is VITRINE_NODE\n"
            )
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_ends_with_64() {
    let output = vitrine(&["--config", "/nonexistent/vitrine.toml"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let told = text(&output.stderr);
    assert!(
        told.starts_with("vitrine: cannot read the configuration /nonexistent/vitrine.toml: "),
        "{told}"
    );
}

#[test]
fn more_connections_than_descriptors_end_with_64() {
    let output = vitrine(
        &["check"],
        &[("VITRINE_HTTP_MAX_CONNECTIONS", "4294967295")],
    );
    assert_eq!(output.status.code(), Some(64));
    let told = text(&output.stderr);
    assert!(
        told.contains("connections and 256 descriptors besides exceed the"),
        "{told}"
    );
}

#[cfg(feature = "transcode")]
#[test]
fn an_encoder_that_the_machine_lacks_is_told_before_a_port_is_bound() {
    if std::path::Path::new("/dev/nvidiactl").exists() {
        return; // it has this one
    }
    let folder = tempfile::tempdir().expect("a test folder can be written");
    let data = folder.path().join("data");
    let output = vitrine(
        &[],
        &[
            ("VITRINE_DATA_DIR", &data.to_string_lossy()),
            ("VITRINE_TRANSCODE_ENCODER", "h264_nvenc"),
            ("VITRINE_RTMP_LISTEN", "127.0.0.1:0"),
            ("VITRINE_HTTP_LISTEN", "127.0.0.1:0"),
            ("VITRINE_CONTROL_LISTEN", "127.0.0.1:0"),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let told = text(&output.stderr);
    let expect = "vitrine: transcode.encoder: the encoder h264_nvenc does not open: ";
    assert!(told.lines().any(|line| line.starts_with(expect)), "{told}");
}

#[test]
fn help_and_version_are_answered() {
    let help = vitrine(&["--help"], &[]);
    assert!(help.status.success());
    for word in ["--config <FILE>", "check", "VITRINE_HLS_PART", "64"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
    assert_eq!(
        text(&vitrine(&["--version"], &[]).stdout),
        concat!("vitrine ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
