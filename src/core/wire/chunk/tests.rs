//! The chunk items of the RTMP survival list, byte by byte; `writer` holds the round trip.

#![allow(clippy::unwrap_used)]

mod writer;

use super::*;

/// A chunk header; `time` is written as given, with the extended field when it does not fit.
fn header(format: u8, id: u32, time: u32, length: usize, type_id: u8, stream: u32) -> Vec<u8> {
    let mut out = match id {
        0..64 => vec![format << 6 | id as u8],
        64..320 => vec![format << 6, (id - 64) as u8],
        _ => {
            let [low, high, ..] = (id - 64).to_le_bytes();
            vec![format << 6 | 1, low, high]
        }
    };
    if format < 3 {
        out.extend(&time.min(EXTENDED).to_be_bytes()[1..]);
    }
    if format < 2 {
        out.extend(&(length as u32).to_be_bytes()[1..]);
        out.push(type_id);
    }
    if format == 0 {
        out.extend(stream.to_le_bytes());
    }
    if format < 3 && time >= EXTENDED {
        out.extend(time.to_be_bytes());
    }
    out
}

fn message(type_id: u8, stream_id: u32, timestamp: u32, payload: &[u8]) -> Message {
    Message {
        type_id,
        stream_id,
        timestamp,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn read(reader: &mut Reader, mut bytes: &[u8]) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    while let Some(message) = reader.push(&mut bytes)? {
        messages.push(message);
    }
    assert!(bytes.is_empty(), "all input is consumed");
    Ok(messages)
}

/// Reads the pieces joined, whole and byte by byte.
fn check(pieces: &[&[u8]], expect: &[Message]) {
    let bytes = pieces.concat();
    assert_eq!(read(&mut Reader::new(), &bytes).unwrap(), expect, "whole");
    let mut reader = Reader::new();
    let bytewise: Vec<_> = bytes
        .iter()
        .flat_map(|byte| read(&mut reader, &[*byte]).unwrap())
        .collect();
    assert_eq!(bytewise, expect, "byte by byte");
    assert_eq!(reader.received(), bytes.len() as u64);
}

fn control(type_id: u8, value: u32) -> Vec<u8> {
    [header(0, 2, 0, 4, type_id, 0), value.to_be_bytes().to_vec()].concat()
}

#[test]
fn s01_chunk_size_is_128_until_set_even_between_chunks_of_a_message() {
    let body = [7; 300];
    check(
        &[
            &header(0, 6, 5, 300, kind::VIDEO, 1),
            &body[..128],
            &control(kind::SET_CHUNK_SIZE, 100),
            &[0xC6],
            &body[..100],
            &control(kind::SET_CHUNK_SIZE, 0x7FFF_FFFF),
            &[0xC6],
            &body[..72],
        ],
        &[message(kind::VIDEO, 1, 5, &body)],
    );
}

#[test]
fn s01_chunk_sizes_of_zero_or_with_the_high_bit_are_refused() {
    for size in [0, 0x8000_0000, u32::MAX] {
        let error = read(&mut Reader::new(), &control(kind::SET_CHUNK_SIZE, size)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Malformed {
                    what: "Set Chunk Size",
                    at: 12,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn s02_basic_headers_of_one_two_and_three_bytes() {
    for id in [2, 3, 29, 33, 63, 64, 255, 319, 320, 1000, 65599] {
        check(
            &[
                &header(0, id, 9, 2, kind::AUDIO, 1),
                b"ab",
                &header(2, id, 20, 0, 0, 0),
                b"cd",
            ],
            &[
                message(kind::AUDIO, 1, 9, b"ab"),
                message(kind::AUDIO, 1, 29, b"cd"),
            ],
        );
    }
    // Id 64 written in three bytes is the same chunk stream as in two.
    check(
        &[
            &[0x00, 0],
            &header(0, 3, 9, 2, kind::AUDIO, 1)[1..],
            b"ab",
            &[0xC1, 0, 0],
            b"cd",
        ],
        &[
            message(kind::AUDIO, 1, 9, b"ab"),
            message(kind::AUDIO, 1, 18, b"cd"),
        ],
    );
}

#[test]
fn s03_messages_interleave_at_every_chunk() {
    let (video, audio) = ([1; 200], [2; 130]);
    check(
        &[
            &header(0, 6, 40, 200, kind::VIDEO, 1),
            &video[..128],
            &header(0, 4, 41, 130, kind::AUDIO, 1),
            &audio[..128],
            &[0xC6],
            &video[128..],
            &[0xC4],
            &audio[128..],
        ],
        &[
            message(kind::VIDEO, 1, 40, &video),
            message(kind::AUDIO, 1, 41, &audio),
        ],
    );
}

#[test]
fn s03_unfinished_messages_are_capped_in_number_and_in_total() {
    let mut reader = Reader::new();
    for id in 2..66 {
        read(&mut reader, &header(0, id, 0, 9, kind::AUDIO, 1)).unwrap();
        read(&mut reader, &[0; 9]).unwrap();
    }
    let error = read(&mut reader, &header(0, 66, 0, 9, kind::AUDIO, 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Limit {
                which: "number of chunk streams",
                ..
            }
        ),
        "{error}"
    );

    for (trusted, max) in [
        (false, limits::CHUNK_BUFFERED_STRANGER_MAX),
        (true, limits::CHUNK_BUFFERED_MAX),
    ] {
        let mut reader = Reader::new();
        if trusted {
            reader.trust();
        }
        read(&mut reader, &control(kind::SET_CHUNK_SIZE, 1 << 20)).unwrap();
        let chunk = vec![0; 1 << 20];
        let error = (3..60).find_map(|id| {
            let start = header(0, id, 0, (1 << 20) + 1, kind::VIDEO, 1);
            read(&mut reader, &[start, chunk.clone()].concat()).err()
        });
        assert!(matches!(error, Some(Error::Limit { max: given, .. }) if given == max as u64));
        assert!(reader.buffered <= max);
    }
}

#[test]
fn s04_first_chunk_may_omit_fields_which_count_as_zero() {
    check(
        &[
            &header(1, 2, 7, 6, kind::USER_CONTROL, 0),
            &[0, 6, 0, 0, 0, 1],
        ],
        &[message(kind::USER_CONTROL, 0, 7, &[0, 6, 0, 0, 0, 1])],
    );
    check(&[&header(2, 9, 7, 0, 0, 0)], &[message(0, 0, 7, b"")]);
    check(&[&[0xC9]], &[message(0, 0, 0, b"")]);
}

#[test]
fn s05_format_3_repeats_the_delta() {
    check(
        &[
            &header(0, 4, 5000, 1, 8, 1),
            b"a",
            &header(2, 4, 23, 0, 0, 0),
            b"b",
            &[0xC4],
            b"c",
            &[0xC4],
            b"d",
        ],
        &[
            message(8, 1, 5000, b"a"),
            message(8, 1, 5023, b"b"),
            message(8, 1, 5046, b"c"),
            message(8, 1, 5069, b"d"),
        ],
    );
}

#[test]
fn s05_format_3_after_format_0_takes_a_short_timestamp_for_the_delta_and_a_long_one_for_the_same_time()
 {
    for (first, second) in [
        (0, 0),
        (23, 46),
        (1000, 2000),
        (1001, 1001),
        (90_000_000, 90_000_000),
    ] {
        check(
            &[&header(0, 4, first, 1, 8, 1), b"a", &[0xC4], b"b"],
            &[message(8, 1, first, b"a"), message(8, 1, second, b"b")],
        );
    }
}

#[test]
fn s06_extended_timestamp_is_absolute_in_format_0_and_a_delta_in_1_and_2() {
    check(
        &[
            &header(0, 4, 0x0100_0000, 1, 8, 1),
            b"a",
            &header(1, 4, 0x0200_0000, 1, 8, 1),
            b"b",
            &header(2, 4, 0x00FF_FFFF, 1, 8, 1),
            b"c",
        ],
        &[
            message(8, 1, 0x0100_0000, b"a"),
            message(8, 1, 0x0300_0000, b"b"),
            message(8, 1, 0x03FF_FFFF, b"c"),
        ],
    );
}

#[test]
fn s06_extended_timestamp_in_fmt3_present_or_absent() {
    let (time, body) = (0x0123_4567_u32, [9; 300]);
    let start = header(0, 4, time, 300, kind::VIDEO, 1);
    let expect = [message(kind::VIDEO, 1, time, &body)];
    let repeated = [&[0xC4][..], &time.to_be_bytes()].concat();
    check(
        &[
            &start,
            &body[..128],
            &repeated,
            &body[128..256],
            &repeated,
            &body[256..],
        ],
        &expect,
    );
    check(
        &[
            &start,
            &body[..128],
            &[0xC4],
            &body[128..256],
            &[0xC4],
            &body[256..],
        ],
        &expect,
    );
}

#[test]
fn s06_after_a_delta_format_3_may_repeat_the_delta_or_the_absolute_time() {
    let body = [9; 130];
    for field in [0x0100_0001_u32, 0x0100_0001 + 70] {
        check(
            &[
                &header(0, 4, 70, 130, kind::VIDEO, 1),
                &body[..128],
                &[0xC4],
                &body[128..],
                &header(2, 4, 0x0100_0001, 0, 0, 0),
                &body[..128],
                &[0xC4],
                &field.to_be_bytes(),
                &body[128..],
            ],
            &[
                message(kind::VIDEO, 1, 70, &body),
                message(kind::VIDEO, 1, 0x0100_0047, &body),
            ],
        );
    }
}

#[test]
fn s06_a_format_3_chunk_shorter_than_the_field_does_not_wait_for_the_next_message() {
    let body = [9; 129];
    let bytes = [
        &header(0, 4, 0x0123_4567, 129, kind::VIDEO, 1),
        &body[..128],
        &[0xC4, 9],
    ]
    .concat();
    assert_eq!(read(&mut Reader::new(), &bytes).unwrap().len(), 1);
}

#[test]
fn s06_payload_that_begins_like_the_repeated_field_is_payload_however_it_is_cut() {
    let time = 0x0123_4567;
    let mut body = [9; 300];
    body[128..131].copy_from_slice(&[0x01, 0x23, 0x45]);
    check(
        &[
            &header(0, 4, time, 300, kind::VIDEO, 1),
            &body[..128],
            &[0xC4],
            &body[128..256],
            &[0xC4],
            &body[256..],
        ],
        &[message(kind::VIDEO, 1, time, &body)],
    );
    // One byte of payload, then the header of another message, look like the field up to its third byte.
    let (last, audio) = (
        [&[9; 128][..], &[0x01]].concat(),
        header(0, 0x23, 5, 1, kind::AUDIO, 1),
    );
    check(
        &[
            &header(0, 4, time, 129, kind::VIDEO, 1),
            &last[..128],
            &[0xC4],
            &last[128..],
            &audio,
            b"a",
        ],
        &[
            message(kind::VIDEO, 1, time, &last),
            message(kind::AUDIO, 1, 5, b"a"),
        ],
    );
}

#[test]
fn s07_zero_length_messages_are_messages() {
    check(
        &[
            &header(0, 4, 5, 0, kind::AUDIO, 1),
            &header(1, 4, 5, 1, kind::AUDIO, 1),
            b"a",
        ],
        &[
            message(kind::AUDIO, 1, 5, b""),
            message(kind::AUDIO, 1, 10, b"a"),
        ],
    );
}

#[test]
fn s07_another_length_in_mid_message_begins_anew_and_the_same_one_goes_on() {
    let body = [3; 200];
    check(
        &[
            &header(0, 4, 5, 300, kind::VIDEO, 1),
            &body[..128],
            &header(1, 4, 6, 3, kind::VIDEO, 1),
            b"new",
        ],
        &[message(kind::VIDEO, 1, 11, b"new")],
    );
    check(
        &[
            &header(0, 4, 5, 200, kind::VIDEO, 1),
            &body[..128],
            &header(0, 4, 5, 200, kind::VIDEO, 1),
            &body[128..],
        ],
        &[message(kind::VIDEO, 1, 5, &body)],
    );
}

#[test]
fn s07_messages_beyond_the_limit_of_their_type_are_refused_before_their_first_byte() {
    for (type_id, max) in [
        (kind::VIDEO, limits::MEDIA_MESSAGE_MAX),
        (kind::AUDIO, limits::MEDIA_MESSAGE_MAX),
        (kind::DATA, limits::DATA_MESSAGE_MAX),
        (kind::COMMAND, limits::COMMAND_MESSAGE_MAX),
        (kind::SET_CHUNK_SIZE, limits::COMMAND_MESSAGE_MAX),
        (99, limits::COMMAND_MESSAGE_MAX),
    ] {
        let fits = header(0, 4, 0, max as usize, type_id, 1);
        assert_eq!(read(&mut Reader::new(), &fits), Ok(vec![]));
        let exceeds = header(0, 4, 0, max as usize + 1, type_id, 1);
        let error = read(&mut Reader::new(), &exceeds).unwrap_err();
        assert!(matches!(error, Error::Limit { max: given, .. } if given == u64::from(max)));
    }
}

#[test]
fn s07_memory_follows_bytes_received_not_the_length_announced() {
    let mut reader = Reader::new();
    read(&mut reader, &header(0, 4, 0, 8 << 20, kind::VIDEO, 1)).unwrap();
    assert_eq!(reader.streams[0].buffer.capacity(), 0);
    read(&mut reader, &[0]).unwrap();
    assert_eq!(reader.streams[0].buffer.capacity(), limits::CHUNK_RESERVE);
    // A finished message has an allocation of its own size.
    let mut small = Reader::new();
    read(
        &mut small,
        &[&header(0, 4, 0, 100, kind::VIDEO, 1)[..], &[0; 99]].concat(),
    )
    .unwrap();
    assert_eq!(small.streams[0].buffer.capacity(), 100);
}

#[test]
fn s08_abort_drops_the_partial_message_of_that_chunk_stream_only() {
    let (video, audio) = ([1; 200], [2; 200]);
    check(
        &[
            &header(0, 6, 40, 200, kind::VIDEO, 1),
            &video[..128],
            &header(0, 4, 41, 200, kind::AUDIO, 1),
            &audio[..128],
            &control(kind::ABORT, 6),
            &control(kind::ABORT, 77),
            &header(0, 2, 0, 1, kind::ABORT, 0),
            &[0],
            &[0xC4],
            &audio[128..],
            &header(1, 6, 10, 3, kind::VIDEO, 1),
            b"new",
        ],
        &[
            message(kind::AUDIO, 1, 41, &audio),
            message(kind::VIDEO, 1, 50, b"new"),
        ],
    );
}

#[test]
fn s09_timestamps_wrap_at_32_bits() {
    check(
        &[
            &header(0, 4, u32::MAX - 9, 1, 8, 1),
            b"a",
            &header(2, 4, 20, 0, 0, 0),
            b"b",
        ],
        &[message(8, 1, u32::MAX - 9, b"a"), message(8, 1, 10, b"b")],
    );
}

#[test]
fn crash4_interleaving_chunk_size_change_and_abort_in_mid_message_keep_the_reader_whole() {
    let body = [5; 400];
    check(
        &[
            &header(0, 6, 0, 400, kind::VIDEO, 1),
            &body[..128],
            &control(kind::SET_CHUNK_SIZE, 4096),
            &header(0, 4, 0, 2, kind::AUDIO, 1),
            b"au",
            &control(kind::ABORT, 6),
            &header(0, 6, 0, 2, kind::VIDEO, 1),
            b"vi",
        ],
        &[
            message(kind::AUDIO, 1, 0, b"au"),
            message(kind::VIDEO, 1, 0, b"vi"),
        ],
    );
}

#[test]
fn crash5_an_aborted_message_leaves_nothing_behind() {
    let mut reader = Reader::new();
    let partial = [
        &header(0, 6, 0, 400, kind::VIDEO, 1)[..],
        &[5; 128],
        &control(kind::ABORT, 6),
    ]
    .concat();
    read(&mut reader, &partial).unwrap();
    assert_eq!(
        (reader.buffered, reader.streams[0].buffer.capacity()),
        (0, 0)
    );
}

#[test]
fn what_rml_rtmp_writes_is_read_back() {
    use rml_rtmp::{chunk_io::ChunkSerializer, messages::MessagePayload, time::RtmpTimestamp};
    let mut serializer = ChunkSerializer::new();
    let mut reader = Reader::new();
    for (index, length) in [10, 10, 10, 700, 700, 129, 128].into_iter().enumerate() {
        let expect = message(
            kind::VIDEO,
            1,
            0xFF_FFF0 + 40 * index as u32,
            &vec![index as u8; length],
        );
        let payload = MessagePayload {
            timestamp: RtmpTimestamp::new(expect.timestamp),
            type_id: expect.type_id,
            message_stream_id: expect.stream_id,
            data: expect.payload.clone(),
        };
        let packet = serializer
            .serialize(&payload, index % 2 == 0, false)
            .unwrap();
        assert_eq!(read(&mut reader, &packet.bytes).unwrap(), [expect]);
    }
}
