//! Delivery: what a viewer's query can do to the directive parser (draft-pantos-hls-rfc8216bis, 6.2.5).
//!
//! Invariant: every string is either refused or means the same when its parameters are written plainly again.

use vitrine_core::wire::directive::Directive;

/// Parses `data` as a query, writes what it meant, and parses that.
pub fn directive(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(directive) = Directive::parse(query) else {
        return;
    };
    let mut plain = String::new();
    if let Some((msn, part)) = directive.at_least {
        plain += &format!("_HLS_msn={msn}&");
        if let Some(part) = part {
            plain += &format!("_HLS_part={part}&");
        }
    }
    if directive.skip {
        plain += "_HLS_skip=YES";
    }
    assert_eq!(
        Directive::parse(&plain),
        Ok(directive),
        "{query:?} became {plain:?}"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_pass() {
        for seed in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/directive"))
            .expect("the corpus is committed")
        {
            super::directive(&std::fs::read(seed.expect("readable").path()).expect("readable"));
        }
    }
}
