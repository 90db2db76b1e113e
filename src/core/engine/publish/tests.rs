//! The command and metadata items of the RTMP survival list, against a scripted client and `rml_rtmp`'s.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
};

use super::{reply::object, *};
use crate::wire::amf0::Value;

const AVC: &[u8] = &[
    1, 0x64, 0, 0x1e, 0xff, 0xe1, 0, 0x1a, 0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9,
    0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f, 0x16, 0x2d, 0x96, 1, 0, 6, 0x68, 0xeb, 0xe3,
    0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
];
const VIDEO_CONFIG: &[u8] = &[0x17, 0, 0, 0, 0];
const KEY_FRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0, 0, 0, 3, 0x65, 0x88, 0x84];
const DELTA_FRAME: &[u8] = &[0x27, 1, 0, 0, 0, 0, 0, 0, 3, 0x41, 0x9a, 0x24];
const AUDIO_CONFIG: &[u8] = &[0xaf, 0, 0x11, 0x90];
const AUDIO_FRAME: &[u8] = &[0xaf, 1, 0x21, 0x10, 0x04];
const SECRET: &str = "s3cr3t-key";

/// A reply as the client sees it: stream, name, transaction, the last value.
type Reply = (u32, String, f64, Value);

/// A client that says what it is told, one full chunk per message.
struct Client {
    session: Session,
    now: Duration,
    replies: chunk::Reader,
    /// Every output, replies decoded.
    seen: Vec<Seen>,
    error: Option<Error>,
}

#[derive(Debug)]
enum Seen {
    Reply(Reply),
    Control(u8, Bytes),
    Out(Output),
}

impl Client {
    fn new() -> Self {
        let mut client = Self {
            session: Session::new(Duration::ZERO),
            now: Duration::ZERO,
            replies: chunk::Reader::new(),
            seen: Vec::new(),
            error: None,
        };
        client.send(1, 0, 0, &0xFF_FFFF_u32.to_be_bytes());
        client
    }

    fn connected(properties: &[(&str, Value)]) -> Self {
        let mut client = Self::new();
        let fields = properties
            .iter()
            .map(|(name, value)| (String::from(*name), value.clone()));
        client.call(0, "connect", 1.0, &[Value::Object(fields.collect())]);
        client
    }

    /// Asked to publish on stream 1.
    fn asked() -> Self {
        let mut client =
            Self::connected(&[("app", "live".into()), ("tcUrl", "rtmp://h/live".into())]);
        client.call(0, "createStream", 2.0, &[Value::Null]);
        client.publish(1, SECRET);
        client
    }

    fn live() -> Self {
        let mut client = Self::asked();
        client.verdict(Verdict::Accept);
        client
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if let Err(error) = self.session.push(self.now, bytes) {
            self.error = Some(error);
        }
        self.drain()
    }

    fn drain(&mut self) -> &mut Self {
        while let Some(output) = self.session.poll() {
            let Output::Send(bytes) = output else {
                self.seen.push(Seen::Out(output));
                continue;
            };
            let mut input = &bytes[..];
            while let Some(message) = self.replies.push(&mut input).unwrap() {
                if message.type_id != kind::COMMAND {
                    self.seen
                        .push(Seen::Control(message.type_id, message.payload));
                    continue;
                }
                let mut values: Vec<_> =
                    amf0::parse(&message.payload).map(Result::unwrap).collect();
                assert_eq!(values.len(), 4);
                let last = values.pop().unwrap();
                let name = values[0].as_str().unwrap().to_owned();
                let Value::Number(transaction) = values[1] else {
                    panic!("no transaction");
                };
                self.seen
                    .push(Seen::Reply((message.stream_id, name, transaction, last)));
            }
        }
        self
    }

    fn send(&mut self, type_id: u8, stream: u32, time: u32, body: &[u8]) -> &mut Self {
        let bytes = chunk(type_id, stream, time, body);
        self.bytes(&bytes)
    }

    fn call(&mut self, stream: u32, name: &str, transaction: f64, values: &[Value]) -> &mut Self {
        let body = command(name, transaction, values);
        self.send(kind::COMMAND, stream, 0, &body)
    }

    fn publish(&mut self, stream: u32, name: &str) -> &mut Self {
        self.call(
            stream,
            "publish",
            5.0,
            &[Value::Null, name.into(), "live".into()],
        )
    }

    fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.session.verdict(self.now, verdict);
        self.drain()
    }

    fn take(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    fn replies(&mut self) -> Vec<Reply> {
        let seen = self.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Reply(reply) => Some(reply),
            _ => None,
        })
        .collect()
    }

    fn outputs(&mut self) -> Vec<Output> {
        let seen = self.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Out(output) => Some(output),
            _ => None,
        })
        .collect()
    }

    fn request(&mut self) -> Option<Request> {
        self.outputs().into_iter().find_map(|output| match output {
            Output::Publish(request) => Some(request),
            _ => None,
        })
    }

    /// Codes of onStatus and their streams, in order.
    fn codes(&mut self) -> Vec<(u32, String)> {
        let replies = self.replies().into_iter();
        replies
            .filter_map(|(stream, _, _, info)| Some((stream, code(&info)?)))
            .collect()
    }
}

fn code(info: &Value) -> Option<String> {
    info.property("code")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn chunk(type_id: u8, stream: u32, time: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.extend(&time.to_be_bytes()[1..]);
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.push(type_id);
    bytes.extend(stream.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn command(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in [name.into(), transaction.into()].iter().chain(values) {
        amf0::write(value, &mut body);
    }
    body
}

fn data(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    values
        .iter()
        .for_each(|value| amf0::write(value, &mut body));
    body
}

fn video_config() -> Vec<u8> {
    [VIDEO_CONFIG, AVC].concat()
}

/// What came out, in one word each.
fn words(outputs: &[Output]) -> Vec<&'static str> {
    let word = |output: &Output| match output {
        Output::Send(_) => "send",
        Output::Publish(_) => "publish",
        Output::Metadata(_) => "metadata",
        Output::Media(flv::Item::Config(config)) if config.kind() == Kind::Video => "video config",
        Output::Media(flv::Item::Config(_)) => "audio config",
        Output::Media(flv::Item::Frame(frame)) if frame.kind == Kind::Video => "video",
        Output::Media(flv::Item::Frame(_)) => "audio",
        Output::Stopped => "stopped",
        Output::Close(_) => "close",
    };
    outputs.iter().map(word).collect()
}

#[test]
fn s14_connect_is_answered_by_window_bandwidth_chunk_size_and_result_in_one_write() {
    let mut session = Session::new(Duration::ZERO);
    let fields = object([("app", "live".into())]);
    session
        .push(
            Duration::ZERO,
            &chunk(kind::COMMAND, 0, 0, &command("connect", 1.0, &[fields])),
        )
        .unwrap();
    let Some(Output::Send(bytes)) = session.poll() else {
        panic!("a reply");
    };
    assert!(session.poll().is_none());
    let (mut reader, mut input, mut types) = (chunk::Reader::new(), &bytes[..], vec![]);
    while let Some(message) = reader.push(&mut input).unwrap() {
        types.push(message.type_id);
    }
    // The chunk size is the reader's own business: that the result, longer than 128 bytes, is whole, shows it came.
    assert_eq!(types, [5, 6, 20]);
}

#[test]
fn s14_no_success_and_no_media_before_the_verdict() {
    let mut client = Client::asked();
    let codes = client.codes();
    assert_eq!(codes, [(0, "NetConnection.Connect.Success".to_owned())]);
    client.verdict(Verdict::Accept);
    assert_eq!(client.codes(), [(1, "NetStream.Publish.Start".to_owned())]);
}

#[test]
fn s14_refusals_are_said_in_words_obs_understands_then_closed() {
    for (verdict, expect) in [
        (
            Verdict::Deny("unknown stream key".into()),
            "NetStream.Publish.Denied",
        ),
        (
            Verdict::Busy("already live".into()),
            "NetStream.Publish.BadName",
        ),
    ] {
        let mut client = Client::asked();
        client.take();
        client.verdict(verdict.clone());
        let seen = client.take();
        let [
            Seen::Reply((1, name, 0.0, info)),
            Seen::Out(Output::Close(_)),
        ] = &seen[..]
        else {
            panic!("{seen:?}");
        };
        assert_eq!(
            (name.as_str(), code(info).as_deref()),
            ("onStatus", Some(expect))
        );
        assert_eq!(info.property("level"), Some(&"error".into()));
        let (Verdict::Deny(reason) | Verdict::Busy(reason)) = verdict else {
            unreachable!()
        };
        assert_eq!(info.property("description"), Some(&Value::String(reason)));
        assert_eq!(client.session.deadline(), None);
        client.publish(1, "again").verdict(Verdict::Accept);
        assert!(client.take().is_empty(), "nothing follows the end");
    }
}

#[test]
fn a_reason_of_any_length_is_one_whole_reply() {
    let mut client = Client::asked();
    client.take();
    client.verdict(Verdict::Deny("語".repeat(5000)));
    let (.., info) = &client.replies()[0];
    let told = info
        .property("description")
        .and_then(Value::as_str)
        .unwrap()
        .chars()
        .count();
    assert_eq!(told, limits::REASON_MAX);
}

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
fn s11_s13_the_key_is_found_wherever_encoders_put_it() {
    // app, tcUrl, stream name; then app, key, query and tcUrl of the request.
    let cases = [
        (
            "live",
            "rtmp://h/live",
            "k1",
            "live",
            "k1",
            "",
            "rtmp://h/live",
        ),
        (
            "live/",
            "rtmp://h:1935/live/",
            "k1",
            "live",
            "k1",
            "",
            "rtmp://h:1935/live/",
        ),
        (
            "live",
            "rtmp://h/live",
            "\"k1\"",
            "live",
            "k1",
            "",
            "rtmp://h/live",
        ),
        (
            "'live'",
            "\"rtmp://h/live\"",
            "k1",
            "live",
            "k1",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "k1?a=b",
            "live",
            "k1",
            "a=b",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "demo?token=k2&a=b",
            "live",
            "k2",
            "token=k2&a=b",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "?key=k2",
            "live",
            "k2",
            "key=k2",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live?token=k2",
            "demo",
            "live",
            "k2",
            "token=k2",
            "rtmp://h/live",
        ),
        (
            "live?key=k2",
            "rtmp://h/live?key=k2",
            "",
            "live",
            "k2",
            "key=k2",
            "rtmp://h/live",
        ),
        (
            "live?key=k2",
            "rtmp://h/live",
            "",
            "live",
            "k2",
            "key=k2",
            "rtmp://h/live",
        ),
        (
            "live?key=",
            "rtmp://h/live",
            "k1",
            "live",
            "k1",
            "key=",
            "rtmp://h/live",
        ),
        (
            "live/k3",
            "rtmp://h/live/k3",
            "",
            "live",
            "k3",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live/k3/",
            "",
            "live",
            "k3",
            "",
            "rtmp://h/live",
        ),
        ("", "rtmp://h/live", "k1", "live", "k1", "", "rtmp://h/live"),
        (
            "live",
            "rtmp://h/live",
            "/a/b/",
            "live",
            "a/b",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "a%2Fb%20c",
            "live",
            "a/b c",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "100%",
            "live",
            "100%",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://h/live",
            "%zz%4",
            "live",
            "%zz%4",
            "",
            "rtmp://h/live",
        ),
        (
            "live",
            "rtmp://u:p@h/live",
            "k1",
            "live",
            "k1",
            "",
            "rtmp://h/live",
        ),
        ("live", "", "k1", "live", "k1", "", ""),
    ];
    for spelling in ["tcUrl", "tcurl"] {
        for (app, tc_url, name, want_app, key, query, want_url) in cases {
            let mut client = Client::connected(&[
                ("app", app.into()),
                (spelling, tc_url.into()),
                ("flashVer", "FMLE/3.0".into()),
            ]);
            client.publish(1, name);
            let expect = Request {
                app: want_app.into(),
                stream_key: key.into(),
                query: query.into(),
                tc_url: want_url.into(),
                encoder: "FMLE/3.0".into(),
            };
            let request = client.request().unwrap_or_default();
            assert!(
                request == expect,
                "{app} {tc_url} {name}: {request:?} {}",
                request.stream_key
            );
        }
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
fn crash5_create_stream_before_connect_is_passed_over_and_later_bounded() {
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
fn s08_acknowledgements_carry_the_running_total_at_the_window_asked_for() {
    let mut client = Client::live();
    client.send(
        kind::WINDOW_ACKNOWLEDGEMENT_SIZE,
        0,
        0,
        &1000_u32.to_be_bytes(),
    );
    let mut totals = vec![];
    for _ in 0..10 {
        client.take();
        client.send(99, 0, 0, &[0; 600]);
        let received = client.session.received();
        for seen in client.take() {
            if let Seen::Control(kind::ACKNOWLEDGEMENT, body) = seen {
                assert_eq!(&body[..], (received as u32).to_be_bytes());
                totals.push(received);
            }
        }
    }
    assert_eq!(totals.len(), 5, "{totals:?}");
    assert_eq!(
        client
            .send(kind::WINDOW_ACKNOWLEDGEMENT_SIZE, 0, 0, &[])
            .error,
        None
    );
}

#[test]
fn s08_pings_are_answered_before_the_verdict_and_unknown_user_control_is_ignored() {
    let mut client = Client::asked();
    client.take();
    client.send(kind::USER_CONTROL, 0, 0, &[0, 6, 1, 2, 3, 4]);
    let seen = client.take();
    assert!(
        matches!(&seen[..], [Seen::Control(kind::USER_CONTROL, body)] if body[..] == [0, 7, 1, 2, 3, 4])
    );
    for body in [
        &[][..],
        &[0],
        &[0, 6],
        &[0, 6, 1],
        &[0, 3, 0, 0, 0, 1, 0, 0, 0, 9],
        &[1, 99, 0],
    ] {
        client.send(kind::USER_CONTROL, 0, 0, body);
    }
    for type_id in [0, 3, 6, 16, 19, 21, 77] {
        client.send(type_id, 0, 0, &[1]);
    }
    assert!(client.take().is_empty() && client.error.is_none());
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
    for name in ["onTextData", "onCuePoint", "onFI", "@clearDataFrame"] {
        client.send(kind::DATA, 1, 0, &data(&[name.into(), usual.clone()]));
    }
    assert!(client.take().is_empty() && client.error.is_none());
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
    client.send(kind::AUDIO, 1, 0, &[0x2f, 0xff, 0xfb]);
    let seen = client.take();
    let [Seen::Reply((1, _, _, info)), Seen::Out(Output::Close(_))] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(code(info).unwrap(), "NetStream.Publish.Rejected");
    let told = info
        .property("description")
        .and_then(Value::as_str)
        .unwrap();
    assert!(told.to_lowercase().contains("mp3"), "{told}");
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

#[test]
fn s27_reconnect_is_requested_only_of_those_who_announced_it() {
    for (caps, announced) in [(1.0, true), (15.0, true), (14.0, false), (f64::NAN, false)] {
        let mut client = Client::connected(&[("app", "live".into()), ("capsEx", caps.into())]);
        client.publish(1, SECRET).verdict(Verdict::Accept).take();
        assert_eq!(client.session.drain("restarting"), announced);
        let codes = client.drain().codes();
        let expect = (0, "NetConnection.Connect.ReconnectRequest".to_owned());
        assert_eq!(codes, Vec::from_iter(announced.then_some(expect)));
        client.send(kind::AUDIO, 1, 0, AUDIO_CONFIG);
        assert_eq!(
            words(&client.outputs()),
            ["audio config"],
            "the old server keeps reading"
        );
    }
}

#[test]
fn a_kick_says_why_then_closes_in_every_state() {
    for (mut client, told) in [
        (Client::new(), 0),
        (Client::connected(&[]), 0),
        (Client::asked(), 1),
        (Client::live(), 1),
    ] {
        client.take();
        client.session.kick("taken over by another session");
        let seen = client.drain().take();
        assert_eq!(seen.len(), told + 1);
        assert!(matches!(seen.last(), Some(Seen::Out(Output::Close(_)))));
        client.session.kick("again");
        assert!(client.drain().take().is_empty());
    }
}

#[test]
fn deadlines_run_from_connect_to_publish_and_from_media_to_media() {
    let second = Duration::from_secs(1);
    let mut client = Client::connected(&[("app", "live".into())]);
    assert_eq!(client.session.deadline(), Some(limits::CONNECT_TO_PUBLISH));
    assert_eq!(client.session.expire(second), Ok(()));
    client.now = second;
    client.publish(1, SECRET);
    assert_eq!(
        client.session.deadline(),
        None,
        "the verdict's deadline is the door's"
    );
    client.now = 20 * second;
    client.verdict(Verdict::Accept);
    assert_eq!(
        client.session.deadline(),
        Some(20 * second + limits::PUBLISH_IDLE)
    );
    client.now = 30 * second;
    client.send(kind::USER_CONTROL, 0, 0, &[0, 6, 0, 0, 0, 0]);
    assert_eq!(
        client.session.deadline(),
        Some(20 * second + limits::PUBLISH_IDLE),
        "pings are no media"
    );
    client.send(kind::AUDIO, 1, 0, AUDIO_CONFIG);
    assert_eq!(
        client.session.deadline(),
        Some(30 * second + limits::PUBLISH_IDLE)
    );
    client.call(0, "FCUnpublish", 0.0, &[]);
    assert_eq!(
        client.session.deadline(),
        Some(30 * second + limits::CONNECT_TO_PUBLISH)
    );

    let mut silent = Client::live();
    silent.take();
    let expired = silent.session.expire(limits::PUBLISH_IDLE);
    assert!(matches!(expired, Err(Error::Limit { max: 15_000, .. })));
    assert_eq!(
        silent.drain().codes(),
        [(1, "NetStream.Publish.Idle".to_owned())]
    );
    let mut stranger = Client::new();
    assert!(matches!(
        stranger.session.expire(limits::CONNECT_TO_PUBLISH),
        Err(Error::Limit { max: 10_000, .. })
    ));
    assert_eq!(stranger.session.deadline(), None);
}

#[test]
fn after_an_error_nothing_more_is_read() {
    let mut client = Client::live();
    client.send(1, 0, 0, &[0; 4]);
    assert!(matches!(client.error.take(), Some(Error::Chunk(_))));
    client.take();
    client.call(0, "FCPublish", 3.0, &[]);
    assert!(client.error.is_none() && client.take().is_empty());
}

#[test]
fn the_key_is_in_no_debug_text_and_no_reply() {
    let mut client = Client::connected(&[
        ("app", Value::String(format!("live/{SECRET}"))),
        (
            "tcUrl",
            Value::String(format!("rtmp://h/live/{SECRET}?key={SECRET}")),
        ),
    ]);
    for name in ["", SECRET] {
        client.call(0, "FCPublish", 3.0, &[Value::Null, SECRET.into()]);
        client.publish(1, name).verdict(Verdict::Accept);
        let text = format!("{:?}", client.session);
        assert!(!text.contains(SECRET), "{text}");
        client.call(0, "FCUnpublish", 3.0, &[Value::Null, SECRET.into()]);
        let text = format!("{:?}", client.take());
        assert!(text.contains("Request") && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn rml_rtmp_s_client_publishes() {
    let mut config = ClientSessionConfig::new();
    config.tc_url = Some("rtmp://h/live".into());
    let (mut client, mut results) = ClientSession::new(config).unwrap();
    let mut session = Session::new(Duration::ZERO);
    results.push(client.request_connection("live".into()).unwrap());
    let (mut started, mut seen) = (false, vec![]);
    while let Some(result) = results.pop() {
        match result {
            ClientSessionResult::OutboundResponse(packet) => {
                session.push(Duration::ZERO, &packet.bytes).unwrap()
            }
            ClientSessionResult::RaisedEvent(ClientSessionEvent::ConnectionRequestAccepted) => {
                let kind = PublishRequestType::Live;
                results.push(client.request_publishing(SECRET.into(), kind).unwrap());
            }
            ClientSessionResult::RaisedEvent(ClientSessionEvent::PublishRequestAccepted) => {
                started = true;
                let time = rml_rtmp::time::RtmpTimestamp::new(40);
                for body in [video_config(), KEY_FRAME.to_vec()] {
                    results.push(client.publish_video_data(body.into(), time, false).unwrap());
                }
                results.reverse();
            }
            _ => {}
        }
        while let Some(output) = session.poll() {
            match output {
                Output::Send(bytes) => results.extend(client.handle_input(&bytes).unwrap()),
                Output::Publish(_) => session.verdict(Duration::ZERO, Verdict::Accept),
                other => seen.push(other),
            }
        }
    }
    assert!(started);
    assert_eq!(words(&seen), ["video config", "video"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_after_any_beginning_make_it_panic(
        beginning in 0..4_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        body in prop::collection::vec(0..24_u8, 0..60),
        type_id in prop::sample::select(vec![4_u8, 5, 15, 17, 18, 20, 22]),
    ) {
        let mut client = [Client::new, || Client::connected(&[]), Client::asked, Client::live][beginning]();
        client.send(type_id, 1, 0, &body);
        client.bytes(&bytes).verdict(Verdict::Accept);
        client.bytes(&bytes);
        let closed = client.error.is_some() || matches!(client.session.state, State::Closed);
        prop_assert_eq!(closed, client.session.deadline().is_none() && !matches!(client.session.state, State::Asked { .. }));
    }
}
