//! A publish from connect to end against a scripted client and `rml_rtmp`'s: order, verdicts, deadlines, secrecy.
//! `call` and `media` hold the command and the media items of the RTMP survival list.

#![allow(clippy::unwrap_used)]

mod call;
mod media;

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
        Output::Event(_) => "event",
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
