//! In the place of [`encoders`](super::encoders) and of `sound` where the feature `transcode` is off: nothing is encoded.

use std::future::pending;

use bytes::Bytes;
use vitrine_core::{
    engine::{
        ladder::{Encoded, Failure, Feed, Ladder},
        sound::Target,
    },
    media::Config,
    wire::flv::{Frame, Item},
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

/// No encoder of sound.
#[derive(Debug)]
pub(super) struct Sound;

impl Sound {
    pub(super) fn new(_: tracing::Span) -> Self {
        Self
    }

    pub(super) fn open(&mut self, _: &Config) -> Option<Target> {
        None
    }

    pub(super) fn take(&mut self, item: Item) -> Option<Item> {
        Some(item)
    }

    pub(super) fn is_lost(&self) -> bool {
        false
    }

    pub(super) async fn next(&mut self) -> Result<Frame, Failure> {
        pending().await
    }

    pub(super) async fn finish(&mut self) -> Vec<Frame> {
        Vec::new()
    }
}
