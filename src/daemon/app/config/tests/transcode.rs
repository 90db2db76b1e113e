//! `[transcode]` and `[ladder.*]`, in a build that has them and in one that has not.

use super::*;

#[cfg(not(feature = "transcode"))]
#[test]
fn a_build_without_ffmpeg_transcodes_nothing_and_refuses_to_be_asked() {
    assert_eq!(Config::default().transcode, None);
    let key = "[[publish.keys]]\nkey = \"k\"\nstream = \"a\"\nladder = \"default\"";
    for (text, refused) in [
        ("transcode.enabled = true", "v.toml:1: transcode.enabled"),
        (
            "[transcode]\nencoder = \"libx264\"",
            "v.toml:2: transcode.encoder",
        ),
        ("transcode.preset = \"fast\"", "v.toml:1: transcode.preset"),
        (
            "transcode.max_streams = 1",
            "v.toml:1: transcode.max_streams",
        ),
        (
            "[ladder.default]\nmid = { short_side = 480 }",
            "v.toml:2: ladder.default.mid.short_side",
        ),
        ("ladder.audio_only = true", "v.toml:1: ladder.audio_only"),
        ("ladder.slate = false", "v.toml:1: ladder.slate"),
        (key, "v.toml:4: publish.keys[0].ladder"),
    ] {
        let error = load_text(text).unwrap_err();
        let expect = format!(
            "{refused} is not supported by this build: it was made without the feature \"transcode\""
        );
        assert_eq!(error, expect, "{text}");
    }
}

#[cfg(feature = "transcode")]
mod built {
    use vitrine_core::engine::ladder::{Target, Targets};

    use super::*;
    use crate::transcode::{Encoder, Settings};

    #[test]
    fn transcoding_is_on_and_may_be_turned_off_with_everything_else_left_standing() {
        let cpus = std::thread::available_parallelism().unwrap().get();
        let usual = Transcode {
            settings: Settings::default(),
            max_streams: cpus.try_into().unwrap(),
        };
        assert_eq!(Config::default().transcode, Some(usual));
        let text = "[transcode]\nencoder = \"h264_nvenc\"\nmax_streams = 12\n";
        let settings = Settings {
            encoder: Encoder::Nvenc,
            ..Settings::default()
        };
        let wanted = Transcode {
            settings,
            max_streams: 12,
        };
        assert_eq!(load_text(text).unwrap().0.transcode, Some(wanted));
        let text = format!("{text}enabled = false\n[ladder.default]\nhigh.pass = false\n");
        let (config, _) = load_text(&text).unwrap();
        assert_eq!(config.transcode, None);
        assert!(config.ladder(None).is_some());
    }

