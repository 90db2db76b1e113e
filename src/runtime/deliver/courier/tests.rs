//! The courier between a ledger that is made for the moment and an endpoint that is not there.

use std::{convert::Infallible, sync::atomic::AtomicU32, time::Duration};

use tokio::sync::mpsc;

use super::*;
use crate::deliver::Types;

/// One delivery that somebody wants again right after its first attempt was written, and before its courier knows.
struct Wanted {
    bell: Arc<Bell>,
    attempts: AtomicU32,
    looked: Notify,
    settled: mpsc::UnboundedSender<()>,
}

impl Ledger for Wanted {
    type Error = Infallible;

    async fn fresh(&self, _: i64, after: i64, _: usize) -> Result<Vec<Parcel>, Infallible> {
        let parcel = Parcel {
            event: 1,
            id: "evt_1".to_owned(),
            subject: "shop".to_owned(),
            kind: "stream.live".to_owned(),
            hook_seq: 1,
            at: WallTime(0),
            body: Bytes::new(),
            attempts: 0,
        };
        let fresh = after < 1 && self.attempts.load(Ordering::Relaxed) < 2;
        self.looked.notify_one();
        Ok(Some(parcel).filter(|_| fresh).into_iter().collect())
    }

    async fn due(&self, _: i64, _: WallTime, _: usize) -> Result<Due, Infallible> {
        Ok(Due::default())
    }

    async fn settle(&self, _: Settlement) {
        let first = self.attempts.fetch_add(1, Ordering::Relaxed) == 0;
        // The test may have seen enough.
        let _ = self.settled.send(());
        if first {
            self.looked.notified().await;
            self.bell.rewind();
            self.looked.notified().await;
        }
    }
}

#[tokio::test]
async fn what_is_wanted_again_while_its_attempt_is_written_is_attempted_again() {
    let bell = Arc::<Bell>::default();
    let (settled, mut attempts) = mpsc::unbounded_channel();
    let ledger = Arc::new(Wanted {
        bell: bell.clone(),
        attempts: AtomicU32::new(0),
        looked: Notify::new(),
        settled,
    });
    let endpoint = Endpoint {
        // Nobody listens there: an attempt is soon over.
        url: "http://127.0.0.1:1/".parse().expect("a URL"),
        secrets: Vec::new(),
        types: Types::new(vec!["*".to_owned()]),
    };
    let route = Route {
        number: 1,
        name: "nobody".to_owned(),
        endpoint: Arc::new(ArcSwap::from_pointee(endpoint)),
        bell,
        volatile: Arc::default(),
        sender: Sender::new(Duration::from_secs(5)).expect("a client"),
        schedule: Schedule::new(Vec::new()),
        clock: Steady::start(),
    };
    let courier = tokio::spawn(run(route, ledger, CancellationToken::new()));
    for attempt in ["the first", "the one that was asked for"] {
        let done = timeout(Duration::from_secs(20), attempts.recv()).await;
        done.unwrap_or_else(|_| panic!("no attempt: {attempt}"));
    }
    courier.abort();
}
