//! Which node to use next: the one that the caller named, or one that the server named.

use std::collections::VecDeque;

use crate::base::Base;

/// The nodes that a connection may use.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// The node that the caller named.
    home: Base,
    /// Other nodes, as the last session document named them.
    others: VecDeque<Base>,
    /// Whether TLS is configured. Without it an encrypted node cannot be used.
    tls: bool,
}

impl Nodes {
    pub(crate) fn new(home: Base, tls: bool) -> Self {
        Self { home, others: VecDeque::new(), tls }
    }

    /// Replaces the other nodes by those that the newest session document names.
    pub(crate) fn set_others(&mut self, others: Vec<Base>) {
        self.others = others.into();
    }

    /// The node at `url`, which `current` named; `None` if this client cannot use it.
    pub(crate) fn named(&self, current: &Base, url: &str) -> Option<Base> {
        current.moved(url).ok().filter(|node| self.tls || !node.secure)
    }

    /// The node to try because `current` does not respond: the node that the caller named, or in its
    /// stead the other nodes in turn. `None` if there is no other.
    pub(crate) fn instead_of(&mut self, current: &Base) -> Option<Base> {
        if *current != self.home {
            return Some(self.home.clone());
        }
        let next = self.others.pop_front()?;
        self.others.push_back(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str) -> Base {
        Base::parse(url).unwrap()
    }

    #[test]
    fn home_comes_first_and_then_the_others_in_turn() {
        let home = node("http://home.example");
        let (one, other) = (node("http://one.example"), node("http://other.example"));
        let mut nodes = Nodes::new(home.clone(), false);
        assert_eq!(nodes.instead_of(&home), None, "there is no other node");
        nodes.set_others(vec![one.clone(), other.clone()]);
        assert_eq!(nodes.instead_of(&home), Some(one.clone()));
        assert_eq!(nodes.instead_of(&one), Some(home.clone()));
        assert_eq!(nodes.instead_of(&home), Some(other));
        assert_eq!(nodes.instead_of(&home), Some(one));
    }

    #[test]
    fn an_encrypted_node_needs_tls() {
        let home = node("http://home.example");
        let without = Nodes::new(home.clone(), false);
        assert_eq!(without.named(&home, "https://one.example"), None);
        assert_eq!(without.named(&home, "http://one.example"), Some(node("http://one.example")));
        assert_eq!(without.named(&home, "no url"), None);
        let with = Nodes::new(home.clone(), true);
        assert_eq!(with.named(&home, "https://one.example"), Some(node("https://one.example")));
    }
}
