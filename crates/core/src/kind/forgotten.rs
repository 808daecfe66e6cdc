//! What a kind forgets to say does not compile: tests of the documentation, which a compiler reads.
//!
//! A pool of some site, as a kind that says everything; each of the next ones leaves out one thing.
//!
//! ```
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! What its removal loses:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! What it is to who reads a plan:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! How its mark comes off, or why it bears none:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! What says that its name is taken:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! Which refusals of a write pass by themselves:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const IN_USE: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! What has it in use for a while yet when it is removed:
//!
//! ```compile_fail,E0046
//! # use deployer_core::kind::*; use deployer_core::node::{Reading, Token};
//! struct Pool<S>(S);
//! impl<S: Site> Kind for Pool<S> {
//!     type Site = S;
//!     type Is = ();
//!     const KIND: &'static str = "pool";
//!     const NOUN: &'static str = "pool";
//!     const ROLE: Role = Role::Shared;
//!     const TIER: Tier = Tier::Store;
//!     const DATA: Data = Data::None;
//!     const MARKS: Marks<Self> = Marks::None("water takes no tag");
//!     const FACTS: S::Facts = panic!();
//!     const ABSENT: &'static [&'static str] = &[];
//!     const TAKEN: &'static [&'static str] = &[];
//!     const BUSY: Passing = Passing::NOTHING;
//!     fn describe(_: &(), _: &mut Description) {}
//!     async fn find(_: &At<S>) -> Answer<Self, Reading<There<()>>> { Ok(Reading::Absent) }
//!     async fn remove(_: &At<S>, _: &There<()>, _: &Token) -> Answer<Self, ()> { Ok(()) }
//! }
//! ```
//!
//! Tags without a call that writes them:
//!
//! ```
//! # use deployer_core::kind::{Marks, Tagged};
//! fn bears<K: Tagged>() -> Marks<K> { Marks::tags() }
//! ```
//!
//! ```compile_fail,E0277
//! # use deployer_core::kind::{Kind, Marks};
//! fn bears<K: Kind>() -> Marks<K> { Marks::tags() }
//! ```
//!
//! A line in the table, for a resource and for a step:
//!
//! ```
//! # use deployer_core::{graph::{Graph, Listed}, node::{Resource, Step}};
//! fn resource<R: Resource + Listed>(graph: &mut Graph, one: R) { graph.resource(|_| one); }
//! fn step<S: Step + Listed>(graph: &mut Graph, one: S) { graph.step(|_| one); }
//! ```
//!
//! ```compile_fail,E0277
//! # use deployer_core::{graph::Graph, node::Resource};
//! fn resource<R: Resource>(graph: &mut Graph, one: R) { graph.resource(|_| one); }
//! ```
//!
//! ```compile_fail,E0277
//! # use deployer_core::{graph::Graph, node::Step};
//! fn step<S: Step>(graph: &mut Graph, one: S) { graph.step(|_| one); }
//! ```
//!
//! Two of one name in a table, which asserts this of its names:
//!
//! ```
//! # use deployer_core::kind::all_differ;
//! const _: () = assert!(all_differ(&[&["pool.instance", "pool.subnet_group"]]));
//! ```
//!
//! ```compile_fail,E0080
//! # use deployer_core::kind::all_differ;
//! const _: () = assert!(all_differ(&[&["pool.instance", "pool.instance"]]));
//! ```
