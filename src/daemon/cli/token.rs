//! `vitrine token`: makes keys of viewer tokens, and tokens by them (contracts, section 2).
//!
//! It needs no daemon and no configuration: whoever has the key signs, as a backend does. A key comes from a file or the
//! environment, never from an argument, which other users of the machine could read. Nothing but the key's own file and
//! standard output ever holds one.

use std::{
    env, fs,
    io::{self, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use vitrine_core::{
    media::WallTime,
    wire::token::{EVERY_STREAM, KeyId, NotAKey, Signer},
};
use vitrine_runtime::config::{Value as _, toml};

use crate::live::StreamId;

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key: the section for the daemon's configuration, and what signs
    Keygen {
        /// A pair of Ed25519, of which the daemon has the public half, instead of a secret of HMAC-SHA256 that it shares
        #[arg(long)]
        ed25519: bool,
        /// Its name in tokens
        #[arg(long, value_name = "NAME", default_value = "k1", value_parser = KeyId::parse)]
        key_id: KeyId,
        /// Write what signs to this new file (mode 600) instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a token: print it, or with --url the address to play
    Sign {
        /// The stream it opens; "*" for every stream
        #[arg(long, value_parser = stream)]
        stream: String,
        /// How long it is good to begin to watch: 30m, 2h; to go on, playback.max_session longer
        #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
        lifetime: Duration,
        /// Where the key is
        #[command(flatten)]
        key: Key,
        /// The key's name in the daemon's configuration
        #[arg(long, value_name = "NAME", default_value = "k1", value_parser = KeyId::parse)]
        key_id: KeyId,
        /// The server or edge that viewers use, with its scheme
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

/// Where the key is that signs.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Key {
    /// The file that keygen wrote
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The variable that holds what keygen printed: hmac:... or ed25519:...
    #[arg(long, value_name = "VARIABLE")]
    key_env: Option<String>,
}

/// Why there is no key or no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of the key cannot be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The variable of the key is not there.
    #[error("the variable {0} is not set")]
    Unset(String),
    /// What should be a key is none.
    #[error("{place}: {source}")]
    NotAKey {
        /// The file or the variable.
        place: String,
        /// What was expected.
        source: NotAKey,
    },
    /// An address that has no stream.
    #[error("--url needs the name of one stream")]
    NoStream,
    /// The system gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(io::Error),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(io::Error),
}

/// Does what `command` says at `now`, and prints to `out`.
///
/// # Errors
/// [`Error`] says what is missing.
pub fn run(command: Command, now: WallTime, out: &mut impl Write) -> Result<(), Error> {
    let text = match command {
        Command::Keygen {
            ed25519,
            key_id,
            out,
        } => keygen(ed25519, &key_id, out.as_deref())?,
        Command::Sign {
            stream,
            lifetime,
            key,
            key_id,
            url,
        } => {
            let now = u64::try_from(now.0).unwrap_or_default() / 1000;
            let expires = now.saturating_add(lifetime.as_secs());
            let token = key.signer()?.sign(&key_id, &stream, expires);
            match url {
                None => format!("{token}\n"),
                Some(_) if stream == EVERY_STREAM => return Err(Error::NoStream),
                Some(url) => {
                    let server = url.trim_end_matches('/');
                    format!("{server}/live/~{token}/{stream}/index.m3u8\n")
                }
            }
        }
    };
    out.write_all(text.as_bytes()).map_err(Error::Output)
}

fn keygen(ed25519: bool, id: &KeyId, file: Option<&Path>) -> Result<String, Error> {
    let mut bytes = [0; 32];
    let mut random = fs::File::open("/dev/urandom").map_err(Error::Random)?;
    random.read_exact(&mut bytes).map_err(Error::Random)?;
    let signer = match ed25519 {
        true => Signer::ed25519(bytes),
        false => Signer::hmac(bytes),
    };
    let (algorithm, key) = signer.verifier().show();
    let section = format!("[[playback.keys]]\nid = \"{id}\"\n{algorithm} = \"{key}\"\n");
    let Some(path) = file else {
        let signs = signer.reveal();
        return Ok(format!(
            "# For the configuration of every origin:\n{section}\n# For whoever signs, as vitrine token sign --key; keep it secret:\n{signs}\n"
        ));
    };
    let mut fresh = fs::OpenOptions::new();
    fresh.write(true).create_new(true).mode(0o600);
    let written = fresh
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", signer.reveal()));
    written.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(section)
}

impl Key {
    fn signer(&self) -> Result<Signer, Error> {
        let (place, text) = match (&self.key, &self.key_env) {
            (Some(path), _) => {
                let text = fs::read_to_string(path).map_err(|source| Error::File {
                    path: path.clone(),
                    source,
                })?;
                (path.display().to_string(), text)
            }
            (None, name) => {
                let name = name.clone().unwrap_or_default();
                let text = env::var(&name).map_err(|_| Error::Unset(name.clone()))?;
                (name, text)
            }
        };
        Signer::parse(text.trim()).map_err(|source| Error::NotAKey { place, source })
    }
}

fn stream(text: &str) -> Result<String, String> {
    let id = text.parse::<StreamId>().is_ok();
    match id || text == EVERY_STREAM {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {}, or \"*\"", StreamId::EXPECTED)),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let duration = Duration::from_toml(&toml::Value::String(text.to_owned()));
    let duration = duration.filter(|duration| duration.as_secs() >= 1);
    duration.ok_or_else(|| "expected a duration of at least 1s, such as 30m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser;
    use vitrine_core::wire::token::{Keyring, Token};

    use super::*;

    const NOW: WallTime = WallTime(1_767_268_800_500);

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    /// What the arguments print, or why nothing.
    fn token(arguments: &[&str]) -> Result<String, String> {
        let line = ["token"].iter().chain(arguments);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        let mut printed = Vec::new();
        run(line.command, NOW, &mut printed).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(printed).unwrap())
    }

    #[test]
    fn what_keygen_makes_signs_what_the_daemon_takes() {
        let folder = tempfile::tempdir().unwrap();
        for kind in ["hmac", "ed25519"] {
            let file = folder.path().join(kind);
            let path = file.to_str().unwrap();
            let mut keygen = vec!["keygen", "--key-id", "shop", "--out", path];
            if kind == "ed25519" {
                keygen.push("--ed25519");
            }
            let section = token(&keygen).unwrap();
            assert_eq!(
                fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert!(token(&keygen).unwrap_err().contains("File exists"));

            let signed = ["sign", "--stream", "shop42", "--for", "2h", "--key", path];
            let printed = token(&[&signed[..], &["--key-id", "shop"]].concat()).unwrap();
            let config: toml::Table = toml::from_str(&section).unwrap();
            let entry = &config["playback"]["keys"][0];
            assert_eq!(entry["id"].as_str(), Some("shop"));
            assert!(entry.get(kind).is_some(), "{section}");
            let signer = Signer::parse(fs::read_to_string(&file).unwrap().trim()).unwrap();
            let (_, shown) = signer.verifier().show();
            assert_eq!(entry[kind].as_str(), Some(shown.as_str()));
            let ring = Keyring::new(vec![(KeyId::parse("shop").unwrap(), signer.verifier())]);
            let read = Token::read(printed.trim()).unwrap();
            assert_eq!(ring.verify(&read), Ok(()));
            assert_eq!(read.opens("shop42", NOW, Duration::ZERO), Ok(7200));
        }
    }

    #[test]
    fn with_a_url_the_address_to_play_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, format!("{}\n", Signer::hmac([7; 32]).reveal())).unwrap();
        let key = file.to_str().unwrap();
        let sign = |stream: &str, url: &str| {
            token(&[
                "sign", "--stream", stream, "--for", "30m", "--key", key, "--url", url,
            ])
        };
        let address = sign("shop42", "https://live.example/").unwrap();
        let (server, rest) = address
            .split_once("/live/~v1.k1.1767270600.shop42.")
            .unwrap();
        assert_eq!(server, "https://live.example");
        assert!(rest.ends_with("/shop42/index.m3u8\n"), "{address}");
        let error = sign("*", "https://live.example").unwrap_err();
        assert_eq!(error, "--url needs the name of one stream");
    }

    #[test]
    fn what_is_wrong_is_named_without_showing_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "hmac:c2VjcmV0").unwrap();
        let path = file.to_str().unwrap();
        let missing = folder.path().join("none");
        let missing = missing.to_str().unwrap();
        let good = ["sign", "--stream", "a", "--for", "1h"];
        for (arguments, expect) in [
            (
                vec!["--key", path],
                "expected hmac: and the base64 of 32 to 64 bytes",
            ),
            (vec!["--key", missing], "No such file"),
            (
                vec!["--key-env", "NO_SUCH_KEY"],
                "the variable NO_SUCH_KEY is not set",
            ),
            (vec![], "required"),
            (vec!["--key", path, "--key-env", "X"], "cannot be used with"),
            (
                vec!["--key", path, "--key-id", "k.1"],
                "expected 1 to 32 letters",
            ),
        ] {
            let error = token(&[&good[..], &arguments].concat()).unwrap_err();
            assert!(error.contains(expect), "{arguments:?}: {error}");
            assert!(!error.contains("c2Vj"), "{error}");
        }
        for (stream, lifetime, expect) in [("a/b", "1h", "a stream id"), ("a", "soon", "1s")] {
            let sign = ["sign", "--stream", stream, "--for", lifetime, "--key", path];
            assert!(token(&sign).unwrap_err().contains(expect));
        }
    }
}
