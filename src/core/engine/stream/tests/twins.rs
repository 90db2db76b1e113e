//! Two origins that are told the same epoch and sent the same items answer alike, whenever the items arrive.

use super::{
    End, FRAME_MS, Item, Notice, Rendition, Rig, Source, rig::EPOCH, segments, source::aac,
};

/// Items as a path of its own delivers them: in order, each up to `jitter_ms` late.
fn delivered(items: &[(u64, Item)], jitter_ms: u64, seed: u64) -> Vec<(u64, Item)> {
    let (mut random, mut newest) = (seed, 0);
    (items.iter())
        .map(|(ms, item)| {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            newest = newest.max(ms + (random >> 33) % (jitter_ms + 1));
            (newest, item.clone())
        })
        .collect()
}

/// A broadcast of two sessions, the second soon after the first, over a path with `jitter_ms`, connected `late_ms` late.
fn play(named: bool, late_ms: u64, jitter_ms: u64) -> Rig {
    let mut rig = Rig::new(FRAME_MS);
    rig.watching = false; // bursts are no matter here
    let source = Source::new((30_000, 1001), 30, Some(aac(44_100, false)));
    rig.pass(late_ms);
    for seconds in [12, 9] {
        rig.open_as(EPOCH, named);
        rig.send(delivered(
            &source.items(0, seconds * 1000),
            jitter_ms,
            late_ms + 1,
        ));
        rig.close(End::Lost);
        rig.pass(300);
    }
    rig
}

fn assert_alike(one: &Rig, other: &Rig) {
    assert_eq!(one.epochs.keys().collect::<Vec<_>>(), [&EPOCH]);
    assert_eq!(one.multivariant(), other.multivariant());
    for rendition in [Rendition::High, Rendition::Audio] {
        assert_eq!(one.playlist(rendition), other.playlist(rendition));
        assert_eq!(segments(one, rendition), segments(other, rendition));
    }
}

#[test]
fn a_named_epoch_is_alike_in_both_wherever_and_whenever_its_media_arrives() {
    let (one, other) = (play(true, 0, 0), play(true, 2345, 400));
    assert!(one.notices.contains(&Notice::Joined));
    assert_alike(&one, &other);
    let first = &segments(&one, Rendition::High)[0];
    assert_eq!(first.program_date_time.0, EPOCH as i64 * 1000);
}

#[test]
#[should_panic(expected = "assertion")]
fn an_epoch_of_arrival_is_not() {
    assert_alike(&play(false, 0, 0), &play(false, 2345, 0));
}

#[test]
fn another_name_ends_the_epoch_that_runs() {
    let mut rig = Rig::new(FRAME_MS);
    let items = Source::usual().items(0, 5000);
    for epoch in [EPOCH, EPOCH, EPOCH + 6] {
        rig.open_as(epoch, true);
        rig.send(items.clone());
    }
    assert_eq!(
        rig.epochs.keys().collect::<Vec<_>>(),
        [&EPOCH, &(EPOCH + 6)]
    );
    assert!(rig.epochs[&EPOCH].ended);
    let first = &segments(&rig, Rendition::High)[0];
    assert_eq!(first.program_date_time.0, (EPOCH as i64 + 6) * 1000);
}