    #[test]
    fn a_ladder_is_the_built_in_one_until_it_is_written_down() {
        let text = "
            [ladder.phones]
            high = { pass = false, short_side = 540, bitrate = \"1.5M\" }
            mid = { short_side = 360, bitrate = 600000 }
            low = { short_side = 240, bitrate = \"250k\" }
            [[publish.keys]]
            key = \"a\"
            stream = \"a\"
            ladder = \"phones\"
            [[publish.keys]]
            key = \"b\"
            stream = \"b\"
            ladder = \"default\"
            [[publish.keys]]
            key = \"c\"
            stream = \"c\"
        ";
        let target = |short_side, bitrate| Target {
            short_side,
            bitrate,
        };
        let phones = Ladder {
            pass: false,
            targets: Some(Targets {
                high: target(540, 1_500_000),
                mid: target(360, 600_000),
                low: target(240, 250_000),
            }),
            ..Ladder::default()
        };
        let ladders = |config: Config| -> Vec<_> {
            let keys = config.publish.keys.iter();
            keys.map(|key| config.ladder(key.ladder.as_deref()))
                .collect()
        };
        let (config, _) = load_text(text).unwrap();
        assert_eq!(ladders(config), [Some(phones), None, None]);

        let (config, _) = load_text(&format!("{text}\n[ladder.default]\n")).unwrap();
        let usual = Some(Ladder {
            targets: Some(Targets::built_in(720, false)),
            ..Ladder::default()
        });
        assert_eq!(ladders(config), [Some(phones), usual, usual]);

        let (config, _) = load_text(&format!("ladder.audio_only = true\n{text}")).unwrap();
        let audio_only = |ladder| {
            Some(Ladder {
                audio_only: true,
                ..ladder
            })
        };
        let built_in = audio_only(Ladder::default());
        assert_eq!(ladders(config), [audio_only(phones), built_in, built_in]);

        let (config, _) = load_text(&format!("ladder.slate = false\n{text}")).unwrap();
        let slate = false;
        let of = |ladder| Some(Ladder { slate, ..ladder });
        let built_in = of(Ladder::default());
        assert_eq!(ladders(config), [of(phones), built_in, built_in]);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_key_that_is_wrong() {
        let key = "[[publish.keys]]\nkey = \"k\"\nstream = \"a\"\nladder = \"hd\"\n";
        let two = format!("{key}[ladder.phones]\n");
        for (text, expect) in [
            (
                "transcode.encoder = \"x264\"",
                "v.toml:1: transcode.encoder = \"x264\": expected \"libx264\", \"h264_vaapi\", \"h264_nvenc\" or \"h264_qsv\"",
            ),
            (
                "transcode.preset = \"veryslow\"",
                "v.toml:1: transcode.preset = \"veryslow\": expected \"ultrafast\", \"superfast\", \"veryfast\", \"faster\", \"fast\" or \"medium\"",
            ),
            (
                "transcode.encoder = \"h264_qsv\"\ntranscode.preset = \"fast\"",
                "v.toml:2: transcode.preset = \"fast\": expected none: only transcode.encoder = \"libx264\" has presets",
            ),
            (
                "transcode.max_streams = 0",
                "v.toml:1: transcode.max_streams = 0: expected at least 1; transcode.enabled = false for none",
            ),
            (
                "[ladder.default]\nlow.short_side = 100",
                "v.toml:2: ladder.default.low.short_side = 100: expected 120 to 2160",
            ),
            (
                "[ladder.default]\nhigh.short_side = 4320",
                "v.toml:2: ladder.default.high.short_side = 4320: expected 120 to 2160",
            ),
            (
                "[ladder.default]\nlow.bitrate = \"49k\"",
                "v.toml:2: ladder.default.low.bitrate = \"49k\": expected \"50k\" to \"50M\"",
            ),
            (
                "[ladder.default]\nhigh.bitrate = \"51M\"",
                "v.toml:2: ladder.default.high.bitrate = \"51M\": expected \"50k\" to \"50M\"",
            ),
            (
                "[ladder.default]\nmid.bitrate = \"1200 kb/s\"",
                "v.toml:2: ladder.default.mid.bitrate = \"1200 kb/s\": expected bits per second, such as \"2500k\"",
            ),
            (
                "[ladder.default]\nmid.short_side = 720",
                "v.toml:2: ladder.default.mid.short_side = 720: expected less than high.short_side, which is 720",
            ),
            (
                "[ladder.default]\nhigh.short_side = 400\nlow.short_side = 180",
                "v.toml:1: ladder.default.mid.short_side = 480: expected less than high.short_side, which is 400",
            ),
            (
                "[ladder.default]\nlow.bitrate = 1200000",
                "v.toml:2: ladder.default.low.bitrate = \"1200k\": expected less than mid.bitrate, which is \"1200k\"",
            ),
            (
                "[ladder.phones]\nlower.bitrate = 1",
                "v.toml:2: unknown key ladder.phones.lower.bitrate; the nearest known key is ladder.phones.low.bitrate",
            ),
            (
                "[ladder.default]\nhigh.pass_max = \"60M\"",
                "v.toml:2: ladder.default.high.pass_max = \"60M\": expected \"50k\" to \"50M\"",
            ),
            (
                key,
                "v.toml:4: publish.keys[0].ladder = \"hd\": expected a ladder that is there: \"default\"",
            ),
            (
                &two,
                "publish.keys[0].ladder = \"hd\": expected a ladder that is there: \"default\", \"phones\"",
            ),
        ] {
            let error = load_text(text).unwrap_err();
            assert!(
                error.contains(expect) && error.lines().count() == 1,
                "{text}\n{error}"
            );
        }
    }
}
