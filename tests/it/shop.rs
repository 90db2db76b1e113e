//! The backend of a shop: posts events to the control door, remembers where each was placed, and is told where they stand.
//!
//! [`Shop`] speaks to the control door as contracts, section 5, has it. [`confirmed`] reads what a [`Receiver`] was told by
//! `events.placed`, [`timeline`] what is served as `timeline.json`; [`differences`] holds both, and what was answered,
//! against the boxes that [`crate::boxes`] found: four tellings of one story.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    boxes::Renditions,
    daemon::{CONTROL_TOKEN, Daemon},
    receiver::Receiver,
    viewer::{Viewer, client},
};

/// How long an event may be refused for now.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the control door answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

/// A backend with one stream.
#[derive(Clone)]
pub(crate) struct Shop {
    client: Client,
    root: String,
}

impl Shop {
    /// Of the stream with this id, at the daemon's control door.
    pub(crate) fn of(daemon: &Daemon, stream: &str) -> Self {
        Self {
            client: client().build().expect("a client"),
            root: daemon.control_url(&format!("/v1/streams/{stream}/")),
        }
    }

    /// Posts an event.
    pub(crate) async fn post(&self, event: &Value) -> Answer {
        self.ask(Method::POST, "events", Some(event)).await
    }

    /// Puts the state that is repeated.
    pub(crate) async fn put_state(&self, state: &Value) -> Answer {
        self.ask(Method::PUT, "state", Some(state)).await
    }

