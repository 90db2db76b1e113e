//! Admission by hooks: a backend is asked whether a publish may begin, and told what becomes of it (contracts, section 3).
//!
//! | module | holds |
//! |-|-|
//! | `allowance` | what a backend allowed: asked again about, kept up to date, and told when it ends |
//! | `backend` | one call: a POST and its answer |
//! | `breaker` | a backend that does not answer is left alone for a while |
//! | `bulkhead` | so many calls at once, so many waiting |
//! | `client` | the asking, with all of these around a call |
//! | `ends` | the news that a publish has ended |
//! | `meters` | what is counted |
//! | `recent` | what was decided a moment ago |
//!
//! It fails closed: what is no clear yes is a no, unless the configuration lets keys in that were allowed lately. Every call
//! has one deadline for all of it, and everything that waits is bounded in number: a slow backend holds up its own
//! publishers and nobody else. Keys are kept as hashes, and are in no log line, metric or `Debug`. The words on the wire are
//! `vitrine_core::wire::hook`'s; lifecycle events of our own are not told from here but by the outbox.

mod allowance;
mod backend;
mod breaker;
mod bulkhead;
mod client;
mod ends;
mod meters;
mod recent;
#[cfg(test)]
mod tests;

pub use self::{
    allowance::{Again, Allowance},
    backend::{BackendUrl, Trouble},
    client::{Allowed, Answer, Hooks, OnFailure, Settings},
    meters::register,
};
