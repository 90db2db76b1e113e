//! The last picture, shown again while there is no source.

use vitrine_core::engine::ladder::{Encoded, Failure, Feed};

use super::{
    ALL, Rendition, SECOND,
    bench::{Bench, ladder},
    ffi,
    source::{Shape, brightness, brightness_of},
};

/// Repeats at `pts`, no faster than encoders are.
async fn repeat(bench: &mut Bench, pts: impl Iterator<Item = i64>) {
    for at in pts {
        bench.feed(Feed::Repeat { at }).await;
        let until = at + SECOND / 30;
        bench.feed(Feed::Seal { until }).await;
        bench.take().await;
    }
}

#[tokio::test]
async fn the_last_picture_is_shown_again_in_every_rung_wherever_it_is_asked_for() {
    let shape = Shape {
        frames: 20,
        b_frames: 2,
        captions: true,
        ..Shape::default()
    };
    let clip = shape.clip();
    let rungs = ladder((30, 1));
    let mut bench = Bench::new();
    // What was passed through has a rung only now.
    bench.source(&clip, &rungs[1..]).await;
    bench.play(&clip, &[0]).await;
    bench.drain(&ALL[1..]).await;
    bench.forget();
    bench.feed(Feed::Slate { rungs }).await;
    for at in [5 * SECOND, 6 * SECOND] {
        bench.feed(Feed::Key { at }).await;
    }
    let wanted: Vec<i64> = (0..45).map(|number| 5 * SECOND + number * 3000).collect();
    repeat(&mut bench, wanted.iter().copied()).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), wanted, "{rendition}");
        assert_eq!(
            bench.keys(rendition),
            [5 * SECOND, 6 * SECOND],
            "{rendition}"
        );
        for picture in bench.pictures(rendition) {
            let (seen, last) = (brightness_of(&picture), brightness(shape.frames - 1));
            assert!(seen.abs_diff(last) < 8, "{rendition}: {seen} {last}");
            assert!(ffi::captions(&picture).is_empty(), "{rendition}");
        }
    }
    // The next source is one like any other.
    bench.forget();
    let rungs = ladder((30, 1)).split_off(1);
    bench.source(&clip, &rungs).await;
    bench.play(&clip, &[0]).await;
    bench.drain(&ALL[1..]).await;
    assert_eq!(bench.pts(Rendition::Mid), shape.all_pts());
    assert!(bench.of(Rendition::High).is_empty());
}

#[tokio::test]
async fn a_slate_without_a_picture_is_lost() {
    let mut bench = Bench::new();
    let rungs = ladder((30, 1));
    bench.feed(Feed::Slate { rungs }).await;
    bench.feed(Feed::Repeat { at: 0 }).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        let reason = Failure::Decoder;
        assert_eq!(bench.of(rendition), [Encoded::Lost { rendition, reason }]);
    }
}
