//! ISO BMFF as CMAF wants it (ISO/IEC 14496-12, 23000-19): initialization segments and fragments.
//!
//! The leaf boxes that the `mp4` crate can write are written by it; the containers, sample entries, `mvex` and the
//! whole fragment are ours, for it cannot write fragments. Output depends on the input alone: there is no creation
//! time, no encoder's name, no counter kept here.

mod emsg;
mod fragment;
mod init;
#[cfg(test)]
mod tests;

pub use emsg::{Cue, emsg};
pub use fragment::fragment;
pub use init::init;

use bytes::BufMut;

/// Every file of ours has one track, and this is its id.
const TRACK_ID: u32 = 1;

/// Writes a box: its size, its name, and what `body` writes.
fn write_box(out: &mut Vec<u8>, name: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u32(0);
    out.extend_from_slice(name);
    body(out);
    let size = u32::try_from(out.len() - start).expect("a part is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a full box: a box whose body begins with a version and 24 bit of flags.
fn write_full_box(
    out: &mut Vec<u8>,
    name: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, name, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        body(out);
    });
}
