mod bench;
mod faults;
mod slate;
mod source;
mod still;

use std::collections::BTreeMap;

use bytes::Bytes;
use ffmpeg_next::format::Pixel;
use tokio::time;
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed},
    media::{Config, Rendition, aac},
};

use super::{Encoder, Full, Settings, Transcoder, cadence::SECOND, ffi};
use bench::{Bench, LONG, ladder, rung};
use source::{Shape, brightness, brightness_of, captions};

const ALL: [Rendition; 3] = [Rendition::High, Rendition::Mid, Rendition::Low];
const GRID: [i64; 3] = [0, SECOND, 2 * SECOND];

#[tokio::test]
async fn every_rung_has_every_picture_and_keys_where_they_were_asked_for() {
    let shape = Shape {
        gop: 45, // not where the keys are wanted
        ..Shape::default()
    };
    let clip = shape.clip();
    let rungs = ladder((30, 1));
    let mut bench = Bench::new();
    bench.source(&clip, &rungs).await;
    let mut keys = GRID.to_vec();
    keys.insert(2, shape.pts(35)); // soon after another
    bench.play(&clip, &keys).await;
    bench.drain(&ALL).await;
    for rung in rungs {
        let rendition = rung.rendition;
        let got = bench.of(rendition);
        assert!(matches!(got[0], Encoded::Config { .. }), "{rendition}");
        assert!(matches!(got[got.len() - 1], Encoded::Drained { .. }));
        assert_eq!(got.len(), 1 + shape.frames + 1, "{rendition}");
        let config = bench.configs(rendition)[0];
        assert_eq!(config.resolution(), Some((rung.width, rung.height)));
        assert_eq!(config.frame_rate(), Some((30, 1)));
        assert!(config.codecs().starts_with("avc1."), "{}", config.codecs());
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
        assert_eq!(bench.keys(rendition), keys, "{rendition}");
        for sample in bench.samples(rendition) {
            assert_eq!((sample.composition_offset, sample.duration), (0, 3000));
            let Config::Avc(config) = config else {
                panic!("{rendition}: no H.264");
            };
            let unit = config.unit(&sample.data).expect("lengths hold");
            assert!(unit.picture && unit.config.is_none() && unit.data == sample.data);
            assert_eq!(unit.sync, sample.sync);
            assert_ne!(sample.data[4] & 0x1f, 6, "{rendition}: signed");
        }
        let pictures = bench.pictures(rendition);
        assert_eq!(pictures.len(), shape.frames, "{rendition}");
        for (number, picture) in pictures.iter().enumerate() {
            let (seen, wanted) = (brightness_of(picture), brightness(number));
            assert!(
                seen.abs_diff(wanted) < 8,
                "{rendition} {number}: {seen} {wanted}"
            );
        }
    }
}

#[tokio::test]
async fn a_rung_of_half_the_rate_has_every_second_picture_counted_from_each_key() {
    let shape = Shape {
        rate: (60, 1),
        frames: 150,
        gop: 61,
        captions: true,
        ..Shape::default()
    };
    let clip = shape.clip();
    let rungs = [
        rung(Rendition::High, 320, 180, (60, 1)),
        rung(Rendition::Mid, 212, 120, (30, 1)),
        rung(Rendition::Low, 160, 90, (30, 1)),
    ];
    let keys = [0, shape.pts(61), shape.pts(122)];
    let mut bench = Bench::new();
    bench.source(&clip, &rungs).await;
    bench.play(&clip, &keys).await;
    bench.drain(&ALL).await;
    assert_eq!(bench.pts(Rendition::High), shape.all_pts());
    let thinned: Vec<i64> = [0..61, 61..122, 122..150]
        .into_iter()
        .flat_map(|interval| interval.step_by(2).map(|number| shape.pts(number)))
        .collect();
    for rendition in [Rendition::Mid, Rendition::Low] {
        assert_eq!(bench.pts(rendition), thinned, "{rendition}");
        assert_eq!(bench.keys(rendition), keys, "{rendition}");
        let said = (0..150).flat_map(|number| captions(number)[..3].to_vec());
        let heard: Vec<u8> = bench
            .pictures(rendition)
            .iter()
            .flat_map(|picture| {
                let (pairs, _) = ffi::captions(picture).as_chunks::<3>();
                let pairs = pairs.iter().filter(|pair| pair[0] == 0xfc);
                pairs.flatten().copied().collect::<Vec<_>>()
            })
            .collect();
        // The last picture is left out, and with it what it said.
        let said: Vec<u8> = said.collect();
        assert!(said.starts_with(&heard), "{rendition}");
        assert!(said.len() - heard.len() <= 3, "{rendition}");
    }
}

