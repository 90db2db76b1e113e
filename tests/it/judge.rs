//! Witnesses that other people wrote: packages of npm that `make test-setup` fetches, asked by the scripts of
//! `tests/oracle`. What is asked and what a verdict means is with the tests that ask.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What `tests/oracle/<script>` answers to `question`.
pub(crate) fn ask(script: &str, question: &Value) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    assert!(
        folder.join("node_modules").exists(),
        "tests/oracle/node_modules is missing: run `make test-setup` first"
    );
    let mut node = Command::new("node")
        .arg(folder.join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut input = node.stdin.take().expect("piped");
    // It reads to the end before it answers.
    input
        .write_all(question.to_string().as_bytes())
        .expect("taken");
    drop(input);
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{script}: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}
