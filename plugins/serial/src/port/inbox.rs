//! What has come for a port and was not begun: calls, and safe actions on a way of their own, so that they stand behind nothing.

use tokio::sync::mpsc::{self, error::TryRecvError};

use super::transaction::Transaction;

/// The port's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    calls: mpsc::Receiver<Transaction>,
    safe_actions: mpsc::Receiver<Transaction>,
}

/// The end of those who call.
#[derive(Debug, Clone)]
pub(super) struct Senders {
    calls: mpsc::Sender<Transaction>,
    safe_actions: mpsc::Sender<Transaction>,
}

impl Inbox {
    /// The lane before it lets one call through at a time; a second one waits in `reserve`. So do safe actions.
    pub(super) fn new() -> (Senders, Self) {
        let (calls, calls_in) = mpsc::channel(1);
        let (safe_actions, safe_actions_in) = mpsc::channel(1);
        (Senders { calls, safe_actions }, Self { calls: calls_in, safe_actions: safe_actions_in })
    }

    /// What has come, safe actions first; `None` when nothing can come any more. May be dropped while waiting.
    pub(super) async fn recv(&mut self) -> Option<Transaction> {
        tokio::select! {
            biased;
            Some(transaction) = self.safe_actions.recv() => Some(transaction),
            Some(transaction) = self.calls.recv() => Some(transaction),
            else => None,
        }
    }

    /// The next safe action. May be dropped while waiting.
    pub(crate) async fn urgent(&mut self) -> Transaction {
        match self.safe_actions.recv().await {
            Some(transaction) => transaction,
            None => std::future::pending().await,
        }
    }

    /// What has come.
    pub(super) fn try_recv(&mut self) -> Result<Transaction, TryRecvError> {
        self.safe_actions.try_recv().or_else(|_| self.calls.try_recv())
    }

    /// Nothing comes in any more.
    pub(super) fn close(&mut self) {
        self.calls.close();
        self.safe_actions.close();
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }
}

impl Senders {
    /// The way for a call, or for a safe action.
    pub(super) fn way(self, makes_safe: bool) -> mpsc::Sender<Transaction> {
        if makes_safe { self.safe_actions } else { self.calls }
    }
}