#[tokio::test]
async fn a_part_comes_back_when_it_is_whole_whatever_follows() {
    let shape = Shape::default();
    let clip = shape.clip();
    let mut bench = Bench::new();
    bench.source(&clip, &ladder((30, 1))).await;
    bench.feed(Feed::Key { at: 0 }).await;
    for (part, samples) in clip.samples.chunks(6).take(4).enumerate() {
        for sample in samples {
            bench.feed(Feed::Picture(sample.clone())).await;
        }
        let whole = 6 * (part + 1);
        let until = shape.pts(whole);
        bench.feed(Feed::Seal { until }).await;
        while ALL.iter().any(|it| bench.samples(*it).len() < whole) {
            bench.take().await;
        }
    }
}

#[tokio::test]
async fn b_frames_come_back_in_the_order_they_are_shown_in() {
    let shape = Shape {
        b_frames: 3,
        frames: 75,
        ..Shape::default()
    };
    let clip = shape.clip();
    assert!(clip.samples.iter().any(|it| it.composition_offset > 6000));
    let mut bench = Bench::new();
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &GRID).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
        assert_eq!(bench.keys(rendition), GRID, "{rendition}");
    }
}

#[tokio::test]
async fn a_new_source_comes_after_all_of_the_old_one_and_may_have_other_rungs() {
    let before = Shape {
        frames: 40,
        b_frames: 2,
        ..Shape::default()
    };
    let after = Shape {
        size: (240, 428),
        first: 40,
        ..before.clone()
    };
    let last = Shape {
        first: 80,
        ..before.clone()
    };
    let (one, two, three) = (before.clip(), after.clip(), last.clip());
    let mut bench = Bench::new();
    bench.source(&one, &ladder((30, 1))).await;
    bench.play(&one, &[0]).await;
    let portrait = [
        rung(Rendition::Mid, 120, 212, (30, 1)),
        rung(Rendition::Low, 90, 160, (30, 1)),
    ];
    bench.source(&two, &portrait).await;
    bench.play(&two, &[before.pts(40)]).await;
    bench.source(&three, &ladder((30, 1))).await;
    bench.play(&three, &[before.pts(80)]).await;
    bench.drain(&ALL).await;
    for (rendition, sources) in [
        (Rendition::High, vec![&before, &last]),
        (Rendition::Mid, vec![&before, &after, &last]),
    ] {
        let wanted: Vec<i64> = sources.iter().flat_map(|shape| shape.all_pts()).collect();
        assert_eq!(bench.pts(rendition), wanted, "{rendition}");
        assert_eq!(bench.configs(rendition).len(), sources.len(), "{rendition}");
        let starts: Vec<i64> = sources.iter().map(|shape| shape.pts(shape.first)).collect();
        assert_eq!(bench.keys(rendition), starts, "{rendition}");
    }
    let sizes: Vec<_> = bench
        .configs(Rendition::Mid)
        .iter()
        .map(|config| config.resolution())
        .collect();
    assert_eq!(
        sizes,
        [Some((212, 120)), Some((120, 212)), Some((212, 120))]
    );
    // Where a rung and its colours stay, so does its encoder.
    let high = bench.configs(Rendition::High);
    assert_eq!(high[0], high[1]);
}

