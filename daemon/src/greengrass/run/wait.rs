//! The wait for a gateway that can run: it says what is missing, and gets an identity where one is wanted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

use super::super::choice::{Choice, choose};
use super::super::identity;
use super::super::signals::Signal;
use super::super::waiting::Desk;
use super::{Left, Main};
use crate::config::ConfigFiles;
use crate::log;
use crate::provision::Waiting;

/// How often it is looked whether what was missing has come.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Main {
    /// Says what is missing, and ends when there is something new to be looked at.
    pub(super) async fn wait(&mut self, why: String, files: Option<Box<ConfigFiles>>) -> Left {
        if self.said.as_ref() != Some(&why) {
            error!(
                see = "no-gateway-yet",
                "no gateway runs yet, and one starts by itself when this is mended: {why}"
            );
            self.said = Some(why.clone());
        }
        if let Some(files) = &files {
            log::filter(&files.config.log);
        }
        let bus = files.as_ref().map(|files| files.config.bus.clone()).unwrap_or_default();
        let target = files.as_ref().and_then(|files| files.config.target.as_ref());
        let target = target.map_or_else(|| "(no name yet)".to_owned(), ToString::to_string);
        let (trouble, told) = watch::channel(None);
        let mut desk = Desk::open(&bus, &self.state_dir, target, why.clone(), (told, self.standing.clone()));
        let asked = Arc::clone(&desk.asked);
        let wanted = files.filter(|files| identity::is_wanted(files));
        let wanted_by = wanted.as_ref().map(|files| files.config.provisioning.clone());
        let certificate = self.certificate.take().filter(|(by, _)| wanted_by.as_ref() == Some(by));
        let mut certificate = certificate.and_then(|(_, certificate)| certificate);
        let left = {
            let mut getting = pin!(get(wanted.as_deref(), &mut certificate, &trouble));
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.reset();
            let mut choosing = JoinSet::new();
            loop {
                tokio::select! {
                    () = &mut getting => break Left::Again,
                    () = desk.answer() => {}
                    () = asked.notified() => looks.reset_immediately(),
                    changed = self.news.changed(), if !self.news_ended() => if changed.is_ok() {
                        self.look();
                        break Left::Again;
                    },
                    _ = looks.tick(), if choosing.is_empty() => {
                        choosing.spawn(choose(self.source.clone(), self.extra.clone(), self.candidates()));
                    }
                    Some(choice) = choosing.join_next() => match choice {
                        // A start that failed is tried again.
                        Ok(Choice::Start(..)) => break Left::Again,
                        Ok(Choice::Wait(verdict)) => if verdict.why().as_ref() != Some(&why) {
                            break Left::Again;
                        },
                        Err(_) => {}
                    },
                    signal = self.signals.next() => match signal {
                        // Also for what is not told in the same words, such as another template to get an identity by.
                        Signal::HangUp => break Left::Again,
                        Signal::Stop => break Left::Stop,
                    },
                }
            }
        };
        self.certificate = wanted_by.map(|by| (Box::new(by), certificate));
        desk.close().await;
        left
    }
}

/// For ever where no identity is wanted.
async fn get(
    files: Option<&ConfigFiles>,
    certificate: &mut Waiting,
    trouble: &watch::Sender<Option<String>>,
) {
    match files {
        Some(files) => identity::get(files, certificate, trouble).await,
        None => std::future::pending().await,
    }
}
