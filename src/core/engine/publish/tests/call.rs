//! Calls in every form encoders use, and where they put the key.

use super::*;

#[test]
fn s10_commands_and_data_in_amf3_dress_with_and_without_the_leading_zero() {
    for dress in [&[0_u8][..], &[]] {
        let mut client = Client::new();
        let connect = command("connect", 1.0, &[object([("app", "live".into())])]);
        client.send(kind::COMMAND_AMF3, 0, 0, &[dress, &connect].concat());
        let publish = command("publish", 2.0, &[Value::Null, SECRET.into()]);
        client.send(kind::COMMAND_AMF3, 1, 0, &[dress, &publish].concat());
        assert_eq!(client.request().unwrap().stream_key, SECRET);
        client.verdict(Verdict::Accept);
        let metadata = data(&["onMetaData".into(), object([("width", 640.0.into())])]);
        client.send(kind::DATA_AMF3, 1, 0, &[dress, &metadata].concat());
        assert_eq!(words(&client.outputs()), ["metadata"]);
    }
}

#[test]
fn s10_connect_properties_may_be_an_ecma_array_and_amf3_after_them_is_passed_over() {
    let mut client = Client::new();
    let mut body = command("connect", 1.0, &[]);
    body.extend(b"\x08\0\0\0\0\0\x03app\x02\0\x04shop\0\0\x09\x11\x0A\x0B\x01");
    client.send(kind::COMMAND, 0, 0, &body).publish(1, SECRET);
    assert_eq!(client.request().unwrap().app, "shop");
}

#[test]
fn control_characters_are_found_wherever_they_hide() {
    let of = |name: &str, app: &str| {
        let mut client = Client::new();
        let connect = command("connect", 1.0, &[object([("app", app.into())])]);
        client.send(kind::COMMAND, 0, 0, &connect).publish(1, name);
        client.request().unwrap().has_controls()
    };
    for name in [
        "k1",
        "k%20ey?a=b%2Fc",
        "schl\u{fc}ssel",
        "100%",
        "%zz?token=%",
    ] {
        assert!(!of(name, "live"), "{name}");
    }
    for name in [
        "k\0",
        "k%00",
        "k\n1",
        "k?a=b%0D",
        "k?token=a%7Fb",
        "k%C2%85",
    ] {
        assert!(of(name, "live"), "{name}");
        assert!(of("k1", &name.replacen('k', "live", 1)), "{name}");
    }
}

#[test]
fn s11_s13_the_key_is_found_wherever_encoders_put_it() {
    // app, tcUrl, stream name => app, key, query and tcUrl of the request.
    let cases = [
        "live, rtmp://h/live, k1 => live, k1, , rtmp://h/live",
        "live/, rtmp://h:1935/live/, k1 => live, k1, , rtmp://h:1935/live/",
        "live, rtmp://h/live, \"k1\" => live, k1, , rtmp://h/live",
        "'live', \"rtmp://h/live\", k1 => live, k1, , rtmp://h/live",
        "live, rtmp://h/live, k1?a=b => live, k1, a=b, rtmp://h/live",
        "live, rtmp://h/live, demo?token=k2&a=b => live, k2, token=k2&a=b, rtmp://h/live",
        "live, rtmp://h/live, ?key=k2 => live, k2, key=k2, rtmp://h/live",
        "live, rtmp://h/live?token=k2, demo => live, k2, token=k2, rtmp://h/live",
        "live?key=k2, rtmp://h/live?key=k2,  => live, k2, key=k2, rtmp://h/live",
        "live?key=k2, rtmp://h/live,  => live, k2, key=k2, rtmp://h/live",
        "live?key=, rtmp://h/live, k1 => live, k1, key=, rtmp://h/live",
        "live/k3, rtmp://h/live/k3,  => live, k3, , rtmp://h/live",
        "live, rtmp://h/live/k3/,  => live, k3, , rtmp://h/live",
        "live/k3, rtmp://h/live/k3, k3 => live, k3, , rtmp://h/live",
        "live/eu, rtmp://h/live/eu, k1 => live/eu, k1, , rtmp://h/live/eu",
        ", rtmp://h/live, k1 => live, k1, , rtmp://h/live",
        "live, rtmp://h/live, /a/b/ => live, a/b, , rtmp://h/live",
        "live, rtmp://h/live, a%2Fb%20c => live, a/b c, , rtmp://h/live",
        "live, rtmp://h/live, 100% => live, 100%, , rtmp://h/live",
        "live, rtmp://h/live, %zz%4 => live, %zz%4, , rtmp://h/live",
        "live, rtmp://u:p@h/live, k1 => live, k1, , rtmp://h/live",
        "live, , k1 => live, k1, , ",
    ];
    for (spelling, case) in ["tcUrl", "tcurl"]
        .iter()
        .flat_map(|name| cases.map(|case| (*name, case)))
    {
        let (given, expect) = case.split_once(" => ").unwrap();
        let given: Vec<_> = given.split(", ").collect();
        let expect: Vec<_> = expect.split(", ").map(str::to_owned).collect();
        let mut client = Client::connected(&[
            ("app", given[0].into()),
            (spelling, given[1].into()),
            ("flashVer", "FMLE/3.0".into()),
        ]);
        let request = client.publish(1, given[2]).request().unwrap_or_default();
        assert_eq!(request.encoder, "FMLE/3.0");
        let found = [
            request.app,
            request.stream_key,
            request.query,
            request.tc_url,
        ];
        assert_eq!(found[..], expect, "{case}");
    }
}

