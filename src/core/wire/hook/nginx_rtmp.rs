//! The words of nginx-rtmp-module: its netcalls, `on_publish`, `on_publish_done` and `on_update`, as forms.
//!
//! Names, order and escapes are those that module 1.2.2 of Debian 12 was seen to send; the query of the published name
//! stands at the end as it came, so that a backend finds its parameters among the others.

use std::fmt::Write as _;

use super::{Allow, Answer, Body, Progress, Publish, Unfit, Verdict, denied};

pub(super) fn ask(publish: &Publish) -> Body {
    form(
        publish,
        &[
            ("call", "publish"),
            ("name", &publish.name),
            ("type", "live"),
        ],
    )
}

/// `on_publish_done`.
pub(super) fn done(publish: &Publish) -> Body {
    form(
        publish,
        &[("call", "publish_done"), ("name", &publish.name)],
    )
}

/// `on_update`, as of a publisher.
pub(super) fn update(publish: &Publish, progress: Progress) -> Body {
    form(
        publish,
        &[
            ("call", "update_publish"),
            ("time", &progress.seconds.to_string()),
            ("timestamp", &progress.timestamp.to_string()),
            ("name", &publish.name),
        ],
    )
}

/// As with the module's `notify_update_strict off`, its default: 2xx and 3xx.
pub(super) fn goes_on(answer: &Answer<'_>) -> bool {
    matches!(answer.status / 100, 2 | 3)
}

/// What every call says of the connection, then `own`, then the query as it came.
fn form(publish: &Publish, own: &[(&str, &str)]) -> Body {
    let address = publish.peer.ip().to_string();
    let connection = [
        ("app", publish.app.as_str()),
        ("flashver", cut(&publish.encoder)),
        ("swfurl", ""),
        ("tcurl", &publish.tc_url),
        ("pageurl", ""),
        ("addr", &address),
        ("clientid", &publish.session),
    ];
    let mut form = String::new();
    for (name, value) in connection.iter().chain(own) {
        let mark = if form.is_empty() { "" } else { "&" };
        write!(form, "{mark}{name}={}", Escaped(value)).expect("a String takes every write");
    }
    if !publish.query.is_empty() {
        form.push('&');
        form.push_str(&publish.query);
    }
    Body {
        content_type: "application/x-www-form-urlencoded",
        bytes: form.into(),
    }
}

/// 2xx allows, 3xx allows under the name in `Location`, everything else denies.
pub(super) fn verdict(answer: &Answer<'_>) -> Result<Verdict, Unfit> {
    match answer.status / 100 {
        2 => Ok(Verdict::Allow(Allow::default())),
        3 => {
            let name = answer.location.unwrap_or_default();
            if name.contains("://") {
                // The module would relay the stream there.
                return Err(Unfit::Field {
                    field: "Location",
                    expected: "another name of the stream; relaying it to another server is not supported",
                });
            }
            let renamed = Some(name.to_owned()).filter(|name| !name.is_empty());
            Ok(Verdict::Allow(Allow {
                stream_id: Some(renamed.ok_or(Unfit::Field {
                    field: "Location",
                    expected: "another name of the stream",
                })?),
                ..Allow::default()
            }))
        }
        _ => Ok(denied()),
    }
}

/// An encoder's name as far as the module keeps it.
fn cut(encoder: &str) -> &str {
    let mut ends = (0..=encoder.len().min(31)).rev();
    let end = ends.find(|end| encoder.is_char_boundary(*end));
    &encoder[..end.unwrap_or_default()]
}

/// A value as the module escapes it: what a URI's path may hold stays.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for &byte in self.0.as_bytes() {
            match byte {
                b' '
                | b'"'
                | b'#'
                | b'%'
                | b'&'
                | b'+'
                | b';'
                | b'<'
                | b'>'
                | b'?'
                | b'\\'
                | b'^'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | 0..0x20
                | 0x7f.. => write!(f, "%{byte:02X}")?,
                _ => f.write_char(char::from(byte))?,
            }
        }
        Ok(())
    }
}
