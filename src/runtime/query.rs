//! Queries of an instance's stores, answered by the threads that own them, from committed state.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tidemill_state::TaskStores;
use tidemill_topology::store::{KeyRange, Order, StoreIndex};

/// Keys and values, as bytes.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A range of a store's keys, asked of every thread.
pub struct StoreRequest {
    /// The store's name.
    pub store: String,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    limit: usize,
    answer: Sender<Result<(usize, Entries), String>>,
}

impl StoreRequest {
    /// Makes such requests, and says where the answers come in: one from each thread asked.
    #[must_use]
    pub fn maker(
        store: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> (RequestMaker, Receiver<Answer>) {
        let (answer, answers) = channel();
        let maker = RequestMaker {
            store: store.to_owned(),
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            limit,
            answer,
        };
        (maker, answers)
    }

    /// Answers from the stores of that name that a thread owns.
    pub(super) fn answer(self, stores: Vec<(StoreIndex, &mut TaskStores)>) {
        let mut found = Vec::new();
        let count = stores.len();
        for (index, stores) in stores {
            let range = KeyRange { from: &self.from, to: self.to.as_deref() };
            let scanned = stores.bound(index).scan(range, Order::Forward, &mut |key, value| {
                if found.len() >= self.limit {
                    return ControlFlow::Break(());
                }
                found.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            });
            if let Err(error) = scanned {
                // Whoever asked may have given up.
                let _ = self.answer.send(Err(error.to_string()));
                return;
            }
        }
        let _ = self.answer.send(Ok((count, found)));
    }
}

/// A thread's answer: how many of its tasks have the store, and what they found.
pub type Answer = Result<(usize, Entries), String>;

/// Makes one request a thread.
pub struct RequestMaker {
    store: String,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    limit: usize,
    answer: Sender<Answer>,
}

impl RequestMaker {
    /// The request for one thread.
    #[must_use]
    pub fn make(&self) -> StoreRequest {
        StoreRequest {
            store: self.store.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            limit: self.limit,
            answer: self.answer.clone(),
        }
    }
}

/// How long a thread may take to answer: it does so after its next commit.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
