//! In the place of [`encoders`](super::encoders) where the feature `transcode` is off: nothing is encoded.

use std::future::pending;

use vitrine_core::engine::ladder::{Encoded, Feed, Ladder};

/// Nothing can be encoded, so there is no value of it.
#[derive(Clone, Debug)]
pub enum Encoding {}

/// Never happens.
#[derive(Debug, thiserror::Error)]
#[error("never")]
pub(super) struct Full;

/// No encoders.
#[derive(Debug)]
pub(super) struct Encoders;

impl Encoders {
    pub(super) fn new(_: Option<Encoding>, _: tracing::Span) -> Self {
        Self
    }

    pub(super) fn admit(&mut self, _: Option<Ladder>) -> Result<Option<Ladder>, Full> {
        Ok(None)
    }

    pub(super) fn feed(&mut self, _: Vec<Feed>) -> Vec<Encoded> {
        Vec::new()
    }

    pub(super) async fn next(&mut self) -> Vec<Encoded> {
        pending().await
    }

    pub(super) fn stop(&mut self) {}
}
