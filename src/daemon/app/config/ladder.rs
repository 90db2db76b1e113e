//! `[ladder.<name>]`: renditions to make in place of the built-in ones (contracts, section 7), and who asks for them.
//!
//! Numbers are checked against each other and against bounds. What becomes of them for a given source is
//! `engine::ladder`'s business.

use std::collections::BTreeMap;

use vitrine_core::engine::ladder::{Ladder, Target, Targets};
use vitrine_runtime::config::{Bitrate, Reader, Value};

use super::transcode::{BUILT, LACK};

/// The ladders that are written down, by name.
pub(super) fn read(reader: &mut Reader<'_>) -> BTreeMap<String, Ladder> {
    if !BUILT {
        reader.unsupported("ladder", LACK);
        return BTreeMap::new();
    }
    let audio_only = reader.value("ladder.audio_only", false);
    let slate = reader.value("ladder.slate", true);
    let mut ladders = reader.tables("ladder", DEFAULT, ladder);
    let usual = Ladder::default();
    if (audio_only, slate) != (usual.audio_only, usual.slate) {
        ladders.entry(DEFAULT.to_owned()).or_default();
        for ladder in ladders.values_mut() {
            (ladder.audio_only, ladder.slate) = (audio_only, slate);
        }
    }
    ladders
}

/// The ladder that a stream key names.
pub(super) fn named(entry: &mut Reader<'_>) -> Option<String> {
    if !BUILT {
        entry.unsupported("ladder", LACK);
        return None;
    }
    entry.optional("ladder")
}

fn ladder(reader: &mut Reader<'_>) -> Option<Ladder> {
    let usual = Targets::built_in(0, false);
    let built_in = Ladder::default();
    let pass = reader.value("high.pass", built_in.pass);
    let pass_max = Bitrate(built_in.pass_max);
    let pass_max = bounded(reader, ("high", "pass_max"), pass_max, BITRATES, None);
    let high = target(reader, "high", usual.high, None);
    let mid = target(reader, "mid", usual.mid, Some(("high", high)));
    let low = target(reader, "low", usual.low, Some(("mid", mid)));
    Some(Ladder {
        pass,
        pass_max: pass_max.0,
        targets: Some(Targets { high, mid, low }),
        ..built_in
    })
}

/// The target of the rendition `name`, less in everything than the one above it.
fn target(
    reader: &mut Reader<'_>,
    name: &str,
    usual: Target,
    above: Option<(&str, Target)>,
) -> Target {
    let sides = above.map(|(name, above)| (name, above.short_side));
    let bits = above.map(|(name, above)| (name, Bitrate(above.bitrate)));
    let key = (name, "short_side");
    let short_side = bounded(reader, key, usual.short_side, SHORT_SIDES, sides);
    let key = (name, "bitrate");
    let bitrate = bounded(reader, key, Bitrate(usual.bitrate), BITRATES, bits);
    Target {
        short_side,
        bitrate: bitrate.0,
    }
}

fn bounded<T: Value + Ord + Copy>(
    reader: &mut Reader<'_>,
    (name, key): (&str, &str),
    usual: T,
    (least, most): (T, T),
    above: Option<(&str, T)>,
) -> T {
    let full = format!("{name}.{key}");
    let value = reader.value(&full, usual);
    let expected = match above {
        _ if value < least || value > most => format!("{} to {}", least.show(), most.show()),
        Some((name, above)) if value >= above => {
            format!("less than {name}.{key}, which is {}", above.show())
        }
        _ => return value,
    };
    reader.require(false, &full, expected);
    value
}

/// The ladder of keys that name none.
pub(super) const DEFAULT: &str = "default";

/// Below the least there is nothing to see; above the most no H.264 level of phones goes.
const SHORT_SIDES: (u32, u32) = (120, 2160);

/// Below the least there is nothing to see at any size; the most is beyond what live encoders send.
const BITRATES: (Bitrate, Bitrate) = (Bitrate(50_000), Bitrate(50_000_000));
