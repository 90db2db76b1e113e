//! Encoders that are slow, fail, panic or hang, and a decoder that panics: in the real threads, each at a picture of choice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::time;
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed},
    media::Rendition,
};

use super::{
    super::{cadence::SECOND, encode::Error, rung::Fault},
    ALL, GRID,
    bench::{Bench, LONG, ladder},
    source::Shape,
};

/// `strike` at the picture shown at `at` of the broadcast below, in `mid`.
fn in_mid(strike: impl Fn() -> Result<(), Error> + Send + Sync + 'static) -> Fault {
    let at = Shape::default().pts(40);
    Arc::new(move |of, pts| match of {
        Some(Rendition::Mid) if pts == at => strike(),
        _ => Ok(()),
    })
}

/// Plays a broadcast of three seconds, in which `mid` must be lost for this reason and the others be whole; then again,
/// when all must be.
async fn loses_mid_alone(fault: Fault, reason: Failure) -> Bench {
    let shape = Shape::default();
    let clip = shape.clip();
    let mut bench = Bench::with(fault);
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &GRID).await;
    bench.drain(&ALL).await;
    let lost = Encoded::Lost {
        rendition: Rendition::Mid,
        reason,
    };
    assert_eq!(bench.of(Rendition::Mid).last(), Some(&lost));
    assert!(bench.pts(Rendition::Mid).len() <= 40);
    for rendition in [Rendition::High, Rendition::Low] {
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
        assert_eq!(bench.keys(rendition), GRID, "{rendition}");
    }
    the_next_source_is_whole(&mut bench, shape).await;
    bench
}

/// Another source like `shape` comes back from every rung, picture by picture.
async fn the_next_source_is_whole(bench: &mut Bench, shape: Shape) {
    bench.forget();
    let again = Shape { first: 90, ..shape };
    let clip = again.clip();
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &[]).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), again.all_pts(), "{rendition}");
    }
}

#[tokio::test]
async fn an_encoder_that_panics_or_fails_is_lost_alone_until_the_next_source() {
    let panics = in_mid(|| panic!("a fault that a test asked for"));
    loses_mid_alone(panics, Failure::Encoder).await;
    let fails = in_mid(|| Err(Error::Silent { encoder: "none" }));
    loses_mid_alone(fails, Failure::Encoder).await;
}

#[tokio::test]
async fn an_encoder_that_hangs_is_lost_alone_and_replaced_and_its_thread_ends_when_it_comes_back() {
    let stuck = Arc::new(AtomicBool::new(true));
    let hangs = in_mid({
        let stuck = Arc::clone(&stuck);
        move || {
            while stuck.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
    });
    let bench = loses_mid_alone(hangs, Failure::Late).await;
    let Bench {
        transcoder,
        mut encoded,
        ..
    } = bench;
    drop(transcoder);
    stuck.store(false, Ordering::Relaxed);
    let rest = async { while encoded.recv().await.is_some() {} };
    time::timeout(LONG, rest).await.expect("the threads end");
}

#[tokio::test]
async fn a_decoder_that_panics_loses_all_until_the_next_source() {
    let shape = Shape::default();
    let (clip, at) = (shape.clip(), shape.pts(40));
    let mut bench = Bench::with(Arc::new(move |of, pts| {
        assert!(of.is_some() || pts != at, "a fault that a test asked for");
        Ok(())
    }));
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &GRID).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        let reason = Failure::Decoder;
        let lost = Encoded::Lost { rendition, reason };
        assert!(bench.of(rendition).contains(&lost), "{rendition}");
    }
    the_next_source_is_whole(&mut bench, shape).await;
}

#[tokio::test]
async fn what_is_late_the_least_rendition_leaves_out_first_but_no_key_frame_and_then_it_is_given_up()
 {
    let shape = Shape {
        size: (96, 64),
        frames: 400,
        ..Shape::default()
    };
    let clip = shape.clip();
    // Two seconds of it would take three.
    let mut bench = Bench::with(Arc::new(|of, _| {
        if of == Some(Rendition::High) {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }));
    bench.source(&clip, &ladder((30, 1))).await;
    let keys: Vec<i64> = (0..14).map(|second| second * SECOND).collect();
    for at in &keys {
        bench.feed(Feed::Key { at: *at }).await;
        bench.feed(Feed::Seal { until: *at }).await;
    }
    for sample in &clip.samples {
        bench.feed(Feed::Picture(sample.clone())).await;
    }
    bench.drain(&ALL).await;
    let first_left_out = |rendition| {
        let made = bench.pts(rendition);
        shape.all_pts().into_iter().find(|pts| !made.contains(pts))
    };
    let [high, mid, low] = ALL.map(|rendition| first_left_out(rendition).expect("late"));
    assert!(low <= mid && mid <= high, "{low} {mid} {high}");
    for rendition in [Rendition::High, Rendition::Mid] {
        assert_eq!(bench.keys(rendition), keys, "{rendition}");
        let end = bench.of(rendition).last();
        assert!(matches!(end, Some(Encoded::Drained { .. })), "{end:?}");
    }
    let reason = Failure::Late;
    let rendition = Rendition::Low;
    let lost = Encoded::Lost { rendition, reason };
    assert!(bench.of(rendition).contains(&lost));
    assert!(keys.starts_with(&bench.keys(rendition)) && bench.keys(rendition).len() >= 3);
}