#[test]
fn s11_a_tc_url_of_any_length_is_taken() {
    let url = format!("rtmp://h/live?{}", "x".repeat(40_000));
    let mut client = Client::connected(&[("app", "live".into()), ("tcUrl", Value::String(url))]);
    assert_eq!(
        client.publish(1, SECRET).request().unwrap().tc_url,
        "rtmp://h/live"
    );
}

#[test]
fn s13_publishing_without_any_key_is_denied() {
    for arguments in [
        &[Value::Null, "".into()][..],
        &[Value::Null],
        &[],
        &[Value::Null, Value::Null],
    ] {
        let mut client =
            Client::connected(&[("app", "live".into()), ("tcUrl", "rtmp://h/live".into())]);
        client.take();
        client.call(1, "publish", 0.0, arguments);
        let seen = client.take();
        let [Seen::Reply((1, .., info)), Seen::Out(Output::Close(_))] = &seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!(code(info).unwrap(), "NetStream.Publish.Denied");
    }
}

#[test]
fn s13_any_publish_type_is_live() {
    for kind in ["live", "record", "append", "LIVE", ""] {
        let mut client = Client::connected(&[("app", "live".into())]);
        client.call(
            1,
            "publish",
            0.0,
            &[Value::Null, SECRET.into(), kind.into()],
        );
        assert!(client.request().is_some());
    }
}