#[tokio::test]
async fn after_a_drain_it_goes_on_at_the_next_sync_sample() {
    let before = Shape {
        frames: 30,
        b_frames: 2,
        ..Shape::default()
    };
    let after = Shape {
        first: 300,
        ..before.clone()
    };
    let (one, two) = (before.clip(), after.clip());
    let mut bench = Bench::new();
    bench.source(&one, &ladder((30, 1))).await;
    bench.play(&one, &[0]).await;
    bench.drain(&ALL).await;
    bench.play(&two, &[after.pts(300)]).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        let wanted = [before.all_pts(), after.all_pts()].concat();
        assert_eq!(bench.pts(rendition), wanted, "{rendition}");
        assert_eq!(bench.keys(rendition), [0, after.pts(300)], "{rendition}");
        assert_eq!(bench.configs(rendition).len(), 1, "{rendition}");
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_left_out_and_the_rest_comes() {
    let shape = Shape::default();
    let mut clip = shape.clip();
    for (at, garbage) in [(3, &b"\0\0\0\x05hello"[..]), (30, b"xx"), (31, b"")] {
        clip.samples[at].data = Bytes::from_static(garbage);
    }
    let mut bench = Bench::new();
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &GRID).await;
    bench.drain(&ALL).await;
    let pts = bench.pts(Rendition::High);
    assert!(pts.contains(&0) && pts.contains(&shape.pts(60)) && pts.contains(&shape.pts(89)));
    assert!(pts.is_sorted() && pts.len() > 60, "{}", pts.len());
    // Frame 30 was a key frame: whichever comes next is one instead.
    let keys = bench.keys(Rendition::High);
    assert_eq!(keys.len(), 3, "{keys:?}");
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), pts, "{rendition}");
        assert_eq!(bench.keys(rendition), keys, "{rendition}");
    }
}

#[tokio::test]
async fn a_source_that_nothing_can_read_is_lost_and_the_next_one_is_not() {
    let asc = Bytes::from_static(&[0x11, 0x90]);
    let config = Config::Aac(aac::Config::parse(&asc).expect("AAC-LC"));
    let mut bench = Bench::new();
    let rungs = ladder((30, 1));
    bench
        .feed(Feed::Source {
            config,
            rungs: rungs.clone(),
        })
        .await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        let lost = Encoded::Lost {
            rendition,
            reason: Failure::Decoder,
        };
        assert_eq!(bench.of(rendition), [lost]);
    }
    let shape = Shape {
        frames: 10,
        ..Shape::default()
    };
    let clip = shape.clip();
    bench.forget();
    bench.source(&clip, &rungs).await;
    bench.play(&clip, &[0]).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
    }
}

#[tokio::test]
async fn a_source_without_a_picture_for_long_is_lost() {
    let clip = Shape {
        frames: 40,
        gop: 40,
        ..Shape::default()
    }
    .clip();
    let mut bench = Bench::new();
    bench.source(&clip, &ladder((30, 1))).await;
    for _ in 0..10 {
        for sample in &clip.samples[1..] {
            bench.feed(Feed::Picture(sample.clone())).await;
        }
    }
    bench.drain(&ALL).await;
    for rendition in ALL {
        let got = bench.of(rendition);
        let reason = Failure::Decoder;
        assert_eq!(got, [Encoded::Lost { rendition, reason }], "{rendition}");
    }
}

#[tokio::test]
async fn a_rung_whose_encoder_fails_is_lost_alone_until_the_next_source() {
    let shape = Shape {
        frames: 30,
        ..Shape::default()
    };
    let clip = shape.clip();
    let mut rungs = ladder((30, 1));
    rungs[1].frame_rate = (u32::MAX, 1); // which no encoder has
    let mut bench = Bench::new();
    bench.source(&clip, &rungs).await;
    bench.play(&clip, &[0]).await;
    bench.drain(&ALL).await;
    let lost = Encoded::Lost {
        rendition: Rendition::Mid,
        reason: Failure::Encoder,
    };
    assert_eq!(bench.of(Rendition::Mid), [lost]);
    for rendition in [Rendition::High, Rendition::Low] {
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
    }
    bench.forget();
    bench.source(&clip, &ladder((30, 1))).await;
    bench.play(&clip, &[0]).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        assert_eq!(bench.pts(rendition), shape.all_pts(), "{rendition}");
    }
}

