//! Paging: direction, borders and limits. Owns the model that random reads are compared with.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{ANN, BEN, CHANNEL, NO_ID, Store, append, id, named, new_message};
use pabal_core::model::{ChannelId, Message, MessageId};
use pabal_core::ports::{Appended, Page, PageFrom, PageLimit};
use pabal_core::protocol::MessageView;

/// Ten messages of the channel, at 10, 20, … 100 ms.
async fn ten(store: &Store) -> Vec<Message> {
    let messages: Vec<_> =
        (1..=10).map(|number| new_message(CHANNEL, id(10 * number), ANN)).collect();
    append(store, &messages).await;
    messages
}

/// The numbers (1 to 10) of the messages in a page of [`ten`], and whether there is more.
async fn numbers(store: &Store, from: PageFrom, limit: usize) -> (Vec<u64>, bool) {
    let page = store.page(CHANNEL, from, limit.into()).await.expect("a page");
    let since_first = |message: &Message| message.created_at().since(id(0).created_at());
    let number = |message: &Message| since_first(message).as_millis() as u64 / 10;
    (page.messages.iter().map(number).collect(), page.has_more)
}

pub(super) async fn after_reads_oldest_first(store: Store) {
    ten(&store).await;
    let read = async |ms, limit| numbers(&store, PageFrom::After(id(ms)), limit).await;
    assert_eq!(read(0, 3).await, (vec![1, 2, 3], true));
    assert_eq!(read(30, 3).await, (vec![4, 5, 6], true), "the id itself is not above itself");
    assert_eq!(read(35, 3).await, (vec![4, 5, 6], true), "an id without a message");
    assert_eq!(read(100, 3).await, (vec![], false));
    let whole = numbers(&store, PageFrom::After(NO_ID), 50).await;
    assert_eq!(whole, ((1..=10).collect(), false));
}

pub(super) async fn before_reads_newest_first(store: Store) {
    ten(&store).await;
    let read = async |ms, limit| numbers(&store, PageFrom::Before(id(ms)), limit).await;
    assert_eq!(read(1_000, 3).await, (vec![10, 9, 8], true));
    assert_eq!(read(80, 3).await, (vec![7, 6, 5], true), "the id itself is not below itself");
    assert_eq!(read(75, 3).await, (vec![7, 6, 5], true), "an id without a message");
    assert_eq!(read(10, 3).await, (vec![], false));
    assert_eq!(numbers(&store, PageFrom::Before(NO_ID), 3).await, (vec![], false));
}

pub(super) async fn newest_reads_newest_first(store: Store) {
    ten(&store).await;
    assert_eq!(numbers(&store, PageFrom::Newest, 3).await, (vec![10, 9, 8], true));
    let whole = numbers(&store, PageFrom::Newest, 50).await;
    assert_eq!(whole, ((1..=10).rev().collect(), false));
}

pub(super) async fn around_reads_both_sides_oldest_first(store: Store) {
    ten(&store).await;
    let read = async |ms, limit| numbers(&store, PageFrom::Around(id(ms)), limit).await;
    assert_eq!(read(50, 4).await, (vec![3, 4, 5, 6], true));
    assert_eq!(read(50, 5).await, (vec![3, 4, 5, 6, 7], true), "the odd one goes above");
    assert_eq!(read(55, 4).await, (vec![4, 5, 6, 7], true), "an id without a message");
    assert_eq!(read(50, 1).await, (vec![5], true));
    assert_eq!(read(10, 4).await, (vec![1, 2, 3, 4], true), "nothing below: all from it on");
    assert_eq!(read(20, 4).await, (vec![1, 2, 3, 4], true));
    assert_eq!(read(100, 4).await, (vec![8, 9, 10], false), "never more than half below");
    assert_eq!(read(90, 4).await, (vec![7, 8, 9, 10], false));
    assert_eq!(read(200, 4).await, (vec![9, 10], false));
    assert_eq!(numbers(&store, PageFrom::Around(NO_ID), 4).await, (vec![1, 2, 3, 4], true));
}

