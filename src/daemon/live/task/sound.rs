//! The sound of a publish that not every player takes, on its way past the task: to its encoder, and back into the
//! engine. What no player can take at all ends the publish, and its encoder is told why.

use tokio::time::Instant;
use vitrine_core::{
    engine::{ladder::Failure, sound, stream::Input},
    media::{Config, Kind},
    wire::flv,
};

use super::{Fence, Task};

impl Task {
    /// Sends sound that not every player takes to its encoder; answers what the engine takes at once.
    pub(super) async fn divert(&mut self, item: flv::Item) -> Option<flv::Item> {
        let config = match item {
            flv::Item::Config(config) if config.kind() == Kind::Audio => config,
            item => {
                let was_lost = self.sound.is_lost();
                let item = self.sound.take(item);
                if self.sound.is_lost() != was_lost {
                    self.tell_sound();
                }
                return item;
            }
        };
        self.finish_sound().await;
        let target = self.encodes.then(|| self.sound.open(&config)).flatten();
        let Some(target) = target else {
            self.shared.status().sound = None;
            if !sound::passes(&config) {
                self.say(&Fence::Unplayable);
                self.cut(Fence::Unplayable).await;
                return None;
            }
            return Some(flv::Item::Config(config));
        };
        self.say(&target);
        let config = Config::Aac(target.config.clone());
        self.shared.status().sound = Some((target, false));
        self.tell_sound();
        Some(flv::Item::Config(config))
    }

    /// What came back of the sound.
    pub(super) async fn heard(&mut self, heard: Result<flv::Frame, Failure>) {
        match heard {
            // As if it was received: a part of encoded sound is as fresh as its last frame.
            Ok(frame) => self.push_sound(frame, Some(Instant::now())).await,
            Err(failure) => {
                self.say(&format_args!(
                    "the sound: {failure}; silence stands in for it"
                ));
                self.tell_sound();
            }
        }
    }

    /// Nothing more of the present publish goes to the encoder of its sound: the engine takes what is still in there.
    pub(super) async fn finish_sound(&mut self) {
        for frame in self.sound.finish().await {
            self.push_sound(frame, None).await;
        }
    }

    async fn push_sound(&mut self, frame: flv::Frame, received: Option<Instant>) {
        let (session, item) = (self.session, flv::Item::Frame(frame));
        self.push(Input::Media { session, item }, received).await;
    }

    fn tell_sound(&mut self) {
        if let Some((_, lost)) = &mut self.shared.status().sound {
            *lost = self.sound.is_lost();
        }
        self.tell_losses();
    }
}
