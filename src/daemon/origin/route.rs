//! The URL space of playback (contracts, section 2): a path is read into what it names, or into nothing.
//!
//! Every name is read strictly (plain digits, no leading zeros, no percent-encoding), so that one resource has one URI
//! and no cache can be filled with aliases of it. The query is not part of a name.

use std::borrow::Cow;

use vitrine_core::media::Rendition;

/// What a path under `/live/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
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
        let (stream, rest) = path.split_once('/')?;
        let resource = match rest.split_once('/') {
            None => match rest {
                "index.m3u8" => Resource::Multivariant,
                "thumbnail.jpg" => Resource::Thumbnail,
                _ => return None,
            },
            Some((epoch, rest)) => {
                let (rendition, name) = rest.split_once('/')?;
                Resource::Media {
                    epoch: number(epoch)?,
                    rendition: rendition.parse().ok()?,
                    item: Item::parse(name)?,
                }
            }
        };
        Some(Self { stream, resource })
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
            ("demo/timeline.json", None),
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
            let want = resource.map(|resource| Route {
                stream: "demo",
                resource,
            });
            assert_eq!(Route::parse(path), want, "{path}");
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
