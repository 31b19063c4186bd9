//! A history that can be slow, unavailable or poisoned, and records the order in which messages became
//! visible.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pabal_core::memory::MemoryHistoryStore;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use pabal_core::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFrom, PageLimit, Unread,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Gate;

/// The fault of an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    #[default]
    None,
    /// It stores nothing and fails; retryable.
    Unavailable,
    /// It stores all and fails; retryable.
    UnavailableAfterStoring,
    /// It stores nothing and can never continue.
    Poisoned,
}

#[derive(Default)]
pub(crate) struct TestHistory {
    inner: MemoryHistoryStore,
    /// Before an append stores anything.
    pub(crate) before_append: Gate,
    paused: Mutex<Option<Arc<Gate>>>,
    /// After an append has stored everything, before it returns.
    pub(crate) after_append: Gate,
    /// After the read of a page, before it returns.
    pub(crate) after_page: Gate,
    fault: Mutex<Fault>,
    reads_fail: Mutex<bool>,
    page_delays: Mutex<Option<StdRng>>,
    append_delays: Mutex<Option<StdRng>>,
    visible: Mutex<Visible>,
    /// How many messages were read by pages.
    messages_read: AtomicUsize,
}

/// The messages that became visible.
#[derive(Default)]
struct Visible {
    known: HashSet<MessageId>,
    in_order: Vec<(ChannelId, MessageId)>,
}

impl TestHistory {
    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.fault.lock().expect("no panic") = fault;
    }

    /// Whether reads fail from now on.
    pub(crate) fn fail_reads(&self, fail: bool) {
        *self.reads_fail.lock().expect("no panic") = fail;
    }

    /// From now on a page takes 0 to 3 ms, before and after it is read.
    pub(crate) fn delay_pages(&self, seed: u64) {
        *self.page_delays.lock().expect("no panic") = Some(StdRng::seed_from_u64(seed));
    }

    /// The next append waits at the returned gate; later ones do not.
    pub(crate) fn pause_next_append(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        gate.close();
        *self.paused.lock().expect("no panic") = Some(gate.clone());
        gate
    }

    /// From now on appends take 0 to 3 ms, before and after they store.
    pub(crate) fn delay_appends(&self, seed: u64) {
        *self.append_delays.lock().expect("no panic") = Some(StdRng::seed_from_u64(seed));
    }

    /// How many messages were read by pages so far.
    pub(crate) fn messages_read(&self) -> usize {
        self.messages_read.load(Ordering::Relaxed)
    }

    /// The messages of a channel in the order in which they became visible.
    pub(crate) fn visible(&self, channel_id: ChannelId) -> Vec<MessageId> {
        let visible = self.visible.lock().expect("no panic");
        let of_channel = visible.in_order.iter().filter(|(channel, _)| *channel == channel_id);
        of_channel.map(|(_, message_id)| *message_id).collect()
    }

    fn readable(&self) -> Result<(), HistoryError> {
        match *self.reads_fail.lock().expect("no panic") {
            true => Err(HistoryError::Unavailable("a test".into())),
            false => Ok(()),
        }
    }

    async fn store(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> Result<Vec<Appended>, HistoryError> {
        let outcomes = self.inner.append(partition, messages.clone()).await?;
        let mut visible = self.visible.lock().expect("no panic");
        for (message, outcome) in messages.into_iter().zip(&outcomes) {
            // A message that another owner stored before is not new.
            if *outcome == Appended::Stored && visible.known.insert(message.message_id) {
                visible.in_order.push((message.channel_id, message.message_id));
            }
        }
        Ok(outcomes)
    }
}

/// Waits for the next of `delays`.
async fn pause(delays: &Mutex<Option<StdRng>>) {
    let millis = match delays.lock().expect("no panic").as_mut() {
        Some(delays) => delays.random_range(0..=3),
        None => return,
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl HistoryStore for TestHistory {
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>> {
        Box::pin(async move {
            let paused = self.paused.lock().expect("no panic").take();
            if let Some(gate) = paused {
                gate.pass().await;
            }
            self.before_append.pass().await;
            let fault = *self.fault.lock().expect("no panic");
            match fault {
                Fault::None => {
                    pause(&self.append_delays).await;
                    let outcomes = self.store(partition, messages).await;
                    pause(&self.append_delays).await;
                    self.after_append.pass().await;
                    outcomes
                }
                Fault::Unavailable => Err(HistoryError::Unavailable("a test".into())),
                Fault::UnavailableAfterStoring => {
                    self.store(partition, messages).await?;
                    Err(HistoryError::Unavailable("a test".into()))
                }
                Fault::Poisoned => Err(HistoryError::Poisoned("a test".into())),
            }
        })
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        self.inner.stored_position(partition)
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        Box::pin(async move {
            self.readable()?;
            pause(&self.page_delays).await;
            let page = self.inner.page(channel_id, from, limit).await;
            let read = page.as_ref().map_or(0, |page| page.messages.len());
            self.messages_read.fetch_add(read, Ordering::Relaxed);
            pause(&self.page_delays).await;
            self.after_page.pass().await;
            page
        })
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        Box::pin(async move {
            self.readable()?;
            self.inner.get(channel_id, message_id).await
        })
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let channel_ids = channel_ids.to_vec();
        Box::pin(async move {
            self.readable()?;
            self.inner.heads(&channel_ids).await
        })
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> BoxFuture<'_, Result<Unread, HistoryError>> {
        self.inner.count_unread(channel_id, after, reader, rows)
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        self.inner.find_sent(key)
    }
}
