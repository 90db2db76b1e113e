use std::io::Cursor;

use mp4::{BoxHeader, EmsgBox, ReadBox as _};
use proptest::prelude::*;

use super::*;

fn parse(json: &str) -> Result<Event, Error> {
    Event::parse(json.as_bytes())
}

fn pinned() -> Event {
    let json = r#"{"id":"evt_01J","type":"listing.pinned","seq":1042,"sync":"media","at":"2026-01-01T12:00:00.000Z","ttl_ms":10000,
        "duration_ms":30000,"close":"evt_01H","later":"unknown","data":{"listing":"lst_1","price":{"amount":198000,"currency":"JPY"}}}"#;
    parse(json).expect("the contract's example")
}

fn place() -> Place {
    Place {
        epoch: 1_767_268_800,
        media_time_ms: 12_345,
        program_date_time: WallTime(1_767_268_812_345),
    }
}

#[test]
fn the_contracts_example_is_read() {
    let event = pinned();
    assert_eq!(event.id, "evt_01J");
    assert_eq!(event.kind.name, "listing.pinned");
    assert_eq!(event.seq, Some(1042));
    assert_eq!(event.at, Some(WallTime(1_767_268_800_000)));
    assert_eq!(event.ttl_ms, 10_000);
    assert_eq!(event.duration_ms, Some(30_000));
    assert_eq!(event.close.as_deref(), Some("evt_01H"));
    assert_eq!(event.data["price"]["amount"], 198_000);
}

#[test]
fn what_is_left_out_has_its_default() {
    let event = parse(r#"{"id":"e","type":"price.changed"}"#).expect("enough");
    let wanted = Event {
        id: "e".to_owned(),
        kind: Kind::parse("price.changed").expect("a type"),
        seq: None,
        at: None,
        ttl_ms: 10_000,
        duration_ms: None,
        close: None,
        data: Map::new(),
    };
    assert_eq!(event, wanted);
    assert!(!event.is_range());
}

#[test]
fn every_wrong_field_is_named_with_what_was_expected() {
    let refused = |json: &str| match parse(json) {
        Err(Error::Fields(faults)) => faults.iter().map(|fault| fault.field).collect(),
        Err(_) => vec!["?"],
        Ok(_) => vec![],
    };
    for (json, wanted) in [
        (r#"[]"#, vec!["?"]),
        (r#"{"id""#, vec!["?"]),
        (r#"{}"#, vec!["id", "type"]),
        (r#"{"id":null,"type":"order.paid"}"#, vec!["id", "type"]),
        (r#"{"id":"a b","type":"show.ended"}"#, vec!["id"]),
        (r#"{"id":"","type":"show.ended"}"#, vec!["id"]),
        (
            r#"{"id":"e","type":"show.ended","sync":"now"}"#,
            vec!["sync"],
        ),
        (
            r#"{"id":"e","type":"show.ended","seq":-1,"at":"noon"}"#,
            vec!["seq", "at"],
        ),
        (
            r#"{"id":"e","type":"show.ended","ttl_ms":0,"duration_ms":86400001,"close":"\"","data":[]}"#,
            vec!["ttl_ms", "duration_ms", "close", "data"],
        ),
        (
            r#"{"id":"e","type":"show.ended","at":null,"data":{}}"#,
            vec![],
        ),
    ] {
        assert_eq!(refused(json), wanted, "{json}");
    }
    let error = parse(r#"{"id":"e","type":"show.ended","ttl_ms":0,"seq":"1"}"#);
    let words = error.expect_err("two are wrong").to_string();
    assert_eq!(
        words,
        "seq: expected a whole number; ttl_ms: expected milliseconds, 1 to 600000"
    );
}

#[test]
fn what_is_too_large_for_the_stream_is_refused_wherever_it_would_land() {
    let of = |kind: &str, bytes: usize| {
        let text = "x".repeat(bytes);
        parse(&format!(
            r#"{{"id":"e","type":"{kind}","data":{{"text":"{text}"}}}}"#
        ))
    };
    let overhead = of("price.changed", 0).expect("small").value(&place()).len();
    assert!(of("price.changed", 1024 - overhead - 40).is_ok());
    assert!(matches!(
        of("price.changed", 1024 - overhead + 1),
        Err(Error::TooLarge { limit: 1024, .. })
    ));
    assert!(of("chat.batch", 2000).is_ok());
    assert!(matches!(
        of("chat.batch", 4096),
        Err(Error::TooLarge { limit: 4096, .. })
    ));
}

#[test]
fn in_the_stream_it_is_without_its_way_and_with_its_place() {
    let placed = Placed::new(pinned(), place());
    let wanted = r#"{"close":"evt_01H","data":{"listing":"lst_1","price":{"amount":198000,"currency":"JPY"}},"duration_ms":30000,"epoch":1767268800,"id":"evt_01J","pdt":"2026-01-01T12:00:12.345Z","seq":1042,"sync":"media","t":12345,"type":"listing.pinned"}"#;
    assert_eq!(placed.value(), wanted);
}

/// Read by the `mp4` crate, whose reader shares nothing with the order in which the fields are given here.
fn read(emsg: &[u8]) -> EmsgBox {
    let mut reader = Cursor::new(emsg);
    let header = BoxHeader::read(&mut reader).expect("a header");
    assert_eq!(header.size, emsg.len() as u64);
    EmsgBox::read_box(&mut reader, header.size).expect("an emsg box")
}

#[test]
fn its_box_is_read_by_an_independent_reader() {
    let placed = Placed::new(pinned(), place());
    let emsg = read(&placed.emsg(7));
    assert_eq!((emsg.version, emsg.flags, emsg.id), (1, 0, 7));
    assert_eq!(emsg.timescale, 1000);
    assert_eq!(emsg.presentation_time, Some(12_345));
    assert_eq!(emsg.event_duration, 30_000);
    assert_eq!(emsg.scheme_id_uri, "https://aomedia.org/emsg/ID3");
    let text = id3::read_user_text(&emsg.message_data);
    assert_eq!(text, Some(("vitrine", placed.value())));
    let edge = parse(r#"{"id":"e","type":"price.changed"}"#).expect("enough");
    assert_eq!(
        read(&Placed::new(edge, place()).emsg(8)).event_duration,
        1000
    );
}

#[test]
fn names_of_types_are_unique_and_what_lasts_is_state() {
    let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in &Kind::ALL {
        assert!(!kind.lasts || kind.class == Class::State, "{}", kind.name);
        assert_eq!(Kind::parse(kind.name), Some(kind));
    }
    assert_eq!(Kind::parse("order.paid"), None);
}

proptest! {
    #[test]
    fn an_event_survives_its_way_through_the_stream(
        id in "[A-Za-z0-9_-]{1,64}",
        kind in 0..Kind::ALL.len(),
        seq in any::<Option<u64>>(),
        media_time_ms in 0..i64::from(u32::MAX),
        text in "\\PC{0,100}",
    ) {
        let posted = json!({ "id": id, "type": Kind::ALL[kind].name, "seq": seq, "data": { "text": text } });
        let event = Event::parse(posted.to_string().as_bytes()).expect("right");
        let placed = Placed::new(event.clone(), Place { media_time_ms, ..place() });
        let emsg = read(&placed.emsg(1));
        let (_, value) = id3::read_user_text(&emsg.message_data).expect("ours");
        prop_assert_eq!(Event::parse(value.as_bytes()), Ok(event));
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Event::parse(&bytes);
    }
}