#[test]
fn s13_the_authmod_challenge_is_refused_in_words_that_do_not_start_it() {
    let mut client = Client::connected(&[("app", "live?authmod=adobe&user=u".into())]);
    let seen = client.take();
    let [
        ..,
        Seen::Reply((0, name, 1.0, info)),
        Seen::Out(Output::Close(_)),
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    let told = info
        .property("description")
        .and_then(Value::as_str)
        .unwrap();
    assert!(name == "_error" && told.contains("stream name") && !told.contains("authmod"));
}

#[test]
fn s12_every_call_is_answered_or_passed_over_and_none_closes() {
    let mut client = Client::connected(&[("app", "live".into())]);
    client.take();
    for name in [
        "releaseStream",
        "FCPublish",
        "_checkbw",
        "getStreamLength",
        "frobnicate",
    ] {
        for transaction in [2.0, 2.0, 0.0, -7.5] {
            client.call(0, name, transaction, &[Value::Null, SECRET.into()]);
            let replies = client.replies();
            let expect: Vec<_> = [transaction].into_iter().filter(|id| *id != 0.0).collect();
            let given: Vec<_> = replies.iter().map(|(_, _, id, _)| *id).collect();
            assert_eq!(given, expect, "{name}");
            assert!(replies.iter().all(|(_, reply, ..)| reply == "_result"));
        }
    }
    for name in ["_result", "_error", "onStatus"] {
        client.call(0, name, 9.0, &[Value::Null]);
    }
    assert!(client.take().is_empty());
    assert!(client.publish(1, SECRET).request().is_some(), "still open");
}

#[test]
fn s12_on_fc_publish_comes_with_the_start_to_those_who_called_for_it() {
    let mut client = Client::connected(&[("app", "live".into())]);
    client.call(0, "FCPublish", 3.0, &[Value::Null, SECRET.into()]);
    client.publish(1, SECRET).take();
    client.verdict(Verdict::Accept);
    let names: Vec<_> = client
        .replies()
        .into_iter()
        .map(|(_, name, ..)| name)
        .collect();
    assert_eq!(names, ["onFCPublish", "onStatus"]);
}

#[test]
fn crash2_commands_with_missing_values_are_harmless() {
    for name in [
        "connect",
        "createStream",
        "publish",
        "deleteStream",
        "closeStream",
        "FCUnpublish",
        "play",
    ] {
        let full = command(name, 1.0, &[Value::Null]);
        for end in 0..full.len() {
            let mut client = Client::connected(&[("app", "live".into())]);
            client.send(kind::COMMAND, 1, 0, &full[..end]);
            assert_eq!(client.error, None);
        }
    }
    assert_eq!(
        Client::new()
            .send(kind::COMMAND, 0, 0, &command("connect", 1.0, &[]))
            .error,
        None
    );
}

#[test]
fn crash1_a_deeply_nested_command_is_harmless() {
    let mut client = Client::connected(&[("app", "live".into())]);
    let deep = [command("publish", 1.0, &[]), b"\x03\0\x01a".repeat(12_000)].concat();
    client.send(kind::COMMAND, 1, 0, &deep);
    assert_eq!(client.error, None);
}

#[test]
fn crash6_create_stream_before_connect_is_passed_over_and_later_bounded() {
    let mut client = Client::new();
    client.call(0, "createStream", 1.0, &[Value::Null]);
    assert!(client.take().is_empty());
    let mut client = Client::connected(&[("app", "live".into())]);
    client.take();
    for _ in 0..20 {
        client.call(0, "createStream", 2.0, &[Value::Null]);
    }
    let replies = client.replies();
    let ids: Vec<_> = replies
        .iter()
        .filter_map(|(.., id)| id.as_number())
        .collect();
    assert_eq!(ids, [1., 2., 3., 4., 5., 6., 7., 8.]);
    assert!(replies[8..].iter().all(|(_, name, ..)| name == "_error"));
    client.call(0, "deleteStream", 0.0, &[Value::Null, 3.0.into()]);
    client.call(0, "createStream", 2.0, &[Value::Null]);
    assert_eq!(client.replies()[0].3, Value::Number(3.0));
}

#[test]
fn playing_is_refused_by_name() {
    let mut client = Client::connected(&[("app", "live".into())]);
    client.call(1, "play", 0.0, &[Value::Null, "demo".into()]);
    let seen = client.take();
    assert!(
        matches!(seen.last(), Some(Seen::Out(Output::Close(why))) if why.starts_with("NetStream.Play.Failed"))
    );
}

#[test]
fn s15_each_way_to_stop_is_answered_and_told_once() {
    let stream = Value::Number(1.0);
    for (on, name, arguments) in [
        (0, "FCUnpublish", vec![Value::Null, SECRET.into()]),
        (0, "deleteStream", vec![Value::Null, stream]),
        (1, "closeStream", vec![Value::Null]),
        (1, "closeStream", vec![]),
        (0, "closeStream", vec![Value::Null]),
    ] {
        let mut client = Client::live();
        client.take();
        client.call(on, name, 0.0, &arguments);
        client.call(0, "FCUnpublish", 0.0, &[Value::Null, SECRET.into()]);
        client.call(0, "deleteStream", 0.0, &[Value::Null, 1.0.into()]);
        client.call(1, "closeStream", 0.0, &[Value::Null]);
        let seen = client.take();
        let stops = seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Out(Output::Stopped)))
            .count();
        assert_eq!(stops, 1, "{name}");
        let told: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Reply((1, name, _, info)) => Some((name.as_str(), code(info)?)),
                _ => None,
            })
            .collect();
        let success = "NetStream.Unpublish.Success".to_owned();
        let mut expect = vec![("onStatus", success.clone())];
        if name == "FCUnpublish" {
            expect.insert(0, ("onFCUnpublish", success));
        }
        assert_eq!(told, expect);
    }
}

