//! The answers of backends: whatever one says, in whatever dialect, is read or refused in words that quote nothing of it.
//!
//! Invariants: what is allowed obeys its bounds, and an error never repeats the answer, which may hold secrets.

use vitrine_core::{
    limits,
    wire::hook::{Answer, Dialect, Verdict},
};

/// `<dialect> <status> <location>`, a line feed, then the body.
pub fn hook(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (head, body) = data.split_at(end.unwrap_or(data.len()));
    let head = String::from_utf8_lossy(head);
    let mut words = head.splitn(3, ' ');
    let named = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse().ok());
    let dialect = Dialect::ALL.into_iter().find(|it| it.name() == named);
    let answer = Answer {
        status: status.unwrap_or(200),
        location: words.next(),
        body: body.strip_prefix(b"\n").unwrap_or(body),
    };
    match dialect.unwrap_or_default().verdict(&answer) {
        Ok(Verdict::Allow(allow)) => {
            let metadata = serde_json::Value::Object(allow.metadata).to_string();
            assert!(metadata.len() <= limits::VERDICT_METADATA_BYTES);
            let offset_ms = allow.events.offset_ms.unwrap_or(0);
            assert!(offset_ms.abs() <= limits::EVENT_OFFSET_MS_MAX);
            assert!(allow.events.per_second != Some(0) && allow.events.bytes_per_second != Some(0));
            assert!(allow.lifetime_seconds != Some(0) && allow.revalidate_seconds != Some(0));
        }
        Ok(Verdict::Deny { reason }) => {
            assert!(reason.chars().count() <= limits::VERDICT_REASON_CHARS);
        }
        Err(unfit) => assert!(!unfit.to_string().contains("s3cr3t")),
    }
    let _ = dialect.unwrap_or_default().goes_on(&answer);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_pass() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/hook");
        let seeds: Vec<_> = std::fs::read_dir(corpus).expect("committed").collect();
        assert!(seeds.len() >= 12, "every dialect, every kind of answer");
        for seed in seeds {
            super::hook(&std::fs::read(seed.expect("readable").path()).expect("readable"));
        }
    }
}
