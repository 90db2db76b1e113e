//! What becomes of metadata, audio and video, before the verdict and after it.

use super::*;

#[test]
fn crash3_data_messages_with_missing_values_are_harmless() {
    for values in [
        &[][..],
        &["@setDataFrame".into()],
        &["@setDataFrame".into(), "onMetaData".into()],
        &["onMetaData".into()],
        &[Value::Null],
    ] {
        assert_eq!(
            Client::live().send(kind::DATA, 1, 0, &data(values)).error,
            None
        );
    }
}

#[test]
fn s08_aggregates_are_unpacked_and_rebased_on_the_first_inner_time() {
    let tag = |type_id: u8, time: u32, body: &[u8]| {
        let [t3, t2, t1, t0] = time.to_be_bytes();
        let [_, l2, l1, l0] = (body.len() as u32).to_be_bytes();
        let head = [type_id, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0];
        [&head[..], body, &(body.len() as u32 + 11).to_be_bytes()].concat()
    };
    let mut client = Client::live();
    client.take();
    let body = [
        tag(8, 0xFFFF_FFFE, AUDIO_CONFIG),
        tag(8, 0xFFFF_FFFF, AUDIO_FRAME),
        tag(22, 0, b"not again"),
        tag(8, 20, AUDIO_FRAME),
    ]
    .concat();
    // The last back pointer may be missing.
    client.send(kind::AGGREGATE, 1, 5000, &body[..body.len() - 4]);
    let times: Vec<_> = client
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Media(flv::Item::Frame(frame)) => Some(frame.timestamp),
            _ => None,
        })
        .collect();
    assert_eq!(times, [5001, 5022]);
    client.send(kind::AGGREGATE, 1, 0, &body[..20]);
    assert!(matches!(client.error, Some(Error::Aggregate { .. })));
}

#[test]
fn s16_metadata_wrapped_or_bare_late_repeated_or_strange() {
    let fields = |fields: &[(&str, Value)]| {
        Value::Object(
            fields
                .iter()
                .map(|(name, value)| (String::from(*name), value.clone()))
                .collect(),
        )
    };
    let usual = fields(&[
        ("width", 1280.0.into()),
        ("height", 720.0.into()),
        ("framerate", 30.0.into()),
        (
            "videocodecid",
            f64::from(u32::from_be_bytes(*b"hvc1")).into(),
        ),
        ("audiocodecid", "mp4a".into()),
        ("encoder", "obs".into()),
        ("date", Value::Date(1.0)),
    ]);
    let full = Metadata {
        frame_rate: Some(30.0),
        width: Some(1280.0),
        height: Some(720.0),
        video: true,
        audio: true,
        encoder: Some("obs".into()),
    };
    let nonsense = fields(&[
        ("width", f64::NAN.into()),
        ("height", Value::Boolean(false)),
        ("framerate", f64::INFINITY.into()),
        ("videocodecid", Value::Boolean(false)),
        ("audiocodecid", 0.0.into()),
        ("encoder", 7.0.into()),
    ]);
    let name = || Value::from("onMetaData");
    let rate = Metadata {
        frame_rate: Some(29.97),
        ..Metadata::default()
    };
    let cases = [
        (
            vec!["@setDataFrame".into(), name(), usual.clone()],
            full.clone(),
        ),
        (vec![name(), usual.clone()], full),
        (vec![name(), nonsense], Metadata::default()),
        (
            vec![name(), Value::Array(vec![usual.clone()])],
            Metadata::default(),
        ),
        (vec![name(), Value::Null], Metadata::default()),
        (vec![name(), fields(&[("framerate", "29.97".into())])], rate),
    ];
    for (values, expect) in cases {
        let mut client = Client::live();
        client.take();
        client
            .send(kind::DATA, 1, 0, &data(&values))
            .send(kind::DATA, 1, 0, &data(&values));
        let outputs = client.outputs();
        let [Output::Metadata(first), Output::Metadata(second)] = &outputs[..] else {
            panic!("{outputs:?}");
        };
        assert_eq!((first, second), (&expect, &expect));
    }
    let mut client = Client::live();
    client.take();
    for name in ["onStatus", "onFI", "@clearDataFrame"] {
        client.send(kind::DATA, 1, 0, &data(&[name.into(), usual.clone()]));
    }
    assert!(client.take().is_empty() && client.error.is_none());
}