    /// Asks for the clock.
    pub(crate) async fn clock(&self) -> Answer {
        self.ask(Method::GET, "clock", None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.root));
        if let Some(body) = body {
            let request_of_json = request.header(header::CONTENT_TYPE, "application/json");
            request = request_of_json.body(body.to_string());
        }
        let answer = request.bearer_auth(CONTROL_TOKEN).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        Answer {
            status,
            retry_after,
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        }
    }

    /// Posts an event until it is placed, as often as the answers allow; says where it is, and how often it was refused.
    pub(crate) async fn place(&self, event: &Value) -> (Value, u32) {
        let end = Instant::now() + PATIENCE;
        let mut refused = 0;
        loop {
            let answer = self.post(event).await;
            match (answer.status, answer.retry_after) {
                (StatusCode::ACCEPTED, _) => return (answer.body, refused),
                // Before its publisher comes there is no stream, and nobody knows when.
                (StatusCode::NOT_FOUND, _) => tokio::time::sleep(Duration::from_millis(100)).await,
                (_, Some(seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                _ => panic!("{event}: {answer:?}"),
            }
            refused += 1;
            assert!(Instant::now() < end, "{event}: {answer:?} for {PATIENCE:?}");
        }
    }
}

/// A small event.
pub(crate) fn event(id: &str, kind: &str) -> Value {
    json!({ "id": id, "type": kind, "data": { "listing": "lst_1" } })
}

/// What `events.placed` told of a stream, by epoch and id; each must be told once, but for callbacks that come again.
pub(crate) fn confirmed(receiver: &Receiver, stream: &str) -> BTreeMap<(u64, String), Value> {
    let mut told = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for call in receiver.calls().iter() {
        let body = call.json();
        let of = body["type"] == "events.placed" && body["data"]["stream_id"] == stream;
        if !of || !seen.insert(call.id().to_owned()) {
            continue;
        }
        for event in body["data"]["events"].as_array().expect("a list") {
            let epoch = event["epoch"].as_u64().expect("a number");
            let id = event["id"].as_str().expect("text").to_owned();
            let twice = told.insert((epoch, id), event.clone());
            assert!(twice.is_none(), "told twice: {event}");
        }
    }
    told
}

/// Waits until `events.placed` has told so many of a stream.
pub(crate) async fn until_confirmed(receiver: &Receiver, stream: &str, count: usize) {
    let of = |call: &crate::receiver::Call| {
        let body = call.json();
        let of = body["type"] == "events.placed" && body["data"]["stream_id"] == stream;
        let events = body["data"]["events"].as_array().filter(|_| of);
        events.map_or(0, Vec::len)
    };
    let what = format!("{count} events of {stream} placed");
    let enough = |calls: &[crate::receiver::Call]| calls.iter().map(of).sum::<usize>() >= count;
    receiver.wait(&what, enough).await;
}

/// The events of `timeline.json` by their ids.
pub(crate) async fn timeline(viewer: &Viewer, stream: &str) -> BTreeMap<String, Value> {
    let text = viewer.text(&format!("/live/{stream}/timeline.json")).await;
    let page: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(page["stream"], stream, "{page}");
    let events = page["events"].as_array().expect("a list").iter();
    let times: Vec<_> = events.clone().map(|event| event["t"].as_i64()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let id = |event: &Value| event["id"].as_str().expect("text").to_owned();
    let by_id: BTreeMap<_, _> = events.map(|event| (id(event), event.clone())).collect();
    assert_eq!(by_id.len(), times.len(), "an id twice: {page}");
    by_id
}

/// What four tellings of an epoch differ in: the answers by id, `timeline.json`, what `events.placed` told, and the boxes.
pub(crate) fn differences(
    answers: &BTreeMap<String, Value>,
    timeline: &BTreeMap<String, Value>,
    confirmed: &BTreeMap<(u64, String), Value>,
    boxes: &Renditions,
) -> Vec<String> {
    let mut differences = Vec::new();
    let mut same_ids = |what: &str, ids: BTreeSet<&str>| {
        let wanted: BTreeSet<&str> = answers.keys().map(String::as_str).collect();
        let lost: Vec<_> = wanted.difference(&ids).take(9).collect();
        let more: Vec<_> = ids.difference(&wanted).take(9).collect();
        if !lost.is_empty() || !more.is_empty() {
            let (ids, wanted) = (ids.len(), wanted.len());
            let text = format!("{what}: {ids} of {wanted}, without {lost:?}, but with {more:?}");
            differences.push(text);
        }
    };
    let told = |kind: &Value| kind["type"] != "state.repeat";
    same_ids("timeline", timeline.keys().map(String::as_str).collect());
    same_ids(
        "placed",
        confirmed.keys().map(|(_, id)| id.as_str()).collect(),
    );
    let carried = boxes.values().flat_map(|carried| &carried.cues);
    let carried = carried.filter(|(_, cue)| told(&cue.value));
    same_ids("boxes", carried.map(|(id, _)| id.as_str()).collect());
    for (id, answer) in answers {
        let placed = (answer["epoch"].as_u64(), answer["media_time_ms"].as_u64());
        let date_time = answer["program_date_time"].as_str();
        if let Some(listed) = timeline.get(id) {
            let same = (listed["epoch"].as_u64(), listed["t"].as_u64()) == placed
                && listed["pdt"].as_str() == date_time;
            differences.extend((!same).then(|| format!("answer {answer}, timeline {listed}")));
        }
        let key = (placed.0.unwrap_or(0), id.clone());
        let Some(told) = confirmed.get(&key) else {
            differences.push(format!("answer {answer}, not told of that epoch"));
            continue;
        };
        let same = (told["epoch"].as_u64(), told["media_time_ms"].as_u64()) == placed
            && told["program_date_time"].as_str() == date_time;
        differences.extend((!same).then(|| format!("answer {answer}, told {told}")));
        differences.extend(copies(id, told, boxes));
    }
    differences
}

/// Where a confirmation is wrong about the copies of an event.
fn copies(id: &str, told: &Value, boxes: &Renditions) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, carried) in boxes {
        let copy = &told["renditions"][name];
        let Some(cue) = carried.cues.get(id) else {
            if !copy.is_null() {
                wrong.push(format!("{id}: told {told}, but {name} has no box"));
            }
            continue;
        };
        let found = [("msn", cue.msn), ("part", cue.part)];
        // What the viewer has not seen of both it cannot compare.
        let known = found.iter().filter(|(_, number)| number.is_some());
        let right = known
            .clone()
            .all(|(field, number)| copy[field].as_u64() == *number);
        wrong.extend((!right).then(|| format!("{id}: told {told}, {name} has it in {found:?}")));
    }
    wrong
}