#[test]
fn s15_deleting_another_stream_does_not_stop_the_publish() {
    let mut client = Client::live();
    client.take();
    client.call(0, "createStream", 7.0, &[Value::Null]);
    client.call(0, "deleteStream", 0.0, &[Value::Null, 2.0.into()]);
    assert!(client.outputs().is_empty());
}

#[test]
fn s15_publish_again_on_the_same_connection_starts_afresh() {
    let mut client = Client::live();
    client.send(kind::VIDEO, 1, 0, &video_config());
    client.call(0, "FCUnpublish", 0.0, &[Value::Null, SECRET.into()]);
    client.take();
    client.send(kind::VIDEO, 1, 0, KEY_FRAME);
    assert!(client.take().is_empty(), "nothing is live");
    client.publish(1, "other");
    assert_eq!(client.request().unwrap().stream_key, "other");
    client.verdict(Verdict::Accept);
    client.take();
    client
        .send(kind::VIDEO, 1, 0, &video_config())
        .send(kind::VIDEO, 1, 0, KEY_FRAME);
    assert_eq!(words(&client.outputs()), ["video config", "video"]);
}

#[test]
fn s15_a_stop_while_asking_withdraws_the_request() {
    let mut client = Client::asked();
    client.call(0, "FCUnpublish", 0.0, &[Value::Null, SECRET.into()]);
    assert_eq!(words(&client.outputs()), ["publish", "stopped"]);
    client.verdict(Verdict::Accept);
    assert!(client.take().is_empty());
}

#[test]
fn s15_a_second_publish_on_another_stream_is_refused_and_disturbs_nothing() {
    let mut client = Client::live();
    client.call(0, "createStream", 7.0, &[Value::Null]);
    client.send(kind::AUDIO, 1, 0, AUDIO_CONFIG).take();
    client.publish(2, "other").publish(1, SECRET);
    assert_eq!(
        client.codes(),
        [(2, "NetStream.Publish.BadName".to_owned())]
    );
    client
        .send(kind::AUDIO, 2, 0, AUDIO_FRAME)
        .send(kind::AUDIO, 1, 0, AUDIO_FRAME);
    assert_eq!(
        words(&client.outputs()),
        ["audio"],
        "the other stream's media is not ours"
    );
    client.send(kind::AUDIO, 0, 0, AUDIO_FRAME);
    assert_eq!(
        words(&client.outputs()),
        ["audio"],
        "a stream id left out is ours"
    );
}

#[test]
fn s26_capabilities_are_answered_in_the_terms_asked_and_not_to_legacy_clients() {
    let names = [
        "fourCcList",
        "videoFourCcInfoMap",
        "audioFourCcInfoMap",
        "capsEx",
    ];
    let asked = |properties: &[(&str, Value)]| {
        let replies = Client::connected(properties).replies();
        let (.., information) = replies[0].clone();
        assert_eq!(code(&information).unwrap(), "NetConnection.Connect.Success");
        assert_eq!(
            information.property("objectEncoding"),
            Some(&Value::Number(0.0))
        );
        names.map(|name| information.property(name).cloned())
    };
    assert_eq!(
        asked(&[("objectEncoding", 3.0.into())]),
        [None, None, None, None]
    );
    let list = || {
        Value::Array(
            ["avc1", "hvc1", "av01", "mp4a", "Opus"]
                .map(Value::from)
                .to_vec(),
        )
    };
    assert_eq!(
        asked(&[("fourCcList", Value::Array(vec!["*".into()]))]),
        [Some(list()), None, None, None]
    );
    let wild = object([("*", 2.0.into())]);
    let given = asked(&[
        ("videoFourCcInfoMap", wild.clone()),
        ("audioFourCcInfoMap", wild),
        ("capsEx", 15.0.into()),
    ]);
    let forward = |names: &[&str]| {
        Value::Object(
            names
                .iter()
                .map(|name| (String::from(*name), 4.0.into()))
                .collect(),
        )
    };
    let video = forward(&["avc1", "hvc1", "av01"]);
    assert_eq!(
        given,
        [
            None,
            Some(video),
            Some(forward(&["mp4a", "Opus"])),
            Some(15.0.into())
        ]
    );
    for strange in [
        Value::Null,
        f64::NAN.into(),
        (-1e99).into(),
        1e99.into(),
        "x".into(),
    ] {
        asked(&[("capsEx", strange.clone()), ("fourCcList", strange)]);
    }
}
