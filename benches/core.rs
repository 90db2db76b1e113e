//! How fast the deterministic core is, fed with a real broadcast: bytes of FLV bodies per second through the demuxer, bytes
//! of frames per second through the whole stream engine (timeline, probe, segmenter, packager, window), and one rendering
//! of a media playlist; one verification of a viewer token. Figures are for comparing two revisions on one machine; they promise nothing.

#[path = "../tests/it/publisher.rs"]
mod publisher;
#[allow(dead_code)]
#[path = "../tests/it/sources.rs"]
mod sources;

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vitrine_core::{
    engine::{
        stream::{Input, Output, Settings, Stream},
        window::Snapshot,
    },
    media::{Now, Rendition, WallTime},
    wire::{
        flv::{Demuxer, Item},
        m3u8::media::Form,
        token::{KeyId, Keyring, Signer, Token},
    },
};

/// An audio or video message: FLV tag type, timestamp in milliseconds, body.
type Message = (u8, u32, Bytes);

fn messages() -> Vec<Message> {
    let tags = publisher::flv::read(sources::LONG.file()).expect("made just now");
    let media = tags.into_iter().filter(|tag| tag.kind != 18);
    media
        .map(|tag| (tag.kind, tag.timestamp, Bytes::from(tag.body)))
        .collect()
}

/// The items of all messages, each with the time it came at.
fn demux(messages: &[Message]) -> Vec<(u32, Item)> {
    let mut demuxer = Demuxer::default();
    let mut items = Vec::new();
    let mut timed = Vec::new();
    for (kind, timestamp, body) in messages {
        let read = match kind {
            8 => demuxer.audio(*timestamp, body, &mut items),
            _ => demuxer.video(*timestamp, body, &mut items),
        };
        read.expect("ffmpeg wrote it");
        timed.extend(items.drain(..).map(|item| (*timestamp, item)));
    }
    timed
}

/// Runs a broadcast through a stream; gives the last version of the picture's playlist.
fn package(items: Vec<(u32, Item)>) -> Option<Arc<Snapshot>> {
    let mut stream = Stream::new(Settings {
        part: Duration::from_millis(200),
        segment: Duration::from_secs(1),
        max_gop: Duration::from_secs(2),
        window: Duration::from_secs(12),
        part_hold_back: None,
        grace: Duration::from_secs(20),
        grace_after_stop: Duration::from_secs(3),
    });
    let mut high = None;
    let at = |ms: u32| Now {
        mono: Duration::from_millis(u64::from(ms)),
        wall: WallTime(1_767_268_800_000 + i64::from(ms)),
    };
    let mut push = |ms, input| {
        stream.push(at(ms), input);
        while let Some(output) = stream.poll() {
            match output {
                Output::Snapshot {
                    rendition: Rendition::High,
                    snapshot,
                    ..
                } => high = Some(snapshot),
                output => drop(black_box(output)),
            }
        }
    };
    push(
        0,
        Input::Open {
            session: 1,
            epoch: 1,
            named: false,
            ladder: None,
            events: vitrine_core::engine::cues::Allowance::default(),
        },
    );
    for (ms, item) in items {
        push(ms, Input::Media { session: 1, item });
    }
    high
}

fn core(criterion: &mut Criterion) {
    let messages = messages();
    let bytes = messages.iter().map(|(_, _, body)| body.len() as u64).sum();
    let items = demux(&messages);
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("flv_demux", |bencher| {
        bencher.iter(|| black_box(demux(&messages)))
    });
    group.bench_function("packager", |bencher| {
        bencher.iter_batched(|| items.clone(), package, BatchSize::LargeInput);
    });
    let snapshot = package(items.clone()).expect("something was packaged");
    group.throughput(Throughput::Elements(1));
    for (name, form) in [
        ("playlist_full", Form::Full),
        ("playlist_delta", Form::Delta),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(snapshot.playlist(form)))
        });
    }
    for (name, signer) in [
        ("token_hmac", Signer::hmac([7; 32])),
        ("token_ed25519", Signer::ed25519([7; 32])),
    ] {
        let id = KeyId::parse("k1").expect("a name");
        let token = signer.sign(&id, "shop42", 1_767_268_800);
        let ring = Keyring::new(vec![(id, signer.verifier())]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| Token::read(black_box(&token)).and_then(|token| ring.verify(&token)))
        });
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
