//! Bodies of the targets that meet a publisher's bytes: chunks, AMF0, and a whole publish session.
//!
//! Each checks what must hold of any input beside not panicking: bounds, and that how bytes are cut changes nothing.

use std::time::Duration;

use vitrine_core::{
    engine::publish::{Output, Session, Verdict},
    limits,
    wire::{
        amf0,
        chunk::{Error, Message, Reader},
    },
};

/// Chunks read at once and byte by byte are the same messages, and the same end.
pub fn chunk(data: &[u8]) {
    let whole = read(&mut Reader::new(), data);
    let mut reader = Reader::new();
    let mut pieces = (Vec::new(), None);
    for byte in data {
        let (messages, error) = read(&mut reader, std::slice::from_ref(byte));
        pieces.0.extend(messages);
        if error.is_some() {
            pieces.1 = error;
            break;
        }
    }
    assert_eq!(whole.0, pieces.0);
    assert_eq!(whole.1.is_some(), pieces.1.is_some());
    let bytes: usize = whole.0.iter().map(|message| message.payload.len()).sum();
    assert!(bytes <= data.len());
}

fn read(reader: &mut Reader, mut input: &[u8]) -> (Vec<Message>, Option<Error>) {
    let mut messages = Vec::new();
    loop {
        match reader.push(&mut input) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

/// What can be read can be written, and then reads back as written.
pub fn amf0(data: &[u8]) {
    let values: Vec<_> = amf0::parse(data).map_while(Result::ok).collect();
    assert!(values.len() <= limits::AMF0_VALUES_MAX);
    let mut written = Vec::new();
    values
        .iter()
        .for_each(|value| amf0::write(value, &mut written));
    let again: Vec<_> = amf0::parse(&written).map_while(Result::ok).collect();
    let mut rewritten = Vec::new();
    again
        .iter()
        .for_each(|value| amf0::write(value, &mut rewritten));
    assert_eq!(written, rewritten);
}

/// A publish session under a script of steps: an operation byte, then its operands (see [`Script`]).
pub fn publish(data: &[u8]) {
    let (mut script, mut now) = (Script(data), Duration::ZERO);
    let mut session = Session::new(now);
    let (mut asked, mut stopped, mut accepted, mut ended) = (0, 0, false, false);
    while let Some(step) = script.step() {
        match step {
            Step::Bytes(bytes) => ended |= session.push(now, &bytes).is_err(),
            Step::Accept => {
                accepted |= asked > stopped;
                session.verdict(now, Verdict::Accept);
            }
            Step::Deny => session.verdict(now, Verdict::Deny("no".to_owned())),
            Step::Wait(time) => {
                now += time;
                ended |= session.expire(now).is_err();
            }
            Step::Kick => session.kick("kicked"),
            Step::Drain => {
                session.drain("drained");
            }
        }
        while let Some(output) = session.poll() {
            match output {
                Output::Publish(_) => asked += 1,
                Output::Stopped => stopped += 1,
                Output::Media(_) | Output::Metadata(_) | Output::Event(_) => {
                    assert!(accepted, "media before a verdict")
                }
                Output::Close(_) => ended = true,
                Output::Send(_) => {}
            }
        }
        assert!(
            stopped <= asked && asked <= stopped + 1,
            "one stop per publish"
        );
        assert!(!ended || session.deadline().is_none(), "the end is final");
    }
}

enum Step {
    Bytes(Vec<u8>),
    Accept,
    Deny,
    Wait(Duration),
    Kick,
    Drain,
}

/// What is left of a script. Operations: 0 `length16 bytes`; 1 `type stream time8 length8 body`, sent as a whole chunk so
/// that the fuzzer need not find the framing; 2 accept; 3 deny; 4 `milliseconds16`; 5 kick; 6 drain.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn step(&mut self) -> Option<Step> {
        Some(match self.byte()? % 7 {
            0 => {
                let length = self.word()?;
                Step::Bytes(self.bytes(length))
            }
            1 => {
                let (type_id, stream, time) = (self.byte()? % 24, self.byte()? % 3, self.byte()?);
                let length = usize::from(self.byte()?).min(128);
                let body = self.bytes(length);
                let head = [
                    3,
                    0,
                    0,
                    time,
                    0,
                    0,
                    body.len() as u8,
                    type_id,
                    stream,
                    0,
                    0,
                    0,
                ];
                Step::Bytes([&head[..], &body].concat())
            }
            2 => Step::Accept,
            3 => Step::Deny,
            4 => Step::Wait(Duration::from_millis(self.word()? as u64)),
            5 => Step::Kick,
            _ => Step::Drain,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([
            self.byte()?,
            self.byte()?,
        ])))
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }
}
