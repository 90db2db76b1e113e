//! Events of the shop: what backends post, what encoders send, and how both ride in the stream.
//!
//! Whatever is taken for an event must come out of the stream as it went in, read by what is not ours: the box by `mp4`, the
//! tag by `id3`, the attribute of a playlist by `base64`.

use std::{io::Cursor, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use mp4::{BoxHeader, EmsgBox, ReadBox as _};
use vitrine_core::{
    engine::publish::{Output, Session, Verdict},
    limits,
    media::WallTime,
    wire::{
        amf0::{self, Value},
        event::{Event, Place, Placed},
        id3::{read_user_text, user_text},
        m3u8::range::Range,
    },
};

/// Bytes that a backend posts.
pub fn event(data: &[u8]) {
    match Event::parse(data) {
        Ok(event) => rides(event),
        Err(error) => assert!(error.to_string().len() < 1000, "told in a few words"),
    }
}

/// The body of a data message that an encoder sends: AMF0 behind whatever stands in front of it.
pub fn amf_event(data: &[u8]) {
    let mut session = publishing();
    session
        .push(Duration::ZERO, &message(18, 1, data))
        .expect("no data message ends a publish");
    while let Some(output) = session.poll() {
        if let Output::Event(sent) = output {
            match sent.read("ses_01JABCDEFGHJKMNPQRSTVWXYZ0") {
                Ok(event) => {
                    assert_eq!(event.at, None, "its place is the timestamp of the message");
                    rides(event);
                }
                Err(error) => assert!(error.to_string().len() < 1000, "told in a few words"),
            }
        }
    }
}

/// Description and value, a zero byte between them.
pub fn id3(data: &[u8]) {
    if let Some((description, value)) = read_user_text(data) {
        assert_eq!(
            user_text(description, value),
            data,
            "read as it was written"
        );
    }
    let text = String::from_utf8_lossy(data);
    let (description, value) = text.split_once('\0').unwrap_or(("vitrine", &text));
    let tag = user_text(description, value);
    assert_eq!(read_user_text(&tag), Some((description, value)));
    // A text may be a list in this frame, which others take a zero byte for; ours never holds one.
    if !value.contains('\0') {
        assert_eq!(
            other_reader(&tag),
            (description.to_owned(), value.to_owned())
        );
    }
}

/// What somebody else reads in a tag of one user text frame.
fn other_reader(tag: &[u8]) -> (String, String) {
    let tag = id3::Tag::read_from2(Cursor::new(tag)).expect("a tag");
    assert_eq!(tag.version(), id3::Version::Id3v24);
    let mut texts = tag.extended_texts();
    let text = texts.next().expect("a user text frame");
    assert!(texts.next().is_none() && tag.frames().count() == 1);
    (text.description.clone(), text.value.clone())
}

/// An event, all its way to the players.
fn rides(event: Event) {
    let place = Place {
        epoch: 1_767_268_800,
        media_time_ms: 12_345,
        program_date_time: WallTime(1_767_268_812_345),
    };
    let placed = Placed::new(event.clone(), place);
    assert!(placed.value().len() <= limits::CHAT_BATCH_VALUE_BYTES_MAX);
    let without_at = Event {
        at: None,
        ttl_ms: limits::EVENT_TTL_MS,
        ..event
    };
    assert_eq!(Event::parse(placed.value().as_bytes()), Ok(without_at));

    let bytes = placed.emsg(7);
    let mut reader = Cursor::new(&bytes[..]);
    let header = BoxHeader::read(&mut reader).expect("a header");
    assert_eq!(header.size, bytes.len() as u64);
    let emsg = EmsgBox::read_box(&mut reader, header.size).expect("a box");
    assert_eq!((emsg.id, emsg.presentation_time), (7, Some(12_345)));
    let (description, value) = other_reader(&emsg.message_data);
    assert_eq!((&*description, &*value), ("vitrine", placed.value()));

    let Some(range) = Range::of(&placed) else {
        return;
    };
    let line = range.to_string();
    assert!(line.len() < range.line_bytes_max());
    assert!(!line.contains(char::is_control) && line.is_ascii());
    let (_, value) = line.split_once("X-VITRINE=\"").expect("the attribute");
    let value = value.strip_suffix('"').expect("quoted");
    let value = BASE64_URL_SAFE_NO_PAD.decode(value).expect("base64url");
    assert_eq!(value, placed.value().as_bytes());
}

/// A session whose publish was accepted.
fn publishing() -> Session {
    let call = |name: &str, stream, arguments: &[Value]| {
        let mut body = Vec::new();
        for value in [name.into(), 1.0.into()].iter().chain(arguments) {
            amf0::write(value, &mut body);
        }
        message(20, stream, &body)
    };
    let properties = [("app", "live"), ("tcUrl", "rtmp://h/live")];
    let properties = properties.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let mut session = Session::new(Duration::ZERO);
    for bytes in [
        // Set Chunk Size: every message is one chunk.
        message(1, 0, &0xFF_FFFF_u32.to_be_bytes()),
        call("connect", 0, &[Value::Object(properties.into())]),
        call("createStream", 0, &[Value::Null]),
        call("publish", 1, &[Value::Null, "key".into()]),
    ] {
        let read = session.push(Duration::ZERO, &bytes);
        read.expect("what every encoder sends");
    }
    session.verdict(Duration::ZERO, Verdict::Accept);
    while session.poll().is_some() {}
    session
}

/// One message in one chunk.
fn message(type_id: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("what a fuzzer makes");
    let [_, l2, l1, l0] = length.to_be_bytes();
    let head = [3, 0, 0, 0, l2, l1, l0, type_id, stream, 0, 0, 0];
    [&head, body].concat()
}

#[cfg(test)]
mod tests {
    fn replay(name: &str, body: fn(&[u8]), least: usize) {
        let corpus = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let seeds: Vec<_> = std::fs::read_dir(corpus).expect("committed").collect();
        assert!(seeds.len() >= least, "{name}: {} seeds", seeds.len());
        for seed in seeds {
            body(&std::fs::read(seed.expect("readable").path()).expect("readable"));
        }
    }

    #[test]
    fn the_seeds_pass() {
        replay("event", super::event, 12);
        replay("amf_event", super::amf_event, 12);
        replay("id3", super::id3, 6);
    }
}