#[tokio::test]
async fn an_encoder_that_makes_no_progress_is_let_go_and_replaced() {
    let shape = Shape {
        frames: 90,
        ..Shape::default()
    };
    let clip = shape.clip();
    let (transcoder, mut encoded) = Transcoder::start(&Settings::default(), tracing::Span::none());
    let source = || Feed::Source {
        config: clip.config.clone(),
        rungs: ladder((30, 1)),
    };
    transcoder.feed(source()).expect("room");
    // Nobody reads, so that encoders stand still as those do that hang.
    for round in 0..5 {
        for sample in &clip.samples {
            let mut sample = sample.clone();
            sample.dts += round * 3 * SECOND;
            transcoder.feed(Feed::Picture(sample)).expect("room");
        }
    }
    time::sleep(vitrine_core::limits::TRANSCODE_WATCHDOG * 2).await;
    let is_late = |encoded: Option<Vec<Encoded>>| {
        let lost = encoded.expect("the transcoder lives");
        { lost.iter() }
            .any(|it| matches!(it, Encoded::Lost { reason, .. } if *reason == Failure::Late))
    };
    // As soon as one is lost, and it is read that it is, the others go on.
    while !is_late(
        time::timeout(LONG, encoded.recv())
            .await
            .expect("one is lost"),
    ) {}
    let mut bench = Bench {
        transcoder,
        encoded,
        got: BTreeMap::new(),
        drains: 0,
    };
    bench.feed(source()).await;
    bench.play(&clip, &GRID).await;
    bench.drain(&ALL).await;
    for rendition in ALL {
        let is_config = |it: &Encoded| matches!(it, Encoded::Config { .. });
        let at = bench.of(rendition).iter().rposition(is_config);
        let rest = &bench.of(rendition)[at.expect("it is back")..];
        assert_eq!(rest.len(), 1 + shape.frames + 1, "{rendition}");
    }
}

#[tokio::test]
async fn it_hands_back_what_it_cannot_hold_and_ends_with_its_last_owner() {
    let clip = Shape {
        frames: 30,
        ..Shape::default()
    }
    .clip();
    let (transcoder, mut encoded) = Transcoder::start(&Settings::default(), tracing::Span::none());
    let rungs = ladder((30, 1));
    let config = clip.config.clone();
    transcoder
        .feed(Feed::Source { config, rungs })
        .expect("room");
    let sample = clip.samples[0].clone();
    let full = (0..100_000).find_map(|_| {
        let feed = Feed::Picture(sample.clone());
        transcoder.feed(feed).err()
    });
    let Full(back) = full.expect("bounded");
    assert_eq!(*back, Feed::Picture(sample));
    drop(transcoder);
    // Every thread holds the other end.
    let rest = async { while encoded.recv().await.is_some() {} };
    time::timeout(LONG, rest).await.expect("the threads end");
}

#[tokio::test]
async fn nobody_who_reads_is_no_reason_to_stay() {
    let clip = Shape {
        frames: 30,
        ..Shape::default()
    }
    .clip();
    for _ in 0..10 {
        let mut bench = Bench::new();
        bench.source(&clip, &ladder((30, 1))).await;
        bench.play(&clip, &[0]).await;
        let Bench {
            transcoder,
            mut encoded,
            ..
        } = bench;
        drop(transcoder);
        let rest = async { while encoded.recv().await.is_some() {} };
        time::timeout(LONG, rest).await.expect("the threads end");
    }
}

