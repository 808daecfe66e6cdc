//! The graph of nodes: a typed output that another node takes *is* the dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, RwLock};

use crate::address::Address;
use crate::fields::FieldValue;
use crate::node::{Node, Resource, ResourceNode, Sort, Step, StepNode};
use crate::ours::{Ours, Past};

/// A node's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

/// A value that one node makes and others take. Unknown until its node is settled.
///
/// Cheap to clone; clones share the value. Never print an output that holds a secret: use
/// `SecretString`.
pub struct Output<T> {
    address: Address,
    value: Arc<RwLock<Option<T>>>,
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", self.address)
    }
}

impl<T: Clone> Output<T> {
    /// An output of the node at `address`, unknown so far.
    pub fn of(address: &Address) -> Self {
        Self {
            address: address.clone(),
            value: Arc::default(),
        }
    }

    /// The node that makes it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes the value known, or replaces it.
    pub fn publish(&self, value: T) {
        *self
            .value
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
    }

    /// Makes the value unknown: its node is about to change it.
    pub fn withdraw(&self) {
        *self
            .value
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// The value, when its node has settled it.
    pub fn known(&self) -> Option<T> {
        self.value
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// An input of a node: a value given from the start, or another node's output.
#[derive(Clone, Debug)]
pub enum Value<T> {
    /// Given by the manifest.
    Given(T),
    /// Made by another node.
    From(Output<T>),
}

impl<T: Clone> Value<T> {
    /// The value when it is known by now.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value.clone()),
            Self::From(output) => output.known(),
        }
    }

    /// The value, for a node that is being carried out.
    ///
    /// Errors: internal, when the node it comes from has not settled; the engine's order forbids
    /// it.
    pub fn settled(&self) -> crate::error::Result<T> {
        self.known().ok_or_else(|| {
            crate::error::Error::internal(format!("an input was used before it was known: {self}"))
        })
    }

    /// The value as a field: known, or known after the node that makes it.
    pub fn field(&self, show: impl FnOnce(&T) -> String) -> FieldValue {
        match (self.known(), self) {
            (Some(value), _) => FieldValue::Known(show(&value)),
            (None, Self::From(output)) => FieldValue::AfterApply {
                known_after: output.address.clone(),
            },
            (None, Self::Given(value)) => FieldValue::Known(show(value)),
        }
    }
}

impl<T> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("a given value"),
            Self::From(output) => write!(f, "an output of {}", output.address),
        }
    }
}

/// Collects what a node takes while it is declared.
#[derive(Debug, Default)]
pub struct Inputs {
    addresses: BTreeSet<Address>,
}

impl Inputs {
    /// Takes an output: the node being declared depends on the node that makes it.
    pub fn take<T: Clone>(&mut self, output: &Output<T>) -> Value<T> {
        self.addresses.insert(output.address.clone());
        Value::From(output.clone())
    }

    /// Takes a value that may be another node's output.
    pub fn pass<T: Clone>(&mut self, value: &Value<T>) -> Value<T> {
        match value {
            Value::Given(value) => Value::Given(value.clone()),
            Value::From(output) => self.take(output),
        }
    }
}

/// What a cloud's table lists: a kind, the node of one, what goes with something else, or a step.
///
/// `kinds!` alone implements it, beside the steps of this crate and of the program, which leave
/// nothing: whatever an inventory may name is in a table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is in no table",
    note = "add it to `kinds!` in `kinds.rs` of its cloud: what is not listed could never be removed"
)]
pub trait Listed {}

/// One declared node with what it needs.
pub struct Entry {
    /// The node.
    pub node: Arc<dyn Node>,
    /// The nodes whose outputs it takes.
    pub needs: BTreeSet<NodeId>,
}

/// What is desired, in declaration order; an acyclic graph by construction, as only outputs of
/// declared nodes can be taken.
#[derive(Default)]
pub struct Graph {
    entries: Vec<Entry>,
    by_address: BTreeMap<Address, NodeId>,
    ours: Ours,
    adopted: BTreeSet<Address>,
    in_part: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph of nodes of which earlier runs noted this.
    pub fn knowing(ours: Ours) -> Self {
        Self {
            ours,
            ..Self::default()
        }
    }

    /// From now on only a part of what things need is declared.
    pub fn narrow(&mut self) {
        self.in_part = true;
    }

    /// Whether what a node needs here is all that it needs.
    pub fn is_whole(&self) -> bool {
        !self.in_part
    }

    /// The manifest adopts this: where no inventory knows it, it was there before us, whatever mark
    /// it bears by now.
    pub fn adopt(&mut self, addresses: impl IntoIterator<Item = Address>) {
        self.adopted.extend(addresses);
    }

    /// Whether the manifest adopts what has this address.
    pub fn adopts(&self, address: &Address) -> bool {
        self.adopted.contains(address)
    }

    /// What earlier runs noted of an address.
    pub fn past(&self, address: &Address) -> Past {
        self.ours.past(address)
    }

    /// Declares a resource; `build` takes its inputs. What is in no table does not compile.
    pub fn resource<R: Resource + Listed>(
        &mut self,
        build: impl FnOnce(&mut Inputs) -> R,
    ) -> NodeId {
        let mut inputs = Inputs::default();
        let resource = build(&mut inputs);
        self.with_inputs(&inputs, resource)
    }

    /// Declares a resource that took these inputs.
    pub(crate) fn with_inputs<R: Resource>(&mut self, inputs: &Inputs, resource: R) -> NodeId {
        let past = self.past(resource.address());
        self.push(Arc::new(ResourceNode::knowing(resource, past)), inputs)
    }

    /// Declares a step; `build` takes its inputs. What is in no table does not compile.
    pub fn step<S: Step + Listed>(&mut self, build: impl FnOnce(&mut Inputs) -> S) -> NodeId {
        let mut inputs = Inputs::default();
        let step = build(&mut inputs);
        self.push(Arc::new(StepNode::new(step)), &inputs)
    }

    fn push(&mut self, node: Arc<dyn Node>, inputs: &Inputs) -> NodeId {
        let declared = |address: &Address| {
            let found = self.find(address);
            found.unwrap_or_else(|| {
                panic!(
                    "{} takes of {address}, which is not declared",
                    node.address()
                )
            })
        };
        let needs = inputs.addresses.iter().map(declared).collect();
        let id = NodeId(self.entries.len());
        let earlier = self.by_address.insert(node.address().clone(), id);
        debug_assert!(earlier.is_none(), "{} is declared twice", node.address());
        self.entries.push(Entry { node, needs });
        id
    }

    /// The node at an address.
    pub fn find(&self, address: &Address) -> Option<NodeId> {
        self.by_address.get(address).copied()
    }

    /// Every resource that a node needs, through steps and other resources: what must outlive it.
    ///
    /// Empty for an address that is not in the graph.
    pub fn resources_needed_by(&self, address: &Address) -> Vec<Address> {
        let mut found: BTreeSet<NodeId> = BTreeSet::new();
        let mut next: Vec<NodeId> = self.find(address).into_iter().collect();
        while let Some(id) = next.pop() {
            let needs = self.entry(id).needs.iter();
            next.extend(needs.filter(|need| found.insert(**need)));
        }
        found
            .into_iter()
            .map(|id| &self.entry(id).node)
            .filter(|node| node.sort() == Sort::Resource)
            .map(|node| node.address().clone())
            .collect()
    }

    /// A declared node.
    pub fn entry(&self, id: NodeId) -> &Entry {
        &self.entries[id.0]
    }

    /// Every node in declaration order, which is an order of dependencies too.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (NodeId(index), entry))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
