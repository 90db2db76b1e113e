//! The URL space of playback (contracts, section 2): a path is read into what it names, or into nothing.
//!
//! Every name is read strictly (plain digits, no leading zeros, no percent-encoding), so that one resource has one URI
//! and no cache can be filled with aliases of it. The query is not part of a name.

use std::borrow::Cow;

use vitrine_core::media::Rendition;

/// What a path under `/live/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// What stands behind `~` in the first segment, when there is one; it may be no viewer token.
    pub token: Option<&'a str>,
    /// Stream id as it stands in the path; it may name no stream.
    pub stream: &'a str,
    /// The resource of that stream.
    pub resource: Resource,
}

/// A resource of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `index.m3u8`: the stable address.
    Multivariant,
    /// `thumbnail.jpg`: the last still.
    Thumbnail,
    /// `timeline.json`, `<epoch>/timeline.json`: the events of an epoch, the newest where none is named.
    Timeline(Option<u64>),
    /// `verify/<need>`: whether a token opens the stream, asked by an edge.
    Verdict(Need),
    /// `<epoch>/<rendition>/...`
    Media {
        /// First path segment.
        epoch: u64,
        /// Second path segment.
        rendition: Rendition,
        /// The rest.
        item: Item,
    },
}

/// What a viewer token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To begin to watch: `enter`.
    Enter,
    /// To go on watching: `stay`.
    Stay,
}

impl Resource {
    /// What a token is needed for to be given it.
    pub fn need(self) -> Need {
        match self {
            Self::Multivariant => Need::Enter,
            Self::Verdict(need) => need,
            Self::Thumbnail | Self::Timeline(_) | Self::Media { .. } => Need::Stay,
        }
    }
}

/// A resource of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// `index.m3u8`
    Playlist,
    /// `init<n>.mp4`
    Init(u32),
    /// `s<msn>.m4s`
    Segment(u64),
    /// `p<n>.m4s`
    Part(u64),
}

impl<'a> Route<'a> {
    /// Reads what follows `/live/`; `None` when no such resource can exist.
    pub fn parse(path: &'a str) -> Option<Self> {
        let (token, path) = match path.strip_prefix('~') {
            Some(path) => {
                let (token, path) = path.split_once('/')?;
                (Some(token), path)
            }
            None => (None, path),
        };
        let (stream, rest) = path.split_once('/')?;
        let resource = match rest.split_once('/') {
            None => match rest {
                "index.m3u8" => Resource::Multivariant,
                "thumbnail.jpg" => Resource::Thumbnail,
                "timeline.json" => Resource::Timeline(None),
                _ => return None,
            },
            Some(("verify", "enter")) => Resource::Verdict(Need::Enter),
            Some(("verify", "stay")) => Resource::Verdict(Need::Stay),
            Some((epoch, "timeline.json")) => Resource::Timeline(Some(number(epoch)?)),
            Some((epoch, rest)) => {
                let (rendition, name) = rest.split_once('/')?;
                Resource::Media {
                    epoch: number(epoch)?,
                    rendition: rendition.parse().ok()?,
                    item: Item::parse(name)?,
                }
            }
        };
        Some(Self {
            token,
            stream,
            resource,
        })
    }
}

impl Item {
    fn parse(name: &str) -> Option<Self> {
        if name == "index.m3u8" {
            return Some(Self::Playlist);
        }
        if let Some(name) = name.strip_prefix("init") {
            return u32::try_from(number(name.strip_suffix(".mp4")?)?)
                .ok()
                .map(Self::Init);
        }
        let name = name.strip_suffix(".m4s")?;
        match name.split_at_checked(1)? {
            ("s", msn) => number(msn).map(Self::Segment),
            ("p", part) => number(part).map(Self::Part),
            _ => None,
        }
    }
}

/// A decimal number as it is written by us: digits, no leading zero.
fn number(digits: &str) -> Option<u64> {
    let canonical = digits == "0" || !digits.starts_with('0');
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && plain).then(|| digits.parse().ok()).flatten()
}

/// The path of a request as logs may tell it: without a viewer's token (`/live/~<token>/`), which is a secret.
pub(super) fn without_token(path: &str) -> Cow<'_, str> {
    match path.strip_prefix("/live/~") {
        Some(rest) => {
            let behind = rest.find('/').map_or("", |at| &rest[at..]);
            format!("/live/~{behind}").into()
        }
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_one_path() {
        let media = |rendition, item| {
            Some(Resource::Media {
                epoch: 1_767_268_800,
                rendition,
                item,
            })
        };
        for (path, resource) in [
            ("demo/index.m3u8", Some(Resource::Multivariant)),
            (
                "demo/1767268800/high/index.m3u8",
                media(Rendition::High, Item::Playlist),
            ),
            (
                "demo/1767268800/audio/init0.mp4",
                media(Rendition::Audio, Item::Init(0)),
            ),
            (
                "demo/1767268800/mid/s120.m4s",
                media(Rendition::Mid, Item::Segment(120)),
            ),
            (
                "demo/1767268800/low/p0.m4s",
                media(Rendition::Low, Item::Part(0)),
            ),
            ("demo", None),
            ("demo/", None),
            ("demo/thumbnail.jpg", Some(Resource::Thumbnail)),
            ("demo/1767268800/thumbnail.jpg", None),
            ("demo/thumbnail.jpeg", None),
            ("demo/timeline.json", Some(Resource::Timeline(None))),
            (
                "demo/1767268800/timeline.json",
                Some(Resource::Timeline(Some(1_767_268_800))),
            ),
            ("demo/01/timeline.json", None),
            ("demo/1767268800/high/timeline.json", None),
            ("demo/verify/enter", Some(Resource::Verdict(Need::Enter))),
            ("demo/verify/stay", Some(Resource::Verdict(Need::Stay))),
            ("demo/verify/", None),
            ("demo/verify/stay/", None),
            ("demo/1767268800/index.m3u8", None),
            ("demo/01767268800/high/index.m3u8", None),
            ("demo/1767268800/best/index.m3u8", None),
            ("demo/1767268800/high/", None),
            ("demo/1767268800/high/index.m3u8/", None),
            ("demo/1767268800/high/s+1.m4s", None),
            ("demo/1767268800/high/s01.m4s", None),
            ("demo/1767268800/high/s.m4s", None),
            ("demo/1767268800/high/s1", None),
            ("demo/1767268800/high/é.m4s", None),
            ("demo/1767268800/high/p18446744073709551616.m4s", None),
            ("demo/1767268800/high/init4294967296.mp4", None),
            ("demo/1767268800/high/x/s1.m4s", None),
        ] {
            for token in [None, Some(""), Some("v1.a.*")] {
                let want = resource.map(|resource| Route {
                    token,
                    stream: "demo",
                    resource,
                });
                let prefix = token.map_or(String::new(), |token| format!("~{token}/"));
                let path = format!("{prefix}{path}");
                assert_eq!(Route::parse(&path), want, "{path}");
            }
        }
        for path in ["", "~", "~/", "~t", "~t/demo", "demo/~t/index.m3u8"] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_is_told_without_its_token() {
        for (path, told) in [
            ("/live/demo/index.m3u8", "/live/demo/index.m3u8"),
            ("/live/~s3cr3t/demo/index.m3u8", "/live/~/demo/index.m3u8"),
            ("/live/~s3cr3t", "/live/~"),
            ("/", "/"),
        ] {
            assert_eq!(without_token(path), told);
        }
    }
}