#[tokio::test]
async fn any_source_is_made_into_8_bit_420_with_its_shape_and_colours() {
    for (codec, format) in [
        ("libx264", Pixel::YUV420P10LE),
        ("libx264", Pixel::YUV422P),
        ("libx264", Pixel::YUV444P),
        ("libx264", Pixel::YUVJ420P),
        ("libx265", Pixel::YUV420P10LE),
        ("libaom-av1", Pixel::YUV420P),
    ] {
        let bt2020 = format != Pixel::YUVJ420P;
        let shape = Shape {
            codec,
            format,
            frames: 20,
            sample_aspect_ratio: (4, 3),
            bt2020,
            ..Shape::default()
        };
        let clip = shape.clip();
        let mut bench = Bench::new();
        bench.source(&clip, &ladder((30, 1))).await;
        bench.play(&clip, &[0]).await;
        bench.drain(&ALL).await;
        for rendition in ALL {
            let what = format!("{codec} {format:?} {rendition}");
            assert_eq!(bench.pts(rendition), shape.all_pts(), "{what}");
            let pictures = bench.pictures(rendition);
            for (number, picture) in pictures.iter().enumerate() {
                let full_range = format == Pixel::YUVJ420P;
                let is = |format| picture.format() == format;
                assert!(
                    is(Pixel::YUV420P) || full_range && is(Pixel::YUVJ420P),
                    "{what}"
                );
                assert_eq!(ffi::is_full_range(picture), full_range, "{what}");
                let mut wanted = i32::from(brightness(number));
                if full_range {
                    wanted = (wanted - 16) * 255 / 219;
                }
                let seen = i32::from(brightness_of(picture));
                assert!(
                    (seen - wanted).abs() < 10,
                    "{what} {number}: {seen} {wanted}"
                );
                // x265 and libaom are given the shape of samples too, of which AV1 knows nothing.
                if codec != "libaom-av1" {
                    assert_eq!(picture.aspect_ratio(), (4, 3).into(), "{what}");
                }
                if bt2020 {
                    use ffmpeg_next::color::{Primaries, Space, TransferCharacteristic};
                    assert_eq!(picture.color_primaries(), Primaries::BT2020, "{what}");
                    assert_eq!(picture.color_space(), Space::BT2020NCL, "{what}");
                    let transfer = picture.color_transfer_characteristic();
                    assert_eq!(transfer, TransferCharacteristic::ARIB_STD_B67, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn mutated_access_units_are_endured() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for codec in ["libx264", "libx265", "libaom-av1"] {
        let clip = Shape {
            codec,
            size: (96, 64),
            frames: 30,
            gop: 5,
            b_frames: if codec == "libx264" { 2 } else { 0 },
            ..Shape::default()
        }
        .clip();
        let rungs = [
            rung(Rendition::High, 96, 64, (30, 1)),
            rung(Rendition::Low, 48, 32, (30, 1)),
        ];
        let mut bench = Bench::new();
        for round in 0..20 {
            bench.source(&clip, &rungs).await;
            for sample in &clip.samples {
                let mut sample = sample.clone();
                sample.dts += round * SECOND;
                sample.data = dice.mutated(&sample.data);
                bench.feed(Feed::Picture(sample)).await;
            }
            bench.drain(&[Rendition::High, Rendition::Low]).await;
        }
        assert!(!bench.samples(Rendition::High).is_empty(), "{codec}");
    }
}

/// Numbers that look thrown (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    fn mutated(&mut self, data: &Bytes) -> Bytes {
        let mut data = data.to_vec();
        match self.roll(6) {
            0 | 1 => {}
            2 => {
                let at = self.roll(data.len());
                data.truncate(at);
            }
            3 => {
                let at = self.roll(data.len());
                let end = data.len().min(at + 1 + self.roll(16));
                data.drain(at..end);
            }
            _ => {
                for _ in 0..=self.roll(8) {
                    let at = self.roll(data.len());
                    data[at] ^= 1 << self.roll(8);
                }
            }
        }
        data.into()
    }
}

#[test]
fn the_encoder_of_the_house_passes_its_probe_and_others_say_what_is_wrong() {
    Settings::default().probe().expect("libx264 is there");
    for encoder in Encoder::ALL {
        let settings = Settings {
            encoder,
            ..Settings::default()
        };
        if let Err(error) = settings.probe() {
            let text = error.to_string();
            assert!(text.contains(encoder.name()), "{text}");
            assert!(text.contains(": ") && !text.ends_with('.'), "{text}");
        }
    }
}
