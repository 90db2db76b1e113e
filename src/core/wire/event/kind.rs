//! The types of events, and what each means for a stream (contracts, section 5, "Types and classes").

/// What may happen to an event when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never lost: what is for sale, at what price, until when.
    State,
    /// The oldest gives way.
    Chat,
    /// The latest takes the place of those before.
    Counter,
}

/// One type of events.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name on the wire.
    pub name: &'static str,
    /// What may happen to it.
    pub class: Class,
    /// Whether it lasts until something ends it, and so is a range even without a duration.
    pub lasts: bool,
}

impl Kind {
    /// Every type that rides in the stream.
    pub const ALL: [Self; 23] = [
        state("listing.added"),
        state("listing.updated"),
        state("listing.removed"),
        lasting("listing.pinned"),
        state("listing.unpinned"),
        state("price.changed"),
        lasting("flash.started"),
        state("flash.ended"),
        lasting("coupon.pinned"),
        lasting("slide.changed"),
        lasting("notice.posted"),
        state("chat.deleted"),
        state("user.banned"),
        lasting("show.started"),
        state("show.ended"),
        state("stream.stopped"),
        state("state.repeat"),
        of("chat.batch", Class::Chat),
        of("stamp.sent", Class::Chat),
        of("sale.happened", Class::Chat),
        of("stock.changed", Class::Counter),
        of("like.count", Class::Counter),
        of("viewer.count", Class::Counter),
    ];

    /// The type of that name.
    pub fn parse(name: &str) -> Option<&'static Self> {
        static ALL: [Kind; 23] = Kind::ALL;
        ALL.iter().find(|kind| kind.name == name)
    }
}

const fn of(name: &'static str, class: Class) -> Kind {
    Kind {
        name,
        class,
        lasts: false,
    }
}

const fn state(name: &'static str) -> Kind {
    of(name, Class::State)
}

const fn lasting(name: &'static str) -> Kind {
    Kind {
        lasts: true,
        ..state(name)
    }
}
