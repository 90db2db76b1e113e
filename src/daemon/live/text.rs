//! Bodies of answers, named after their content: playlists and other texts, packed when that is asked for, and stills.

use std::{io::Write, sync::OnceLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

/// A body and its strong validator, which is derived from the content: two origins that answer alike agree on it.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// `ETag`, quotes included.
    pub etag: Bytes,
}

impl Body {
    /// Names `bytes` after their content.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let mut etag = String::with_capacity(34);
        etag.push('"');
        for byte in &Sha256::digest(&bytes)[..16] {
            etag.push_str(&format!("{byte:02x}"));
        }
        etag.push('"');
        Self {
            bytes,
            etag: etag.into(),
        }
    }
}

/// A text, compressed at most once.
#[derive(Debug)]
pub struct Text {
    plain: Body,
    gzip: OnceLock<Body>,
}

impl Text {
    /// The text as written.
    pub fn new(text: String) -> Self {
        Self {
            plain: Body::new(text),
            gzip: OnceLock::new(),
        }
    }

    /// As it is.
    pub fn plain(&self) -> &Body {
        &self.plain
    }

    /// As a gzip member (RFC 1952), without a modification time: equal texts give equal bytes.
    pub fn gzip(&self) -> &Body {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = encoder.write_all(&self.plain.bytes);
            Body::new(
                written
                    .and_then(|()| encoder.finish())
                    .expect("memory takes every write"),
            )
        })
    }
}
