//! The sliding list: what stays, what leaves and when, and random lives of it under the model player.

use proptest::prelude::*;

use super::*;
use crate::{engine::player::Player, media::Rendition};

const CONSTANTS: Constants = Constants {
    target_duration: 2,
    part_target_ms: 501,
    part_hold_back_ms: 1503,
};

fn window(length_ms: i64) -> Window {
    Window::new(CONSTANTS, Timescale::MILLIS, MediaTime::from_ms(length_ms))
}

fn begin(window: &mut Window, discontinuity: bool, init: u32) {
    let start = window.end_time();
    let wall = WallTime(1_767_268_800_000 + start);
    window.begin_segment(start, wall, discontinuity, init);
}

/// A segment of four parts of half a second.
fn segment(window: &mut Window, discontinuity: bool, init: u32) {
    begin(window, discontinuity, init);
    for index in 0..4 {
        let data = Bytes::from(format!("part {}", window.next_part));
        window.add_part(500, index == 0, Some(data));
    }
    window.end_segment(window.end_time());
    window.check_invariants();
}

#[test]
fn t11_at_least_nine_target_durations_stay_listed() {
    let mut window = window(1);
    let init = window.add_init(Bytes::from_static(b"init"));
    for _ in 0..9 {
        segment(&mut window, false, init);
    }
    assert_eq!(window.snapshot(Vec::new()).listed[0].msn, 0);
    segment(&mut window, false, init);
    let snapshot = window.snapshot(Vec::new());
    assert_eq!((snapshot.listed[0].msn, snapshot.listed.len()), (1, 9));
    assert_eq!(snapshot.retained[0].msn, 0);
}

#[test]
fn h6_what_left_stays_by_time_and_then_goes() {
    let mut window = window(20_000);
    let init = window.add_init(Bytes::from_static(b"init"));
    let mut gone_at = None;
    for _ in 0..60 {
        segment(&mut window, false, init);
        let snapshot = window.snapshot(Vec::new());
        if snapshot.segment(0).is_none() {
            gone_at = gone_at.or(Some(window.end_time()));
            assert_eq!(snapshot.part(0), None);
        }
    }
    // Left at 22 s; promised for its own 2 s, the 22 s of that list, and the slack.
    assert_eq!(
        gone_at,
        Some(22_000 + 2_000 + 22_000 + limits::RETENTION_SLACK_MS)
    );
    let held: usize = window.all().map(|segment| segment.bytes()).sum();
    assert_eq!(window.retained_bytes(), held);
    assert_eq!(window.all().count(), 27);
}

#[test]
fn p1_p2_discontinuities_are_counted_when_they_leave() {
    let mut window = window(1);
    let init = window.add_init(Bytes::from_static(b"init"));
    segment(&mut window, false, init);
    segment(&mut window, true, init);
    for _ in 0..8 {
        segment(&mut window, false, init);
    }
    assert_eq!(window.snapshot(Vec::new()).discontinuity_sequence, 0);
    segment(&mut window, false, init);
    assert_eq!(window.snapshot(Vec::new()).discontinuity_sequence, 1);
}

#[test]
fn equal_inits_share_a_number_and_numbers_never_return() {
    let mut window = window(1);
    let first = window.add_init(Bytes::from_static(b"a"));
    assert_eq!(window.add_init(Bytes::from_static(b"a")), first);
    segment(&mut window, false, first);
    let second = window.add_init(Bytes::from_static(b"b"));
    assert_eq!((first, second), (0, 1));
    for _ in 0..40 {
        segment(&mut window, false, second);
    }
    let snapshot = window.snapshot(Vec::new());
    assert_eq!(snapshot.init(first), None);
    assert_eq!(snapshot.init(second), Some(&Bytes::from_static(b"b")));
    assert_eq!(window.add_init(Bytes::from_static(b"a")), 2);
}

#[test]
fn a_segment_without_parts_never_happened_but_its_discontinuity_did() {
    let mut window = window(1);
    let init = window.add_init(Bytes::from_static(b"init"));
    segment(&mut window, false, init);
    begin(&mut window, true, init);
    let snapshot = window.snapshot(Vec::new());
    assert!(snapshot.open.is_none());
    assert_eq!((snapshot.next_msn, snapshot.edge()), (1, Some((0, 3))));
    window.end_segment(2_000);
    begin(&mut window, true, init);
    window.add_part(500, true, None);
    let open = window.snapshot(Vec::new()).open.expect("it has a part");
    assert_eq!((open.msn, open.discontinuity), (1, true));
    window.end_segment(2_500);
    begin(&mut window, false, init);
    window.add_part(500, true, None);
    assert!(
        !window
            .snapshot(Vec::new())
            .open
            .expect("it has a part")
            .discontinuity
    );
}

