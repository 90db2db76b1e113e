//! What operators install: the unit, the package, and the word that the daemon has with systemd.
//!
//! The package is built by cargo-deb around the binary under test, so no release build is waited for, and installed into
//! a copy of this system that vanishes (`package.sh`). That needs root: without it the case is skipped, loudly. systemd
//! itself is not in charge where tests run; `systemd-analyze` stands for it.

use std::{
    fs,
    io::Write as _,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// How exposed systemd may find the service: 0 is sealed, 10 open; below 2 is "OK".
const EXPOSURE_MAX: &str = "20"; // in tenths

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn the_unit_is_right_and_sealed() {
    let folder = TempDir::new().expect("a folder");
    let unit = root().join("conf/systemd/vitrine.service");
    let text = fs::read_to_string(&unit).expect("the unit");
    // Verification looks for the program, which is not installed here.
    let here = folder.path().join("vitrine.service");
    let program = env!("CARGO_BIN_EXE_vitrine");
    fs::write(&here, text.replace("/usr/bin/vitrine", program)).expect("a copy");
    let verified = run(Command::new("systemd-analyze").arg("verify").arg(&here));
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(!said.contains("vitrine.service"), "{said}");
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold", EXPOSURE_MAX])
        .arg(&here));
    // The daemon is given longer than it takes for itself.
    let seconds = |key: &str, text: &str| -> u64 {
        let line = text
            .lines()
            .find_map(|line| line.trim_start_matches("# ").strip_prefix(key));
        let value = line.expect("the key").trim_matches(['=', ' ', '"', 's']);
        value.parse().expect("seconds")
    };
    let settings = fs::read_to_string(root().join("conf/vitrine.toml")).expect("the settings");
    let own = seconds("shutdown_timeout = ", &settings);
    assert!(seconds("TimeoutStopSec=", &text) > own);
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready_reloads_and_stops() {
    let folder = TempDir::new().expect("a folder");
    let address = folder.path().join("notify");
    let socket = UnixDatagram::bind(&address).expect("a socket");
    let patience = Some(Duration::from_secs(30));
    socket.set_read_timeout(patience).expect("a socket");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_vitrine"))
        .current_dir(folder.path())
        .env("NOTIFY_SOCKET", &address)
        .env("VITRINE_RTMP_LISTEN", "127.0.0.1:0")
        .env("VITRINE_HTTP_LISTEN", "127.0.0.1:0")
        .env("VITRINE_CONTROL_LISTEN", "127.0.0.1:0")
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the daemon starts");
    let pid = daemon.id().to_string();
    let told = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let size = socket.recv(&mut buffer).expect(wanted);
            let words = String::from_utf8_lossy(&buffer[..size]);
            if words.lines().any(|line| line == wanted) {
                break;
            }
        }
    };
    let signal = |name: &str| run(Command::new("kill").args([name, &pid]));
    told("READY=1");
    told("WATCHDOG=1");
    signal("-HUP");
    told("RELOADING=1");
    told("READY=1");
    signal("-TERM");
    told("STOPPING=1");
    assert!(daemon.wait().expect("it ends").success());
}

/// The package around the binary under test.
fn package(folder: &Path) -> PathBuf {
    let release = folder.join("target/release");
    fs::create_dir_all(&release).expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_vitrine"), release.join("vitrine")).expect("the binary");
    let deb = folder.join("vitrine.deb");
    run(Command::new("cargo")
        .current_dir(root())
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .args([
            "deb",
            "--no-build",
            "--no-strip",
            "--fast",
            "--locked",
            "--output",
        ])
        .arg(&deb));
    deb
}

#[test]
fn the_package_ships_every_folder_for_operators() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    for folder in [
        "conf/edge",
        "conf/grafana",
        "conf/prometheus",
        "conf/systemd",
        "docs",
    ] {
        let asset = format!("[\"{folder}/");
        let there = root().join(folder).exists();
        assert!(
            !there || manifest.contains(&asset),
            "{folder} is not in [package.metadata.deb]"
        );
    }
}

#[test]
fn the_container_is_built_from_what_is_there() {
    let text = fs::read_to_string(root().join("conf/Containerfile")).expect("the file");
    let mut copied = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<_> = line
            .split(' ')
            .filter(|word| !word.starts_with("--chown"))
            .collect();
        if words[0].starts_with("--from") {
            continue;
        }
        assert!(root().join(words[0]).exists(), "{line}");
        copied += 1;
    }
    assert!(copied > 2, "{text}");
    let check = ["check", "--config", "conf/vitrine.toml"];
    run(Command::new(env!("CARGO_BIN_EXE_vitrine"))
        .current_dir(root())
        .args(check));
}

#[test]
fn the_container_has_the_libraries_of_ffmpeg_that_the_daemon_links() {
    let text = fs::read_to_string(root().join("conf/Containerfile")).expect("the file");
    let (_, stage) = text.rsplit_once("FROM ").expect("a last stage");
    let mut readelf = Command::new("readelf");
    let binary = env!("CARGO_BIN_EXE_vitrine");
    let read = run(readelf.args(["--dynamic", "--wide", binary]));
    let read = String::from_utf8_lossy(&read.stdout);
    let needed = read.lines().filter(|line| line.contains("(NEEDED)"));
    // In the container they are Debian 12's, whatever their version is here.
    let names = needed.filter_map(|line| line.rsplit_once('[')?.1.split_once(".so"));
    for (name, _) in
        names.filter(|(name, _)| name.starts_with("libav") || name.starts_with("libsw"))
    {
        assert!(stage.contains(&format!(" {name}")), "{name}\n{stage}");
    }
}

#[test]
fn the_package_installs_starts_stops_and_purges() {
    let folder = TempDir::new().expect("a folder");
    let deb = package(folder.path());
    let user = run(Command::new("id").arg("-u")).stdout;
    let may = Command::new("unshare").args(["--mount", "true"]).output();
    if user != b"0\n" || !may.is_ok_and(|output| output.status.success()) {
        // Not eprintln: the test harness swallows that of a test that passes.
        let mut stderr = std::io::stderr();
        let said = writeln!(
            stderr,
            "\n*** SKIPPED: the package was built, but NOT installed: that needs root and a mount namespace ***\n"
        );
        said.expect("standard error is there");
        return;
    }
    let done = run(Command::new("unshare")
        .arg("--mount")
        .arg(root().join("tests/it/package.sh"))
        .arg(&deb));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        said.contains("installed, started, stopped, purged"),
        "{said}"
    );
}
