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
    media::{Kind, Now, WallTime},
    wire::{
        flv::{Frame, Item},
        m3u8::media::Form,
    },
};

use crate::engine;

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
    publish(&mut stream, &mut now, false);
    if let Some(saved) = stream.save(now) {
        drain(&mut stream);
        stream = Stream::restore(SETTINGS, saved, now).expect("saved by ourselves just now");
    }
    stream.push(now, Input::End);
    drain(&mut stream);
}

/// Two seconds of sound, and of pictures if wanted, from a publisher that is then lost.
fn publish(stream: &mut Stream, now: &mut Now, pictures: bool) {
    let (session, epoch) = (1, 1);
    stream.push(
        *now,
        Input::Open {
            session,
            epoch,
            named: false,
            ladder: None,
            events: vitrine_core::engine::cues::Allowance::default(),
        },
    );
    // AVC and AAC at 48 kHz.
    let tracks = if pictures { &[0, 2][..] } else { &[2] };
    for which in tracks.iter().copied() {
        let item = Item::Config(engine::config(which));
        stream.push(*now, Input::Media { session, item });
    }
    for n in 0..94_u32 {
        now.mono += Duration::from_millis(21);
        let kinds = if pictures {
            &[Kind::Video, Kind::Audio][..]
        } else {
            &[Kind::Audio]
        };
        for kind in kinds {
            let item = Item::Frame(Frame {
                kind: *kind,
                timestamp: n * 64 / 3,
                nanos: 0,
                composition_ms: 0,
                sync: *kind == Kind::Audio || n.is_multiple_of(30),
                data: Bytes::from_static(b"\0\0\0\x04\x65\x88\x84\x21"),
            });
            stream.push(*now, Input::Media { session, item });
        }
        drain(stream);
    }
    let end = End::Lost;
    stream.push(*now, Input::Close { session, end });
    drain(stream);
}

fn drain(stream: &mut Stream) {
    while let Some(output) = stream.poll() {
        match output {
            Output::Placed(_) => {}
            // Nobody asked for a ladder.
            Output::Feed(_) => {}
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
    use std::{fs, path::PathBuf};

    use super::*;

    fn corpus() -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "corpus", "saved"]
            .iter()
            .collect()
    }

    /// Every seed and every crash once found, on stable.
    #[test]
    fn corpora_replay() {
        let seeds: Vec<_> = fs::read_dir(corpus()).expect("a corpus").collect();
        assert!(seeds.len() >= 3);
        for seed in seeds {
            let path = seed.expect("a seed").path();
            let file = fs::read(&path).expect("a file");
            saved(&file);
            let found = path.to_string_lossy().contains("found");
            let read = Saved::decode(&file.into());
            assert!(
                found || read.is_ok(),
                "{path:?}: {read:?}; seeds are written by `-- --ignored seeds`"
            );
        }
    }

    #[test]
    #[ignore = "writes the seeds anew, after a change of format"]
    fn seeds_are_written() {
        for (name, pictures, silent_ms) in [
            ("usual", true, 0),
            ("gaps", true, 6_000),
            ("sound", false, 0),
        ] {
            let mut stream = Stream::new(SETTINGS);
            let mut now = Now {
                mono: Duration::ZERO,
                wall: WallTime(1_767_268_800_000),
            };
            publish(&mut stream, &mut now, pictures);
            now.mono += Duration::from_millis(silent_ms);
            stream.expire(now);
            drain(&mut stream);
            let saved = stream.save(now).expect("a stream");
            fs::write(corpus().join(name), saved.encode().concat()).expect("written");
        }
    }
}
