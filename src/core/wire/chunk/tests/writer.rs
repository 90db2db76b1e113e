//! A round trip against an independent writer that takes every liberty the protocol leaves.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// A message to write and the liberties to take with it.
#[derive(Clone, Debug)]
struct Draft {
    id: u32,
    type_id: u8,
    stream: u32,
    delta: u32,
    length: usize,
    /// The most compressed header format wanted.
    format: u8,
    /// Whether format 3 headers repeat an extended timestamp.
    repeats: bool,
}

fn draft() -> impl Strategy<Value = Draft> {
    let id = prop::sample::select(vec![3, 5, 63, 64, 319, 320, 65599]);
    let type_id = prop::sample::select(vec![8, 9, 18, 20]);
    let delta = prop_oneof![
        Just(0_u32),
        Just(20),
        Just(0xFF_FFFE),
        Just(0xFF_FFFF),
        Just(0x0100_0000),
        any::<u32>()
    ];
    let length = prop::sample::select(vec![0_usize, 1, 4, 127, 128, 129, 600]);
    (id, type_id, 0..2_u32, delta, length, 0..4_u8, any::<bool>()).prop_map(
        |(id, type_id, stream, delta, length, format, repeats)| Draft {
            id,
            type_id,
            stream,
            delta,
            length,
            format,
            repeats,
        },
    )
}

/// The state of the writer for one chunk stream.
#[derive(Default)]
struct Lane {
    last: Option<(Message, u32, bool)>,
    queue: VecDeque<Draft>,
    left: usize,
    open: Option<(Message, Vec<u8>)>,
}

impl Lane {
    /// Header of the next message and the bytes that precede its further chunks.
    fn start(&mut self, draft: &Draft) -> Vec<u8> {
        let before = self.last.take();
        let clock = before.as_ref().map_or(0, |(message, ..)| message.timestamp);
        let time = clock.wrapping_add(draft.delta);
        let next = message(draft.type_id, draft.stream, time, &vec![0xEE; draft.length]);
        let allowed = match &before {
            Some((old, delta, _)) if old.stream_id == next.stream_id => {
                let same = (old.type_id, old.payload.len()) == (next.type_id, next.payload.len());
                if same && *delta == draft.delta {
                    3
                } else if same {
                    2
                } else {
                    1
                }
            }
            _ => 0,
        };
        let format = draft.format.min(allowed);
        let field = if format == 0 { time } else { draft.delta };
        // Payload is 0xEE: a field that begins so could be taken for it.
        let ambiguous = field >> 24 == 0xEE || time >> 24 == 0xEE || clock >> 24 == 0xEE;
        let (field, extended) = match (&before, format) {
            (Some((old, delta, true)), 3) if *delta != 0 || old.timestamp < EXTENDED => {
                (*delta, true)
            }
            (Some((old, _, true)), 3) => (old.timestamp, true),
            (_, 3) => (0, false),
            _ => (field, field >= EXTENDED),
        };
        let tail = if extended && (draft.repeats || ambiguous) {
            field.to_be_bytes().to_vec()
        } else {
            vec![]
        };
        let mut head = header(
            format,
            draft.id,
            field,
            draft.length,
            draft.type_id,
            draft.stream,
        );
        let again = [header(3, draft.id, 0, 0, 0, 0), tail.clone()].concat();
        if format == 3 {
            head = again.clone();
        }
        let delta = match format {
            0 if time > 1000 => 0,
            0 => time,
            _ => draft.delta,
        };
        self.last = Some((next.clone(), delta, extended));
        self.left = draft.length;
        self.open = Some((next, again));
        head
    }
}

fn write(drafts: &[Draft], schedule: &[(usize, Option<u32>)]) -> (Vec<u8>, Vec<Message>) {
    let mut lanes: BTreeMap<u32, Lane> = BTreeMap::new();
    for draft in drafts {
        lanes
            .entry(draft.id)
            .or_default()
            .queue
            .push_back(draft.clone());
    }
    let (mut bytes, mut expect, mut chunk_size) = (vec![], vec![], 128);
    for (pick, resize) in schedule.iter().cycle() {
        lanes.retain(|_, lane| lane.open.is_some() || !lane.queue.is_empty());
        if lanes.is_empty() {
            break;
        }
        let count = lanes.len();
        if let Some(size) = resize {
            // The announcement itself still comes in chunks of the former size.
            let announcement = control(kind::SET_CHUNK_SIZE, *size);
            bytes.extend(&announcement[..12]);
            let body: Vec<_> = announcement[12..].chunks(chunk_size).collect();
            bytes.extend(body.join(&0xC2));
            chunk_size = *size as usize;
        }
        let lane = lanes.values_mut().nth(pick % count).unwrap();
        let head = match &lane.open {
            Some((_, again)) => again.clone(),
            None => {
                let draft = lane.queue.pop_front().unwrap();
                lane.start(&draft)
            }
        };
        let length = lane.left.min(chunk_size);
        lane.left -= length;
        bytes.extend(head);
        bytes.extend(vec![0xEE; length]);
        if lane.left == 0 {
            expect.extend(lane.open.take().map(|(message, _)| message));
        }
    }
    (bytes, expect)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_chunks_split_anywhere_read_back_equal(
        drafts in prop::collection::vec(draft(), 1..24),
        schedule in prop::collection::vec((0..8_usize, prop::option::weighted(0.2, 1..700_u32)), 1..40),
        cuts in prop::collection::vec(1..90_usize, 1..20),
    ) {
        let (bytes, expect) = write(&drafts, &schedule);
        let (mut reader, mut read_back, mut rest) = (Reader::new(), vec![], &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            read_back.extend(read(&mut reader, piece).unwrap());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read_back, expect);
        prop_assert_eq!(reader.buffered, 0);
        prop_assert_eq!(reader.received(), bytes.len() as u64);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_hold_more_than_it_may(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let mut reader = Reader::new();
        let mut input = &bytes[..];
        while let Ok(Some(message)) = reader.push(&mut input) {
            prop_assert!(message.payload.len() <= bytes.len());
        }
        prop_assert!(reader.buffered <= bytes.len());
    }
}