#[test]
fn a_snapshot_finds_every_part_and_segment_it_holds_and_no_other() {
    let mut window = window(1);
    let init = window.add_init(Bytes::from_static(b"init"));
    assert_eq!(window.snapshot(Vec::new()).part(0), None);
    for _ in 0..30 {
        segment(&mut window, false, init);
    }
    begin(&mut window, false, init);
    window.add_part(500, true, Some(Bytes::from_static(b"part 120")));
    window.add_part(500, false, None);
    let snapshot = window.snapshot(Vec::new());
    let oldest = snapshot.retained[0].parts[0].number;
    assert!(oldest > 0 && !snapshot.retained.is_empty());
    for number in 0..130 {
        let want = (oldest..=120)
            .contains(&number)
            .then(|| format!("part {number}"));
        assert_eq!(
            snapshot.part(number).map(|data| &data[..]),
            want.as_ref().map(|want| want.as_bytes())
        );
    }
    for msn in 0..35 {
        let want = (oldest / 4..30).contains(&msn).then_some(msn);
        assert_eq!(snapshot.segment(msn).map(|segment| segment.msn), want);
    }
    assert_eq!(
        (snapshot.edge(), window.edge()),
        (Some((30, 1)), Some((30, 1)))
    );
}

#[derive(Clone, Debug)]
struct Plan {
    parts: Vec<(u32, bool)>,
    /// How far the end of the segment is from what the lengths of its parts foretold.
    surprise: i64,
    discontinuity: bool,
    init: Option<u8>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let parts = prop::collection::vec((430_u32..=501, prop::bool::weighted(0.05)), 0..=4);
    let init = prop::option::weighted(0.1, 0..3_u8);
    (parts, -20_i64..=20, prop::bool::weighted(0.1), init).prop_map(
        |(parts, surprise, discontinuity, init)| Plan {
            parts,
            surprise,
            discontinuity,
            init,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// P1 to P14, T, H, B and R over random lives: two renditions cut alike, each part published when it is complete.
    #[test]
    fn every_version_of_a_random_list_keeps_the_rules(
        length_ms in 1_i64..30_000,
        plans in prop::collection::vec(plan(), 1..70),
    ) {
        let mut player = Player::new(34.0).wanting_spread_ms(502);
        let mut windows = [Rendition::High, Rendition::Audio].map(|rendition| (rendition, window(length_ms)));
        let (mut bytes, mut now_ms) = (0_u8, 0);
        let mut init = windows.each_mut().map(|(_, window)| window.add_init(Bytes::from_static(&[9])))[0];
        for Plan { parts, surprise, discontinuity, init: change } in plans {
            let mut discontinuity = discontinuity;
            if let Some(change) = change.filter(|change| *change != bytes) {
                bytes = change;
                discontinuity = true;
                for (_, window) in &mut windows {
                    init = window.add_init(Bytes::from(vec![change]));
                }
            }
            for (_, window) in &mut windows {
                begin(window, discontinuity, init);
            }
            for (index, (duration, gap)) in parts.into_iter().enumerate() {
                for (rendition, window) in &mut windows {
                    let data = Bytes::from(format!("{rendition} {}", window.next_part));
                    window.add_part(duration, index == 0, (!gap).then_some(data));
                }
                publish(&mut player, &mut now_ms, &windows);
            }
            for (_, window) in &mut windows {
                window.end_segment(window.end_time() + surprise);
            }
            publish(&mut player, &mut now_ms, &windows);
        }
        for (_, window) in &mut windows {
            window.end();
        }
        publish(&mut player, &mut now_ms, &windows);
        if windows[0].1.edge().is_some() {
            player.finish();
        }
    }
}

fn publish(player: &mut Player, now_ms: &mut i64, windows: &[(Rendition, Window); 2]) {
    *now_ms = windows[0].1.end_time().max(*now_ms);
    for (rendition, window) in windows {
        window.check_invariants();
        if window.edge().is_none() {
            continue;
        }
        let reports = windows
            .iter()
            .filter(|(other, _)| other != rendition)
            .filter_map(|(other, window)| {
                let (last_msn, last_part) = window.edge()?;
                let uri = format!("../{other}/index.m3u8");
                Some(Report {
                    uri,
                    last_msn,
                    last_part,
                })
            });
        player.observe(*now_ms, *rendition, &window.snapshot(reports.collect()));
    }
}
