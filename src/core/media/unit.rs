//! A unit: what a codec makes of the bytes of one video message.

use bytes::Bytes;

/// An access unit made fit for `mdat`, for a codec configured by `C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit<C> {
    /// The bytes for `mdat`: a slice of the input wherever nothing had to change.
    pub data: Bytes,
    /// Whether decoding can start here, judged from the bitstream, not from the container's flag.
    pub sync: bool,
    /// Whether it holds coded picture data. Without, it is no sample of its own: its bytes (standalone SEI, possibly
    /// none) belong in front of the next access unit.
    pub picture: bool,
    /// The configuration that in-band parameter sets announce, when it differs from the current one.
    pub config: Option<C>,
}

impl<C> Unit<C> {
    /// The same unit with its configuration seen as a `D`.
    pub fn map_config<D>(self, config: impl FnOnce(C) -> D) -> Unit<D> {
        Unit {
            data: self.data,
            sync: self.sync,
            picture: self.picture,
            config: self.config.map(config),
        }
    }
}
