//! The tables of an outbox, as numbered steps from nothing: `user_version` is how many of them a file has seen. A step is
//! never changed once it has left this house; the next one is added.
//!
//! Times are milliseconds since 1970. An event is one row, with a row per endpoint that wants it.

/// From version n to n + 1.
pub(super) const STEPS: [&str; 1] = [FIRST];

const FIRST: &str = "
CREATE TABLE endpoint (
    number INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE
) STRICT;

-- hook_seq is the latest given; data is that of the latest event, while the life lasts.
CREATE TABLE subject (
    name TEXT PRIMARY KEY,
    hook_seq INTEGER NOT NULL,
    data TEXT,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Never a number twice: a courier asks for what is beyond the last it saw.
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    hook_seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (subject, hook_seq)
) STRICT;
CREATE INDEX event_at ON event (at);

-- fresh: no attempt yet; again: failed, and due.
CREATE TABLE delivery (
    event INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
    endpoint INTEGER NOT NULL REFERENCES endpoint,
    state TEXT NOT NULL CHECK (state IN ('fresh', 'again', 'delivered', 'dead')),
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    settled_at INTEGER,
    status INTEGER,
    error TEXT,
    PRIMARY KEY (event, endpoint)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_fresh ON delivery (endpoint, event) WHERE state = 'fresh';
CREATE INDEX delivery_again ON delivery (endpoint, due_at) WHERE state = 'again';
CREATE INDEX delivery_dead ON delivery (event, endpoint) WHERE state = 'dead';
";
