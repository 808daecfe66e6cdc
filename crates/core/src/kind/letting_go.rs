//! How the mark of a kind comes off.

use futures::future::BoxFuture;

use super::{Answer, At, Kind, Released, Tagged, There};

type Letting<K> = for<'a> fn(
    &'a At<<K as Kind>::Site>,
    &'a There<<K as Kind>::Is>,
) -> BoxFuture<'a, Answer<K, ()>>;

/// How our mark is written to the things of a kind and taken off, or why they bear none.
///
/// There is no value that stands for "not thought of": [`Marks::tags`] takes a kind that writes
/// tags, [`Marks::own`] one that lets go in its own way, and `None` a reason.
pub enum Marks<K: Kind> {
    /// By this call.
    Off(Letting<K>),
    /// It bears none, for this reason, and nothing is taken off.
    None(&'static str),
}

impl<K: Kind> Marks<K> {
    /// Tags or labels, which are written by a call of their own.
    pub const fn tags() -> Self
    where
        K: Tagged,
    {
        Self::Off(|at, there| {
            Box::pin(async move {
                let changes = at.owner.unmark(&there.tags);
                match changes.is_empty() {
                    true => Ok(()),
                    false => K::mark(at, there, changes).await,
                }
            })
        })
    }

    /// Written with all else that it is, and taken off as the kind says.
    pub const fn own() -> Self
    where
        K: Released,
    {
        Self::Off(|at, there| Box::pin(K::release(at, there)))
    }

    /// Why it bears no mark. `None` where it bears one.
    pub const fn why_none(&self) -> Option<&'static str> {
        match self {
            Self::Off(_) => None,
            Self::None(why) => Some(why),
        }
    }

    /// Lets go of one.
    pub(super) async fn release(&self, at: &At<K::Site>, there: &There<K::Is>) -> Answer<K, ()> {
        match self {
            Self::Off(off) => off(at, there).await,
            Self::None(_) => Ok(()),
        }
    }
}
