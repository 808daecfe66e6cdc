//! One call for what many ask at the same time, for the calls of an API that take several names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

/// What a call answered for each of the names it has; or why it failed, for all of them.
pub type Answer<V, E> = Result<BTreeMap<String, V>, Arc<E>>;

type Call<V, E> = dyn Fn(Vec<String>) -> BoxFuture<'static, Answer<V, E>> + Send + Sync;

/// Gathers names and asks for them together.
///
/// A call that has been gathered for is made as long as one of those who asked still waits for its
/// answer; with the last of them it is given up, and so is what it answered.
pub struct Batches<V, E> {
    most: usize,
    call: Arc<Call<V, E>>,
    open: Mutex<Option<Batch<V, E>>>,
}

/// Names that are asked for together.
struct Batch<V, E> {
    /// `None` once they have been asked for.
    names: Names,
    answer: WeakShared<Asking<V, E>>,
}

type Asking<V, E> = BoxFuture<'static, Answer<V, E>>;
type Names = Arc<Mutex<Option<Vec<String>>>>;

/// How often everything else that is ready goes first before a call is made: those that are about
/// to ask can still join.
const PATIENCE: usize = 3;

impl<V, E> Batches<V, E>
where
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Batches of at most so many names (at least one) for `call`.
    pub fn new(
        most: usize,
        call: impl Fn(Vec<String>) -> BoxFuture<'static, Answer<V, E>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            most: most.max(1),
            call: Arc::new(call),
            open: Mutex::new(None),
        }
    }

    /// What the call that asked for this name answered about it; `None` when it knows none of that
    /// name.
    ///
    /// Errors: the call's own, shared with everyone whose names it had.
    pub async fn ask(&self, name: &str) -> Result<Option<V>, Arc<E>> {
        let answer = self.join(name);
        for _ in 0..PATIENCE {
            tokio::task::yield_now().await;
        }
        Ok(answer.await?.get(name).cloned())
    }

    fn join(&self, name: &str) -> Shared<Asking<V, E>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = &*open
            && let Some(answer) = batch.answer.upgrade()
        {
            let mut names = batch.names.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *names {
                Some(names) if names.iter().any(|known| known == name) => return answer,
                Some(names) if names.len() < self.most => {
                    names.push(name.to_owned());
                    return answer;
                }
                Some(_) | None => {}
            }
        }
        let (names, answer) = self.begin(name);
        let weak = answer.downgrade();
        *open = weak.map(|answer| Batch { names, answer });
        answer
    }

    fn begin(&self, name: &str) -> (Names, Shared<Asking<V, E>>) {
        let names: Names = Arc::new(Mutex::new(Some(vec![name.to_owned()])));
        let (gathered, call) = (Arc::clone(&names), Arc::clone(&self.call));
        let answer = async move {
            let names = {
                let mut names = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                names.take().unwrap_or_default()
            };
            call(names).await
        };
        (names, answer.boxed().shared())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::future::join_all;
    use futures::stream;

    use super::*;

    /// The names of each call.
    type Asked = Arc<Mutex<Vec<Vec<String>>>>;

    /// Knows every name but `nobody`, fails for `broken`, and keeps what it was asked.
    fn counting(most: usize) -> (Batches<String, String>, Asked) {
        let asked = Asked::default();
        let record = Arc::clone(&asked);
        let batches = Batches::new(most, move |names: Vec<String>| {
            record.lock().unwrap().push(names.clone());
            async move {
                tokio::task::yield_now().await;
                if names.iter().any(|name| name == "broken") {
                    return Err(Arc::new("refused".to_owned()));
                }
                let known = names.into_iter().filter(|name| name != "nobody");
                Ok(known.map(|name| (name.clone(), name + "!")).collect())
            }
            .boxed()
        });
        (batches, asked)
    }

    #[tokio::test]
    async fn those_who_ask_together_share_calls_and_each_gets_its_own_answer() {
        let (batches, asked) = counting(10);
        let names: Vec<String> = (0..25).map(|number| format!("s{number}")).collect();
        let answers = join_all(names.iter().map(|name| batches.ask(name))).await;
        for (name, answer) in names.iter().zip(answers) {
            assert_eq!(answer, Ok(Some(format!("{name}!"))));
        }
        let sizes: Vec<usize> = asked.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
    }

    #[tokio::test]
    async fn a_few_at_a_time_still_fill_their_calls() {
        let (batches, asked) = counting(10);
        let batches = &batches;
        stream::iter(0..100)
            .map(|number| async move { batches.ask(&format!("s{number}")).await.unwrap() })
            .buffer_unordered(20)
            .for_each(|answer| async move { assert!(answer.is_some()) })
            .await;
        assert_eq!(asked.lock().unwrap().len(), 10);
    }

    #[tokio::test]
    async fn a_name_asked_for_twice_is_asked_once_and_later_again() {
        let (batches, asked) = counting(10);
        let (one, other) = tokio::join!(batches.ask("a"), batches.ask("a"));
        assert_eq!((one, other), (Ok(Some("a!".into())), Ok(Some("a!".into()))));
        assert_eq!(batches.ask("a").await, Ok(Some("a!".into())));
        assert_eq!(*asked.lock().unwrap(), [["a"], ["a"]]);
    }

    #[tokio::test]
    async fn what_is_unknown_and_what_fails_is_told_to_each() {
        let (batches, _) = counting(2);
        let (one, other) = tokio::join!(batches.ask("nobody"), batches.ask("a"));
        assert_eq!((one, other), (Ok(None), Ok(Some("a!".into()))));
        let (one, other) = tokio::join!(batches.ask("a"), batches.ask("broken"));
        assert_eq!(*one.unwrap_err(), "refused");
        assert_eq!(*other.unwrap_err(), "refused");
    }

    #[tokio::test]
    async fn one_who_gives_up_takes_nobody_along() {
        let (batches, _) = counting(10);
        let mut first = Box::pin(batches.ask("a"));
        assert!(futures::poll!(&mut first).is_pending());
        let second = batches.ask("b");
        drop(first);
        assert_eq!(second.await, Ok(Some("b!".into())));
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_is_given_up() {
        let place = Arc::new(());
        let held = Arc::clone(&place);
        let batches: Batches<(), ()> = Batches::new(10, move |_| {
            let held = Arc::clone(&held);
            async move {
                let () = std::future::pending().await;
                drop(held);
                unreachable!("nothing ends what is pending")
            }
            .boxed()
        });
        let mut asking = Box::pin(batches.ask("a"));
        while Arc::strong_count(&place) == 2 {
            assert!(futures::poll!(&mut asking).is_pending());
        }
        drop(asking);
        assert_eq!(Arc::strong_count(&place), 2, "what the call held is free");
    }
}
