//! Restart: whatever lies where a saved stream should, it is refused or becomes a stream that keeps its promises.
//!
//! The checksum is mended first, for what passes it is what matters. Invariants: a stream that was restored shows what
//! [`Stream::check_invariants`] asserts, grows in time, takes a publisher, is saved again, and ends.

use std::time::Duration;

use bytes::Bytes;
use vitrine_core::{
    engine::{
        saved::Saved,
        stream::{End, Input, Output, Settings, Stream},
    },
    media::{Config, Kind, Now, WallTime, aac},
    wire::{
        flv::{Frame, Item},
        m3u8::media::Form,
    },
};

const SETTINGS: Settings = Settings {
    part: Duration::from_millis(200),
    segment: Duration::from_secs(1),
    max_gop: Duration::from_secs(2),
    window: Duration::from_secs(12),
    part_hold_back: None,
    grace: Duration::from_secs(20),
    grace_after_stop: Duration::from_secs(3),
};

/// Restores what `data` is, plays a few seconds, saves and restores again.
pub fn saved(data: &[u8]) {
    let mut file = data.to_vec();
    if let Some(end) = file.len().checked_sub(4) {
        let checksum = crc32fast::hash(&file[..end]).to_le_bytes();
        file[end..].copy_from_slice(&checksum);
    }
    let Ok(saved) = Saved::decode(&file.into()) else {
        return;
    };
    let again = Bytes::from(saved.encode().concat());
    assert_eq!(Saved::decode(&again).as_ref(), Ok(&saved));
    // Before it was saved, whenever that was: nothing has expired.
    let mut now = Now {
        mono: Duration::from_secs(1),
        wall: WallTime(0),
    };
    let Ok(mut stream) = Stream::restore(SETTINGS, saved, now) else {
        return;
    };
    drain(&mut stream);
    for _ in 0..20 {
        now.mono += Duration::from_millis(200);
        stream.expire(now);
        drain(&mut stream);
    }
    publish(&mut stream, &mut now);
    if let Some(saved) = stream.save(now) {
        drain(&mut stream);
        stream = Stream::restore(SETTINGS, saved, now).expect("saved by ourselves just now");
    }
    stream.push(now, Input::End);
    drain(&mut stream);
}

/// Two seconds of sound.
fn publish(stream: &mut Stream, now: &mut Now) {
    let session = 1;
    let epoch = 1;
    let record = Bytes::from_static(b"\x11\x90");
    let config = aac::Config::parse(&record).expect("a real configuration");
    stream.push(
        *now,
        Input::Open {
            session,
            epoch,
            named: false,
        },
    );
    let item = Item::Config(Config::Aac(config));
    stream.push(*now, Input::Media { session, item });
    for n in 0..94_u32 {
        now.mono += Duration::from_millis(21);
        let item = Item::Frame(Frame {
            kind: Kind::Audio,
            timestamp: n * 64 / 3,
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: Bytes::from_static(&[0x21; 40]),
        });
        stream.push(*now, Input::Media { session, item });
        drain(stream);
    }
    let end = End::Lost;
    stream.push(*now, Input::Close { session, end });
    drain(stream);
}

fn drain(stream: &mut Stream) {
    while let Some(output) = stream.poll() {
        match output {
            Output::Snapshot { snapshot, .. } => {
                snapshot.playlist(Form::Full);
                snapshot.playlist(Form::Delta);
            }
            Output::Presentation(multivariant) => drop(multivariant.write()),
            Output::Ended { .. } | Output::Closed | Output::Notice(_) => {}
        }
    }
    stream.check_invariants();
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every seed and every crash once found, on stable.
    #[test]
    fn corpora_replay() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/saved");
        let seeds: Vec<_> = fs::read_dir(corpus).expect("a corpus").collect();
        assert!(seeds.len() >= 3);
        for seed in seeds {
            super::saved(&fs::read(seed.expect("a seed").path()).expect("a file"));
        }
    }
}
