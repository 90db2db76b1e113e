//! Random broadcasts with random events: whatever happens to publisher, encoders and process, each accepted event is told
//! exactly once where it stands, and stands exactly there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    super::model::{Broadcast, act, config, source},
    *,
};
use crate::engine::cues::Confirmation;

/// Posts something, or what was posted before; or the publisher sends it.
fn shop(rig: &mut Rig, dice: u64) {
    let id = dice % 40 + rig.now_ms / 20_000 * 40;
    let kind = [
        "price.changed",
        "listing.pinned",
        "like.count",
        "notice.posted",
    ];
    let kind = kind[(dice >> 8) as usize % kind.len()];
    let mut event = price(&format!("e{id}"));
    event.kind = crate::wire::event::Kind::parse(kind).expect("a type");
    if dice >> 16 & 3 == 0 {
        let ms = (dice >> 20 & 0xFFFF) as i64 - 12_000;
        event.at = Some(WallTime(rig.now().wall.0 + ms));
    }
    event.duration_ms = (dice >> 36 & 3 == 0).then_some((dice >> 38 & 0xFFF) as u32 + 1);
    event.close = (dice >> 18 & 1 == 0).then(|| format!("e{}", id.saturating_sub(dice >> 50 & 7)));
    match dice >> 60 {
        0 => rig.send_event(dice as u32, event),
        _ => drop(rig.place(event)),
    }
}

/// What was told of every event, held against what stands in the parts.
fn check(rig: &Rig) {
    let mut told = BTreeMap::new();
    for confirmation in &rig.confirmed {
        let Confirmation {
            event,
            copies,
            missing,
        } = confirmation;
        let mut carriers: Vec<_> = copies
            .iter()
            .map(|copy| copy.0)
            .chain(missing.iter().copied())
            .collect();
        carriers.sort();
        carriers.dedup();
        assert_eq!(
            carriers.len(),
            copies.len() + missing.len(),
            "{confirmation:?}"
        );
        let known = told.insert(event.event.id.clone(), confirmation);
        assert!(known.is_none(), "told twice: {confirmation:?}");
    }
    for id in &rig.accepted {
        assert!(told.contains_key(id), "{id} was lost");
    }
    let mut found = 0;
    for (epoch, rendition, copies) in rig.witness.all() {
        assert!(
            copies.is_sorted_by_key(|copy| copy.t),
            "{rendition}: {copies:?}"
        );
        for copy in copies {
            found += 1;
            let confirmation = told
                .get(&copy.id)
                .unwrap_or_else(|| panic!("not told: {copy:?}"));
            assert_eq!(confirmation.event.place.epoch, epoch);
            let place = (rendition, copy.msn, copy.part);
            assert!(
                confirmation.copies.contains(&place),
                "{place:?} in {confirmation:?}"
            );
            let text = confirmation.event.value().as_bytes();
            assert!(copy.bytes.ends_with(text), "the same text everywhere");
            assert!(copy.t < copy.ends_ms, "{copy:?}");
            assert!(
                copy.free_from_ms <= copy.t || in_its_part(copy),
                "not where it could be: {copy:?}"
            );
        }
    }
    let copies: usize = rig.confirmed.iter().map(|it| it.copies.len()).sum();
    assert_eq!(found, copies, "told where there is nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 2, ..config() })]

    #[test]
    fn every_event_is_told_once_and_stands_where_it_was_told(
        source in source(),
        acts in prop::collection::vec(act(), 1..8),
        seed in any::<u64>(),
    ) {
        let mut broadcast = Broadcast::open(source, seed);
        broadcast.aside = Some(shop);
        // The player's rules are kept by every broadcast; here it looks for what ranges add to them.
        broadcast.rig.watching = seed % 4 == 0;
        for act in &acts {
            broadcast.act(act);
        }
        let mut rig = broadcast.rig;
        rig.close(End::Lost);
        rig.pass(25_000);
        prop_assert!(rig.closed);
        check(&rig);
    }
}
