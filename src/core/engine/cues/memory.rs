//! What was answered to whom: an event that comes again, by its id, is told the same and placed no second time.

use std::collections::{BTreeMap, VecDeque};

use super::Placement;
use crate::limits;

/// The newest answers, by id.
#[derive(Debug, Default)]
pub(in crate::engine) struct Memory {
    answers: BTreeMap<String, Placement>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Memory {
    /// What was answered to that id.
    pub(in crate::engine) fn answer(&self, id: &str) -> Option<&Placement> {
        self.answers.get(id)
    }

    /// Keeps an answer; the oldest gives way to it, but for those that are `needed`, which are few.
    pub(in crate::engine) fn keep(
        &mut self,
        id: &str,
        placement: Placement,
        needed: impl Fn(&str) -> bool,
    ) {
        if self.answers.insert(id.to_owned(), placement).is_none() {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > limits::EVENTS_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            match needed(&oldest) {
                true => self.order.push_back(oldest),
                false => drop(self.answers.remove(&oldest)),
            }
        }
    }

    /// All of them, oldest first.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (&String, &Placement)> {
        { self.order.iter() }.filter_map(|id| self.answers.get_key_value(id))
    }
}
