//! In the place of [`encoders`](super::encoders) where the feature `transcode` is off: nothing is encoded.

use std::future::pending;

use bytes::Bytes;
use vitrine_core::{
    engine::ladder::{Encoded, Feed, Ladder},
    media::Config,
    wire::flv::Frame,
};

use super::status::Untranscoded;

/// Nothing can be encoded, so there is no value of it.
#[derive(Clone, Debug)]
pub enum Encoding {}

/// No encoders.
#[derive(Debug)]
pub(super) struct Encoders;

impl Encoders {
    pub(super) fn new(_: Option<Encoding>, _: tracing::Span) -> Self {
        Self
    }

    pub(super) fn admit(&mut self, _: Option<Ladder>) -> Result<Ladder, Untranscoded> {
        Err(Untranscoded::Unbuilt)
    }

    pub(super) fn glance(&mut self, _: &Config, _: &Frame) {}

    pub(super) fn feed(&mut self, _: Vec<Feed>) -> Vec<Encoded> {
        Vec::new()
    }

    pub(super) async fn next(&mut self) -> (Vec<Encoded>, Option<Bytes>) {
        pending().await
    }

    pub(super) fn stop(&mut self) {}
}
