//! Stub.
use crate::media::Config;
use bytes::Bytes;

/// The initialization segment of one track: `ftyp` + `moov` with a single `trak` of id 1.
pub fn init(_config: &Config) -> Bytes {
    todo!()
}