pub(super) async fn has_more_is_exact_at_the_borders(store: Store) {
    let messages = ten(&store).await;
    for left in 0..=10 {
        // `left` messages remain in the direction of reading.
        let after = PageFrom::After(id(10 * (10 - left)));
        let before = PageFrom::Before(id(10 * (left + 1)));
        for limit in 1..=12 {
            let expected = (limit.min(left) as usize, left > limit);
            for from in [after, before] {
                let (numbers, has_more) = numbers(&store, from, limit as usize).await;
                assert_eq!((numbers.len(), has_more), expected, "{from:?}, {limit}");
            }
        }
    }
    for limit in [9, 10, 11, usize::MAX] {
        let page = store.page(CHANNEL, PageFrom::Newest, limit.into()).await.expect("a page");
        assert_eq!(page.messages.len(), limit.min(messages.len()));
        assert_eq!(page.has_more, limit < messages.len());
    }
}

pub(super) async fn an_empty_page_reports_whether_there_is_more(store: Store) {
    ten(&store).await;
    let froms = [
        (PageFrom::Newest, true),
        (PageFrom::After(NO_ID), true),
        (PageFrom::After(id(100)), false),
        (PageFrom::Before(id(20)), true),
        (PageFrom::Before(id(10)), false),
    ];
    for (from, more) in froms {
        assert_eq!(numbers(&store, from, 0).await, (vec![], more), "{from:?}");
    }
}

pub(super) async fn pages_continue_across_long_gaps(store: Store) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let silences = [0, 1, DAY_MS, 10 * DAY_MS, 11 * DAY_MS, 100 * DAY_MS, 365 * DAY_MS];
    let messages: Vec<_> = silences.map(|ms| new_message(CHANNEL, id(ms), BEN)).to_vec();
    append(&store, &messages).await;
    for limit in 1..=3 {
        let (mut up, mut last, mut more) = (Vec::new(), NO_ID, true);
        while more {
            let page =
                store.page(CHANNEL, PageFrom::After(last), limit.into()).await.expect("a page");
            last = page.messages.last().expect("there was more").message_id;
            up.extend(page.messages);
            more = page.has_more;
        }
        assert_eq!(up, messages, "upwards by {limit}");
        let (mut down, mut from, mut more) = (Vec::new(), PageFrom::Newest, true);
        while more {
            let page = store.page(CHANNEL, from, limit.into()).await.expect("a page");
            from = PageFrom::Before(page.messages.last().expect("there was more").message_id);
            down.extend(page.messages);
            more = page.has_more;
        }
        down.reverse();
        assert_eq!(down, messages, "downwards by {limit}");
    }
}

/// The numbers of a page whose limit is the JSON of `numbers`, and `spare` bytes.
async fn within(
    store: &Store,
    messages: &[Message],
    (from, numbers, spare): (PageFrom, &[usize], isize),
) -> (Vec<u64>, bool) {
    let bytes = |number: &usize| MessageView::from(&messages[number - 1]).max_bytes();
    let bytes: usize = numbers.iter().map(bytes).sum();
    let limit = PageLimit { messages: 8, bytes: bytes.strict_add_signed(spare) };
    let page = store.page(CHANNEL, from, limit).await.expect("a page");
    let since_first = |message: &Message| message.created_at().since(id(0).created_at());
    let number = |message: &Message| since_first(message).as_millis() as u64 / 10;
    (page.messages.iter().map(number).collect(), page.has_more)
}

