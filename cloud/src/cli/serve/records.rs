//! Records wait until their answers are on their way: nobody should wait for a log. None is lost.

use std::sync::Arc;

use nowd_cloud::{Record, Recorder};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

/// How many may wait to be written.
pub(super) const MOST: usize = 1_024;

/// Those that wait.
pub(super) struct Records {
    waiting: mpsc::Receiver<Record>,
    log: Recorder,
}

/// Takes records, and writes them with `log`: later, or at once where there is no room or nobody who writes.
pub(super) fn deferred(most: usize, log: Recorder) -> (Recorder, Records) {
    let (taken, waiting) = mpsc::channel(most);
    let records = Records { waiting, log: Arc::clone(&log) };
    let recorder = move |record: &Record| {
        if let Err(TrySendError::Full(record) | TrySendError::Closed(record)) = taken.try_send(record.clone())
        {
            log(&record);
        }
    };
    (Arc::new(recorder), records)
}

impl Records {
    /// Writes until `stop`, and then those that are there.
    pub(super) async fn write(mut self, stop: CancellationToken) {
        while let Some(Some(record)) = stop.run_until_cancelled(self.waiting.recv()).await {
            (self.log)(&record);
        }
        self.waiting.close();
        while let Some(record) = self.waiting.recv().await {
            (self.log)(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use nowd_cloud::Elapsed;
    use nowd_protocol::{Outcome, ReplyStatus, Status, Uuid};

    use super::*;

    fn record(number: u128) -> Record {
        Record {
            id: Uuid::from_u128(number),
            target: None,
            method: None,
            caller: None,
            traceparent: None,
            status: ReplyStatus::Known(Status::Ok),
            outcome: Outcome::Executed,
            http: 200,
            attempts: 1,
            timing: Elapsed { total: Duration::ZERO, round_trip: None, gateway: None },
            error: None,
        }
    }

    #[tokio::test]
    async fn none_is_lost_and_none_is_written_twice() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&written);
        let log: Recorder = Arc::new(move |record: &Record| log.lock().unwrap().push(record.id.as_u128()));
        let (recorder, records) = deferred(2, log);
        let now = || written.lock().unwrap().clone();

        (1..=2).for_each(|number| recorder(&record(number)));
        assert_eq!(now(), Vec::<u128>::new(), "they wait for their answers");
        recorder(&record(3));
        assert_eq!(now(), [3], "there is no room for more");
        let stop = CancellationToken::new();
        stop.cancel();
        records.write(stop).await;
        assert_eq!(now(), [3, 1, 2], "what waits is written at the end");
        recorder(&record(4));
        assert_eq!(now(), [3, 1, 2, 4], "nobody writes any more");
    }
}
