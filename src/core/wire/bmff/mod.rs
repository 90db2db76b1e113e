//! ISO BMFF as CMAF wants it (ISO/IEC 14496-12, 23000-19): initialization segments and fragments.
//!
//! The leaf boxes that the `mp4` crate can write are written by it; the containers, sample entries, `mvex` and the
//! whole fragment are ours, for it cannot write fragments.

mod fragment;
mod init;

pub use fragment::fragment;
pub use init::init;