#[test]
fn events_come_with_the_timestamp_of_their_message_however_they_are_wrapped() {
    let cue = || data(&["onCuePoint".into(), object([("name", "show.ended".into())])]);
    let set = data(&[
        "@setDataFrame".into(),
        "onTextData".into(),
        object([("text", r#"{"id":"e","type":"show.ended"}"#.into())]),
    ]);
    let mut client = Client::asked();
    client.send(kind::DATA, 1, 900, &cue());
    client.verdict(Verdict::Accept);
    client.take();
    let amf3 = [&[0], &cue()[..]].concat();
    client
        .send(kind::DATA, 1, 1000, &cue())
        .send(kind::DATA, 1, 1000, &set)
        .send(kind::DATA_AMF3, 1, 1040, &amf3);
    let events = client.outputs().into_iter().map(|output| match output {
        Output::Event(sent) => (sent.timestamp, sent.read("ses_1").unwrap().id),
        other => panic!("{other:?}"),
    });
    let wanted = [(1000, "ses_1_1000_0"), (1000, "e"), (1040, "ses_1_1040_2")];
    let wanted = wanted.map(|(timestamp, id)| (timestamp, id.to_owned()));
    assert_eq!(
        events.collect::<Vec<_>>(),
        wanted,
        "none before the verdict"
    );
}

#[test]
fn before_the_verdict_the_last_metadata_and_configurations_are_kept_and_frames_dropped() {
    let mut client = Client::asked();
    let metadata = |width: f64| data(&["onMetaData".into(), object([("width", width.into())])]);
    client
        .send(kind::DATA, 1, 0, &metadata(1.0))
        .send(kind::DATA, 1, 0, &metadata(2.0));
    client
        .send(kind::AUDIO, 1, 0, AUDIO_CONFIG)
        .send(kind::AUDIO, 1, 0, AUDIO_FRAME);
    client
        .send(kind::VIDEO, 1, 0, &video_config())
        .send(kind::VIDEO, 1, 0, KEY_FRAME);
    assert_eq!(words(&client.outputs()), ["publish"]);
    client.verdict(Verdict::Accept);
    let seen = client.take();
    assert!(
        matches!(&seen[0], Seen::Reply((1, ..))),
        "the start comes first"
    );
    assert!(matches!(&seen[1], Seen::Out(Output::Metadata(kept)) if kept.width == Some(2.0)));
    client.seen = seen;
    assert_eq!(
        words(&client.outputs()),
        ["metadata", "video config", "audio config"]
    );
}

#[test]
fn media_flows_from_the_next_sync_sample_and_sound_at_once() {
    let mut client = Client::asked();
    client
        .send(kind::VIDEO, 1, 0, &video_config())
        .send(kind::AUDIO, 1, 0, AUDIO_CONFIG);
    client.send(kind::VIDEO, 1, 0, KEY_FRAME);
    client.verdict(Verdict::Accept).take();
    for (type_id, body) in [
        (kind::VIDEO, DELTA_FRAME),
        (kind::AUDIO, AUDIO_FRAME),
        (kind::VIDEO, KEY_FRAME),
        (kind::VIDEO, DELTA_FRAME),
        (kind::VIDEO, &[]),
        (kind::AUDIO, &[]),
    ] {
        client.send(type_id, 1, 0, body);
    }
    assert_eq!(words(&client.outputs()), ["audio", "video", "video"]);
    assert_eq!(client.error, None);
}

#[test]
fn the_bytes_of_a_frame_are_those_of_the_message() {
    let mut session = Client::live().session;
    session
        .push(Duration::ZERO, &chunk(kind::AUDIO, 1, 0, AUDIO_CONFIG))
        .unwrap();
    session
        .push(Duration::ZERO, &chunk(kind::AUDIO, 1, 77, AUDIO_FRAME))
        .unwrap();
    let mut frame = None;
    while let Some(output) = session.poll() {
        if let Output::Media(flv::Item::Frame(given)) = output {
            frame = Some(given);
        }
    }
    let frame = frame.unwrap();
    assert_eq!((frame.timestamp, &frame.data[..]), (77, &AUDIO_FRAME[2..]));
    assert!(
        frame.data.is_unique(),
        "no copy and no second owner once the session has let go"
    );
}

#[test]
fn too_large_configurations_before_the_verdict_end_the_session() {
    let mut client = Client::asked();
    let record = [&video_config()[..], &vec![0; limits::PUBLISH_HELD_MAX]].concat();
    client.send(kind::VIDEO, 1, 0, &record);
    assert!(
        matches!(client.error, Some(Error::Limit { .. })),
        "{:?}",
        client.error
    );
}

#[test]
fn unsupported_codecs_are_rejected_by_name_and_malformed_media_ends_the_session_with_its_place() {
    let mut client = Client::live();
    client.take();
    client.send(kind::AUDIO, 1, 0, &[0xb2, 0xff, 0xfb]);
    let seen = client.take();
    let [Seen::Reply((1, _, _, info)), Seen::Out(Output::Close(_))] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(code(info).unwrap(), "NetStream.Publish.Rejected");
    let told = info
        .property("description")
        .and_then(Value::as_str)
        .unwrap();
    assert!(told.contains("Speex"), "{told}");
    assert_eq!(client.error, None);

    let mut client = Client::live();
    client.take();
    client.send(kind::VIDEO, 1, 0, &[0x17, 0, 0, 0, 0, 1, 2]);
    let at = client.session.received();
    assert!(matches!(client.error, Some(Error::Media { at: place, .. }) if place == at));
    assert_eq!(
        client.codes(),
        [(1, "NetStream.Publish.Rejected".to_owned())]
    );
}
