//! The soak's viewers: each comes, follows both renditions by blocking reloads, leaves after a while and comes again.
//!
//! At every reload: the rules of one version and of two ([`Playlist::check`], [`check_succession`]), no answer but 200, no
//! number that falls, and nothing missing: every part is fetched as soon as it is listed, and now and then a part or
//! segment from anywhere in the list. A URI that was fetched before must give the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::{Book, Dice};
use crate::viewer::{Playlist, Viewer, check_succession, client};

/// How long a reload may be waited for: three target durations, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a broadcast's end the next one must have begun: the longest absence of a publisher, and room.
const NEXT_BROADCAST: Duration = Duration::from_secs(60);
/// URIs whose bytes are remembered: some three windows of parts.
const REMEMBERED_MAX: usize = 400;
/// Of a broken rule with its playlists, what is kept to be read.
const RULE_CHARS: usize = 300;

/// Viewer `number`, of `stream`, until `end`.
pub(super) async fn watch(root: String, stream: String, number: usize, end: Instant, book: Book) {
    let mut dice = Dice::new(100 + number as u64);
    let mut over = BTreeSet::new();
    // Not all in the same instant.
    tokio::time::sleep(Duration::from_millis(dice.roll(0, 3_000))).await;
    while Instant::now() < end {
        let builder = client();
        let builder = if number % 2 == 1 {
            builder.http2_prior_knowledge()
        } else {
            builder
        };
        let viewer = Viewer::with(builder.build().expect("a client"), &root);
        let leaves = end.min(Instant::now() + Duration::from_secs(dice.roll(20, 120)));
        book.deed("visits of viewers");
        let next = next_broadcast(viewer.clone(), stream.clone(), over.clone(), end);
        let Some(Some(folders)) = guarded(book.clone(), next).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let following = folders.values().cloned().map(|folder| {
            let (viewer, book) = (viewer.clone(), book.clone());
            let dice = Dice::new(dice.roll(0, 1 << 40));
            let own = book.clone();
            let follow = async move { follow(&viewer, &folder, leaves, dice, &own).await };
            tokio::spawn(guarded(book, follow))
        });
        let following: Vec<_> = following.collect();
        for rendition in following {
            if let Ok(Some(true)) = rendition.await {
                over.extend(folders.values().cloned());
            }
        }
    }
}

/// Runs `deed` as a task of its own; a panic in it is a broken rule.
async fn guarded<T: Send + 'static>(
    book: Book,
    deed: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    match tokio::spawn(deed).await {
        Ok(done) => Some(done),
        Err(error) => {
            let panic = error.try_into_panic().ok()?;
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "a viewer ended early".to_owned());
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            book.broken(&words.chars().take(RULE_CHARS).collect::<String>());
            None
        }
    }
}

/// The renditions of a broadcast that is not `over`; nothing when `end` comes first.
async fn next_broadcast(
    viewer: Viewer,
    stream: String,
    over: BTreeSet<String>,
    end: Instant,
) -> Option<BTreeMap<String, String>> {
    let latest = Instant::now() + NEXT_BROADCAST;
    loop {
        let folders = tokio::select! {
            folders = viewer.renditions(&stream) => folders,
            () = tokio::time::sleep_until(end.into()) => return None,
        };
        if !folders.values().any(|folder| over.contains(folder)) {
            return Some(folders);
        }
        assert!(
            Instant::now() < latest,
            "{stream}: no broadcast came after the one that ended"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Follows one rendition; whether it came to its end.
async fn follow(
    viewer: &Viewer,
    folder: &str,
    leaves: Instant,
    mut dice: Dice,
    book: &Book,
) -> bool {
    let rendition = folder
        .rsplit('/')
        .find(|name| !name.is_empty())
        .unwrap_or("");
    let mut seen = Seen::default();
    let mut playlist = viewer.playlist(folder, "").await;
    loop {
        let fetched = seen.fetch(viewer, folder, &playlist, &mut dice).await;
        book.deeds(&format!("fetched of {rendition}"), fetched);
        if playlist.ended || Instant::now() >= leaves {
            return playlist.ended;
        }
        let asked = playlist.next();
        let query = format!("?_HLS_msn={}&_HLS_part={}", asked.0, asked.1);
        let newer = tokio::time::timeout(PATIENCE, viewer.playlist(folder, &query)).await;
        let newer =
            newer.unwrap_or_else(|_| panic!("B6: a reload was not answered within {PATIENCE:?}"));
        book.deed("reloads checked");
        check_succession(&playlist, &newer);
        let first = |list: &Playlist| list.segments.first().map(|segment| segment.msn);
        assert!(
            first(&newer) >= first(&playlist),
            "P1: the media sequence number fell"
        );
        assert!(
            newer.ended || newer.next() > asked,
            "B11: less than was asked for"
        );
        playlist = newer;
    }
}

/// What one viewer was given.
#[derive(Default)]
struct Seen {
    digests: BTreeMap<String, u64>,
    order: VecDeque<String>,
    /// The end of the list at the last reload.
    next: (u64, u64),
}

impl Seen {
    /// Fetches what is new in a version, and now and then something old; how many things that was.
    async fn fetch(
        &mut self,
        viewer: &Viewer,
        folder: &str,
        playlist: &Playlist,
        dice: &mut Dice,
    ) -> u64 {
        let mut uris = Vec::new();
        for segment in &playlist.segments {
            for (part, index) in segment.parts.iter().zip(0..) {
                if (segment.msn, index) >= self.next && !part.gap {
                    uris.push(part.uri.clone());
                }
            }
        }
        self.next = playlist.next();
        if dice.roll(0, 10) == 0 {
            let index = dice.roll(0, playlist.segments.len().max(1) as u64) as usize;
            if let Some(segment) = playlist.segments.get(index).filter(|segment| !segment.gap) {
                uris.extend(segment.uri.clone());
                uris.extend(segment.map.clone());
                uris.extend(
                    segment
                        .parts
                        .iter()
                        .filter(|part| !part.gap)
                        .map(|part| part.uri.clone()),
                );
            }
        }
        let count = uris.len() as u64;
        for uri in uris {
            let bytes = viewer.bytes(&format!("{folder}{uri}")).await;
            assert!(!bytes.is_empty(), "H7: {uri} is empty");
            self.remember(uri, &bytes);
        }
        count
    }

    fn remember(&mut self, uri: String, bytes: &[u8]) {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let digest = hasher.finish();
        if let Some(known) = self.digests.insert(uri.clone(), digest) {
            assert!(known == digest, "P4: {uri} now means something else");
            return;
        }
        self.order.push_back(uri);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}
