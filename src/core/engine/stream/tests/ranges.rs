//! The rules of date ranges (`docs/conformance.md`, D) that a show must keep, one test each: what is pinned, what is closed,
//! what is known to end, over an outage, with a ladder that lags. As for the other rules, a model player judges.

use super::{End, Rig, Source, avc_large};
use crate::{
    engine::{ladder::Ladder, player::judged_by},
    media::Rendition,
    wire::{event::Event, m3u8::media::Form},
};

/// What happens in the shop: after so many seconds, which event.
const SHOW: [(u64, &str); 8] = [
    (4, r#"{"id":"show","type":"show.started"}"#),
    (
        5,
        r#"{"id":"pin1","type":"listing.pinned","data":{"listing":"lst_1"}}"#,
    ),
    (6, r#"{"id":"price1","type":"price.changed"}"#),
    (
        7,
        r#"{"id":"sale1","type":"flash.started","duration_ms":2500}"#,
    ),
    (9, r#"{"id":"pin2","type":"listing.pinned","close":"pin1"}"#),
    (
        15,
        r#"{"id":"offer1","type":"price.changed","duration_ms":40000}"#,
    ),
    (
        22,
        r#"{"id":"unpin2","type":"listing.unpinned","close":"pin2"}"#,
    ),
    (30, r#"{"id":"slide1","type":"slide.changed"}"#),
];

/// The first 32 seconds of it, and what is sent.
pub(super) fn on_air() -> (Rig, Source) {
    let mut rig = Rig::new(50);
    rig.ladder = Some(Ladder::default());
    rig.encoders.behind = 4;
    let mut source = Source::usual();
    source.pictures.as_mut().expect("pictures").config = avc_large();
    rig.open();
    let mut now_ms = 0;
    let mut send = |rig: &mut Rig, until_ms: u64| {
        let items = source.items(now_ms, until_ms).into_iter();
        rig.send(items.map(|(ms, item)| (ms - now_ms, item)));
        now_ms = until_ms;
    };
    for (seconds, json) in SHOW {
        send(&mut rig, seconds * 1000);
        let event = Event::parse(json.as_bytes()).expect("an event");
        rig.place(event).expect("live");
    }
    send(&mut rig, 32_000);
    (rig, source)
}

/// The whole of it: a network that is lost and comes back, and the end.
fn show() -> Rig {
    let (mut rig, source) = on_air();
    rig.close(End::Lost);
    rig.pass(6_000);
    rig.broadcast(&source, 30);
    rig.close(End::Stopped);
    rig.pass(5_000);
    rig
}

fn the_show_keeps(rule: &'static str) {
    let judged = judged_by(rule, || {
        let epochs = show().epochs;
        epochs
            .into_values()
            .for_each(|mut shown| shown.player.finish());
    });
    assert!(judged > 1000, "{rule} was judged {judged} times");
}

/// The ids that the newest version of a playlist lists.
fn listed(rig: &Rig, form: Form) -> Vec<String> {
    let text = rig.shown().snapshots[&Rendition::High].playlist(form);
    let ids = text
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-DATERANGE:ID=\""));
    ids.map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn d1_ranges_are_dated_and_so_is_every_segment() {
    the_show_keeps("D1");
}

#[test]
fn d2_a_range_stays_while_any_of_it_is_in_the_window() {
    the_show_keeps("D2");
}

#[test]
fn d3_nothing_of_a_range_changes_but_that_it_ends() {
    the_show_keeps("D3");
}

#[test]
fn d4_all_renditions_list_the_same_ranges() {
    the_show_keeps("D4");
}

#[test]
fn d5_no_range_ends_where_another_begins() {
    the_show_keeps("D5");
}

#[test]
fn d6_what_lasts_is_a_range_and_a_moment_is_none() {
    let rig = show();
    assert_eq!(listed(&rig, Form::Full), ["show", "offer1", "slide1"]);
    assert_eq!(rig.epochs.len(), 1);
}

#[test]
fn d7_a_delta_update_hides_no_range() {
    the_show_keeps("D7");
}

#[test]
fn d8_client_data_is_in_attributes_of_its_own() {
    the_show_keeps("D8");
}
