//! How the mark of a kind is written and comes off.

use futures::future::BoxFuture;

use super::{Answer, At, Kind, Released, TagChanges, Tagged, There};

type Writing<K> = for<'a> fn(
    &'a At<<K as Kind>::Site>,
    &'a There<<K as Kind>::Is>,
    TagChanges,
) -> BoxFuture<'a, Answer<K, ()>>;

type Letting<K> = for<'a> fn(
    &'a At<<K as Kind>::Site>,
    &'a There<<K as Kind>::Is>,
) -> BoxFuture<'a, Answer<K, ()>>;

/// How our mark is written to the things of a kind and taken off, or why they bear none.
///
/// There is no value that stands for "not thought of": [`Marks::tags`] takes a kind that writes
/// tags, [`Marks::own`] one that lets go in its own way, and `None` a reason.
pub enum Marks<K: Kind> {
    /// Tags or labels, which this call writes and which writes nothing else.
    Tags(Writing<K>),
    /// Tags or labels, which are written with all else that it is, and taken off by this call.
    Own(Letting<K>),
    /// It bears none, for this reason, a whole sentence: nothing is compared, written or taken off.
    /// What the ledger knows tells whose it is.
    None(&'static str),
}

impl<K: Kind> Marks<K> {
    /// Tags or labels, which are written by a call of their own.
    pub const fn tags() -> Self
    where
        K: Tagged,
    {
        Self::Tags(|at, there, changes| Box::pin(K::mark(at, there, changes)))
    }

    /// Written with all else that it is, and taken off as the kind says.
    pub const fn own() -> Self
    where
        K: Released,
    {
        Self::Own(|at, there| Box::pin(K::release(at, there)))
    }

    /// Why it bears no mark. `None` where it bears one.
    pub const fn why_none(&self) -> Option<&'static str> {
        match self {
            Self::Tags(_) | Self::Own(_) => None,
            Self::None(why) => Some(why),
        }
    }

    /// Whether it bears one.
    pub const fn is_borne(&self) -> bool {
        self.why_none().is_none()
    }

    /// Lets go of one.
    pub(super) async fn release(&self, at: &At<K::Site>, there: &There<K::Is>) -> Answer<K, ()> {
        match self {
            Self::Tags(write) => {
                let changes = at.owner.unmark(&there.tags);
                match changes.is_empty() {
                    true => Ok(()),
                    false => write(at, there, changes).await,
                }
            }
            Self::Own(off) => off(at, there).await,
            Self::None(_) => Ok(()),
        }
    }
}
