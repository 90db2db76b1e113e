//! How long a backend waits for the answer to an event, at two hundred a second over ten streams. The control is the clock
//! of the same streams, asked for at the same rate: the same way into the stream's task and back, and nothing placed.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::interval};

use super::{config, post, push_forever, quantile, until_live};
use crate::{
    daemon::Daemon,
    shop::Shop,
    sources::{self, Encoder},
    table::{Table, bar},
};

const STREAMS: usize = 10;
/// What a hub waits for the place of an event, milliseconds, before it tells its sockets without.
const DEADLINE_MS: f64 = 300.0;

/// So many turns of each, of so many seconds.
pub(super) async fn run(runs: u64, seconds: u64, rate: u64) -> io::Result<()> {
    let streams: Vec<_> = (0..STREAMS).map(|number| format!("shop{number}")).collect();
    let daemon = Daemon::start(&config(&streams));
    let file = tokio::task::spawn_blocking(|| sources::LONG.file());
    let file = file.await.map_err(io::Error::other)?;
    let publish =
        |stream: &String| push_forever(&file, &daemon.publish_url(&format!("key-of-{stream}")));
    let _encoders: Vec<Encoder> = streams.iter().map(publish).collect();
    let shops: Vec<_> = streams
        .iter()
        .map(|stream| Shop::of(&daemon, stream))
        .collect();
    for shop in &shops {
        until_live(shop).await;
    }
    let mut table = Table::default();
    let count = seconds * rate;
    for run in 0..runs {
        let mut waits = clocks(&shops, count, rate).await;
        table.note(CLOCK, &quantiles(&mut waits));
        let posted = post(&shops, run * count, (run + 1) * count, rate).await;
        let (mut waits, refused) = (posted.waits_ms, posted.refused);
        assert_eq!(refused, 0, "refused for now");
        table.note(EVENT, &quantiles(&mut waits));
    }
    let title = format!(
        "From a request to its answer, {rate} a second over {STREAMS} streams, {seconds} s each"
    );
    table.print(&title, &[("p50 ms", 2), ("p99 ms", 2), ("max ms", 1)]);
    bar(
        "p99 of events, in ms, a hub's deadline",
        table.median(EVENT, 1),
        DEADLINE_MS,
    );
    Ok(())
}

const CLOCK: &str = "control: GET clock";
const EVENT: &str = "POST events";

fn quantiles(values: &mut [f64]) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|q| quantile(values, q))
}

/// Asks for clocks as [`post`] posts; milliseconds of each.
pub(super) async fn clocks(shops: &[Shop], count: u64, rate: u64) -> Vec<f64> {
    let mut tick = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1));
    let mut asked = JoinSet::new();
    let shops: Arc<[Shop]> = shops.into();
    for number in 0..count {
        tick.tick().await;
        let shops = shops.clone();
        asked.spawn(async move {
            let shop = &shops[usize::try_from(number).unwrap_or(0) % shops.len()];
            let began = Instant::now();
            let answer = shop.clock().await;
            assert!(answer.status.is_success(), "{answer:?}");
            began.elapsed().as_secs_f64() * 1000.0
        });
    }
    asked.join_all().await
}
