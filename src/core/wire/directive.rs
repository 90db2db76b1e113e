//! Stub: delivery directives: the `_HLS_*` query parameters (draft-pantos-hls-rfc8216bis, 6.2.5).

/// What a request for a media playlist asks of its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directive {
    /// `_HLS_msn`, with `_HLS_part` inside it, for a part alone is refused.
    pub at_least: Option<(u64, Option<u64>)>,
    /// `_HLS_skip=YES` or `v2`.
    pub skip: bool,
}

/// Why a query is refused with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `_HLS_part` without `_HLS_msn` (6.2.5.2).
    #[error("_HLS_part needs _HLS_msn beside it")]
    PartWithoutMsn,
    /// Not a decimal integer.
    #[error("{name} must be a decimal integer")]
    NotANumber {
        /// The directive.
        name: &'static str,
    },
}

impl Directive {
    /// Reads the raw query of a request (without `?`). Unknown parameters, `_HLS_` ones included, are ignored.
    ///
    /// # Errors
    /// [`Error`], which answers 400.
    pub fn parse(_query: &str) -> Result<Self, Error> {
        todo!()
    }
}