pub(super) async fn a_page_ends_at_its_limit_of_bytes(store: Store) {
    // Control characters take six bytes each in JSON, and their number rises with that of the message.
    let message = |number: u64| Message {
        content: "\u{1}".repeat(50 * number as usize).into(),
        ..new_message(CHANNEL, id(10 * number), ANN)
    };
    let messages: Vec<_> = (1..=10).map(message).collect();
    append(&store, &messages).await;
    let read = async |from, numbers: &[usize], spare| {
        within(&store, &messages, (from, numbers, spare)).await
    };
    let (start, end) = (PageFrom::After(NO_ID), PageFrom::Newest);
    assert_eq!(read(start, &[1, 2, 3], 0).await, (vec![1, 2, 3], true));
    assert_eq!(read(start, &[1, 2, 3], -1).await, (vec![1, 2], true));
    assert_eq!(read(end, &[10, 9], 0).await, (vec![10, 9], true));
    assert_eq!(read(end, &[10, 9], -1).await, (vec![10], true), "9 does not fit, nor do others");
    assert_eq!(read(end, &[], 0).await, (vec![10], true), "a page has at least one message");
    assert_eq!(read(PageFrom::After(id(80)), &[9, 10], 0).await, (vec![9, 10], false));
    assert_eq!(read(PageFrom::Before(id(30)), &[2, 1], 0).await, (vec![2, 1], false));
    assert_eq!(read(start, &[1, 2, 3, 4, 5, 6, 7, 8, 9], 0).await.0.len(), 8, "by number");
    let around = PageFrom::Around(id(50));
    let halves = read(around, &[4, 5, 6], 0).await;
    assert_eq!(halves, (vec![3, 4, 5], true), "the larger ones above get the other half");
    assert_eq!(read(around, &[], 0).await, (vec![4, 5], true), "at least one on either side");
}

/// The channels of a random history in one partition, as ordered lists.
struct Model {
    channels: Vec<Vec<Message>>,
}

impl Model {
    fn page(&self, channel: usize, from: PageFrom, limit: usize) -> Page {
        let all = &self.channels[channel];
        let below = |id: MessageId| all.partition_point(|message| message.message_id < id);
        let (mut messages, limit) = match from {
            PageFrom::After(id) => (all[below(MessageId::new(id.get() + 1))..].to_vec(), limit),
            PageFrom::Before(id) => (all[..below(id)].iter().rev().cloned().collect(), limit),
            PageFrom::Newest => (all.iter().rev().cloned().collect(), limit),
            PageFrom::Around(id) => {
                let start = below(id).saturating_sub(limit / 2);
                (all[start..].to_vec(), limit)
            }
        };
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        Page { messages, has_more }
    }
}

pub(super) async fn random_histories_match_the_model(store: Store) {
    const SEED: u64 = 0x7061_6261_6c00_0001;
    const CHANNELS: usize = 5;
    const BATCHES: usize = 30;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut model = Model { channels: vec![Vec::new(); CHANNELS] };
    let mut last_ms = 0;
    for batch in 0..BATCHES {
        let (mut messages, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random.random_range(1..20) {
            // Mostly close together, occasionally an hour apart.
            let hours = if random.random_bool(0.02) { 3_600_000 } else { 0 };
            last_ms += 1 + hours + random.random_range(0..5);
            let channel = random.random_range(0..CHANNELS);
            let from = if random.random() { ANN } else { BEN };
            let name = format!("{batch}-{}", random.random_range(0..10));
            let message =
                named(&name, new_message(ChannelId::new(channel as u64), id(last_ms), from));
            let known = &mut model.channels[channel];
            let first = known.iter().find(|known| known.send_key() == message.send_key());
            expected.push(first.map_or(Appended::Stored, |m| Appended::Repeat(m.message_id)));
            if first.is_none() {
                known.push(message.clone());
            }
            messages.push(message);
        }
        assert_eq!(append(&store, &messages).await, expected, "batch {batch} of {SEED:#x}");
        if random.random_bool(0.2) {
            let from = random.random_range(0..messages.len());
            assert_eq!(append(&store, &messages[from..]).await, expected[from..]);
        }
        for _ in 0..20 {
            let channel = random.random_range(0..CHANNELS);
            let some_id = id(random.random_range(0..=last_ms + 5));
            let limit = random.random_range(0..30);
            let from = match random.random_range(0..4) {
                0 => PageFrom::After(some_id),
                1 => PageFrom::Before(some_id),
                2 => PageFrom::Newest,
                _ => PageFrom::Around(some_id),
            };
            let page = store.page(ChannelId::new(channel as u64), from, limit.into()).await;
            let page = page.expect("a page");
            let expected = model.page(channel, from, limit);
            assert_eq!(page, expected, "{from:?}, {limit}, batch {batch} of {SEED:#x}");
        }
    }
}
